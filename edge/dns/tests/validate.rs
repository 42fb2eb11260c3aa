//! Answers of a small signed world to the validator, as data: `tests/validate/*.txt`, a shelf a topic.
//!
//! ```text
//!   zone NAME [unsigned|nsec3|optout] [alg=N] [iterations=N] [ds=none|wrong|sha1|alg5] [key=revoked|nozone|collide] [island]
//!   | OWNER TYPE DATA            its records; SOA, NS, keys, DS at the parent and denials are made
//!   trust NAME | insecure NAME   anchors (the root's otherwise), and names below which nothing is validated
//!   configured NAME              a zone whose servers are configured, whatever its parent knows
//!   ? NAME TYPE [CHANGE...]      the question, and what a stranger does to the answers: [TYPE:NAME!]WHAT[=HOW], see `change`
//!   earlier=NAME/TYPE was asked before; unreferred: the resolver saw no delegation on its way to the answer
//!   > look-ups the validator asked for
//!   = verdict, code and reason, work done; then what is left of the answer
//! ```
//! `REWRITE=1 cargo test -p postring-dns --test validate` writes what is answered now; read the difference before you keep it.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod cases;
#[path = "signed_world/mod.rs"]
mod signed_world;

use postring_dns::dnssec::validate::{KeyCache, Step, Trust, Validator, Verdict, Work};
use postring_dns::{Name, Rtype};
use signed_world::{NOW, World};
use std::fmt::Write;
use std::sync::Arc;

#[test]
fn scenarios() {
    cases::check("validate", 4, run);
}

fn run(text: &str) -> String {
    let mut out = String::new();
    let mut world = World::default();
    let mut trusted: Vec<(&str, Name)> = Vec::new();
    for line in text.lines() {
        if ["> ", "= ", "an ", "ns "].iter().any(|prefix| line.starts_with(prefix)) {
            continue;
        }
        let _ = writeln!(out, "{line}");
        if let Some(zone) = line.strip_prefix("zone ") {
            world.add_zone(zone);
        } else if let Some(record) = line.strip_prefix("| ") {
            world.add_record(record);
        } else if let Some((how @ ("trust" | "insecure" | "configured"), name)) = line.split_once(' ') {
            trusted.push((how, Name::absolute(name).unwrap()));
        } else if let Some(question) = line.strip_prefix("? ") {
            world.delegate();
            out.push_str(&ask(&world, &trusted, question));
        }
    }
    out
}

fn ask(world: &World, trusted: &[(&str, Name)], question: &str) -> String {
    let mut words = question.split(' ');
    let (name, rtype) = (Name::absolute(words.next().unwrap()).unwrap(), Rtype::parse(words.next().unwrap()).unwrap());
    let changes: Vec<&str> = words.collect();
    let mut trust = Trust::default();
    for (how, name) in trusted {
        match *how {
            "trust" => assert!(trust.add_dnskey(name, &world.key(name))),
            "insecure" => trust.add_insecure(name),
            _ => trust.add_cut(name),
        }
    }
    if !trusted.iter().any(|(how, _)| *how == "trust") {
        assert!(trust.add_dnskey(&Name::root(), &world.key(&Name::root())));
    }
    let trust = Arc::new(trust);
    let shift: i64 = changes.iter().find_map(|change| change.strip_prefix("now=")?.parse().ok()).unwrap_or(0);
    let now = NOW.checked_add_signed(shift).unwrap();
    let mut cache = KeyCache::new();
    let earlier = changes.iter().find_map(|change| change.strip_prefix("earlier=")?.split_once('/'));
    if let Some((name, rtype)) = earlier {
        let (name, rtype) = (Name::absolute(name).unwrap(), Rtype::parse(rtype).unwrap());
        let mut validator = Validator::new(&name, rtype, &world.answer(&name, rtype), Arc::clone(&trust), now, Work::default());
        while let Step::Need { name, rtype } = validator.poll(&mut cache) {
            validator.handle_answer(&name, rtype, &world.answer(&name, rtype));
        }
    }
    let mut out = String::new();
    // The second time everything about zones comes from the cache, and the verdict must be the same.
    for warm in [false, true] {
        let answer = world.changed_answer(&name, rtype, &changes, true);
        let mut validator = Validator::new(&name, rtype, &answer, Arc::clone(&trust), now, Work::default());
        // As a resolver that was referred to them.
        for record in answer.records.iter().filter(|_| !changes.contains(&"unreferred")) {
            validator.handle_cut(world.zone(&record.name.to_key(), record.rtype));
        }
        let mut asked = String::new();
        let verdict = loop {
            match validator.poll(&mut cache) {
                Step::Need { name, rtype } => {
                    let _ = write!(asked, " {rtype} {name}");
                    let answer = world.changed_answer(&name, rtype, &changes, false);
                    validator.handle_answer(&name, rtype, &answer);
                }
                Step::Done(verdict) => break verdict,
            }
        };
        let work = validator.work();
        let full = Work::default();
        let done = format!("{} signatures, {} hashes", full.signatures - work.signatures, full.hashes - work.hashes);
        let kept = validator.answer();
        let mut text = match verdict {
            Verdict::Secure => "= secure".to_owned(),
            Verdict::Insecure(None) => "= insecure".to_owned(),
            Verdict::Insecure(Some(reason)) => format!("= insecure: {reason}"),
            Verdict::Bogus(reason) => format!("= bogus: {reason}"),
        };
        if warm {
            let before = out.lines().find(|line| line.starts_with("= ")).unwrap().split(" | ").next().unwrap();
            assert_eq!(before, text, "{question} with a warm cache");
            let asked_again = asked.split(' ').skip(1).step_by(2).filter(|rtype| *rtype == "DNSKEY").count();
            assert!(asked_again == 0 || shift != 0 || text.starts_with("= bogus"), "{question} asked again for{asked}");
            break;
        }
        let _ = write!(text, " | {} ttl {} | {done}", kept.rcode, kept.ttl);
        if !asked.is_empty() {
            let _ = writeln!(out, ">{asked}");
        }
        let _ = writeln!(out, "{text}");
        for (section, records) in [("an", &kept.records), ("ns", &kept.authority)] {
            for record in records {
                let covered = if record.rtype == Rtype::RRSIG {
                    format!(" {}", Rtype(u16::from_be_bytes([record.rdata[0], record.rdata[1]])))
                } else {
                    String::new()
                };
                let _ = writeln!(out, "{section} {} {} {}{covered}", record.name, record.ttl, record.rtype);
            }
        }
    }
    out
}
