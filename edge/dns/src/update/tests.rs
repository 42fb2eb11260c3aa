//! Updates as they come in packets: the scenario files are in `tests/updates/`; here is what they cannot say.

use super::*;
use crate::name::Name;
use crate::transfer::{ZoneView, soa_of};
use crate::types::Rtype;
use crate::zone::{Zone, parse_zone};
use proptest::prelude::*;
use std::path::Path;

fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

fn zone() -> Zone {
    let text = "$TTL 300\n@ SOA ns host 4294967295 3600 600 86400 60\n@ NS ns\nns A 192.0.2.1\nw A 192.0.2.2\n";
    parse_zone(&name("example"), Path::new("zone"), &mut |_: &Path| Ok(text.to_owned())).unwrap()
}

/// An update of `example` with these records: name, type, class, TTL, data.
fn update(prerequisites: u8, records: &[(&str, Rtype, u16, u32, &[u8])]) -> Vec<u8> {
    let mut packet = vec![0, 9, 0x28, 0, 0, 1, 0, prerequisites, 0, u8::try_from(records.len()).unwrap() - prerequisites, 0, 0];
    packet.extend_from_slice(name("Example").wire());
    packet.extend_from_slice(&[0, 6, 0, 1]);
    for (owner, rtype, class, ttl, rdata) in records {
        packet.extend_from_slice(name(owner).wire());
        packet.extend_from_slice(&rtype.0.to_be_bytes());
        packet.extend_from_slice(&class.to_be_bytes());
        packet.extend_from_slice(&ttl.to_be_bytes());
        packet.extend_from_slice(&u16::try_from(rdata.len()).unwrap().to_be_bytes());
        packet.extend_from_slice(rdata);
    }
    packet
}

fn apply(packet: &[u8]) -> Outcome {
    Update::parse(packet).unwrap().apply(&zone(), Some(&name("key")), &UpdatePolicy::all_of_zone(&name("key")))
}

#[test]
fn the_serial_goes_on_behind_its_end() {
    let outcome = apply(&update(0, &[("n.example", Rtype::A, 1, 60, &[192, 0, 2, 9])]));
    let difference = outcome.difference.unwrap();
    assert_eq!((outcome.rcode, difference.from_serial(), difference.to_serial()), (Rcode::NOERROR, u32::MAX, 1));
    assert_eq!((difference.removed.len(), difference.added.len()), (0, 1));
    assert_eq!(Some(difference.from), soa_of(&zone()));
    // What is there already changes nothing.
    assert_eq!(apply(&update(0, &[("w.example", Rtype::A, 1, 300, &[192, 0, 2, 2])])).difference, None);
    // What goes and comes again, neither.
    let both = update(0, &[("w.example", Rtype::ANY, 255, 0, &[]), ("w.example", Rtype::A, 1, 300, &[192, 0, 2, 2])]);
    assert_eq!(apply(&both), Outcome { rcode: Rcode::NOERROR, difference: None });
}

