//! An exact set of IPv4 addresses in little more than two bytes each.
//!
//! ```text
//!   index   65,537 places, by the upper 16 bits: where the bucket begins in `lows`         256 KiB
//!   lows    the lower 16 bits of each address, in order within its bucket                  2 bytes an address
//! ```
//! A look-up reads two neighbours of the index and searches one bucket, with 10 million addresses spread over the Internet about 150 of
//! them. Sets too small to be worth the index are a sorted list of whole addresses.

/// Addresses up to which a sorted list is smaller than the index.
const PLAIN_MAX: usize = 1 << 16;

/// The set.
#[derive(Debug)]
pub(super) enum AddressSet {
    Plain(Box<[u32]>),
    Bucketed { index: Box<[u32]>, lows: Box<[u16]> },
}

fn halves(address: u32) -> (usize, u16) {
    let [a, b, c, d] = address.to_be_bytes();
    (usize::from(u16::from_be_bytes([a, b])), u16::from_be_bytes([c, d]))
}

impl AddressSet {
    /// Builds from addresses in order, each once; `count` of them.
    pub(super) fn from_sorted(count: usize, addresses: impl Iterator<Item = u32>) -> Self {
        if count <= PLAIN_MAX {
            return Self::Plain(addresses.collect());
        }
        let mut index = vec![0_u32; (1 << 16) + 1];
        let mut lows = Vec::with_capacity(count);
        for address in addresses {
            let (high, low) = halves(address);
            lows.push(low);
            if let Some(behind) = index.get_mut(high + 1) {
                *behind += 1;
            }
        }
        let mut sum = 0;
        for place in &mut index {
            sum += *place;
            *place = sum;
        }
        Self::Bucketed { index: index.into(), lows: lows.into() }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Plain(addresses) => addresses.len(),
            Self::Bucketed { lows, .. } => lows.len(),
        }
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Plain(addresses) => size_of_val::<[u32]>(addresses),
            Self::Bucketed { index, lows } => size_of_val::<[u32]>(index) + size_of_val::<[u16]>(lows),
        }
    }

    /// Where the bucket of an address lies, and what of it is in order before the address: the number of addresses below it.
    pub(super) fn rank(&self, address: u32) -> usize {
        match self {
            Self::Plain(addresses) => addresses.partition_point(|other| *other < address),
            Self::Bucketed { index, lows } => {
                let (high, low) = halves(address);
                let (begin, bucket) = bucket(index, lows, high);
                begin + search(bucket, low)
            }
        }
    }

    /// The place of an address, if it is in the set.
    ///
    /// Cost: three cache lines, most of the time.
    pub(super) fn position(&self, address: u32) -> Option<usize> {
        match self {
            Self::Plain(addresses) => addresses.binary_search(&address).ok(),
            Self::Bucketed { index, lows } => {
                let (high, low) = halves(address);
                let (begin, bucket) = bucket(index, lows, high);
                let at = search(bucket, low);
                (bucket.get(at) == Some(&low)).then_some(begin + at)
            }
        }
    }

    /// The addresses of the places `from..`, in order.
    pub(super) fn iter_from(&self, from: usize) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Plain(addresses) => Box::new(addresses.get(from..).unwrap_or_default().iter().copied()),
            Self::Bucketed { index, lows } => {
                let mut high = index.partition_point(|begin| *begin as usize <= from).saturating_sub(1);
                Box::new(lows.get(from..).unwrap_or_default().iter().zip(from..).map(move |(low, at)| {
                    while index.get(high + 1).is_some_and(|end| *end as usize <= at) {
                        high += 1;
                    }
                    u32::try_from(high).unwrap_or(0) << 16 | u32::from(*low)
                }))
            }
        }
    }
}

fn bucket<'l>(index: &[u32], lows: &'l [u16], high: usize) -> (usize, &'l [u16]) {
    match index.get(high..high + 2) {
        Some(&[begin, end]) => (begin as usize, lows.get(begin as usize..end as usize).unwrap_or_default()),
        _ => (0, &[]),
    }
}

/// Elements compared at once.
const WINDOW: usize = 32;

/// Number of elements below `low`. Begins where the element would lie if they were spread evenly, as addresses of a list nearly are, and
/// halves the rest: the first guess costs one cache line, most of the time, where plain halving costs three.
fn search(bucket: &[u16], low: u16) -> usize {
    let guess = (bucket.len() * usize::from(low)) >> 16;
    let from = guess.saturating_sub(WINDOW / 2).min(bucket.len().saturating_sub(WINDOW));
    let Some(window) = bucket.get(from..).and_then(|rest| rest.first_chunk::<WINDOW>()) else {
        return bucket.partition_point(|other| *other < low);
    };
    // A number of known length in lanes of 16 bits: a few vector instructions.
    let within = usize::from(window.iter().map(|other| u16::from(*other < low)).sum::<u16>());
    // All below: it may lie further up; none: further down.
    if within == WINDOW {
        let to = from + WINDOW;
        return to + bucket.get(to..).unwrap_or_default().partition_point(|other| *other < low);
    }
    if within == 0 {
        return bucket.get(..from).unwrap_or_default().partition_point(|other| *other < low);
    }
    from + within
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn many_addresses() {
        // Spread, dense, and alone.
        let mut addresses: Vec<u32> = (0..100_000_u32).map(|number| number.wrapping_mul(2_654_435_761)).collect();
        addresses.extend(0x0a00_0000..0x0a01_8000);
        addresses.extend([0, 1, u32::MAX, u32::MAX - 1, 0xffff_0000]);
        addresses.sort_unstable();
        addresses.dedup();
        let set = AddressSet::from_sorted(addresses.len(), addresses.iter().copied());
        assert!(matches!(set, AddressSet::Bucketed { .. }));
        for (place, &address) in addresses.iter().enumerate() {
            assert_eq!((set.position(address), set.rank(address)), (Some(place), place));
            let behind = address.wrapping_add(1);
            assert_eq!(set.position(behind).is_some(), addresses.binary_search(&behind).is_ok());
        }
        assert!(set.iter_from(0).eq(addresses.iter().copied()));
        assert!(set.iter_from(77_777).eq(addresses.iter().copied().skip(77_777)));
        assert_eq!(set.iter_from(addresses.len()).next(), None);
    }

    proptest! {
        #[test]
        fn the_guess_finds_what_halving_finds(mut bucket in proptest::collection::vec(any::<u16>(), 0..300), low: u16, squeeze in 0..8_u32) {
            bucket.iter_mut().for_each(|low| *low >>= squeeze);
            bucket.sort_unstable();
            bucket.dedup();
            for low in [low, low >> squeeze] {
                prop_assert_eq!(search(&bucket, low), bucket.partition_point(|other| *other < low));
            }
        }
    }
}
