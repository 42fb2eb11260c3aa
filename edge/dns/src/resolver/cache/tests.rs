use super::*;
use crate::record::Record;
use crate::types::Rcode;

fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

fn positive(text: &str, ttl: u32) -> Answer {
    let record = Record { name: name(text), rtype: Rtype::A, ttl, rdata: [192, 0, 2, 1].into() };
    Answer {
        rcode: Rcode::NOERROR,
        records: vec![record],
        authority: Vec::new(),
        ttl,
        security: Security::Unchecked,
        extended_error: None,
    }
}

fn negative(ttl: u32) -> Answer {
    Answer { rcode: Rcode::NXDOMAIN, ..Answer::failure(ttl) }
}

fn get(cache: &mut Cache, text: &str, purpose: Purpose, second: u64) -> Option<Found> {
    cache.get(name(text).wire(), Rtype::A, purpose, second * 1000)
}

#[test]
fn times() {
    let mut cache = Cache::new(CacheConfig::default());
    for (text, answer) in [
        ("a", positive("a", 1000)),
        ("b", positive("b", 0)),
        ("c", negative(9999)),
        ("d", negative(0)),
        ("e", Answer { security: Security::Secure, ..positive("e", 100) }),
    ] {
        cache.put(&name(text), Rtype::A, &answer, Purpose::Mail, 0);
    }
    let mut ages = |purpose, second| {
        ["a", "b", "c", "d", "e"].map(|text| get(&mut cache, text, purpose, second).map(|found| found.resolved.age_seconds))
    };
    assert_eq!(ages(Purpose::Mail, 4), [Some(4), Some(4), Some(4), None, Some(4)]);
    assert_eq!(ages(Purpose::Client, 4), [Some(4), None, Some(4), None, Some(4)]);
    assert_eq!(ages(Purpose::Mail, 100), [Some(100), Some(100), Some(100), None, None]);
    assert_eq!(ages(Purpose::Mail, 300), [Some(300), Some(300), None, None, None]);
    assert_eq!(ages(Purpose::Client, 899), [Some(899), None, Some(899), None, None]);
    assert_eq!(ages(Purpose::Mail, 900), [Some(900), None, None, None, None]);
    assert_eq!(ages(Purpose::Mail, 1000), [None; 5]);
    assert_eq!(cache.len(), 2, "what may be stale stays");
    assert_eq!(cache.stats().misses, 20);
    get(&mut cache, "a", Purpose::Mail, 1000 + 86_400);
    assert_eq!((get(&mut cache, "b", Purpose::Mail, 900 + 86_400).is_none(), cache.len(), cache.packed_bytes), (true, 0, 0));
}

#[test]
fn a_client_is_told_what_is_left() {
    let mut cache = Cache::new(CacheConfig::default());
    let ttl = |resolved: &Resolved| resolved.records().next().unwrap().ttl;
    assert_eq!(ttl(&cache.put(&name("a"), Rtype::A, &positive("a", 100_000), Purpose::Mail, 0)), 86_400);
    assert_eq!(ttl(&get(&mut cache, "a", Purpose::Client, 400).unwrap().resolved), 86_000);
    assert_eq!(ttl(&cache.put(&name("a"), Rtype::A, &positive("a", 0), Purpose::Mail, 0)), 0);
    assert!(get(&mut cache, "a", Purpose::Client, 0).is_none());
}

#[test]
fn failures_last_longer_each_time() {
    let mut cache = Cache::new(CacheConfig::default());
    let mut second = 0;
    for expected in [5, 10, 20, 40, 80, 160, 300, 300] {
        assert!(cache.put(&name("a"), Rtype::A, &Answer::failure(0), Purpose::Mail, second * 1000).is_failure());
        assert!(get(&mut cache, "a", Purpose::Mail, second + expected - 1).unwrap().resolved.is_failure());
        second += expected;
        assert!(get(&mut cache, "a", Purpose::Mail, second).is_none());
        assert!(cache.get_stale(name("a").wire(), Rtype::A, second * 1000).is_none());
    }
    // Long after it the count begins anew.
    second += u64::from(FAILURE_TTL_MAX);
    cache.put(&name("a"), Rtype::A, &Answer::failure(0), Purpose::Mail, second * 1000);
    assert!(get(&mut cache, "a", Purpose::Mail, second + 5).is_none());
}

