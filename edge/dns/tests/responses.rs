//! What surrounds an answer: EDNS options, cookies and rates, and packets somebody else must deal with.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use postring_dns::query::{QueryView, write_query};
use postring_dns::record::Record;
use postring_dns::resolver::{Answer, Cache, CacheConfig, Purpose};
use postring_dns::responder::{
    Admission, Client, Context, CookieVerdict, Hooks, Response, Said, TransferKind, Transport, respond, respond_resolved,
};
use postring_dns::types::ExtendedError;
use postring_dns::zone::parse_zone;
use postring_dns::{Hosted, Name, Rcode, Rtype, Service};
use std::cell::RefCell;
use std::path::Path;

const ZONE: &str = "$TTL 60\n@ SOA ns h 7 2 3 4 5\n@ NS ns\n@ TXT \"x\"\nns A 192.0.2.1\n";

fn hosted() -> Hosted {
    let mut hosted = Hosted::default();
    let origin = name("example");
    let zone = parse_zone(&origin, Path::new("zone"), &mut |_| Ok(ZONE.to_owned())).unwrap();
    assert_eq!((zone.serial(), zone.record_count()), (7, 4));
    hosted.add(&origin, Service::Zone(zone)).unwrap();
    hosted
}

fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

fn query(text: &str, rtype: Rtype, options: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    write_query(7, name(text).wire(), rtype, false, &mut packet);
    *packet.last_mut().unwrap() = u8::try_from(options.len()).unwrap();
    packet.extend_from_slice(options);
    packet
}

fn ask(context: &Context<'_>, packet: &[u8], transport: Transport) -> (Response, Vec<u8>) {
    let mut out = Vec::new();
    let client = Client { address: [192, 0, 2, 9].into(), transport };
    let response = respond(context, &hosted(), packet, client, false, &mut out);
    (response, out)
}

/// The code with its upper bits, and the options.
fn told(out: &[u8]) -> (u16, Vec<(u16, Vec<u8>)>) {
    let mut query = out.to_vec();
    let low = u16::from(out[3] & 15);
    // Its OPT is read as a query's is: as if there was no answer.
    let edns = hickory_proto::op::Message::from_vec(out).unwrap().edns;
    let high = edns.as_ref().map_or(0, |edns| u16::from(edns.rcode_high()));
    let at = out.windows(5).rposition(|window| window == b"\0\0\x29\x04\xd0").unwrap();
    query.truncate(12);
    query[2] = 0;
    query[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 1]);
    query.extend_from_slice(b"\0\0\x01\0\x01");
    query.extend_from_slice(&out[at..]);
    let options = QueryView::parse(&query).unwrap().edns.unwrap().options().map(|option| option.unwrap());
    (high << 4 | low, options.map(|(code, data)| (code, data.to_vec())).collect())
}

#[test]
fn the_server_says_who_it_is_if_it_is_asked() {
    let context = Context { identity: b"ns1", ..Context::default() };
    let nsid =
        |context: &Context<'_>, options: &[u8]| told(&ask(context, &query("example", Rtype::TXT, options), Transport::Udp).1);
    assert_eq!(nsid(&context, b"\0\x03\0\0"), (0, vec![(3, b"ns1".to_vec())]));
    assert_eq!(nsid(&context, b""), (0, vec![]));
    assert_eq!(nsid(&Context::default(), b"\0\x03\0\0"), (0, vec![]));
    // An option that ends behind the packet.
    assert_eq!(nsid(&context, b"\0\x03\0\x09"), (1, vec![]));
}

#[test]
fn the_idle_time_is_told_to_who_asks_over_tcp() {
    let context = Context { keepalive: Some(100), ..Context::default() };
    let told_of = |transport, options: &[u8]| told(&ask(&context, &query("example", Rtype::TXT, options), transport).1);
    let asked = b"\0\x0b\0\0";
    assert_eq!(told_of(Transport::Tcp, asked), (0, vec![(11, vec![0, 100])]));
    assert_eq!(told_of(Transport::Tcp, b""), (0, vec![]));
    assert_eq!(told_of(Transport::Udp, asked), (0, vec![]));
    // A client must not say how long.
    assert_eq!(told_of(Transport::Tcp, b"\0\x0b\0\x02\0\x01").0, 1);
}

