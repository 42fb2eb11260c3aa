use super::*;
use proptest::prelude::*;

const PIECES: [&str; 40] = [
    "192.0.2.",
    "10",
    "1",
    "255",
    "256",
    ".",
    "-",
    "/",
    "24",
    "0",
    "33",
    "!",
    ":",
    "::",
    "2",
    "127.0.0.2",
    " ",
    "\t",
    "#",
    ";",
    "$",
    "$1",
    "$=",
    "$TTL",
    "$SOA",
    "$NS",
    "$MAXRANGE4",
    "$TIMESTAMP",
    "$DATASET",
    "ip4set",
    "dnset",
    "generic",
    "@",
    "a",
    "*.",
    "example",
    "TXT",
    "MX",
    "\\",
    "\n",
];

proptest! {
    #[test]
    fn any_file_is_harmless(kind: u8, pieces in proptest::collection::vec(0..PIECES.len(), 0..40)) {
        let mut data = vec![kind];
        pieces.iter().for_each(|piece| data.extend_from_slice(PIECES[*piece].as_bytes()));
        fuzz_list_file(&data);
    }

    #[test]
    fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..80)) {
        fuzz_list_file(&data);
        fuzz_journal(&data);
    }
}

#[test]
fn what_was_changed_by_command_comes_first() {
    let origin = Name::absolute("bl.example").unwrap();
    let overlay = Arc::new(Overlay::new());
    let list = BlockList::parse(&origin, ListKind::Ip4Set, Path::new("list"), &mut |_| Ok("192.0.2.0/24 :3:file\n".to_owned()));
    let list = list.unwrap().with_overlay(Arc::clone(&overlay));
    let ask = |name: &str| {
        let answer = list.answer(&Name::absolute(&format!("{name}.bl.example")).unwrap(), Rtype::A);
        let ttl = answer.answer.first().map(|placed| placed.set.ttl);
        format!("{} {ttl:?} {:?}", answer.rcode, answer.answer.first().map(|placed| placed.set.rdata.clone()))
    };
    let said =
        |address: [u8; 4]| list.listed_address(address.into()).map(|listing| (listing.address.octets()[3], listing.text()));
    assert_eq!((said([192, 0, 2, 1]), said([198, 51, 100, 1])), (Some((3, "file".to_owned())), None));
    assert_eq!(ask("51.198"), "NXDOMAIN None None");
    overlay.set_now(1000);
    let put = |text: &str, verdict, expires| {
        let key = Key::parse(text).unwrap().pop().unwrap();
        Change::Put(Entry { key, verdict, text: "command".into(), expires, made: 1000, by: "a".into(), why: "b".into() })
    };
    let listed = Verdict::Listed([127, 0, 0, 9].into());
    overlay.apply([put("192.0.2.1", Verdict::Hidden, 0), put("198.51.100.0/24", listed, 1060)]).unwrap();
    assert_eq!((said([192, 0, 2, 1]), said([198, 51, 100, 1])), (None, Some((9, "command".to_owned()))));
    assert_eq!(ask("1.2.0.192"), "NXDOMAIN None None");
    assert_eq!(ask("2.2.0.192"), "NOERROR Some(2100) Some([[127, 0, 0, 3]])");
    // Not kept longer than the entry holds.
    assert_eq!(ask("7.100.51.198"), "NOERROR Some(60) Some([[127, 0, 0, 9]])");
    assert_eq!(ask("51.198"), "NOERROR None None");
    let (hidden, file) = (Key::parse("192.0.2.1").unwrap().pop().unwrap(), Key::parse("203.0.113.1").unwrap().pop().unwrap());
    assert_eq!((list.file_lists(&hidden), list.file_lists(&file)), (true, false));
    assert_eq!(overlay.purge(1060), 1);
    assert_eq!(said([198, 51, 100, 1]), None);
}
