//! Replies as another server sends them (RFC 5321 section 4.2): read in pieces, never trusted.
//!
//! What is kept of a reply is bounded; what a server sends beyond it is read and thrown away, and beyond a second bound the
//! conversation is over. LF alone is let through as the end of a line: nothing can be smuggled towards a client.

use memchr::memchr;
use postring_mail::{EnhancedStatus, Reply};
use std::borrow::Cow;

/// Text kept of one reply, octets; enough for what goes into a bounce, and for every EHLO answer seen.
const KEPT_BYTES_MAX: usize = 4096;
/// One line is looked at this far.
const LINE_BYTES_MAX: usize = 1024;
/// A reply longer than this is an attack or a loop.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// Why bytes are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// No three digits from 200 to 599, no blank or hyphen behind them, or lines with different codes.
    Malformed,
    /// More than a reply may be.
    TooLong,
}

/// Reads one reply after the other. Keeps what is incomplete.
#[derive(Clone, Debug, Default)]
pub struct ReplyReader {
    line: Vec<u8>,
    code: Option<u16>,
    enhanced: Option<EnhancedStatus>,
    text: String,
    total: usize,
}

impl ReplyReader {
    /// Takes bytes up to the end of a reply, or all of them; says how many, and the reply if it is complete. After an error the
    /// connection is of no more use.
    pub fn read(&mut self, input: &[u8]) -> (usize, Option<Result<Reply, ReplyError>>) {
        let mut taken = 0;
        while let Some(rest) = input.get(taken..).filter(|rest| !rest.is_empty()) {
            let end = memchr(b'\n', rest);
            let piece = rest.get(..end.map_or(rest.len(), |at| at + 1)).unwrap_or_default();
            taken += piece.len();
            self.total += piece.len();
            if self.total > REPLY_BYTES_MAX {
                return (taken, Some(Err(ReplyError::TooLong)));
            }
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                match self.line_ended(&line) {
                    Ok(None) => {}
                    Ok(Some(reply)) => return (taken, Some(Ok(reply))),
                    Err(error) => return (taken, Some(Err(error))),
                }
            }
        }
        (taken, None)
    }

    /// True if no reply has begun.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    fn line_ended(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let line = line.trim_ascii_end();
        let (digits, behind) = line.split_at_checked(3).ok_or(ReplyError::Malformed)?;
        let code = digits.iter().try_fold(0_u16, |code, byte| byte.is_ascii_digit().then(|| code * 10 + u16::from(byte - b'0')));
        let code = code.filter(|code| (200..600).contains(code)).ok_or(ReplyError::Malformed)?;
        let last = match behind.first() {
            None | Some(b' ') => true,
            Some(b'-') => false,
            Some(_) => return Err(ReplyError::Malformed),
        };
        if self.code.is_some_and(|before| before != code) {
            return Err(ReplyError::Malformed);
        }
        let text = behind.get(1..).unwrap_or_default();
        let (enhanced, text) = enhanced_status(text, code);
        if self.code.is_none() {
            self.enhanced = enhanced;
        } else {
            self.text.push('\n');
        }
        self.code = Some(code);
        if self.text.len() + text.len() <= KEPT_BYTES_MAX {
            // It goes into logs and bounces: nothing but printable ASCII.
            self.text.extend(text.iter().map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '?' }));
        }
        if !last {
            return Ok(None);
        }
        let whole = std::mem::take(self);
        Ok(Some(Reply { code, enhanced: whole.enhanced, text: Cow::Owned(whole.text) }))
    }
}

