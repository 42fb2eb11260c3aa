//! ARC by scenario: `arc/*.txt` say what is done to a message of `arc/*.eml` and what its chain is worth then.
//!
//! ```text
//!   message FILE            of this folder, its LF become CRLF
//!   now SECONDS
//!   case TITLE              what stands below is for this case, what stands above the first for all
//!   change OLD => NEW       the first OLD of the message; NEW may be nothing; \r \n \t \s are a CR, an LF, a tab and a space
//!   before TEXT             behind TEXT      put there
//!   results TEXT            an ARC-Authentication-Results more, on top
//!   signed TAGS             an ARC-Message-Signature more, on top: bh= and b= are made for these tags
//!   sealed TAGS             an ARC-Seal more, on top: b= is made for these tags, of all sets below its own instance, and of its own
//!   set I CV                all three of instance I as they are mostly
//!   txt NAME = TEXT         a record more; those of keys.txt are there without
//!   only NAME = TEXT        in place of all others of the name
//!   fail NAME               nobody answers
//!   = STATUS [TEXT]         the chain's, and what the result or its sets must have in them
//! ```
//! The messages were sealed by another implementation (dkimpy 1.1.8). What is sealed here is with Ed25519, its key at e._domainkey.sealer.example.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::{World, unescaped};
use postring_auth::Lookup;
use postring_auth::arc::{Chain, Problem, Set, Status, verify};
use postring_auth::dkim::{Body, Canonicalization};
use postring_auth::signatures::Verifier;
use postring_dns::Rtype;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::path::{Path, PathBuf};

#[derive(Clone, Default)]
struct Case {
    title: String,
    message: String,
    now: u64,
    world: World,
    expected: Vec<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/arc")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn message(name: &str) -> String {
    read(name).replace('\n', "\r\n")
}

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn base64(octets: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(octets)
}

fn keys() -> World {
    let mut world = World::read(&read("keys.txt"));
    let public = base64(key().public_key().as_ref());
    world.obey("only", &format!("e._domainkey.sealer.example = v=DKIM1; k=ed25519; p={public}"));
    world
}

fn sha256(text: &[u8]) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA256, text).as_ref().to_vec()
}

/// The sealer: what it does is plain, and its canonical forms are its own.
mod sealer {
    use super::*;

    /// A field in relaxed form, or in simple form as it is.
    fn canonical(field: &str, relaxed: bool) -> String {
        if !relaxed {
            return field.to_owned();
        }
        let (name, value) = field.split_once(':').unwrap();
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        format!("{}:{}", name.trim_end().to_lowercase(), words.join(" "))
    }

    /// Fields from the top down, and the body.
    fn parts(message: &str) -> (Vec<String>, &str) {
        let (header, body) = message.split_once("\r\n\r\n").unwrap();
        let mut fields: Vec<String> = Vec::new();
        for line in header.split("\r\n") {
            match fields.last_mut() {
                Some(field) if line.starts_with([' ', '\t']) => *field = format!("{field}\r\n{line}"),
                _ => fields.push(line.to_owned()),
            }
        }
        (fields, body)
    }

    fn is(field: &str, name: &str) -> bool {
        field.split(':').next().unwrap().trim_end().eq_ignore_ascii_case(name)
    }

    fn tag<'a>(tags: &'a str, name: &str) -> Option<&'a str> {
        let specs = tags.split(';').filter_map(|spec| spec.split_once('='));
        specs.map(|(tag, value)| (tag.trim(), value.trim())).find(|(tag, _)| *tag == name).map(|(_, value)| value)
    }

    fn sign(data: &str) -> String {
        base64(key().sign(&sha256(data.as_bytes())).as_ref())
    }

    pub fn message_signature(message: &str, tags: &str) -> String {
        let (mut fields, body) = parts(message);
        let forms: Vec<&str> = tag(tags, "c").unwrap_or("simple/simple").split('/').collect();
        let relaxed = |place: usize| forms.get(place) == Some(&"relaxed");
        let mut canonical_body = Vec::new();
        let mut sink = |run: &[u8]| canonical_body.extend_from_slice(run);
        let mut reader = Body::new(if relaxed(1) { Canonicalization::Relaxed } else { Canonicalization::Simple });
        reader.put(body.as_bytes(), &mut sink);
        reader.finish(&mut sink);
        if let Some(length) = tag(tags, "l") {
            canonical_body.truncate(length.parse().unwrap());
        }
        let field = format!("ARC-Message-Signature: {tags}; bh={}; b=", base64(&sha256(&canonical_body)));
        let mut signed = String::new();
        for name in tag(tags, "h").unwrap_or_default().split(':') {
            if let Some(place) = fields.iter().rposition(|field| is(field, name.trim())) {
                signed += &(canonical(&fields.remove(place), relaxed(0)) + "\r\n");
            }
        }
        signed += &canonical(&field, relaxed(0));
        format!("{field}{}\r\n{message}", sign(&signed))
    }

    pub fn seal(message: &str, tags: &str) -> String {
        let field = format!("ARC-Seal: {tags}; b=");
        let names = ["ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"];
        let instance = |field: &str| tag(field.split_once(':').unwrap().1, "i").and_then(|instance| instance.parse::<u8>().ok());
        let own = instance(&field);
        let mut sealed: Vec<(Option<u8>, usize, String)> = Vec::new();
        for field in parts(message).0 {
            if let Some(kind) = names.iter().position(|name| is(&field, name)).filter(|_| instance(&field) <= own) {
                sealed.push((instance(&field), kind, canonical(&field, true) + "\r\n"));
            }
        }
        sealed.sort();
        let sealed: String = sealed.into_iter().map(|(_, _, field)| field).collect();
        format!("{field}{}\r\n{message}", sign(&(sealed + &canonical(&field, true))))
    }
}

