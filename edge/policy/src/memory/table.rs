//! A table all cores share without a lock: 8 octets an entry, the oldest go when it is full.
//!
//! ```text
//!   hash of the key, 64 bits, keyed:   | line: upper bits, scaled |  ...  | fingerprint: 32 bits |
//!   a line, 64 octets:                 8 entries of 64 bits, each one atomic word
//!   an entry:                          | fingerprint: 32 bits | data: 12 bits | minute since the table was made: 20 bits |     0: free
//!
//!   as octets:   "PRSENDR1" | key: 2 x u64 | second of the making: u64 | words: u64 | the words | keyed hash of all before: u64     little-endian
//! ```
//! An entry means nothing beside others, so relaxed order is enough: of two who write at the same time one may lose what it wrote. A key that is not
//! there meets 8 fingerprints of 32 bits: one look-up in five hundred million finds what is another's, which here costs or spares one message a delay.
//! 2^20 minutes are two years; then the table begins anew.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};

/// Entries of a line.
const WAYS: usize = 8;
const MINUTE_BITS: u32 = 20;
const MINUTE_MAX: u32 = (1 << MINUTE_BITS) - 1;
const DATA_BITS: u32 = 12;
/// The largest data of an entry.
const DATA_MAX: u16 = (1 << DATA_BITS) - 1;
/// Lines at most: 128 MiB.
const LINES_MAX: usize = 1 << 21;
const MAGIC: &[u8; 8] = b"PRSENDR1";
/// Octets before the words.
const HEAD: usize = 40;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

/// What is remembered of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// At most 12 bits.
    pub data: u16,
    /// Minutes since the table was made.
    pub minute: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Table {
    key: [u64; 2],
    lines: Box<[Line]>,
    /// Second 0, in Unix time.
    begun: u64,
}

/// Octets that are no table of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// They were cut off, changed, or never were one.
    Broken,
    /// It was made for so many entries.
    OtherSize(usize),
    /// Its minutes have run out.
    Old,
}

impl std::fmt::Display for TableError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken => f.write_str("it is cut off, or none of ours"),
            Self::OtherSize(entries) => write!(f, "it was made for {entries} entries"),
            Self::Old => f.write_str("it is two years old"),
        }
    }
}

impl std::error::Error for TableError {}

fn lines(entries: usize) -> usize {
    (entries / WAYS).clamp(1, LINES_MAX)
}

impl Entry {
    /// Of a word that is not free.
    fn unpack(word: u64) -> Self {
        let minute = u32::try_from(word & u64::from(MINUTE_MAX)).unwrap_or(MINUTE_MAX);
        let data = u16::try_from((word >> MINUTE_BITS) & u64::from(DATA_MAX)).unwrap_or(DATA_MAX);
        Self { data, minute }
    }

    /// Minute 0 is no time of an entry, so that no word is 0.
    fn pack(self, fingerprint: u64) -> u64 {
        let minute = u64::from(self.minute.clamp(1, MINUTE_MAX));
        (fingerprint << 32) | (u64::from(self.data.min(DATA_MAX)) << MINUTE_BITS) | minute
    }
}

impl Table {
    /// An empty table for so many entries, eight at least; `key` nobody else may know, `unix_now` in seconds.
    #[must_use]
    pub fn new(entries: usize, key: [u64; 2], unix_now: u64) -> Self {
        let lines = (0..lines(entries)).map(|_| Line::default()).collect();
        Self { key, lines, begun: unix_now.saturating_sub(60) }
    }

    /// The minute of a time; the last one there is for all that is later.
    #[must_use]
    pub fn minute(&self, unix_now: u64) -> u32 {
        u32::try_from(unix_now.saturating_sub(self.begun) / 60).unwrap_or(MINUTE_MAX).min(MINUTE_MAX)
    }

    /// True if the minutes have run out, and nothing new can be told from what is old: two years after the table was made.
    #[must_use]
    pub fn is_old(&self, unix_now: u64) -> bool {
        self.minute(unix_now) == MINUTE_MAX
    }

    fn place(&self, key: &[&[u8]]) -> (&[AtomicU64], u64) {
        let hash = hash(self.key, key);
        let count = u64::try_from(self.lines.len()).unwrap_or(1);
        let line = usize::try_from(((hash >> 32) * count) >> 32).ok().and_then(|place| self.lines.get(place));
        (line.map_or(&[], |line| &line.0), hash & u64::from(u32::MAX))
    }

    /// What is remembered of a key, which is hashed part by part. Costs a hash and a line of memory.
    #[must_use]
    pub fn get(&self, key: &[&[u8]]) -> Option<Entry> {
        let (line, fingerprint) = self.place(key);
        line.iter().map(|entry| entry.load(Ordering::Relaxed)).find(|word| is(*word, fingerprint)).map(Entry::unpack)
    }

    /// Remembers something of a key, in place of what was. In a line that is full the oldest entry goes.
    pub fn put(&self, key: &[&[u8]], entry: Entry) {
        let (line, fingerprint) = self.place(key);
        let own = line.iter().find(|word| is(word.load(Ordering::Relaxed), fingerprint));
        let place = own.or_else(|| line.iter().min_by_key(|word| age_key(word.load(Ordering::Relaxed))));
        if let Some(place) = place {
            place.store(entry.pack(fingerprint), Ordering::Relaxed);
        }
    }

