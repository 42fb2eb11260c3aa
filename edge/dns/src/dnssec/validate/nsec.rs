//! Denial by names in order (RFC 4035 section 5.4, RFC 6840 section 4, RFC 9824).

use super::denial::{Denial, NXNAME, is_usable_at};
use crate::dnssec::bitmap::{Nsec, contains};
use crate::dnssec::canonical::{compare_names, last_labels};
use crate::name::{Name, is_within, labels};
use crate::types::Rtype;
use std::cmp::Ordering;

/// A verified NSEC record.
#[derive(Clone, Debug)]
pub(super) struct Span {
    /// Lower-case.
    owner: Name,
    /// Lower-case.
    next: Name,
    bitmap: Vec<u8>,
}

impl Span {
    pub fn new(owner: &Name, rdata: &[u8]) -> Option<Self> {
        let nsec = Nsec::parse(rdata)?;
        Some(Self { owner: owner.clone(), next: Name::from_wire(nsec.next).ok()?.to_key(), bitmap: nsec.bitmap.to_vec() })
    }

    /// True if the name lies between this owner and the next, and the span may say so.
    fn covers(&self, name: &[u8]) -> bool {
        let behind = compare_names(self.owner.wire(), name) == Ordering::Less;
        let before = compare_names(name, self.next.wire()) == Ordering::Less;
        let last = compare_names(self.next.wire(), self.owner.wire()) != Ordering::Greater;
        // RFC 6840 section 4.1: a span that begins at a delegation, or at a DNAME (RFC 6672 section 5.3.4.1), knows nothing of what is below.
        let cut = contains(&self.bitmap, Rtype::NS) && !contains(&self.bitmap, Rtype::SOA);
        let elsewhere = (cut || contains(&self.bitmap, Rtype::DNAME)) && is_within(name, self.owner.wire());
        behind && (before || last) && !elsewhere
    }

    /// True if the name, which the span covers, is there without records: the next is below it.
    fn is_empty_non_terminal(&self, name: &[u8]) -> bool {
        is_within(self.next.wire(), name)
    }

    /// The longest name that both a covered name and an end of the span are at or below.
    fn closest_encloser<'n>(&self, name: &'n [u8]) -> &'n [u8] {
        let common = |end: &Name| {
            let (own, end): (Vec<_>, Vec<_>) = (labels(name).collect(), labels(end.wire()).collect());
            own.iter().rev().zip(end.iter().rev()).take_while(|(own, end)| own.eq_ignore_ascii_case(end)).count()
        };
        last_labels(name, common(&self.owner).max(common(&self.next))).unwrap_or(name)
    }
}

/// What the spans of a zone say of a name and type.
pub(super) fn find(spans: &[Span], name: &Name, rtype: Rtype) -> Denial {
    if let Some(denial) = at(spans, name.wire(), rtype) {
        return denial;
    }
    let Some(span) = spans.iter().find(|span| span.covers(name.wire())) else { return Denial::Unproven };
    //= RFC 4035 section 5.4
    //# To prove that an RRset does not exist, the validator must be able to verify both that the queried RRset does not exist and that no
    //# relevant wildcard RRset exists.
    let Some(wildcard) = wildcard(span.closest_encloser(name.wire())) else { return Denial::Unproven };
    match at(spans, &wildcard, rtype) {
        // Nothing of the wildcard's own is delegated.
        Some(Denial::Type { .. }) => Denial::Type { delegation: false },
        Some(other) => other,
        None if spans.iter().any(|span| span.covers(&wildcard)) => Denial::Name,
        None => Denial::Unproven,
    }
}

/// What is said of a name that is there. `None`: nothing is.
fn at(spans: &[Span], name: &[u8], rtype: Rtype) -> Option<Denial> {
    if let Some(span) = spans.iter().find(|span| span.owner.wire() == name) {
        let delegation = is_usable_at(&span.bitmap, rtype, name)?;
        return Some(if contains(&span.bitmap, NXNAME) { Denial::Name } else { Denial::Type { delegation } });
    }
    let empty = spans.iter().any(|span| span.covers(name) && span.is_empty_non_terminal(name));
    empty.then_some(Denial::Type { delegation: false })
}

/// True if it is proven that a set of `owner` had to come from the wildcard below the last `from` labels.
pub(super) fn proves_expansion(spans: &[Span], owner: &Name, from: u8) -> bool {
    let encloses = |span: &Span| labels(span.closest_encloser(owner.wire())).count() == usize::from(from);
    spans.iter().any(|span| span.covers(owner.wire()) && !span.is_empty_non_terminal(owner.wire()) && encloses(span))
}

