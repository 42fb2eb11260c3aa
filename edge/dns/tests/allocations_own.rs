//! An answer of our own zones costs no allocation once it was given: counted by the allocator itself.
#![allow(unsafe_code, clippy::unwrap_used)] // an allocator can only be written so; a test that cannot go on fails

use postring_dns::key::NameKey;
use postring_dns::resolver::{Own, OwnAnswers};
use postring_dns::zone::parse_zone;
use postring_dns::{Hosted, Name, Rcode, Rtype, Service};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

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

const LONG: &str = "a-name-that-is-longer-than-what-fits-in-a-small-buffer.and-another-label-of-it.Example";

fn hosted(address: &str) -> Arc<Hosted> {
    let origin = Name::absolute("example").unwrap();
    let text = format!("$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\n@ MX 10 mx\n{LONG}. A {address}\nout CNAME elsewhere.\n");
    let zone = parse_zone(&origin, Path::new("zone"), &mut |_| Ok(text.clone())).unwrap();
    let mut hosted = Hosted::default();
    hosted.add(&origin, Service::Zone(zone)).unwrap();
    Arc::new(hosted)
}

/// The code, the data of the first record of the type, and the allocations this took.
fn ask(own: &mut OwnAnswers, name: &Name, rtype: Rtype) -> (Rcode, Option<u8>, usize) {
    let before = COUNT.with(Cell::get);
    let key = NameKey::of(name.wire()).unwrap();
    let Some(Own::Done(resolved)) = own.answer(&key, name, rtype) else { panic!("{name} {rtype}") };
    let last = resolved.rdata(rtype).next().and_then(|rdata| rdata.last().copied());
    (resolved.rcode(), last, COUNT.with(Cell::get) - before)
}

#[test]
fn what_was_given_is_lent() {
    let name = |text: &str| Name::absolute(text).unwrap();
    let mut own = OwnAnswers::default();
    own.host(hosted("192.0.2.1"));
    let (long, apex, missing) = (name(LONG), name("example"), name("missing.example"));
    let questions = [
        (&long, Rtype::A, Rcode::NOERROR, Some(1)),
        (&long, Rtype::AAAA, Rcode::NOERROR, None),
        (&apex, Rtype::MX, Rcode::NOERROR, Some(0)),
        (&missing, Rtype::A, Rcode::NXDOMAIN, None),
    ];
    for round in 0..3 {
        for (name, rtype, rcode, last) in questions {
            let (found, data, taken) = ask(&mut own, name, rtype);
            assert_eq!((found, data), (rcode, last), "{name} {rtype}");
            assert!(if round == 0 { taken > 0 } else { taken == 0 }, "{name} {rtype}: {taken} in round {round}");
        }
    }
    let elsewhere = name("elsewhere");
    assert!(own.answer(&NameKey::of(elsewhere.wire()).unwrap(), &elsewhere, Rtype::A).is_none());
    let out = name("out.example");
    let found = own.answer(&NameKey::of(out.wire()).unwrap(), &out, Rtype::A);
    assert!(matches!(found, Some(Own::Alias(_, target)) if target == elsewhere));
    // Another version says something else.
    own.host(hosted("192.0.2.2"));
    assert_eq!(ask(&mut own, &long, Rtype::A).1, Some(2));
}
