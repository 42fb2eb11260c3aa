//! DKIM by scenario: `dkim/*.txt` say what is done to a message of `dkim/*.eml` and what its signatures are worth then.
//!
//! ```text
//!   message FILE            of this folder, its LF become CRLF
//!   now SECONDS
//!   case TITLE              what stands below is for this case, what stands above the first for all
//!   change OLD => NEW       the first OLD of the message; NEW may be nothing; \r \n \t \s are a CR, an LF, a tab and a space
//!   before TEXT             behind TEXT      put there
//!   txt NAME = TEXT         a record more; those of keys.txt are there without
//!   only NAME = TEXT        in place of all others of the name
//!   fail NAME               nobody answers
//!   = STATUS [TEXT]         a signature, from the top down, and what its result must have in it
//! ```
//! What keys.txt and the messages have was signed by another implementation, or one that another has verified (dkimpy 1.1.8).

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::{World, unescaped};
use postring_auth::dkim::{Verification, verify};
use std::path::{Path, PathBuf};

#[derive(Clone, Default)]
struct Case {
    title: String,
    message: Vec<u8>,
    now: u64,
    world: World,
    expected: Vec<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dkim")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn keys() -> World {
    World::read(&read("keys.txt"))
}

fn message(name: &str) -> Vec<u8> {
    read(name).replace('\n', "\r\n").into_bytes()
}

impl Case {
    fn obey(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap();
        match word {
            "message" => self.message = message(rest),
            "now" => self.now = rest.parse().unwrap(),
            "change" => {
                let (old, new) = rest.split_once(" =>").map(|(old, new)| (unescaped(old), unescaped(new.trim_start()))).unwrap();
                let text = String::from_utf8(std::mem::take(&mut self.message)).unwrap();
                assert!(text.contains(&old), "{}: no {old:?}", self.title);
                self.message = text.replacen(&old, &new, 1).into_bytes();
            }
            "before" => self.message = [unescaped(rest).as_bytes(), &self.message].concat(),
            "behind" => self.message.extend_from_slice(unescaped(rest).as_bytes()),
            "txt" | "only" | "fail" => self.world.obey(word, rest),
            "=" => self.expected.push(rest.to_owned()),
            _ => panic!("{word:?} is no word of a scenario"),
        }
    }

    fn results(&self) -> Vec<Verification> {
        futures_lite::future::block_on(verify(&self.world, &self.message, self.now))
    }

    /// What is not as expected.
    fn wrong(&self) -> Option<String> {
        let shown: Vec<String> = self.results().iter().map(ToString::to_string).collect();
        let fits = |(expected, shown): (&String, &String)| {
            let (status, part) = expected.split_once(' ').unwrap_or((expected, ""));
            shown.split(' ').next() == Some(&format!("dkim={status}")) && shown.contains(part)
        };
        let right = shown.len() == self.expected.len() && self.expected.iter().zip(&shown).all(fits);
        (!right).then(|| format!("{}: expected {:#?}, got {shown:#?}", self.title, self.expected))
    }
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
    assert!(files.len() >= 6, "{files:?}");
    let wrong = |file: &String| -> Vec<String> {
        cases(file).iter().filter_map(Case::wrong).map(|wrong| format!("{file}: {wrong}")).collect()
    };
    let wrong: Vec<String> = files.iter().flat_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each octet of a signed message that is changed, one after the other: in what is signed nothing may be.
#[test]
fn no_octet_can_be_changed() {
    let original = Case { message: message("rfc6376-a.eml"), now: 1_117_574_938, world: keys(), ..Case::default() };
    let start = original.message.windows(9).position(|octets| octets == b"Received:").unwrap();
    assert_eq!(original.results()[0].problem, None);
    for place in start..original.message.len() {
        let mut case = original.clone();
        case.message[place] ^= 1;
        assert_ne!(case.results()[0].problem, None, "octet {place}");
    }
}

#[test]
fn a_name_is_asked_once() {
    let case = Case { message: message("ten.eml"), now: 1_800_000_000, world: keys(), ..Case::default() };
    assert_eq!(case.results().len(), 9);
    assert_eq!(case.world.questions.get(), 1);
}

/// Nothing here may take time with the square of its size; done plainly, this would be minutes.
#[test]
fn large_messages_are_read_once() {
    let names = "a:".repeat(9_000);
    let signature = format!(
        "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=sender.example; s=e; h={names}from;\r\n \
         bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n"
    );
    let header = format!("{}From: a\r\n{}\r\n", signature.repeat(8), "A: b\r\n".repeat(9_000));
    let body = " \r\n".repeat(4_000_000);
    let case = Case { message: format!("{header}{body}").into_bytes(), now: 1_800_000_000, world: keys(), ..Case::default() };
    let results = case.results();
    assert_eq!(results.len(), 8);
    assert!(results.iter().all(|result| result.problem == Some(postring_auth::dkim::Problem::Signature)), "{results:?}");
}

#[test]
fn a_header_that_is_too_large() {
    let case = Case { message: "A:\r\n".repeat(10_001).into_bytes(), ..Case::default() };
    assert_eq!(case.results()[0].to_string(), "dkim=neutral reason=\"the header is too large to be looked at\"");
}
