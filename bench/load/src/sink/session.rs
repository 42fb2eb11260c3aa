//! The server's half of a dialogue that takes everything and keeps nothing. No I/O.

/// What came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub connections: u64,
    pub messages: u64,
    pub recipients: u64,
    /// Of the messages, as they came over the wire, without the terminator.
    pub bytes: u64,
}

/// A command line longer than this ends the connection.
const LINE_BYTES_MAX: usize = 4096;
const TERMINATOR: &[u8] = b"\r\n.\r\n";

#[derive(Default)]
pub struct Session {
    line: Vec<u8>,
    /// In DATA: how many bytes of the terminator have been seen.
    matched: Option<usize>,
    recipients: u64,
    bytes: u64,
}

/// What a piece of input led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Goes,
    /// A message has ended.
    Message,
    Closes,
}

impl Session {
    /// Takes bytes up to the end of a message or of the input; says how many, replies go to `out`. A body costs a look at each byte.
    pub fn handle_bytes(&mut self, input: &[u8], out: &mut Vec<u8>, counts: &mut Counts) -> (usize, Outcome) {
        for (index, &byte) in input.iter().enumerate() {
            let outcome = if self.matched.is_some() { self.body(byte, out, counts) } else { self.command_byte(byte, out) };
            if outcome != Outcome::Goes {
                return (index + 1, outcome);
            }
        }
        (input.len(), Outcome::Goes)
    }

    fn body(&mut self, byte: u8, out: &mut Vec<u8>, counts: &mut Counts) -> Outcome {
        let matched = self.matched.unwrap_or(0);
        self.bytes += 1;
        let next = match TERMINATOR.get(matched) {
            Some(expected) if *expected == byte => matched + 1,
            _ => usize::from(byte == b'\r'),
        };
        self.matched = Some(next);
        if next < TERMINATOR.len() {
            return Outcome::Goes;
        }
        self.matched = None;
        counts.messages += 1;
        counts.recipients += self.recipients;
        // The CR LF before the dot is the message's own; the first of an empty message is DATA's.
        counts.bytes += self.bytes.saturating_sub(3);
        out.extend_from_slice(b"250 2.0.0 Ok: forgotten\r\n");
        Outcome::Message
    }

    fn command_byte(&mut self, byte: u8, out: &mut Vec<u8>) -> Outcome {
        self.line.push(byte);
        if byte != b'\n' {
            return if self.line.len() > LINE_BYTES_MAX { Outcome::Closes } else { Outcome::Goes };
        }
        let line = std::mem::take(&mut self.line);
        let verb: Vec<u8> = line.iter().take_while(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_uppercase).collect();
        let reply: &[u8] = match verb.as_slice() {
            b"EHLO" | b"LHLO" => b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 104857600\r\n",
            b"MAIL" | b"RSET" => {
                self.recipients = 0;
                b"250 2.1.0 Ok\r\n"
            }
            b"RCPT" => {
                self.recipients += 1;
                b"250 2.1.5 Ok\r\n"
            }
            b"DATA" if self.recipients == 0 => b"503 5.5.1 No recipients\r\n",
            b"DATA" => {
                // CR LF has just been seen.
                self.matched = Some(2);
                self.bytes = 0;
                b"354 End with CR LF . CR LF\r\n"
            }
            b"HELO" | b"NOOP" => b"250 2.0.0 Ok\r\n",
            b"QUIT" => b"221 2.0.0 Bye\r\n",
            _ => b"502 5.5.2 Not here\r\n",
        };
        out.extend_from_slice(reply);
        if verb == b"QUIT" { Outcome::Closes } else { Outcome::Goes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(input: &[u8], piece: usize) -> (String, Counts) {
        let (mut session, mut out, mut counts) = (Session::default(), Vec::new(), Counts::default());
        for part in input.chunks(piece) {
            let mut rest = part;
            while !rest.is_empty() {
                let (taken, _) = session.handle_bytes(rest, &mut out, &mut counts);
                rest = &rest[taken..];
            }
        }
        (String::from_utf8(out).unwrap(), counts)
    }

    #[test]
    fn counts_are_the_same_wherever_the_input_is_cut() {
        let input = b"EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@b>\r\nDATA\r\n\
            Subject: x\r\n\r\n..dot\r\n.\r\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n.\r\nQUIT\r\n";
        for piece in 1..input.len() {
            let (out, counts) = talk(input, piece);
            assert_eq!((counts.messages, counts.recipients), (2, 3), "{piece}: {out}");
            assert_eq!(counts.bytes, "Subject: x\r\n\r\n..dot\r\n.\r\r\n".len() as u64, "{piece}");
            assert!(out.ends_with("221 2.0.0 Bye\r\n"));
        }
    }

    #[test]
    fn data_without_recipients_is_refused() {
        assert!(talk(b"MAIL FROM:<>\r\nDATA\r\n", 1).0.ends_with("503 5.5.1 No recipients\r\n"));
    }
}