#[test]
fn messages_that_are_refused_whole() {
    let right = update(0, &[("n.example", Rtype::A, 1, 60, &[192, 0, 2, 9])]);
    assert_eq!(hickory_proto::op::Message::from_vec(&right).unwrap().metadata.op_code, hickory_proto::op::OpCode::Update);
    let parse = |at: usize, byte: u8| {
        let mut packet = right.clone();
        packet[at] = byte;
        Update::parse(&packet).map(|_| ())
    };
    assert_eq!(parse(2, 0xa8), Err(None), "a response");
    assert_eq!(parse(2, 0x20), Err(None), "another opcode");
    for (at, byte) in [(5, 0), (5, 2), (9, 2), (22, 1), (24, 3)] {
        assert_eq!(parse(at, byte), Err(Some(Rcode::FORMERR)), "{at}");
    }
    let mut out = Vec::new();
    write_update_response(&right, Rcode::REFUSED, None, 0, &mut out);
    assert_eq!(out[..12], [0, 9, 0xa8, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(out[12..], right[12..25]);
}

/// RFC 2136 section 3.4.1.2, and data that is not its type's.
#[test]
fn records_that_are_refused() {
    for (record, rcode) in [
        (("n.example", Rtype::A, 1, 60, &[192, 0, 2][..]), Rcode::FORMERR),
        (("n.example", Rtype::ANY, 1, 60, &[][..]), Rcode::FORMERR),
        (("n.example", Rtype::AXFR, 255, 0, &[][..]), Rcode::FORMERR),
        (("n.example", Rtype::A, 255, 1, &[][..]), Rcode::FORMERR),
        (("n.example", Rtype::A, 255, 0, &[192, 0, 2, 1][..]), Rcode::FORMERR),
        (("n.example", Rtype::A, 254, 1, &[192, 0, 2, 1][..]), Rcode::FORMERR),
        (("n.example", Rtype::ANY, 254, 0, &[][..]), Rcode::FORMERR),
        (("n.example", Rtype::A, 3, 60, &[192, 0, 2, 1][..]), Rcode::FORMERR),
        (("n.example.org", Rtype::A, 1, 60, &[192, 0, 2, 1][..]), Rcode::NOTZONE),
        (("n.example", Rtype::RRSIG, 1, 60, &[1][..]), Rcode::REFUSED),
    ] {
        assert_eq!(apply(&update(0, &[record])), Outcome::refused(rcode), "{record:?}");
    }
    for (record, rcode) in [
        (("w.example", Rtype::A, 255, 1, &[][..]), Rcode::FORMERR),
        (("w.example", Rtype::A, 255, 0, &[1][..]), Rcode::FORMERR),
        (("w.example", Rtype::A, 254, 0, &[1][..]), Rcode::FORMERR),
        (("w.example", Rtype::A, 1, 1, &[192, 0, 2, 2][..]), Rcode::FORMERR),
        (("w.example", Rtype::ANY, 1, 0, &[][..]), Rcode::FORMERR),
        (("w.example", Rtype::A, 4, 0, &[][..]), Rcode::FORMERR),
        (("w.example.org", Rtype::A, 255, 0, &[][..]), Rcode::NOTZONE),
    ] {
        assert_eq!(apply(&update(1, &[record])), Outcome::refused(rcode), "{record:?}");
    }
}

#[test]
fn who_may_change_what() {
    let rule = |key: &str, names: Names, types: &[Rtype]| UpdateRule { key: name(key), names, types: types.to_vec() };
    let policy = UpdatePolicy {
        rules: vec![
            rule("acme", Names::Exactly(name("_acme-challenge.w.example")), &[Rtype::TXT]),
            rule("hosts", Names::Within(name("h.example")), &[]),
            rule("apex", Names::Exactly(name("example")), &[]),
            rule("all", Names::All, &[]),
        ],
    };
    let may = |key: &str, owner: &str, rtype| policy.permits(&name(key), &name("example"), &name(owner), rtype);
    assert!(may("acme", "_acme-challenge.w.example", Rtype::TXT) && !may("acme", "_acme-challenge.w.example", Rtype::A));
    assert!(!may("acme", "_acme-challenge.w.example", Rtype::ANY) && !may("acme", "w.example", Rtype::TXT));
    assert!(
        may("hosts", "h.example", Rtype::A) && may("hosts", "a.b.h.example", Rtype::ANY) && !may("hosts", "ah.example", Rtype::A)
    );
    assert!(may("apex", "example", Rtype::MX) && !may("apex", "example", Rtype::NS) && !may("apex", "example", Rtype::SOA));
    assert!(may("all", "example", Rtype::NS) && !may("none", "example", Rtype::MX));
    let packet = update(0, &[("a.h.example", Rtype::A, 1, 60, &[192, 0, 2, 9]), ("w.example", Rtype::A, 255, 0, &[])]);
    let update = Update::parse(&packet).unwrap();
    assert_eq!(update.apply(&zone(), Some(&name("hosts")), &policy), Outcome::refused(Rcode::REFUSED), "one of two");
    assert!(update.apply(&zone(), Some(&name("all")), &policy).difference.is_some());
    assert_eq!(update.apply(&zone(), None, &policy), Outcome::refused(Rcode::REFUSED));
    assert_eq!(update.apply(&zone(), Some(&name("other")), &policy), Outcome::refused(Rcode::REFUSED));
    let elsewhere = Update { zone: name("example.org"), ..update };
    assert_eq!(elsewhere.apply(&zone(), Some(&name("all")), &policy), Outcome::refused(Rcode::NOTAUTH));
}

proptest! {
    /// What an update makes of a zone is a zone, with a newer serial; the difference fits.
    #[test]
    fn any_updates_are_harmless(records in proptest::collection::vec((0..6_usize, 0..8_usize, 0..4_usize, any::<bool>(), 0..3_usize), 1..12)) {
        let names = ["example", "w.example", "n.example", "C.example", "a.w.example", "x.org"];
        let types = [Rtype::A, Rtype::CNAME, Rtype::NS, Rtype::SOA, Rtype::TXT, Rtype::ANY, Rtype::DNAME, Rtype::MX];
        let soa: Vec<u8> = b"\0\0".iter().copied().chain([0, 0, 0, 9]).chain([0; 16]).collect();
        let built: Vec<_> = records.iter().map(|(owner, rtype, class, second, data)| {
            let rtype = types[*rtype];
            let rdata: &[u8] = match (class, rtype) {
                (2, _) => &[],
                (_, Rtype::A) => &[[192, 0, 2, 1], [192, 0, 2, 2], [192, 0, 2, 3]][*data],
                (_, Rtype::SOA) => &soa,
                (_, Rtype::TXT) => b"\x01x",
                (_, Rtype::MX) => b"\0\x01\x01m\0",
                _ => [&b"\x02ns\x07example\0"[..], b"\x02NS\x07example\0", b"\0"][*data],
            };
            (names[*owner], rtype, [1, 254, 255, 1][*class], if *second { 0 } else { 60 }, rdata)
        }).collect();
        let packet = update(0, &built);
        fuzz_update(&packet);
        if let Ok(update) = Update::parse(&packet) {
            let (zone, key) = (zone(), name("key"));
            let outcome = update.apply(&zone, Some(&key), &UpdatePolicy::all_of_zone(&key));
            if let Some(difference) = outcome.difference {
                let table = crate::transfer::RecordTable::new(
                    &name("example"),
                    crate::transfer::changed_records(zone.records(), &difference).filter_map(crate::transfer::RecordRef::to_record),
                );
                let mut count = (0, 0);
                table.records_at(name("example").wire(), &mut |record| match record.rtype {
                    Rtype::SOA => count.0 += 1,
                    Rtype::NS => count.1 += 1,
                    _ => {}
                });
                prop_assert!(count.0 == 1 && count.1 >= 1, "{:?}", count);
                let _ = crate::transfer::build_zone(&name("example"), table.records());
            }
        }
    }

    #[test]
    fn any_bytes_are_harmless(at in 0..80_usize, byte in any::<u8>(), length in 10..80_usize) {
        let mut packet = update(1, &[("w.example", Rtype::A, 255, 0, &[]), ("n.example", Rtype::A, 1, 60, &[192, 0, 2, 9])]);
        if let Some(place) = packet.get_mut(at) { *place = byte; }
        packet.truncate(length);
        fuzz_update(&packet);
    }
}
