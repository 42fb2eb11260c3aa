//! Two of us: a primary and its secondary, with transfers, notifications and updates under a key, over restarts; and what role `send` knows of
//! the zones of both.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::System;
use common::dns::{add, add_text, ask, serial};
use postring_dns::{Rcode, Rtype};

const KEY: &str = "hmac-sha256:shared:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const ZONE: &str = "$TTL 300\n@ SOA ns h 1 3600 600 864000 300\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.1\n";
const ZONES: [(&str, &str); 2] = [("moving.example", ""), ("signed.example", "dnssec = \"nsec3\"\n")];

fn key_table() -> String {
    let [algorithm, name, secret] = KEY.split(':').collect::<Vec<_>>().try_into().unwrap();
    format!("\n[[dns.key]]\nname = \"{name}\"\nalgorithm = \"{algorithm}\"\nsecret = \"{secret}\"\n")
}

/// Both, neither started: each must know the other's port.
fn pair() -> (System, System) {
    let (primary, secondary) = (System::init(), System::init_domain("second.example"));
    let (from, to) = (primary.dns(), secondary.dns());
    for system in [&primary, &secondary] {
        system.append_config(&key_table());
    }
    for (zone, signing) in ZONES {
        primary.write_dns(&format!("{zone}.zone"), ZONE);
        primary.append_config(&format!(
            "\n[[dns.zone]]\nname = \"{zone}\"\nfile = \"dns/{zone}.zone\"\nkey = \"shared\"\ntransfer_to = [\"key:shared\"]\nnotify = [\"{to}\"]\nupdate_keys = [\"shared\"]\n{signing}"
        ));
        secondary.append_config(&format!(
            "\n[[dns.zone]]\nname = \"{zone}\"\nprimaries = [\"{from}\"]\nkey = \"shared\"\ntransfer_to = [\"key:shared\"]\n"
        ));
    }
    (primary, secondary)
}

fn has(system: &System, name: &str) -> bool {
    ask(system.dns(), name, Rtype::TXT, "do").data(Rtype::TXT).len() == 1
}

/// Lines of the log that say what was given to whom: "ZONE was given: TYPE ...".
fn given(system: &System, zone: &str, rtype: &str) -> usize {
    let said = format!("{zone}. was given: {rtype} ");
    system.log().lines().filter(|line| line.contains(&said)).count()
}

#[test]
fn a_secondary_follows_over_restarts() {
    let (mut primary, mut secondary) = pair();
    primary.up();
    secondary.up();
    for (zone, _) in ZONES {
        secondary.wait("the copy", || serial(secondary.dns(), zone).is_some());
        assert_eq!(serial(secondary.dns(), zone), serial(primary.dns(), zone));
        assert_eq!(given(&primary, zone, "AXFR"), 1);
        // A change under the key, told at once, taken by differences, the signed zone's as well.
        for text in ["one", "two"] {
            let name = format!("{text}.{zone}");
            assert!(!has(&secondary, &name));
            assert_eq!(add_text(primary.dns(), zone, &name, text, KEY), Rcode::NOERROR);
            assert!(has(&primary, &name), "what is acknowledged is served");
            secondary.wait("the change", || has(&secondary, &name));
        }
        assert_eq!((given(&primary, zone, "AXFR"), given(&primary, zone, "IXFR")), (1, 2), "{}", primary.log());
        assert_eq!(serial(secondary.dns(), zone), serial(primary.dns(), zone));
        // A secondary is not changed, and a stranger's key changes nothing.
        assert_eq!(add_text(secondary.dns(), zone, &format!("three.{zone}"), "three", KEY), Rcode::REFUSED);
        // The file, edited: told at once as well, and what was changed by update is in it or gone.
        primary.write_dns(&format!("{zone}.zone"), &format!("{}four TXT four\n", ZONE.replace(" h 1 ", " h 100 ")));
        primary.run(&["dns", "zone", "reload", zone]);
        secondary.wait("the edited file", || has(&secondary, &format!("four.{zone}")));
        assert!(!has(&secondary, &format!("one.{zone}")));
        assert_eq!((given(&primary, zone, "AXFR"), given(&primary, zone, "IXFR")), (1, 3), "{}", primary.log());
    }
    let signed = |system: &System| ask(system.dns(), "www.signed.example", Rtype::A, "do").data(Rtype::RRSIG);
    assert_eq!(signed(&secondary), signed(&primary));
    assert_eq!(signed(&secondary).len(), 1);
    let denied = |system: &System| ask(system.dns(), "none.signed.example", Rtype::A, "do").authority(Rtype::NSEC3);
    assert_eq!(denied(&secondary), denied(&primary));
    assert!(denied(&secondary).len() >= 2, "{:?}", denied(&secondary));

    // The primary is gone, and the secondary starts again: it has its copies.
    primary.down();
    secondary.down();
    secondary.up();
    for (zone, _) in ZONES {
        assert!(has(&secondary, &format!("four.{zone}")));
    }
    // A change while it was away is fetched when it is back.
    secondary.down();
    primary.up();
    for (zone, _) in ZONES {
        assert_eq!(add_text(primary.dns(), zone, &format!("five.{zone}"), "five", KEY), Rcode::NOERROR);
    }
    secondary.up();
    for (zone, _) in ZONES {
        secondary.wait("what it has missed", || has(&secondary, &format!("five.{zone}")));
    }
    // Changes by update are in the journal.
    primary.down();
    primary.up();
    assert!(ZONES.iter().all(|(zone, _)| has(&primary, &format!("five.{zone}"))));
}

/// Mail waits for a host nobody listens at, and goes to the one that an update names later: on the primary, and on the secondary whose zone
/// was not even there when it started.
#[test]
fn mail_goes_where_changed_and_copied_zones_say() {
    let (mut primary, mut secondary) = pair();
    let mut sink = System::init_domain("moving.example");
    sink.up();
    for system in [&primary, &secondary] {
        // Nobody is asked: what is not here cannot be found.
        system.append_config(&format!(
            "\n[dns]\nforwarders = []\n\n[send]\nport = {}\nloopback = true\nretry_seconds_min = 1\nretry_seconds_max = 2\n",
            sink.base + 25
        ));
        // Role send is another user then, and reads what role edge keeps.
        if rustix::process::geteuid().is_root() {
            system.append_config(common::USERS);
        }
    }
    primary.write_dns("moving.example.zone", &format!("{ZONE}@ MX 10 nobody\nnobody A 127.0.0.9\n"));
    secondary.up();
    for system in [&mut primary, &mut secondary] {
        if system.pids().is_empty() {
            system.up();
        }
        let address = format!("out@{}", system.domain);
        system.run(&["alias", "add", &address, "alice@moving.example"]);
        let reply = system.smtp().send(&[&address], b"Subject: x\n\nx\n").unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    }
    primary.wait("a first attempt", || primary.log().contains("put off"));
    assert_eq!(sink.inbox("alice").len(), 0);
    let mx = [&[0, 5], postring_dns::Name::absolute("ns.moving.example").unwrap().wire()].concat();
    assert_eq!(add(primary.dns(), "moving.example", "moving.example", Rtype::MX, &mx, KEY), Rcode::NOERROR);
    sink.wait("the mail of both", || sink.inbox("alice").len() == 2);
}