#[test]
fn why_a_query_is_refused() {
    let refused = |recursion_for_some: bool, desired: bool, rtype| {
        let context = Context { recursion_for_some, ..Context::default() };
        let mut packet = query("elsewhere", rtype, b"");
        packet[2] = u8::from(desired);
        told(&ask(&context, &packet, Transport::Tcp).1)
    };
    let code = |code| vec![(15, vec![0, code])];
    // RFC 8914 sections 4.19, 4.21: prohibited is who asked, and could not.
    assert_eq!(refused(true, true, Rtype::A), (5, code(18)));
    assert_eq!(refused(true, false, Rtype::A), (5, code(20)));
    assert_eq!(refused(false, true, Rtype::A), (5, code(20)));
    assert_eq!(refused(true, true, Rtype::AXFR), (9, code(20)));
}

/// Code and content of each option.
type Options = Vec<(u16, Vec<u8>)>;

/// What a client of the resolver is told: when the answer comes, and later, of a failure from the cache, or of an answer that cannot be had again.
fn told_of_resolved(answer: &Answer, context: &Context<'_>, options: &[u8]) -> [(u16, Options); 2] {
    let mut cache = Cache::new(CacheConfig { stale_max: 1_000_000, ..CacheConfig::default() });
    let asked = name("host.elsewhere");
    let packet = query("host.elsewhere", Rtype::A, options);
    let client = Client { address: [192, 0, 2, 9].into(), transport: Transport::Udp };
    let mut out = Vec::new();
    let mut resolved = cache.put(&asked, Rtype::A, answer, Purpose::Client, 0);
    [0, 1].map(|round| {
        if round > 0 {
            let found = cache.get(asked.wire(), Rtype::A, Purpose::Client, 1000);
            resolved = match found {
                Some(found) if found.resolved.is_failure() => found.resolved,
                _ => cache.put(&asked, Rtype::A, &Answer::failure(0), Purpose::Client, 100_000_000),
            };
        }
        respond_resolved(context, &packet, &resolved, client, &mut out);
        told(&out)
    })
}

#[test]
fn the_resolver_says_why_an_answer_is_not_what_it_could_be() {
    let record = Record { name: name("host.elsewhere"), rtype: Rtype::A, ttl: 60, rdata: [192, 0, 2, 1].into() };
    let positive = Answer { rcode: Rcode::NOERROR, records: vec![record], ..Answer::failure(60) };
    let codes = |answer: &Answer| {
        told_of_resolved(answer, &Context::default(), b"")
            .map(|(rcode, options)| (rcode, options.into_iter().map(|(option, code)| (option, code[1])).collect::<Vec<_>>()))
    };
    // RFC 8914 section 4.4: stale.
    assert_eq!(codes(&positive), [(0, vec![]), (0, vec![(15, 3)])]);
    let old = positive.because(ExtendedError::UNSUPPORTED_DS_DIGEST);
    assert_eq!(codes(&old), [(0, vec![(15, 2)]), (0, vec![(15, 2), (15, 3)])]);
    // Section 4.14: the reason goes on, and that it is one of before.
    for code in [ExtendedError::BOGUS, ExtendedError::SIGNATURE_EXPIRED, ExtendedError::NO_REACHABLE_AUTHORITY] {
        let number = u8::try_from(code.0).unwrap();
        assert_eq!(codes(&Answer::failure(0).because(code)), [(2, vec![(15, number)]), (2, vec![(15, number), (15, 13)])]);
    }
    assert_eq!(codes(&Answer::failure(0)), [(2, vec![]), (2, vec![(15, 13)])]);
}

#[test]
fn the_resolver_gives_cookies_and_says_who_it_is() {
    let cookie = CookieVerdict::Valid([7; 24].as_slice().into());
    let hooks = Script { cookie, admission: Admission::Drop, heard: RefCell::default() };
    let context = Context { identity: b"ns1", hooks: Some(&hooks), ..Context::default() };
    let options = b"\0\x0a\0\x0812345678\0\x03\0\0";
    let [(rcode, options), _] = told_of_resolved(&Answer::failure(0), &context, options);
    assert_eq!((rcode, options), (2, vec![(3, b"ns1".to_vec()), (10, vec![7; 24])]));
}

/// Says what the test wants, and keeps what it was told.
struct Script {
    cookie: CookieVerdict,
    admission: Admission,
    heard: RefCell<Vec<(u16, bool)>>,
}

impl Hooks for Script {
    fn cookie(&self, _: Client, option: &[u8]) -> CookieVerdict {
        assert_eq!(option, b"12345678");
        self.cookie.clone()
    }

    fn admit(&self, _: Client, said: &Said<'_>) -> Admission {
        assert!(said.bytes >= 12 + said.name.len() + 4);
        self.heard.borrow_mut().push((said.rcode.0, said.authoritative));
        self.admission
    }
}

