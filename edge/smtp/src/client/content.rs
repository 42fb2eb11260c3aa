//! The content of DATA as it is sent: dots stuffed, the terminator behind (RFC 5321 section 4.5.2).
//!
//! Cost: every byte is searched once by vector code and copied once into the output; a chunk at a time, so that no message is
//! held twice.

use memchr::memmem;

/// How far the content has been written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ContentWriter {
    position: usize,
}

impl ContentWriter {
    /// Writes the next at most `chunk` octets of `message` (in wire form, the same for every call). True when the terminator has been
    /// written.
    pub(crate) fn next(&mut self, message: &[u8], chunk: usize, out: &mut Vec<u8>) -> bool {
        let end = self.position.saturating_add(chunk.max(1)).min(message.len());
        //= RFC 5321 section 4.5.2
        //# Before sending a line of mail text, the SMTP client checks the first character of the line. If it is a period, one
        //# additional period is inserted at the beginning of the line.
        if self.position == 0 && message.first() == Some(&b'.') {
            out.push(b'.');
        }
        // A line end may lie before the chunk and its dot in it.
        let from = self.position.saturating_sub(2);
        let mut written = self.position;
        for found in memmem::find_iter(message.get(from..end).unwrap_or_default(), b"\r\n.") {
            let dot = from + found + 2;
            out.extend_from_slice(message.get(written..dot).unwrap_or_default());
            out.push(b'.');
            written = dot;
        }
        out.extend_from_slice(message.get(written..end).unwrap_or_default());
        self.position = end;
        if end < message.len() {
            return false;
        }
        if !message.is_empty() && !message.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{BodyDecoder, BodyProgress};
    use proptest::prelude::*;

    fn sent(message: &[u8], chunk: usize) -> Vec<u8> {
        let (mut writer, mut out) = (ContentWriter::default(), Vec::new());
        while !writer.next(message, chunk, &mut out) {}
        out
    }

    #[test]
    fn dots() {
        assert_eq!(sent(b"", 9), b".\r\n");
        assert_eq!(sent(b".", 9), b"..\r\n.\r\n");
        assert_eq!(sent(b"a\r\n.\r\n..b\r\n", 9), b"a\r\n..\r\n...b\r\n.\r\n");
        assert_eq!(sent(b"no end", 9), b"no end\r\n.\r\n");
    }

    proptest! {
        /// What is sent is what our own decoder reads.
        #[test]
        fn decoded_is_the_original(lines in proptest::collection::vec("[.a-z]{0,5}", 0..20), chunk in 1..30_usize) {
            let message: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let mut wire = sent(message.as_bytes(), chunk);
            let length = wire.len();
            let progress = BodyDecoder::default().decode(&mut wire, 0, length);
            prop_assert_eq!(progress, BodyProgress::End { decoded: message.len(), rest: length });
            prop_assert_eq!(&wire[..message.len()], message.as_bytes());
        }
    }
}
