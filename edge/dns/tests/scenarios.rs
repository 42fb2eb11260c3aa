//! Questions to zones, as data: `tests/scenarios/*.txt`, a shelf a topic.
//!
//! ```text
//!   # a comment                      zone NAME [nsec|nsec3 [secondary]] | list NAME ip4set | list NAME dnset, then its file's lines behind "| "
//!   ? NAME TYPE [udp SIZE|tcp] [plain] [rd] [recursion] [minimal] [do]  the question; below it the response as it must be
//!   = RCODE flags, then an/ns/ar records
//! ```
//! `REWRITE=1 cargo test -p postring-dns --test scenarios` writes what is answered now; read the difference before you keep it. Every response
//! is also read by hickory-proto, and must say the same.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod cases;

use postring_dns::dnssec::algorithm::Algorithm;
use postring_dns::dnssec::bitmap::{Nsec, types};
use postring_dns::dnssec::canonical::label_count;
use postring_dns::dnssec::nsec3::{Nsec3, label};
use postring_dns::dnssec::rrsig::Rrsig;
use postring_dns::dnssec::{Denial, SetSigner};
use postring_dns::list::{BlockList, ListKind};
use postring_dns::message::ResponseView;
use postring_dns::query::write_query;
use postring_dns::record::rdata_text;
use postring_dns::responder::{Client, Context, Response, Transport, respond};
use postring_dns::zone::{ZoneBuilder, parse_zone};
use postring_dns::{Hosted, Name, Rtype, Service};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

#[test]
fn scenarios() {
    cases::check("scenarios", 7, run);
}

/// A zone that came signed answers as the one that was signed here.
#[test]
fn a_secondary_answers_as_the_primary() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    for (file, zone) in [("rfc4035-nsec.txt", "zone example nsec"), ("rfc5155-nsec3.txt", "zone example nsec3")] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let secondary = format!("{zone} secondary");
        let answered = run(&text.replace(zone, &secondary)).replace(&secondary, zone);
        for (number, (secondary, primary)) in answered.lines().zip(text.lines()).enumerate() {
            assert_eq!(secondary, primary, "{file}:{}", number + 1);
        }
        assert_eq!(answered.len(), text.len());
    }
}

fn run(text: &str) -> String {
    let mut out = String::new();
    let mut hosted = Hosted::default();
    let mut service: Option<(Vec<String>, String)> = None;
    for line in text.lines() {
        if let Some(content) = line.strip_prefix("| ").or_else(|| line.strip_prefix('|')) {
            let file = &mut service.as_mut().unwrap().1;
            file.push_str(content);
            file.push('\n');
        } else if let Some((words, file)) = service.take_if(|_| !line.is_empty()) {
            add(&mut hosted, &words, &file);
        }
        if line.starts_with("zone ") || line.starts_with("list ") {
            service = Some((line.split(' ').map(str::to_owned).collect(), String::new()));
        }
        let answer = ["= ", "an ", "ns ", "ar ", "- "].iter().any(|prefix| line.starts_with(prefix));
        if !answer {
            let _ = writeln!(out, "{line}");
        }
        if let Some(question) = line.strip_prefix("? ") {
            out.push_str(&ask(&hosted, question));
        }
    }
    out
}

fn add(hosted: &mut Hosted, words: &[String], file: &str) {
    let origin = Name::absolute(&words[1]).unwrap();
    let mut read = |_: &Path| Ok(file.to_owned());
    let service = match words[0].as_str() {
        "zone" => {
            let zone = parse_zone(&origin, Path::new("zone"), &mut read).unwrap();
            let denial = match words.get(2).map(String::as_str) {
                None => return hosted.add(&origin, Service::Zone(zone)).unwrap(),
                Some("nsec") => Denial::Nsec,
                Some(_) => Denial::Nsec3 { iterations: 12, salt: [0xaa, 0xbb, 0xcc, 0xdd].into() },
            };
            let signed = ZoneBuilder::from_zone(&zone).finish_signed(Arc::new(Sham(origin.clone())), denial).unwrap();
            // Taken over by a secondary it answers in the same way.
            let mut builder = ZoneBuilder::new(&origin);
            for record in signed.records_signed() {
                builder.add(&Name::from_wire(record.owner).unwrap(), record.rtype, record.ttl, record.rdata.into()).unwrap();
            }
            let secondary = builder.finish().unwrap();
            Service::Zone(if words.contains(&"secondary".to_owned()) { secondary } else { signed })
        }
        _ => {
            let kind = if words[2] == "ip4set" { ListKind::Ip4Set } else { ListKind::DnSet };
            Service::List(BlockList::parse(&origin, kind, Path::new("list"), &mut read).unwrap())
        }
    };
    hosted.add(&origin, service).unwrap();
}

/// Signs with nothing, so that a text can tell what was signed.
#[derive(Debug)]
struct Sham(Name);

