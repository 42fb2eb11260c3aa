//! The content of DATA, decoded where it was received (RFC 5321 section 4.5.2).
//!
//! Raw bytes are appended behind what is decoded already; the decoder moves them down over the dots and the terminator. Only
//! `CRLF . CRLF` ends the content. A bare CR, a bare LF or a NUL ends nothing and is remembered as a [`Flaw`]: the message is
//! refused after its real end, because servers that see line ends elsewhere can be made to see a second message in it
//! ("SMTP smuggling").
//!
//! Cost: every byte is touched twice by vector code (the search for LF, the count of CR and NUL) and moved once, but only
//! behind the first stuffed dot of a chunk; no allocation.

use memchr::{memchr, memchr_iter};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    /// Before the first octet of a line.
    #[default]
    LineStart,
    /// After a dot that began a line; the dot is not part of the content unless the line ends here.
    Dot,
    /// After `. CR` at the start of a line.
    DotCr,
    /// Within a line.
    InLine,
}

/// What makes a message unacceptable although it ended properly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A CR without LF or an LF without CR.
    //= RFC 5321 section 2.3.8
    //# SMTP servers MUST NOT recognize or generate any other character or character sequence as a line terminator
    BareLineEnd,
    /// A NUL octet (RFC 5321 section 4.5.2 forbids it without BINARYMIME).
    Nul,
}

/// What the decoder came to with the bytes it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyProgress {
    /// The content goes on; `decoded` bytes of the buffer are content.
    More {
        /// Bytes of content at the buffer's start.
        decoded: usize,
    },
    /// The terminator was seen.
    End {
        /// Bytes of content at the buffer's start.
        decoded: usize,
        /// Where the bytes behind the terminator begin in the buffer (pipelined commands); they end where the fresh bytes end.
        rest: usize,
    },
}

/// Decodes one message's content. Fresh for every DATA.
#[derive(Clone, Copy, Debug, Default)]
pub struct BodyDecoder {
    state: State,
    last_was_cr: bool,
    bare_line_end: bool,
    nul: bool,
}

impl BodyDecoder {
    /// The flaw of the content so far, the first that matters.
    #[must_use]
    pub fn flaw(&self) -> Option<Flaw> {
        if self.bare_line_end {
            Some(Flaw::BareLineEnd)
        } else if self.nul {
            Some(Flaw::Nul)
        } else {
            None
        }
    }

    /// Takes `buffer[decoded..decoded + fresh]`, received behind the content decoded before.
    ///
    /// A range outside the buffer is cut to it.
    pub fn decode(&mut self, buffer: &mut [u8], decoded: usize, fresh: usize) -> BodyProgress {
        let end = decoded.saturating_add(fresh).min(buffer.len());
        let mut read = decoded.min(end);
        let begin = read;
        let mut write = read;
        let mut line_ends = 0_usize;
        // A CR at the end of the last chunk was not judged there: whether it is bare is decided here.
        let carried = usize::from(self.last_was_cr);
        let terminator = loop {
            let Some(&byte) = buffer.get(read).filter(|_| read < end) else { break None };
            match self.state {
                State::LineStart => {
                    if byte == b'.' {
                        read += 1;
                        self.state = State::Dot;
                    } else {
                        self.state = State::InLine;
                    }
                }
                State::Dot => {
                    if byte == b'\r' {
                        read += 1;
                        self.state = State::DotCr;
                    } else {
                        self.state = State::InLine;
                    }
                }
                State::DotCr => {
                    if byte == b'\n' {
                        read += 1;
                        break Some(read);
                    }
                    // A bare CR. It is not put back: if dot and CR came in an earlier packet there is no room for it (the slot may be
                    // full to its last byte), and the content of a message that will be refused is nobody's.
                    self.bare_line_end = true;
                    self.state = State::InLine;
                }
                State::InLine => {
                    let line = buffer.get(read..end).unwrap_or_default();
                    let (length, ended) = memchr(b'\n', line).map_or((line.len(), false), |at| (at + 1, true));
                    let before_end = if length > 1 || !ended {
                        line.get(length - if ended { 2 } else { 1 }) == Some(&b'\r')
                    } else {
                        self.last_was_cr
                    };
                    if write != read {
                        buffer.copy_within(read..read + length, write);
                    }
                    read += length;
                    write += length;
                    if ended {
                        self.last_was_cr = false;
                        if before_end {
                            line_ends += 1;
                            self.state = State::LineStart;
                        } else {
                            self.bare_line_end = true;
                        }
                    } else {
                        self.last_was_cr = before_end;
                    }
                }
            }
        };
        // Every CR of the content belongs to a line end, but for a last one that the next chunk may complete.
        let content = buffer.get(begin..write).unwrap_or_default();
        let carriage_returns = carried + memchr_iter(b'\r', content).count() - usize::from(self.last_was_cr);
        self.bare_line_end |= carriage_returns != line_ends;
        self.nul |= memchr(0, content).is_some();
        match terminator {
            Some(rest) => BodyProgress::End { decoded: write, rest },
            None => BodyProgress::More { decoded: write },
        }
    }
}

