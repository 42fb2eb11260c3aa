//! A list of domain names: for each what it says of itself and of what is below it.
//!
//! ```text
//!   blob     flags, name in wire form, then the values that are not the common one            name + 3 bytes, mostly
//!   table    lines of 64 bytes: 12 fingerprints, overflow, 12 places in the blob              6.7 bytes a name at 80 % load
//! ```
//! Every name between an entry and the root is there as well, without a value if it has none: such a name exists (RFC 8020), and a look-up that
//! goes from the root down can end at the first name that is missing. A name that is not listed costs, mostly, one line for each of
//! its upper labels that are known and one for the first that is not.

use super::hash::{child, label_at, label_places, seed};
use super::values::{EXCLUDED, ValueId, ValuesBuilder};

const SLOTS: usize = 12;
/// A table has this share of its slots in use: names * 5 / 4 slots.
const LOAD: (usize, usize) = (4, 5);

/// A cache line of the table.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Line {
    /// 0: the slot is free.
    fingerprints: [u8; SLOTS],
    /// Something that belongs here stands in a line behind.
    overflow: bool,
    places: [u32; SLOTS],
}

const EMPTY: Line = Line { fingerprints: [0; SLOTS], overflow: false, places: [0; SLOTS] };

#[derive(Debug)]
struct Table {
    lines: Box<[Line]>,
}

impl Table {
    fn for_names(count: usize) -> Self {
        Self { lines: vec![EMPTY; (count * LOAD.1 / LOAD.0).div_ceil(SLOTS).max(1)].into() }
    }

    fn slots(&self) -> usize {
        self.lines.len() * SLOTS
    }

    fn first(&self, hash: u64) -> (usize, u8) {
        let line = (u128::from(hash) * self.lines.len() as u128) >> 64;
        let [fingerprint, ..] = hash.to_le_bytes();
        (usize::try_from(line).unwrap_or(0), fingerprint.max(1))
    }

    fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let (mut at, fingerprint) = self.first(hash);
        for _ in 0..self.lines.len() {
            let line = self.lines.get(at)?;
            for (slot, place) in line.fingerprints.iter().zip(&line.places) {
                if *slot == fingerprint && is(*place) {
                    return Some(*place);
                }
            }
            if !line.overflow {
                return None;
            }
            at = if at + 1 == self.lines.len() { 0 } else { at + 1 };
        }
        None
    }

    /// Adds what is not there. There must be a free slot.
    fn insert(&mut self, hash: u64, place: u32) {
        let (mut at, fingerprint) = self.first(hash);
        for _ in 0..self.lines.len() {
            let last = at + 1 == self.lines.len();
            let Some(line) = self.lines.get_mut(at) else { return };
            if let Some(free) = line.fingerprints.iter().position(|slot| *slot == 0) {
                if let (Some(slot), Some(entry)) = (line.fingerprints.get_mut(free), line.places.get_mut(free)) {
                    (*slot, *entry) = (fingerprint, place);
                }
                return;
            }
            line.overflow = true;
            at = if last { 0 } else { at + 1 };
        }
    }
}

const OWN_COMMON: u8 = 1;
const OWN_OTHER: u8 = 2;
const BELOW_COMMON: u8 = 4;
const BELOW_OTHER: u8 = 8;

/// The list.
#[derive(Debug)]
pub(super) struct Names {
    blob: Box<[u8]>,
    table: Table,
    seed: u64,
    common: ValueId,
    count: usize,
}

/// What a look-up gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'n> {
    /// 0: not listed.
    pub(super) value: ValueId,
    /// The name of the entry that says so, in wire form.
    pub(super) entry: &'n [u8],
    /// The name exists, be it listed or not.
    pub(super) exists: bool,
}

struct Entry<'n> {
    name: &'n [u8],
    own: Option<ValueId>,
    below: Option<ValueId>,
    behind: usize,
}

/// Octets of a name in wire form at the beginning of `bytes`.
fn wire_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&length) = bytes.get(at).filter(|length| **length != 0) {
        at += usize::from(length) + 1;
    }
    at + 1
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word))
}

