//! Questions to a small Internet, as data: `tests/resolution/*.txt`, a shelf a topic.
//!
//! ```text
//!   # a comment
//!   server ADDRESS zone NAME     a server and a zone of it; the zone file's lines follow behind "| "
//!   behave ADDRESS HOW...        silent unreachable refused servfail plain lower truncate nocuts wrong-id wrong-name tcp-silent; `well` ends it
//!   lie ADDRESS NAME TYPE FLAGS  its answer to this question: `aa`, an rcode; the records follow behind "| " as `an OWNER TTL TYPE DATA`
//!   config KEY VALUES            hints, stub, forward, whole (zones not minimised), ipv6, minimise off
//!   +5s                          time passes
//!   ? NAME TYPE [dnssec]         a question; below it what was asked, and the answer:
//!   > ZONE at SERVER: NAME TYPE, what came of it
//!   = RCODE TTL, queries; then an/ns records
//! ```
//! `REWRITE=1 cargo test -p postring-dns --test resolution` writes what is answered now; read the difference before you keep it. An answer
//! takes 10 ms, silence as long as is waited.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod cases;

use postring_dns::message::{ResponseFlags, ResponseWriter, Section};
use postring_dns::query::QueryView;
use postring_dns::record::rdata_text;
use postring_dns::resolver::{Budget, Failure, Infrastructure, InfrastructureConfig, Resolution, Step};
use postring_dns::responder::{Client, Context, Response, Transport, respond};
use postring_dns::zone::parse_zone;
use postring_dns::{Hosted, Name, Rcode, Rtype, Service};
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Milliseconds of an answer.
const RTT_MS: u64 = 10;

#[test]
fn resolutions() {
    cases::check("resolution", 6, run);
}

thread_local!(static SEED: Cell<u64> = const { Cell::new(1) });

/// The same chance in every run.
fn fill(place: &mut [u8]) -> bool {
    for octet in place {
        let mut seed = SEED.get();
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        SEED.set(seed);
        *octet = (seed >> 24) as u8;
    }
    true
}

struct LyingRecord {
    section: Section,
    owner: Name,
    ttl: u32,
    rtype: Rtype,
    rdata: Vec<u8>,
}

#[derive(Default)]
struct Server {
    hosted: Hosted,
    behaviour: Vec<String>,
    lies: HashMap<(Name, Rtype), (Vec<String>, Vec<LyingRecord>)>,
}

struct World {
    servers: HashMap<SocketAddr, Server>,
    config: InfrastructureConfig,
    infrastructure: Infrastructure,
    now_ms: u64,
}

fn run(text: &str) -> String {
    SEED.set(0x1234_5678_9abc_def1);
    let config = InfrastructureConfig { root_hints: vec!["198.51.100.1:53".parse().unwrap()], ..InfrastructureConfig::default() };
    let mut world =
        World { servers: HashMap::new(), infrastructure: Infrastructure::new(config.clone(), fill), config, now_ms: 1_000_000 };
    let mut out = String::new();
    let mut open: Option<(Vec<String>, Vec<String>)> = None;
    for line in text.lines() {
        if let Some(content) = line.strip_prefix("| ") {
            open.as_mut().unwrap().1.push(content.to_owned());
        } else if let Some((words, lines)) = open.take() {
            world.add(&words, &lines);
        }
        let words: Vec<String> = line.split_ascii_whitespace().map(str::to_owned).collect();
        let first = words.first().map_or("", String::as_str);
        if !["=", ">", "an", "ns"].contains(&first) {
            let _ = writeln!(out, "{line}");
        }
        match first {
            "server" | "lie" => open = Some((words, Vec::new())),
            "behave" => {
                let how = words[2..].iter().filter(|word| *word != "well").cloned().collect();
                world.servers.entry(address(&words[1])).or_default().behaviour = how;
            }
            "config" => world.configure(&words[1..]),
            "?" => out.push_str(&world.ask(&words[1..])),
            passing if passing.starts_with('+') => {
                let seconds: u64 = passing.trim_matches(['+', 's']).parse().unwrap();
                world.now_ms += seconds * 1000;
            }
            _ => {}
        }
    }
    out
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| SocketAddr::new(text.parse::<IpAddr>().unwrap(), 53))
}

fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

impl World {
    fn add(&mut self, words: &[String], lines: &[String]) {
        let server = self.servers.entry(address(&words[1])).or_default();
        if words[0] == "server" {
            let origin = name(&words[3]);
            let zone = parse_zone(&origin, Path::new("zone"), &mut |_| Ok(lines.join("\n") + "\n")).unwrap();
            server.hosted.add(&origin, Service::Zone(zone)).unwrap();
            return;
        }
        let records = lines.iter().map(|line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let section = match words[0] {
                "an" => Section::Answer,
                "ns" => Section::Authority,
                _ => Section::Additional,
            };
            let rtype = Rtype::parse(words[3]).unwrap();
            let rdata = match rtype {
                Rtype::A => words[4].parse::<std::net::Ipv4Addr>().unwrap().octets().to_vec(),
                Rtype::SOA => [name(words[4]).wire(), &[0; 17], &words[5].parse::<u32>().unwrap().to_be_bytes()].concat(),
                _ => name(words[4]).wire().to_vec(),
            };
            LyingRecord { section, owner: name(words[1]), ttl: words[2].parse().unwrap(), rtype, rdata }
        });
        let question = (name(&words[2]), Rtype::parse(&words[3]).unwrap());
        server.lies.insert(question, (words[4..].to_vec(), records.collect()));
    }

    fn configure(&mut self, words: &[String]) {
        let addresses = |words: &[String]| words.iter().map(|word| address(word)).collect::<Vec<_>>();
        match words[0].as_str() {
            "hints" => self.config.root_hints = addresses(&words[1..]),
            "stub" => self.config.stubs.push((name(&words[1]), addresses(&words[2..]))),
            "forward" => self.config.forwards.push((name(&words[1]), addresses(&words[2..]))),
            "whole" => self.config.not_minimised.push(name(&words[1])),
            "ipv6" => self.config.ipv6 = true,
            "minimise" => self.config.minimise = words[1] == "on",
            key => panic!("config {key}"),
        }
        self.infrastructure.configure(self.config.clone());
    }

    fn ask(&mut self, words: &[String]) -> String {
        let dnssec = words.iter().any(|word| word == "dnssec");
        let budget = Budget::new(self.now_ms);
        let before = budget.packets_left();
        let mut resolution = Resolution::new(&name(&words[0]), Rtype::parse(&words[1]).unwrap(), dnssec, budget.clone()).traced();
        let answer = loop {
            let ask = match resolution.poll_step(&mut self.infrastructure, self.now_ms) {
                Step::Ask(ask) => ask,
                Step::Done(answer) => break answer,
            };
            let failure =
                match self.servers.get(&ask.server).unwrap_or(&Server::default()).answer(resolution.packet(), ask.transport) {
                    Ok(mut packet) => {
                        self.now_ms += RTT_MS;
                        if resolution.handle_response(&mut self.infrastructure, ask.number, &mut packet, self.now_ms) {
                            continue;
                        }
                        self.now_ms += ask.wait_ms - RTT_MS.min(ask.wait_ms);
                        Failure::Silence
                    }
                    Err(failure) => {
                        self.now_ms += if failure == Failure::Silence { ask.wait_ms } else { 1 };
                        failure
                    }
                };
            resolution.handle_failure(&mut self.infrastructure, ask.number, failure, self.now_ms);
        };
        let mut out = String::new();
        for entry in resolution.take_trace() {
            let tcp = if entry.transport == Transport::Tcp { " over TCP" } else { "" };
            let took = if entry.ms == RTT_MS { String::new() } else { format!(" ({} ms)", entry.ms) };
            let server = entry.server.to_string();
            let server = server.strip_suffix(":53").unwrap_or(&server);
            let _ = writeln!(
                out,
                "> {} at {server}{tcp}: {} {}, {}{took}",
                entry.zone,
                entry.name.to_key(),
                entry.rtype,
                entry.outcome
            );
        }
        let _ = writeln!(out, "= {} {}, {} queries", answer.rcode, answer.ttl, before - budget.packets_left());
        for (section, records) in [("an", &answer.records), ("ns", &answer.authority)] {
            for record in records {
                let data = rdata_text(record.rtype, &record.rdata);
                let _ = writeln!(out, "{section} {} {} {} {data}", record.name, record.ttl, record.rtype);
            }
        }
        out
    }
}