impl Case {
    fn obey(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap();
        match word {
            "message" => self.message = message(rest),
            "now" => self.now = rest.parse().unwrap(),
            "change" => {
                let (old, new) = rest.split_once(" =>").map(|(old, new)| (unescaped(old), unescaped(new.trim_start()))).unwrap();
                assert!(self.message.contains(&old), "{}: no {old:?}", self.title);
                self.message = self.message.replacen(&old, &new, 1);
            }
            "before" => self.message = unescaped(rest) + &self.message,
            "behind" => self.message += &unescaped(rest),
            "results" => self.message = format!("ARC-Authentication-Results: {}\r\n{}", unescaped(rest), self.message),
            "signed" => self.message = sealer::message_signature(&self.message, &unescaped(rest)),
            "sealed" => self.message = sealer::seal(&self.message, &unescaped(rest)),
            "set" => {
                let (instance, status) = rest.split_once(' ').unwrap();
                let key = "a=ed25519-sha256; d=sealer.example; s=e";
                self.obey(&format!("results i={instance}; mx.sealer.example; spf=pass"));
                self.obey(&format!("signed i={instance}; {key}; c=relaxed/relaxed; h=from:to:subject"));
                self.obey(&format!("sealed i={instance}; {key}; cv={status}"));
            }
            "txt" | "only" | "fail" => self.world.obey(word, rest),
            "=" => self.expected.push(rest.to_owned()),
            _ => panic!("{word:?} is no word of a scenario"),
        }
    }

    fn chain(&self) -> Chain<'_> {
        futures_lite::future::block_on(verify(&self.world, self.message.as_bytes(), self.now))
    }

    /// What is not as expected.
    fn wrong(&self) -> Option<String> {
        let chain = self.chain();
        let shown = shown(&chain);
        let fits = |expected: &String| {
            let (status, part) = expected.split_once(' ').unwrap_or((expected, ""));
            chain.status().to_string() == status && shown.contains(part)
        };
        (!self.expected.iter().all(fits)).then(|| format!("{}: expected {:#?}, got {shown}", self.title, self.expected))
    }
}

/// The result, and a line for each set: `1 DOMAIN SELECTOR cv=STATUS message=good|bad|- seal=good|bad|-`.
fn shown(chain: &Chain<'_>) -> String {
    let word = |judged: Option<Result<(), _>>| judged.map_or("-", |judged| if judged.is_ok() { "good" } else { "bad" });
    let line = |set: &Set<'_>| {
        format!(
            "\n{} {} {} cv={} message={} seal={}",
            set.instance,
            set.domain.unwrap_or("-"),
            set.selector.unwrap_or("-"),
            set.status.map_or("-".to_owned(), |status| status.to_string()),
            word(set.message_signature),
            word(set.seal)
        )
    };
    chain.to_string() + &chain.sets.iter().map(line).collect::<String>()
}

fn cases(file: &str) -> Vec<Case> {
    let mut common = Case { world: keys(), ..Case::default() };
    let mut cases: Vec<Case> = Vec::new();
    for line in read(file).lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match line.strip_prefix("case ") {
            Some(title) => cases.push(Case { title: title.to_owned(), ..common.clone() }),
            None => cases.last_mut().unwrap_or(&mut common).obey(line),
        }
    }
    assert!(!cases.is_empty() && cases.iter().all(|case| !case.expected.is_empty()), "{file}");
    cases
}