/// The same by the letter, a byte at a time: the oracle of tests and fuzzers. Content, flaw, bytes behind the terminator.
#[doc(hidden)]
#[must_use]
pub fn decode_by_the_letter(raw: &[u8]) -> Option<(Vec<u8>, Option<Flaw>, usize)> {
    let mut at = 0;
    let mut content: Vec<u8> = Vec::new();
    loop {
        let line_start = content.is_empty() || content.ends_with(b"\r\n");
        let rest = raw.get(at..)?;
        if line_start && rest.starts_with(b".\r\n") {
            let bare = content.windows(2).any(|pair| (pair[0] == b'\r') != (pair[1] == b'\n')) || content.first() == Some(&b'\n');
            let flaw = if bare { Some(Flaw::BareLineEnd) } else { content.contains(&0).then_some(Flaw::Nul) };
            return Some((content, flaw, at + 3));
        }
        if line_start && rest.first() == Some(&b'.') {
            at += 1;
            // What follows the dropped dot is content, whatever it is.
            content.push(*raw.get(at)?);
        } else {
            content.push(*rest.first()?);
        }
        at += 1;
    }
}

/// For the fuzzer and the replay of its inputs: the first byte says how the rest is split over packets.
#[doc(hidden)]
pub fn fuzz_body(data: &[u8]) {
    let Some((&step, raw)) = data.split_first() else { return };
    let mut decoder = BodyDecoder::default();
    let mut buffer = vec![0; raw.len()];
    let mut decoded = 0;
    let mut taken = 0;
    let mut ended = None;
    for chunk in raw.chunks(usize::from(step).max(1)) {
        buffer[decoded..decoded + chunk.len()].copy_from_slice(chunk);
        let before = decoded;
        match decoder.decode(&mut buffer, decoded, chunk.len()) {
            BodyProgress::More { decoded: now } => decoded = now,
            BodyProgress::End { decoded: now, rest } => {
                decoded = now;
                ended = Some(taken + rest - before);
                break;
            }
        }
        taken += chunk.len();
    }
    match decode_by_the_letter(raw) {
        Some((content, flaw, end)) => {
            assert_eq!(ended, Some(end));
            assert_eq!(decoder.flaw(), flaw);
            if flaw.is_none() {
                assert_eq!(buffer.get(..decoded), Some(content.as_slice()));
            }
        }
        None => assert_eq!(ended, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(raw: &[u8]) -> Option<(Vec<u8>, Option<Flaw>, usize)> {
        let mut buffer = raw.to_vec();
        let mut decoder = BodyDecoder::default();
        match decoder.decode(&mut buffer, 0, raw.len()) {
            BodyProgress::More { .. } => None,
            BodyProgress::End { decoded, rest } => Some((buffer[..decoded].to_vec(), decoder.flaw(), rest)),
        }
    }

    #[test]
    fn the_standard_cases() {
        assert_eq!(whole(b".\r\n"), Some((vec![], None, 3)));
        assert_eq!(whole(b"a\r\n.\r\nQUIT\r\n"), Some((b"a\r\n".to_vec(), None, 6)));
        assert_eq!(whole(b"..a\r\n...\r\n.\r\n"), Some((b".a\r\n..\r\n".to_vec(), None, 13)));
    }

    /// The published end-of-data variants of SMTP smuggling: none ends the content, each is a flaw.
    #[test]
    fn only_crlf_dot_crlf_ends() {
        for variant in [
            &b"\n.\n"[..],
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r",
            b"\r.\r\n",
            b"\r\n.\r",
            b"\n.\r",
            b"\r.\n",
            b"\r\r\n.\r\r\n",
            b"\r\n.\r\r\n",
            b"\r\n\0.\r\n",
            b"\r\n.\0\r\n",
            b"\r\n\r.\r\n",
        ] {
            let raw = [b"body", variant, b"MAIL FROM:<smuggled@evil.example>\r\n.\r\n"].concat();
            let (content, flaw, rest) = whole(&raw).unwrap();
            assert_eq!(rest, raw.len(), "{variant:?} ended the message");
            assert!(flaw.is_some(), "{variant:?} is no flaw");
            assert!(content.ends_with(b"<smuggled@evil.example>\r\n"));
        }
    }

    /// A dot and a CR at the end of one packet, no line end in the next, and not one byte of room in the slot.
    #[test]
    fn a_full_slot_is_not_overrun() {
        let mut buffer = b".\r".to_vec();
        let mut decoder = BodyDecoder::default();
        assert_eq!(decoder.decode(&mut buffer, 0, 2), BodyProgress::More { decoded: 0 });
        buffer.copy_from_slice(b"xy");
        assert_eq!(decoder.decode(&mut buffer, 0, 2), BodyProgress::More { decoded: 2 });
        assert_eq!((buffer.as_slice(), decoder.flaw()), (&b"xy"[..], Some(Flaw::BareLineEnd)));
    }

    proptest! {
        #[test]
        fn ended_and_split_as_by_the_letter(
            step in 1..4_u8,
            mut data in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'a'), Just(0)], 0..30),
        ) {
            data.extend_from_slice(b"\r\n.\r\n");
            data.insert(0, step);
            fuzz_body(&data);
        }

        #[test]
        fn as_by_the_letter(data in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'a'), Just(0)], 0..60)) {
            fuzz_body(&data);
        }

        #[test]
        fn stuffed_and_split_is_the_original(lines in proptest::collection::vec("[.a-z]{0,5}", 0..20), step in 1..30_u8) {
            let content: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let stuffed: String = lines.iter().map(|line| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") }).collect();
            let raw = [stuffed.as_bytes(), b".\r\n"].concat();
            prop_assert_eq!(whole(&raw), Some((content.into_bytes(), None, raw.len())));
            fuzz_body(&[&[step], raw.as_slice()].concat());
        }
    }
}
