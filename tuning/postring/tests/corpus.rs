//! Mails as they are, broken ones too, through the running system: what arrives is what was sent, byte for byte, without the
//! Return-Path fields of others (RFC 5321 section 4.4).
//!
//! `POSTRING_CORPUS=FOLDER cargo test --test corpus` sends every file below FOLDER instead of the few that are made here.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{System, behind_trace, files};
use std::collections::BTreeMap;
use std::path::Path;

/// Shapes that programs have stumbled over.
fn made_here() -> Vec<Vec<u8>> {
    let header = b"From: a@b.example\nTo: c@d.example\nSubject: x\n";
    let mut all: Vec<Vec<u8>> = [
        &b""[..],
        b"\n",
        b"no header at all\n",
        b"no end of line",
        b"\n.\n..\n...\n.x\n",
        b"Subject: =?utf-8?q?=C3=A4?=\nContent-Type: multipart/mixed; boundary=\"never\"\n\nno part\n",
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n--b--\n--b--\n",
        b"Content-Type: text/plain; charset=iso-8859-1\n\ncaf\xe9 \xff\xfe\x80\n",
        b"Content-Transfer-Encoding: base64\n\n!!!not base64!!!\n",
        b"Received: from us\nReturn-Path: <old@x.example>\nX-Spam-Flag: NO\n\nx\n",
        b" folded before any field\n\nx\n",
        b"\tx\n\n\x01\x02\x1b[0m\x7f\n",
    ]
    .iter()
    .map(|body| [&header[..], body].concat())
    .collect();
    all.push([&header[..], b"\n", &b"x".repeat(3000), b"\n"].concat());
    all.push([&header[..], b"X-Long: ", &b"y ".repeat(20_000), b"\n\nx\n"].concat());
    all.push([&header[..], b"\n", &b"line\n".repeat(30_000)].concat());
    all
}

fn read_below(folder: &Path, all: &mut Vec<Vec<u8>>) {
    for path in files(folder) {
        if path.is_dir() {
            read_below(&path, all);
        } else {
            all.push(std::fs::read(&path).unwrap());
        }
    }
}

/// A mail in its file: every line ends with LF, the last one too.
fn whole(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + 1);
    let (mut in_header, mut in_path) = (true, false);
    for line in mail.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        in_header &= !line.is_empty();
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii_end();
            in_path = name.eq_ignore_ascii_case(b"Return-Path") && line.len() > name.len();
        }
        if in_header && in_path {
            continue;
        }
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out
}

#[test]
fn what_arrives_is_what_was_sent() {
    let mut mails = Vec::new();
    let corpus = std::env::var_os("POSTRING_CORPUS");
    match &corpus {
        Some(folder) => read_below(Path::new(folder), &mut mails),
        None => mails = made_here(),
    }
    let mut system = System::init();
    // The public mails hold spam; refusals are another test's matter.
    system.append_config("\n[policy]\nmark_score = 9000.0\njunk_score = 9000.0\nreject_score = 9000.0\n");
    system.up();
    let (mut sent, mut refused) = (BTreeMap::<Vec<u8>, usize>::new(), 0);
    let mut smtp = system.smtp();
    for mail in &mails {
        let reply = smtp.send(&["alice@test.example"], mail).unwrap();
        if reply.starts_with("250") {
            *sent.entry(whole(mail)).or_default() += 1;
        } else {
            // A bare CR or a NUL (edge/decisions/0001); nothing else may be refused.
            assert!(reply.starts_with("550 5.6.0"), "{reply}");
            let body = whole(mail);
            assert!(body.iter().any(|byte| matches!(byte, b'\r' | 0)), "refused without a reason: {reply}");
            refused += 1;
        }
    }
    let count: usize = sent.values().sum();
    system.wait("all files", || system.inbox("alice").len() == count);
    for path in system.inbox("alice") {
        let file = std::fs::read(&path).unwrap();
        let content = behind_trace(&file);
        let left = sent.get_mut(content).unwrap_or_else(|| panic!("{} is no mail that was sent", path.display()));
        *left = left.checked_sub(1).unwrap_or_else(|| panic!("{} came more often than it was sent", path.display()));
    }
    assert!(sent.values().all(|left| *left == 0));
    println!("{count} mails arrived as they were sent, {refused} with a bare CR or NUL were refused");
}