/// Splits off an enhanced status code (RFC 2034 section 4) if one of the code's class is there.
fn enhanced_status(text: &[u8], code: u16) -> (Option<EnhancedStatus>, &[u8]) {
    let end = memchr(b' ', text).unwrap_or(text.len());
    let (word, behind) = text.split_at_checked(end).unwrap_or((text, &[]));
    let status = std::str::from_utf8(word).ok().and_then(|word| {
        let mut parts = word.split('.');
        let mut number = |digits: usize| {
            let part = parts.next()?;
            let fits = (1..=digits).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
            if fits { part.parse::<u16>().ok() } else { None }
        };
        let (class, subject, detail) = (number(1)?, number(3)?, number(3)?);
        let class = u8::try_from(class).ok().filter(|class| u16::from(*class) == code / 100)?;
        parts.next().is_none().then(|| EnhancedStatus::new(class, subject, detail))
    });
    match status {
        Some(status) => (Some(status), behind.get(1..).unwrap_or_default()),
        None => (None, text),
    }
}

/// For the fuzzer and the replay of its inputs: in one piece and byte by byte must come to the same, within bounds.
#[doc(hidden)]
pub fn fuzz_reply(data: &[u8]) {
    let all = |piece: usize| {
        let mut reader = ReplyReader::default();
        let mut found = Vec::new();
        'all: for chunk in data.chunks(piece) {
            let mut rest = chunk;
            while !rest.is_empty() {
                let (taken, reply) = reader.read(rest);
                assert!((1..=rest.len()).contains(&taken));
                rest = rest.get(taken..).unwrap_or_default();
                if let Some(Ok(reply)) = &reply {
                    assert!(reply.text.len() <= 2 * REPLY_BYTES_MAX && (200..600).contains(&reply.code));
                }
                let failed = matches!(reply, Some(Err(_)));
                found.extend(reply);
                if failed {
                    break 'all;
                }
            }
        }
        found
    };
    assert_eq!(all(data.len().max(1)), all(1));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<Result<Reply, ReplyError>> {
        ReplyReader::default().read(text.as_bytes()).1
    }

    #[test]
    fn good_replies() {
        let reply = |code, enhanced: Option<(u16, u16)>, text: &'static str| {
            let enhanced =
                enhanced.map(|(subject, detail)| EnhancedStatus::new(u8::try_from(code / 100).unwrap(), subject, detail));
            Some(Ok(Reply { code, enhanced, text: Cow::Borrowed(text) }))
        };
        assert_eq!(read("250 ok\r\n"), reply(250, None, "ok"));
        assert_eq!(read("250\r\n"), reply(250, None, ""));
        assert_eq!(read("250-a\r\n250-b\r\n250 c\r\n"), reply(250, None, "a\nb\nc"));
        assert_eq!(read("550-5.1.1 no\r\n550 5.1.1 such\r\n"), reply(550, Some((1, 1)), "no\nsuch"));
        assert_eq!(read("550 5.7.100\n"), reply(550, Some((7, 100)), ""));
        assert_eq!(read("550 4.1.1 other class\r\n"), reply(550, None, "4.1.1 other class"));
        assert_eq!(read("550 \x1b[1m\u{e4}\r\n"), reply(550, None, "?[1m??"));
        assert_eq!(read("250-incomplete\r\n"), None);
    }

    #[test]
    fn bad_replies() {
        for bad in ["\r\n", "25\r\n", "2500 x\r\n", "abc\r\n", "199 x\r\n", "600 x\r\n", "250-a\r\n550 b\r\n", "HTTP/1.1 400\r\n"]
        {
            assert_eq!(read(bad), Some(Err(ReplyError::Malformed)), "{bad:?}");
        }
        assert_eq!(read(&"250-x\r\n".repeat(10_000)), Some(Err(ReplyError::TooLong)));
        assert_eq!(read(&"2".repeat(70_000)), Some(Err(ReplyError::TooLong)));
        assert_eq!(read(&format!("250 {}\r\n", "x".repeat(5000))).unwrap().unwrap().text.len(), LINE_BYTES_MAX - 4);
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..200)) { fuzz_reply(&data); }
        #[test]
        fn near_replies_are_harmless(text in "[25][05]0[- ][0-9.a]{0,8}\r?\n?250[ -]x\r\n") { fuzz_reply(text.as_bytes()); }
    }
}
