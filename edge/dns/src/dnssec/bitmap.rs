//! The types that are at a name, as NSEC and NSEC3 list them (RFC 4034 section 4.1.2), and the NSEC record itself.
//!
//! ```text
//!   for each block of 256 types that has any:  block 1 | length 1..32 | bits, the first type in the highest bit
//! ```

use crate::types::Rtype;
use crate::wire::Reader;

/// Appends the bit map of `types`, which must be in ascending order; doubles are harmless.
pub fn write_bitmap(types: impl IntoIterator<Item = Rtype>, out: &mut Vec<u8>) {
    let mut block: Option<(u8, [u8; 32])> = None;
    let mut flush = |block: Option<(u8, [u8; 32])>| {
        let Some((number, bits)) = block else { return };
        let used = bits.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
        out.extend_from_slice(&[number, u8::try_from(used).unwrap_or(32)]);
        out.extend_from_slice(bits.get(..used).unwrap_or_default());
    };
    for rtype in types {
        let [number, low] = rtype.0.to_be_bytes();
        if block.is_some_and(|(current, _)| current != number) {
            flush(block.take());
        }
        let (_, bits) = block.get_or_insert((number, [0; 32]));
        if let Some(octet) = bits.get_mut(usize::from(low / 8)) {
            *octet |= 0x80 >> (low % 8);
        }
    }
    flush(block);
}

/// Appends a bit map without one type.
pub(crate) fn without(bitmap: &[u8], rtype: Rtype, out: &mut Vec<u8>) {
    write_bitmap(types(bitmap).filter(|other| *other != rtype), out);
}

/// The blocks of a bit map: number and bits. Ends at what is broken.
fn blocks(bitmap: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut reader = Reader::new(bitmap, 0);
    std::iter::from_fn(move || {
        let [number, length] = *reader.bytes(2)?.first_chunk()?;
        Some((number, reader.bytes(length.into())?))
    })
}

/// True if it is a bit map as the RFC wants it: blocks in order, none empty or too long, nothing behind.
#[must_use]
pub fn is_well_formed(bitmap: &[u8]) -> bool {
    let whole: usize = blocks(bitmap).map(|(_, bits)| bits.len() + 2).sum();
    let sizes = blocks(bitmap).all(|(_, bits)| (1..=32).contains(&bits.len()));
    whole == bitmap.len() && sizes && blocks(bitmap).map(|(number, _)| number).is_sorted_by(|left, right| left < right)
}

/// True if `rtype` is in the bit map.
#[must_use]
pub fn contains(bitmap: &[u8], rtype: Rtype) -> bool {
    let [number, low] = rtype.0.to_be_bytes();
    let mut own = blocks(bitmap).filter(|(block, _)| *block == number);
    own.any(|(_, bits)| bits.get(usize::from(low / 8)).is_some_and(|octet| octet & 0x80 >> (low % 8) != 0))
}

/// The types of the bit map, in the order of their numbers.
pub fn types(bitmap: &[u8]) -> impl Iterator<Item = Rtype> {
    blocks(bitmap).flat_map(|(number, bits)| {
        let lows =
            (0..=u8::MAX).filter(move |low| bits.get(usize::from(low / 8)).is_some_and(|octet| octet & 0x80 >> (low % 8) != 0));
        lows.map(move |low| Rtype(u16::from_be_bytes([number, low])))
    })
}

/// The data of an NSEC record (RFC 4034 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nsec<'r> {
    /// The next owner in canonical order; the apex behind the last. Letters as they came.
    pub next: &'r [u8],
    /// The types at this owner.
    pub bitmap: &'r [u8],
}

impl<'r> Nsec<'r> {
    /// Reads the data. `None`: it is broken.
    #[must_use]
    pub fn parse(rdata: &'r [u8]) -> Option<Self> {
        let mut reader = Reader::new(rdata, 0);
        let next = reader.plain_name()?;
        let bitmap = rdata.get(reader.position()..)?;
        is_well_formed(bitmap).then_some(Self { next, bitmap })
    }
}

#[cfg(test)]
mod tests {
    use super::{types as read_types, *};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The example of RFC 4034 section 4.3: A MX RRSIG NSEC TYPE1234.
    #[test]
    fn rfc4034_section_4_3() {
        let mut out = Vec::new();
        write_bitmap([Rtype::A, Rtype::MX, Rtype::RRSIG, Rtype::NSEC, Rtype(1234)], &mut out);
        let mut expected = vec![0x00, 0x06, 0x40, 0x01, 0x00, 0x00, 0x00, 0x03, 0x04, 0x1b];
        expected.extend_from_slice(&[0; 26]);
        expected.push(0x20);
        assert_eq!(out, expected);
        assert!(contains(&out, Rtype::MX) && contains(&out, Rtype(1234)) && !contains(&out, Rtype::NS));
    }

    #[test]
    fn broken_ones() {
        for broken in [&[0][..], &[0, 0], &[0, 2, 1], &[0, 33], &[1, 1, 1, 0, 1, 1], &[0, 1, 1, 0, 1, 1]] {
            assert!(!is_well_formed(broken), "{broken:?}");
        }
        assert!(is_well_formed(&[]) && is_well_formed(&[0, 1, 64]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(types in proptest::collection::btree_set(any::<u16>(), 0..20)) {
            let mut out = Vec::new();
            write_bitmap(types.iter().copied().map(Rtype), &mut out);
            prop_assert!(is_well_formed(&out));
            prop_assert_eq!(read_types(&out).map(|rtype| rtype.0).collect::<BTreeSet<_>>(), types.clone());
            prop_assert!(types.iter().all(|rtype| contains(&out, Rtype(*rtype))));
        }

        #[test]
        fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (is_well_formed(&data), read_types(&data).count(), Nsec::parse(&data));
        }
    }
}
