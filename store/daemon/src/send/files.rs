//! The queue's files: one for each message, one beside it for how far it is. Made from journal records, so a replay makes the same again.
//!
//! ```text
//!   data/queue/send-0/0006A1B2C3D4E5F0            what a MESSAGE record holds: head, then the message in wire form
//!   data/queue/send-0/0006A1B2C3D4E5F0.progress   what the last PROGRESS record holds
//! ```
//! Nothing is synced here: the journal keeps a record until its effects are.

use postring_mail::envelope::MessageId;
use postring_queue::record::{HEAD_BYTES_MAX, read_head};
use postring_queue::{MessageHead, Progress, record};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const PROGRESS_SUFFIX: &str = "progress";
const UNFINISHED_SUFFIX: &str = "tmp";

/// A journal record, and what it does to the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    pub id: MessageId,
    /// [`record::MESSAGE`], [`record::PROGRESS`] or [`record::DONE`].
    pub kind: u16,
    pub body: Vec<u8>,
}

impl Effect {
    /// How far a message is; `None` if that does not fit its format.
    pub(super) fn progress(progress: &Progress) -> Option<Self> {
        let mut body = Vec::with_capacity(256);
        progress.write_to(&mut body).then_some(Self { id: progress.id, kind: record::PROGRESS, body })
    }

    /// The end of a message.
    pub(super) fn done(id: MessageId) -> Self {
        let mut body = Vec::with_capacity(8);
        record::write_done(id, &mut body);
        Self { id, kind: record::DONE, body }
    }

    /// Reads a record; `None` if it is of another version.
    pub(super) fn of_record(kind: u16, body: &[u8]) -> Option<Self> {
        let id = match kind {
            record::MESSAGE => record::read_message(body)?.0.id,
            record::PROGRESS => Progress::read(body)?.id,
            record::DONE => record::read_done(body)?,
            _ => return None,
        };
        Some(Self { id, kind, body: body.to_vec() })
    }
}

/// A message found at start.
pub(super) struct Found {
    pub head: MessageHead,
    /// Bytes of its file.
    pub size: u64,
    pub progress: Option<Progress>,
}

/// The folder of one shard.
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    /// Makes the folder if it is not there.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    pub(super) fn message_path(&self, id: MessageId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    fn progress_path(&self, id: MessageId) -> PathBuf {
        self.message_path(id).with_extension(PROGRESS_SUFFIX)
    }

    /// Does what a record says; doing it again changes nothing.
    pub(super) fn apply(&self, effect: &Effect) -> io::Result<()> {
        match effect.kind {
            record::MESSAGE => self.write_message(effect.id, &[&effect.body]),
            record::PROGRESS => write(&self.progress_path(effect.id), &[&effect.body]),
            _ => {
                remove(&self.progress_path(effect.id))?;
                remove(&self.message_path(effect.id))
            }
        }
    }

    /// Does what a record of a replay says; what a full disk does not allow now is put behind `backlog`.
    ///
    /// # Errors
    /// One line, for all else.
    pub(super) fn replay(&self, effect: Effect, backlog: &mut VecDeque<Effect>) -> Result<(), String> {
        if effect.kind == record::DONE {
            backlog.retain(|earlier| earlier.id != effect.id);
        } else if !backlog.is_empty() {
            backlog.push_back(effect);
            return Ok(());
        }
        match self.apply(&effect) {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                tracing::warn!("{} has no space for the queue: {error}; it waits", self.folder.display());
                backlog.push_back(effect);
                Ok(())
            }
            Err(error) => Err(format!("a file of the queue in {}: {error}", self.folder.display())),
        }
    }

    pub(super) fn write_message(&self, id: MessageId, parts: &[&[u8]]) -> io::Result<()> {
        write(&self.message_path(id), parts)
    }

    /// What is queued, and removes what a crash has left half done.
    pub(super) fn load(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let extension = path.extension().map(|extension| extension.to_string_lossy().into_owned());
            match extension.as_deref() {
                None => found.extend(self.load_one(&path)?),
                Some(PROGRESS_SUFFIX) if path.with_extension("").exists() => {}
                Some(PROGRESS_SUFFIX | UNFINISHED_SUFFIX) => remove(&path)?,
                Some(_) => tracing::warn!("{} is no file of the queue and is left alone", path.display()),
            }
        }
        Ok(found)
    }

    fn load_one(&self, path: &Path) -> io::Result<Option<Found>> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut prefix = Vec::with_capacity(4096);
        file.take(HEAD_BYTES_MAX as u64).read_to_end(&mut prefix)?;
        let Some((head, _)) = read_head(&prefix).filter(|(head, _)| self.message_path(head.id) == path) else {
            tracing::error!("{} is no queued message this program can read; it is left alone", path.display());
            return Ok(None);
        };
        let progress = match fs::read(self.progress_path(head.id)) {
            Ok(bytes) => Progress::read(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Some(Found { head, size, progress }))
    }
}

fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let unfinished = path.with_extension(UNFINISHED_SUFFIX);
    let mut file = File::create(&unfinished)?;
    for part in parts {
        if let Err(error) = file.write_all(part) {
            // A full disk must not be kept full by what is of no use.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
    }
    fs::rename(&unfinished, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postring_mail::envelope::EnvelopeFlags;

    fn head(id: u64) -> MessageHead {
        MessageHead {
            id: MessageId(id),
            received_us: 1,
            flags: EnvelopeFlags::default(),
            reverse_path: "a@b.example".to_owned(),
            account: String::new(),
            recipients: vec!["c@d.example".to_owned()],
            envelope_id: String::new(),
            requests: Vec::new(),
        }
    }

    fn message(id: u64) -> Vec<u8> {
        let mut body = Vec::new();
        assert!(head(id).write_to(&mut body));
        body.extend_from_slice(b"Subject: x\r\n\r\n");
        body
    }

    #[test]
    fn what_records_say_is_found_again_and_leftovers_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path().join("q")).unwrap();
        let progress = Effect::progress(&Progress::new(MessageId(1), 1, 5)).unwrap();
        let done = Effect::done(MessageId(2));
        for (kind, body) in [
            (record::MESSAGE, message(1)),
            (record::PROGRESS, progress.body),
            (record::MESSAGE, message(2)),
            (record::DONE, done.body.clone()),
        ] {
            files.apply(&Effect::of_record(kind, &body).unwrap()).unwrap();
        }
        files.apply(&done).unwrap();
        for leftover in ["0000000000000009.tmp", "0000000000000008.progress", "0000000000000007"] {
            fs::write(folder.path().join("q").join(leftover), b"x").unwrap();
        }
        let found = files.load().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0].head, found[0].progress.as_ref().unwrap().next_attempt_us), (&head(1), 5));
        let names: Vec<String> = fs::read_dir(folder.path().join("q"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(Effect::of_record(99, &message(1)).is_none() && Effect::of_record(record::MESSAGE, b"x").is_none());
    }
}
