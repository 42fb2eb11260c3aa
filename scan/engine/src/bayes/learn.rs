//! Learning from files, mboxes, Maildirs and plain folders.

use super::store::TokenStore;
use super::tokens::Tokenizer;
use crate::content::{Limits, with_content};
use postring_mail::verdict::VerdictWriter;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A message larger than this is not learned from.
const MESSAGE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What messages are learned as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Unwanted.
    Spam,
    /// Wanted.
    Ham,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Files found.
    pub files: u64,
    /// Files read.
    pub files_done: u64,
    /// Messages learned.
    pub messages: u64,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct LearnReport {
    /// Learned for the first time.
    pub learned: u64,
    /// Learned as the other class before, moved.
    pub moved: u64,
    /// Learned as this class before, left alone.
    pub known: u64,
    /// Too large or unreadable, with the reason of the first few.
    pub skipped: Vec<String>,
    /// Messages in the store now: spam, ham.
    pub messages: (u32, u32),
}

/// Learns from all that is below `paths` and writes the store.
///
/// # Errors
/// One line: a path that cannot be read at all, or a store that cannot be written; the store on disk is as it was.
pub fn learn(
    paths: &[PathBuf],
    class: Class,
    store_path: &Path,
    mut progress: impl FnMut(Progress),
) -> Result<LearnReport, String> {
    let mut store = TokenStore::open(store_path).map_err(|error| error.to_string())?;
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files, 0).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let mut tokenizer = Tokenizer::default();
    let mut report = LearnReport::default();
    let mut state = Progress { files: files.len() as u64, ..Progress::default() };
    for file in &files {
        if let Err(error) = each_message(file, |message| {
            learn_one(&mut store, &mut tokenizer, message, class == Class::Spam, &mut report);
            state.messages += 1;
        }) {
            report.skipped.push(format!("{}: {error}", file.display()));
        }
        state.files_done += 1;
        progress(state);
    }
    report.messages = (store.spam_messages(), store.ham_messages());
    store.save(store_path).map_err(|error| format!("the token store {} could not be written: {error}", store_path.display()))?;
    Ok(report)
}

/// Files below a path; a Maildir's `tmp` and its index files hold no messages.
fn collect(path: &Path, files: &mut Vec<PathBuf>, depth: usize) -> std::io::Result<()> {
    if !path.is_dir() {
        path.metadata()?;
        files.push(path.to_owned());
        return Ok(());
    }
    if depth > 32 {
        return Ok(());
    }
    let is_maildir = path.join("cur").is_dir() && path.join("new").is_dir();
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    entries.sort();
    for entry in entries {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let wanted = if is_maildir {
            name == "cur" || name == "new" || (name.starts_with('.') && entry.is_dir())
        } else {
            !name.starts_with('.')
        };
        if wanted {
            collect(&entry, files, depth + 1)?;
        }
    }
    Ok(())
}

/// The messages of a file: one, or an mbox's many (RFC 4155: each behind a line that begins with `From `).
fn each_message(path: &Path, mut each: impl FnMut(&[u8])) -> std::io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    let is_mbox = reader.fill_buf()?.starts_with(b"From ");
    let mut message = Vec::new();
    if !is_mbox {
        if path.metadata()?.len() > MESSAGE_BYTES_MAX {
            return Err(std::io::Error::other("larger than 8 MiB, not learned"));
        }
        reader.read_to_end(&mut message)?;
        each(&message);
        return Ok(());
    }
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.by_ref().take(MESSAGE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if read == 0 || line.starts_with(b"From ") {
            if !message.is_empty() {
                each(&message);
            }
            message.clear();
        } else if (message.len() + line.len()) as u64 <= MESSAGE_BYTES_MAX {
            message.extend_from_slice(&line);
        }
        if read == 0 {
            return Ok(());
        }
    }
}

fn learn_one(store: &mut TokenStore, tokenizer: &mut Tokenizer, message: &[u8], spam: bool, report: &mut LearnReport) {
    let digest = digest(message);
    let before = store.learned_as(digest);
    match before {
        Some(class) if class == spam => {
            report.known += 1;
            return;
        }
        Some(_) => report.moved += 1,
        None => report.learned += 1,
    }
    with_content(message, &Limits::default(), &mut VerdictWriter::default(), |content, _| {
        for token in tokenizer.tokens(content) {
            if before.is_some() {
                store.change(*token, !spam, false);
            }
            store.change(*token, spam, true);
        }
    });
    if before.is_some() {
        store.count_message(!spam, false);
    }
    store.count_message(spam, true);
    store.remember(digest, spam);
}

/// Of the message without regard to line ends: the same mail from a Maildir and from the wire is one.
fn digest(message: &[u8]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in message.iter().filter(|byte| **byte != b'\r') {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    state ^ (state >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bayes::Bayes;

    #[test]
    fn learns_from_what_there_is_and_tells_them_apart() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("tokens");
        let (spam, ham) = (folder.path().join("spam"), folder.path().join("ham.mbox"));
        for part in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(spam.join(part)).unwrap();
        }
        let mut mbox = String::new();
        for number in 0..60 {
            std::fs::write(
                spam.join("cur").join(format!("{number}:2,S")),
                format!("Subject: cheap pills {number}\n\nbuy cheap pills online now\n"),
            )
            .unwrap();
            mbox.push_str(&format!(
                "From x Thu Jan  1 00:00:00 1970\nSubject: meeting {number}\n\nplease bring the quarterly report\n\n"
            ));
        }
        std::fs::write(spam.join("tmp/half"), "Subject: half").unwrap();
        std::fs::write(&ham, mbox).unwrap();
        let mut last = Progress::default();
        let report = learn(std::slice::from_ref(&spam), Class::Spam, &store, |progress| last = progress).unwrap();
        assert_eq!((report.learned, report.known, last.files_done), (60, 0, 60));
        let report = learn(std::slice::from_ref(&ham), Class::Ham, &store, |_| ()).unwrap();
        assert_eq!((report.learned, report.messages), (60, (60, 60)));
        assert_eq!(learn(std::slice::from_ref(&spam), Class::Spam, &store, |_| ()).unwrap().known, 60);

        let mut bayes = Bayes::new(TokenStore::open(&store).unwrap());
        let mut probability = |raw: &str| {
            let mut found = None;
            with_content(raw.as_bytes(), &Limits::default(), &mut VerdictWriter::default(), |content, _| {
                found = bayes.spam_probability(content)
            });
            found.unwrap()
        };
        assert!(probability("Subject: cheap pills\r\n\r\nbuy cheap pills online\r\n") > 0.9);
        assert!(probability("Subject: meeting\r\n\r\nthe quarterly report please\r\n") < 0.1);
        assert!((probability("Subject: zzzz\r\n\r\nqqqq wwww\r\n") - 0.5).abs() < 0.01);
        // Learning as the other class moves the counts.
        assert_eq!(learn(&[ham], Class::Spam, &store, |_| ()).unwrap().messages, (120, 0));
        assert!(learn(&[folder.path().join("none")], Class::Spam, &store, |_| ()).is_err());
    }
}
