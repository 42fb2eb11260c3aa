//! What the resolver keeps, in the running system: over a restart, and for how long.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{System, postring};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const A: u16 = 1;
const NXDOMAIN: u8 = 3;
/// Whatever the machine has.
const TWO_SHARDS: &str = "\n[cores]\nedge = [0, 0]\n";
/// Octets of the header.
const HEAD: usize = 12;

/// The resolver that is asked: it gives names an address for as many seconds, and counts. There are none that begin with `no`; and in
/// `list.example` there is the entry for tests alone.
struct Upstream {
    address: String,
    asked: Arc<AtomicUsize>,
}

impl Upstream {
    fn new(ttl: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        // It ends with the process.
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((length, client)) = socket.recv_from(&mut packet) {
                count.fetch_add(1, Ordering::Relaxed);
                socket.send_to(&answer(&packet[..length], ttl), client).unwrap();
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn answer(query: &[u8], ttl: u32) -> Vec<u8> {
    let mut end = HEAD;
    while query[end] != 0 {
        end += 1 + usize::from(query[end]);
    }
    let mut out = query[..end + 5].to_vec();
    out[2..4].copy_from_slice(&[0x81, 0x80]);
    out[6..HEAD].fill(0);
    let name = query[HEAD..end].to_ascii_lowercase();
    let is_list = name.ends_with(b"\x04list\x07example");
    if name[1..].starts_with(b"no") || is_list && !name.starts_with(b"\x012\x010\x010\x03127") {
        out[3] |= NXDOMAIN;
        // The SOA of the root, with the same time for the minimum.
        out[9] = 1;
        out.extend_from_slice(&[0, 0, 6, 0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&[0, 22, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
    } else {
        out[7] = 1;
        out.extend_from_slice(&[0xc0, HEAD as u8, 0, A as u8, 0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&[0, 4, if is_list { 127 } else { 192 }, 0, 0, 2]);
    }
    out
}

/// Asks from a port of its own, so that any shard may get it; gives the code and, of an answer, the TTL.
fn ask(system: &System, name: &str) -> (u8, Option<u32>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(common::WAIT)).unwrap();
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, A as u8, 0, 1]);
    let question_end = packet.len();
    socket.send_to(&packet, ("127.0.0.1", system.base + 53)).unwrap();
    let mut response = [0; 1500];
    let length = socket.recv(&mut response).unwrap();
    let ttl = response[..length].get(question_end + 6..question_end + 10).filter(|_| response[7] == 1);
    (response[3] & 15, ttl.map(|ttl| u32::from_be_bytes(ttl.try_into().unwrap())))
}

fn run(system: &System, words: &[&str]) -> String {
    let output = postring(&[words, &["--config", &system.config()]].concat());
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn stats(system: &System) -> serde_json::Value {
    serde_json::from_str(&run(system, &["dns", "cache", "stats", "--json"])).unwrap()
}

fn snapshots(system: &System) -> Vec<PathBuf> {
    let files = std::fs::read_dir(system.data().join("dns")).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "snapshot")).collect()
}

#[test]
fn what_was_learned_outlives_a_restart() {
    let upstream = Upstream::new(3600);
    let mut system = System::init();
    system.append_config(&format!("\n[dns]\nforwarders = [\"{}\"]\n{TWO_SHARDS}", upstream.address));
    system.up();
    assert_eq!(ask(&system, "kept.far.example"), (0, Some(3600)));
    assert_eq!((ask(&system, "no.far.example").0, upstream.asked() >= 2), (NXDOMAIN, true));
    assert!(snapshots(&system).is_empty());
    system.down();
    assert!(!snapshots(&system).is_empty());

    // Twice: what nobody asks for in between is not lost.
    for _ in 0..2 {
        let before = upstream.asked();
        system.up();
        system.down();
        system.up();
        for _ in 0..8 {
            let (rcode, ttl) = ask(&system, "kept.far.example");
            assert!(rcode == 0 && ttl.is_some_and(|ttl| ttl <= 3600), "{rcode} {ttl:?}");
            assert_eq!(ask(&system, "no.far.example").0, NXDOMAIN);
        }
        assert_eq!(upstream.asked(), before, "asked again");
        assert!(stats(&system)["snapshot_hits"].as_u64().unwrap() >= 2);
        system.down();
    }

    // What an operator had forgotten does not come back, not even if the process ends without a word.
    system.up();
    assert!(stats(&system)["snapshots"].as_u64().unwrap() > 0);
    run(&system, &["dns", "cache", "flush", "kept.far.example"]);
    assert!(snapshots(&system).is_empty());
    assert_eq!(stats(&system)["snapshots"], 0);
    let before = upstream.asked();
    ask(&system, "kept.far.example");
    assert_eq!(upstream.asked(), before + 1);
    system.down();

    // A file that is none is said to be, and the system starts without.
    for path in snapshots(&system) {
        std::fs::write(path, b"PRDNSNAPnonsense").unwrap();
    }
    system.up();
    assert!(system.log().contains(".snapshot is not used, its names are asked for again: the snapshot has version"));
    let before = upstream.asked();
    assert_eq!(ask(&system, "kept.far.example"), (0, Some(3600)));
    assert_eq!(upstream.asked(), before + 1);
}

#[test]
fn how_long_answers_are_kept_is_configured_by_zone() {
    let upstream = Upstream::new(3600);
    let mut system = System::init();
    system.append_config(&format!(
        "\n[dns]\nforwarders = [\"{}\"]\n\n[[dns.ttl]]\nzone = \".\"\nclient_max = 1000\n\n[[dns.ttl]]\nzone = \"short.example\"\nclient_max = 7\n",
        upstream.address
    ));
    system.up();
    assert_eq!(ask(&system, "a.far.example"), (0, Some(1000)));
    assert_eq!(ask(&system, "a.short.example"), (0, Some(7)));
    // A reload takes other rules; what is kept stays for the time it was given.
    let config = std::fs::read_to_string(system.config()).unwrap();
    std::fs::write(system.config(), config.replace("client_max = 1000", "client_max = 50")).unwrap();
    run(&system, &["reload"]);
    let mut number = 0;
    system.wait("the new rules", || {
        number += 1;
        ask(&system, &format!("b{number}.far.example")).1 == Some(50)
    });
    assert!(ask(&system, "a.far.example").1 != Some(50));
}

/// A client that no list names: that is one entry of eight octets for each list, which all shards believe.
#[test]
fn what_is_not_listed_is_kept_once_for_all_shards() {
    let upstream = Upstream::new(3600);
    let mut system = System::init();
    system.append_config(&format!(
        "\n[dns]\nforwarders = [\"{}\"]\nnegative_entries = 1000\n{TWO_SHARDS}\n[policy]\ntrusted_networks = []\ngreeting_wait_ms = 0\n\n[[policy.dnsbl]]\nzone = \"list.example\"\n",
        upstream.address
    ));
    system.up();
    assert_eq!(stats(&system)["negative_bytes"], 8000);
    // Its port decides which shard has it.
    let greet = || {
        let mut smtp = system.smtp_from("127.0.66.1");
        // Of these no other check asks.
        smtp.say("EHLO [127.0.66.1]").unwrap();
        smtp.say("MAIL FROM:<>").unwrap();
        assert!(smtp.say("RCPT TO:<alice@test.example>").unwrap().starts_with("250"));
    };
    system.wait("the first answer", || {
        greet();
        stats(&system)["negative_entries"] == 1
    });
    let (asked, hits) = (upstream.asked(), stats(&system)["negative_hits"].as_u64().unwrap());
    (0..16).for_each(|_| greet());
    assert_eq!(upstream.asked(), asked, "a shard asked again");
    assert!(stats(&system)["negative_hits"].as_u64().unwrap() >= hits + 16);
    run(&system, &["dns", "cache", "flush"]);
    assert_eq!(stats(&system)["negative_entries"], 0);
}
