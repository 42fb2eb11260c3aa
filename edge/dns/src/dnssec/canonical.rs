//! The canonical order and form of names and records (RFC 4034 section 6): what both sides of a signature must agree on.

use crate::name::{labels, parent};
use crate::record::Rdata;
use crate::types::Rtype;
use crate::wire::Reader;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cmp::Ordering;

/// Labels of the longest name: one octet each, with its length.
const LABELS_MAX: usize = 127;

/// Orders two names in wire form as RFC 4034 section 6.1 says: label by label from the right, letters as if lower-case.
///
/// Cost: both names are walked twice; no allocation up to 32 labels.
#[must_use]
pub fn compare_names(left: &[u8], right: &[u8]) -> Ordering {
    let split = |name| -> SmallVec<[&[u8]; 32]> { labels(name).take(LABELS_MAX).collect() };
    let (left, right) = (split(left), split(right));
    for (left, right) in left.iter().rev().zip(right.iter().rev()) {
        let lower = |label: &&[u8]| -> SmallVec<[u8; 64]> { label.iter().map(u8::to_ascii_lowercase).collect() };
        match lower(left).cmp(&lower(right)) {
            Ordering::Equal => {}
            order => return order,
        }
    }
    left.len().cmp(&right.len())
}

/// How many labels a name has, the root and a leading asterisk not counted (RFC 4034 section 3.1.3).
#[must_use]
pub fn label_count(name: &[u8]) -> u8 {
    let count = labels(name).count() - usize::from(is_wildcard(name));
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// True if the first label is a lone asterisk (RFC 4592 section 2.1.1).
#[must_use]
pub fn is_wildcard(name: &[u8]) -> bool {
    name.starts_with(b"\x01*")
}

/// The last `count` labels of a name. `None`: it has fewer.
#[must_use]
pub fn last_labels(name: &[u8], count: usize) -> Option<&[u8]> {
    let extra = labels(name).count().checked_sub(count)?;
    (0..extra).try_fold(name, |rest, _| parent(rest))
}

/// What of a type's data the canonical form lowers.
enum Lower {
    /// Nothing.
    Nothing,
    /// So many octets, so many character strings, then so many names; the rest as it is.
    Names { octets: usize, strings: usize, names: usize },
}

/// Types with names that are lowered: those of RFC 4034 section 6.2, but NSEC, which RFC 6840 section 5.1 takes out, and but the obsolete SIG,
/// NXT and A6, which nobody signs. HINFO stands in that list by mistake; it has no names.
fn lower(rtype: Rtype) -> Lower {
    let (octets, strings, names) = match rtype.0 {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME
        2 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 39 => (0, 0, 1),
        // SOA, MINFO, RP
        6 | 14 | 17 => (0, 0, 2),
        // MX, AFSDB, RT, KX
        15 | 18 | 21 | 36 => (2, 0, 1),
        // PX
        26 => (2, 0, 2),
        // SRV
        33 => (6, 0, 1),
        // NAPTR
        35 => (4, 3, 1),
        // RRSIG
        46 => (18, 0, 1),
        _ => return Lower::Nothing,
    };
    Lower::Names { octets, strings, names }
}

/// Data in canonical form (RFC 4034 section 6.2): names in it lower-case, where the type is one of the old ones. Data that is not as its type
/// wants it stays as it is.
#[must_use]
pub fn canonical_rdata(rtype: Rtype, rdata: &[u8]) -> Cow<'_, [u8]> {
    let Lower::Names { octets, strings, names } = lower(rtype) else { return Cow::Borrowed(rdata) };
    let range = || {
        let mut reader = Reader::new(rdata, 0);
        reader.bytes(octets)?;
        for _ in 0..strings {
            let length = *reader.bytes(1)?.first()?;
            reader.bytes(length.into())?;
        }
        let start = reader.position();
        for _ in 0..names {
            reader.plain_name()?;
        }
        Some(start..reader.position())
    };
    // Length octets are at most 63 and no letters, so that a name may be lowered as a whole.
    match range() {
        Some(range) if rdata.get(range.clone()).is_some_and(|names| names.iter().any(u8::is_ascii_uppercase)) => {
            let mut lowered = rdata.to_vec();
            lowered.get_mut(range).unwrap_or_default().make_ascii_lowercase();
            Cow::Owned(lowered)
        }
        _ => Cow::Borrowed(rdata),
    }
}

