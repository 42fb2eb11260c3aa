//! A message and its parts: a bounded walk (RFC 2045, RFC 2046).
//!
//! mail-parser reads header sections and nothing more. Its own walk has no bounds: messages nested 100,000 deep (3 MB) overflow a stack of 2 MiB when
//! they are dropped, 20,000 multiparts whose boundary never comes (1 MB) take it ten seconds, and both may hide in base64. Here every level
//! of nesting goes over its bytes once, levels, sections and decoded bytes are counted, and nothing is parsed that is not counted.
//!
//! Cost: one search over the body for each level of multipart, an allocation for each decoded part; parts that need no decoding are borrowed
//! from the slot.

mod decode;

use decode::{decode_base64, decode_quoted_printable, decode_text};
use mail_parser::{HeaderName, Message, MessageParser, MimeHeaders};
use memchr::{memchr, memmem};
use postring_mail::verdict::{Outcome, Symbol, VerdictWriter};
use std::borrow::Cow;
use std::sync::LazyLock;

/// Multiparts and messages within each other: each costs one more pass over the bytes.
const LEVELS_MAX: usize = 32;
/// Sections looked at for each part that is allowed: those that lead to no part cost time, too.
const SECTIONS_A_PART: usize = 4;
/// Header sections are read so far; mail-parser's time grows with the square of a field's parameters.
const HEADER_BYTES_MAX: usize = 256 * 1024;
const PART_HEADER_BYTES_MAX: usize = 8 * 1024;

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
    /// Leaves in the order they stand; those of messages that were encoded come last.
    pub parts: Vec<Part<'a>>,
}

/// Shows a message's content to `engines`; what is odd about its structure becomes symbols.
pub fn with_content(
    raw: &[u8],
    limits: &Limits,
    verdict: &mut VerdictWriter,
    engines: impl FnOnce(&Content<'_>, &mut VerdictWriter),
) {
    let (header, _) = split_header(raw);
    let Some(head) = parse_header(header, HEADER_BYTES_MAX) else {
        verdict.push(Symbol { name: "MIME_BROKEN", weight_milli: 1000, detail: "no header section" });
        return engines(&Content { raw, subject: "", from: "", parts: Vec::new() }, verdict);
    };
    let mut walk = Walk { limits, left: limits.decoded_bytes_max, leaves: 0, sections: 0, cut: None };
    let leaves = walk.all(raw);
    if let Some(what) = walk.cut {
        verdict.push(Symbol { name: "MIME_LIMIT", weight_milli: 2000, detail: what });
        verdict.set_outcome(Outcome::Partial);
    }
    let from = head.from().and_then(|from| from.first()).and_then(|address| address.address()).unwrap_or_default();
    let parts = leaves.iter().map(Leaf::part).collect();
    engines(&Content { raw, subject: head.subject().unwrap_or_default(), from, parts }, verdict);
}

/// The header section, its empty line included, and the body.
fn split_header(raw: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    loop {
        let rest = raw.get(at..).unwrap_or_default();
        let line = memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        at += line;
        if matches!(rest.get(..line), Some(b"\r\n" | b"\n" | b"")) {
            return raw.split_at_checked(at).unwrap_or((raw, &[]));
        }
    }
}

fn parse_header(header: &[u8], bytes_max: usize) -> Option<Message<'_>> {
    static PARSER: LazyLock<MessageParser> = LazyLock::new(|| {
        let parser = MessageParser::new().header_content_type(HeaderName::ContentType);
        let parser = parser.header_content_type(HeaderName::ContentDisposition).header_text(HeaderName::ContentTransferEncoding);
        parser.header_text(HeaderName::Subject).header_address(HeaderName::From).default_header_ignore()
    });
    PARSER.parse_headers(header.get(..header.len().min(bytes_max))?)
}

/// A part with the bytes that were made for it.
#[derive(Debug)]
struct Leaf<'a> {
    bytes: Cow<'a, [u8]>,
    text: Option<TextKind>,
    file_name: Option<String>,
}

