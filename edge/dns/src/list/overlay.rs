//! What was changed of a list by command, shared by all shards of the process.
//!
//! ```text
//!   pages    4,096 pointers, by the hash of a key's network or name; each to a sorted array of (hash, entry) that is never changed
//!   lengths  for each prefix length how many entries have it: only these are looked for
//! ```
//! A change copies one page (with a million entries about 250 pointers), puts the entry in, and swaps the pointer: whoever looks next, on
//! any core, sees it. Reading takes no lock and waits for nobody. Writers take turns.
//!
//! Names that have an entry below them are there, too, as markers that count them: such a name exists (RFC 8020).

use super::change::{Change, Entry, Key, Scope, TEXT_BYTES_MAX, Verdict};
use super::hash::{child, label_at, label_places, seed};
use crate::name::suffixes;
use arc_swap::ArcSwap;
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Entries an overlay holds: what is changed by command. About 150 bytes each; longer lists are files.
pub const ENTRIES_MAX: usize = 1_000_000;
/// The upper bits of a hash are the page.
const PAGE_BITS: u32 = 12;
const PAGES: usize = 1 << PAGE_BITS;

#[derive(Debug, Default)]
struct Page {
    /// By hash.
    slots: Vec<(u64, Arc<Entry>)>,
    /// Names above entries, by hash, with how many are below.
    above: Vec<(u64, u32)>,
}

impl Page {
    /// Where the entries with this hash begin. Hashes are spread evenly, so that the place is guessed and the neighbours are looked at: one
    /// cache line or two where halving takes four.
    fn lower(&self, hash: u64) -> usize {
        let within = u128::from(hash << PAGE_BITS);
        let mut at = usize::try_from((within * self.slots.len() as u128) >> 64).unwrap_or(0);
        let is_below = |at: usize| self.slots.get(at).is_some_and(|(other, _)| *other < hash);
        while at > 0 && !is_below(at - 1) {
            at -= 1;
        }
        while is_below(at) {
            at += 1;
        }
        at
    }
}

/// Why changes were not taken; none of them was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlayError {
    /// More than [`ENTRIES_MAX`] entries.
    Full,
    /// A network with host bits, a name that is not lower-case, a text over 255 octets.
    Unsound,
}

impl fmt::Display for OverlayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "{ENTRIES_MAX} entries are the most that can be set by command; give longer lists as files"),
            Self::Unsound => {
                f.write_str("an entry is not as it must be: a network with host bits, a name, or a text over 255 octets")
            }
        }
    }
}

impl std::error::Error for OverlayError {}

/// The changes of one list.
pub struct Overlay {
    pages: Box<[ArcSwap<Page>]>,
    ip4_lengths: [AtomicU32; 33],
    ip6_lengths: [AtomicU32; 129],
    names: AtomicU32,
    count: AtomicUsize,
    /// Seconds since 1970, as last told.
    now: AtomicU64,
    seed: u64,
    writer: Mutex<()>,
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").field("count", &self.len()).finish_non_exhaustive()
    }
}

impl Default for Overlay {
    fn default() -> Self {
        Self::new()
    }
}

fn page_of(hash: u64) -> usize {
    usize::try_from(hash >> (64 - PAGE_BITS)).unwrap_or(0)
}

