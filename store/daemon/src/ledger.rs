//! A shard's journal with what belongs to it: the alarm when its volume fails, the thread that writes the volume out before a segment is
//! used again.

use postring_control::{ChildSender, Counter, Gauge, StatsPage};
use postring_journal::{CommitError, Durable, Journal, JournalConfig, Record, Replayed};
use postring_mail::work::Refusal;
use postring_maildir::MailStore;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};

/// See the module.
pub(crate) struct Ledger {
    journal: Journal,
    /// Where the records' effects are.
    root: PathBuf,
    requests: Sender<u64>,
    syncing: Option<u64>,
    applied_lsn: u64,
    control: ChildSender,
}

impl Ledger {
    /// Opens the journal of `folder`, replays it, and starts the syncing thread; `synced` is called there and must lead to [`Self::synced`]
    /// on the shard's thread (false: the shard has ended).
    pub(crate) fn open(
        folder: &Path,
        root: &Path,
        config: JournalConfig,
        control: ChildSender,
        replay: impl FnMut(Replayed<'_>) -> Result<(), String>,
        synced: impl Fn(u64, io::Result<()>) -> bool + Send + 'static,
    ) -> Result<Self, String> {
        let mut journal = Journal::open(folder, config, replay).map_err(|error| error.to_string())?;
        // A full disk at start is no reason to stay down: the shard answers 452 until there is space.
        if let Err(error) = journal.prepare() {
            tracing::error!("{error}");
        }
        let applied_lsn = journal.last_lsn();
        journal.mark_applied(applied_lsn);
        let (requests, receiver) = mpsc::channel::<u64>();
        let volume = root.to_owned();
        // Ends with the ledger, which holds the other end of its channel.
        std::thread::Builder::new()
            .name("sync".to_owned())
            .spawn(move || {
                while let Ok(sequence) = receiver.recv() {
                    if !synced(sequence, MailStore::sync(&volume)) {
                        return;
                    }
                }
            })
            .map_err(|error| format!("no thread for the journal in {}: {error}", folder.display()))?;
        Ok(Self { journal, root: root.to_owned(), requests, syncing: None, applied_lsn, control })
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
                    tracing::warn!("a journal segment could not be put aside: {error}");
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

/// What a producer hears of a commit that failed.
fn refusal_of(error: &CommitError) -> Refusal {
    match error {
        CommitError::Full(_) => Refusal::Full,
        CommitError::TooLong => Refusal::Broken,
        CommitError::Failed(_) => Refusal::Failed,
    }
}
