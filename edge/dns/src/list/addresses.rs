//! A list of IPv4 addresses: single ones in a compact set, networks as steps.
//!
//! A single address is more specific than any network, so it is looked for first. Most lists say one thing of all addresses: that value is
//! kept once, and only what differs from it has a place of its own.

use super::compact::AddressSet;
use super::steps::{Interval, Steps, flatten};
use super::values::{EXCLUDED, ValueId, ValuesBuilder};
use std::collections::HashMap;

/// The values of single addresses that have not the common one.
#[derive(Debug)]
enum Others {
    /// By address: 8 bytes each.
    Sparse(Box<[u32]>, Box<[ValueId]>),
    /// By the place of the address: 4 bytes for every address; chosen when more than half of them differ.
    Dense(Box<[ValueId]>),
}

/// The list.
#[derive(Debug)]
pub(super) struct Addresses {
    singles: AddressSet,
    common: ValueId,
    others: Others,
    excluded: AddressSet,
    networks: Steps<u32>,
}

impl Addresses {
    /// The value of an address, 0 if it is not listed.
    ///
    /// Cost: a look at the compact set, at the excluded addresses if there are any, and one binary search over the networks. No allocation.
    pub(super) fn get(&self, address: u32) -> ValueId {
        match self.singles.position(address) {
            Some(place) => self.single(address, place),
            None if self.excluded.position(address).is_some() => EXCLUDED,
            None => self.networks.get(address),
        }
    }

    fn single(&self, address: u32, place: usize) -> ValueId {
        let other = match &self.others {
            Others::Sparse(addresses, values) => addresses.binary_search(&address).ok().and_then(|at| values.get(at)),
            Others::Dense(values) => values.get(place),
        };
        other.copied().unwrap_or(self.common)
    }

    /// True if something from `first` to `last` is listed; a network of which every single address is excluded counts.
    pub(super) fn any(&self, first: u32, last: u32) -> bool {
        self.singles.rank(first) < self.singles.rank(last)
            || self.singles.position(last).is_some()
            || self.networks.any(first, last)
    }

    /// Single addresses and steps of the networks.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.singles.len() + self.excluded.len(), self.networks.len())
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let others = match &self.others {
            Others::Sparse(addresses, values) => size_of_val::<[u32]>(addresses) + size_of_val::<[u32]>(values),
            Others::Dense(values) => size_of_val::<[u32]>(values),
        };
        self.singles.bytes() + self.excluded.bytes() + self.networks.bytes() + others
    }

    pub(super) fn networks(&self) -> &Steps<u32> {
        &self.networks
    }

    /// Listed and excluded single addresses from `first` to `last` in order, with their values.
    pub(super) fn singles(&self, first: u32, last: u32) -> impl Iterator<Item = (u32, ValueId)> {
        let from = self.singles.rank(first);
        let listed = self.singles.iter_from(from).zip(from..);
        let mut listed = listed.map(|(address, place)| (address, self.single(address, place))).peekable();
        let excluded = self.excluded.iter_from(self.excluded.rank(first));
        let mut excluded = excluded.map(|address| (address, EXCLUDED)).peekable();
        std::iter::from_fn(move || match (listed.peek(), excluded.peek()) {
            (Some((one, _)), Some((other, _))) if one > other => excluded.next(),
            (Some(_), _) => listed.next(),
            (None, _) => excluded.next(),
        })
        .take_while(move |(address, _)| *address <= last)
    }
}

/// How entries that hold the same address are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// `ip4set`: by whole octets; all values of the most specific level together, an exclusion wins.
    Set,
    /// `ip4trie`: the longest prefix; of equals the first.
    Trie,
}

/// Collects entries. 8 bytes a single address, 16 a network.
#[derive(Debug)]
pub(super) struct AddressesBuilder {
    rule: Rule,
    /// Address, then value.
    singles: Vec<u64>,
    networks: Vec<Interval<u32>>,
}

impl AddressesBuilder {
    pub(super) fn new(rule: Rule) -> Self {
        Self { rule, singles: Vec::new(), networks: Vec::new() }
    }

    fn single(&mut self, address: u32, value: ValueId) {
        self.singles.push(u64::from(address) << 32 | u64::from(value));
    }

