//! DNS of the running system: zones and lists on port 53, the lists at connect, names in Received fields, and what a bad file does.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{System, postring};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;

const A: u16 = 1;
const NS: u16 = 2;
const PTR: u16 = 12;
const MX: u16 = 15;
const TXT: u16 = 16;

fn query(name: &str, rtype: u16) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&rtype.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet
}

/// Header flags and number of answers.
fn ask(system: &System, name: &str, rtype: u16) -> (u16, u16, Vec<u8>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(common::WAIT)).unwrap();
    socket.send_to(&query(name, rtype), ("127.0.0.1", system.base + 53)).unwrap();
    let mut packet = vec![0; 1500];
    let length = socket.recv(&mut packet).unwrap();
    packet.truncate(length);
    let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    assert_eq!(word(0), 0x1234);
    (word(2) & 0x040f, word(6), packet)
}

const AUTHORITATIVE: u16 = 0x0400;
const NXDOMAIN: u16 = 3;

fn ask_tcp(system: &System, name: &str, rtype: u16) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", system.base + 53)).unwrap();
    stream.set_read_timeout(Some(common::WAIT)).unwrap();
    let query = query(name, rtype);
    stream.write_all(&[&(query.len() as u16).to_be_bytes(), &query[..]].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut packet = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut packet).unwrap();
    packet
}

