//! Answers of others, kept for a while; bounded in bytes.
//!
//! ```text
//!   put ─> kept ── its time ──> stale ── stale_max ──> gone
//!            │ get: a hit         │ get: nothing; get_stale, or a failure put meanwhile: given as it was
//!            └ the last tenth of its time: the hit says once that it should be asked for again
//! ```
//! Costs: a hit is one hash of the name, one look-up in the table, one comparison of the name and one count of a shared pointer; no allocation
//! (`tests/allocations_cache.rs`, `benches/cache.rs`).

use super::hash::HashKey;
use super::negative::{Negative, NegativeStore};
use super::packed::Packed;
use super::policy::{FAILURE_TTL_MAX, Purpose, Says, TtlRules, failure_ttl};
use super::sieve::Sieve;
use super::snapshot::{AGE_MAX, Snapshot};
use super::{Answer, Resolved};
use crate::dnssec::Security;
use crate::name::{Name, is_within};
use crate::types::{Rcode, Rtype};
use entry::Entry;
use hashbrown::HashTable;
use std::sync::Arc;

/// Milliseconds a client should wait for the resolver before it is given what is stale, if there is any (RFC 8767 section 5, the client
/// response timer).
pub const STALE_ANSWER_WAIT_MS: u64 = 1800;
/// Seconds a client may keep what is stale (RFC 8767 section 4).
pub const TTL_STALE: u32 = 30;
/// Seconds after a failure in which what is stale is given without asking again (RFC 8767 section 5, the failure recheck timer).
const RECHECK_SECONDS: u32 = 30;
/// The part of its time in which a hit says that an answer should be asked for again.
const REFRESH_PART: u32 = 10;

/// What a cache may use, and how long it keeps.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Bytes taken from the allocator: entries, their list, and the table.
    pub bytes_max: usize,
    /// How long answers are kept.
    pub ttl: TtlRules,
    /// Seconds a positive answer is kept beyond its time, in case that nothing better can be had. A day: who cannot repair their servers in that
    /// time has other troubles than ours (RFC 8767 section 5 suggests one to three).
    pub stale_max: u32,
    /// The key of the table.
    pub hash_key: HashKey,
    /// Unix time, in seconds, when `now_ms` is 0.
    pub unix_at_zero: u64,
    /// Where the negative answers go of which a rule says so; shared by all shards.
    pub negatives: Option<Arc<NegativeStore>>,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            bytes_max: 32 * 1024 * 1024,
            ttl: TtlRules::default(),
            stale_max: 86_400,
            hash_key: HashKey::random(),
            unix_at_zero: 0,
            negatives: None,
        }
    }
}

/// What a look-up found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The answer.
    pub resolved: Resolved,
    /// It is asked for, and its time is nearly over: ask again now, and nobody has to wait then. Said once a time.
    pub refresh: bool,
}

/// Counts since the start, and sizes now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Entries now.
    pub entries: usize,
    /// Bytes they take, all told.
    pub bytes: usize,
    /// Look-ups answered.
    pub hits: u64,
    /// Look-ups not answered.
    pub misses: u64,
    /// Entries that had to make room.
    pub evictions: u64,
    /// Answers given beyond their time.
    pub stale: u64,
    /// Answers of which a hit said that they should be asked for again.
    pub refreshes: u64,
    /// Look-ups answered by a snapshot.
    pub snapshot_hits: u64,
    /// Snapshots that are looked into now.
    pub snapshots: usize,
    /// Look-ups answered by the store of negatives.
    pub negative_hits: u64,
}

/// Bytes the allocator takes for a shared slice of this length: two counts before it, in steps of 16.
fn allocated(bytes: usize) -> usize {
    (bytes + 2 * size_of::<usize>()).next_multiple_of(16)
}

/// Whole seconds since a week before the beginning of `now_ms`, so that what a snapshot brings has a time as well.
fn seconds(now_ms: u64) -> u32 {
    u32::try_from(now_ms / 1000).unwrap_or(u32::MAX).saturating_add(AGE_MAX)
}

