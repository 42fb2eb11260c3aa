//! What a hit costs, what an entry weighs, and whom the eviction spares.
//!
//! `cargo bench -p postring-dns --bench cache` prints first the sizes and the hit rates, then the times. The names are drawn from a Zipf distribution
//! (exponent 0.9, as DNS traffic has it), the generator is seeded.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, missing_docs)] // a measurement that cannot go on fails

use criterion::{Criterion, criterion_group, criterion_main};
use postring_dns::dnssec::Security;
use postring_dns::query::write_query;
use postring_dns::record::Record;
use postring_dns::resolver::{Answer, Cache, CacheConfig, HashKey, Negative, NegativeStore, Purpose, Snapshot};
use postring_dns::responder::{Client, Context, Transport, respond_resolved};
use postring_dns::{Name, Rcode, Rtype};
use std::collections::HashMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const CLIENT: Client = Client { address: IpAddr::V4(Ipv4Addr::LOCALHOST), transport: Transport::Udp };
const NAMES: usize = 100_000;

fn host(number: usize) -> Name {
    Name::absolute(&format!("mx{}.customer{number}.example", number % 3)).unwrap()
}

fn answer(number: usize) -> Answer {
    let mx = |preference: u8| {
        let exchange = Name::absolute(&format!("mail{preference}.customer{number}.example")).unwrap();
        let rdata = [&[0, preference], exchange.wire()].concat();
        Record { name: host(number), rtype: Rtype::MX, ttl: 3600, rdata: rdata.into() }
    };
    let address = |last: u8| Record { name: host(number), rtype: Rtype::A, ttl: 3600, rdata: [192, 0, 2, last].into() };
    let records = if number.is_multiple_of(2) { vec![mx(1), mx(2)] } else { vec![address(1), address(2)] };
    Answer {
        rcode: Rcode::NOERROR,
        records,
        authority: Vec::new(),
        ttl: 3600,
        security: Security::Unchecked,
        extended_error: None,
    }
}

fn rtype(number: usize) -> Rtype {
    if number.is_multiple_of(2) { Rtype::MX } else { Rtype::A }
}

fn filled(bytes_max: usize) -> Cache {
    let mut cache = Cache::new(CacheConfig { bytes_max, ..CacheConfig::default() });
    for number in 0..NAMES {
        cache.put(&host(number), rtype(number), &answer(number), Purpose::Client, 0);
    }
    cache
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Names by how often they are asked for.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(names: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=names)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        Self(sums.iter().map(|part| part / sum).collect())
    }

    fn draw(&self, random: &mut Random) -> usize {
        let unit = random.unit();
        self.0.partition_point(|sum| *sum < unit)
    }
}

/// CLOCK as the cache had it before, with room for so many entries.
#[derive(Default)]
struct Clock {
    places: HashMap<usize, usize>,
    entries: Vec<(usize, bool)>,
    hand: usize,
}

impl Clock {
    fn ask(&mut self, name: usize, room: usize) -> bool {
        if let Some(place) = self.places.get(&name) {
            self.entries[*place].1 = true;
            return true;
        }
        if self.entries.len() < room {
            self.places.insert(name, self.entries.len());
            self.entries.push((name, false));
            return false;
        }
        while std::mem::take(&mut self.entries[self.hand].1) {
            self.hand = (self.hand + 1) % room;
        }
        self.places.remove(&self.entries[self.hand].0);
        self.places.insert(name, self.hand);
        self.entries[self.hand] = (name, false);
        self.hand = (self.hand + 1) % room;
        false
    }
}

/// A cache of 2 MiB, and how many of the answers below it has room for.
fn small_cache() -> Cache {
    Cache::new(CacheConfig { bytes_max: 2 << 20, ..CacheConfig::default() })
}

/// Asks for names as mail does, and with `scan` in every second question for one nobody asks for again.
fn hit_rates(scan: bool) -> (f64, f64) {
    let (zipf, mut random) = (Zipf::new(200_000, 0.9), Random(88_172_645_463_325_252));
    let small = Answer { records: Vec::new(), rcode: Rcode::NXDOMAIN, ..answer(1) };
    let name = |number: usize| Name::absolute(&format!("customer{number:08}.example")).unwrap();
    let mut cache = small_cache();
    for number in 0..100_000 {
        cache.put(&name(number), Rtype::MX, &small, Purpose::Client, 0);
    }
    let room = cache.len();
    let (mut cache, mut clock) = (small_cache(), Clock::default());
    let (mut hits, mut clock_hits, mut asked) = (0, 0, 0);
    for round in 0..1_500_000_usize {
        let scanned = scan && round % 2 == 0;
        let number = if scanned { 1_000_000 + round } else { zipf.draw(&mut random) };
        let hit = cache.get(name(number).wire(), Rtype::MX, Purpose::Client, 0).is_some();
        if !hit {
            cache.put(&name(number), Rtype::MX, &small, Purpose::Client, 0);
        }
        let clock_hit = clock.ask(number, room);
        if !scanned && round > 500_000 {
            asked += 1;
            hits += usize::from(hit);
            clock_hits += usize::from(clock_hit);
        }
    }
    println!("room for {room} of 200000 names; SIEVE has {}", cache.len());
    (hits as f64 / asked as f64, clock_hits as f64 / asked as f64)
}

