//! Block lists: an address among ten millions, a name among 500,000, loading, and a change by command.
//!
//! All times are those the thread was running, so that a busy machine spoils them less.
#![allow(clippy::unwrap_used, missing_docs)] // a benchmark that cannot go on fails; criterion's macros make functions without documentation

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, criterion_group, criterion_main};
use postring_dns::list::{BlockList, Change, Entry, Key, ListBuilder, ListKind, Overlay, Verdict};
use postring_dns::{Name, Rtype};
use std::fmt::Write;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

struct Running;

fn running() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

impl Measurement for Running {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        running()
    }

    fn end(&self, begin: Duration) -> Duration {
        running() - begin
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_secs_f64() * 1e9
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 20
}

fn address(state: &mut u64) -> Ipv4Addr {
    let bytes = next(state).to_le_bytes();
    Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])
}

fn load(kind: ListKind, text: &str, what: &str) -> BlockList {
    let begin = running();
    let mut builder = ListBuilder::new(&Name::absolute("bl.example").unwrap(), kind);
    builder.read(Path::new("list"), &mut text.as_bytes()).unwrap();
    let list = builder.finish().unwrap();
    println!("{what}: loaded in {:.3} s, {:?}", (running() - begin).as_secs_f64(), list.size());
    list
}

/// Asks one after the other, each waiting for the one before: what a look-up costs that nothing hides.
fn each<T>(criterion: &mut Criterion<Running>, name: &str, probes: &[T], mut look_up: impl FnMut(&T) -> bool) {
    let mut at = 0;
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            let found = look_up(black_box(&probes[at]));
            at = (at + 1 + usize::from(black_box(found) && at == usize::MAX)) % probes.len();
        });
    });
}

fn addresses(criterion: &mut Criterion<Running>) {
    let mut state = 1;
    let mut text = String::from(":127.0.0.2:Listed, see http://bl.example/$\n");
    let mut listed = Vec::new();
    for number in 0..10_000_000_u32 {
        let address = address(&mut state);
        writeln!(text, "{address}").unwrap();
        if number % 10 == 0 {
            listed.push(IpAddr::V4(address));
        }
    }
    let list = load(ListKind::Ip4Set, &text, "10 M addresses");
    drop(text);
    let absent: Vec<IpAddr> = (0..1_000_000).map(|_| IpAddr::V4(address(&mut state))).collect();
    each(criterion, "address_hit_of_10m", &listed, |address| list.listed_address(*address).is_some());
    each(criterion, "address_miss_of_10m", &absent, |address| list.listed_address(*address).is_some());
    let networks: String =
        (0..100_000).map(|_| format!("{}/24\n", Ipv4Addr::from_bits(address(&mut state).to_bits() & !0xff))).collect();
    let list = load(ListKind::Ip4Trie, &networks, "100 k networks");
    each(criterion, "address_miss_of_100k_networks", &absent, |address| list.listed_address(*address).is_some());
}

fn names(criterion: &mut Criterion<Running>) {
    let mut state = 2;
    let mut domains = Vec::new();
    let mut text = String::from(":127.0.0.2:Listed domain $\n");
    for _ in 0..500_000 {
        let length = 6 + next(&mut state) % 11;
        let label: String = (0..length).map(|_| char::from(b'a' + u8::try_from(next(&mut state) % 26).unwrap())).collect();
        let domain = format!("{label}.{}", ["com", "net", "org", "xyz", "info"][usize::try_from(next(&mut state) % 5).unwrap()]);
        writeln!(text, "{domain}\n.{domain}").unwrap();
        domains.push(domain);
    }
    let list = load(ListKind::DnSet, &text, "500 k names");
    let keys =
        |prefix: &str| domains.iter().map(|domain| Name::absolute(&format!("{prefix}{domain}")).unwrap()).collect::<Vec<_>>();
    let (own, below, absent) = (keys(""), keys("www."), keys("x"));
    each(criterion, "name_hit_of_500k", &own, |key| list.listed_key(key.wire()).is_some());
    each(criterion, "name_hit_below_of_500k", &below, |key| list.listed_key(key.wire()).is_some());
    each(criterion, "name_miss_of_500k", &absent, |key| list.listed_key(key.wire()).is_some());
    let asked = |key: &Name| Name::absolute(&format!("{key}bl.example")).unwrap();
    let asked: Vec<Name> = own.iter().take(100_000).map(asked).collect();
    each(criterion, "answer_txt_of_500k", &asked, |name| {
        let mut octets = 0;
        let _ = list.answer_to(name.wire(), name.wire(), Rtype::TXT, &mut |_, _, _, _, rdata: &[u8]| {
            octets += rdata.len();
            Ok::<(), ()>(())
        });
        octets > 20
    });
}

fn overlay(criterion: &mut Criterion<Running>) {
    let overlay = Overlay::new();
    let mut state = 3;
    let put = |address: Ipv4Addr| {
        let verdict = Verdict::Listed(Ipv4Addr::new(127, 0, 0, 2));
        let key = Key::address(address.into());
        Change::Put(Entry { key, verdict, text: "x".into(), expires: 0, made: 0, by: "x".into(), why: "x".into() })
    };
    let changes: Vec<Change> = (0..950_000).map(|_| put(address(&mut state))).collect();
    let begin = running();
    overlay.apply(changes).unwrap();
    println!("950 k changes at once: {:.3} s", (running() - begin).as_secs_f64());
    let absent: Vec<IpAddr> = (0..100_000).map(|_| IpAddr::V4(address(&mut state))).collect();
    each(criterion, "overlay_miss_of_950k", &absent, |address| overlay.find_address(*address, 1).is_some());
    let mut addresses = (0..).map(|_| address(&mut state));
    let mut made = 0;
    criterion.bench_function("overlay_change_among_950k", |bencher| {
        bencher.iter(|| {
            let address = addresses.next().unwrap();
            overlay.apply([put(address)]).unwrap();
            overlay.apply([Change::Forget(Key::address(address.into()))]).unwrap();
            made += 1;
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(Running);
    targets = addresses, names, overlay
}
criterion_main!(benches);
