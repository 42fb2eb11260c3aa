//! Zones between us and NSD and Knot, each as primary and as secondary of the other: transfers, notifications, updates, all under a key.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::System;
use common::dns::{ask, serial};
use common::peers::{Peer, tool, wanted};
use postring_dns::{Rcode, Rtype};
use rustix::process::Signal;
use std::net::SocketAddr;

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const KEY_TABLE: &str =
    "\n[[dns.key]]\nname = \"shared\"\nalgorithm = \"hmac-sha256\"\nsecret = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n";

fn zone_text(serial: u32, more: &str) -> String {
    format!("$TTL 300\n@ SOA ns h {serial} 3600 15 3600 300\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.1\n{more}")
}

/// How a peer is told what to be.
#[derive(Clone, Copy)]
enum Kind {
    Nsd,
    Knot,
}

/// What it is to `other`.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Primary,
    Secondary,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Nsd => "nsd",
            Self::Knot => "knotd",
        }
    }

    fn up(self, peer: &mut Peer) {
        match self {
            Self::Nsd => peer.up(&["-d"]),
            Self::Knot => peer.up(&[]),
        }
    }

    fn configuration(self, peer: &Peer, part: Part, other: SocketAddr, zones: &[&str]) -> String {
        let folder = peer.folder.path().display();
        let (us, port) = (peer.address.port(), other.port());
        match self {
            Self::Nsd => {
                let mut text = format!(
                    "server:\n ip-address: 127.0.0.1@{us}\n username: \"\"\n chroot: \"\"\n server-count: 1\n zonesdir: \"{folder}\"\n database: \"\"\n pidfile: \"{folder}/pid\"\n xfrdfile: \"{folder}/xfrd\"\n xfrdir: \"{folder}\"\n zonelistfile: \"{folder}/list\"\n cookie-secret-file: \"{folder}/cookies\"\nremote-control:\n control-enable: no\nkey:\n name: shared\n algorithm: hmac-sha256\n secret: \"{SECRET}\"\n"
                );
                for zone in zones {
                    text += &format!("zone:\n name: {zone}\n zonefile: {zone}.zone\n");
                    text += &match part {
                        Part::Secondary => format!(
                            " request-xfr: 127.0.0.1@{port} shared\n allow-notify: 127.0.0.1 shared\n provide-xfr: 127.0.0.1 NOKEY\n"
                        ),
                        Part::Primary => format!(
                            " provide-xfr: 127.0.0.1 shared\n notify: 127.0.0.1@{port} shared\n store-ixfr: yes\n create-ixfr: yes\n"
                        ),
                    };
                }
                text
            }
            Self::Knot => {
                let (master, acl) = match part {
                    Part::Secondary => ("   master: other\n", "[hears, gives]"),
                    Part::Primary => ("   notify: other\n   zonefile-load: difference\n", "[gives-to-key]"),
                };
                let mut text = format!(
                    "server:\n   rundir: \"{folder}\"\n   listen: 127.0.0.1@{us}\nlog:\n - target: stderr\n   any: info\ndatabase:\n   storage: \"{folder}\"\nkey:\n - id: shared\n   algorithm: hmac-sha256\n   secret: {SECRET}\nremote:\n - id: other\n   address: 127.0.0.1@{port}\n   key: shared\nacl:\n - id: hears\n   key: shared\n   action: notify\n - id: gives\n   address: 127.0.0.1\n   action: transfer\n - id: gives-to-key\n   key: shared\n   action: transfer\nzone:\n"
                );
                for zone in zones {
                    text +=
                        &format!(" - domain: {zone}\n   storage: \"{folder}\"\n   file: {zone}.zone\n{master}   acl: {acl}\n");
                }
                text
            }
        }
    }
}

/// A change by nsupdate, under the key.
fn nsupdate(server: SocketAddr, zone: &str, change: &str) {
    let script = format!("server 127.0.0.1 {}\nzone {zone}\nupdate {change}\nsend\n", server.port());
    let (good, said) = tool("nsupdate", &["-y", &format!("hmac-sha256:shared:{SECRET}")], &script);
    assert!(good, "nsupdate: {said}");
}

fn transfer(server: SocketAddr, zone: &str) -> String {
    let port = server.port().to_string();
    let (good, text) = tool("dig", &["@127.0.0.1", "-p", &port, "+noall", "+answer", "+onesoa", "+tries=1", zone, "AXFR"], "");
    assert!(good && text.contains("SOA"), "{text}");
    text
}

fn text_at(server: SocketAddr, name: &str) -> usize {
    ask(server, name, Rtype::TXT, "do").data(Rtype::TXT).len()
}