fn sizes() {
    for (what, odd) in [("two A records", 1), ("two MX records, names whole", 0)] {
        let mut cache = Cache::new(CacheConfig { bytes_max: 1 << 30, ..CacheConfig::default() });
        let mut compressed = 0;
        for number in (odd..NAMES).step_by(2) {
            let resolved = cache.put(&host(number), rtype(number), &answer(number), Purpose::Client, 0);
            let (mut packet, mut out) = (Vec::new(), Vec::new());
            write_query(7, host(number).wire(), rtype(number), true, &mut packet);
            respond_resolved(&Context::default(), &packet, &resolved, CLIENT, &mut out);
            compressed += out.len();
        }
        let each = |bytes: usize| bytes as f64 / cache.len() as f64;
        println!("{what}: {:.1} bytes an entry all told, response {:.1} octets", each(cache.bytes()), each(compressed));
    }
    for scan in [false, true] {
        let (sieve, clock) = hit_rates(scan);
        println!(
            "hit rate {}: SIEVE {:.2} %, CLOCK {:.2} %",
            if scan { "under a scan" } else { "of mail" },
            sieve * 100.0,
            clock * 100.0
        );
    }
}

fn times(criterion: &mut Criterion) {
    sizes();
    let mut cache = filled(1 << 30);
    let names: Vec<Name> = (0..NAMES).map(host).collect();
    let mut random = Random(42);
    let mut one = 0;
    criterion.bench_function("hit, the same name", |bencher| {
        bencher.iter(|| cache.get(black_box(names[7].wire()), Rtype::A, Purpose::Mail, 1000).unwrap());
    });
    // The questions lie one after the other, so that what is measured is the cache's memory and not the names'.
    let zipf = Zipf::new(NAMES, 0.9);
    let evenly: Vec<usize> = (0..1 << 16).map(|_| random.next() as usize % NAMES).collect();
    let as_mail: Vec<usize> = (0..1 << 16).map(|_| zipf.draw(&mut random)).collect();
    // 5000 of them with their entries fit into the second level of a processor's memory; the others wait for the memory of the machine.
    let few: Vec<usize> = evenly.iter().map(|number| number % 5000).collect();
    for (what, drawn) in [("5000, evenly", few), ("100000, evenly", evenly), ("100000, as mail draws them", as_mail)] {
        let questions: Vec<(Name, Rtype)> = drawn.iter().map(|number| (host(*number), rtype(*number))).collect();
        let mut questions = questions.iter().cycle();
        criterion.bench_function(&format!("hit, of {what}"), |bencher| {
            bencher.iter(|| {
                let (name, rtype) = questions.next().unwrap();
                cache.get(black_box(name.wire()), *rtype, Purpose::Mail, 1000).unwrap()
            });
        });
        criterion.bench_function(&format!("hit and its data, of {what}"), |bencher| {
            bencher.iter(|| {
                let (name, rtype) = questions.next().unwrap();
                let found = cache.get(black_box(name.wire()), *rtype, Purpose::Mail, 1000).unwrap();
                found.resolved.rdata(*rtype).map(<[u8]>::len).sum::<usize>()
            });
        });
    }
    criterion.bench_function("miss", |bencher| {
        bencher.iter(|| cache.get(black_box(names[7].wire()), Rtype::TXT, Purpose::Mail, 1000).is_none());
    });
    let (mut packet, mut out) = (Vec::new(), Vec::with_capacity(2048));
    write_query(7, names[7].wire(), Rtype::A, true, &mut packet);
    let found = cache.get(names[7].wire(), Rtype::A, Purpose::Client, 1000).unwrap();
    criterion.bench_function("response from a hit, query read again", |bencher| {
        bencher.iter(|| respond_resolved(&Context::default(), black_box(&packet), &found.resolved, CLIENT, &mut out));
    });
    let mx = answer(8);
    criterion.bench_function("put", |bencher| {
        bencher.iter(|| cache.put(black_box(&names[8]), Rtype::MX, &mx, Purpose::Client, 1000));
    });

    let store = NegativeStore::new(8 << 20, HashKey::random(), 0);
    for name in &names {
        store.put(name.wire(), Rtype::A, Negative::Name, 300, 0);
    }
    criterion.bench_function("negative store, any of 100000 names", |bencher| {
        bencher.iter(|| store.get(black_box(names[random.next() as usize % NAMES].wire()), Rtype::A, 1));
    });
    criterion.bench_function("negative store, put", |bencher| {
        bencher.iter(|| store.put(black_box(names[random.next() as usize % NAMES].wire()), Rtype::A, Negative::Name, 300, 1));
    });

    let begun = std::time::Instant::now();
    let bytes = cache.snapshot((0, 1), 1000).unwrap();
    println!("snapshot of {} entries: {} bytes, written in {:?}", cache.len(), bytes.len(), begun.elapsed());
    let bytes = Arc::new(bytes);
    criterion.bench_function("snapshot, open", |bencher| {
        bencher.iter(|| Snapshot::open(Arc::clone(&bytes) as Arc<_>, 1).unwrap());
    });
    let snapshot = Arc::new(Snapshot::open(bytes, 1).unwrap());
    let mut fresh = Cache::new(CacheConfig { bytes_max: 64 << 10, ..CacheConfig::default() });
    fresh.attach(vec![snapshot], 0);
    criterion.bench_function("snapshot, an entry taken over, any of 100000 names", |bencher| {
        bencher.iter(|| {
            one = random.next() as usize % NAMES;
            fresh.get(black_box(names[one].wire()), rtype(one), Purpose::Mail, 1000).is_some()
        });
    });
}

criterion_group!(benches, times);
criterion_main!(benches);
