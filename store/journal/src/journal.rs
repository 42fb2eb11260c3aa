//! The journal of one shard.

use crate::record::{HEADER_BYTES, Header, Records, record_bytes};
use crate::segment::{SEGMENT_HEADER_BYTES, Segment, segment_path, sequence_of};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Gather writes take at most this many parts (IOV_MAX).
const PARTS_MAX: usize = 1024;
/// The file that says up to which number the records' effects are finished.
const APPLIED: &str = "applied";

/// Sizes of a journal.
#[derive(Clone, Copy, Debug)]
pub struct JournalConfig {
    /// Bytes of a segment; the longest record is a little shorter.
    pub segment_bytes: u64,
    /// Segments at once; when all hold records that are not retired, commits are refused as full.
    pub segments_max: usize,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self { segment_bytes: 64 * 1024 * 1024, segments_max: 8 }
    }
}

/// Something to keep.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The user's number for what it is.
    pub kind: u16,
    /// The body, gathered from where it lies.
    pub parts: &'a [&'a [u8]],
}

impl Record<'_> {
    fn length(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }
}

/// The proof that records are on disk. Nothing but a successful sync makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    first: u64,
    last: u64,
}

impl Durable {
    /// Number of the batch's first record.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Number of the batch's last record.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }
}

/// Why a batch was not kept. Nothing of it counts, though some of it may be found by a replay.
#[derive(Debug)]
pub enum CommitError {
    /// No room for another segment; recovers by itself when space returns.
    Full(String),
    /// A record longer than a segment.
    TooLong,
    /// The volume failed, now or before: an operator must act.
    Failed(String),
}

impl std::fmt::Display for CommitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full(text) | Self::Failed(text) => f.write_str(text),
            Self::TooLong => f.write_str("a record is longer than a journal segment"),
        }
    }
}

impl std::error::Error for CommitError {}

/// Why a journal cannot be opened.
#[derive(Debug)]
pub struct OpenError(pub String);

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OpenError {}

/// A record found at open.
#[derive(Clone, Copy, Debug)]
pub struct Replayed<'a> {
    /// Its number.
    pub lsn: u64,
    /// The user's number for what it is.
    pub kind: u16,
    /// The body.
    pub body: &'a [u8],
    /// Its effects were finished by an earlier process, and the machine has not stopped since.
    pub applied: bool,
}

/// A full segment that waits for its records' effects to be safe.
#[derive(Clone, Copy, Debug)]
struct Full {
    sequence: u64,
    last_lsn: u64,
}

/// The journal of one shard; one thread owns it.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    config: JournalConfig,
    active: Option<Segment>,
    offset: u64,
    next_lsn: u64,
    next_sequence: u64,
    full: VecDeque<Full>,
    free: Vec<PathBuf>,
    applied: File,
    boot_id: String,
    failed: Option<String>,
}

