//! Dynamic updates, as data: `tests/updates/*.txt`, a shelf a section of RFC 2136.
//!
//! ```text
//!   # a comment             zone NAME, then its file's lines behind "| "            allow KEY [exactly|within NAME] [TYPE ...]
//!   prereq yxdomain|nxdomain NAME       prereq yxrrset|nxrrset NAME TYPE [DATA]     the language of nsupdate(1); names are absolute
//!   update add NAME TTL TYPE DATA       update delete NAME [TYPE [DATA]]
//!   send [KEY] [zone NAME]              without a key it is not signed; below it what became of it:
//!   = RCODE [serial FROM TO], then "- " records that went and "+ " those that came; the next update finds the zone so
//! ```
//! `REWRITE=1 cargo test -p postring-dns --test updates` writes what becomes of them now; read the difference before you keep it. Every
//! message is also read by hickory-proto.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod cases;

use postring_dns::record::{Record, rdata_text};
use postring_dns::transfer::{build_zone, changed_records};
use postring_dns::update::{Names, Update, UpdatePolicy, UpdateRule};
use postring_dns::zone::{Zone, parse_zone};
use postring_dns::{Name, Rtype};
use std::fmt::Write;
use std::path::Path;

#[test]
fn updates() {
    cases::check("updates", 3, run);
}

/// The sections of a message that is being written.
#[derive(Default)]
struct Message {
    prerequisites: Vec<Vec<u8>>,
    updates: Vec<Vec<u8>>,
}

fn run(text: &str) -> String {
    let mut out = String::new();
    let (mut origin, mut file, mut zone): (Name, String, Option<Zone>) = (Name::root(), String::new(), None);
    let (mut policy, mut message) = (UpdatePolicy::default(), Message::default());
    for line in text.lines().filter(|line| !["= ", "- ", "+ "].iter().any(|prefix| line.starts_with(prefix))) {
        let _ = writeln!(out, "{line}");
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["zone", name] => (origin, file, zone) = (Name::absolute(name).unwrap(), String::new(), None),
            ["|", ..] => file = format!("{file}{}\n", line.get(2..).unwrap_or_default()),
            ["allow", key, rest @ ..] => policy.rules.push(rule(key, rest)),
            ["prereq", kind, name, rest @ ..] => message.prerequisites.push(prerequisite(kind, name, rest)),
            ["update", "add", name, ttl, rtype, ..] => {
                let data = line.splitn(6, ' ').nth(5).unwrap();
                message.updates.push(record(name, parse_type(rtype), 1, ttl.parse().unwrap(), &rdata(rtype, data)));
            }
            ["update", "delete", name] => message.updates.push(record(name, Rtype::ANY, 255, 0, &[])),
            ["update", "delete", name, rtype] => message.updates.push(record(name, parse_type(rtype), 255, 0, &[])),
            ["update", "delete", name, rtype, ..] => {
                let data = line.splitn(5, ' ').nth(4).unwrap();
                message.updates.push(record(name, parse_type(rtype), 254, 0, &rdata(rtype, data)));
            }
            ["send", rest @ ..] => {
                let now = zone
                    .take()
                    .unwrap_or_else(|| parse_zone(&origin, Path::new("zone"), &mut |_: &Path| Ok(file.clone())).unwrap());
                zone = Some(send(now, rest, &policy, &std::mem::take(&mut message), &mut out));
            }
            _ => assert!(line.is_empty() || line.starts_with('#'), "{line}"),
        }
    }
    out
}

fn parse_type(text: &str) -> Rtype {
    Rtype::parse(text).unwrap()
}

fn rule(key: &str, words: &[&str]) -> UpdateRule {
    let (names, types) = match words {
        ["exactly", name, types @ ..] => (Names::Exactly(Name::absolute(name).unwrap()), types),
        ["within", name, types @ ..] => (Names::Within(Name::absolute(name).unwrap()), types),
        types => (Names::All, types),
    };
    UpdateRule { key: Name::absolute(key).unwrap(), names, types: types.iter().map(|text| parse_type(text)).collect() }
}

