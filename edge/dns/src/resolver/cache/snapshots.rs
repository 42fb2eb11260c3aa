//! What the cache leaves to the next start, and finds from the last stop.

use super::{Cache, Entry, allocated, seconds};
use crate::resolver::snapshot::{Kept, KeptTimes, Snapshot};
use crate::types::Rtype;
use std::sync::Arc;

/// Seconds a cache looks into the snapshots it was given. Names that are asked for often are taken over in minutes; for the others a question more
/// costs less than the memory of a second cache.
const LOOKED_INTO_SECONDS: u32 = 3600;

impl Cache {
    /// Takes an answer over from a snapshot.
    pub(super) fn find_in_snapshots(&mut self, hash: u64, key: &[u8], rtype: Rtype, now: u32) -> Option<u32> {
        if self.snapshots.is_empty() {
            return None;
        }
        if self.snapshots_until <= now {
            self.snapshots = Vec::new();
            return None;
        }
        let unix_now = self.unix(now);
        let Kept { packed, times } = self.snapshots.iter().find_map(|snapshot| snapshot.find(key, rtype, unix_now))?;
        let stored = now.checked_sub(u32::try_from(unix_now.checked_sub(times.stored)?).ok()?)?;
        let entry = Entry {
            packed,
            hash,
            stored,
            until_mail: stored.saturating_add(times.seconds_mail),
            until_client: stored.saturating_add(times.seconds_client),
            until_gone: stored.saturating_add(times.seconds_gone),
            recheck: 0,
            failures: 0,
            refresh_said: false,
        };
        self.stats.snapshot_hits += 1;
        self.replace(None, entry, now);
        self.place(hash, key, rtype)
    }

    /// All that is not over, for [`Self::attach`] after the next start; `None` if that is nothing. Failures are left out, and the store of negatives:
    /// it ends within minutes. What is still in the snapshots and was not asked for since the start goes on as well, so that two stops in a row cost
    /// no more than one: of `shards` caches that were given the same snapshots each takes its part, `shard` being this one's number from 0.
    #[must_use]
    pub fn snapshot(&self, (shard, shards): (usize, usize), now_ms: u64) -> Option<Vec<u8>> {
        let now = seconds(now_ms);
        let unix_now = self.unix(now);
        let own = self.entries.iter().filter(|(_, entry)| entry.failures == 0 && entry.until_gone > now).map(|(_, entry)| {
            let age = now.saturating_sub(entry.stored);
            let times = KeptTimes {
                stored: unix_now.saturating_sub(age.into()),
                seconds_mail: entry.until_mail - entry.stored,
                seconds_client: entry.until_client - entry.stored,
                seconds_gone: entry.until_gone - entry.stored,
            };
            (&entry.packed, times)
        });
        let before = self.not_asked_for((shard, shards), now);
        let mut all = own.chain(before.iter().map(|kept| (&kept.packed, kept.times))).peekable();
        all.peek()?;
        Some(Snapshot::write(all, self.config.hash_key, unix_now))
    }

    /// This cache's part of what is in the snapshots and not here, as far as there would be room for it.
    fn not_asked_for(&self, (shard, shards): (usize, usize), now: u32) -> Vec<Kept> {
        if self.snapshots_until <= now {
            return Vec::new();
        }
        let unix_now = self.unix(now);
        let own = self.snapshots.iter().skip(shard).step_by(shards.max(1));
        let mut room = self.config.bytes_max.saturating_sub(self.bytes());
        let kept = own.flat_map(|snapshot| snapshot.entries(unix_now)).filter(|Kept { packed, .. }| {
            let hash = self.config.hash_key.hash(packed.key(), packed.rtype());
            self.place(hash, packed.key(), packed.rtype()).is_none()
        });
        let fits = kept.take_while(|Kept { packed, .. }| {
            let left = room.checked_sub(allocated(packed.bytes().len()) + size_of::<Entry>());
            room = left.unwrap_or(0);
            left.is_some()
        });
        fits.collect()
    }

    /// Looks into snapshots for what is not here, for an hour, or until something is flushed: those of all shards, for the number of these may have
    /// changed. Each costs some 50 ns a miss.
    pub fn attach(&mut self, snapshots: Vec<Arc<Snapshot>>, now_ms: u64) {
        self.snapshots = snapshots;
        self.snapshots_until = seconds(now_ms).saturating_add(LOOKED_INTO_SECONDS);
    }
}
