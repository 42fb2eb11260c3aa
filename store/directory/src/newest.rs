//! The snapshots a process is handed, the newest of which counts.

use crate::snapshot::Snapshot;
use std::os::fd::OwnedFd;

/// Remembers which change the snapshot in use is of.
#[derive(Debug, Default)]
pub struct Newest {
    sequence: u64,
}

impl Newest {
    /// Maps the snapshot that came as the first of `descriptors`; `None` if it is older than the one in use, or broken: that is logged, and
    /// the one in use stays.
    pub fn take(&mut self, sequence: u64, descriptors: &[OwnedFd]) -> Option<Snapshot> {
        if sequence < self.sequence {
            return None;
        }
        match descriptors.first().map(Snapshot::map) {
            Some(Ok(snapshot)) => {
                self.sequence = sequence;
                return Some(snapshot);
            }
            Some(Err(error)) => tracing::error!("{error}; the directory in use stays"),
            None => tracing::error!("a directory snapshot came without its memory; the one in use stays"),
        }
        None
    }
}
