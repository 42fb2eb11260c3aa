//! What is known not to be there: 8 octets an entry, shared by all cores without a lock.
//!
//! ```text
//!   hash of (name, type), 64 bits, keyed:   | line: as many bits as there are lines | ...      | fingerprint: 36 bits |
//!   a line, 64 octets:                      8 entries of 64 bits, each one atomic word
//!   an entry:                               | fingerprint: 36 bits | end: 28 bits, seconds since the store was made |     0: free
//! ```
//! That a name does not exist holds for all its types and is one entry, under a type nobody asks for; that it has no records of a type is one
//! entry for that type. A look-up reads both lines and writes nothing. An entry is one word and means nothing beside others, so relaxed order is
//! enough: who writes at the same time as another may lose an entry, which is then asked for again.
//!
//! # How often it is wrong
//! A question that is not there meets 16 fingerprints of 36 bits if all entries are taken and none has ended: 16 / 2^36 = 2.3e-10 a look-up, one in
//! four thousand million; the key is random, so nobody can look for names that collide. Such a wrong negative may stand where it does no more than
//! let one mail pass one check: block lists above all ([`super::ZoneTtl::compact_negatives`]). It may not decide about the MX or the address of a
//! domain, for which NXDOMAIN refuses mail for good.
//!
//! # What it has not
//! The SOA. A negative answer without it is not cached by those who get it (RFC 2308 section 5), so clients of port 53 are answered from the cache of
//! the shard, which has the whole answer. A table of SOAs beside this one would need to know the zone of each entry, which is more octets than
//! the entry has, and could give no proof to those who validate.

use super::hash::HashKey;
use crate::types::Rtype;
use std::sync::atomic::{AtomicU64, Ordering};

/// Entries of a line.
const WAYS: usize = 8;
/// Bits of the end: 8.5 years. After that nothing more is kept.
const END_BITS: u32 = 28;
const END_MAX: u64 = (1 << END_BITS) - 1;
/// What an entry says of the whole name. No question has this type (RFC 6895 section 3.1 reserves it).
const ANY_TYPE: Rtype = Rtype(0);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

/// What is known of a name and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negative {
    /// NXDOMAIN: the name does not exist.
    Name,
    /// NODATA: it has no records of the type.
    Type,
}

/// See the module. All of it is taken at the start.
#[derive(Debug)]
pub struct NegativeStore {
    key: HashKey,
    lines: Box<[Line]>,
    /// Second 0, in Unix time.
    begun: u64,
}

/// A word that is never 0, for 0 is a free place: an end is at least 1.
fn word(hash: u64, end: u64) -> u64 {
    (hash << END_BITS) | end
}

fn end_of(word: u64) -> u64 {
    word & END_MAX
}

/// True if the fingerprints are the same.
fn is_same(word: u64, hash: u64) -> bool {
    word >> END_BITS == (hash << END_BITS) >> END_BITS
}

impl NegativeStore {
    /// An empty store of at most `bytes` octets; a line at least. `unix_now` is the time in seconds; so are all times here.
    #[must_use]
    pub fn new(bytes: usize, key: HashKey, unix_now: u64) -> Self {
        let lines = (bytes / size_of::<Line>()).clamp(1, 1 << 24);
        Self { key, lines: (0..lines).map(|_| Line::default()).collect(), begun: unix_now.saturating_sub(1) }
    }

    /// The line of a hash: its upper half, scaled, so that any number of lines will do and the fingerprint's bits, the lower 36, say something
    /// else. With 2^24 lines at most, the line uses the upper 24.
    fn line(&self, hash: u64) -> &[AtomicU64] {
        let lines = u64::try_from(self.lines.len()).unwrap_or(1);
        let place = ((hash >> 36) * lines) >> 28;
        usize::try_from(place).ok().and_then(|place| self.lines.get(place)).map_or(&[], |line| &line.0)
    }

    fn second(&self, unix_now: u64) -> u64 {
        unix_now.saturating_sub(self.begun)
    }

    fn has(&self, hash: u64, second: u64) -> bool {
        self.line(hash).iter().any(|entry| {
            let word = entry.load(Ordering::Relaxed);
            is_same(word, hash) && end_of(word) > second
        })
    }

    /// What is known; `key` in lower case. Costs two hashes and two lines of memory.
    #[must_use]
    pub fn get(&self, key: &[u8], rtype: Rtype, unix_now: u64) -> Option<Negative> {
        let second = self.second(unix_now);
        if self.has(self.key.hash(key, rtype), second) {
            return Some(Negative::Type);
        }
        self.has(self.key.hash(key, ANY_TYPE), second).then_some(Negative::Name)
    }

    /// Keeps that something is not there for so many seconds. In a line that is full the entry goes that would end first.
    pub fn put(&self, key: &[u8], rtype: Rtype, what: Negative, seconds: u32, unix_now: u64) {
        let end = self.second(unix_now).saturating_add(seconds.into());
        if seconds == 0 || end > END_MAX {
            return;
        }
        let hash = self.key.hash(key, if what == Negative::Name { ANY_TYPE } else { rtype });
        let line = self.line(hash);
        let own = line.iter().find(|entry| is_same(entry.load(Ordering::Relaxed), hash));
        let place = own.or_else(|| line.iter().min_by_key(|entry| end_of(entry.load(Ordering::Relaxed))));
        if let Some(place) = place {
            place.store(word(hash, end), Ordering::Relaxed);
        }
    }