impl Names {
    /// Looks a name up, lower-case, in wire form. Its own entry wins, then the nearest above that speaks for what is below it.
    ///
    /// Cost: one line of the table and one entry for each label from the root on that is known; no allocation.
    pub(super) fn find(&self, key: &[u8]) -> Found<'_> {
        let mut found = Found { value: EXCLUDED, entry: &[], exists: false };
        let mut hash = self.seed;
        for &place in label_places(key).iter().rev() {
            let place = usize::from(place);
            hash = child(hash, label_at(key, place));
            let name = key.get(place..).unwrap_or_default();
            let Some(at) = self.table.find(hash, |at| self.is_at(at, name)) else { return found };
            let entry = self.entry(at as usize);
            match (place, entry.own, entry.below) {
                // Excluded, but what is below may be listed by something above: the name must not be denied (RFC 8020).
                (0, Some(own), below) => {
                    let exists = own != EXCLUDED || below != Some(EXCLUDED);
                    found = Found { value: own, entry: entry.name, exists };
                }
                (0, None, below) => found.exists = below != Some(EXCLUDED),
                (_, _, Some(below)) => (found.value, found.entry) = (below, entry.name),
                (_, _, None) => {}
            }
        }
        found
    }

    fn is_at(&self, at: u32, name: &[u8]) -> bool {
        let begin = at as usize + 1;
        self.blob.get(begin..begin + name.len()) == Some(name)
    }

    fn entry(&self, at: usize) -> Entry<'_> {
        let flags = self.blob.get(at).copied().unwrap_or(0);
        let rest = self.blob.get(at + 1..).unwrap_or_default();
        let name = rest.get(..wire_length(rest)).unwrap_or_default();
        let mut behind = at + 1 + name.len();
        let mut value = |common: u8, other: u8| match (flags & common != 0, flags & other != 0) {
            (true, _) => Some(self.common),
            (_, true) => {
                behind += 4;
                Some(word(&self.blob, behind - 4))
            }
            (false, false) => None,
        };
        let (own, below) = (value(OWN_COMMON, OWN_OTHER), value(BELOW_COMMON, BELOW_OTHER));
        Entry { name, own, below, behind }
    }

    /// Names with those that stand between them and the root.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.blob.len() + size_of_val::<[Line]>(&self.table.lines)
    }

    /// The entries from a place on, with their own value, the one of what is below, and the place behind.
    pub(super) fn iter_from(&self, from: usize) -> impl Iterator<Item = (&[u8], Option<ValueId>, Option<ValueId>, usize)> {
        let mut at = from;
        std::iter::from_fn(move || {
            let entry = (at < self.blob.len()).then(|| self.entry(at))?;
            at = entry.behind;
            Some((entry.name, entry.own, entry.below, entry.behind))
        })
    }
}

/// No value, while the list is built.
const NONE: u32 = u32::MAX;
/// While the list is built an entry is: own value, value of what is below, name.
const HEAD: usize = 8;

/// Collects names: name + 10 bytes each, and a table of the final kind which doubles.
#[derive(Debug)]
pub(super) struct NamesBuilder {
    blob: Vec<u8>,
    table: Table,
    seed: u64,
    count: usize,
}

/// Takes own value, value of what is below, name.
type Each<'e> = Box<dyn FnMut(u32, u32, &[u8]) + 'e>;

impl NamesBuilder {
    pub(super) fn new() -> Self {
        Self { blob: Vec::new(), table: Table::for_names(64), seed: seed(), count: 0 }
    }