/// The data of a set in canonical form and order, each only once (RFC 4034 section 6.3).
#[must_use]
pub fn canonical_set<'r>(rtype: Rtype, rdata: impl IntoIterator<Item = &'r [u8]>) -> Vec<Cow<'r, [u8]>> {
    let mut set: Vec<_> = rdata.into_iter().map(|rdata| canonical_rdata(rtype, rdata)).collect();
    //= RFC 4034 section 6.3
    //# For the purposes of DNS security, RRs with the same owner name, class, and type are sorted by treating the RDATA portion of the canonical
    //# form of each RR as a left-justified unsigned octet sequence in which the absence of an octet sorts before a zero octet.
    set.sort_unstable();
    set.dedup();
    set
}

/// As [`canonical_set`], for sets as they are stored.
#[must_use]
pub fn canonical_records(rtype: Rtype, rdata: &[Rdata]) -> Vec<Cow<'_, [u8]>> {
    canonical_set(rtype, rdata.iter().map(|rdata| &**rdata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::parse(text, None).unwrap()
    }

    #[test]
    fn rfc4034_section_6_1_order() {
        let order = [
            "example.",
            "a.example.",
            "yljkjljk.a.example.",
            "Z.a.example.",
            "zABC.a.EXAMPLE.",
            "z.example.",
            "\\001.z.example.",
            "*.z.example.",
            "\\200.z.example.",
        ];
        for (left, right) in order.iter().zip(&order[1..]) {
            assert_eq!(compare_names(name(left).wire(), name(right).wire()), Ordering::Less, "{left} {right}");
            assert_eq!(compare_names(name(right).wire(), name(left).wire()), Ordering::Greater);
        }
        assert_eq!(compare_names(name("A.b.").wire(), name("a.B.").wire()), Ordering::Equal);
    }

    #[test]
    fn labels_are_counted_without_the_asterisk() {
        for (text, count) in [(".", 0), ("a.b.", 2), ("*.a.b.", 2), ("*a.b.", 2)] {
            assert_eq!(label_count(name(text).wire()), count, "{text}");
        }
        assert_eq!(last_labels(name("a.b.c.").wire(), 2), Some(name("b.c.").wire()));
        assert_eq!(last_labels(name("a.").wire(), 2), None);
        assert_eq!(last_labels(name("a.").wire(), 0), Some(&[0][..]));
    }

    #[test]
    fn names_in_old_types_are_lowered() {
        let joined = |parts: &[&[u8]]| parts.concat();
        let upper = name("Mx.Example.");
        let lower = name("mx.example.");
        for (rtype, before, after) in [
            (Rtype::MX, &b"\x00A"[..], &b""[..]),
            (Rtype::NS, b"", b""),
            (Rtype::SRV, b"ABCDEF", b""),
            (Rtype::NAPTR, b"\0\x01\0\x02\x01U\x03E2U\x02!A", b""),
            (Rtype::RRSIG, b"ABCDEFGHIJKLMNOPQR", b"SIGNATURE"),
        ] {
            let given = joined(&[before, upper.wire(), after]);
            assert_eq!(canonical_rdata(rtype, &given), joined(&[before, lower.wire(), after]), "{rtype}");
        }
        for rtype in [Rtype::NSEC, Rtype::TXT, Rtype::SVCB] {
            assert_eq!(canonical_rdata(rtype, upper.wire()), upper.wire());
        }
        assert_eq!(canonical_rdata(Rtype::MX, b"A"), &b"A"[..]);
    }

    #[test]
    fn sets_are_ordered_and_without_doubles() {
        let set = canonical_set(Rtype::TXT, [&b"\x02"[..], b"\x01b", b"\x01", b"\x01b"]);
        assert_eq!(set, [&b"\x01"[..], b"\x01b", b"\x02"]);
    }

    proptest! {
        #[test]
        fn order_is_hickorys(left in "[A-Ca-c]{1,2}(\\.[a-bA-B]{1,2}){0,3}\\.", right in "[A-Ca-c]{1,2}(\\.[a-bA-B]{1,2}){0,3}\\.") {
            let theirs = |text: &str| hickory_proto::rr::Name::from_ascii(text).unwrap();
            prop_assert_eq!(compare_names(name(&left).wire(), name(&right).wire()), theirs(&left).cmp(&theirs(&right)));
        }

        #[test]
        fn any_bytes_are_harmless(left in proptest::collection::vec(any::<u8>(), 0..300), right in proptest::collection::vec(any::<u8>(), 0..300), rtype in 0..70_u16) {
            let _ = (compare_names(&left, &right), label_count(&left), last_labels(&left, 3), canonical_rdata(Rtype(rtype), &left));
        }
    }
}
