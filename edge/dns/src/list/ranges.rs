//! Sets of IPv4 addresses with values: the most specific entry wins, an exclusion is an entry without a value.
//!
//! Entries may lie within each other; [`RangesBuilder::finish`] flattens them once into segments that do not, in order, so that a look-up is one
//! binary search over 12 bytes a segment, and "is anything listed between these two" is one, too.

use std::net::Ipv4Addr;

/// The value of an exclusion.
pub(crate) const EXCLUDED: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    first: u32,
    last: u32,
    value: u32,
}

/// A flat set.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    segments: Vec<Segment>,
}

impl Ranges {
    /// The value of an address.
    pub(crate) fn get(&self, address: Ipv4Addr) -> Option<u32> {
        let address = u32::from(address);
        let behind = self.segments.partition_point(|segment| segment.first <= address);
        self.segments.get(behind.checked_sub(1)?).filter(|segment| segment.last >= address).map(|segment| segment.value)
    }

    /// True if any address from `first` to `last` has a value.
    pub(crate) fn intersects(&self, first: u32, last: u32) -> bool {
        let from = self.segments.partition_point(|segment| segment.last < first);
        self.segments.get(from).is_some_and(|segment| segment.first <= last)
    }
}

/// Collects blocks.
#[derive(Debug, Default)]
pub(crate) struct RangesBuilder {
    /// First address, prefix length, order of coming, value.
    blocks: Vec<(u32, u8, u32)>,
}

impl RangesBuilder {
    /// Adds all addresses from `first` to `last`, cut into blocks that nest.
    pub(crate) fn add(&mut self, first: u32, last: u32, value: u32) {
        let mut from = u64::from(first);
        let last = u64::from(last);
        while from <= last {
            // The largest block that begins here and ends within.
            let aligned = if from == 0 { 32 } else { from.trailing_zeros().min(32) };
            let fitting = (last - from + 1).ilog2();
            let bits = aligned.min(fitting);
            self.blocks.push((u32::try_from(from).unwrap_or(u32::MAX), 32 - u8::try_from(bits).unwrap_or(32), value));
            from += 1 << bits;
        }
    }

    /// Flattens: a sweep over the blocks in order, those that are open on a stack.
    pub(crate) fn finish(mut self) -> Ranges {
        // Stable: of two equal blocks the later stands behind, and wins.
        self.blocks.sort_by_key(|(first, length, _)| (*first, *length));
        let mut segments: Vec<Segment> = Vec::new();
        let mut open: Vec<(u64, u32)> = Vec::new();
        let mut at = 0_u64;
        let mut emit = |from: u64, to: u64, value: u32| {
            if from <= to && value != EXCLUDED {
                let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
                segments.push(Segment { first: number(from), last: number(to), value });
            }
        };
        for &(first, length, value) in &self.blocks {
            let first = u64::from(first);
            while let Some(&(end, value)) = open.last().filter(|(end, _)| *end < first) {
                emit(at, end, value);
                at = at.max(end + 1);
                open.pop();
            }
            if let Some(&(_, value)) = open.last()
                && at < first
            {
                emit(at, first - 1, value);
            }
            at = first;
            open.push((first + (1_u64 << (32 - length)) - 1, value));
        }
        while let Some((end, value)) = open.pop() {
            emit(at, end, value);
            at = at.max(end + 1);
        }
        segments.shrink_to_fit();
        Ranges { segments }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against the plain rule: of all blocks that hold the address the longest prefix, of equals the last.
        #[test]
        fn as_the_plain_rule(blocks in proptest::collection::vec((0..64_u32, 0..64_u32, 0..5_u32), 0..12)) {
            let mut builder = RangesBuilder::default();
            for &(a, b, value) in &blocks {
                builder.add(a.min(b), a.max(b), if value == 4 { EXCLUDED } else { value });
            }
            let plain = builder.blocks.clone();
            let ranges = builder.finish();
            for address in 0..70_u32 {
                let holds = |(first, length, _): &&(u32, u8, u32)| (u64::from(*first)..u64::from(*first) + (1 << (32 - length))).contains(&u64::from(address));
                let best = plain.iter().filter(holds).max_by_key(|(_, length, _)| *length);
                let expected = best.map(|(_, _, value)| *value).filter(|value| *value != EXCLUDED);
                prop_assert_eq!(ranges.get(address.into()), expected);
                let near = (address..address + 4).any(|address| ranges.get(address.into()).is_some());
                prop_assert_eq!(ranges.intersects(address, address + 3), near);
            }
        }
    }

    #[test]
    fn the_whole_internet() {
        let mut builder = RangesBuilder::default();
        builder.add(0, u32::MAX, 1);
        builder.add(u32::MAX, u32::MAX, EXCLUDED);
        let ranges = builder.finish();
        assert_eq!((ranges.get([1, 2, 3, 4].into()), ranges.get([255, 255, 255, 255].into())), (Some(1), None));
    }
}