    /// Adds a name, lower-case, in wire form, with a value of its own and one for what is below. Several values of one name are a group.
    ///
    /// # Errors
    /// The list is too large.
    pub(super) fn add(
        &mut self,
        key: &[u8],
        own: Option<ValueId>,
        below: Option<ValueId>,
        values: &mut ValuesBuilder,
    ) -> Result<(), String> {
        let mut hash = self.seed;
        let mut missing = false;
        for &place in label_places(key).iter().rev() {
            let place = usize::from(place);
            hash = child(hash, label_at(key, place));
            let name = key.get(place..).unwrap_or_default();
            let (own, below) = if place == 0 { (own, below) } else { (None, None) };
            let blob = &self.blob;
            let is = |at: u32| blob.get(at as usize + HEAD..at as usize + HEAD + name.len()) == Some(name);
            // Below a name that is missing all are.
            match if missing { None } else { self.table.find(hash, is) } {
                Some(at) => {
                    self.merge(at as usize, own, values);
                    self.merge(at as usize + 4, below, values);
                }
                None => {
                    missing = true;
                    self.insert(hash, name, own, below)?;
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, at: usize, value: Option<ValueId>, values: &mut ValuesBuilder) {
        let Some(value) = value else { return };
        let known = word(&self.blob, at);
        let value = if known == NONE { value } else { values.group(&[known, value]) };
        if let Some(place) = self.blob.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }

    fn insert(&mut self, hash: u64, name: &[u8], own: Option<ValueId>, below: Option<ValueId>) -> Result<(), String> {
        let place = u32::try_from(self.blob.len()).map_err(|_| "4 GiB of names are the most")?;
        for value in [own, below] {
            self.blob.extend_from_slice(&value.unwrap_or(NONE).to_le_bytes());
        }
        self.blob.extend_from_slice(name);
        self.count += 1;
        if self.count * LOAD.1 > self.table.slots() * LOAD.0 {
            let mut table = Table::for_names(self.count * 2);
            let mut at = 0;
            while at < self.blob.len() {
                let name = self.blob.get(at + HEAD..).unwrap_or_default();
                let name = name.get(..wire_length(name)).unwrap_or_default();
                table.insert(self.hash(name), u32::try_from(at).unwrap_or(NONE));
                at += HEAD + name.len();
            }
            self.table = table;
        } else {
            self.table.insert(hash, place);
        }
        Ok(())
    }

    fn hash(&self, name: &[u8]) -> u64 {
        label_places(name).iter().rev().fold(self.seed, |hash, place| child(hash, label_at(name, usize::from(*place))))
    }

    /// The finished list.
    pub(super) fn finish(mut self) -> Names {
        self.table = Table::for_names(0);
        let heads = |blob: &[u8], mut each: Each<'_>| {
            let mut at = 0;
            while at < blob.len() {
                let name = blob.get(at + HEAD..).unwrap_or_default();
                let name = name.get(..wire_length(name)).unwrap_or_default();
                each(word(blob, at), word(blob, at + 4), name);
                at += HEAD + name.len();
            }
        };
        let mut counts: std::collections::HashMap<ValueId, usize> = std::collections::HashMap::new();
        let mut other_bytes = 0;
        heads(
            &self.blob,
            Box::new(|own, below, _| {
                for value in [own, below].into_iter().filter(|value| *value != NONE) {
                    *counts.entry(value).or_default() += 1;
                    other_bytes += 4;
                }
            }),
        );
        let (common, common_count) = counts.into_iter().max_by_key(|(_, count)| *count).unwrap_or((EXCLUDED, 0));
        let bytes = self.blob.len() - self.count * (HEAD - 1) + other_bytes - common_count * 4;
        let mut blob: Vec<u8> = Vec::with_capacity(bytes);
        let mut table = Table::for_names(self.count);
        heads(
            &self.blob,
            Box::new(|own, below, name| {
                let flag = |value: u32, if_common: u8, if_other: u8| match value {
                    NONE => 0,
                    value if value == common => if_common,
                    _ => if_other,
                };
                table.insert(self.hash(name), u32::try_from(blob.len()).unwrap_or(NONE));
                blob.push(flag(own, OWN_COMMON, OWN_OTHER) | flag(below, BELOW_COMMON, BELOW_OTHER));
                blob.extend_from_slice(name);
                for value in [own, below].into_iter().filter(|value| *value != NONE && *value != common) {
                    blob.extend_from_slice(&value.to_le_bytes());
                }
            }),
        );
        Names { blob: blob.into(), table, seed: self.seed, common, count: self.count }
    }
}
