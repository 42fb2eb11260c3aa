//! How often somebody may: rates for any number of keys, shared by all cores without a lock, in 8 octets each.
//!
//! The generic cell rate algorithm (ITU-T I.371): of each key only the time is kept at which it would have used up what it may, one atomic word
//! with a fingerprint of the key. A line has eight entries; when it is full, the one goes that is closest to having its whole allowance again, which
//! forgets least. A key meets the fingerprint of another, 24 bits, once in two million look-ups: then both share one allowance for a while.

use siphasher::sip::SipHasher13;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

const WAYS: usize = 8;
/// Bits of the time: 34 years in milliseconds.
const TIME_BITS: u32 = 40;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// Tries to write a word that others write at the same time.
const TRIES: usize = 4;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

/// See the module.
#[derive(Debug)]
pub struct Rates {
    key: [u64; 2],
    lines: Box<[Line]>,
}

/// So many in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; all of them may come at once.
    pub count: u32,
    /// In so many seconds.
    pub seconds: u32,
}

impl Rate {
    /// Milliseconds one of them takes, at least one.
    fn increment(self) -> u64 {
        (u64::from(self.seconds) * 1000 / u64::from(self.count.max(1))).max(1)
    }
}

impl Rates {
    /// An empty table for so many keys, eight at least.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        let key = [RandomState::new().hash_one(0_u8), RandomState::new().hash_one(1_u8)];
        Self { key, lines: (0..(entries / WAYS).clamp(1, 1 << 20)).map(|_| Line::default()).collect() }
    }

    /// True if the key may once more, which is counted then. `now_ms` is any clock. `kind` tells keys apart that are counted
    /// for different things.
    ///
    /// Cost: a hash, a line of memory, and one compare-and-swap.
    #[must_use]
    pub fn take(&self, kind: u8, key: &[u8], rate: Rate, now_ms: u64) -> bool {
        let mut hasher = SipHasher13::new_with_keys(self.key[0], self.key[1]);
        hasher.write_u8(kind);
        hasher.write(key);
        let hash = hasher.finish();
        let count = u64::try_from(self.lines.len()).unwrap_or(1);
        let place = usize::try_from(((hash >> 32) * count) >> 32).unwrap_or(0);
        let Some(Line(line)) = self.lines.get(place) else { return true };
        // Never 0, for 0 is a free place.
        let fingerprint = (hash << TIME_BITS) | (1 << TIME_BITS);
        let (now, increment) = (now_ms.saturating_add(1) & TIME_MASK, rate.increment());
        let allowance = increment.saturating_mul(u64::from(rate.count));
        for _ in 0..TRIES {
            let words = line.iter().map(|entry| (entry, entry.load(Ordering::Relaxed)));
            let own = words.clone().find(|(_, word)| word & !TIME_MASK == fingerprint);
            let Some((entry, word)) = own.or_else(|| words.min_by_key(|(_, word)| word & TIME_MASK)) else { return true };
            let used_until = if own_word(word, fingerprint) { (word & TIME_MASK).max(now) } else { now };
            // More than can be used up: the clock was set back.
            let used_until = if used_until - now > allowance { now } else { used_until };
            let next = used_until.saturating_add(increment);
            if next - now > allowance {
                return false;
            }
            let new = fingerprint | (next & TIME_MASK);
            if entry.compare_exchange(word, new, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
        // So many write at the same place that one more or less does not matter.
        true
    }
}

fn own_word(word: u64, fingerprint: u64) -> bool {
    word & !TIME_MASK == fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_taken_and_then_the_rate() {
        let rates = Rates::new(64);
        let rate = Rate { count: 3, seconds: 60 };
        let take = |key: &[u8], at| rates.take(1, key, rate, at);
        assert_eq!([0, 0, 0, 0, 19_000].map(|at| take(b"a", at)), [true, true, true, false, false]);
        assert!(take(b"b", 0) && rates.take(2, b"a", rate, 0));
        assert_eq!([20_000, 20_000].map(|at| take(b"a", at)), [true, false]);
        // A clock that is set back by an hour locks nobody out.
        assert!(rates.take(9, b"c", rate, 4_000_000) && rates.take(9, b"c", rate, 400_000));
        // After a pause all of it is there again.
        assert_eq!([200_000, 200_000, 200_000, 200_000].map(|at| take(b"a", at)), [true, true, true, false]);
    }

    #[test]
    fn a_full_line_forgets_who_has_used_least() {
        let rates = Rates::new(8);
        let rate = Rate { count: 2, seconds: 10 };
        for key in 0..8_u8 {
            assert!(rates.take(0, &[key], rate, 0));
        }
        (1..8_u8).for_each(|key| assert!(rates.take(0, &[key], rate, 0)));
        // The first is the only one that has something left.
        assert!(rates.take(0, b"new", rate, 0));
        (1..8_u8).for_each(|key| assert!(!rates.take(0, &[key], rate, 0)));
    }
}