/// Types mail asks for, of which a name may be known to have none.
const MAIL_TYPES: [Rtype; 6] = [Rtype::A, Rtype::AAAA, Rtype::MX, Rtype::TXT, Rtype::PTR, Rtype::TLSA];

/// The cache of one shard.
#[derive(Debug)]
pub struct Cache {
    config: CacheConfig,
    table: HashTable<u32>,
    entries: Sieve<Entry>,
    /// Of the packed answers.
    packed_bytes: usize,
    stats: CacheStats,
    snapshots: Vec<Arc<Snapshot>>,
    /// Then they are let go.
    snapshots_until: u32,
    /// What the store of negatives says: NODATA and NXDOMAIN.
    nothing: [Resolved; 2],
}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new(config: CacheConfig) -> Self {
        let nothing = [Rcode::NOERROR, Rcode::NXDOMAIN]
            .map(|rcode| Resolved::new(&Name::root(), Rtype(0), &Answer { rcode, ..Answer::failure(0) }));
        Self {
            config,
            table: HashTable::new(),
            entries: Sieve::default(),
            packed_bytes: 0,
            stats: CacheStats::default(),
            snapshots: Vec::new(),
            snapshots_until: 0,
            nothing,
        }
    }

    fn place(&self, hash: u64, key: &[u8], rtype: Rtype) -> Option<u32> {
        let is_it =
            |place: &u32| self.entries.get(*place).is_some_and(|entry| entry.hash == hash && entry.packed.is_for(key, rtype));
        self.table.find(hash, is_it).copied()
    }

    /// Looks a name up; `key` in lower case and wire form.
    pub fn get(&mut self, key: &[u8], rtype: Rtype, purpose: Purpose, now_ms: u64) -> Option<Found> {
        let found = self.find(key, rtype, purpose, seconds(now_ms));
        match &found {
            Some(found) => {
                self.stats.hits += 1;
                self.stats.stale += u64::from(found.resolved.stale);
                self.stats.refreshes += u64::from(found.refresh);
            }
            None => self.stats.misses += 1,
        }
        found
    }

    fn unix(&self, now: u32) -> u64 {
        self.config.unix_at_zero.saturating_add(u64::from(now)).saturating_sub(AGE_MAX.into())
    }

    fn find(&mut self, key: &[u8], rtype: Rtype, purpose: Purpose, now: u32) -> Option<Found> {
        let hash = self.config.hash_key.hash(key, rtype);
        let place = match self.place(hash, key, rtype) {
            Some(place) => place,
            None => match self.find_negative(key, rtype, purpose, now) {
                Some(resolved) => return Some(Found { resolved, refresh: false }),
                None => self.find_in_snapshots(hash, key, rtype, now)?,
            },
        };
        let entry = self.entries.get_mut(place)?;
        if entry.until_gone <= now {
            self.remove(place);
            return None;
        }
        let until = entry.until(purpose);
        let found = if now < until {
            let left = until - now;
            let refresh = !entry.refresh_said && left <= (until - entry.stored) / REFRESH_PART && entry.failures == 0;
            entry.refresh_said |= refresh;
            Found { resolved: entry.resolved(purpose, now, false), refresh }
        } else if now < entry.recheck && entry.may_be_stale() {
            Found { resolved: entry.resolved(purpose, now, true), refresh: false }
        } else {
            return None;
        };
        self.entries.touch(place);
        Some(found)
    }

    /// What the store of negatives says, for whoever may believe it.
    fn find_negative(&mut self, key: &[u8], rtype: Rtype, purpose: Purpose, now: u32) -> Option<Resolved> {
        let store = self.config.negatives.as_ref()?;
        if purpose != Purpose::Mail || !self.config.ttl.of(key).compact_negatives {
            return None;
        }
        let [no_type, no_name] = &self.nothing;
        let resolved = match store.get(key, rtype, self.unix(now))? {
            Negative::Type => no_type,
            Negative::Name => no_name,
        };
        self.stats.negative_hits += 1;
        Some(resolved.clone())
    }

    /// What was known before its time was over: for when the resolver cannot say, or takes longer than [`STALE_ANSWER_WAIT_MS`]. Positive
    /// answers only, for a name that was missing may have come to be; and not those that were validated: their signatures may have ended, and
    /// without them they would lead a sender that has to use DANE to go without (RFC 7672 section 2.1).
    pub fn get_stale(&mut self, key: &[u8], rtype: Rtype, now_ms: u64) -> Option<Resolved> {
        let now = seconds(now_ms);
        let hash = self.config.hash_key.hash(key, rtype);
        let place = match self.place(hash, key, rtype) {
            Some(place) => place,
            None => self.find_in_snapshots(hash, key, rtype, now)?,
        };
        let entry = self.entries.get(place)?;
        if entry.until_gone <= now || !entry.may_be_stale() {
            return None;
        }
        let resolved = entry.resolved(Purpose::Client, now, now >= entry.until_client);
        self.entries.touch(place);
        Some(resolved)
    }

    /// What [`Self::get_stale`] gave was given on.
    pub fn count_stale(&mut self) {
        self.stats.stale += 1;
    }

    /// Keeps an answer for the time its TTL and the rules allow, and gives it as it is to be given on. A failure does not push out what may be
    /// given beyond its time: then that is what is given. `purpose` is that of whoever asked: a negative answer for mail alone may be kept in the
    /// store of negatives alone.
    pub fn put(&mut self, name: &Name, rtype: Rtype, answer: &Answer, purpose: Purpose, now_ms: u64) -> Resolved {
        let (now, key) = (seconds(now_ms), name.to_key());
        let hash = self.config.hash_key.hash(key.wire(), rtype);
        let place = self.place(hash, key.wire(), rtype);
        if answer.is_failure() {
            return self.put_failure(&key, rtype, answer, (hash, place), now);
        }
        let rule = *self.config.ttl.of(key.wire());
        let says = Says::of(rtype, answer);
        let mail = rule.seconds(Purpose::Mail, says, answer.ttl);
        let client = rule.seconds(Purpose::Client, says, answer.ttl);
        // What a client is told: never more than the rules leave.
        let packed = Packed::new(name, rtype, answer, |ttl| rule.seconds(Purpose::Client, says, ttl));
        let longest = mail.max(client);
        let stale = if says == Says::Positive && answer.security != Security::Secure { self.config.stale_max } else { 0 };
        let entry = Entry {
            packed,
            hash,
            stored: now,
            until_mail: now.saturating_add(mail),
            until_client: now.saturating_add(client),
            until_gone: now.saturating_add(longest).saturating_add(if longest > 0 { stale } else { 0 }),
            recheck: 0,
            failures: 0,
            refresh_said: false,
        };
        let resolved = entry.resolved(Purpose::Client, now, false);
        if rule.compact_negatives && self.put_negative(key.wire(), rtype, answer, says, mail, now) && purpose == Purpose::Mail {
            place.into_iter().for_each(|place| self.remove(place));
            return resolved;
        }
        self.replace(place, entry, now);
        resolved
    }

    /// Tells the store of negatives. True if it has the whole of the answer.
    fn put_negative(&self, key: &[u8], rtype: Rtype, answer: &Answer, says: Says, seconds: u32, now: u32) -> bool {
        let Some(store) = &self.config.negatives else { return false };
        if says != Says::Negative {
            store.forget(key, rtype);
            return false;
        }
        // An alias to what is not there says something else about the other types.
        let plain = answer.records.is_empty();
        if plain {
            let what = if answer.rcode == Rcode::NXDOMAIN { Negative::Name } else { Negative::Type };
            store.put(key, rtype, what, seconds, self.unix(now));
        }
        plain
    }

    fn put_failure(&mut self, key: &Name, rtype: Rtype, answer: &Answer, place: (u64, Option<u32>), now: u32) -> Resolved {
        let (hash, place) = place;
        let mut before = 0;
        if let Some(entry) = place.and_then(|place| self.entries.get_mut(place)).filter(|entry| entry.until_gone > now) {
            if entry.may_be_stale() {
                entry.recheck = now.saturating_add(RECHECK_SECONDS);
                let resolved = entry.resolved(Purpose::Client, now, now >= entry.until_client);
                self.stats.stale += u64::from(resolved.stale);
                return resolved;
            }
            before = entry.failures;
        }
        let until = now.saturating_add(failure_ttl(before));
        let entry = Entry {
            packed: Packed::new(key, rtype, answer, |ttl| ttl),
            hash,
            stored: now,
            until_mail: until,
            until_client: until,
            until_gone: until.saturating_add(FAILURE_TTL_MAX),
            recheck: 0,
            failures: before.saturating_add(1),
            refresh_said: false,
        };
        let resolved = entry.resolved(Purpose::Client, now, false);
        self.replace(place, entry, now);
        resolved
    }

    /// Puts an entry in the place of the one there was, and makes room for it.
    fn replace(&mut self, place: Option<u32>, entry: Entry, now: u32) {
        if let Some(place) = place {
            self.remove(place);
        }
        let bytes = allocated(entry.packed.bytes().len());
        if entry.until_gone <= now || bytes > self.config.bytes_max {
            return;
        }
        let hash = entry.hash;
        let Some(place) = self.entries.insert(entry) else { return };
        self.packed_bytes += bytes;
        let entries = &self.entries;
        self.table.insert_unique(hash, place, |place| entries.get(*place).map_or(0, |entry| entry.hash));
        while self.bytes() > self.config.bytes_max {
            let Some(victim) = self.entries.victim(|entry| entry.until_gone <= now) else { return };
            self.remove(victim);
            self.stats.evictions += 1;
        }
    }

    fn remove(&mut self, place: u32) {
        let Some(entry) = self.entries.remove(place) else { return };
        self.packed_bytes -= allocated(entry.packed.bytes().len());
        if let Ok(found) = self.table.find_entry(entry.hash, |other| *other == place) {
            found.remove();
        }
    }

    /// Entries now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// True without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Bytes taken from the allocator.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.packed_bytes + self.entries.bytes() + self.table.allocation_size()
    }

    /// Counts and sizes, but for those of the store of negatives, which is not this cache's alone.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        CacheStats { entries: self.len(), bytes: self.bytes(), snapshots: self.snapshots.len(), ..self.stats }
    }

    /// Takes other rules; what is kept stays for the time it was given.
    pub fn set_rules(&mut self, ttl: TtlRules) {
        self.config.ttl = ttl;
    }

    /// Forgets all: snapshots and the store of negatives, which is all shards', too.
    pub fn flush_all(&mut self) {
        self.snapshots.clear();
        self.config.negatives.iter().for_each(|store| store.clear());
        (self.table, self.entries, self.packed_bytes) = (HashTable::new(), Sieve::default(), 0);
    }

    /// Forgets all types of a name; gives the number of entries here. Costs a walk over all. Snapshots are let go, for they cannot forget.
    pub fn flush_name(&mut self, name: &Name) -> usize {
        let key = name.to_key();
        self.snapshots.clear();
        if let Some(store) = &self.config.negatives {
            MAIL_TYPES.iter().for_each(|rtype| store.forget(key.wire(), *rtype));
        }
        self.flush(|other| other == key.wire())
    }

    /// Forgets a name and all below it; gives the number of entries here. Costs a walk over all. Snapshots are let go, and the store of negatives
    /// forgets all: it does not know what is below what.
    pub fn flush_zone(&mut self, zone: &Name) -> usize {
        let key = zone.to_key();
        self.snapshots.clear();
        self.config.negatives.iter().for_each(|store| store.clear());
        self.flush(|other| is_within(other, key.wire()))
    }

    fn flush(&mut self, goes: impl Fn(&[u8]) -> bool) -> usize {
        let places: Vec<u32> =
            self.entries.iter().filter(|(_, entry)| goes(entry.packed.key())).map(|(place, _)| place).collect();
        places.iter().for_each(|place| self.remove(*place));
        places.len()
    }
}

mod entry;
mod snapshots;
#[cfg(test)]
mod tests;
