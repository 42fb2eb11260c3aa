//! A map from addresses to values in which long runs have the same: the places where the value changes, in order.
//!
//! ```text
//!   starts   0.0.0.0   10.0.0.0   11.0.0.0   192.0.2.0   192.0.3.0
//!   values   0         5          0          1           0            (0: not listed)
//! ```
//! A look-up is one binary search; so is "is anything listed between these two". 8 bytes a step for IPv4, 20 for IPv6.

use super::values::ValueId;

/// Entries that may hold one and the same address: each step looks at all of them.
const OVERLAPS_MAX: usize = 1024;

/// An address of one family.
pub(super) trait Address: Copy + Ord {
    /// The address behind this one.
    fn next(self) -> Option<Self>;
}

impl Address for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Address for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// The map.
#[derive(Debug)]
pub(super) struct Steps<K> {
    starts: Box<[K]>,
    values: Box<[ValueId]>,
}

impl<K: Address> Steps<K> {
    /// The value of an address, 0 if it has none.
    pub(super) fn get(&self, address: K) -> ValueId {
        let behind = self.starts.partition_point(|start| *start <= address);
        behind.checked_sub(1).and_then(|at| self.values.get(at)).copied().unwrap_or(0)
    }

    /// The value all addresses from `first` to `last` have, if they have one.
    pub(super) fn uniform(&self, first: K, last: K) -> Option<ValueId> {
        let behind = self.starts.partition_point(|start| *start <= first);
        self.starts.get(behind).is_none_or(|start| *start > last).then(|| self.get(first))
    }

    /// True if any address from `first` to `last` has a value. Two steps beside each other differ, so the second look is enough.
    pub(super) fn any(&self, first: K, last: K) -> bool {
        let behind = self.starts.partition_point(|start| *start <= first);
        let next = (behind..behind + 2).any(|at| {
            self.starts.get(at).is_some_and(|start| *start <= last) && self.values.get(at).is_some_and(|value| *value != 0)
        });
        next || self.get(first) != 0
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val::<[K]>(&self.starts) + size_of_val::<[ValueId]>(&self.values)
    }
}

/// An entry: of those that hold an address the ones with the highest rank count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval<K> {
    pub(super) first: K,
    pub(super) last: K,
    pub(super) rank: u8,
    pub(super) value: ValueId,
}

/// Flattens entries. `decide` is given the values of the highest rank in the order in which they came.
///
/// # Errors
/// More than [`OVERLAPS_MAX`] entries hold one address.
pub(super) fn flatten<K: Address>(
    mut intervals: Vec<Interval<K>>,
    mut decide: impl FnMut(&[ValueId]) -> ValueId,
) -> Result<Steps<K>, String> {
    // Stable: the order of coming stays.
    intervals.sort_by_key(|interval| interval.first);
    let (mut starts, mut values) = (Vec::new(), Vec::new());
    let mut active: Vec<Interval<K>> = Vec::new();
    let mut best: Vec<ValueId> = Vec::new();
    let mut waiting = intervals.iter().peekable();
    let mut next = waiting.peek().map(|interval| interval.first);
    while let Some(at) = next {
        active.retain(|interval| interval.last >= at);
        while let Some(interval) = waiting.next_if(|interval| interval.first <= at) {
            let same =
                |known: &Interval<K>| (known.last, known.rank, known.value) == (interval.last, interval.rank, interval.value);
            if !active.iter().any(same) {
                active.push(*interval);
            }
            if active.len() > OVERLAPS_MAX {
                return Err(format!("more than {OVERLAPS_MAX} entries hold one address"));
            }
        }
        let rank = active.iter().map(|interval| interval.rank).max();
        best.clear();
        best.extend(active.iter().filter(|interval| Some(interval.rank) == rank).map(|interval| interval.value));
        let value = if best.is_empty() { 0 } else { decide(&best) };
        if values.last().copied().unwrap_or(0) != value {
            starts.push(at);
            values.push(value);
        }
        let ends = active.iter().filter_map(|interval| interval.last.next()).min();
        let begins = waiting.peek().map(|interval| interval.first);
        next = match (ends, begins) {
            (Some(end), Some(begin)) => Some(end.min(begin)),
            (one, other) => one.or(other),
        };
    }
    Ok(Steps { starts: starts.into(), values: values.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against the plain rule: of all entries that hold the address those of the highest rank, of these the first.
        #[test]
        fn as_the_plain_rule(entries in proptest::collection::vec((0..64_u32, 0..64_u32, 0..3_u8, 0..5_u32), 0..12)) {
            let intervals: Vec<_> = entries.iter()
                .map(|&(a, b, rank, value)| Interval { first: a.min(b), last: a.max(b), rank, value })
                .collect();
            let steps = flatten(intervals.clone(), |best| best.iter().copied().min().unwrap()).unwrap();
            let expected = |address: u32| {
                let holding = intervals.iter().filter(|interval| (interval.first..=interval.last).contains(&address));
                holding.max_by_key(|interval| (interval.rank, std::cmp::Reverse(interval.value))).map_or(0, |interval| interval.value)
            };
            for address in 0..70_u32 {
                prop_assert_eq!(steps.get(address), expected(address));
                for last in address..70 {
                    prop_assert_eq!(steps.any(address, last), (address..=last).any(|address| expected(address) != 0));
                    let all = (address..=last).all(|other| expected(other) == expected(address));
                    prop_assert_eq!(steps.uniform(address, last), all.then(|| expected(address)));
                }
            }
        }
    }

    #[test]
    fn the_whole_internet() {
        let whole = Interval { first: 0, last: u32::MAX, rank: 0, value: 1 };
        let steps = flatten(vec![whole, Interval { first: u32::MAX, rank: 32, value: 0, ..whole }], |best| best[0]).unwrap();
        assert_eq!((steps.get(0), steps.get(u32::MAX - 1), steps.get(u32::MAX), steps.len()), (1, 1, 0, 2));
        let six = flatten(vec![Interval { first: 0, last: u128::MAX, rank: 0, value: 1 }], |best| best[0]).unwrap();
        assert_eq!((six.get(0), six.get(u128::MAX)), (1, 1));
    }
}
