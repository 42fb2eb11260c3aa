//! Queries with octets changed at random: whatever is answered must be read by hickory-proto, and must fit what was asked.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

use hickory_proto::op::{Message, MessageType, ResponseCode};
use postring_dns::dnssec::{Denial, SetSigner};
use postring_dns::query::{QueryView, write_query};
use postring_dns::responder::{Client, Context, Response, Transport, respond};
use postring_dns::zone::{ZoneBuilder, parse_zone};
use postring_dns::{Hosted, Name, Rtype, Service};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

const ZONE: &str = "$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 300\n@ NS ns\n@ MX 10 mx\nns A 192.0.2.1\nmx A 192.0.2.2\n*.w TXT \"x\"\n\
a CNAME b\nb CNAME c.other.\nc CNAME q.w\nsub NS ns.sub\nns.sub A 192.0.2.3\nd DNAME w\ne.f.g AAAA 2001:db8::1\n";
const NAMES: [&str; 12] = [
    "example",
    "mx.example",
    "q.w.example",
    "a.example",
    "c.example",
    "x.sub.example",
    "w.d.example",
    "f.g.example",
    "z.example",
    "other",
    "ns.sub.example",
    "e.f.g.example",
];

#[derive(Debug)]
struct Sham;

impl SetSigner for Sham {
    fn sign(&self, _: &[u8], rtype: Rtype, _: u32, _: &[&[u8]]) -> Vec<Box<[u8]>> {
        vec![[&rtype.0.to_be_bytes()[..], &[13, 2], &[0; 14], b"\x07example\0", &[7; 64]].concat().into()]
    }
}

fn hosted(denial: Option<Denial>) -> Hosted {
    let origin = Name::absolute("example").unwrap();
    let mut zone = parse_zone(&origin, Path::new("zone"), &mut |_| Ok(ZONE.to_owned())).unwrap();
    if let Some(denial) = denial {
        zone = ZoneBuilder::from_zone(&zone).finish_signed(Arc::new(Sham), denial).unwrap();
    }
    let mut hosted = Hosted::default();
    hosted.add(&origin, Service::Zone(zone)).unwrap();
    hosted
}

thread_local!(static HOSTED: [Hosted; 3] =
    [hosted(None), hosted(Some(Denial::Nsec)), hosted(Some(Denial::Nsec3 { iterations: 1, salt: [7].into() }))]);

fn check(hosted: &Hosted, packet: &[u8], transport: Transport) {
    let context = Context { identity: b"ns1.example", addresses: true, ..Context::default() };
    let client = Client { address: [192, 0, 2, 1].into(), transport };
    let mut out = Vec::new();
    if respond(&context, hosted, packet, client, false, &mut out) != Response::Ready {
        return;
    }
    let theirs = Message::from_vec(&out).unwrap();
    assert_eq!(
        (theirs.metadata.id, theirs.metadata.message_type),
        (u16::from_be_bytes([packet[0], packet[1]]), MessageType::Response)
    );
    let Ok(query) = QueryView::parse(packet) else {
        assert!(theirs.answers.is_empty() && theirs.queries.is_empty());
        return;
    };
    assert_eq!(theirs.metadata.recursion_desired, query.recursion_desired());
    assert_eq!((theirs.queries.len(), theirs.edns.is_some()), (1, query.edns.is_some()));
    assert_eq!(out[12..12 + query.name.len()], *query.name);
    assert_eq!(u16::from(theirs.queries[0].query_type()), query.rtype.0);
    let limit = match (transport, query.edns) {
        (Transport::Tcp, _) => 65_535,
        (Transport::Udp, None) => 512,
        (Transport::Udp, Some(edns)) => usize::from(edns.payload_bytes.min(1232)),
    };
    assert!(out.len() <= limit, "{} octets, at most {limit}", out.len());
    let records = [&theirs.answers, &theirs.authorities, &theirs.additionals];
    let dnssec = |rtype: u16| matches!(rtype, 46 | 47 | 50);
    if !query.dnssec_ok() && !dnssec(query.rtype.0) && query.rtype != Rtype::ANY {
        assert!(records.iter().all(|section| section.iter().all(|record| !dnssec(record.record_type().into()))));
    }
    let authoritative = theirs.metadata.authoritative;
    match theirs.metadata.response_code {
        ResponseCode::NXDomain => assert!(authoritative && (!theirs.authorities.is_empty() || theirs.metadata.truncation)),
        ResponseCode::NoError => assert!(authoritative || theirs.metadata.truncation || !theirs.authorities.is_empty()),
        _ => assert!(!authoritative && records.iter().all(|section| section.is_empty())),
    }
    // What is no answer from us is said to be none.
    assert!(!theirs.metadata.recursion_available && !theirs.metadata.authentic_data);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_answered_is_read_by_hickory(
        name in 0..NAMES.len(),
        rtype in prop::sample::select(vec![1_u16, 2, 5, 6, 15, 16, 28, 39, 43, 46, 47, 48, 50, 251, 252, 255]),
        dnssec_ok: bool, recursion: bool, tcp: bool,
        options in prop::sample::select(vec![&b""[..], b"\0\x03\0\0", b"\0\x0a\0\x0812345678", b"\0\x03\0\x09", b"\0\x08\0\x04abcd\0\x03\0\0"]),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let mut packet = Vec::new();
        write_query(7, Name::absolute(NAMES[name]).unwrap().wire(), Rtype(rtype), recursion, &mut packet);
        let end = packet.len();
        if dnssec_ok { packet[end - 4] |= 0x80; }
        packet[end - 1] = options.len() as u8;
        packet.extend_from_slice(options);
        for (at, octet) in changes {
            let at = at.index(packet.len());
            packet[at] = octet;
        }
        if let Some(cut) = cut { packet.truncate(cut.index(packet.len())); }
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        HOSTED.with(|hosted| hosted.iter().for_each(|hosted| check(hosted, &packet, transport)));
    }
}
