//! What is converted, what is left, what is refused; and that a reader finds the octets that were sent.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use base64::Engine;
use postring_mail::lines::are_lines;
use postring_mime::{NotConvertible, fuzz_to_lines, to_lines};
use proptest::prelude::*;
use std::path::Path;

fn converted(content: &str) -> String {
    String::from_utf8(to_lines(content.as_bytes()).unwrap().unwrap_or_else(|| content.as_bytes().to_vec())).unwrap()
}

#[test]
fn a_binary_part_becomes_base64_and_nothing_else_changes() {
    let message = "From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary=\"x y\"\r\nContent-Transfer-Encoding: binary\r\n\r\n\
        preamble\r\n--x y\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\u{fc}ber\r\n\r\n--x y \t\r\n\
        Content-Type: application/octet-stream\r\ncontent-transfer-encoding:\r\n BINARY\r\nX: y\r\n\r\n\0a\nb\r\r\n--x y\r\n\r\nbare\nlf\r\n--x y--\r\nepilogue\r\n";
    assert_eq!(
        converted(message),
        "From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary=\"x y\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         preamble\r\n--x y\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\u{fc}ber\r\n\r\n--x y \t\r\n\
         Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\nX: y\r\n\r\nAGEKYg0=\r\n--x y\r\n\
         Content-Transfer-Encoding: base64\r\n\r\nYmFyZQpsZg==\r\n--x y--\r\nepilogue\r\n"
    );
}

#[test]
fn a_message_without_mime_becomes_mime() {
    assert_eq!(
        converted("Subject: x\r\n\r\na\nb\r\n"),
        "Subject: x\r\nContent-Transfer-Encoding: base64\r\nMIME-Version: 1.0\r\n\r\nYQpiDQo=\r\n"
    );
}

#[test]
fn a_message_within_is_converted_within() {
    let inner = "Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\0";
    let outer = format!("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\n{inner}");
    assert_eq!(
        converted(&outer),
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\nMIME-Version: 1.0\r\n\r\n\
         Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAA==\r\n"
    );
    // A digest's parts are messages without saying so.
    let digest =
        "Content-Type: multipart/digest; boundary=d\r\nMIME-Version: 1.0\r\n\r\n--d\r\n\r\nSubject: a\r\n\r\n\0\r\n--d--";
    assert!(
        converted(digest).contains("--d\r\n\r\nSubject: a\r\nContent-Transfer-Encoding: base64\r\n\r\nAA==\r\n--d--"),
        "{}",
        converted(digest)
    );
}

#[test]
fn what_is_lines_stays() {
    for message in [
        "Subject: x\r\n\r\nbody\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nno end",
    ] {
        assert_eq!(to_lines(message.as_bytes()), Ok(None), "{message}");
    }
    assert_eq!(converted("Content-Transfer-Encoding: Binary\r\n\r\nx\r\n"), "Content-Transfer-Encoding: 8bit\r\n\r\nx\r\n");
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let multipart = |boundary: &str, body: &str| format!("Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n{body}");
    for message in [
        // No header's end; a header that is no lines.
        "Subject: x\r\n".to_owned(),
        "Subject: a\nb\r\n\r\n\0".to_owned(),
        // Encoded already, and no lines.
        "Content-Transfer-Encoding: base64\r\n\r\nAA==\n".to_owned(),
        "Content-Transfer-Encoding: x-none\r\n\r\n\0".to_owned(),
        // Said twice.
        "Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n\0".to_owned(),
        "Content-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: binary\r\n\r\nx".to_owned(),
        // No parts; an octet that is no line beside them.
        multipart("b", "\0 nothing"),
        multipart("b", "a\nb\r\n--b\r\n\r\nx\r\n--b--\r\n"),
        multipart("b", "--b\r\n\r\nx\r\n--b--\r\n\0"),
        multipart("", "--\r\n\r\n\0\r\n----\r\n"),
    ] {
        assert_eq!(to_lines(message.as_bytes()), Err(NotConvertible), "{message:?}");
    }
    // Too deep, too many.
    let deep = |levels: usize| {
        let mut message = "\r\n\0".to_owned();
        for level in 0..levels {
            message = format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n{message}\r\n--b{level}--");
        }
        message
    };
    assert!(to_lines(deep(20).as_bytes()).is_ok());
    assert_eq!(to_lines(deep(21).as_bytes()), Err(NotConvertible));
    let many = |parts: usize| multipart("b", &format!("--b{}", "\r\n\r\nx\r\n--b".repeat(parts)));
    assert_eq!(to_lines((many(2000) + "--").as_bytes()), Err(NotConvertible));
}

/// The bodies of a flat multipart, decoded: by the letter, without the code that is tested.
fn bodies(message: &[u8]) -> Vec<Vec<u8>> {
    let text: Vec<&[u8]> = split(message, b"\r\n--bound");
    text[1..text.len() - 1]
        .iter()
        .map(|part| {
            let [header, body @ ..] = &split(&part[2..], b"\r\n\r\n")[..] else { panic!() };
            let body = body.join(&b"\r\n\r\n"[..]);
            if String::from_utf8_lossy(header).contains("base64") {
                let digits: Vec<u8> = body.into_iter().filter(|octet| !octet.is_ascii_whitespace()).collect();
                base64::engine::general_purpose::STANDARD.decode(digits).unwrap()
            } else {
                body
            }
        })
        .collect()
}

fn split<'a>(text: &'a [u8], by: &[u8]) -> Vec<&'a [u8]> {
    let (mut found, mut from, mut at) = (Vec::new(), 0, 0);
    while at + by.len() <= text.len() {
        if &text[at..at + by.len()] == by {
            found.push(&text[from..at]);
            at += by.len();
            from = at;
        } else {
            at += 1;
        }
    }
    found.push(&text[from..]);
    found
}

proptest! {
    #[test]
    fn each_part_stands_for_the_same_octets(
        parts in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(0), any::<u8>()], 0..200), 1..5)
    ) {
        let mut message = b"Subject: x\r\nContent-Type: multipart/mixed; boundary=bound\r\n\r\n".to_vec();
        for part in &parts {
            message.extend_from_slice(b"\r\n--bound\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\n");
            message.extend_from_slice(part);
        }
        message.extend_from_slice(b"\r\n--bound--\r\n");
        prop_assume!(parts.iter().all(|part| split(part, b"--bound").len() == 1));
        let converted = to_lines(&message).unwrap().unwrap();
        prop_assert!(are_lines(&converted));
        prop_assert_eq!(bodies(&converted), parts);
        prop_assert_eq!(to_lines(&converted), Ok(None));
    }

    #[test]
    fn any_octets_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..500)) { fuzz_to_lines(&data); }

    #[test]
    fn likely_text_is_harmless(text in "(Content-(Type|Transfer-Encoding): ?(multipart/(mixed|digest); boundary=b|message/rfc822|binary|8bit|base64)\r\n|\r\n|--b(--)?\r\n|[a\r\n\0]|--){0,30}") {
        fuzz_to_lines(text.as_bytes());
    }
}

#[test]
fn kept_inputs_are_harmless() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/inputs/to_lines");
    let inputs: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(inputs.len() >= 5);
    inputs.iter().for_each(|input| fuzz_to_lines(&std::fs::read(input).unwrap()));
}