impl Journal {
    /// Opens the journal of `folder` (made if it is not there) and shows every record that is not retired, oldest first. What was
    /// torn by a crash ends the replay of its segment: it was never acknowledged.
    ///
    /// # Errors
    /// The folder cannot be used, or `replay` says no.
    pub fn open(
        folder: &Path,
        config: JournalConfig,
        mut replay: impl FnMut(Replayed<'_>) -> Result<(), String>,
    ) -> Result<Self, OpenError> {
        let wrong = |error: io::Error| OpenError(format!("the journal in {}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(wrong)?;
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let applied_path = folder.join(APPLIED);
        let applied_before = read_applied(&applied_path, &boot_id);
        let applied = File::options().create(true).truncate(false).write(true).open(&applied_path).map_err(wrong)?;

        let mut sequences = Vec::new();
        let mut free = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(sequence) = sequence_of(&name) {
                sequences.push(sequence);
            } else if name.ends_with(".free") && entry.metadata().map_err(wrong)?.len() == config.segment_bytes {
                free.push(entry.path());
            } else if name.ends_with(".making") || name.ends_with(".free") {
                std::fs::remove_file(entry.path()).map_err(wrong)?;
            }
        }
        sequences.sort_unstable();

        let mut next_lsn: Option<u64> = None;
        let mut full = VecDeque::new();
        for &sequence in &sequences {
            let Some(bytes) = Segment::read(&segment_path(folder, sequence), sequence).map_err(wrong)? else { continue };
            let area = bytes.get(SEGMENT_HEADER_BYTES..).unwrap_or_default();
            for (header, body) in Records::new(area, sequence, next_lsn.unwrap_or(0)) {
                let replayed = Replayed { lsn: header.lsn, kind: header.kind, body, applied: header.lsn <= applied_before };
                replay(replayed).map_err(OpenError)?;
                next_lsn = Some(header.lsn.saturating_add(1));
            }
            full.push_back(Full { sequence, last_lsn: next_lsn.map_or(0, |next| next.saturating_sub(1)) });
        }
        let next_sequence = sequences.last().map_or(Some(1), |last| last.checked_add(1));
        let next_sequence = next_sequence.ok_or_else(|| wrong(io::Error::other("a segment has the last number there is")))?;
        // Appending behind a torn record could make old bytes valid again: a new life begins in a new segment. Numbers go on behind the mark
        // too: where all segments are retired, a record with a number of before would count as applied.
        let next_lsn = next_lsn.unwrap_or(1).max(applied_before.saturating_add(1));
        Ok(Self {
            folder: folder.to_owned(),
            config,
            active: None,
            offset: 0,
            next_lsn,
            next_sequence,
            full,
            free,
            applied,
            boot_id,
            failed: None,
        })
    }

    /// Writes a batch and syncs it once. Costs one gather write for up to 500 records, one fdatasync, one allocation for the
    /// headers; bodies are not copied.
    ///
    /// # Errors
    /// See [`CommitError`]; nothing of the batch may be acknowledged.
    pub fn commit(&mut self, records: &[Record<'_>]) -> Result<Durable, CommitError> {
        self.commit_leaving(records, 0)
    }

    /// The same, but the last `left` bytes of every segment are left to other records: so small ones that end what is kept, and so make room,
    /// can still be committed when a full disk has no space for another segment.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_leaving(&mut self, records: &[Record<'_>], left: u64) -> Result<Durable, CommitError> {
        if let Some(reason) = &self.failed {
            return Err(CommitError::Failed(reason.clone()));
        }
        let room = self.config.segment_bytes.saturating_sub(SEGMENT_HEADER_BYTES as u64).saturating_sub(left);
        if records.iter().any(|record| record_bytes(record.length()) as u64 > room) {
            return Err(CommitError::TooLong);
        }
        self.make_room(records, left)?;
        let first = self.next_lsn;
        let mut rest = records;
        while !rest.is_empty() {
            let fitting = self.fitting(rest, left);
            if fitting == 0 {
                self.rotate()?;
                continue;
            }
            let (now, later) = rest.split_at(fitting);
            self.write(now).map_err(|error| self.fail(&error))?;
            rest = later;
        }
        Ok(Durable { first, last: self.next_lsn.saturating_sub(1) })
    }

    /// Sees to it that a batch that fits into one segment is in one segment, so that no part of it is kept when there is no room for the rest. For
    /// a longer one: that as many segments may be begun; then only a disk that fills up in the midst of it divides it.
    fn make_room(&mut self, records: &[Record<'_>], left: u64) -> Result<(), CommitError> {
        if self.fitting(records, left) == records.len() {
            return Ok(());
        }
        let room = self.config.segment_bytes.saturating_sub(SEGMENT_HEADER_BYTES as u64).saturating_sub(left);
        let (mut segments, mut free) = (0, 0);
        for record in records {
            let length = record_bytes(record.length()) as u64;
            if length > free {
                (segments, free) = (segments + 1, room);
            }
            free -= length;
        }
        self.check_segments(segments)?;
        self.rotate()
    }

    /// An error if no `more` segments may be begun.
    fn check_segments(&self, more: usize) -> Result<(), CommitError> {
        if self.full.len() + more < self.config.segments_max.max(2) {
            return Ok(());
        }
        Err(CommitError::Full(format!(
            "the journal in {} waits for its mail files to be written out; the disk is slow or the backlog large",
            self.folder.display()
        )))
    }

    /// How many of the records the active segment has room for, and `left` bytes behind them.
    fn fitting(&self, records: &[Record<'_>], left: u64) -> usize {
        let Some(active) = &self.active else { return 0 };
        let mut offset = self.offset;
        records
            .iter()
            .take_while(|record| {
                offset += record_bytes(record.length()) as u64;
                offset.saturating_add(left) <= active.bytes
            })
            .count()
    }

    /// Writes records that fit into the active segment, and syncs.
    fn write(&mut self, records: &[Record<'_>]) -> io::Result<()> {
        let Some(active) = &self.active else { return Err(io::Error::other("no active segment")) };
        const PADDING: [u8; 8] = [0; 8];
        let headers: Vec<[u8; HEADER_BYTES]> = (self.next_lsn..)
            .zip(records)
            .map(|(lsn, record)| {
                let length = u32::try_from(record.length()).unwrap_or(u32::MAX);
                Header { length, kind: record.kind, lsn, segment: active.sequence }.seal(record.parts)
            })
            .collect();
        let mut slices = Vec::with_capacity(records.len() * 4);
        for (header, record) in headers.iter().zip(records) {
            slices.push(IoSlice::new(header));
            slices.extend(record.parts.iter().map(|part| IoSlice::new(part)));
            let length = record.length();
            slices.push(IoSlice::new(PADDING.get(..record_bytes(length) - HEADER_BYTES - length).unwrap_or_default()));
        }
        let mut rest = slices.as_mut_slice();
        let mut offset = self.offset;
        while !rest.is_empty() {
            let now = rest.get(..rest.len().min(PARTS_MAX)).unwrap_or_default();
            let written = match rustix::io::pwritev(&active.file, now, offset) {
                Ok(0) => {
                    // Only empty parts are left, or the file takes nothing any more.
                    if now.iter().all(|slice| slice.is_empty()) && now.len() == rest.len() {
                        break;
                    }
                    return Err(io::ErrorKind::WriteZero.into());
                }
                Ok(written) => written,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            offset += written as u64;
            IoSlice::advance_slices(&mut rest, written);
        }
        active.file.sync_data()?;
        self.offset = offset;
        self.next_lsn += records.len() as u64;
        Ok(())
    }

    /// Ends the active segment and begins another.
    fn rotate(&mut self) -> Result<(), CommitError> {
        // Checked before anything changes: a full journal goes on as it was.
        self.check_segments(1)?;
        let free = self.free.pop();
        let segment = Segment::create(&self.folder, self.next_sequence, self.config.segment_bytes, free).map_err(|error| {
            if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
                CommitError::Full(format!("no space for the journal in {}: free some", self.folder.display()))
            } else {
                self.fail(&error)
            }
        })?;
        self.next_sequence += 1;
        if let Some(ended) = self.active.replace(segment) {
            self.full.push_back(Full { sequence: ended.sequence, last_lsn: self.next_lsn.saturating_sub(1) });
        }
        self.offset = SEGMENT_HEADER_BYTES as u64;
        Ok(())
    }

    /// Makes the first segment ready, so that the first message does not wait for it and a full disk is found at start.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn prepare(&mut self) -> Result<(), CommitError> {
        if self.active.is_none() { self.rotate() } else { Ok(()) }
    }

    fn fail(&mut self, error: &io::Error) -> CommitError {
        let text = format!(
            "the journal in {} failed: {error}; nothing is accepted any more: check the disk, then restart",
            self.folder.display()
        );
        self.failed = Some(text.clone());
        CommitError::Failed(text)
    }

    /// Says that the effects of all records up to this number are finished, though not synced: after a mere restart of the process they
    /// are not repeated. One small write, no sync.
    pub fn mark_applied(&mut self, lsn: u64) {
        let line = format!("{} {lsn:020}\n", self.boot_id);
        // Without it a restart checks more records than it must, nothing else.
        let _ = self.applied.write_all_at(line.as_bytes(), 0);
    }

    /// Takes the mark of a journal's folder away: the effects may be lost though the machine has not stopped, so the next open says of no record
    /// that it is applied. What a process that has the journal open marks after this is not found by it.
    ///
    /// # Errors
    /// The operating system's; no mark is fine.
    pub fn distrust(folder: &Path) -> io::Result<()> {
        gone(std::fs::remove_file(folder.join(APPLIED)))
    }

    /// The oldest full segment whose records are all applied up to `lsn`: sync the volume its effects are on, then `retire` it.
    #[must_use]
    pub fn retirable(&self, applied_lsn: u64) -> Option<u64> {
        self.full.front().filter(|full| full.last_lsn <= applied_lsn).map(|full| full.sequence)
    }

    /// The segment's records are not needed any more: it is used again.
    ///
    /// # Errors
    /// The file could not be renamed; it stays, and is replayed once more after a crash. One that is gone is retired.
    pub fn retire(&mut self, sequence: u64) -> io::Result<()> {
        if self.full.front().is_none_or(|full| full.sequence != sequence) {
            return Ok(());
        }
        let path = segment_path(&self.folder, sequence);
        // One spare is enough: at the usual pace there are an active, a waiting and a free one.
        if self.free.is_empty() && path.metadata().is_ok_and(|metadata| metadata.len() == self.config.segment_bytes) {
            let free = path.with_extension("free");
            std::fs::rename(&path, &free)?;
            self.free.push(free);
        } else {
            gone(std::fs::remove_file(&path))?;
        }
        self.full.pop_front();
        Ok(())
    }

    /// Number of the last record committed.
    #[must_use]
    pub fn last_lsn(&self) -> u64 {
        self.next_lsn.saturating_sub(1)
    }

    /// The text of the failure, once the journal has failed.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }
}

/// A file that was not there is as good as removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// The number in the applied mark, if it was made since the machine started.
fn read_applied(path: &Path, boot_id: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    match text.trim_end().split_once(' ') {
        Some((boot, lsn)) if !boot_id.is_empty() && boot == boot_id => lsn.parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // small numbers of the tests themselves
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALL: JournalConfig = JournalConfig { segment_bytes: 8192, segments_max: 4 };

    fn replayed(folder: &Path) -> Vec<(u64, Vec<u8>, bool)> {
        let mut records = Vec::new();
        Journal::open(folder, SMALL, |record| {
            records.push((record.lsn, record.body.to_vec(), record.applied));
            Ok(())
        })
        .unwrap();
        records
    }

    fn commit(journal: &mut Journal, bodies: &[&[u8]]) -> Result<Durable, CommitError> {
        let parts: Vec<[&[u8]; 2]> = bodies.iter().map(|body| [&body[..body.len() / 2], &body[body.len() / 2..]]).collect();
        let records: Vec<Record> = parts.iter().map(|parts| Record { kind: 1, parts }).collect();
        journal.commit(&records)
    }

    #[test]
    fn what_was_committed_is_replayed_and_applied_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), SMALL, |_| Ok(())).unwrap();
        let durable = commit(&mut journal, &[b"one", b"two"]).unwrap();
        assert_eq!((durable.first(), durable.last()), (1, 2));
        journal.mark_applied(1);
        drop(journal);
        assert_eq!(replayed(folder.path()), [(1, b"one".to_vec(), true), (2, b"two".to_vec(), false)]);
        let mut journal = Journal::open(folder.path(), SMALL, |_| Ok(())).unwrap();
        assert_eq!(commit(&mut journal, &[b"three"]).unwrap().first(), 3);
        drop(journal);
        assert_eq!(replayed(folder.path()).len(), 3);
    }

    #[test]
    fn segments_fill_refuse_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), SMALL, |_| Ok(())).unwrap();
        let body = [7; 1500];
        let mut kept = 0;
        let full = loop {
            match commit(&mut journal, &[&body]) {
                Ok(_) => kept += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(full, CommitError::Full(_)) && kept >= 4, "{full} after {kept}");
        assert_eq!(replayed(folder.path()).len(), kept);
        let oldest = journal.retirable(journal.last_lsn()).unwrap();
        assert_eq!(journal.retirable(0), None, "not before it is applied");
        journal.retire(oldest).unwrap();
        commit(&mut journal, &[&body]).unwrap();
        let records = replayed(folder.path());
        assert_eq!(records.last().unwrap().0, kept as u64 + 1);
        assert!(records.first().unwrap().0 > 1, "a retired segment is not replayed");
        assert!(matches!(commit(&mut journal, &[&[0; 9000]]), Err(CommitError::TooLong)));
        // The end of a segment that is left to small records is theirs when nothing else fits.
        let large: [&[u8]; 1] = [&body];
        while journal.commit_leaving(&[Record { kind: 1, parts: &large }], 1024).is_ok() {}
        commit(&mut journal, &[b"small"]).unwrap();
        let too_long: [&[u8]; 1] = [&[0; 7900]];
        assert!(matches!(journal.commit_leaving(&[Record { kind: 1, parts: &too_long }], 1024), Err(CommitError::TooLong)));
    }

