use super::*;
use crate::name::Name;
use proptest::prelude::*;

fn entry(key: Key, verdict: Verdict, expires: u64) -> Entry {
    Entry { key, verdict, text: "".into(), expires, made: 1, by: "a".into(), why: "b".into() }
}

fn put(text: &str, octet: u8, expires: u64) -> Vec<Change> {
    let verdict = if octet == 0 { Verdict::Hidden } else { Verdict::Listed([127, 0, 0, octet].into()) };
    Key::parse(text).unwrap().into_iter().map(|key| Change::Put(entry(key, verdict, expires))).collect()
}

fn address(overlay: &Overlay, text: &str, now: u64) -> Option<Verdict> {
    overlay.find_address(text.parse().unwrap(), now).map(|entry| entry.verdict)
}

fn name(overlay: &Overlay, text: &str) -> Option<Verdict> {
    overlay.find_name(Name::absolute(text).unwrap().wire(), 0).map(|entry| entry.verdict)
}

#[test]
fn the_longest_prefix_that_holds() {
    let overlay = Overlay::new();
    let listed = |octet| Some(Verdict::Listed([127, 0, 0, octet].into()));
    assert_eq!(address(&overlay, "192.0.2.1", 0), None);
    overlay.apply(put("192.0.2.0/24", 3, 0)).unwrap();
    overlay.apply(put("192.0.2.9", 0, 0)).unwrap();
    overlay.apply(put("192.0.2.10", 4, 100)).unwrap();
    overlay.apply(put("2001:db8::/32", 5, 0)).unwrap();
    assert_eq!(address(&overlay, "192.0.2.1", 0), listed(3));
    assert_eq!(address(&overlay, "192.0.2.9", 0), Some(Verdict::Hidden));
    assert_eq!((address(&overlay, "192.0.2.10", 99), address(&overlay, "192.0.2.10", 100)), (listed(4), listed(3)));
    assert_eq!((address(&overlay, "2001:db8::1", 0), address(&overlay, "2001:db9::1", 0)), (listed(5), None));
    assert_eq!(address(&overlay, "::ffff:192.0.2.1", 0), listed(3));
    assert_eq!((overlay.len(), overlay.purge(99), overlay.purge(100), overlay.len(), overlay.now()), (4, 0, 1, 3, 100));
    overlay.apply(Key::parse("192.0.2.9").unwrap().into_iter().map(Change::Forget)).unwrap();
    assert_eq!((address(&overlay, "192.0.2.9", 0), overlay.len()), (listed(3), 2));
    assert_eq!(overlay.iter(0).count(), 2);
}

#[test]
fn names_and_what_is_above_them() {
    let overlay = Overlay::new();
    let below = |text: &str| overlay.has_below(Name::absolute(text).unwrap().wire());
    overlay.apply(put(".zone.example", 3, 0)).unwrap();
    overlay.apply(put("good.zone.example", 0, 0)).unwrap();
    let listed = Some(Verdict::Listed([127, 0, 0, 3].into()));
    assert_eq!((name(&overlay, "zone.example"), name(&overlay, "a.b.zone.example")), (listed, listed));
    assert_eq!((name(&overlay, "good.zone.example"), name(&overlay, "x.good.zone.example")), (Some(Verdict::Hidden), listed));
    assert_eq!((name(&overlay, "example"), name(&overlay, "xzone.example")), (None, None));
    assert_eq!((below("example"), below("zone.example"), below("good.zone.example")), (true, true, false));
    let forget = ["good.zone.example", ".zone.example"].into_iter().flat_map(|text| Key::parse(text).unwrap());
    overlay.apply(forget.map(Change::Forget)).unwrap();
    assert_eq!((overlay.len(), below("example"), name(&overlay, "zone.example")), (0, false, None));
}

#[test]
fn what_is_not_taken() {
    let overlay = Overlay::new();
    let unsound = [
        Key::Ip4(1, 24),
        Key::Ip6(0, 129),
        Key::Name(b"\x01A\0"[..].into(), Scope::Own),
        Key::Name(b"\0"[..].into(), Scope::Own),
    ];
    for key in unsound {
        assert_eq!(overlay.apply([Change::Put(entry(key, Verdict::Hidden, 0))]), Err(OverlayError::Unsound));
    }
    let mut long = entry(Key::Ip4(1, 32), Verdict::Hidden, 0);
    long.why = "x".repeat(256).into();
    assert_eq!(
        overlay.apply([Change::Put(entry(Key::Ip4(2, 32), Verdict::Hidden, 0)), Change::Put(long)]),
        Err(OverlayError::Unsound)
    );
    assert!(overlay.is_empty());
}

#[test]
fn others_see_it_when_apply_returns() {
    let overlay = Overlay::new();
    let turn = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seen = turn.load(Ordering::Acquire);
                    // Everything that was put before the turn was told is there.
                    for octet in 1..=seen {
                        let text = format!("192.0.2.{octet}");
                        assert!(address(&overlay, &text, 0).is_some(), "{text}");
                    }
                    if seen == 200 {
                        return;
                    }
                }
            });
        }
        for octet in 1..=200_u64 {
            overlay.apply(put(&format!("192.0.2.{octet}"), 2, 0)).unwrap();
            turn.store(octet, Ordering::Release);
        }
    });
}

proptest! {
    /// Against a plain map.
    #[test]
    fn as_a_plain_map(changes in proptest::collection::vec((0..20_u32, 28..33_u8, 0..4_u8, 0..3_u64), 0..60)) {
        let overlay = Overlay::new();
        let mut plain: BTreeMap<Key, Entry> = BTreeMap::new();
        for (address, length, octet, expires) in changes {
            let key = Key::Ip4(address & !u32::MAX.checked_shr(length.into()).unwrap_or(0), length);
            if octet == 0 {
                plain.remove(&key);
                overlay.apply([Change::Forget(key)]).unwrap();
            } else {
                let entry = entry(key.clone(), Verdict::Listed([127, 0, 0, octet].into()), expires);
                plain.insert(key, entry.clone());
                overlay.apply([Change::Put(entry)]).unwrap();
            }
            prop_assert_eq!(overlay.len(), plain.len());
            for address in 0..20_u32 {
                let holds = |entry: &&Entry| matches!(entry.key, Key::Ip4(network, length)
                    if network == address & !u32::MAX.checked_shr(length.into()).unwrap_or(0)) && !entry.is_expired(1);
                let expected = plain.values().filter(holds).max_by_key(|entry| match entry.key { Key::Ip4(_, length) => length, _ => 0 });
                let found = overlay.find_address(Ipv4Addr::from_bits(address).into(), 1);
                prop_assert_eq!(found.as_deref(), expected);
            }
        }
    }
}
