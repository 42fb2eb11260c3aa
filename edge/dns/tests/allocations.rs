//! Answering a query takes no memory: a counting allocator watches every kind of answer.
#![allow(clippy::unwrap_used, unsafe_code)] // a test that cannot go on fails; an allocator cannot be written without

use postring_dns::dnssec::{Denial, SetSigner};
use postring_dns::query::write_query;
use postring_dns::responder::{Client, Context, Response, Transport, respond};
use postring_dns::zone::{ZoneBuilder, parse_zone};
use postring_dns::{Hosted, Name, Rtype, Service};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

struct Counting;

// SAFETY: the system's allocator does the work, the counter is a plain number of this thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ZONE: &str = "$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 300\n@ NS ns\n@ MX 10 mx\n@ TXT \"v=spf1 mx -all\"\nns A 192.0.2.1\n\
mx A 192.0.2.2\n*.w TXT \"x\"\na CNAME b\nb CNAME c\nc CNAME a.w\nout CNAME www.other.example\nsub NS ns.sub\nsub NS ns.other\n\
ns.sub A 192.0.2.3\nns.sub AAAA 2001:db8::3\nd DNAME w\nx.y.z A 192.0.2.4\n_sip._tcp SRV 1 2 3 mx\n\
a-name-that-is-longer-than-what-fits-in-a-small-buffer.and-another-label-of-it A 192.0.2.5\n";

#[derive(Debug)]
struct Sham;

impl SetSigner for Sham {
    fn sign(&self, _: &[u8], rtype: Rtype, _: u32, _: &[&[u8]]) -> Vec<Box<[u8]>> {
        vec![[&rtype.0.to_be_bytes()[..], &[0; 16], b"\0", &[7; 64]].concat().into()]
    }
}

fn hosted(denial: Option<Denial>) -> Hosted {
    let mut hosted = Hosted::default();
    for (text, file) in [("example", ZONE), ("other.example", "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nwww CNAME mx.example.\n")]
    {
        let origin = Name::absolute(text).unwrap();
        let mut zone = parse_zone(&origin, Path::new("zone"), &mut |_| Ok(file.to_owned())).unwrap();
        if let Some(denial) = &denial {
            zone = ZoneBuilder::from_zone(&zone).finish_signed(Arc::new(Sham), denial.clone()).unwrap();
        }
        hosted.add(&origin, Service::Zone(zone)).unwrap();
    }
    hosted
}

#[test]
fn answers_take_no_memory() {
    let questions = [
        ("a hit", "example", Rtype::MX),
        ("letters", "mX.eXample", Rtype::A),
        ("a text", "example", Rtype::TXT),
        ("a service", "_sip._tcp.example", Rtype::SRV),
        ("a long name", "a-name-that-is-longer-than-what-fits-in-a-small-buffer.and-another-label-of-it.example", Rtype::A),
        ("no data", "mx.example", Rtype::AAAA),
        ("an empty non-terminal", "y.z.example", Rtype::A),
        ("no such name", "nothing.example", Rtype::A),
        ("a referral", "host.sub.example", Rtype::A),
        ("a wildcard", "any.w.example", Rtype::TXT),
        ("no data of a wildcard", "any.w.example", Rtype::A),
        ("a chain", "a.example", Rtype::TXT),
        ("a chain over zones", "out.example", Rtype::A),
        ("a DNAME", "q.d.example", Rtype::TXT),
        ("anything", "example", Rtype::ANY),
        ("not ours", "elsewhere", Rtype::A),
    ];
    let nsec3 = Denial::Nsec3 { iterations: 0, salt: [].into() };
    let (mut packet, mut out) = (Vec::new(), Vec::with_capacity(4096));
    for (zone, hosted) in [("plain", hosted(None)), ("NSEC", hosted(Some(Denial::Nsec))), ("NSEC3", hosted(Some(nsec3)))] {
        for (what, name, rtype) in questions {
            for dnssec_ok in [false, true] {
                write_query(7, Name::absolute(name).unwrap().wire(), rtype, false, &mut packet);
                if dnssec_ok {
                    let flags = packet.len() - 4;
                    packet[flags] |= 0x80;
                }
                for (round, transport) in [Transport::Udp, Transport::Udp, Transport::Tcp].into_iter().enumerate() {
                    let context = Context { identity: b"ns1", addresses: true, ..Context::default() };
                    let client = Client { address: [192, 0, 2, 1].into(), transport };
                    let before = ALLOCATIONS.get();
                    let response = respond(&context, &hosted, &packet, client, false, &mut out);
                    let taken = ALLOCATIONS.get() - before;
                    assert_eq!(response, Response::Ready);
                    // The first time a set is signed.
                    if round > 0 {
                        assert_eq!(taken, 0, "{what} of a {zone} zone, DO {dnssec_ok}, {transport:?}");
                    }
                }
            }
        }
    }
    // It does count.
    assert!(ALLOCATIONS.get() > 1000);
}
