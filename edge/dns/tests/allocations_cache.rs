//! A hit of the cache allocates nothing: counted by the allocator itself.
#![allow(unsafe_code, clippy::unwrap_used)] // an allocator can only be written so; a test that cannot go on fails

use postring_dns::dnssec::Security;
use postring_dns::query::write_query;
use postring_dns::record::Record;
use postring_dns::resolver::{Answer, Cache, CacheConfig, HashKey, Negative, NegativeStore, Purpose, TtlRules, ZoneTtl};
use postring_dns::responder::{Client, Context, Transport, respond_resolved};
use postring_dns::types::ExtendedError;
use postring_dns::{Name, Rcode, Rtype};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const CLIENT: Client = Client { address: IpAddr::V4(Ipv4Addr::LOCALHOST), transport: Transport::Udp };

struct Counting;

thread_local!(static COUNT: Cell<usize> = const { Cell::new(0) });

// SAFETY: all is left to the system's allocator; the count is a plain number of the thread that needs no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(run: impl FnOnce()) -> usize {
    let before = COUNT.with(Cell::get);
    run();
    COUNT.with(Cell::get) - before
}

fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

#[test]
fn hits_allocate_nothing() {
    let store = Arc::new(NegativeStore::new(1 << 16, HashKey::random(), 0));
    let mut ttl = TtlRules::default();
    ttl.add(&name("bl.example"), ZoneTtl::BLOCK_LIST);
    let mut cache = Cache::new(CacheConfig { ttl, negatives: Some(Arc::clone(&store)), ..CacheConfig::default() });
    // Longer than what a Name holds without an allocation.
    let host = name("a.host.with.a.rather.long.name.in.a.long.domain.example");
    let record = |number| Record { name: host.clone(), rtype: Rtype::A, ttl: 3600, rdata: [192, 0, 2, number].into() };
    let records = (0..4).map(record).collect();
    let answer = Answer {
        rcode: Rcode::NOERROR,
        records,
        authority: Vec::new(),
        ttl: 3600,
        security: Security::Unchecked,
        extended_error: None,
    };
    cache.put(&host, Rtype::A, &answer, Purpose::Client, 0);
    let listed = name("4.3.2.1.bl.example");
    store.put(listed.wire(), Rtype::A, Negative::Name, 300, 0);

    assert!(allocations(|| drop(std::hint::black_box(Box::new(1_u64)))) == 1, "it counts");
    let read = allocations(|| {
        for purpose in [Purpose::Mail, Purpose::Client] {
            let found = cache.get(host.wire(), Rtype::A, purpose, 10_000).unwrap();
            let copy = found.resolved.clone();
            assert_eq!(copy.rdata(Rtype::A).count(), 4);
            assert!(copy.records().all(|record| record.ttl == 3590));
        }
        assert!(cache.get(host.wire(), Rtype::AAAA, Purpose::Client, 10_000).is_none());
        assert!(cache.get_stale(host.wire(), Rtype::A, 4_000_000).unwrap().is_stale());
        let found = cache.get(listed.wire(), Rtype::A, Purpose::Mail, 10_000).unwrap();
        assert_eq!(found.resolved.rcode(), Rcode::NXDOMAIN);
    });
    assert_eq!(read, 0);

    let (mut packet, mut out) = (Vec::new(), Vec::with_capacity(2048));
    write_query(7, host.wire(), Rtype::A, true, &mut packet);
    let sent = allocations(|| {
        let found = cache.get(host.wire(), Rtype::A, Purpose::Client, 10_000).unwrap();
        respond_resolved(&Context::default(), &packet, &found.resolved, CLIENT, &mut out);
    });
    assert_eq!((sent, out.len()), (0, 12 + host.wire().len() + 4 + 4 * 16 + 11));

    // A failure of before says twice why.
    let failure = Answer::failure(0).because(ExtendedError::NETWORK_ERROR);
    cache.put(&host, Rtype::TXT, &failure, Purpose::Client, 0);
    write_query(7, host.wire(), Rtype::TXT, true, &mut packet);
    let sent = allocations(|| {
        let found = cache.get(host.wire(), Rtype::TXT, Purpose::Client, 1_000).unwrap();
        respond_resolved(&Context::default(), &packet, &found.resolved, CLIENT, &mut out);
    });
    assert_eq!((sent, out.len()), (0, 12 + host.wire().len() + 4 + 11 + 2 * 6));
}