impl Leaf<'_> {
    fn part(&self) -> Part<'_> {
        let decoded = matches!(self.bytes, Cow::Owned(_));
        Part { bytes: &self.bytes, text: self.text, decoded, file_name: self.file_name.as_deref() }
    }
}

/// Where a section stands.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Messages it is within.
    depth: usize,
    /// Messages and multiparts it is within.
    level: usize,
    /// It is a message if it does not say what it is (RFC 2046 section 5.1.5).
    digest: bool,
}

/// What a section is, as its header says.
enum Kind {
    Multipart { boundary: String, digest: bool },
    Message,
    Text(TextKind),
    Other,
}

impl Kind {
    fn of(head: Option<&Message<'_>>, digest: bool) -> Self {
        let content_type = head.and_then(|head| head.content_type());
        match content_type.map(|content_type| (content_type.ctype(), content_type.subtype().unwrap_or_default())) {
            None if digest => Self::Message,
            //= RFC 2045 section 5.2
            //# Default RFC 822 messages without a MIME Content-Type header are taken by this protocol to be plain text
            None => Self::Text(TextKind::Plain),
            Some(("multipart", subtype)) => match content_type.and_then(|content_type| content_type.attribute("boundary")) {
                Some(boundary) if !boundary.is_empty() => {
                    Self::Multipart { boundary: boundary.to_owned(), digest: subtype == "digest" }
                }
                _ => Self::Text(TextKind::Plain),
            },
            Some(("message", "rfc822" | "global")) => Self::Message,
            Some(("text", "html")) => Self::Text(TextKind::Html),
            Some(("text", _)) => Self::Text(TextKind::Plain),
            Some(_) => Self::Other,
        }
    }
}

struct Walk<'l> {
    limits: &'l Limits,
    left: usize,
    leaves: usize,
    sections: usize,
    cut: Option<&'static str>,
}

/// What the walk over one buffer has found: its leaves, and messages that were encoded, each to be walked over in turn.
type Found<'a> = (Vec<Leaf<'a>>, Vec<(Vec<u8>, Place)>);

impl Walk<'_> {
    /// All leaves of the message, those of encoded messages behind the others.
    fn all<'a>(&mut self, raw: &'a [u8]) -> Vec<Leaf<'a>> {
        let mut found = (Vec::new(), Vec::new());
        self.visit(raw, Place::default(), &mut found);
        let (mut leaves, mut encoded) = found;
        while let Some((bytes, place)) = encoded.pop() {
            let mut found = (Vec::new(), Vec::new());
            self.visit(&bytes, place, &mut found);
            let own = |leaf: Leaf<'_>| Leaf { bytes: Cow::Owned(leaf.bytes.into_owned()), ..leaf };
            leaves.extend(found.0.into_iter().map(own));
            encoded.append(&mut found.1);
        }
        leaves
    }

    fn visit<'a>(&mut self, raw: &'a [u8], place: Place, found: &mut Found<'a>) {
        self.sections += 1;
        if self.sections > self.limits.parts_max.saturating_mul(SECTIONS_A_PART) {
            self.cut = Some("too many parts");
            return;
        }
        if place.depth > self.limits.depth_max || place.level > LEVELS_MAX {
            self.cut = Some("nested too deep");
            return;
        }
        let (header, body) = split_header(raw);
        let header_bytes_max = if place.level == 0 { HEADER_BYTES_MAX } else { PART_HEADER_BYTES_MAX };
        if header.len() > header_bytes_max {
            self.cut = Some("header too long");
        }
        let head = parse_header(header, header_bytes_max);
        let head = head.as_ref();
        let text = match Kind::of(head, place.digest) {
            Kind::Multipart { boundary, digest } => {
                let inner = Place { level: place.level + 1, digest, ..place };
                if for_each_piece(body, boundary.as_bytes(), |piece| self.visit(piece, inner, found)) {
                    return;
                }
                // No boundary in sight: whoever shows it shows it as text.
                Some(TextKind::Plain)
            }
            Kind::Message => {
                let inner = Place { depth: place.depth + 1, level: place.level + 1, digest: false };
                match undo_encoding(head, body) {
                    Cow::Borrowed(body) => self.visit(body, inner, found),
                    Cow::Owned(_) if inner.depth > self.limits.depth_max => self.cut = Some("nested too deep"),
                    Cow::Owned(bytes) if self.take(bytes.len()) => found.1.push((bytes, inner)),
                    Cow::Owned(_) => {}
                }
                return;
            }
            Kind::Text(kind) => Some(kind),
            Kind::Other => None,
        };
        if self.leaves >= self.limits.parts_max {
            self.cut = Some("too many parts");
            return;
        }
        let mut bytes = undo_encoding(head, body);
        if text.is_some() {
            let charset = head.and_then(|head| head.content_type()).and_then(|content_type| content_type.attribute("charset"));
            bytes = decode_text(bytes, charset);
        }
        if self.take(bytes.len()) {
            self.leaves += 1;
            let file_name = head.and_then(|head| head.attachment_name()).map(str::to_owned);
            found.0.push(Leaf { bytes, text, file_name });
        }
    }

    /// Counts bytes of parts; false if there are too many.
    fn take(&mut self, bytes: usize) -> bool {
        let Some(left) = self.left.checked_sub(bytes) else {
            self.cut = Some("too large when decoded");
            return false;
        };
        self.left = left;
        true
    }
}