/// `*.` and a name; too long a name has none.
pub(super) fn wildcard(encloser: &[u8]) -> Option<Vec<u8>> {
    let name = [b"\x01*", encloser].concat();
    (name.len() <= crate::name::NAME_BYTES_MAX).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dnssec::bitmap::write_bitmap;

    /// Owner, next, types.
    type SpanText = (&'static str, &'static str, &'static [Rtype]);

    fn name(text: &str) -> Name {
        Name::absolute(text).unwrap()
    }

    fn span(owner: &str, next: &str, types: &[Rtype]) -> Span {
        let mut rdata = name(next).wire().to_vec();
        write_bitmap(types.iter().copied(), &mut rdata);
        Span::new(&name(owner), &rdata).unwrap()
    }

    #[test]
    fn spans_and_what_they_prove() {
        const APEX: &[Rtype] = &[Rtype::NS, Rtype::SOA, Rtype::NSEC];
        const HOST: &[Rtype] = &[Rtype::A, Rtype::NSEC];
        const CUT: &[Rtype] = &[Rtype::NS, Rtype::NSEC];
        let there = Denial::Type { delegation: false };
        let cases: &[(&[SpanText], &str, Rtype, Denial)] = &[
            // RFC 4035 section 5.4.
            (&[("a.z", "c.z", HOST), ("z", "a.z", APEX)], "b.z", Rtype::A, Denial::Name),
            (&[("a.z", "c.z", HOST)], "b.z", Rtype::A, Denial::Unproven),
            (&[("a.z", "c.z", HOST)], "a.z", Rtype::MX, there),
            (&[("a.z", "c.z", HOST)], "a.z", Rtype::A, Denial::Unproven),
            (&[("a.z", "c.z", HOST)], "a.z", Rtype::ANY, Denial::Unproven),
            (&[("a.z", "c.z", &[Rtype::RRSIG, Rtype::NSEC])], "a.z", Rtype::ANY, there),
            (&[("a.z", "c.z", HOST)], "c.z", Rtype::A, Denial::Unproven),
            (&[("z", "z", APEX)], "b.z", Rtype::A, Denial::Name),
            (&[("a.z", "x.b.z", HOST)], "b.z", Rtype::A, there),
            // An alias answers for every type (RFC 6840 section 4.3).
            (&[("a.z", "c.z", &[Rtype::CNAME, Rtype::NSEC])], "a.z", Rtype::MX, Denial::Unproven),
            (&[("*.z", "c.z", &[Rtype::CNAME, Rtype::NSEC])], "b.z", Rtype::MX, Denial::Unproven),
            // The wildcard of the closest encloser, not another.
            (&[("a.z", "x.b.z", HOST), ("*.z", "a.z", HOST)], "c.b.z", Rtype::MX, Denial::Name),
            // RFC 6840 section 4.1: a cut says nothing of what is below, and of itself only that there is no DS.
            (&[("a.z", "c.z", CUT), ("z", "a.z", APEX)], "b.a.z", Rtype::A, Denial::Unproven),
            (&[("a.z", "c.z", CUT), ("z", "a.z", APEX)], "a.z", Rtype::A, Denial::Unproven),
            (&[("a.z", "c.z", CUT)], "a.z", Rtype::DS, Denial::Type { delegation: true }),
            (&[("a.z", "c.z", CUT), ("z", "a.z", APEX)], "b.z", Rtype::A, Denial::Name),
            (&[("a.z", "a.z", APEX)], "a.z", Rtype::DS, Denial::Unproven),
            // Nor does a DNAME (RFC 6672 section 5.3.4.1).
            (&[("a.z", "c.z", &[Rtype::DNAME, Rtype::NSEC]), ("z", "a.z", APEX)], "b.a.z", Rtype::A, Denial::Unproven),
            // RFC 9824 section 3: a name that is said not to be there by its own NSEC.
            (&[("b.z", "\\000.b.z", &[Rtype::RRSIG, Rtype::NSEC, NXNAME])], "b.z", Rtype::A, Denial::Name),
            (&[("b.z", "\\000.b.z", &[Rtype::RRSIG, Rtype::NSEC])], "b.z", Rtype::A, there),
            (&[("b.z", "\\000.b.z", &[Rtype::RRSIG, Rtype::NSEC])], "c.b.z", Rtype::A, Denial::Unproven),
        ];
        for (spans, owner, rtype, expected) in cases {
            let spans: Vec<Span> = spans.iter().map(|(owner, next, types)| span(owner, next, types)).collect();
            assert_eq!(find(&spans, &name(owner), *rtype), *expected, "{owner} {rtype} by {spans:?}");
        }
    }

    #[test]
    fn wildcards_that_had_to_answer() {
        let spans = [span("a.w.z", "c.w.z", &[Rtype::A])];
        for (owner, from, expected) in
            [("b.w.z", 2, true), ("x.b.w.z", 2, true), ("b.w.z", 1, false), ("d.w.z", 2, false), ("x.a.w.z", 2, false)]
        {
            assert_eq!(proves_expansion(&spans, &name(owner), from), expected, "{owner} {from}");
        }
    }
}