/// They copy from us: whole, then by differences after a NOTIFY, the signed zone's signatures included.
fn secondary_of_ours(kind: Kind) {
    if !wanted(&[kind.program(), "nsupdate", "dig", "ldns-verify-zone"]) {
        return;
    }
    let zones = ["moving.example", "signed.example"];
    let (mut peer, mut system) = (Peer::new(kind.program()), System::init());
    system.append_config(KEY_TABLE);
    for zone in zones {
        system.write_dns(&format!("{zone}.zone"), &zone_text(1, ""));
        let signing = if zone.starts_with("signed") { "dnssec = \"nsec3\"\n" } else { "" };
        system.append_config(&format!(
            "\n[[dns.zone]]\nname = \"{zone}\"\nfile = \"dns/{zone}.zone\"\nkey = \"shared\"\ntransfer_to = [\"key:shared\"]\nnotify = [\"{}\"]\nupdate_keys = [\"shared\"]\n{signing}",
            peer.address
        ));
    }
    system.up();
    peer.write("conf", &kind.configuration(&peer, Part::Secondary, system.dns(), &zones));
    kind.up(&mut peer);
    let given = |zone: &str, rtype: &str| {
        let said = format!("{zone}. was given: {rtype} ");
        system.log().lines().filter(|line| line.contains(&said)).count()
    };
    for zone in zones {
        peer.wait("the first transfer", || serial(peer.address, zone) == serial(system.dns(), zone));
        let whole = given(zone, "AXFR");
        nsupdate(system.dns(), zone, &format!("add one.{zone} 300 TXT one"));
        assert_eq!(text_at(system.dns(), &format!("one.{zone}")), 1);
        peer.wait("what nsupdate has added", || text_at(peer.address, &format!("one.{zone}")) == 1);
        nsupdate(system.dns(), zone, &format!("delete www.{zone}"));
        let gone = || ask(peer.address, &format!("www.{zone}"), Rtype::A, "do").rcode() == Rcode::NXDOMAIN;
        peer.wait("what nsupdate has deleted to be gone", gone);
        // By the file, which is edited.
        system.write_dns(&format!("{zone}.zone"), &zone_text(100, "two TXT two\n"));
        system.run(&["dns", "zone", "reload", zone]);
        peer.wait("the edited file", || text_at(peer.address, &format!("two.{zone}")) == 1);
        assert!(given(zone, "IXFR") >= 3 && given(zone, "AXFR") == whole, "{}\n{}", system.log(), peer.log());
        assert_eq!(serial(peer.address, zone), serial(system.dns(), zone));
    }
    // What they have put together from differences is a zone whose signatures and proofs are whole.
    peer.write("transfer", &transfer(peer.address, "signed.example"));
    let (good, said) = tool("ldns-verify-zone", &["-V", "3", &peer.path("transfer")], "");
    assert!(good && said.contains("verified and complete"), "{said}");
}

#[test]
fn nsd_copies_from_us() {
    secondary_of_ours(Kind::Nsd);
}

#[test]
fn knot_copies_from_us() {
    secondary_of_ours(Kind::Knot);
}

/// We copy from them: whole, then by differences after a NOTIFY; what is too old is not served after a restart, and is when they are back.
fn primary_of_ours(kind: Kind) {
    if !wanted(&[kind.program()]) {
        return;
    }
    let zone = "theirs.example";
    let (mut peer, mut system) = (Peer::new(kind.program()), System::init());
    system.append_config(KEY_TABLE);
    system.append_config(&format!("\n[[dns.zone]]\nname = \"{zone}\"\nprimaries = [\"{}\"]\nkey = \"shared\"\n", peer.address));
    peer.write("conf", &kind.configuration(&peer, Part::Primary, system.dns(), &[zone]));
    peer.write(&format!("{zone}.zone"), &zone_text(1, ""));
    kind.up(&mut peer);
    peer.wait("it to serve", || serial(peer.address, zone) == Some(1));
    system.up();
    system.wait("the first transfer", || serial(system.dns(), zone) == Some(1));
    assert!(system.log().contains("version 1 came from") && system.log().contains(" whole, 4 records"), "{}", system.log());
    for version in [2, 3] {
        peer.write(&format!("{zone}.zone"), &zone_text(version, &format!("new TXT \"version {version}\"\n")));
        peer.signal(Signal::HUP);
        system.wait("the new version", || serial(system.dns(), zone) == Some(version));
        let text = ask(system.dns(), &format!("new.{zone}"), Rtype::TXT, "").data(Rtype::TXT);
        assert_eq!(text, [format!("\"version {version}\"")]);
    }
    assert!(system.log().contains("says there is a new version"), "{}", system.log());
    assert!(
        system.log().contains("version 3 came from") && system.log().contains(" by differences, 5 records"),
        "{}",
        system.log()
    );

    // A copy is served over a restart without its primary.
    peer.down();
    system.down();
    system.up();
    assert_eq!(serial(system.dns(), zone), Some(3));
    // But not longer than its SOA says (an hour).
    system.down();
    let copy = std::fs::File::options().write(true).open(system.data().join(format!("dns/zones/{zone}.zone"))).unwrap();
    copy.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3700)).unwrap();
    system.up();
    system.wait("the expiry", || ask(system.dns(), zone, Rtype::SOA, "").rcode() == Rcode::SERVFAIL);
    kind.up(&mut peer);
    system.wait("its return", || serial(system.dns(), zone) == Some(3));
}

#[test]
fn we_copy_from_nsd() {
    primary_of_ours(Kind::Nsd);
}

#[test]
fn we_copy_from_knot() {
    primary_of_ours(Kind::Knot);
}
