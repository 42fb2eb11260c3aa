use super::*;
use crate::context::{Admission, Client, Context, CookieVerdict, Hooks, Said, Transport};
use crate::dnssec::algorithm::Algorithm;
use crate::dnssec::sign::{Role, SigningKey, Validity, ZoneKeys, ZoneSigner};
use crate::dnssec::{Denial, Security};
use crate::hosted::{Hosted, Service};
use crate::query::write_query;
use crate::resolver::Answer;
use crate::responder::{Response, respond};
use crate::zone::{ZoneBuilder, parse_zone};
use std::path::Path;

const ZONE: &str = "$TTL 300\n@ SOA ns h 1 2 3 4 60\n@ NS ns\n@ 120 ALIAS web.cdn.test.\nns A 192.0.2.53\nwww CNAME @\n";

fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

fn parse(text: &str) -> Result<Zone, String> {
    parse_zone(&name("ex.org"), Path::new("z"), &mut |_| Ok(text.to_owned())).map_err(|error| error.to_string())
}

/// What the resolver says of the target.
struct Knows(Option<Resolved>);

impl Hooks for Knows {
    fn cookie(&self, _: Client, _: &[u8]) -> CookieVerdict {
        CookieVerdict::Malformed
    }
    fn admit(&self, _: Client, _: &Said<'_>) -> Admission {
        Admission::Answer
    }
    fn addresses_of(&self, target: &Name, _: Rtype) -> Option<Resolved> {
        assert_eq!(*target, name("web.cdn.test"));
        self.0.clone()
    }
}

/// The target is an alias with 50 seconds left, its addresses have more.
fn resolved(addresses: &[[u8; 4]]) -> Resolved {
    let record = |owner, rtype, ttl, rdata: &[u8]| Record { name: name(owner), rtype, ttl, rdata: rdata.into() };
    let mut records = vec![record("web.cdn.test", Rtype::CNAME, 50, name("edge.cdn.test").wire())];
    records.extend(addresses.iter().map(|address| record("edge.cdn.test", Rtype::A, 600, address)));
    let answer = Answer {
        rcode: Rcode::NOERROR,
        records,
        authority: Vec::new(),
        ttl: 50,
        security: Security::Unchecked,
        extended_error: None,
    };
    Resolved::new(&name("web.cdn.test"), Rtype::A, &answer)
}

fn ask(zone: Zone, question: (&str, Rtype), dnssec: bool, hooks: &Knows) -> (Response, Vec<u8>) {
    let mut hosted = Hosted::default();
    hosted.add(&name("ex.org"), Service::Zone(zone)).unwrap();
    let mut packet = Vec::new();
    write_query(7, name(question.0).wire(), question.1, false, &mut packet);
    if dnssec && let Some(flags) = packet.len().checked_sub(4).and_then(|at| packet.get_mut(at)) {
        // DO.
        *flags |= 0x80;
    }
    let context = Context { hooks: Some(hooks), ..Context::default() };
    let mut out = Vec::new();
    let client = Client { address: [192, 0, 2, 1].into(), transport: Transport::Tcp };
    (respond(&context, &hosted, &packet, client, false, &mut out), out)
}

/// Rcode, and counts of answers and of authority records.
fn counts(message: &[u8]) -> (u8, u8, u8) {
    (message[3] & 15, message[7], message[9])
}

fn signed(denial: Denial) -> Zone {
    let (key, _) = SigningKey::generate(Algorithm::ECDSAP256SHA256, true).unwrap();
    let mut keys = ZoneKeys::new(&name("ex.org"));
    keys.start(1_790_000_000, vec![(Role::Csk, Arc::new(key))]).unwrap();
    let signer = ZoneSigner::new(&keys, 1_790_000_000, Validity::default());
    ZoneBuilder::from_zone(&parse(ZONE).unwrap()).finish_signed(Arc::new(signer), denial).unwrap()
}

#[test]
fn the_apex_has_the_addresses_of_its_target() {
    let knows = Knows(Some(resolved(&[[192, 0, 2, 2], [192, 0, 2, 1]])));
    let (response, message) = ask(parse(ZONE).unwrap(), ("ex.org", Rtype::A), false, &knows);
    assert_eq!((response, counts(&message)), (Response::Ready, (0, 2, 0)));
    // Owner a pointer to the question, the least of all TTLs.
    let record = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 50, 0, 4][..], &[192, 0, 2, 1]].concat();
    assert!(message.windows(record.len()).any(|octets| octets == record), "{message:?}");
    // Through an alias of the zone's own, too.
    let (response, message) = ask(parse(ZONE).unwrap(), ("www.ex.org", Rtype::A), false, &knows);
    assert_eq!((response, counts(&message)), (Response::Ready, (0, 3, 0)));
}

