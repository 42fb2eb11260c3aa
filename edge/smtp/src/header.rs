//! A short look at a message's header section: what a server must know before it takes the message. Not a parser of mail.

use memchr::{memchr, memmem};
use postring_mail::limits::HEADER_BYTES_MAX;

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HeaderFacts {
    /// Received fields (loop detection, RFC 5321 section 6.3).
    pub received: usize,
    /// A Date field is there.
    pub date: bool,
    /// A Message-ID field is there.
    pub message_id: bool,
    /// A From field is there.
    pub from: bool,
}

/// True for a message whose header section has more than [`HEADER_BYTES_MAX`] octets: what stands behind them nobody looks at, and others may believe it.
#[must_use]
pub fn is_too_long(message: &[u8]) -> bool {
    let Some(beginning) = message.get(..HEADER_BYTES_MAX) else { return false };
    !beginning.starts_with(b"\r\n") && memmem::find(beginning, b"\r\n\r\n").is_none()
}

/// Looks through the header section. One pass over it, a line at a time; no allocation.
#[must_use]
pub fn look(message: &[u8]) -> HeaderFacts {
    let mut facts = HeaderFacts::default();
    let mut rest = message.get(..message.len().min(HEADER_BYTES_MAX)).unwrap_or_default();
    while !rest.is_empty() {
        let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, behind) = rest.split_at(end);
        rest = behind;
        match line.first() {
            None | Some(b'\r' | b'\n') => break,
            Some(b' ' | b'\t') => continue,
            Some(_) => {}
        }
        let Some(colon) = memchr(b':', line) else { continue };
        let name = line.get(..colon).unwrap_or_default().trim_ascii_end();
        match name.len() {
            8 => facts.received += usize::from(name.eq_ignore_ascii_case(b"Received")),
            4 => {
                facts.date |= name.eq_ignore_ascii_case(b"Date");
                facts.from |= name.eq_ignore_ascii_case(b"From");
            }
            10 => facts.message_id |= name.eq_ignore_ascii_case(b"Message-ID"),
            _ => {}
        }
    }
    facts
}

/// True if the header section has octets above 127 (RFC 6532).
#[must_use]
pub fn is_international(message: &[u8]) -> bool {
    let end = memmem::find(message, b"\r\n\r\n").unwrap_or(message.len());
    !message.get(..end).unwrap_or_default().is_ascii()
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic.
#[doc(hidden)]
pub fn fuzz_header(data: &[u8]) {
    assert!(look(data).received <= data.len() / 9);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn international_is_what_the_header_is() {
        assert!(is_international("A: ö\r\n\r\nx".as_bytes()));
        assert!(!is_international("A: o\r\n\r\nö".as_bytes()));
        assert!(is_international("A: o\r\nö".as_bytes()));
    }

    #[test]
    fn long_headers() {
        let field = "A: b\r\n".repeat(HEADER_BYTES_MAX / 6);
        assert!(is_too_long(format!("{field}A: b\r\n\r\n").as_bytes()) && !is_too_long(field.as_bytes()));
        let body = "x".repeat(HEADER_BYTES_MAX);
        assert!(!is_too_long(format!("A: b\r\n\r\n{body}").as_bytes()) && !is_too_long(format!("\r\n{body}").as_bytes()));
    }

    #[test]
    fn counts_fields_not_lines() {
        let facts = look(b"Received: a\r\n Received: folded\r\nreceived : b\r\nDate: x\r\nMESSAGE-ID: <y>\r\n\r\nReceived: body\r\nFrom: z\r\n");
        assert_eq!(facts, HeaderFacts { received: 2, date: true, message_id: true, from: false });
    }
}