impl Server {
    fn answer(&self, query: &[u8], transport: Transport) -> Result<Vec<u8>, Failure> {
        let behaves = |how: &str| self.behaviour.iter().any(|word| word == how);
        let tcp = transport == Transport::Tcp;
        if behaves("unreachable") {
            return Err(Failure::Unreachable);
        }
        if (self.hosted.is_empty() && self.lies.is_empty()) || behaves("silent") || (tcp && behaves("tcp-silent")) {
            return Err(Failure::Silence);
        }
        let view = QueryView::parse(query).unwrap();
        let mut out = Vec::new();
        let bare = |rcode: Rcode, truncated: bool, out: &mut Vec<u8>| {
            ResponseWriter::begin(&view, 1232, out).finish(rcode, ResponseFlags::default(), truncated);
        };
        let part = |rcode: &Rcode| (*rcode == Rcode::REFUSED) && view.rtype == Rtype::A;
        let key = Name::from_wire(view.name).unwrap().to_key();
        if behaves("refused") {
            bare(Rcode::REFUSED, false, &mut out);
        } else if behaves("servfail") {
            bare(Rcode::SERVFAIL, false, &mut out);
        } else if behaves("nocuts") && part(&Rcode::REFUSED) {
            bare(Rcode::NXDOMAIN, false, &mut out);
        } else if behaves("plain") && view.edns.is_some() {
            // As a server of before EDNS: the header and the question, no OPT.
            bare(Rcode::FORMERR, false, &mut out);
            out.truncate(out.len() - 11);
            out[11] = 0;
        } else if behaves("truncate") && !tcp {
            bare(Rcode::NOERROR, true, &mut out);
        } else if let Some((flags, records)) = self.lies.get(&(key, view.rtype)) {
            let limit = if tcp { 65_535 } else { 1232 };
            let mut writer = ResponseWriter::begin(&view, limit, &mut out);
            let mut full = false;
            for record in records {
                full |= writer.record(record.section, record.owner.wire(), record.rtype, record.ttl, &record.rdata).is_err();
            }
            let rcodes = [("NXDOMAIN", Rcode::NXDOMAIN), ("SERVFAIL", Rcode::SERVFAIL), ("REFUSED", Rcode::REFUSED)];
            let rcode =
                rcodes.iter().find(|(text, _)| flags.iter().any(|flag| flag == text)).map_or(Rcode::NOERROR, |(_, rcode)| *rcode);
            let flags = ResponseFlags { authoritative: flags.iter().any(|flag| flag == "aa"), ..ResponseFlags::default() };
            writer.finish(rcode, flags, full && !tcp);
        } else {
            assert_eq!(
                respond(
                    &Context { addresses: true, ..Context::default() },
                    &self.hosted,
                    query,
                    Client { address: [127, 0, 0, 1].into(), transport },
                    false,
                    &mut out
                ),
                Response::Ready
            );
        }
        if behaves("lower") {
            out[12..].make_ascii_lowercase();
        }
        if behaves("wrong-id") {
            out[0] ^= 1;
        }
        if behaves("wrong-name") {
            out[13] ^= 3;
        }
        Ok(out)
    }
}