impl SetSigner for Sham {
    fn sign(&self, owner: &[u8], rtype: Rtype, ttl: u32, rdata: &[&[u8]]) -> Vec<Box<[u8]>> {
        assert!(!rdata.is_empty() && owner.to_ascii_lowercase() == owner);
        let labels = label_count(owner);
        let algorithm = Algorithm::ED25519;
        let (signer, signature) = (self.0.wire(), &[][..]);
        let rrsig = Rrsig {
            type_covered: rtype,
            algorithm,
            labels,
            original_ttl: ttl,
            expiration: 2,
            inception: 1,
            key_tag: 7,
            signer,
            signature,
        };
        let mut out = Vec::new();
        rrsig.write(&mut out);
        vec![out.into()]
    }
}

/// What counts of the data of DNSSEC's types.
fn data_text(rtype: Rtype, rdata: &[u8]) -> String {
    let types = |bitmap| types(bitmap).map(|rtype| format!(" {rtype}")).collect::<String>();
    match rtype {
        Rtype::RRSIG => {
            let rrsig = Rrsig::parse(rdata).unwrap();
            format!("{} {} {}", rrsig.type_covered, rrsig.labels, rrsig.original_ttl)
        }
        Rtype::NSEC => {
            let nsec = Nsec::parse(rdata).unwrap();
            format!("{}{}", Name::from_wire(nsec.next).unwrap(), types(nsec.bitmap))
        }
        Rtype::NSEC3 => {
            let nsec3 = Nsec3::parse(rdata).unwrap();
            format!("{}{}", String::from_utf8_lossy(&label(&nsec3.next)), types(nsec3.bitmap))
        }
        _ => rdata_text(rtype, rdata),
    }
}

fn ask(hosted: &Hosted, question: &str) -> String {
    let words: Vec<&str> = question.split(' ').collect();
    let (name, rtype) = (Name::absolute(words[0]).unwrap(), Rtype::parse(words[1]).unwrap());
    let transport = if words.contains(&"tcp") { Transport::Tcp } else { Transport::Udp };
    let mut packet = Vec::new();
    write_query(1, name.wire(), rtype, words.contains(&"rd"), &mut packet);
    if let Some(size) = words.iter().position(|word| *word == "udp").and_then(|at| words.get(at + 1)) {
        let at = packet.len() - 8;
        packet[at..at + 2].copy_from_slice(&size.parse::<u16>().unwrap().to_be_bytes());
    }
    if words.contains(&"do") {
        let at = packet.len() - 4;
        packet[at] |= 0x80;
    }
    if words.contains(&"plain") {
        packet.truncate(packet.len() - 11);
        packet[11] = 0;
    }
    let mut out = Vec::new();
    let context = Context { identity: b"ns1", addresses: !words.contains(&"minimal"), ..Context::default() };
    let client = Client { address: [192, 0, 2, 1].into(), transport };
    match respond(&context, hosted, &packet, client, words.contains(&"recursion"), &mut out) {
        Response::Ready => {}
        Response::Drop => return "- drop\n".to_owned(),
        Response::Resolve(name, rtype) => return format!("- resolve {name} {rtype}\n"),
        Response::Transfer { zone, kind } => return format!("- transfer {zone} {kind:?}\n"),
        other => return format!("- {other:?}\n"),
    }
    let view = ResponseView::parse(&out).unwrap();
    let theirs = hickory_proto::op::Message::from_vec(&out).unwrap();
    let flags = [(out[2] & 4, " aa"), (out[2] & 2, " tc"), (out[2] & 1, " rd"), (out[3] & 128, " ra")];
    let flags: String = flags.iter().filter(|(bit, _)| *bit != 0).map(|(_, word)| *word).collect();
    let mut text = format!("= {}{flags}\n", view.rcode);
    for (section, records) in [("an", &view.answer), ("ns", &view.authority)] {
        for record in records {
            let data = data_text(record.rtype, &record.rdata);
            let _ = writeln!(text, "{section} {} {} {} {data}", record.name, record.ttl, record.rtype);
        }
    }
    // The additional section as hickory reads it: ours does not look there.
    for record in &theirs.additionals {
        let _ = writeln!(text, "ar {} {} {} {}", record.name, record.ttl, record.record_type(), record.data);
    }
    assert_eq!((theirs.answers.len(), theirs.authorities.len()), (view.answer.len(), view.authority.len()), "{question}");
    for (ours, theirs) in view.answer.iter().chain(&view.authority).zip(theirs.answers.iter().chain(&theirs.authorities)) {
        assert_eq!((ours.name.to_string(), ours.ttl), (theirs.name.to_string(), theirs.ttl), "{question}");
        assert_eq!(ours.rtype.0, u16::from(theirs.record_type()), "{question}");
    }
    text
}
