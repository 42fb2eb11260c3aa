//! What a block list takes of memory, and that a look-up takes none: counted by an allocator of our own.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails
#![allow(unsafe_code)] // an allocator cannot be written without; it counts, and hands on to the system's

use postring_dns::list::{BlockList, Change, Entry, Key, ListBuilder, ListKind, Overlay, Verdict};
use postring_dns::message::Section;
use postring_dns::{Name, Rtype};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

thread_local! {
    /// Calls, and bytes that are taken.
    static COUNTS: Cell<(u64, i64)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn count(bytes: i64) {
    let _ = COUNTS.try_with(|counts| {
        let (calls, taken) = counts.get();
        counts.set((calls + u64::from(bytes > 0), taken + bytes));
    });
}

fn size(layout: Layout) -> i64 {
    i64::try_from(layout.size()).unwrap_or(i64::MAX)
}

// SAFETY: every call is the system allocator's with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-size(layout));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 20
}

fn load(kind: ListKind, text: &str) -> (BlockList, i64) {
    let before = COUNTS.get().1;
    let mut builder = ListBuilder::new(&Name::absolute("bl.example").unwrap(), kind);
    builder.read(Path::new("list"), &mut text.as_bytes()).unwrap();
    let list = builder.finish().unwrap();
    (list, COUNTS.get().1 - before)
}

/// Allocations of `each`, called once before to warm up what is made once a thread.
fn allocations(mut each: impl FnMut()) -> u64 {
    each();
    let before = COUNTS.get().0;
    each();
    COUNTS.get().0 - before
}

fn ask(list: &BlockList, names: &[Name]) -> usize {
    let mut octets = 0;
    for name in names {
        for rtype in [Rtype::A, Rtype::TXT, Rtype::ANY, Rtype::MX] {
            let _ = list.answer_to(name.wire(), name.wire(), rtype, &mut |_: Section, _: &[u8], _, _, rdata: &[u8]| {
                octets += rdata.len();
                Ok::<(), ()>(())
            });
        }
    }
    octets
}

fn overlay() -> Arc<Overlay> {
    let overlay = Overlay::new();
    let keys = ["203.0.113.0/24", "203.0.113.9", ".changed.example", "2001:db8::/32"]
        .into_iter()
        .flat_map(|text| Key::parse(text).unwrap());
    let put = |key| {
        let verdict = Verdict::Listed(Ipv4Addr::new(127, 0, 0, 7));
        Change::Put(Entry { key, verdict, text: "by command".into(), expires: 0, made: 0, by: "".into(), why: "".into() })
    };
    overlay.apply(keys.map(put)).unwrap();
    Arc::new(overlay)
}

#[test]
#[allow(clippy::cast_precision_loss)] // figures for people
fn an_address_takes_four_bytes_and_a_name_its_own_and_twelve_and_a_look_up_nothing() {
    let mut state = 7;
    let mut addresses: Vec<u32> = (0..1_000_000).map(|_| u32::try_from(next(&mut state) & 0xffff_ffff).unwrap()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut text = ":127.0.0.2:Listed, see http://bl.example/$\n".to_owned();
    for address in &addresses {
        text += &Ipv4Addr::from_bits(*address).to_string();
        text.push('\n');
    }
    let (list, bytes) = load(ListKind::Ip4Set, &text);
    let each = bytes as f64 / addresses.len() as f64;
    println!("{} addresses: {bytes} bytes, {each:.2} each", addresses.len());
    assert!(each <= 4.0);
    let list = list.with_overlay(overlay());
    let probes: Vec<IpAddr> =
        (0..2000_u32).map(|probe| Ipv4Addr::from_bits(addresses[probe as usize * 400] + probe % 3).into()).collect();
    let reversed = |address: &IpAddr| {
        let reverse = postring_dns::name::reverse(*address).to_string();
        Name::absolute(&reverse.replace("in-addr.arpa", "bl.example")).unwrap()
    };
    let mut names: Vec<Name> = probes.iter().map(reversed).collect();
    for name in ["bl.example", "127.bl.example", "2.0.0.127.bl.example", "9.113.0.203.bl.example", "8.113.0.203.bl.example"] {
        names.push(Name::absolute(name).unwrap());
    }
    let mut hits = 0;
    let made = allocations(|| hits = probes.iter().filter(|probe| black_box(list.listed_address(**probe)).is_some()).count());
    assert_eq!((made, hits > 500 && hits < 1500), (0, true), "{hits}");
    assert_eq!(allocations(|| assert!(ask(&list, &names) > 100_000)), 0);

    let (mut text, mut octets) = (":127.0.0.2:Listed domain $\n".to_owned(), 0);
    let mut domains = Vec::new();
    for _ in 0..500_000 {
        let length = 6 + next(&mut state) % 11;
        let label: String = (0..length)
            .map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[usize::try_from(next(&mut state) % 36).unwrap()]))
            .collect();
        let domain = format!("{label}.{}", ["com", "net", "org", "xyz", "info"][usize::try_from(next(&mut state) % 5).unwrap()]);
        text += &format!("{domain}\n.{domain}\n");
        octets += domain.len();
        if domains.len() < 2000 {
            domains.push(domain);
        }
    }
    let (list, bytes) = load(ListKind::DnSet, &text);
    let each = (bytes as f64 - octets as f64) / 500_000.0;
    println!("500000 names: {bytes} bytes, name + {each:.2} each");
    assert!(each <= 12.0);
    let list = list.with_overlay(overlay());
    let mut keys: Vec<Name> = Vec::new();
    for domain in &domains {
        keys.extend([domain.clone(), format!("www.{domain}"), format!("no-{domain}")].map(|name| Name::absolute(&name).unwrap()));
    }
    let mut hits = 0;
    let made = allocations(|| hits = keys.iter().filter(|key| black_box(list.listed_key(key.wire())).is_some()).count());
    assert_eq!((made, hits), (0, 4000));
    let mut names: Vec<Name> = keys.iter().map(|key| Name::absolute(&format!("{key}bl.example")).unwrap()).collect();
    names.push(Name::absolute("x.changed.example.bl.example").unwrap());
    assert_eq!(allocations(|| assert!(ask(&list, &names) > 100_000)), 0);
}
