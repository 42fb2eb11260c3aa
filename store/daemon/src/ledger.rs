//! A shard's journal with what belongs to it: the alarm when its volume fails, the thread that writes the volume out before a segment is
//! used again.

use postring_control::{ChildSender, Counter, Gauge, StatsPage};
use postring_journal::{CommitError, Durable, Journal, JournalConfig, Record, Replayed};
use postring_mail::work::Refusal;
use postring_maildir::Volume;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

/// How long a segment that could not be put aside is left alone.
const RETIRE_AGAIN: Duration = Duration::from_secs(60);

/// Time for an earlier process to drain.
const LOCK_WAIT: Duration = Duration::from_secs(30);
const LOCK_LOOK: Duration = Duration::from_millis(50);

/// See the module.
pub(crate) struct Ledger {
    _lock: File,
    journal: Journal,
    /// Where the records' effects are.
    root: PathBuf,
    requests: Sender<u64>,
    syncing: Option<u64>,
    retire_at: Instant,
    applied_lsn: u64,
    control: ChildSender,
}

impl Ledger {
    /// Opens the journal of `folder`, replays it, and starts the syncing thread; `synced` is called there and must lead to [`Self::synced`]
    /// on the shard's thread (false: the shard has ended). The caller says [`all_applied`](Self::all_applied) when the effects of all that was
    /// replayed are there; until then no segment is let go.
    pub(crate) fn open(
        folder: &Path,
        root: &Path,
        config: JournalConfig,
        control: ChildSender,
        replay: impl FnMut(Replayed<'_>) -> Result<(), String>,
        synced: impl Fn(u64, io::Result<()>) -> bool + Send + 'static,
    ) -> Result<Self, String> {
        let lock = lock(folder)?;
        // Before the replay: what it takes for there may be what the kernel fails to write a moment later.
        let volume = Volume::open(root).map_err(|error| format!("{}: {error}", root.display()))?;
        let mut journal = Journal::open(folder, config, replay).map_err(|error| error.to_string())?;
        // A full disk at start is no reason to stay down: the shard answers 452 until there is space.
        if let Err(error) = journal.prepare() {
            tracing::error!("{error}");
        }
        let (requests, receiver) = mpsc::channel::<u64>();
        let journal_folder = folder.to_owned();
        // Ends with the ledger, which holds the other end of its channel.
        std::thread::Builder::new()
            .name("sync".to_owned())
            .spawn(move || {
                while let Ok(sequence) = receiver.recv() {
                    // At once: the process may be ended before its shard hears of it.
                    let result = volume.sync().inspect_err(|_| distrust_all(&journal_folder));
                    if !synced(sequence, result) {
                        return;
                    }
                }
            })
            .map_err(|error| format!("no thread for the journal in {}: {error}", folder.display()))?;
        Ok(Self {
            _lock: lock,
            journal,
            root: root.to_owned(),
            requests,
            syncing: None,
            retire_at: Instant::now(),
            applied_lsn: 0,
            control,
        })
    }

    /// Writes a batch; after it, and only then, it may be acknowledged. A failure is an alarm, once.
    pub(crate) fn commit(&mut self, records: &[Record<'_>], stats: &StatsPage) -> Result<Durable, Refusal> {
        self.commit_leaving(records, 0, stats)
    }

    /// The same; see [`Journal::commit_leaving`].
    pub(crate) fn commit_leaving(&mut self, records: &[Record<'_>], left: u64, stats: &StatsPage) -> Result<Durable, Refusal> {
        let durable = self.journal.commit_leaving(records, left).map_err(|error| {
            match &error {
                CommitError::Failed(text) => self.fail(text, stats),
                CommitError::Full(_) | CommitError::TooLong => tracing::warn!("{error}"),
            }
            refusal_of(&error)
        })?;
        let bytes: usize = records.iter().flat_map(|record| record.parts).map(|part| part.len()).sum();
        stats.add(Counter::JournalCommits, 1);
        stats.add(Counter::JournalRecords, records.len() as u64);
        stats.add(Counter::JournalBytes, bytes as u64);
        Ok(durable)
    }

    /// The effects of all records so far are there, though not synced.
    pub(crate) fn all_applied(&mut self) {
        self.applied_lsn = self.journal.last_lsn();
        self.journal.mark_applied(self.applied_lsn);
    }

    /// Lets go of a segment that is not needed any more, in the background.
    pub(crate) fn housekeeping(&mut self) {
        if self.syncing.is_none()
            && let Some(sequence) = self.journal.retirable(self.applied_lsn)
            && Instant::now() >= self.retire_at
            && self.requests.send(sequence).is_ok()
        {
            self.syncing = Some(sequence);
        }
    }

    /// The volume has been written out, or not.
    pub(crate) fn synced(&mut self, sequence: u64, result: io::Result<()>, stats: &StatsPage) {
        match result {
            Ok(()) => {
                self.syncing = None;
                if let Err(error) = self.journal.retire(sequence) {
                    tracing::warn!("a journal segment could not be put aside: {error}; tried again in a minute");
                    self.retire_at = Instant::now() + RETIRE_AGAIN;
                }
            }
            // Never asked again: the kernel has dropped what it could not write and would say yes the second time.
            Err(error) => {
                self.fail(&format!("writing out {} failed: {error}; check the disk, then restart", self.root.display()), stats);
            }
        }
    }

    /// A volume that has lost something acknowledges nothing more, whatever the journal says.
    pub(crate) fn has_failed(stats: &StatsPage) -> bool {
        stats.gauge(Gauge::VolumeFailed) != 0
    }

    fn fail(&self, text: &str, stats: &StatsPage) {
        if !Self::has_failed(stats) {
            stats.set(Gauge::VolumeFailed, 1);
            self.control.alarm(text);
        }
    }
}

/// After a volume has lost something: takes the marks of this journal and of those beside it away, so that a restart looks for every effect that is
/// still in a journal. The others too, for theirs may be among the lost, and a process started later is not told of it again.
fn distrust_all(folder: &Path) {
    let beside = folder.parent().and_then(|journals| std::fs::read_dir(journals).ok());
    let beside = beside.into_iter().flatten().filter_map(|entry| entry.ok().map(|entry| entry.path()));
    for folder in std::iter::once(folder.to_owned()).chain(beside.filter(|path| path.is_dir())) {
        if let Err(error) = Journal::distrust(&folder) {
            tracing::error!(
                "the mark in {} could not be removed: {error}; remove the file `applied` there before the restart",
                folder.display()
            );
        }
    }
}

/// One process a journal: one whose supervisor was killed may still be draining while its successor starts.
fn lock(folder: &Path) -> Result<File, String> {
    let path = folder.join("lock");
    let wrong = |error: io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(folder).map_err(wrong)?;
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(wrong)?;
    let until = Instant::now() + LOCK_WAIT;
    while rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() >= until {
            return Err(format!("another process still works with the journal in {}; end it first", folder.display()));
        }
        std::thread::sleep(LOCK_LOOK);
    }
    Ok(file)
}

/// What a producer hears of a commit that failed.
fn refusal_of(error: &CommitError) -> Refusal {
    match error {
        CommitError::Full(_) => Refusal::Full,
        CommitError::TooLong => Refusal::Broken,
        CommitError::Failed(_) => Refusal::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failed_sync_every_journal_of_the_volume_is_replayed() {
        let journals = tempfile::tempdir().unwrap();
        let folders = ["store-0", "store-1"].map(|name| journals.path().join(name));
        let replayed = |folder: &Path| {
            let mut applied = Vec::new();
            let journal = Journal::open(folder, JournalConfig { segment_bytes: 8192, segments_max: 4 }, |record| {
                applied.push(record.applied);
                Ok(())
            });
            (journal.unwrap(), applied)
        };
        let mut open = folders.each_ref().map(|folder| {
            let mut journal = replayed(folder).0;
            journal.commit(&[Record { kind: 1, parts: &[b"x"] }]).unwrap();
            journal.mark_applied(1);
            journal
        });
        assert!(folders.iter().all(|folder| replayed(folder).1 == [true]));
        distrust_all(&folders[0]);
        // One that still runs marks what nobody finds.
        open.iter_mut().for_each(|journal| journal.mark_applied(1));
        assert!(folders.iter().all(|folder| replayed(folder).1 == [false]));
    }
}
