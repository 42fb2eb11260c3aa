//! The last differences of a zone, so that secondaries need not take it whole.

use super::Difference;
use std::collections::VecDeque;
use std::sync::Arc;

/// Differences that follow each other, the newest last, bounded in octets.
#[derive(Clone, Debug)]
pub struct ZoneHistory {
    differences: VecDeque<Arc<Difference>>,
    bytes: usize,
    bytes_max: usize,
}

impl ZoneHistory {
    /// An empty history that keeps at most so many octets (as [`Difference::bytes`] counts them).
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { differences: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Adds a step. One that does not follow the last begins the history anew; what is too much is forgotten, the oldest first.
    pub fn push(&mut self, difference: Arc<Difference>) {
        if self.differences.back().is_some_and(|last| last.to_serial() != difference.from_serial()) {
            self.clear();
        }
        self.bytes += difference.bytes();
        self.differences.push_back(difference);
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.differences.pop_front()
        {
            self.bytes -= oldest.bytes();
        }
    }

    /// Forgets all: the zone was replaced in a way that has no difference.
    pub fn clear(&mut self) {
        self.differences.clear();
        self.bytes = 0;
    }

    /// The serial it leads to.
    #[must_use]
    pub fn serial(&self) -> Option<u32> {
        self.differences.back().map(|last| last.to_serial())
    }

    /// The steps from a version to the newest; `None` if that version is not remembered.
    #[must_use]
    pub fn since(&self, serial: u32) -> Option<impl Iterator<Item = &Difference> + Clone> {
        let start = self.differences.iter().position(|difference| difference.from_serial() == serial)?;
        Some(self.differences.iter().skip(start).map(|difference| &**difference))
    }

    /// Number of steps, and the octets they take.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.differences.len(), self.bytes)
    }
}