#[test]
fn cookies_and_rates() {
    let cookie = || [7; 24].as_slice().into();
    let run = |cookie, admission, transport, text| {
        let hooks = Script { cookie, admission, heard: RefCell::default() };
        let context = Context { hooks: Some(&hooks), ..Context::default() };
        let (response, out) = ask(&context, &query(text, Rtype::TXT, b"\0\x0a\0\x0812345678"), transport);
        let (rcode, options) = if response == Response::Ready { told(&out) } else { (99, Vec::new()) };
        let answers = out.get(7).copied().unwrap_or(0);
        let truncated = out.get(2).is_some_and(|flags| flags & 2 != 0);
        (rcode, options.len(), answers, truncated, hooks.heard.take())
    };
    let (udp, tcp) = (Transport::Udp, Transport::Tcp);
    // Who is proven is not limited.
    assert_eq!(run(CookieVerdict::Valid(cookie()), Admission::Drop, udp, "example"), (0, 1, 1, false, vec![]));
    assert_eq!(run(CookieVerdict::Unproven(cookie()), Admission::Answer, udp, "example"), (0, 1, 1, false, vec![(0, true)]));
    assert_eq!(run(CookieVerdict::Unproven(cookie()), Admission::Slip, udp, "x.example"), (0, 1, 0, true, vec![(3, true)]));
    assert_eq!(run(CookieVerdict::Unproven(cookie()), Admission::Drop, udp, "x").0, 99);
    assert_eq!(run(CookieVerdict::Unproven(cookie()), Admission::Drop, tcp, "example"), (0, 1, 1, false, vec![]));
    assert_eq!(run(CookieVerdict::Malformed, Admission::Answer, udp, "example"), (1, 0, 0, false, vec![(1, false)]));
    // BADCOOKIE; over TCP the address is proven anyway.
    assert_eq!(run(CookieVerdict::Demanded(cookie()), Admission::Answer, udp, "example"), (23, 1, 0, false, vec![(23, false)]));
    assert_eq!(run(CookieVerdict::Demanded(cookie()), Admission::Answer, tcp, "example"), (0, 1, 1, false, vec![]));
}

#[test]
fn what_somebody_else_must_do() {
    let context = Context::default();
    let zone = name("example");
    let opcode = |opcode: u8, text| {
        let mut packet = query(text, Rtype::SOA, b"");
        packet[2] |= opcode << 3;
        ask(&context, &packet, Transport::Udp)
    };
    assert_eq!(opcode(4, "EXAMPLE").0, Response::Notify { zone: name("EXAMPLE") });
    assert_eq!(opcode(5, "example").0, Response::Update { zone: zone.clone() });
    // NOTAUTH, NOTIMP.
    assert_eq!((opcode(4, "x.example").1[3], opcode(5, "x").1[3], opcode(2, "example").1[3]), (9, 9, 4));
    let transfer = |rtype, transport| ask(&context, &query("example", rtype, b""), transport);
    assert_eq!(transfer(Rtype::AXFR, Transport::Tcp).0, Response::Transfer { zone: zone.clone(), kind: TransferKind::Axfr });
    assert_eq!(transfer(Rtype::IXFR, Transport::Tcp).0, Response::Transfer { zone, kind: TransferKind::Ixfr });
    assert_eq!(transfer(Rtype::AXFR, Transport::Udp).1[3], 5);
    let (response, out) = transfer(Rtype::IXFR, Transport::Udp);
    assert_eq!(response, Response::Ready);
    let theirs = hickory_proto::op::Message::from_vec(&out).unwrap();
    assert_eq!(theirs.answers[0].to_string(), "example. 60 IN SOA ns.example. h.example. 7 2 3 4 5");
    assert_eq!(ask(&context, &query("x.example", Rtype::AXFR, b""), Transport::Tcp).1[3], 9);
    let mut signed = query("example", Rtype::SOA, b"");
    signed[11] = 2;
    signed.extend_from_slice(b"\x01k\0\0\xfa\0\xff\0\0\0\0\0\0");
    assert_eq!(ask(&context, &signed, Transport::Udp).0, Response::Signed);
}

#[test]
fn a_zone_that_is_not_there_yet_is_a_failure() {
    let hosted = hosted().replace(&name("example"), Some(Service::Broken.into()));
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    write_query(7, name("example").wire(), Rtype::TXT, false, &mut packet);
    let client = Client { address: [192, 0, 2, 9].into(), transport: Transport::Udp };
    assert_eq!(respond(&Context::default(), &hosted, &packet, client, false, &mut out), Response::Ready);
    assert_eq!((out[3] & 15, u16::from(out[2] & 4)), (2, 0));
    assert_eq!(hosted.answer(&name("a.example"), Rtype::A).unwrap().rcode, Rcode::SERVFAIL);
}