    /// Forgets it: there is something now.
    pub fn forget(&self, key: &[u8], rtype: Rtype) {
        for hash in [self.key.hash(key, rtype), self.key.hash(key, ANY_TYPE)] {
            for entry in self.line(hash) {
                let word = entry.load(Ordering::Relaxed);
                if is_same(word, hash) {
                    // Unless another has just taken the place.
                    let _ = entry.compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
                }
            }
        }
    }

    /// Forgets all. Costs a walk over all.
    pub fn clear(&self) {
        self.lines.iter().flat_map(|line| &line.0).for_each(|entry| entry.store(0, Ordering::Relaxed));
    }

    /// Entries that have not ended. Costs a walk over all.
    #[must_use]
    pub fn len(&self, unix_now: u64) -> usize {
        let second = self.second(unix_now);
        self.lines.iter().flat_map(|line| &line.0).filter(|entry| end_of(entry.load(Ordering::Relaxed)) > second).count()
    }

    /// Octets taken.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use std::sync::Arc;

    const NOW: u64 = 1_800_000_000;

    fn store(bytes: usize) -> NegativeStore {
        NegativeStore::new(bytes, HashKey::new([1, 2]), NOW)
    }

    fn key(number: usize) -> Vec<u8> {
        Name::absolute(&format!("n{number}.bl.example")).unwrap().wire().to_vec()
    }

    #[test]
    fn names_and_types() {
        let store = store(1 << 16);
        assert_eq!((size_of::<Line>(), store.bytes()), (64, 1 << 16));
        store.put(&key(1), Rtype::A, Negative::Type, 60, NOW);
        store.put(&key(2), Rtype::A, Negative::Name, 60, NOW);
        store.put(&key(3), Rtype::A, Negative::Name, 0, NOW);
        let ask = |number, rtype, now| store.get(&key(number), rtype, now);
        assert_eq!([ask(1, Rtype::A, NOW), ask(1, Rtype::TXT, NOW)], [Some(Negative::Type), None]);
        assert_eq!([ask(2, Rtype::A, NOW), ask(2, Rtype::TXT, NOW)], [Some(Negative::Name); 2]);
        assert_eq!([ask(3, Rtype::A, NOW), ask(1, Rtype::A, NOW + 60), ask(1, Rtype::A, NOW + (1 << 28) + 5)], [None; 3]);
        assert_eq!((ask(1, Rtype::A, NOW + 59), store.len(NOW + 59), store.len(NOW + 60)), (Some(Negative::Type), 2, 0));
        // Another time for the same takes its place.
        store.put(&key(1), Rtype::A, Negative::Type, 600, NOW);
        assert_eq!(store.len(NOW), 2);
        store.forget(&key(2), Rtype::MX);
        assert_eq!((ask(2, Rtype::A, NOW), store.len(NOW)), (None, 1));
        store.put(&key(1), Rtype::A, Negative::Type, 600, NOW + END_MAX);
        store.clear();
        assert_eq!(store.len(NOW), 0);
    }

    #[test]
    fn full_it_forgets_and_is_not_wrong() {
        let store = store(64 * 128);
        for number in 0..10_000 {
            store.put(&key(number), Rtype::A, Negative::Name, 300, NOW);
        }
        assert_eq!(store.len(NOW), 1024);
        let kept = (0..10_000).filter(|number| store.get(&key(*number), Rtype::A, NOW).is_some()).count();
        assert_eq!(kept, 1024);
        let wrong = (10_000..200_000).filter(|number| store.get(&key(*number), Rtype::A, NOW).is_some()).count();
        assert_eq!(wrong, 0);
    }

    #[test]
    fn lines_are_used_evenly() {
        let store = store(64 * 100);
        for number in 0..800 {
            store.put(&key(number), Rtype::A, Negative::Type, 300, NOW);
        }
        // 8 a line on average: of a Poisson distribution cut at 8 about 86 % find a place.
        assert!((640..740).contains(&store.len(NOW)), "{}", store.len(NOW));
    }

    #[test]
    fn all_cores_at_once() {
        let store = Arc::new(store(1 << 20));
        let threads: Vec<_> = (0..4_usize)
            .map(|thread| {
                let store = Arc::clone(&store);
                std::thread::spawn(move || {
                    for round in 0..5_000 {
                        let own = thread * 5_000 + round;
                        store.put(&key(own), Rtype::A, Negative::Name, 300, NOW);
                        // What nobody put is never found; what was put may be lost, but is not the wrong thing.
                        assert_eq!(store.get(&key(1_000_000 + own), Rtype::A, NOW), None);
                        assert_ne!(store.get(&key(own), Rtype::A, NOW), Some(Negative::Type));
                        if round % 7 == 0 {
                            store.forget(&key(own / 2), Rtype::A);
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(store.len(NOW) > 10_000);
    }
}