#[test]
fn scenarios() {
    let mut files: Vec<String> =
        std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    files.retain(|file| file.ends_with(".txt") && file != "keys.txt");
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    let wrong = |file: &String| -> Vec<String> {
        cases(file).iter().filter_map(Case::wrong).map(|wrong| format!("{file}: {wrong}")).collect()
    };
    let wrong: Vec<String> = files.iter().flat_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn sealed(name: &str) -> Case {
    Case { message: message(name), now: 1_800_000_000, world: keys(), ..Case::default() }
}

/// Each octet of the ARC fields of a chain that is changed, one after the other.
#[test]
fn no_octet_of_a_chain_can_be_changed() {
    let original = sealed("three.eml");
    assert_eq!(original.chain().status(), Status::Pass);
    let mut start = 0;
    for field in original.message.split_inclusive("\r\n").take_while(|line| *line != "\r\n") {
        let place = start;
        start += field.len();
        if field.starts_with("Received:") {
            continue;
        }
        for octet in place..start {
            let mut message = original.message.clone().into_bytes();
            message[octet] ^= 1;
            let chain = futures_lite::future::block_on(verify(&original.world, &message, original.now));
            assert_eq!(chain.status(), Status::Fail, "octet {octet} of {field:?}");
        }
    }
}

#[test]
fn a_key_is_asked_for_once() {
    let case = sealed("fifty.eml");
    let chain = case.chain();
    assert_eq!((chain.status(), chain.oldest_pass, chain.sets.len()), (Status::Pass, Some(0), 50));
    assert_eq!(chain.sealer(), Some("list.example"));
    assert_eq!(case.world.questions.get(), 2);
    let mut changed = sealed("fifty.eml");
    changed.message += "more";
    assert_eq!(changed.chain().status(), Status::Fail);
    assert_eq!(changed.world.questions.get(), 0, "the body tells without a key");
}

#[test]
fn what_the_sealers_found() {
    let case = sealed("list.eml");
    let chain = case.chain();
    assert_eq!((chain.status(), chain.sealer()), (Status::Pass, Some("forwarder.example")));
    let results = chain.results_of(2).unwrap();
    assert_eq!(results.authserv_id, "mx.list.example");
    let dmarc = results.of("dmarc").next().unwrap();
    assert!(dmarc.is("pass"));
    assert_eq!(dmarc.property("header", "from"), Some("author.example"));
    assert!(chain.results_of(3).unwrap().of("arc").all(|arc| arc.is("pass")));
    assert_eq!(chain.results_of(4), None);
}

/// DKIM and ARC of a message that comes in pieces are what each is of the whole.
#[test]
fn with_dkim() {
    for name in ["list.eml", "one.eml", "failed.eml"] {
        let case = sealed(name);
        let message = case.message.as_bytes();
        let header = case.message.find("\r\n\r\n").unwrap() + 4;
        let mut verifier = Verifier::begin(&message[..header], case.now);
        message[header..].chunks(7).for_each(|chunk| verifier.put_body(chunk));
        let asked = verifier.questions().iter().map(|name| case.world.lookup(name, Rtype::TXT));
        let answers = futures_lite::future::block_on(postring_auth::together(asked));
        let (signatures, chain) = verifier.finish(&message[..header], &answers);
        assert_eq!(chain, case.chain());
        let alone = futures_lite::future::block_on(postring_auth::dkim::verify(&case.world, message, case.now));
        assert_eq!(signatures, alone);
    }
}

#[test]
fn a_header_that_is_too_large() {
    let case = Case { message: "A:\r\n".repeat(10_001), ..Case::default() };
    assert_eq!(case.chain().problem, Some(Problem::Header));
}

/// Nothing here may take time with the square of its size; done plainly, this would be minutes.
#[test]
fn hostile_chains_cost_little() {
    let names = "a:".repeat(3_000);
    let mut case = sealed("one.eml");
    let body = " \r\n".repeat(1_000_000);
    case.message = format!("From: a\r\n{}\r\n{body}", "A: b\r\n".repeat(4_000));
    let tags = "a=ed25519-sha256; d=sealer.example; s=e";
    for instance in 1..=30 {
        let status = if instance == 1 { "none" } else { "pass" };
        // Each of another length: as many hashes of the body, if it were for them.
        let length = if instance == 30 { String::new() } else { format!("l={instance};") };
        let signature = format!(
            "i={instance}; {tags}; c=relaxed/relaxed; {length} h={names}from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA"
        );
        case.message = format!(
            "ARC-Authentication-Results: i={instance}; a\r\nARC-Message-Signature: {signature}\r\nARC-Seal: i={instance}; {tags}; cv={status}; b=AAAA\r\n{}",
            case.message
        );
    }
    let chain = case.chain();
    assert_eq!(chain.sets.len(), 30);
    assert_eq!(chain.reason(), "ARC-Message-Signature 30: the signature does not fit the signed fields and the key");
}