fn undo_encoding<'a>(head: Option<&Message<'_>>, body: &'a [u8]) -> Cow<'a, [u8]> {
    match head.and_then(|head| head.content_transfer_encoding()) {
        Some(encoding) if encoding.eq_ignore_ascii_case("base64") => decode_base64(body).into(),
        Some(encoding) if encoding.eq_ignore_ascii_case("quoted-printable") => decode_quoted_printable(body).into(),
        _ => body.into(),
    }
}

/// Calls `each` with what stands between the lines that begin with the boundary; false if there is no such line.
fn for_each_piece<'a>(body: &'a [u8], boundary: &[u8], mut each: impl FnMut(&'a [u8])) -> bool {
    let delimiter = [b"--", boundary].concat();
    let finder = memmem::Finder::new(&delimiter);
    let mut open = None;
    let mut at = 0;
    while let Some(found) = body.get(at..).and_then(|rest| finder.find(rest)) {
        let (start, end) = (at + found, at + found + delimiter.len());
        at = end;
        if start > 0 && body.get(start - 1) != Some(&b'\n') {
            continue;
        }
        if let Some(piece) = open.and_then(|open| body.get(open..start)) {
            //= RFC 2046 section 5.1.1
            //# The CRLF preceding the boundary delimiter line is conceptually attached to the boundary
            let piece = piece.strip_suffix(b"\n").unwrap_or(piece);
            each(piece.strip_suffix(b"\r").unwrap_or(piece));
        }
        //= RFC 2046 section 5.1.1
        //# An exact match of the entire candidate line is not required; it is sufficient that the boundary appear in its entirety
        //# following the CRLF.
        let rest = body.get(end..).unwrap_or_default();
        if rest.starts_with(b"--") {
            return true;
        }
        at = end + memchr(b'\n', rest).map_or(rest.len(), |line_end| line_end + 1);
        open = Some(at);
    }
    // The last part is there even if its end is not.
    if let Some(piece) = open.and_then(|open| body.get(open..)) {
        each(piece);
    }
    open.is_some()
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic.
#[doc(hidden)]
pub fn fuzz_content(data: &[u8]) {
    let limits = Limits { parts_max: 20, depth_max: 3, decoded_bytes_max: 10_000 };
    with_content(data, &limits, &mut VerdictWriter::default(), |content, _| {
        assert!(content.parts.len() <= 20 && content.parts.iter().map(|part| part.bytes.len()).sum::<usize>() <= 10_000);
        let within = data.as_ptr_range();
        for part in content.parts.iter().filter(|part| !part.decoded && !part.bytes.is_empty()) {
            assert!(within.contains(&part.bytes.as_ptr()));
        }
        assert!(content.parts.iter().all(|part| part.text.is_none() || std::str::from_utf8(part.bytes).is_ok()));
    });
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

    /// What is said of a message, and the parts that were found.
    fn walked(raw: &[u8]) -> (i32, Vec<String>) {
        let mut verdict = VerdictWriter::default();
        let mut parts = Vec::new();
        with_content(raw, &Limits::default(), &mut verdict, |content, _| {
            parts = content.parts.iter().map(|part| String::from_utf8_lossy(part.bytes).into_owned()).collect();
        });
        (verdict.score_milli(), parts)
    }

    #[test]
    fn structures() {
        let mixed = "Content-Type: multipart/mixed; boundary=x\r\n\r\n";
        for (raw, expected) in [
            // Preamble and epilogue are nobody's; a boundary is one at the start of a line only.
            (format!("{mixed}preamble\r\n--x\r\n\r\na--x\r\n--x--\r\nepilogue\r\n"), &["a--x"][..]),
            (format!("{mixed}--x  \r\n\r\na\r\n--x-y\r\n\r\nb"), &["a", "b"]),
            (format!("{mixed}--x\r\n\r\n--x\r\n--x\r\n\r\n\r\n--x--"), &["", "", ""]),
            (format!("{mixed}no boundary"), &["no boundary"]),
            (mixed.replace("x\r\n", "\"\"\r\n") + "--\r\n\r\na", &["--\r\n\r\na"]),
            (mixed.replace("mixed", "digest") + "--x\n\nSubject: a\n\nb\n--x\nContent-Type: text/plain\n\nc", &["b", "c"]),
            (
                format!(
                    "{mixed}--x\r\nContent-Type: message/rfc822\r\n\r\n{}--y\r\n\r\na\r\n--x\r\n\r\nb",
                    mixed.replace('x', "y")
                ),
                &["a", "b"],
            ),
        ] {
            let (score, parts) = walked(raw.as_bytes());
            assert!(score == 0 && parts == expected, "{raw}: {parts:?}");
        }
    }

    /// "Subject: a", an empty line, "evil": in base64, within base64.
    #[test]
    fn encoded_messages_are_messages() {
        let head = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n";
        assert_eq!(walked(format!("{head}U3ViamVjdDogYQ0KDQpldmls").as_bytes()), (0, vec!["evil".to_owned()]));
    }

    /// The first ones took mail-parser's own walk down: by the stack, or by minutes.
    #[test]
    fn no_structure_overflows_or_runs_away() {
        let message = "Content-Type: message/rfc822\r\n\r\n";
        let multipart = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n";
        let lost = "--b\r\nContent-Type: multipart/mixed; boundary=nowhere\r\n\r\n";
        let parameters: String = (0..20_000).map(|number| format!("; a{number}*=u'x'y")).collect();
        for raw in [
            message.repeat(200_000),
            multipart.repeat(100_000),
            format!("{multipart}{}", message.repeat(200_000)),
            format!("{multipart}{}", lost.repeat(100_000)),
            format!("{multipart}{}", "--b\r\n".repeat(1_000_000)),
            format!("{multipart}{}", format!("--b\r\n{message}").repeat(100_000)),
            format!("Content-Type: a/b{parameters}\r\n\r\n"),
            "a".repeat(10_000_000),
            "a:\r\n".repeat(1_000_000),
        ] {
            walked(raw.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn anything_is_harmless(data in proptest::collection::vec(any::<u8>(), 0..400)) { fuzz_content(&data); }
    }
}