/// The first line a client from this address hears.
fn greeting(system: &System, from: &str) -> String {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&format!("{from}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], system.base + 25)).into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(common::WAIT)).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn zones_lists_and_clients() {
    let mut system = System::init();
    let dns = system.folder.path().join("p/dns");
    let list = dns.join("blocked.ip4set");
    std::fs::write(&list, ":127.0.0.2:go away, $\n127.0.0.2\n127.0.66.0/24\n!127.0.66.7\n").unwrap();
    std::fs::write(
        dns.join("reverse.zone"),
        "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns.test.example.\n5 PTR five.test.example.\n6 PTR liar.test.example.\n",
    )
    .unwrap();
    system.append_config(
        "\n[[dns.zone]]\nname = \"0.0.127.in-addr.arpa\"\nfile = \"dns/reverse.zone\"\n\n[[dns.host]]\nname = \"printer.lan\"\naddress = \"192.0.2.99\"\n",
    );
    let zone = dns.join("test.example.zone");
    let good = std::fs::read_to_string(&zone).unwrap();
    std::fs::write(&zone, format!("{good}five A 127.0.0.5\n")).unwrap();
    system.up();

    assert_eq!(ask(&system, "test.example", MX).0, AUTHORITATIVE);
    assert_eq!(ask(&system, "TEST.example", MX).1, 1);
    assert_eq!(ask(&system, "no.test.example", A).0, AUTHORITATIVE | NXDOMAIN);
    assert_eq!(ask(&system, "blocked.test.example", NS).0, AUTHORITATIVE);
    assert_eq!(ask(&system, "9.66.0.127.blocked.test.example", A).1, 1);
    assert_eq!(ask(&system, "7.66.0.127.blocked.test.example", A).0, AUTHORITATIVE | NXDOMAIN);
    assert!(
        ask(&system, "9.66.0.127.blocked.test.example", TXT)
            .2
            .windows(11)
            .any(|text| text == b"127.0.66.9 "[..10].as_ref() || text == b", 127.0.66.")
    );
    assert_eq!(ask(&system, "printer.lan", A).1, 1);
    assert_eq!(ask(&system, "5.0.0.127.in-addr.arpa", PTR).1, 1);
    let tcp = ask_tcp(&system, "test.example", MX);
    assert_eq!(u16::from_be_bytes([tcp[6], tcp[7]]), 1);

    // A client on the list hears why and is gone; its neighbour that is excluded is welcome.
    let refused = greeting(&system, "127.0.66.9");
    assert!(
        refused.starts_with("554 5.7.1 Client [127.0.66.9] is blocked by blocked.test.example: go away, 127.0.66.9"),
        "{refused}"
    );
    assert!(greeting(&system, "127.0.66.7").starts_with("220 "));
    assert_eq!(system.status().unwrap()["counters"]["block_list_hits_total"], 1);

    // The client's name stands in the Received field if it leads back to its address.
    for (from, name) in [("127.0.0.5", "five.test.example"), ("127.0.0.6", "unknown")] {
        let before = system.inbox("alice").len();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&format!("{from}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], system.base + 25)).into()).unwrap();
        let mut smtp = common::Smtp::over(socket.into()).unwrap();
        assert!(smtp.send(&["alice@test.example"], b"Subject: x\n\nx\n").unwrap().starts_with("250"));
        system.wait("the file", || system.inbox("alice").len() > before);
        let newest = system.inbox("alice").pop().unwrap();
        let text = std::fs::read_to_string(newest).unwrap();
        assert!(text.contains(&format!("({name} [{from}])")), "{text}");
    }

    // A broken zone: the reload says where, and the one before is served on.
    std::fs::write(&zone, format!("{good}bad A 1.2.3\n")).unwrap();
    let output = postring(&["reload", "--config", &system.config()]);
    let error = String::from_utf8(output.stderr).unwrap();
    let line = good.lines().count() + 1;
    assert!(!output.status.success() && error.contains(&format!("test.example.zone:{line}: \"1.2.3\"")), "{error}");
    assert_eq!(ask(&system, "five.test.example", A).1, 1);
    // A good one is taken without a restart; and so is another list.
    std::fs::write(&zone, format!("{good}six A 127.0.0.6\n")).unwrap();
    std::fs::write(&list, "127.0.77.1\n").unwrap();
    assert!(postring(&["reload", "--config", &system.config()]).status.success());
    system.wait("the new zone", || ask(&system, "six.test.example", A).1 == 1);
    assert_eq!(ask(&system, "five.test.example", A).0, AUTHORITATIVE | NXDOMAIN);
    assert!(greeting(&system, "127.0.77.1").starts_with("554 "));
    assert!(greeting(&system, "127.0.66.9").starts_with("220 "));

    // A broken zone at start is one clear line.
    std::fs::write(&zone, "$TTL x\n").unwrap();
    for command in ["check", "up"] {
        let mut other = vec![command, "--config"];
        let config = system.config();
        other.push(&config);
        if command == "up" {
            system.down();
        }
        let output = postring(&other);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains("test.example.zone:1: "), "{command}: {error}");
    }
}

#[test]
fn strangers_get_no_recursion_and_forwarders_are_asked_once() {
    let mut upstream = System::init_domain("up.example");
    upstream.up();
    let mut system = System::init();
    system.append_config(&format!("\n[dns]\nforwarders = [\"127.0.0.1:{}\"]\n", upstream.base + 53));
    system.up();
    for _ in 0..3 {
        let (flags, answers, _) = ask(&system, "up.example", MX);
        assert_eq!((flags, answers), (0, 1));
    }
    assert_eq!(ask(&system, "none.up.example", A).0, NXDOMAIN);
    system.wait("the counters", || {
        let counters = &system.status().unwrap()["counters"];
        counters["dns_forwards_total"] == 2 && counters["dns_queries_total"] == 4 && counters["dns_answers_total"] == 4
    });
    let config = std::fs::read_to_string(system.config()).unwrap();
    std::fs::write(system.config(), config.replace("[dns]\n", "[dns]\nrecursion = []\n")).unwrap();
    assert!(postring(&["reload", "--config", &system.config()]).status.success());
    const REFUSED: u16 = 5;
    system.wait("the refusal", || ask(&system, "up.example", MX).0 == REFUSED);
}

/// dig, over UDP and TCP, with and without EDNS.
#[test]
fn dig_understands_it() {
    if std::env::var_os("POSTRING_INTEROP").is_none() {
        return;
    }
    let system = System::start();
    let dig = |words: &[&str]| {
        let port = (system.base + 53).to_string();
        let output = Command::new("dig").args(["@127.0.0.1", "-p", &port, "+tries=1"]).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for transport in ["+notcp", "+tcp", "+noedns", "+bufsize=512"] {
        let text = dig(&[transport, "test.example", "MX"]);
        assert!(
            text.contains("status: NOERROR") && text.contains("flags: qr aa rd") && text.contains("10 mx.test.example."),
            "{text}"
        );
        assert!(!text.contains("WARNING: Message parser"), "{text}");
    }
    assert!(dig(&["-x", "127.0.0.1"]).contains("status: N"));
    assert!(dig(&["2.0.0.127.blocked.test.example", "TXT"]).contains("this is the entry for tests"));
    assert!(dig(&["test.example", "AXFR"]).contains("Transfer failed"));
    assert!(dig(&["+edns=1", "+noednsneg", "test.example", "SOA"]).contains("BADVERS"));
}

#[test]
fn what_is_set_by_command_is_seen_at_once_and_kept_over_a_restart() {
    let mut system = System::init();
    system.append_config("\n[[dns.key]]\nname = \"k\"\nsecret = \"MDEyMzQ1Njc4OWFiY2RlZg==\"\n");
    let zone = "\n[[dns.zone]]\nname = \"signed.example\"\nfile = \"dns/signed.zone\"\ndnssec = \"nsec\"\ntransfer_to = [\"127.0.0.1\"]\n";
    system.append_config(zone);
    let text = "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\nns A 192.0.2.1\n";
    std::fs::write(system.folder.path().join("p/dns/signed.zone"), text).unwrap();
    system.up();
    system.wait_ready();
    let config = system.config();
    let run = |arguments: &[&str]| {
        let output = postring(&[arguments, &["--config", &config]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = |system: &System| ask(system, "9.66.0.127.blocked.test.example", A).1;
    assert_eq!(listed(&system), 0);
    run(&["block", "add", "127.0.66.9", "--why", "a test"]);
    assert_eq!(listed(&system), 1);
    assert!(greeting(&system, "127.0.66.9").starts_with("554 5.7.1"));
    assert!(run(&["block", "list"]).contains("127.0.66.9"));

    run(&["domain", "add", "second.example"]);
    system.wait("the domain's zone", || ask(&system, "second.example", MX).1 == 1);
    assert!(run(&["domain", "records", "second.example"]).contains("_domainkey IN TXT \"v=DKIM1; k=ed25519"));
    assert!(run(&["dns", "zone", "keys", "signed.example"]).contains("ECDSAP256SHA256"));
    assert!(run(&["dns", "zone", "list"]).contains("signed.example."));
    // SOA, what there is, the keys, the chain and all signatures, SOA.
    let transfer = ask_tcp(&system, "signed.example", 252);
    assert!(u16::from_be_bytes([transfer[6], transfer[7]]) > 10, "{transfer:?}");

    system.down();
    system.up();
    system.wait_ready();
    assert_eq!(listed(&system), 1);
    let output = postring(&["block", "del", "127.0.66.9", "--config", &system.config()]);
    assert!(output.status.success());
    assert_eq!(listed(&system), 0);
}
