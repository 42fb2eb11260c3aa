//! The key of a name: lower-case wire form, where its labels begin, and the hashes of all its endings.
//!
//! ```text
//!   octets   3 w w w 7 e x a m p l e 3 o r g 0        hash: . <- org <- example <- www, each from the one before and a label
//!   starts   0       4               12
//! ```
//! A look-up goes from the root down: each step costs one multiplication for eight octets of the label, and gives the hash of one more
//! ending. So the apex, the name, and on the way back the closest encloser and its wildcard are found with what was computed once.

use crate::name::NAME_BYTES_MAX;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// Labels of the longest name, the root not counted.
pub const LABELS_MAX: usize = 127;
/// Room behind the longest name: the last label is read in whole words.
const BUFFER_BYTES: usize = NAME_BYTES_MAX + 9;

/// A name prepared for look-ups. Made once for a query and filled anew for each alias; no allocation.
#[derive(Clone)]
pub struct NameKey {
    octets: [u8; BUFFER_BYTES],
    length: usize,
    starts: [u8; LABELS_MAX + 1],
    labels: usize,
}

impl Default for NameKey {
    fn default() -> Self {
        Self { octets: [0; BUFFER_BYTES], length: 1, starts: [0; LABELS_MAX + 1], labels: 0 }
    }
}

impl std::fmt::Debug for NameKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::name::write_text(self.wire(), f)
    }
}

impl NameKey {
    /// The key of a name in wire form. `None`: it is no name.
    #[must_use]
    pub fn of(wire: &[u8]) -> Option<Self> {
        let mut key = Self::default();
        key.fill(wire).then_some(key)
    }

    /// Takes another name. False, and the root instead, if it is no name.
    ///
    /// Cost: one pass over the labels, one over the octets.
    pub fn fill(&mut self, wire: &[u8]) -> bool {
        let (mut at, mut labels) = (0, 0);
        let whole = loop {
            match wire.get(at) {
                Some(0) => break at + 1 == wire.len() && wire.len() <= NAME_BYTES_MAX,
                Some(&length @ 1..=63) if labels < LABELS_MAX => {
                    if let (Some(start), Ok(offset)) = (self.starts.get_mut(labels), u8::try_from(at)) {
                        *start = offset;
                    }
                    labels += 1;
                    at += usize::from(length) + 1;
                }
                Some(_) | None => break false,
            }
        };
        match self.octets.get_mut(..wire.len()) {
            Some(octets) if whole => {
                octets.copy_from_slice(wire);
                // Length octets are below the letters.
                octets.make_ascii_lowercase();
                (self.length, self.labels) = (wire.len(), labels);
            }
            _ => {
                self.octets[0] = 0;
                (self.length, self.labels) = (1, 0);
            }
        }
        whole
    }

    /// The lower-case name.
    #[inline]
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// Number of labels without the root.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// The ending with so many labels; the whole name if it has no more.
    #[inline]
    #[must_use]
    pub fn ending(&self, labels: usize) -> &[u8] {
        self.octets.get(self.start(labels)..self.length).unwrap_or_default()
    }

    /// Where the ending with so many labels begins.
    #[inline]
    #[must_use]
    pub fn start(&self, labels: usize) -> usize {
        match self.labels.checked_sub(labels) {
            Some(skipped) if labels > 0 => self.starts.get(skipped).copied().unwrap_or(0).into(),
            Some(_) => self.length - 1,
            None => 0,
        }
    }

    /// The hash of the ending with one label more than that of `hash`, which has `labels`.
    #[inline]
    #[must_use]
    pub fn step(&self, hash: u64, labels: usize) -> u64 {
        let start = self.start(labels + 1);
        step(hash, self.octets.get(start..).unwrap_or_default())
    }

    /// Gives each ending from the root to the whole name: how many labels, where it begins, its hash.
    #[inline]
    pub fn endings(&self) -> impl Iterator<Item = (usize, usize, u64)> {
        let starts = self.starts.get(..self.labels).unwrap_or_default();
        let mut hash = root_hash();
        let root = (0, self.length - 1, hash);
        std::iter::once(root).chain(starts.iter().rev().enumerate().map(move |(before, start)| {
            let start = usize::from(*start);
            hash = step(hash, self.octets.get(start..).unwrap_or_default());
            (before + 1, start, hash)
        }))
    }

