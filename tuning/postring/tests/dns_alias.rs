//! ALIAS at the apex of a zone: answered with the addresses another server has for its target, signed, and transferred as addresses.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{System, postring};
use std::process::Command;

fn dig(system: &System, words: &[&str]) -> String {
    let port = (system.base + 53).to_string();
    let output =
        Command::new("dig").args(["@127.0.0.1", "-p", &port, "+tries=3", "+time=10", "+norec"]).args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn interop() -> bool {
    std::env::var_os("POSTRING_INTEROP").is_some()
}

/// The last octets of an A or AAAA answer to a query for it at the apex of `zone`, without tools.
fn ask(system: &System, zone: &str, rtype: u8) -> (u8, Vec<u8>) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(common::WAIT)).unwrap();
    let labels: Vec<u8> = zone.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    let query = [&[0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &labels, &[0, 0, rtype, 0, 1]].concat();
    socket.send_to(&query, ("127.0.0.1", system.base + 53)).unwrap();
    let mut packet = vec![0; 1500];
    let length = socket.recv(&mut packet).unwrap();
    packet.truncate(length);
    // Rcode and count of answers in one.
    (packet[3] & 15 | packet[7] << 4, packet)
}

#[test]
fn the_apex_has_the_addresses_of_its_target() {
    let mut upstream = System::init_domain("cdn.example");
    let zone = upstream.folder.path().join("p/dns/cdn.example.zone");
    let text = std::fs::read_to_string(&zone).unwrap();
    std::fs::write(&zone, format!("{text}web A 192.0.2.7\nweb AAAA 2001:db8::7\nfour CNAME only\nonly 30 A 192.0.2.4\n"))
        .unwrap();
    upstream.up();

    let mut system = System::init();
    let mut config = format!(
        "\n[dns]\nforwarders = [\"127.0.0.1:{}\"]\n\n[[dns.key]]\nname = \"k\"\nsecret = \"MDEyMzQ1Njc4OWFiY2RlZg==\"\n",
        upstream.base + 53
    );
    for (name, target, dnssec) in [
        ("plain.example", "web.cdn.example.", "off"),
        ("nsec.example", "web.cdn.example.", "nsec"),
        ("four.example", "four.cdn.example.", "nsec3"),
        ("lost.example", "gone.cdn.example.", "nsec"),
        ("loop.example", "www", "off"),
        ("ping.example", "pong.example.", "off"),
        ("pong.example", "ping.example.", "off"),
    ] {
        let file = system.folder.path().join(format!("p/dns/{name}.zone"));
        std::fs::write(
            file,
            format!("$TTL 300\n@ SOA ns h 1 60 60 60 60\n NS ns\n ALIAS {target}\nns A 192.0.2.53\nwww CNAME @\n"),
        )
        .unwrap();
        config += &format!(
            "\n[[dns.zone]]\nname = \"{name}\"\nfile = \"dns/{name}.zone\"\ndnssec = \"{dnssec}\"\ntransfer_to = [\"127.0.0.1\"]\n"
        );
    }
    system.append_config(&config);
    let checked = postring(&["dns", "zone", "check", "--config", &system.config()]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    system.up();
    for _ in 0..2 {
        for (zone, rtype, expected) in
            [("plain.example", 1, &[192, 0, 2, 7][..]), ("nsec.example", 28, &[0, 7]), ("four.example", 1, &[192, 0, 2, 4])]
        {
            let (counts, packet) = ask(&system, zone, rtype);
            assert!(counts == 0x10 && packet.ends_with(expected), "{zone}: {packet:?}");
        }
        assert_eq!(ask(&system, "four.example", 28).0, 0, "no address of this kind is no failure");
        assert_eq!(ask(&system, "lost.example", 1).0, 0, "nor is a target that is gone: the apex exists");
        for zone in ["loop.example", "ping.example"] {
            assert_eq!(ask(&system, zone, 1).0, 2, "a loop is a failure");
        }
        assert_eq!(ask(&system, "www.plain.example", 1).0, 0x20);
    }
    if !interop() {
        return;
    }
    let by_key = dig(&system, &["-y", "hmac-sha256:k:MDEyMzQ1Njc4OWFiY2RlZg==", "plain.example", "A"]);
    assert!(by_key.contains("192.0.2.7") && by_key.contains("status: NOERROR"), "{by_key}");
    // What is signed for the moment, and what a secondary is given, is good for others.
    let keys = postring(&["dns", "zone", "keys", "four.example", "--config", &system.config()]);
    assert!(keys.status.success());
    for zone in ["nsec.example", "four.example"] {
        let transferred = dig(&system, &[zone, "AXFR", "+onesoa"]);
        assert!(!transferred.contains("TYPE65401") && transferred.contains("IN\tA\t192.0.2."), "{transferred}");
        let anchors = dig(&system, &[zone, "DNSKEY", "+short"]);
        let key = anchors.lines().find(|line| line.starts_with("257 ")).unwrap().to_owned();
        let file = system.folder.path().join(zone);
        let (fields, octets) = key.split_at(key.match_indices(' ').nth(2).unwrap().0);
        std::fs::write(&file, format!("trust-anchors {{ {zone}. static-key {fields} \"{}\"; }};\n", octets.trim())).unwrap();
        for rtype in ["A", "AAAA", "MX"] {
            let port = (system.base + 53).to_string();
            let output = Command::new("delv")
                .args(["@127.0.0.1", "-p", &port, "-a", file.to_str().unwrap(), &format!("+root={zone}"), zone, rtype])
                .output()
                .unwrap();
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            assert!(text.contains("fully validated"), "{zone} {rtype}: {text}");
        }
    }
    let whole = system.folder.path().join("whole");
    std::fs::write(&whole, dig(&system, &["nsec.example", "AXFR", "+onesoa"])).unwrap();
    let output = Command::new("ldns-verify-zone").arg(&whole).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}