fn prerequisite(kind: &str, name: &str, rest: &[&str]) -> Vec<u8> {
    match (kind, rest) {
        ("yxdomain", []) => record(name, Rtype::ANY, 255, 0, &[]),
        ("nxdomain", []) => record(name, Rtype::ANY, 254, 0, &[]),
        ("yxrrset", [rtype]) => record(name, parse_type(rtype), 255, 0, &[]),
        ("nxrrset", [rtype]) => record(name, parse_type(rtype), 254, 0, &[]),
        ("yxrrset", [rtype, data @ ..]) => record(name, parse_type(rtype), 1, 0, &rdata(rtype, &data.join(" "))),
        _ => panic!("{kind} {rest:?}"),
    }
}

/// The data of a record, by way of a master file.
fn rdata(rtype: &str, text: &str) -> Vec<u8> {
    let origin = Name::absolute("x").unwrap();
    let file = match rtype {
        "SOA" => format!("$TTL 1\n@ SOA {text}\n@ NS a.\n"),
        _ => format!("$TTL 1\n@ SOA a. b. 1 1 1 1 1\n@ NS a.\nrecord {rtype} {text}\n"),
    };
    let zone = parse_zone(&origin, Path::new("record"), &mut |_: &Path| Ok(file.clone())).unwrap();
    let owner = if rtype == "SOA" { &b"\x01x\0"[..] } else { b"\x06record\x01x\0" };
    let record = zone.records_at(owner).find(|record| record.rtype == parse_type(rtype)).unwrap();
    record.rdata.to_vec()
}

fn record(name: &str, rtype: Rtype, class: u16, ttl: u32, rdata: &[u8]) -> Vec<u8> {
    let mut out = Name::absolute(name).unwrap().wire().to_vec();
    out.extend_from_slice(&rtype.0.to_be_bytes());
    out.extend_from_slice(&class.to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&u16::try_from(rdata.len()).unwrap().to_be_bytes());
    out.extend_from_slice(rdata);
    out
}

fn send(zone: Zone, words: &[&str], policy: &UpdatePolicy, message: &Message, out: &mut String) -> Zone {
    let (key, name) = match words {
        [] => (None, zone.origin().clone()),
        ["zone", name] => (None, Name::absolute(name).unwrap()),
        [key] => (Some(Name::absolute(key).unwrap()), zone.origin().clone()),
        [key, _, name] => (Some(Name::absolute(key).unwrap()), Name::absolute(name).unwrap()),
        _ => panic!("{words:?}"),
    };
    let mut packet = vec![0, 1, 0x28, 0, 0, 1];
    for count in [message.prerequisites.len(), message.updates.len(), 0] {
        packet.extend_from_slice(&u16::try_from(count).unwrap().to_be_bytes());
    }
    packet.extend_from_slice(name.wire());
    packet.extend_from_slice(&[0, 6, 0, 1]);
    packet.extend(message.prerequisites.iter().chain(&message.updates).flatten());
    assert!(hickory_proto::op::Message::from_vec(&packet).is_ok());
    let outcome = Update::parse(&packet).unwrap().apply(&zone, key.as_ref(), policy);
    let _ = write!(out, "= {}", outcome.rcode);
    let Some(difference) = outcome.difference else {
        out.push('\n');
        return zone;
    };
    let _ = writeln!(out, " serial {} {}", difference.from_serial(), difference.to_serial());
    for (sign, records) in [('-', &difference.removed), ('+', &difference.added)] {
        for Record { name, rtype, ttl, rdata } in records {
            let _ = writeln!(out, "{sign} {name} {ttl} {rtype} {}", rdata_text(*rtype, rdata));
        }
    }
    build_zone(zone.origin(), changed_records(zone.records(), &difference)).unwrap()
}
