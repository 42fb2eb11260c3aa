//! A root, its signed, unsigned and broken children served by one Postring, and another that resolves and validates from that root.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::System;
use common::dns::{Answer, ask, ds_of};
use postring_dns::{Rcode, Rtype};

const CHILD: &str =
    "$TTL 300\n@ SOA ns h 1 3600 600 864000 300\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.1\n*.wild A 192.0.2.2\nalias CNAME www\n";

/// Zone, and what its `[[dns.zone]]` says of signing.
const CHILDREN: [(&str, &str); 5] = [
    ("signed", "dnssec = \"nsec\""),
    ("hashed", "dnssec = \"nsec3\"\nalgorithm = \"ed25519\""),
    ("bogus", "dnssec = \"nsec\""),
    ("unhooked", "dnssec = \"nsec\""),
    ("plain", ""),
];

/// Another digest of the same length: the last digit is another.
fn spoil(ds: &str) -> String {
    let (rest, last) = ds.split_at(ds.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}

/// The root zone; `ds`: its DS records.
fn root(serial: u32, ds: &[String]) -> String {
    let mut text = format!("$TTL 300\n@ SOA a.root. h.root. {serial} 3600 600 864000 300\n@ NS a.root.\na.root. A 127.0.0.1\n");
    for (zone, _) in CHILDREN {
        text += &format!("{zone}. NS ns.{zone}.\nns.{zone}. A 127.0.0.1\n");
    }
    ds.iter().for_each(|ds| text += &format!("{ds}\n"));
    text
}

fn primary() -> System {
    let mut system = System::init();
    system.write_dns("root.zone", &root(1, &[]));
    system.append_config("\n[[dns.zone]]\nname = \".\"\nfile = \"dns/root.zone\"\ndnssec = \"nsec\"\n");
    for (zone, signing) in CHILDREN {
        system.write_dns(&format!("{zone}.zone"), CHILD);
        system.append_config(&format!("\n[[dns.zone]]\nname = \"{zone}\"\nfile = \"dns/{zone}.zone\"\n{signing}\n"));
    }
    system.up();
    let mut ds: Vec<String> = ["signed", "hashed"].iter().flat_map(|zone| ds_of(system.dns(), zone)).collect();
    ds.extend(ds_of(system.dns(), "bogus").iter().map(|ds| spoil(ds)));
    system.write_dns("root.zone", &root(2, &ds));
    system.run(&["dns", "zone", "reload", "."]);
    system
}

fn resolver(primary: &System, anchors: &[String]) -> System {
    let mut system = System::init_domain("resolver.example");
    let server = primary.dns();
    system.append_config(&format!(
        "\n[dns]\nresolver = \"iterate\"\nroot_hints = [\"{server}\"]\nupstream_port = {}\ndo_not_query = []\nipv6 = false\ntrust_anchors = {anchors:?}\n",
        server.port()
    ));
    system.up();
    system
}

/// Asked of the resolver with each of the ways a client may ask, the answer is the same but for what the way says.
fn ask_each_way(resolver: &System, name: &str, rtype: Rtype, rcode: Rcode, secure: bool) -> Answer {
    for (how, authentic, dnssec_ok) in [
        ("noedns", false, None),
        ("", false, Some(false)),
        ("ad", secure, Some(false)),
        ("noedns ad", secure, None),
        ("do", secure, Some(true)),
        ("do tcp", secure, Some(true)),
    ] {
        let answer = ask(resolver.dns(), name, rtype, how);
        assert_eq!(
            (answer.rcode(), answer.authentic, answer.dnssec_ok),
            (rcode, authentic, dnssec_ok),
            "{name} {rtype} asked with \"{how}\": {answer:?}\n{}",
            resolver.log()
        );
        //= RFC 3225 section 3
        //# those RRs MUST NOT be returned in the response (unless DNSSEC security RRs are explicitly queried for)
        let has_signatures = !answer.data(Rtype::RRSIG).is_empty() || !answer.authority(Rtype::RRSIG).is_empty();
        assert_eq!(has_signatures, secure && how.contains("do"), "{name} {rtype} asked with \"{how}\": {answer:?}");
    }
    ask(resolver.dns(), name, rtype, "do")
}

#[test]
fn a_chain_of_trust_from_our_own_root() {
    let primary = primary();
    let anchors = ds_of(primary.dns(), ".");
    let resolver = resolver(&primary, &anchors);
    for zone in ["signed", "hashed"] {
        let name = |label: &str| format!("{label}.{zone}");
        let denial = if zone == "signed" { Rtype::NSEC } else { Rtype::NSEC3 };
        let answer = ask_each_way(&resolver, &name("www"), Rtype::A, Rcode::NOERROR, true);
        assert_eq!(answer.data(Rtype::A), ["192.0.2.1"]);
        let answer = ask_each_way(&resolver, &name("alias"), Rtype::A, Rcode::NOERROR, true);
        assert_eq!(answer.data(Rtype::A), ["192.0.2.1"]);
        let answer = ask_each_way(&resolver, &name("any.wild"), Rtype::A, Rcode::NOERROR, true);
        assert_eq!(answer.data(Rtype::A), ["192.0.2.2"]);
        assert!(!answer.authority(denial).is_empty(), "a wildcard's proof is missing: {answer:?}");
        for (label, rtype, rcode) in
            [("none", Rtype::A, Rcode::NXDOMAIN), ("www", Rtype::MX, Rcode::NOERROR), ("any.wild", Rtype::MX, Rcode::NOERROR)]
        {
            let answer = ask_each_way(&resolver, &name(label), rtype, rcode, true);
            assert!(answer.view.answer.is_empty() && !answer.authority(denial).is_empty(), "{answer:?}");
            assert_eq!(answer.authority(Rtype::SOA).len(), 1, "{answer:?}");
        }
    }
    // The root's own names, and one that is not.
    ask_each_way(&resolver, "a.root", Rtype::A, Rcode::NOERROR, true);
    ask_each_way(&resolver, "nowhere", Rtype::A, Rcode::NXDOMAIN, true);
    // Without signatures, and with signatures nobody above vouches for.
    for zone in ["plain", "unhooked"] {
        for (label, rcode) in [("www", Rcode::NOERROR), ("any.wild", Rcode::NOERROR), ("none", Rcode::NXDOMAIN)] {
            for how in ["", "ad", "do"] {
                let answer = ask(resolver.dns(), &format!("{label}.{zone}"), Rtype::A, how);
                assert_eq!((answer.rcode(), answer.authentic), (rcode, false), "{label}.{zone} \"{how}\": {answer:?}");
            }
        }
    }
    // The DS at the parent is of another key.
    for (label, rcode) in [("www", Rcode::NOERROR), ("none", Rcode::NXDOMAIN)] {
        let name = format!("{label}.bogus");
        for how in ["", "do", "do tcp", "noedns"] {
            let answer = ask(resolver.dns(), &name, Rtype::A, how);
            assert_eq!((answer.rcode(), answer.authentic), (Rcode::SERVFAIL, false), "{name} \"{how}\": {answer:?}");
            assert!(answer.view.answer.is_empty(), "{answer:?}");
        }
        // Who validates itself (CD, RFC 4035 section 3.2.2) is given what there is.
        let unchecked = ask(resolver.dns(), &name, Rtype::A, "do cd");
        assert_eq!((unchecked.rcode(), unchecked.authentic), (rcode, false), "{unchecked:?}");
        let addresses = unchecked.data(Rtype::A);
        assert_eq!(addresses, if rcode == Rcode::NOERROR { vec!["192.0.2.1"] } else { vec![] });
        // And that has not made it good for the others.
        assert_eq!(ask(resolver.dns(), &name, Rtype::A, "do").rcode(), Rcode::SERVFAIL);
    }
}

#[test]
fn another_anchor_makes_everything_bogus_until_it_is_put_right() {
    let primary = primary();
    let right = ds_of(primary.dns(), ".");
    let wrong: Vec<String> = right.iter().map(|ds| spoil(ds)).collect();
    let resolver = resolver(&primary, &wrong);
    for name in ["www.signed", "www.plain", "nowhere"] {
        assert_eq!(ask(resolver.dns(), name, Rtype::A, "").rcode(), Rcode::SERVFAIL, "{name}");
    }
    assert_eq!(ask(resolver.dns(), "www.signed", Rtype::A, "cd").data(Rtype::A), ["192.0.2.1"]);
    let config = std::fs::read_to_string(resolver.config()).unwrap();
    std::fs::write(resolver.config(), config.replace(&format!("{wrong:?}"), &format!("{right:?}"))).unwrap();
    resolver.run(&["reload"]);
    resolver.run(&["dns", "cache", "flush"]);
    resolver.wait("trust in the right anchor", || ask(resolver.dns(), "www.signed", Rtype::A, "ad").authentic);
    assert_eq!(ask(resolver.dns(), "www.plain", Rtype::A, "").rcode(), Rcode::NOERROR);
}

/// A third one validates what a forwarder finds, which is asked with CD and so hides nothing behind its own judgement.
#[test]
fn a_forwarder_is_asked_for_everything_and_believed_in_nothing() {
    let primary = primary();
    let anchors = ds_of(primary.dns(), ".");
    let resolver = resolver(&primary, &anchors);
    let mut system = System::init_domain("forwarding.example");
    let forwarder = resolver.dns();
    system.append_config(&format!("\n[dns]\nforwarders = [\"{forwarder}\"]\nvalidate = true\ntrust_anchors = {anchors:?}\n"));
    system.up();
    for zone in ["signed", "hashed"] {
        for (label, rtype, rcode) in [
            ("www", Rtype::A, Rcode::NOERROR),
            ("any.wild", Rtype::A, Rcode::NOERROR),
            ("www", Rtype::MX, Rcode::NOERROR),
            ("none", Rtype::A, Rcode::NXDOMAIN),
        ] {
            ask_each_way(&system, &format!("{label}.{zone}"), rtype, rcode, true);
        }
    }
    let answer = ask(system.dns(), "www.plain", Rtype::A, "do");
    assert_eq!((answer.rcode(), answer.authentic), (Rcode::NOERROR, false), "{answer:?}");
    let answer = ask(system.dns(), "www.bogus", Rtype::A, "do");
    assert_eq!(answer.rcode(), Rcode::SERVFAIL, "{answer:?}");
    assert_eq!(ask(system.dns(), "www.bogus", Rtype::A, "do cd").data(Rtype::A), ["192.0.2.1"]);
}
