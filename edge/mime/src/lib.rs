//! Binary content becomes lines (RFC 3030): a message whose parts may be any octets is written so that a file of lines, and a server that speaks
//! DATA, can have it.
//!
//! ```text
//!   content ── entity: header, body ──┬── multipart: preamble, parts between delimiters, each an entity
//!                                     ├── message/rfc822: an entity
//!                                     └── anything else: octets ── are they lines? ── as they are, or base64
//! ```
//! Only what must change does: the octets of a part that are no lines, its Content-Transfer-Encoding, and the word "binary" where it is not true any
//! more. What each part stands for stays the same. Signatures over the message break; they are verified before.
//!
//! Delimiters are those of RFC 2046 section 5.1.1 to the letter: CR LF, two hyphens, the boundary, white space, CR LF. Everything is bounded: depth,
//! parts, a header's octets. What cannot be read so is not guessed at ([`NotConvertible`]).

mod entity;
mod field;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entity::{Entity, Kind, Transfer};
use postring_mail::lines::are_lines;
use std::ops::Range;

/// Parts within parts.
const DEPTH_MAX: usize = 20;
/// Parts of a message.
const PARTS_MAX: usize = 1000;
/// Octets of a line of base64 (RFC 2045 section 6.8).
const BASE64_LINE_BYTES: usize = 76;

/// The content cannot be written in lines without guessing: 554 5.6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotConvertible;

impl std::fmt::Display for NotConvertible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the binary content cannot be converted")
    }
}

impl std::error::Error for NotConvertible {}

/// Octets that stand in the place of others.
struct Edit {
    range: Range<usize>,
    with: Vec<u8>,
}

struct Converter<'a> {
    content: &'a [u8],
    edits: Vec<Edit>,
    parts: usize,
    has_encoded: bool,
}

/// The content in lines of at most 998 octets without NUL; `None` if it is that already and says nothing else.
///
/// Costs a few passes over the content, and memory for it once more, a third larger at most for what is encoded.
///
/// # Errors
/// [`NotConvertible`].
pub fn to_lines(content: &[u8]) -> Result<Option<Vec<u8>>, NotConvertible> {
    let mut converter = Converter { content, edits: Vec::new(), parts: 0, has_encoded: false };
    converter.entity(0..content.len(), Kind::Text, 0)?;
    if converter.has_encoded {
        converter.say_mime();
    }
    let converted = converter.finish();
    match converted {
        Some(converted) if are_lines(&converted) => Ok(Some(converted)),
        None if are_lines(content) => Ok(None),
        _ => Err(NotConvertible),
    }
}

impl Converter<'_> {
    /// `default`: what an entity is that does not say (RFC 2046 section 5.1.5).
    fn entity(&mut self, range: Range<usize>, default: Kind, depth: usize) -> Result<(), NotConvertible> {
        self.parts += 1;
        if self.parts > PARTS_MAX || depth > DEPTH_MAX {
            return Err(NotConvertible);
        }
        let entity = Entity::read(self.content, range, default)?;
        match &entity.kind {
            Kind::Multipart { boundary, is_digest } => {
                let default = if *is_digest { Kind::Message } else { Kind::Text };
                for part in entity::parts(self.content, entity.body.clone(), boundary)? {
                    self.entity(part, default.clone(), depth + 1)?;
                }
                self.relabel(&entity)
            }
            // What says base64 of a whole message breaks RFC 2046 section 5.2.1, and is octets.
            Kind::Message if !matches!(entity.transfer, Transfer::Encoded) => {
                self.entity(entity.body.clone(), Kind::Text, depth + 1)?;
                self.relabel(&entity)
            }
            Kind::Message | Kind::Text => self.leaf(&entity),
        }
    }

    fn leaf(&mut self, entity: &Entity) -> Result<(), NotConvertible> {
        let octets = self.content.get(entity.body.clone()).unwrap_or_default();
        if are_lines(octets) {
            return self.relabel(entity);
        }
        match entity.transfer {
            // Encoded once, and still no lines.
            Transfer::Encoded => Err(NotConvertible),
            Transfer::Plain | Transfer::Binary | Transfer::Unsaid => {
                let encoded = STANDARD.encode(octets);
                let mut with = Vec::with_capacity(encoded.len() + encoded.len() / BASE64_LINE_BYTES * 2 + 2);
                for line in encoded.as_bytes().chunks(BASE64_LINE_BYTES) {
                    with.extend_from_slice(line);
                    with.extend_from_slice(b"\r\n");
                }
                // What follows the body of a part begins with the CR LF of its delimiter; a message ends with its own.
                if entity.body.end < self.content.len() {
                    with.truncate(with.len().saturating_sub(2));
                }
                self.edits.push(entity.transfer_field("base64"));
                self.edits.push(Edit { range: entity.body.clone(), with });
                self.has_encoded = true;
                Ok(())
            }
        }
    }

    /// What says that it is binary is 8bit now; that is true of what is 7bit, too.
    #[allow(clippy::unnecessary_wraps)] // as its callers
    fn relabel(&mut self, entity: &Entity) -> Result<(), NotConvertible> {
        if entity.transfer == Transfer::Binary {
            self.edits.push(entity.transfer_field("8bit"));
        }
        Ok(())
    }

    /// A message with an encoded part is MIME's, and says so.
    fn say_mime(&mut self) {
        if let Some(at) = entity::place_for_version(self.content) {
            self.edits.push(Edit { range: at..at, with: b"MIME-Version: 1.0\r\n".to_vec() });
        }
    }

    fn finish(mut self) -> Option<Vec<u8>> {
        if self.edits.is_empty() {
            return None;
        }
        self.edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
        let mut out = Vec::with_capacity(self.content.len() + self.edits.iter().map(|edit| edit.with.len()).sum::<usize>());
        let mut at = 0;
        for edit in &self.edits {
            out.extend_from_slice(self.content.get(at..edit.range.start).unwrap_or_default());
            out.extend_from_slice(&edit.with);
            at = edit.range.end;
        }
        out.extend_from_slice(self.content.get(at..).unwrap_or_default());
        Some(out)
    }
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic; what is converted is lines, and needs no second conversion.
#[doc(hidden)]
pub fn fuzz_to_lines(data: &[u8]) {
    if let Ok(Some(converted)) = to_lines(data) {
        assert!(are_lines(&converted));
        assert_eq!(to_lines(&converted), Ok(None));
    }
}
