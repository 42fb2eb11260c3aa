//! Entries of block lists set by command: an overlay for each list, one journal for all.

use crate::state::{self, State};
use postring_dns::Name;
use postring_dns::list::{Change, Overlay, decode_changes, encode_change};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Seconds between two looks for entries that have expired.
const PURGE_SECONDS: u64 = 30;
/// A journal this much larger than its live entries is written anew.
const JOURNAL_SLACK_BYTES: usize = 1 << 20;

/// All overlays.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    overlays: BTreeMap<Name, Arc<Overlay>>,
    journal_bytes: usize,
    live_bytes: usize,
    purge_at: u64,
}

impl Blocks {
    /// Reads the journal.
    pub(super) fn open(state: &State, now: u64) -> Result<Self, String> {
        let mut blocks = Self::default();
        let path = state.block_journal();
        let bytes = state::read_journal(&path)?;
        let mut changes: BTreeMap<Name, Vec<Change>> = BTreeMap::new();
        let decoded = decode_changes(&bytes, &mut |list, change| changes.entry(list.to_key()).or_default().push(change));
        if decoded.damaged > 0 {
            tracing::warn!("{}: {} lines are damaged and were passed over", path.display(), decoded.damaged);
        }
        if decoded.good_bytes < bytes.len() {
            state::cut(&path, decoded.good_bytes)?;
        }
        for (list, changes) in changes {
            let overlay = blocks.overlay(&list);
            overlay.set_now(now);
            overlay.apply(changes).map_err(|error| format!("{}: {list}: {error}", path.display()))?;
            overlay.purge(now);
        }
        blocks.journal_bytes = decoded.good_bytes;
        blocks.compact_if_due(state);
        Ok(blocks)
    }

    /// The overlay of a list; made if there is none.
    pub(super) fn overlay(&mut self, list: &Name) -> Arc<Overlay> {
        Arc::clone(self.overlays.entry(list.to_key()).or_default())
    }

    /// Keeps changes on disk, then makes them.
    pub(super) fn apply(&mut self, list: &Name, changes: Vec<Change>, state: &State) -> Result<(), String> {
        let mut bytes = Vec::new();
        for change in &changes {
            encode_change(list, change, &mut bytes);
        }
        let overlay = self.overlay(list);
        // Tried first: what the journal holds must always be possible.
        overlay.apply(changes).map_err(|error| error.to_string())?;
        state::append(&state.block_journal(), &bytes, 0o600)?;
        self.journal_bytes += bytes.len();
        Ok(())
    }

    /// Tells the overlays the time, and forgets what has expired.
    pub(super) fn tick(&mut self, state: &State, now: u64) {
        for overlay in self.overlays.values() {
            overlay.set_now(now);
        }
        if now < self.purge_at {
            return;
        }
        self.purge_at = now + PURGE_SECONDS;
        for (list, overlay) in &self.overlays {
            let purged = overlay.purge(now);
            if purged > 0 {
                tracing::info!("{list}: {purged} entries have expired");
            }
        }
        self.compact_if_due(state);
    }

    /// Writes the journal anew if most of it is no longer so.
    fn compact_if_due(&mut self, state: &State) {
        if self.journal_bytes < self.live_bytes.saturating_mul(2).saturating_add(JOURNAL_SLACK_BYTES) {
            return;
        }
        let mut bytes = Vec::new();
        for (list, overlay) in &self.overlays {
            for entry in overlay.iter(overlay.now()) {
                encode_change(list, &Change::Put((*entry).clone()), &mut bytes);
            }
        }
        match state::replace(&state.block_journal(), &bytes, 0o600) {
            Ok(()) => {
                self.journal_bytes = bytes.len();
                self.live_bytes = bytes.len();
            }
            Err(error) => {
                // Again when it has grown as much once more.
                self.live_bytes = self.journal_bytes;
                tracing::warn!("the journal of block list entries could not be written anew: {error}");
            }
        }
    }
}