#[test]
fn what_is_not_known_is_asked_for_and_what_nobody_knows_is_a_failure() {
    for question in ["ex.org", "www.ex.org"] {
        let (response, _) = ask(parse(ZONE).unwrap(), (question, Rtype::AAAA), false, &Knows(None));
        assert_eq!(response, Response::Flatten(name("web.cdn.test"), Rtype::AAAA));
        let failed = Knows(Some(Resolved::failure(&name("web.cdn.test"), Rtype::A)));
        let (response, message) = ask(parse(ZONE).unwrap(), (question, Rtype::A), false, &failed);
        assert_eq!((response, counts(&message)), (Response::Ready, (2, 0, 0)));
    }
}

#[test]
fn nobody_sees_the_record_itself() {
    for (rtype, answers) in [(Rtype::ALIAS, 0), (Rtype::MX, 0), (Rtype::ANY, 1)] {
        let (_, message) = ask(parse(ZONE).unwrap(), ("ex.org", rtype), false, &Knows(None));
        assert_eq!(counts(&message), (0, answers, 1 - answers), "{rtype}");
    }
    let zone = signed(Denial::Nsec);
    assert!(zone.records().any(|record| record.rtype == Rtype::ALIAS), "kept for who changes the zone");
    let covers = |record: &crate::zone::RecordRef<'_>| record.rtype == Rtype::RRSIG && record.rdata.starts_with(&[0xff, 0x79]);
    assert!(!zone.records_signed().any(|record| record.rtype == Rtype::ALIAS || covers(&record)));
}

#[test]
fn a_signed_zone_signs_what_it_answers_and_proves_what_is_missing() {
    let nsec3 = Denial::Nsec3 { iterations: 0, salt: Box::default() };
    for (denial, proof) in [(Denial::Nsec, Rtype::NSEC), (nsec3, Rtype::NSEC3)] {
        let zone = signed(denial);
        let records = zone.alias_records(Rtype::A, &resolved(&[[192, 0, 2, 1]]));
        let [address, signature] = &records[..] else { panic!("{records:?}") };
        assert_eq!((address.rtype, address.ttl, signature.rtype), (Rtype::A, 120, Rtype::RRSIG));
        let owner =
            zone.records_signed().find(|record| record.rtype == proof && bitmap(record.rtype, record.rdata, Rtype::SOA)).unwrap();
        assert!(bitmap(proof, owner.rdata, Rtype::A) && bitmap(proof, owner.rdata, Rtype::AAAA));
        assert!(!bitmap(proof, owner.rdata, Rtype::ALIAS));
        let missing = without_type(proof, owner.rdata, Rtype::AAAA).unwrap();
        assert!(bitmap(proof, &missing, Rtype::A) && !bitmap(proof, &missing, Rtype::AAAA));

        // The answer with its signature, and a denial with SOA, proof and both signatures.
        let (_, message) = ask(zone, ("ex.org", Rtype::A), true, &Knows(Some(resolved(&[[192, 0, 2, 1]]))));
        assert_eq!(counts(&message), (0, 2, 0));
        let again =
            signed(if proof == Rtype::NSEC { Denial::Nsec } else { Denial::Nsec3 { iterations: 0, salt: Box::default() } });
        let (_, message) = ask(again, ("ex.org", Rtype::AAAA), true, &Knows(Some(resolved(&[]))));
        assert_eq!(counts(&message), (0, 0, 4));
        assert!(message.windows(missing.len().min(8)).any(|octets| missing.ends_with(octets)), "{proof}");
    }
}

fn bitmap(proof: Rtype, rdata: &[u8], rtype: Rtype) -> bool {
    let types = crate::record::rdata_text(proof, rdata);
    types.split(' ').any(|word| word == rtype.to_string())
}

#[test]
fn what_cannot_be_is_said() {
    for (line, expected) in [
        ("www ALIAS a.test.\n", "z:3: an ALIAS belongs to the apex"),
        ("@ ALIAS EX.org.\n", "z:3: the ALIAS of ex.org. leads to itself"),
        ("@ ALIAS a.test.\n@ ALIAS b.test.\n", "z:4: ex.org. has a second ALIAS"),
        ("@ ALIAS a.test.\n@ A 192.0.2.1\n", "z:4: ex.org. has an ALIAS and addresses of its own"),
        ("@ AAAA ::1\n@ ALIAS a.test.\n", "z:4: ex.org. has an ALIAS and addresses of its own"),
    ] {
        let error = parse(&format!("$TTL 60\n@ SOA ns h 1 2 3 4 60\n{line}@ NS ns\n")).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}
