use super::*;
use crate::message::ResponseView;
use crate::query::write_query;
use crate::resolver::Resolved;
use crate::responder::Transport;
use crate::test_support::give;
use proptest::prelude::*;

fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

fn record(owner: &str, rtype: Rtype, ttl: u32, rdata: &[u8]) -> Record {
    Record { name: name(owner), rtype, ttl, rdata: rdata.into() }
}

/// Of everything: an alias, signatures, a proof below the question and one beside it.
fn answer() -> Answer {
    let soa = [name("ns.other").wire(), name("h.example").wire(), &[0; 20]].concat();
    Answer {
        rcode: Rcode::NOERROR,
        records: vec![
            record("www.Example", Rtype::CNAME, 50, name("Host.other").wire()),
            record("www.example", Rtype::RRSIG, 50, b"signature 1"),
            record("Host.other", Rtype::A, 40, &[192, 0, 2, 1]),
            record("Host.other", Rtype::A, 40, &[192, 0, 2, 2]),
            record("Host.other", Rtype::RRSIG, 40, b"signature 2"),
        ],
        authority: vec![
            record("h.www.example", NSEC3, 30, b"proof"),
            record("EXAMPLE", Rtype::SOA, 30, &soa),
            record("Host.other", Rtype::NSEC, 30, b"proof"),
            record(".", Rtype::NS, 30, name("a.other").wire()),
        ],
        ttl: 30,
        security: Security::Secure,
        extended_error: None,
    }
}

fn ask(text: &str, rtype: Rtype, dnssec: bool, resolved: &Resolved, transport: Transport) -> Vec<u8> {
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    write_query(7, name(text).wire(), rtype, true, &mut packet);
    if dnssec {
        let at = packet.len() - 4;
        packet[at] |= 0x80;
    }
    give(&packet, resolved, transport, &mut out);
    out
}

#[test]
fn what_is_sent() {
    let resolved = Resolved::new(&name("www.example"), Rtype::A, &answer());
    let sent = |dnssec| {
        let out = ask("wWw.eXample", Rtype::A, dnssec, &resolved, Transport::Udp);
        let theirs = hickory_proto::op::Message::from_vec(&out).unwrap();
        let records = theirs.answers.iter().chain(&theirs.authorities);
        let lines: Vec<String> =
            records.map(|record| format!("{} {} {}", record.name, record.ttl, record.record_type())).collect();
        (lines.join("\n"), out[3] & 0x20 != 0, out.len())
    };
    let plain = "wWw.eXample. 50 CNAME\nHost.other. 40 A\nHost.other. 40 A\neXample. 30 SOA\n. 30 NS";
    let (lines, authentic, bytes) = sent(false);
    assert_eq!((lines.as_str(), authentic), (plain, false));
    // Header, question; owners of two octets but for the root's; OPT.
    assert_eq!(bytes, 12 + 17 + (12 + 12) + 2 * (12 + 4) + (12 + 10 + 11 + 20) + (11 + 9) + 11);
    let view = ResponseView::parse(&ask("www.example", Rtype::A, true, &resolved, Transport::Udp)).unwrap();
    let mut all: Vec<Record> = answer().records.into_iter().chain(answer().authority).collect();
    assert_eq!(view.answer.len() + view.authority.len(), all.len());
    for found in view.answer.iter().chain(&view.authority) {
        let same = |one: &Record| Record { name: one.name.to_key(), ..one.clone() };
        let at = all.iter().position(|one| same(one) == same(found)).unwrap();
        all.remove(at);
    }
    assert!(ask("www.example", Rtype::A, true, &resolved, Transport::Udp)[3] & 0x20 != 0);
}

#[test]
fn what_users_read() {
    let resolved = Resolved::new(&name("www.example"), Rtype::A, &answer());
    assert_eq!(resolved.rdata(Rtype::A).collect::<Vec<_>>(), [[192, 0, 2, 1], [192, 0, 2, 2]]);
    assert_eq!(resolved.rdata(Rtype::RRSIG).count(), 2);
    assert_eq!(resolved.rdata(Rtype::SOA).count(), 0);
    let back = resolved.to_answer();
    assert_eq!((back.records.len(), back.authority.len(), back.ttl), (5, 4, 30));
    assert_eq!(back.records[1].name, name("Host.other"));
    assert!(back.authority.iter().any(|record| record.name == name("h.www.example")));
}

