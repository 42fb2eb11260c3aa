//! An entity (RFC 2045 section 2.4): its header, what it says of its body, and the parts of that.

use crate::field::{boundary, field, header_end, media_type};
use crate::{Edit, NotConvertible, PARTS_MAX};
use memchr::memmem;
use std::ops::Range;

/// What an entity's body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Parts between delimiters.
    Multipart { boundary: Vec<u8>, is_digest: bool },
    /// A message of its own.
    Message,
    /// Octets.
    Text,
}

/// What its Content-Transfer-Encoding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// There is none: 7bit.
    Unsaid,
    /// 7bit or 8bit.
    Plain,
    /// Any octets.
    Binary,
    /// Base64, quoted-printable, or what nobody knows.
    Encoded,
}

pub(crate) struct Entity {
    pub kind: Kind,
    pub transfer: Transfer,
    pub body: Range<usize>,
    /// Where Content-Transfer-Encoding stands, or would.
    place: Range<usize>,
}

impl Entity {
    pub(crate) fn read(content: &[u8], range: Range<usize>, default: Kind) -> Result<Self, NotConvertible> {
        let (header_end, body) = header_end(content, &range)?;
        let header = range.start..header_end;
        let kind = match field(content, &header, b"Content-Type")? {
            None => default,
            Some(found) => match media_type(&found.value).as_str() {
                "message/rfc822" | "message/global" => Kind::Message,
                kind if kind.starts_with("multipart/") => {
                    Kind::Multipart { boundary: boundary(&found.value)?, is_digest: kind == "multipart/digest" }
                }
                _ => Kind::Text,
            },
        };
        let found = field(content, &header, b"Content-Transfer-Encoding")?;
        let transfer =
            found.as_ref().map_or(Transfer::Unsaid, |found| match found.value.trim_ascii().to_ascii_lowercase().as_slice() {
                b"7bit" | b"8bit" => Transfer::Plain,
                b"binary" => Transfer::Binary,
                _ => Transfer::Encoded,
            });
        let place = found.map_or(header_end..header_end, |found| found.range);
        Ok(Self { kind, transfer, body: body..range.end, place })
    }

    /// Its Content-Transfer-Encoding, written anew.
    pub(crate) fn transfer_field(&self, encoding: &str) -> Edit {
        Edit { range: self.place.clone(), with: format!("Content-Transfer-Encoding: {encoding}\r\n").into_bytes() }
    }
}

/// The parts of a multipart's body. One that has no end is read to the end of what it is in.
pub(crate) fn parts(content: &[u8], body: Range<usize>, boundary: &[u8]) -> Result<Vec<Range<usize>>, NotConvertible> {
    let delimiter = [b"\r\n--", boundary].concat();
    let finder = memmem::Finder::new(&delimiter);
    let octets = content.get(body.clone()).unwrap_or_default();
    let mut found = Vec::new();
    // Where the part before the next delimiter begins, once there was one.
    let mut begin = None;
    let first = delimiter.get(2..).filter(|first| octets.starts_with(first)).map(|_| 0);
    let mut next = first.or_else(|| finder.find(octets).map(|at| at + 2));
    while let Some(at) = next {
        let behind = at + delimiter.len() - 2;
        // A part that is empty has the CR LF of its delimiter as its first.
        let end_of_part = at.saturating_sub(2);
        let line = octets.get(behind..).unwrap_or_default();
        let (is_last, rest) = match line.strip_prefix(b"--") {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let blank = rest.iter().take_while(|octet| **octet == b' ' || **octet == b'\t').count();
        let is_whole = rest.get(blank..).is_some_and(|end| end.starts_with(b"\r\n") || (is_last && end.is_empty()));
        if is_whole {
            if let Some(begin) = begin {
                found.push(body.start + begin..body.start + end_of_part.max(begin));
            }
            if found.len() > PARTS_MAX {
                return Err(NotConvertible);
            }
            if is_last {
                return Ok(found);
            }
            begin = Some(behind + blank + 2);
        }
        let from = behind;
        next = finder.find(octets.get(from..).unwrap_or_default()).map(|more| from + more + 2);
    }
    match begin {
        Some(begin) => found.push(body.start + begin..body.end),
        // Nobody could say what is in it.
        None => return Err(NotConvertible),
    }
    Ok(found)
}

/// Where MIME-Version belongs in a message that has none.
pub(crate) fn place_for_version(content: &[u8]) -> Option<usize> {
    let (end, _) = header_end(content, &(0..content.len())).ok()?;
    field(content, &(0..end), b"MIME-Version").ok()?.is_none().then_some(end)
}