    /// Entries that are taken. Costs a walk over all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words().filter(|word| *word != 0).count()
    }

    /// True if nothing is remembered. Costs a walk over all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        self.lines.iter().flat_map(|line| &line.0).map(|word| word.load(Ordering::Relaxed))
    }

    /// The table as octets, to be kept over a restart. Others may write meanwhile.
    #[must_use]
    pub fn to_octets(&self) -> Vec<u8> {
        let words = self.lines.len() * WAYS;
        let mut out = Vec::with_capacity(HEAD + (words + 1) * 8);
        out.extend_from_slice(MAGIC);
        for number in [self.key[0], self.key[1], self.begun, words as u64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.words().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        let check = hash(self.key, &[&out]);
        out.extend_from_slice(&check.to_le_bytes());
        out
    }

    /// Reads what [`to_octets`](Self::to_octets) gave, for a table of so many entries.
    ///
    /// # Errors
    /// [`TableError`]: begin with an empty one.
    pub fn from_octets(octets: &[u8], entries: usize, unix_now: u64) -> Result<Self, TableError> {
        let number =
            |at: usize| octets.get(at..at.checked_add(8)?).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        if !octets.starts_with(MAGIC) {
            return Err(TableError::Broken);
        }
        let (Some(key), Some(more), Some(begun), Some(words)) = (number(8), number(16), number(24), number(32)) else {
            return Err(TableError::Broken);
        };
        let key = [key, more];
        let (body, check) = octets.split_at_checked(octets.len().saturating_sub(8)).ok_or(TableError::Broken)?;
        let whole = usize::try_from(words).ok().and_then(|words| words.checked_mul(8)?.checked_add(HEAD)) == Some(body.len());
        if !whole || check != hash(key, &[body]).to_le_bytes() {
            return Err(TableError::Broken);
        }
        let mut table = Self::new(entries, key, unix_now);
        let wanted = table.lines.len() * WAYS;
        if words != wanted as u64 {
            return Err(TableError::OtherSize(usize::try_from(words).unwrap_or(usize::MAX)));
        }
        table.begun = begun;
        if table.minute(unix_now) == MINUTE_MAX {
            return Err(TableError::Old);
        }
        let kept = body.get(HEAD..).unwrap_or_default().chunks_exact(8);
        for (place, bytes) in table.lines.iter().flat_map(|line| &line.0).zip(kept) {
            place.store(bytes.try_into().map(u64::from_le_bytes).unwrap_or(0), Ordering::Relaxed);
        }
        Ok(table)
    }
}

fn hash(key: [u64; 2], parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
    for part in parts {
        hasher.write(part);
        // What ends one part and begins the next is no part of either.
        hasher.write_usize(part.len());
    }
    hasher.finish()
}

fn is(word: u64, fingerprint: u64) -> bool {
    word != 0 && word >> 32 == fingerprint
}

/// A free place is older than all.
fn age_key(word: u64) -> u64 {
    word & u64::from(MINUTE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn entry(data: u16, minute: u32) -> Entry {
        Entry { data, minute }
    }

    #[test]
    fn what_was_put_is_there_and_the_oldest_goes() {
        let table = Table::new(8, [1, 2], NOW);
        assert!(table.is_empty());
        assert_eq!((table.minute(NOW), table.minute(NOW + 120), table.minute(0), table.minute(u64::MAX)), (1, 3, 0, MINUTE_MAX));
        for number in 0..8_u16 {
            table.put(&[b"a", &number.to_be_bytes()], entry(number, 10 + u32::from(number)));
        }
        table.put(&[b"a", &[0, 0]], entry(4095, 30));
        assert_eq!(table.get(&[b"a", &[0, 0]]), Some(entry(4095, 30)));
        assert_eq!((table.get(&[b"b"]), table.len()), (None, 8));
        table.put(&[b"new"], entry(1, 31));
        assert_eq!((table.get(&[b"a", &[0, 1]]), table.get(&[b"a", &[0, 2]])), (None, Some(entry(2, 12))));
        // Parts are parts.
        assert_ne!(hash([1, 2], &[b"ab", b"c"]), hash([1, 2], &[b"a", b"bc"]));
    }

    #[test]
    fn octets_are_the_table_or_refused() {
        let table = Table::new(16, [1, 2], NOW);
        table.put(&[b"a"], entry(7, 9));
        let octets = table.to_octets();
        let again = Table::from_octets(&octets, 16, NOW + 600).unwrap();
        assert_eq!((again.get(&[b"a"]), again.minute(NOW + 600)), (Some(entry(7, 9)), 11));
        assert_eq!(Table::from_octets(&octets, 24, NOW).unwrap_err(), TableError::OtherSize(16));
        assert_eq!(Table::from_octets(&octets, 16, NOW + 63_000_000).unwrap_err(), TableError::Old);
        for cut in [0, 7, 8, 39, 40, octets.len() - 1] {
            assert_eq!(Table::from_octets(&octets[..cut], 16, NOW).unwrap_err(), TableError::Broken, "{cut}");
        }
        let mut changed = octets.clone();
        changed[50] ^= 1;
        assert_eq!(Table::from_octets(&changed, 16, NOW).unwrap_err(), TableError::Broken);
        assert_eq!(Table::from_octets(&octets, 16, NOW).unwrap().to_octets(), octets);
    }
}