    /// The ending that begins there.
    #[inline]
    #[must_use]
    pub fn ending_at(&self, start: usize) -> &[u8] {
        self.octets.get(start..self.length).unwrap_or_default()
    }

    /// The hash of the ending with so many labels.
    #[must_use]
    pub fn hash(&self, labels: usize) -> u64 {
        (0..labels.min(self.labels)).fold(root_hash(), |hash, labels| self.step(hash, labels))
    }
}

/// The hash of the root: the process' secret, so that nobody can choose names that fall together.
#[inline]
#[must_use]
pub fn root_hash() -> u64 {
    secret().0
}

/// The hash of the wildcard below the name with this hash.
#[inline]
#[must_use]
pub fn wildcard_hash(hash: u64) -> u64 {
    step(hash, b"\x01*\0\0\0\0\0\0\0")
}

#[inline]
fn secret() -> (u64, u64) {
    static SECRET: OnceLock<(u64, u64)> = OnceLock::new();
    *SECRET.get_or_init(|| {
        let random = RandomState::new();
        (random.hash_one(0_u8), random.hash_one(1_u8) | 1)
    })
}

/// One label, its length octet first; behind it at least seven octets of anything.
#[inline]
fn step(hash: u64, octets: &[u8]) -> u64 {
    let multiplier = secret().1;
    let mut left = octets.first().map_or(0, |length| usize::from(*length) + 1);
    let (mut hash, mut rest) = (hash, octets);
    // The halves of the product folded: every bit of the word moves every bit of the hash.
    let fold = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(multiplier);
        low(product) ^ low(product >> 64)
    };
    while let Some((word, behind)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(*word);
        if left <= 8 {
            return fold(hash, word & (u64::MAX >> (64 - 8 * left.max(1))));
        }
        hash = fold(hash, word);
        left -= 8;
        rest = behind;
    }
    hash
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // the low half is what is wanted
fn low(product: u128) -> u64 {
    product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Name, suffixes};
    use proptest::prelude::*;

    #[test]
    fn endings_and_wildcards() {
        let key = NameKey::of(Name::absolute("*.Example.ORG").unwrap().wire()).unwrap();
        assert_eq!((key.labels(), key.wire()), (3, b"\x01*\x07example\x03org\0".as_slice()));
        assert_eq!(
            (key.ending(2), key.ending(0), key.ending(9).len()),
            (b"\x07example\x03org\0".as_slice(), b"\0".as_slice(), 15)
        );
        assert_eq!(wildcard_hash(key.hash(2)), key.hash(3));
        let mut key = key;
        assert!(!key.fill(b"\x03ab\0") && key.wire() == b"\0" && key.labels() == 0);
    }

    proptest! {
        /// The hash of an ending is that of the name the ending is, whatever lies before or behind it in the buffer.
        #[test]
        fn endings_hash_like_names(text in "([a-cA-C]{1,20}\\.){1,8}", before in "([x-z]{1,30}\\.){0,8}") {
            let name = Name::absolute(&text).unwrap();
            let mut key = NameKey::of(Name::absolute(&before).unwrap_or(Name::root()).wire()).unwrap();
            prop_assert!(key.fill(name.wire()));
            for (skipped, suffix) in suffixes(name.to_key().wire()).enumerate() {
                let own = NameKey::of(suffix).unwrap();
                prop_assert_eq!(key.ending(key.labels() - skipped), suffix);
                prop_assert_eq!(key.hash(key.labels() - skipped), own.hash(own.labels()));
                let (labels, start, hash) = key.endings().nth(key.labels() - skipped).unwrap();
                prop_assert_eq!((labels, key.ending_at(start), hash), (own.labels(), suffix, own.hash(own.labels())));
            }
        }

        #[test]
        fn any_bytes_are_harmless(wire in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut key = NameKey::default();
            prop_assert_eq!(key.fill(&wire), Name::from_wire(&wire).is_ok());
        }
    }
}
