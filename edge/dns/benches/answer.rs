//! What one answer costs: a zone of 20,000 mail domains, as `bench/` serves it against NSD and Knot, and 20,000 zones of one domain each.
//!
//! `cargo bench -p postring-dns --bench answer`. Each round answers a ring of 4,096 queries at random places, so that the caches see what a
//! server's see.
#![allow(clippy::unwrap_used, missing_docs)] // a benchmark that cannot go on fails; criterion makes undocumented functions

use criterion::{Criterion, criterion_group, criterion_main};
use postring_dns::dnssec::{Denial, SetSigner};
use postring_dns::query::write_query;
use postring_dns::responder::{Client, Context, Response, Transport, respond};
use postring_dns::zone::{ZoneBuilder, parse_zone};
use postring_dns::{Hosted, Name, Rtype, Service};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

const DOMAINS: usize = 20_000;
const RING: usize = 4096;

fn domain(file: &mut String, name: &str, at: usize) {
    let address = format!("10.{}.{}.{}", at >> 16, at >> 8 & 255, at & 255);
    let key = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A".repeat(6);
    let (dot, below) = if name == "@" { ("", String::new()) } else { (".", name.to_owned()) };
    let _ = writeln!(
        file,
        "{name} MX 10 mail{dot}{below}\n{name} TXT \"v=spf1 mx ip4:{address} -all\"\n{name} A {address}\n{name} AAAA fd00::{at:x}\n\
         mail{dot}{below} A {address}\nmail{dot}{below} AAAA fd00::{at:x}\n_dmarc{dot}{below} TXT \"v=DMARC1; p=reject; rua=mailto:d@x\"\n\
         sel._domainkey{dot}{below} TXT \"v=DKIM1; k=rsa; p={key}\" \"{key}\"\nwww{dot}{below} A {address}"
    );
}

#[derive(Debug)]
struct Sham;

impl SetSigner for Sham {
    fn sign(&self, _: &[u8], rtype: Rtype, _: u32, _: &[&[u8]]) -> Vec<Box<[u8]>> {
        vec![[&rtype.0.to_be_bytes()[..], &[0; 16], b"\x04zone\x03kit\0", &[7; 64]].concat().into()]
    }
}

fn one_zone(denial: Option<Denial>) -> Hosted {
    let mut file = String::from("$TTL 3600\n@ SOA ns1 hostmaster 1 7200 3600 1209600 300\n@ NS ns1\nns1 A 127.0.0.1\n");
    for at in 0..DOMAINS {
        domain(&mut file, &format!("d{at:05}"), at);
        let _ = writeln!(file, "s{at:05} NS ns1.s{at:05}\nns1.s{at:05} A 10.0.0.1");
    }
    let origin = Name::absolute("zone.kit").unwrap();
    let mut zone = parse_zone(&origin, Path::new("zone"), &mut |_| Ok(file.clone())).unwrap();
    if let Some(denial) = denial {
        zone = ZoneBuilder::from_zone(&zone).finish_signed(Arc::new(Sham), denial).unwrap();
    }
    println!("{} records, {} octets on the heap", zone.record_count(), zone.heap_bytes());
    let mut hosted = Hosted::default();
    hosted.add(&origin, Service::Zone(zone)).unwrap();
    hosted
}

fn many_zones() -> Hosted {
    let mut hosted = Hosted::default();
    for at in 0..DOMAINS {
        let mut file = String::from("$TTL 3600\n@ SOA ns1.zone.kit. hostmaster 1 7200 3600 1209600 300\n@ NS ns1.zone.kit.\n");
        domain(&mut file, "@", at);
        let origin = Name::absolute(&format!("d{at:05}.zone.kit")).unwrap();
        let zone = parse_zone(&origin, Path::new("zone"), &mut |_| Ok(file.clone())).unwrap();
        hosted.add(&origin, Service::Zone(zone)).unwrap();
    }
    hosted
}

fn ring(name: impl Fn(usize) -> String, rtype: Rtype, dnssec_ok: bool) -> Vec<Vec<u8>> {
    let place = |at: usize| at.wrapping_mul(7919).wrapping_add(13) % DOMAINS;
    let query = |at| {
        let mut packet = Vec::new();
        write_query(7, Name::absolute(&name(place(at))).unwrap().wire(), rtype, false, &mut packet);
        if dnssec_ok {
            let flags = packet.len() - 4;
            packet[flags] |= 0x80;
        }
        packet
    };
    (0..RING).map(query).collect()
}

fn measure(criterion: &mut Criterion, what: &str, hosted: &Hosted, queries: &[Vec<u8>]) {
    let context = Context::default();
    let client = Client { address: [192, 0, 2, 1].into(), transport: Transport::Udp };
    let (mut out, mut at) = (Vec::with_capacity(4096), 0);
    criterion.bench_function(what, |bencher| {
        bencher.iter(|| {
            at = (at + 1) % RING;
            assert_eq!(respond(&context, hosted, &queries[at], client, false, &mut out), Response::Ready);
            out.len()
        });
    });
}

fn answer(criterion: &mut Criterion) {
    let hosted = one_zone(None);
    let kinds: [(&str, &str, Rtype); 9] = [
        ("MX", "d", Rtype::MX),
        ("A", "mail.d", Rtype::A),
        ("TXT", "_dmarc.d", Rtype::TXT),
        ("DKIM key", "sel._domainkey.d", Rtype::TXT),
        ("NODATA", "mail.d", Rtype::MX),
        ("NXDOMAIN", "x", Rtype::A),
        ("NXDOMAIN, deep", "a.b.c.d", Rtype::A),
        ("referral", "www.s", Rtype::A),
        ("letters", "MaIL.d", Rtype::A),
    ];
    for (what, prefix, rtype) in kinds {
        measure(criterion, what, &hosted, &ring(|at| format!("{prefix}{at:05}.zone.kit"), rtype, false));
    }
    let hosted = many_zones();
    measure(criterion, "20,000 zones: MX", &hosted, &ring(|at| format!("d{at:05}.zone.kit"), Rtype::MX, false));
    measure(criterion, "20,000 zones: A", &hosted, &ring(|at| format!("mail.d{at:05}.zone.kit"), Rtype::A, false));
    let origin = Name::absolute("d00007.zone.kit").unwrap();
    criterion.bench_function("20,000 zones: one replaced", |bencher| {
        bencher.iter(|| hosted.replace(&origin, Some(Arc::new(Service::Broken))));
    });
    for (name, denial) in [("NSEC", Denial::Nsec), ("NSEC3", Denial::Nsec3 { iterations: 0, salt: [].into() })] {
        let hosted = one_zone(Some(denial));
        let queries = |prefix: &str, rtype| ring(|at| format!("{prefix}{at:05}.zone.kit"), rtype, true);
        measure(criterion, &format!("{name}: MX"), &hosted, &queries("d", Rtype::MX));
        measure(criterion, &format!("{name}: NXDOMAIN"), &hosted, &queries("x", Rtype::A));
    }
}

criterion_group!(benches, answer);
criterion_main!(benches);
