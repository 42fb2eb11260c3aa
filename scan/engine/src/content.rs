//! A message and its parts: a bounded walk over what mail-parser finds.
//!
//! Cost: one parse (about 15 us for 10 KB) with mail-parser's allocations, accepted because a MIME parser of our own would be worse; parts
//! that need no decoding are borrowed from the slot.

use mail_parser::{Encoding, Message, MessageParser, MimeHeaders, PartType};
use postring_mail::verdict::{Outcome, Symbol, VerdictWriter};

/// Bounds of the walk.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Parts looked at; the rest is not, and a symbol says so.
    pub parts_max: usize,
    /// Messages within messages.
    pub depth_max: usize,
    /// Bytes of decoded parts together.
    pub decoded_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { parts_max: 500, depth_max: 8, decoded_bytes_max: 64 * 1024 * 1024 }
    }
}

/// One leaf of the MIME tree.
#[derive(Debug)]
pub struct Part<'a> {
    /// Its content, transfer encoding undone; text in UTF-8.
    pub bytes: &'a [u8],
    /// Plain or HTML text.
    pub text: Option<TextKind>,
    /// Its bytes do not stand in the message as they are (base64, quoted-printable, another charset).
    pub decoded: bool,
    /// The file name of an attachment.
    pub file_name: Option<&'a str>,
}

/// Kinds of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// text/plain and the like.
    Plain,
    /// text/html.
    Html,
}

/// What engines see.
#[derive(Debug)]
pub struct Content<'a> {
    /// The message as received, wire form.
    pub raw: &'a [u8],
    /// Subject, decoded.
    pub subject: &'a str,
    /// The From field's first address.
    pub from: &'a str,
    /// Leaves in the order they stand.
    pub parts: Vec<Part<'a>>,
}

/// Parses a message and shows its content to `engines`; what is odd about its structure becomes symbols.
pub fn with_content(
    raw: &[u8],
    limits: &Limits,
    verdict: &mut VerdictWriter,
    engines: impl FnOnce(&Content<'_>, &mut VerdictWriter),
) {
    let Some(message) = MessageParser::default().parse(raw) else {
        verdict.push(Symbol { name: "MIME_BROKEN", weight_milli: 1000, detail: "no header section" });
        return engines(&Content { raw, subject: "", from: "", parts: Vec::new() }, verdict);
    };
    let mut walk = Walk { limits, left: limits.decoded_bytes_max, parts: Vec::new(), cut: None };
    walk.visit(&message, 0);
    if let Some(what) = walk.cut {
        verdict.push(Symbol { name: "MIME_LIMIT", weight_milli: 2000, detail: what });
        verdict.set_outcome(Outcome::Partial);
    }
    let from = message.from().and_then(|from| from.first()).and_then(|address| address.address()).unwrap_or_default();
    let content = Content { raw, subject: message.subject().unwrap_or_default(), from, parts: walk.parts };
    engines(&content, verdict);
}

struct Walk<'l, 'a> {
    limits: &'l Limits,
    left: usize,
    parts: Vec<Part<'a>>,
    cut: Option<&'static str>,
}

impl<'a> Walk<'_, 'a> {
    fn visit(&mut self, message: &'a Message<'a>, depth: usize) {
        if depth > self.limits.depth_max {
            self.cut = Some("nested too deep");
            return;
        }
        for part in &message.parts {
            let (bytes, text) = match &part.body {
                PartType::Text(text) => (text.as_bytes(), Some(TextKind::Plain)),
                PartType::Html(text) => (text.as_bytes(), Some(TextKind::Html)),
                PartType::Binary(bytes) | PartType::InlineBinary(bytes) => (bytes.as_ref(), None),
                PartType::Message(nested) => {
                    self.visit(nested, depth + 1);
                    continue;
                }
                PartType::Multipart(_) => continue,
            };
            if self.parts.len() >= self.limits.parts_max {
                self.cut = Some("too many parts");
                return;
            }
            if bytes.len() > self.left {
                self.cut = Some("too large when decoded");
                return;
            }
            self.left -= bytes.len();
            let decoded = part.encoding != Encoding::None;
            self.parts.push(Part { bytes, text, decoded, file_name: part.attachment_name() });
        }
    }
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic.
#[doc(hidden)]
pub fn fuzz_content(data: &[u8]) {
    with_content(
        data,
        &Limits { parts_max: 20, depth_max: 3, decoded_bytes_max: 10_000 },
        &mut VerdictWriter::default(),
        |content, _| {
            assert!(content.parts.len() <= 20 && content.parts.iter().map(|part| part.bytes.len()).sum::<usize>() <= 10_000);
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_are_decoded() {
        let raw = b"From: a@b.example\r\nSubject: =?utf-8?q?h=C3=A4?=\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nhello\r\n--x\r\nContent-Type: application/octet-stream; name=\"a.exe\"\r\nContent-Transfer-Encoding: base64\r\n\r\nTVo=\r\n--x--\r\n";
        with_content(raw, &Limits::default(), &mut VerdictWriter::default(), |content, _| {
            assert_eq!((content.subject, content.from), ("h\u{e4}", "a@b.example"));
            assert_eq!(content.parts.len(), 2);
            assert!(content.parts[0].text == Some(TextKind::Plain) && !content.parts[0].decoded);
            assert_eq!(
                (content.parts[1].bytes, content.parts[1].decoded, content.parts[1].file_name),
                (&b"MZ"[..], true, Some("a.exe"))
            );
        });
    }

    #[test]
    fn limits_are_said() {
        let mut raw = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n".to_vec();
        for _ in 0..30 {
            raw.extend_from_slice(b"--x\r\n\r\na\r\n");
        }
        let mut verdict = VerdictWriter::default();
        with_content(&raw, &Limits { parts_max: 5, ..Limits::default() }, &mut verdict, |content, _| {
            assert_eq!(content.parts.len(), 5)
        });
        assert_eq!(verdict.score_milli(), 2000);
    }

    proptest! {
        #[test]
        fn anything_is_harmless(data in proptest::collection::vec(any::<u8>(), 0..400)) { fuzz_content(&data); }
    }
}
