//! Block lists asked by DNS: what a listed client hears and when, who passes all the same, and that no list can hold mail or refuse it by accident.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{Smtp, System};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const MESSAGE: &[u8] = b"From: <a@far.example>\nTo: <alice@test.example>\nSubject: x\n\nx\n";

/// A session of a client with this address.
fn client(system: &System, from: &str) -> Smtp {
    let mut smtp = system.smtp_from(from);
    smtp.say("EHLO client.example").unwrap();
    smtp.say("MAIL FROM:<a@far.example>").unwrap();
    smtp
}

fn recipient(system: &System, from: &str, to: &str) -> String {
    client(system, from).say(&format!("RCPT TO:<{to}@test.example>")).unwrap()
}

/// A name server of lists nobody should trust: `world` lists everybody, `empty` nobody, `silent` answers for its test entries alone.
fn strange_lists() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 1500];
        while let Ok((length, asker)) = socket.recv_from(&mut packet) {
            // Letters may be of either case.
            let name = String::from_utf8_lossy(&packet[12..length]).to_ascii_lowercase();
            let test_entry = name.starts_with("\u{1}2\u{1}0\u{1}0\u{3}127");
            let test_point = test_entry || name.starts_with("\u{1}1\u{1}0\u{1}0\u{3}127");
            let listed = match () {
                () if name.contains("silent") && !test_point => continue,
                () if name.contains("silent") => test_entry,
                () => name.contains("world"),
            };
            let question_end = 12 + packet[12..length].iter().position(|octet| *octet == 0).unwrap() + 5;
            let mut response = packet[..question_end].to_vec();
            let flags: [u8; 10] = [0x84, if listed { 0 } else { 3 }, 0, 1, 0, listed.into(), 0, 0, 0, 0];
            response[2..12].copy_from_slice(&flags);
            if listed {
                response.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 2]);
            }
            let _ = socket.send_to(&response, asker);
        }
    });
    address
}

fn count(system: &System, zone: &str, name: &str) -> u64 {
    let status = system.status().unwrap();
    let list = status["dnsbl"].as_array().unwrap().iter().find(|list| list["zone"] == zone).unwrap().clone();
    list[name].as_u64().unwrap()
}