#[test]
fn another_question_is_not_answered() {
    let resolved = Resolved::new(&name("www.example"), Rtype::A, &answer());
    for (text, rtype) in [("ww.example", Rtype::A), ("www.example", Rtype::MX), ("xww.example", Rtype::A)] {
        let view = ResponseView::parse(&ask(text, rtype, true, &resolved, Transport::Udp)).unwrap();
        assert_eq!((view.rcode, view.answer.len()), (Rcode::SERVFAIL, 0));
    }
}

#[test]
fn too_much() {
    let big = |count: usize| Answer {
        records: (0..count).map(|_| record("a", Rtype::TXT, 1, &[255; 256])).collect(),
        rcode: Rcode::NOERROR,
        ..Answer::failure(0)
    };
    let resolved = Resolved::new(&name("a"), Rtype::TXT, &big(10));
    let out = ask("a", Rtype::TXT, false, &resolved, Transport::Udp);
    let view = ResponseView::parse(&out).unwrap();
    assert!(view.truncated && view.answer.is_empty());
    assert_eq!(ResponseView::parse(&ask("a", Rtype::TXT, false, &resolved, Transport::Tcp)).unwrap().answer.len(), 10);
    assert!(Resolved::new(&name("a"), Rtype::TXT, &big(300)).is_failure());
}

fn any_record() -> impl Strategy<Value = Record> {
    let owner =
        prop::sample::select(vec!["q.example", "Q.Example", "example", "t.other", "T.other", "x.q.example", "aq.example", "."]);
    let rtype = prop::sample::select(vec![Rtype::A, Rtype::CNAME, Rtype::RRSIG, Rtype::NSEC, NSEC3, Rtype::SOA, Rtype::TXT]);
    (owner, rtype, any::<u32>()).prop_map(|(owner, rtype, ttl)| match rtype {
        Rtype::A => record(owner, rtype, ttl >> 1, &ttl.to_be_bytes()),
        Rtype::CNAME => record(owner, rtype, ttl >> 1, name(if ttl & 1 == 0 { "t.other" } else { "T.other" }).wire()),
        Rtype::SOA => record(owner, rtype, ttl >> 1, &[name("t.other").wire(), &[0; 21]].concat()),
        _ => record(owner, rtype, ttl >> 1, b"\x03any"),
    })
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        records in proptest::collection::vec(any_record(), 0..12),
        authority in proptest::collection::vec(any_record(), 0..6),
        change in any::<(prop::sample::Index, u8)>(),
    ) {
        let answer = Answer { rcode: Rcode::NOERROR, records, authority, ttl: 1, security: Security::Insecure, extended_error: None };
        let packed = Packed::new(&name("q.example"), Rtype::A, &answer, |ttl| ttl);
        prop_assert!(packed.check());
        let resolved = Resolved::new(&name("q.example"), Rtype::A, &answer);
        let lower = |record: &Record| Record { name: record.name.to_key(), ..record.clone() };
        let part = |records: &[Record], dnssec: bool| -> Vec<Record> {
            records.iter().filter(|record| is_dnssec_only(record.rtype, Rtype::A) == dnssec).map(lower).collect()
        };
        let back = resolved.to_answer();
        for (section, ours) in [(&answer.records, &back.records), (&answer.authority, &back.authority)] {
            let expected = [part(section, false), part(section, true)].concat();
            prop_assert_eq!(expected, ours.iter().map(lower).collect::<Vec<_>>());
        }
        for dnssec in [false, true] {
            let view = ResponseView::parse(&ask("q.example", Rtype::A, dnssec, &resolved, Transport::Tcp)).unwrap();
            for (section, sent) in [(&answer.records, &view.answer), (&answer.authority, &view.authority)] {
                let mut expected = part(section, false);
                if dnssec { expected.extend(part(section, true)); }
                prop_assert_eq!(expected, sent.iter().map(lower).collect::<Vec<_>>());
            }
        }
        // A changed octet is found, or does no harm.
        let mut bytes = packed.bytes().to_vec();
        let at = change.0.index(bytes.len());
        bytes[at] = change.1;
        let broken = Packed(bytes.into());
        let _ = (broken.check(), broken.key().len(), broken.records().all(|record| record.owner().wire().is_empty()));
        let broken = Resolved { packed: broken, age_seconds: 0, left_seconds: 1, stale: false };
        let _ = ask("q.example", Rtype::A, true, &broken, Transport::Udp);
    }
}
