//! What an administrator can set of the store. The doc comment of a field is its manual.

use serde::{Deserialize, Serialize};

/// `[store]`: mailboxes and their journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Line ends of files in Maildirs: "lf" or "crlf". Default "lf": what Dovecot and Postfix write, and mutt, grep and procmail expect.
    pub line_ends: LineEnds,
    /// MiB of one segment of a shard's journal. Default 64; at least 48, so that the largest message fits. A shard keeps two or three.
    pub journal_segment_mib: u64,
    /// Segments a shard may have before it answers 452. Default 8.
    pub journal_segments_max: usize,
}

/// See [`StoreConfig::line_ends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineEnds {
    /// LF.
    Lf,
    /// CR LF, as on the wire.
    Crlf,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { line_ends: LineEnds::Lf, journal_segment_mib: 64, journal_segments_max: 8 }
    }
}

impl StoreConfig {
    /// Says what does not fit together.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if !(48..=4096).contains(&self.journal_segment_mib) {
            return Err(format!("store.journal_segment_mib = {}: give a number from 48 to 4096", self.journal_segment_mib));
        }
        if !(2..=1024).contains(&self.journal_segments_max) {
            return Err(format!("store.journal_segments_max = {}: give a number from 2 to 1024", self.journal_segments_max));
        }
        Ok(())
    }
}