    /// Adds a range. `ip4trie` has only networks.
    pub(super) fn add(&mut self, first: u32, last: u32, value: ValueId) {
        match self.rule {
            _ if first == last => self.single(first, value),
            Rule::Trie => {
                let length = u8::try_from((last - first).leading_zeros()).unwrap_or(32);
                self.networks.push(Interval { first, last, rank: length, value });
            }
            Rule::Set => self.add_level(first, last, 8, value),
        }
    }

    /// Puts the whole blocks of `2^bits` addresses within the range on the next level, and the ends on this one.
    fn add_level(&mut self, first: u32, last: u32, bits: u32, value: ValueId) {
        let block = 1_u64 << bits;
        let (begin, end) = (u64::from(first).next_multiple_of(block), (u64::from(last) + 1) / block * block);
        let mut put = |from: u64, to: u64| {
            let (Ok(from), Ok(to)) = (u32::try_from(from), u32::try_from(to)) else { return };
            match bits {
                8 => (from..=to).for_each(|address| self.single(address, value)),
                _ => self.networks.push(Interval { first: from, last: to, rank: u8::try_from(40 - bits).unwrap_or(0), value }),
            }
        };
        if begin >= end {
            return put(first.into(), last.into());
        }
        if u64::from(first) < begin {
            put(first.into(), begin - 1);
        }
        if end <= u64::from(last) {
            put(end, last.into());
        }
        let (Ok(begin), Ok(end)) = (u32::try_from(begin), u32::try_from(end - 1)) else { return };
        if bits < 24 {
            self.add_level(begin, end, bits + 8, value);
        } else {
            self.networks.push(Interval { first: begin, last: end, rank: 8, value });
        }
    }

    /// The finished list.
    ///
    /// # Errors
    /// Too many entries hold one address.
    pub(super) fn finish(mut self, values: &mut ValuesBuilder) -> Result<Addresses, String> {
        let rule = self.rule;
        match rule {
            Rule::Set => self.singles.sort_unstable(),
            // Stable: the first of equals stays the first.
            Rule::Trie => self.singles.sort_by_key(|single| single >> 32),
        }
        let halves = |single: u64| {
            let [a, b, c, d, e, f, g, h] = single.to_be_bytes();
            (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
        };
        let mut group: Vec<ValueId> = Vec::new();
        let mut counts: HashMap<ValueId, usize> = HashMap::new();
        let (mut read, mut written) = (0, 0);
        // In place: what was read is never more than what is written.
        while let Some(&single) = self.singles.get(read) {
            let (address, value) = halves(single);
            let mut value = value;
            read += 1;
            group.clear();
            while let Some((_, other)) = self.singles.get(read).map(|next| halves(*next)).filter(|(next, _)| *next == address) {
                group.push(other);
                read += 1;
            }
            if rule == Rule::Set && !group.is_empty() {
                group.push(value);
                value = values.group(&group);
            }
            *counts.entry(value).or_default() += 1;
            if let Some(place) = self.singles.get_mut(written) {
                *place = u64::from(address) << 32 | u64::from(value);
                written += 1;
            }
        }
        self.singles.truncate(written);
        let count = |value: ValueId| counts.get(&value).copied().unwrap_or(0);
        let common = counts.keys().copied().filter(|value| *value != EXCLUDED).max_by_key(|value| (count(*value), *value));
        let common = common.unwrap_or(EXCLUDED);
        let excluded_count = count(EXCLUDED);
        let listed_count = written - excluded_count;
        let others_count = listed_count - if common == EXCLUDED { 0 } else { count(common) };
        let all = || self.singles.iter().map(|single| halves(*single));
        let listed = || all().filter(|(_, value)| *value != EXCLUDED);
        let others = if others_count > listed_count / 2 {
            Others::Dense(listed().map(|(_, value)| value).collect())
        } else {
            let (addresses, values): (Vec<u32>, Vec<ValueId>) = listed().filter(|(_, value)| *value != common).unzip();
            Others::Sparse(addresses.into(), values.into())
        };
        let singles = AddressSet::from_sorted(listed_count, listed().map(|(address, _)| address));
        let excluded =
            AddressSet::from_sorted(excluded_count, all().filter(|(_, value)| *value == EXCLUDED).map(|(address, _)| address));
        drop(self.singles);
        let networks = flatten(self.networks, |best| match rule {
            Rule::Set => values.group(best),
            Rule::Trie => best.first().copied().unwrap_or(EXCLUDED),
        })?;
        Ok(Addresses { singles, common, others, excluded, networks })
    }
}
