//! Our questions on the wire: random letters, and how much of a name to show.

use crate::name::{Name, labels, suffixes};
use crate::query::HEADER_BYTES;
use crate::types::{CLASS_IN, Rtype};

/// Questions with a part of the name, for one name (RFC 9156 section 2.3, MAX_MINIMISE_COUNT).
const MINIMISE_MAX: usize = 10;
/// Of them with one label more each time (MINIMISE_ONE_LAB); later ones take more labels at once.
const MINIMISE_ONE_LABEL: usize = 4;

/// How a question is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    /// To a resolver.
    pub recursion: bool,
    /// EDNS, with our payload size.
    pub edns: bool,
    /// Signatures are wanted (RFC 3225); with recursion, unchecked ones (RFC 4035 section 3.2.2): we check ourselves.
    pub dnssec: bool,
}

/// Writes a query; `name` as it shall be sent. Costs no allocation if `out` has room.
pub(crate) fn write_question(id: u16, name: &Name, rtype: Rtype, manner: Manner, out: &mut Vec<u8>) {
    out.clear();
    let checking_disabled = if manner.recursion && manner.dnssec { 0x0010 } else { 0 };
    let flags = if manner.recursion { 0x0100 } else { 0 } | checking_disabled;
    for word in [id, flags, 1, 0, 0, u16::from(manner.edns)] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    debug_assert_eq!(out.len(), HEADER_BYTES);
    out.extend_from_slice(name.wire());
    for word in [rtype.0, CLASS_IN] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    if manner.edns {
        out.push(0);
        let dnssec_ok = if manner.dnssec { 0x8000 } else { 0 };
        for word in [Rtype::OPT.0, crate::message::PAYLOAD_BYTES, 0, dnssec_ok, 0] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
}

/// The name with each letter large or small by chance: what comes back must have the same letters, and an attacker must guess them too
/// (draft-vixie-dnsext-dns0x20). One random bit an octet, repeated after 64.
pub(crate) fn randomise_case(key: &Name, random: u64) -> Name {
    let mut wire: smallvec::SmallVec<[u8; 64]> = smallvec::SmallVec::from_slice(key.wire());
    let mut bits = random;
    for octet in &mut wire {
        // Length octets are below 64: no letter.
        if bits & 1 == 1 && octet.is_ascii_lowercase() {
            octet.make_ascii_uppercase();
        }
        bits = bits.rotate_right(1);
    }
    Name::from_wire(&wire).unwrap_or_else(|_| key.clone())
}

/// The number of labels to show to servers of a zone with `zone` labels, `steps` being the questions with a part of the name so far. The name
/// itself has all its labels.
///
/// Labels that begin with `_` are no zones (RFC 8552), and neither is what `is_no_cut` knows: nothing is hidden by asking for them alone.
pub(crate) fn labels_to_show(
    key: &Name,
    zone: usize,
    shown: usize,
    steps: usize,
    mut is_no_cut: impl FnMut(&[u8]) -> bool,
) -> usize {
    let all = labels(key.wire()).count();
    let base = zone.max(shown);
    if steps >= MINIMISE_MAX || base + 1 >= all {
        return all;
    }
    let more = if steps < MINIMISE_ONE_LABEL {
        1
    } else {
        // What remains, in equal parts over the questions that remain.
        (all - base).div_ceil(MINIMISE_MAX - steps).max(1)
    };
    let mut count = (base + more).min(all);
    while count < all && last_labels(key, count).is_some_and(|part| part.get(1) == Some(&b'_') || is_no_cut(part)) {
        count += 1;
    }
    count
}

/// The last `count` labels of a name.
pub(crate) fn last_labels(key: &Name, count: usize) -> Option<&[u8]> {
    let all = labels(key.wire()).count();
    suffixes(key.wire()).nth(all.checked_sub(count)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::QueryView;

    fn name(text: &str) -> Name {
        Name::absolute(text).unwrap()
    }

    fn shown(text: &str, zone: usize) -> Vec<String> {
        let key = name(text);
        let (mut steps, mut count, mut out) = (0, zone, Vec::new());
        let all = labels(key.wire()).count();
        while count < all {
            count = labels_to_show(&key, zone, count, steps, |part| part.starts_with(b"\x05nocut"));
            steps += 1;
            out.push(Name::from_wire(last_labels(&key, count).unwrap()).unwrap().to_string());
        }
        out
    }

    #[test]
    fn labels_are_shown_one_after_the_other() {
        assert_eq!(shown("www.a.example", 0), ["example.", "a.example.", "www.a.example."]);
        assert_eq!(shown("a.example", 1), ["a.example."]);
        assert_eq!(shown("s1._domainkey.a.example", 1), ["a.example.", "s1._domainkey.a.example."]);
        assert_eq!(shown("_25._tcp.mx.a.example", 2), ["mx.a.example.", "_25._tcp.mx.a.example."]);
        assert_eq!(shown("b.c.nocut.a.example", 2), ["c.nocut.a.example.", "b.c.nocut.a.example."]);
        assert_eq!(shown(".", 0), Vec::<String>::new());
        let six = crate::name::reverse("2001:db8::1".parse().unwrap()).to_string();
        let counts: Vec<usize> = shown(&six, 2).iter().map(|part| part.matches('.').count()).collect();
        assert_eq!(counts, [3, 4, 5, 6, 11, 16, 21, 26, 30, 34]);
    }

    #[test]
    fn letters_and_flags() {
        let key = name("ab-1.example");
        let cased = randomise_case(&key, 0b1010);
        assert_eq!(cased.to_string(), "Ab-1.example.".replace("Ab", "aB").replace("aB", "Ab"));
        assert_eq!(cased.to_key(), key);
        let mut packet = Vec::new();
        write_question(9, &cased, Rtype::MX, Manner { recursion: false, edns: true, dnssec: true }, &mut packet);
        let view = QueryView::parse(&packet).unwrap();
        assert!(view.edns.unwrap().dnssec_ok && !view.recursion_desired() && view.name == cased.wire());
        write_question(9, &key, Rtype::MX, Manner { recursion: true, edns: false, dnssec: false }, &mut packet);
        let view = QueryView::parse(&packet).unwrap();
        assert!(view.edns.is_none() && view.recursion_desired());
    }
}