#[test]
fn stale_is_better_than_nothing() {
    let mut cache = Cache::new(CacheConfig::default());
    cache.put(&name("a"), Rtype::A, &positive("a", 1000), Purpose::Mail, 0);
    assert!(!cache.get_stale(name("a").wire(), Rtype::A, 999_000).unwrap().is_stale());
    assert!(get(&mut cache, "a", Purpose::Mail, 1000).is_none());
    let stale = cache.get_stale(name("a").wire(), Rtype::A, 1_000_000).unwrap();
    assert!(stale.is_stale() && stale.records().all(|record| record.ttl == TTL_STALE));
    // The resolver cannot say: the same, and for half a minute nobody asks again.
    assert!(cache.put(&name("a"), Rtype::A, &Answer::failure(0), Purpose::Mail, 1_001_000).is_stale());
    assert!(get(&mut cache, "a", Purpose::Client, 1030).unwrap().resolved.is_stale());
    assert!(get(&mut cache, "a", Purpose::Client, 1031).is_none());
    assert!(cache.get_stale(name("a").wire(), Rtype::A, 87_400_000).is_none());
    for answer in [negative(100), Answer { security: Security::Secure, ..positive("b", 100) }] {
        cache.put(&name("b"), Rtype::A, &answer, Purpose::Mail, 0);
        assert!(cache.get_stale(name("b").wire(), Rtype::A, 100_000).is_none());
    }
    assert_eq!(cache.stats().stale, 2);
}

#[test]
fn popular_names_are_asked_for_again_once() {
    let mut cache = Cache::new(CacheConfig::default());
    for _ in 0..2 {
        cache.put(&name("a"), Rtype::A, &positive("a", 1000), Purpose::Mail, 0);
        let refresh = [899, 900, 901, 999].map(|second| get(&mut cache, "a", Purpose::Mail, second).unwrap().refresh);
        assert_eq!(refresh, [false, true, false, false]);
    }
    assert_eq!(cache.stats().refreshes, 2);
}

#[test]
fn a_scan_does_not_push_out_what_is_used() {
    let mut cache = Cache::new(CacheConfig { bytes_max: 20_000, ..CacheConfig::default() });
    cache.put(&name("kept"), Rtype::A, &positive("kept", 1000), Purpose::Mail, 0);
    for number in 0..1000 {
        assert!(get(&mut cache, "kept", Purpose::Mail, 1).is_some(), "gone at {number}");
        let scanned = format!("n{number}");
        cache.put(&name(&scanned), Rtype::A, &positive(&scanned, 1000), Purpose::Mail, 1);
        assert!(cache.bytes() <= 20_000);
    }
    assert!(cache.len() > 50, "{} entries", cache.len());
    assert_eq!(cache.stats().evictions + cache.len() as u64, 1001);
}

#[test]
fn negatives_of_block_lists_are_shared_and_small() {
    let store = Arc::new(NegativeStore::new(1 << 16, HashKey::new([1, 2]), 1_800_000_000));
    let mut ttl = TtlRules::default();
    ttl.add(&name("bl.example"), super::super::ZoneTtl::BLOCK_LIST);
    let config = CacheConfig { ttl, unix_at_zero: 1_800_000_000, negatives: Some(Arc::clone(&store)), ..CacheConfig::default() };
    let (mut one, mut other) = (Cache::new(config.clone()), Cache::new(config));
    let (listed, not, elsewhere) = (name("1.bl.example"), name("2.bl.example"), name("2.example"));
    let nodata = Answer { rcode: Rcode::NOERROR, ..Answer::failure(100) };
    one.put(&not, Rtype::A, &negative(100), Purpose::Mail, 0);
    one.put(&elsewhere, Rtype::A, &negative(100), Purpose::Mail, 0);
    one.put(&listed, Rtype::TXT, &nodata, Purpose::Mail, 0);
    one.put(&listed, Rtype::A, &positive("1.bl.example", 100), Purpose::Mail, 0);
    assert_eq!(one.len(), 2);
    let mut rcode = |name: &Name, rtype, purpose, second: u64| {
        other.get(name.wire(), rtype, purpose, second * 1000).map(|found| found.resolved.rcode())
    };
    assert_eq!(rcode(&not, Rtype::A, Purpose::Mail, 99), Some(Rcode::NXDOMAIN));
    assert_eq!(rcode(&not, Rtype::TXT, Purpose::Mail, 99), Some(Rcode::NXDOMAIN));
    assert_eq!(rcode(&listed, Rtype::TXT, Purpose::Mail, 99), Some(Rcode::NOERROR));
    assert_eq!(rcode(&not, Rtype::A, Purpose::Client, 99), None);
    assert_eq!(rcode(&not, Rtype::A, Purpose::Mail, 100), None);
    assert_eq!(rcode(&elsewhere, Rtype::A, Purpose::Mail, 0), None);
    assert_eq!((store.len(1_800_000_000), other.stats().negative_hits), (2, 3));
    // It is listed now.
    other.put(&not, Rtype::A, &positive("2.bl.example", 100), Purpose::Mail, 0);
    assert!(one.get(not.wire(), Rtype::A, Purpose::Mail, 0).is_none());
}