#[test]
fn listed_clients_are_refused_at_the_recipient_and_nobody_else_is() {
    let mut system = System::init();
    let dns = system.folder.path().join("p/dns");
    std::fs::write(dns.join("bad"), ":127.0.0.2:bad\n127.0.66.0/24\n127.0.67.1 :127.0.0.3:not so bad\n").unwrap();
    std::fs::write(dns.join("good"), ":127.0.0.2:good\n127.0.66.7\n").unwrap();
    std::fs::write(dns.join("tired"), ":127.255.255.254:ask less\n127.0.68.1\n127.0.68.2\n").unwrap();
    let mut config = String::new();
    for list in ["bad", "good", "tired"] {
        config += &format!(
            "\n[[dns.block_list]]\nname = \"{list}.example\"\nfile = \"dns/{list}\"\nkind = \"ip4set\"\nrefuse = false\n"
        );
    }
    let strange = strange_lists();
    for zone in ["world.example", "empty.example", "silent.example"] {
        config += &format!("\n[[dns.stub]]\nname = \"{zone}\"\nservers = [\"{strange}\"]\n");
    }
    config += "\n[policy]\ngreeting_wait_ms = 0\ntrusted_networks = [\"127.0.66.99/32\"]\ndnsbl_reject_text = \"[{address}] stands in {lists}\"\n\
        \n[[policy.dnsbl]]\nzone = \"bad.example\"\ncodes = { \"127.0.0.2\" = 6, \"127.0.0.3\" = { weight = 3.5, symbol = \"RATHER_BAD\" } }\n\
        \n[[policy.dnsbl]]\nzone = \"good.example\"\nweight = -4\n\
        \n[[policy.dnsbl]]\nzone = \"tired.example\"\nweight = 9\n\
        \n[[policy.dnsbl]]\nzone = \"world.example\"\nweight = 9\n\
        \n[[policy.dnsbl]]\nzone = \"empty.example\"\nweight = 9\n\
        \n[[policy.dnsbl]]\nzone = \"silent.example\"\nweight = 9\ntimeout_ms = 400\n";
    system.append_config(&config);
    system.append_config(common::RULES_DRY);
    system.up();
    // All shards know which lists are well when the first listed client is refused on every one of them.
    system.wait("the probes", || (0..8).all(|_| recipient(&system, "127.0.66.1", "alice").starts_with("554")));

    assert_eq!(recipient(&system, "127.0.66.2", "bob").trim_end(), "554 5.7.1 [127.0.66.2] stands in bad.example");
    assert!(recipient(&system, "127.0.66.2", "postmaster").starts_with("250"));
    assert!(recipient(&system, "127.0.66.2", "nobody").starts_with("550 5.1.1"));
    assert!(recipient(&system, "127.0.66.7", "alice").starts_with("250"), "a list of the good weighs as much");
    assert!(recipient(&system, "127.0.66.99", "alice").starts_with("250"), "a network nobody is asked about");
    for from in ["127.0.68.1", "127.0.68.2", "127.0.0.1"] {
        assert!(recipient(&system, from, "alice").starts_with("250"), "{from}");
    }

    // Not enough to refuse, but enough to say so; the silent list has been waited for and not for long.
    let begun = Instant::now();
    let mut smtp = client(&system, "127.0.67.1");
    assert!(smtp.say("RCPT TO:<alice@test.example>").unwrap().starts_with("250"));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(smtp.say("DATA").unwrap().starts_with("354"));
    smtp.write(&common::wire(MESSAGE)).unwrap();
    assert!(smtp.reply().unwrap().starts_with("250"));
    system.wait("the file", || system.inbox("alice").len() == 1);
    let text = std::fs::read_to_string(&system.inbox("alice")[0]).unwrap();
    assert!(text.contains("X-Spam-Score: ") && text.contains("RATHER_BAD(3.50)"), "{text}");

    system.wait("the counts", || count(&system, "bad.example", "dnsbl_listed_total") > 8);
    system.wait("the late answers", || count(&system, "silent.example", "dnsbl_late_total") > 0);
    system.wait("the refusals", || count(&system, "tired.example", "dnsbl_refused_total") > 0);
    assert_eq!(count(&system, "world.example", "dnsbl_asked_total"), 0);
    assert_eq!(count(&system, "world.example", "dnsbl_listed_total"), 0);
    let log = system.log();
    for (zone, why) in [("tired", "refuses us"), ("world", "lists the whole world"), ("empty", "empty or gone")] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&format!("{zone}.example is put aside"))).collect();
        assert!(lines.len() == 1 && lines[0].contains(why), "{lines:?}");
    }
    let metrics = common::http(&system, "/metrics");
    assert!(metrics.contains("postring_dnsbl_listed_total{zone=\"bad.example\",shard=\"0\"}"), "{metrics}");

    // A reload takes other lists, which are probed before anybody is judged by them.
    let before = std::fs::read_to_string(system.config()).unwrap();
    std::fs::write(system.config(), before.replace("weight = -4", "weight = 8")).unwrap();
    assert!(common::postring(&["reload", "--config", &system.config()]).status.success());
    let expected = "554 5.7.1 [127.0.66.7] stands in bad.example, good.example";
    system.wait("the reload", || recipient(&system, "127.0.66.7", "alice").trim_end() == expected);
}

#[test]
fn a_wrong_list_is_named() {
    let system = System::init();
    system.append_config("\n[[policy.dnsbl]]\nzone = \"bl.example\"\nprobe_interval = 1\n");
    let output = common::postring(&["check", "--config", &system.config()]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && error.contains("policy.dnsbl: zone = \"bl.example\": probe_interval = 1: give"),
        "{error}"
    );
}