impl Overlay {
    /// An empty one: 32 KiB.
    #[must_use]
    pub fn new() -> Self {
        let empty = Arc::new(Page::default());
        Self {
            pages: (0..PAGES).map(|_| ArcSwap::new(Arc::clone(&empty))).collect(),
            ip4_lengths: [const { AtomicU32::new(0) }; 33],
            ip6_lengths: [const { AtomicU32::new(0) }; 129],
            names: AtomicU32::new(0),
            count: AtomicUsize::new(0),
            now: AtomicU64::new(0),
            seed: seed(),
            writer: Mutex::new(()),
        }
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// True without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The time as [`Self::set_now`] or [`Self::purge`] was last told it; what the list itself judges expiry by.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Tells the time, seconds since 1970; once a second is enough.
    pub fn set_now(&self, now: u64) {
        self.now.fetch_max(now, Ordering::Relaxed);
    }

    pub(super) fn has_ip4(&self) -> bool {
        self.ip4_lengths.iter().any(|count| count.load(Ordering::Acquire) != 0)
    }

    pub(super) fn has_ip6(&self) -> bool {
        self.ip6_lengths.iter().any(|count| count.load(Ordering::Acquire) != 0)
    }

    fn hash_network(&self, family: u8, network: u128, length: u8) -> u64 {
        let octets = network.to_be_bytes();
        child(child(self.seed, &octets), &[family, length])
    }

    fn hash_name(hash: u64, scope: Scope) -> u64 {
        child(hash, if scope == Scope::Own { b"own" } else { b"below" })
    }

    /// Hashes of the name and of each of its parents but the root, itself first.
    fn name_hashes(&self, name: &[u8]) -> SmallVec<[u64; 128]> {
        let mut hash = self.seed;
        let mut hashes: SmallVec<[u64; 128]> = SmallVec::new();
        for place in label_places(name).iter().rev() {
            hash = child(hash, label_at(name, usize::from(*place)));
            hashes.push(hash);
        }
        hashes.reverse();
        hashes
    }

    fn hash(&self, key: &Key) -> u64 {
        match key {
            Key::Ip4(network, length) => self.hash_network(4, (*network).into(), *length),
            Key::Ip6(network, length) => self.hash_network(6, *network, *length),
            Key::Name(name, scope) => Self::hash_name(self.name_hashes(name).first().copied().unwrap_or(self.seed), *scope),
        }
    }

    /// The entry with this hash that fits and holds.
    fn get(&self, hash: u64, now: u64, is: impl Fn(&Key) -> bool) -> Option<Arc<Entry>> {
        let page = self.pages.get(page_of(hash))?.load();
        let from = page.lower(hash);
        let same = page.slots.get(from..)?.iter().take_while(|(other, _)| *other == hash);
        same.map(|(_, entry)| entry).find(|entry| is(&entry.key) && !entry.is_expired(now)).map(Arc::clone)
    }

    /// What is said of an address: the entry with the longest prefix that holds at `now`.
    ///
    /// Cost: one load for each prefix length (33 or 129, neighbours in memory), and for each that is in use a hash and a search in one page. No
    /// allocation, no lock.
    #[must_use]
    pub fn find_address(&self, address: IpAddr, now: u64) -> Option<Arc<Entry>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let used = |counts: &[AtomicU32], length: u8| {
            counts.get(usize::from(length)).is_some_and(|count| count.load(Ordering::Acquire) != 0)
        };
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let lengths = (0..=32_u8).rev().filter(|length| used(&self.ip4_lengths, *length));
                lengths.into_iter().find_map(|length| {
                    let network = address.to_bits() & !u32::MAX.checked_shr(length.into()).unwrap_or(0);
                    self.get(self.hash_network(4, network.into(), length), now, |key| *key == Key::Ip4(network, length))
                })
            }
            IpAddr::V6(address) => {
                let lengths = (0..=128_u8).rev().filter(|length| used(&self.ip6_lengths, *length));
                lengths.into_iter().find_map(|length| {
                    let network = address.to_bits() & !u128::MAX.checked_shr(length.into()).unwrap_or(0);
                    self.get(self.hash_network(6, network, length), now, |key| *key == Key::Ip6(network, length))
                })
            }
        }
    }

    /// What is said of a name, lower-case, in wire form: by its own entry, else by the nearest above that speaks for what is below it.
    ///
    /// Cost: a hash and a search in one page for each label; no allocation, no lock.
    #[must_use]
    pub fn find_name(&self, key: &[u8], now: u64) -> Option<Arc<Entry>> {
        if self.names.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.name_hashes(key).iter().zip(suffixes(key)).enumerate().find_map(|(level, (hash, name))| {
            let scope = if level == 0 { Scope::Own } else { Scope::Below };
            let is = |key: &Key| matches!(key, Key::Name(other, kind) if **other == *name && *kind == scope);
            self.get(Self::hash_name(*hash, scope), now, is)
        })
    }

    /// True if a name below this one has an entry. Two names with one hash of 64 bits count as one, which gives NOERROR for NXDOMAIN.
    pub(super) fn has_below(&self, key: &[u8]) -> bool {
        if self.names.load(Ordering::Acquire) == 0 {
            return false;
        }
        let Some(hash) = self.name_hashes(key).first().copied() else { return false };
        let Some(page) = self.pages.get(page_of(hash)) else { return false };
        page.load().above.binary_search_by_key(&hash, |(hash, _)| *hash).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // A writer that panicked has swapped whole pages or none.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes changes, all or none; each is visible to all threads when this returns. Many at once cost one copy of each page they touch.
    ///
    /// # Errors
    /// See [`OverlayError`].
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) -> Result<(), OverlayError> {
        let _turn = self.lock();
        // The last change of a key is the one that counts.
        let mut last: HashMap<Key, Option<Arc<Entry>>> = HashMap::new();
        let mut puts = 0_usize;
        for change in changes {
            let (key, entry) = match change {
                Change::Put(entry) => (entry.key.clone(), Some(Arc::new(entry))),
                Change::Forget(key) => (key, None),
            };
            let long = |entry: &Arc<Entry>| [&entry.text, &entry.by, &entry.why].iter().any(|text| text.len() > TEXT_BYTES_MAX);
            if !key.is_sound() || entry.as_ref().is_some_and(long) {
                return Err(OverlayError::Unsound);
            }
            puts += usize::from(entry.is_some());
            if puts > 2 * ENTRIES_MAX {
                return Err(OverlayError::Full);
            }
            last.insert(key, entry);
        }
        let mut pages: BTreeMap<usize, PageChange> = BTreeMap::new();
        for (key, entry) in last {
            let hash = self.hash(&key);
            pages.entry(page_of(hash)).or_default().entries.push((hash, key, entry));
        }
        self.publish(pages)
    }

    /// Forgets the entries that do not hold any more, and takes the time. Gives their number.
    ///
    /// Cost: one pass over all entries; pages without an expired one are not copied.
    pub fn purge(&self, now: u64) -> usize {
        self.set_now(now);
        let _turn = self.lock();
        let mut pages: BTreeMap<usize, PageChange> = BTreeMap::new();
        let mut purged = 0;
        for (number, page) in self.pages.iter().enumerate() {
            for (hash, entry) in page.load().slots.iter().filter(|(_, entry)| entry.is_expired(now)) {
                purged += 1;
                pages.entry(number).or_default().entries.push((*hash, entry.key.clone(), None));
            }
        }
        // Fewer entries are never too many.
        let _ = self.publish(pages);
        purged
    }

    /// Builds the changed pages, counts, and swaps the pointers.
    fn publish(&self, mut changes: BTreeMap<usize, PageChange>) -> Result<(), OverlayError> {
        let mut built: Vec<(usize, Page)> = Vec::with_capacity(changes.len());
        let (mut added, mut removed): (Vec<Key>, Vec<Key>) = (Vec::new(), Vec::new());
        for (number, change) in &mut changes {
            let Some(old) = self.pages.get(*number).map(ArcSwap::load) else { continue };
            let replaced: HashMap<&Key, bool> = change.entries.iter().map(|(_, key, entry)| (key, entry.is_some())).collect();
            let mut slots = Vec::with_capacity(old.slots.len() + change.entries.len());
            let mut known: Vec<&Key> = Vec::new();
            for (hash, entry) in &old.slots {
                match replaced.get(&entry.key) {
                    None => slots.push((*hash, Arc::clone(entry))),
                    Some(again) => {
                        known.push(&entry.key);
                        if !again {
                            removed.push(entry.key.clone());
                        }
                    }
                }
            }
            let known: std::collections::HashSet<&Key> = known.into_iter().collect();
            for (hash, key, entry) in &change.entries {
                if let Some(entry) = entry {
                    if !known.contains(key) {
                        added.push(key.clone());
                    }
                    slots.push((*hash, Arc::clone(entry)));
                }
            }
            slots.sort_unstable_by_key(|(hash, _)| *hash);
            built.push((*number, Page { slots, above: old.above.clone() }));
        }
        if self.len() + added.len() > ENTRIES_MAX + removed.len() {
            return Err(OverlayError::Full);
        }
        let mut built: BTreeMap<usize, Page> = built.into_iter().collect();
        self.count_above(&added, &removed, &mut built);
        // Lengths are told before an entry that has them can be seen, and taken back after.
        self.tell(&added, |count| {
            count.fetch_add(1, Ordering::AcqRel);
        });
        self.count.fetch_add(added.len(), Ordering::AcqRel);
        for (number, page) in built {
            if let Some(place) = self.pages.get(number) {
                place.store(Arc::new(page));
            }
        }
        self.count.fetch_sub(removed.len(), Ordering::AcqRel);
        self.tell(&removed, |count| {
            count.fetch_sub(1, Ordering::AcqRel);
        });
        Ok(())
    }

    fn tell(&self, keys: &[Key], each: impl Fn(&AtomicU32)) {
        for key in keys {
            let count = match key {
                Key::Ip4(_, length) => self.ip4_lengths.get(usize::from(*length)),
                Key::Ip6(_, length) => self.ip6_lengths.get(usize::from(*length)),
                Key::Name(..) => Some(&self.names),
            };
            count.into_iter().for_each(&each);
        }
    }

    /// Counts names up and down at all names above them.
    fn count_above(&self, added: &[Key], removed: &[Key], built: &mut BTreeMap<usize, Page>) {
        let mut differences: BTreeMap<usize, BTreeMap<u64, i64>> = BTreeMap::new();
        for (keys, step) in [(added, 1), (removed, -1)] {
            for key in keys {
                let Key::Name(name, scope) = key else { continue };
                // What is said of all below a name says that something is there.
                let skip = usize::from(*scope == Scope::Own);
                for hash in self.name_hashes(name).iter().skip(skip) {
                    *differences.entry(page_of(*hash)).or_default().entry(*hash).or_default() += step;
                }
            }
        }
        for (number, differences) in differences {
            let page = built.entry(number).or_insert_with(|| {
                let old = self.pages.get(number).map(|page| page.load_full()).unwrap_or_default();
                Page { slots: old.slots.clone(), above: old.above.clone() }
            });
            let mut above: BTreeMap<u64, u32> = page.above.iter().copied().collect();
            for (hash, difference) in differences {
                let count = i64::from(above.get(&hash).copied().unwrap_or(0)) + difference;
                match u32::try_from(count) {
                    Ok(0) | Err(_) => above.remove(&hash),
                    Ok(count) => above.insert(hash, count),
                };
            }
            page.above = above.into_iter().collect();
        }
    }

    /// All entries that hold at `now`, in no order; for `postring block list`, and to write the journal anew. What is changed meanwhile may
    /// be there or not.
    pub fn iter(&self, now: u64) -> impl Iterator<Item = Arc<Entry>> {
        self.pages
            .iter()
            .flat_map(move |page| {
                let page = page.load_full();
                (0..page.slots.len()).filter_map(move |at| page.slots.get(at).map(|(_, entry)| Arc::clone(entry)))
            })
            .filter(move |entry| !entry.is_expired(now))
    }

    /// The entry for exactly this, expired or not.
    #[must_use]
    pub fn entry(&self, key: &Key) -> Option<Arc<Entry>> {
        self.get(self.hash(key), 0, |other| other == key)
    }

    /// What `block del` must do for a key: the file lists it, so hide it; else forget what was said by command.
    #[must_use]
    pub fn deletion(key: Key, in_file: bool, made: u64, by: &str, why: &str) -> Change {
        if !in_file {
            return Change::Forget(key);
        }
        Change::Put(Entry { key, verdict: Verdict::Hidden, text: "".into(), expires: 0, made, by: by.into(), why: why.into() })
    }
}

#[derive(Default)]
struct PageChange {
    entries: Vec<(u64, Key, Option<Arc<Entry>>)>,
}

/// What an entry made by command answers with if nothing else is said.
pub(super) const ANSWER_DEFAULT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[cfg(test)]
mod tests;