#[test]
fn a_snapshot_goes_on_where_the_cache_was() {
    let config = |unix_at_zero| CacheConfig { unix_at_zero, ..CacheConfig::default() };
    let mut before = Cache::new(config(1_800_000_000));
    before.put(&name("a"), Rtype::A, &positive("a", 1000), Purpose::Mail, 0);
    before.put(&name("b"), Rtype::A, &negative(50), Purpose::Mail, 0);
    before.put(&name("f"), Rtype::A, &Answer::failure(0), Purpose::Mail, 0);
    let snapshot = Snapshot::open(Arc::new(before.snapshot((0, 1), 100_000).unwrap()), 1_800_000_500).unwrap();
    assert_eq!(snapshot.len(), 1, "what has ended is not written");
    let mut after = Cache::new(config(1_800_000_500));
    after.attach(vec![Arc::new(snapshot)], 0);
    assert_eq!((after.len(), after.stats().snapshots), (0, 1));
    assert_eq!(get(&mut after, "a", Purpose::Mail, 1).unwrap().resolved.age_seconds, 501);
    assert_eq!((after.len(), after.stats().snapshot_hits), (1, 1));
    assert!(get(&mut after, "b", Purpose::Mail, 1).is_none());
    assert!(get(&mut after, "a", Purpose::Mail, 500).is_none());
    assert!(after.get_stale(name("a").wire(), Rtype::A, 500_000).is_some());
    after.flush_name(&name("a"));
    assert!(after.get_stale(name("a").wire(), Rtype::A, 500_000).is_none());
}

#[test]
fn two_stops_in_a_row_lose_nothing_and_snapshots_do_not_stay() {
    let mut before = Cache::new(CacheConfig::default());
    assert!(before.snapshot((0, 1), 0).is_none());
    for text in ["a", "b", "c"] {
        before.put(&name(text), Rtype::A, &positive(text, 10_000), Purpose::Mail, 0);
    }
    let open = |bytes: Option<Vec<u8>>| Arc::new(Snapshot::open(Arc::new(bytes.unwrap()), 3600).unwrap());
    let snapshot = open(before.snapshot((0, 1), 0));
    let mut after = [0, 1].map(|_| {
        let mut after = Cache::new(CacheConfig::default());
        after.attach(vec![Arc::clone(&snapshot)], 0);
        after
    });
    // One shard has taken "a" over and has learned "d" since; the rest goes on with the first of them alone.
    assert!(get(&mut after[0], "a", Purpose::Mail, 1).is_some());
    after[0].put(&name("d"), Rtype::A, &positive("d", 10_000), Purpose::Mail, 0);
    assert_eq!(open(after[0].snapshot((0, 2), 1000)).len(), 4);
    assert!(after[1].snapshot((1, 2), 1000).is_none());
    // After an hour they are no longer looked into.
    assert_eq!(open(after[0].snapshot((0, 2), 3_600_000)).len(), 2);
    assert!(get(&mut after[0], "b", Purpose::Mail, 3599).is_some());
    assert!(get(&mut after[0], "c", Purpose::Mail, 3600).is_none());
    assert_eq!(after[0].stats().snapshots, 0);
    // Nor is more taken than a cache may hold.
    let mut small = Cache::new(CacheConfig { bytes_max: 300, ..CacheConfig::default() });
    small.attach(vec![snapshot], 0);
    assert!((1..3).contains(&open(small.snapshot((0, 1), 0)).len()));
}

#[test]
fn flushing() {
    let mut cache = Cache::new(CacheConfig::default());
    for text in ["a.example", "b.a.example", "example", "other", "xa.example"] {
        cache.put(&name(text), Rtype::A, &positive(text, 100), Purpose::Mail, 0);
        cache.put(&name(text), Rtype::MX, &negative(100), Purpose::Mail, 0);
    }
    assert_eq!((cache.flush_name(&name("Example")), cache.len()), (2, 8));
    assert_eq!((cache.flush_zone(&name("A.example")), cache.len()), (4, 4));
    cache.flush_all();
    assert_eq!((cache.len(), cache.bytes()), (0, 0));
}