    #[test]
    fn a_refused_batch_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), SMALL, |_| Ok(())).unwrap();
        let body = [7; 1500];
        // Two fit into a segment.
        for _ in 0..3 {
            commit(&mut journal, &[&body, &body]).unwrap();
        }
        commit(&mut journal, &[&body]).unwrap();
        for batch in [&[&body[..]; 2][..], &[&body[..]; 4]] {
            assert!(matches!(commit(&mut journal, batch), Err(CommitError::Full(_))));
            assert_eq!((replayed(folder.path()).len(), journal.last_lsn()), (7, 7));
        }
        // What fits the rest is still taken, and a longer batch as soon as there is room for all of it.
        commit(&mut journal, &[&body]).unwrap();
        for _ in 0..2 {
            let oldest = journal.retirable(journal.last_lsn()).unwrap();
            journal.retire(oldest).unwrap();
        }
        assert!(matches!(commit(&mut journal, &[&body[..]; 6]), Err(CommitError::Full(_))));
        assert_eq!(commit(&mut journal, &[&body[..]; 4]).unwrap(), Durable { first: 9, last: 12 });
        assert_eq!(replayed(folder.path()).iter().map(|record| record.0).collect::<Vec<_>>(), [5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn numbers_go_on_behind_the_mark_and_a_distrusted_mark_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), SMALL, |_| Ok(())).unwrap();
        commit(&mut journal, &[b"one", b"two"]).unwrap();
        journal.mark_applied(2);
        drop(journal);
        // All is retired.
        let mut journal = Journal::open(folder.path(), SMALL, |_| Ok(())).unwrap();
        let oldest = journal.retirable(2).unwrap();
        journal.retire(oldest).unwrap();
        drop(journal);
        let mut journal = Journal::open(folder.path(), SMALL, |_| Ok(())).unwrap();
        assert_eq!(commit(&mut journal, &[b"three"]).unwrap().first(), 3);
        assert_eq!(replayed(folder.path()), [(3, b"three".to_vec(), false)]);
        journal.mark_applied(3);
        assert_eq!(replayed(folder.path()), [(3, b"three".to_vec(), true)]);
        Journal::distrust(folder.path()).unwrap();
        journal.mark_applied(3);
        assert_eq!(replayed(folder.path()), [(3, b"three".to_vec(), false)]);
        Journal::distrust(&folder.path().join("none")).unwrap();
    }

    #[test]
    fn a_segment_that_is_gone_is_retired() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), SMALL, |_| Ok(())).unwrap();
        for _ in 0..3 {
            commit(&mut journal, &[&[7; 3000]]).unwrap();
        }
        let oldest = journal.retirable(3).unwrap();
        std::fs::remove_file(segment_path(folder.path(), oldest)).unwrap();
        journal.retire(oldest).unwrap();
        assert_ne!(journal.retirable(3), Some(oldest));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// A crash at any byte: whole batches before it are there, and never anything that was not written.
        #[test]
        fn a_torn_tail_is_ignored(lengths in proptest::collection::vec(0..300_usize, 1..12), at in any::<prop::sample::Index>(), garbage in any::<u8>()) {
            let folder = tempfile::tempdir().unwrap();
            let mut journal = Journal::open(folder.path(), SMALL, |_| Ok(())).unwrap();
            let bodies: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(index, length)| vec![index as u8 + 1; *length]).collect();
            for body in &bodies { commit(&mut journal, &[body]).unwrap(); }
            drop(journal);
            let path = segment_path(folder.path(), 1);
            let mut bytes = std::fs::read(&path).unwrap();
            let used = SEGMENT_HEADER_BYTES + bodies.iter().map(|body| record_bytes(body.len())).sum::<usize>();
            let cut = SEGMENT_HEADER_BYTES + at.index(used - SEGMENT_HEADER_BYTES);
            for byte in &mut bytes[cut..used] { *byte = garbage; }
            std::fs::write(&path, bytes).unwrap();
            let found = replayed(folder.path());
            for ((_, body, _), original) in found.iter().zip(&bodies) { prop_assert_eq!(body, original); }
            let mut end = SEGMENT_HEADER_BYTES;
            let whole = bodies.iter().take_while(|body| { end += record_bytes(body.len()); end <= cut }).count();
            prop_assert!(found.len() >= whole && found.len() <= bodies.len());
        }
    }
}
