//! Canonical forms of the body (RFC 6376 section 3.4.3, 3.4.4), chunk by chunk: what need not change is given on where it lies.

use super::canonical::Canonicalization;

/// Line ends that are given out at a time when they were held back.
const LINE_ENDS: [u8; 128] = {
    let mut ends = [b'\r'; 128];
    let mut at = 1;
    while at < ends.len() {
        ends[at] = b'\n';
        at += 2;
    }
    ends
};

/// Turns a body into its canonical form. What may be at its end, and then does not count, is held back as a number.
///
/// ```text
///   chunk ─> put ──────┐
///   chunk ─> put ──────┼─> runs of octets for a hash
///            finish ───┘
/// ```
#[derive(Debug)]
pub struct Body {
    form: Canonicalization,
    /// Line ends held back.
    line_ends: u64,
    /// White space held back (relaxed): one space, or none before a line end.
    space: bool,
    /// The last chunk ended with a CR.
    carriage_return: bool,
    /// Something was given out.
    begun: bool,
}

impl Body {
    /// Begins a body.
    #[must_use]
    pub const fn new(form: Canonicalization) -> Self {
        Self { form, line_ends: 0, space: false, carriage_return: false, begun: false }
    }

    /// Takes the next octets, and gives out what is certain.
    ///
    /// Cost: each octet is looked at once; a run of ordinary text and line ends is given out in one piece.
    pub fn put(&mut self, chunk: &[u8], out: &mut impl FnMut(&[u8])) {
        let relaxed = self.form == Canonicalization::Relaxed;
        let is_white = |byte: u8| relaxed && matches!(byte, b' ' | b'\t');
        let run = |from: usize, to: usize| chunk.get(from..to).unwrap_or_default();
        // `from..at` is the run that is given out as it is; it begins behind what is held back.
        let (mut from, mut at) = (0, 0);
        if self.carriage_return && !chunk.is_empty() {
            self.carriage_return = false;
            if chunk.first() == Some(&b'\n') {
                self.end_line();
                (from, at) = (1, 1);
            } else {
                self.release(out);
                out(b"\r");
            }
        }
        while let Some(&byte) = chunk.get(at) {
            let next = chunk.get(at + 1).copied();
            if byte == b'\r' && next.is_none() {
                self.give(run(from, at), out);
                self.carriage_return = true;
                return;
            }
            let ends_line = byte == b'\r' && next == Some(b'\n');
            if !ends_line && !is_white(byte) {
                if self.is_holding() {
                    self.release(out);
                }
                at += 1;
                continue;
            }
            let length = if ends_line { 2 } else { 1 };
            // A line end before an ordinary octet is certain, and so is a single space.
            let certain = chunk.get(at + length).is_some_and(|behind| *behind != b'\r' && !is_white(*behind));
            if certain && byte != b'\t' && !self.is_holding() {
                at += length;
                continue;
            }
            self.give(run(from, at), out);
            if ends_line {
                self.end_line();
            } else {
                self.space = true;
            }
            at += length;
            from = at;
        }
        self.give(run(from, at), out);
    }

    /// Ends the body.
    pub fn finish(mut self, out: &mut impl FnMut(&[u8])) {
        if self.carriage_return {
            self.release(out);
            out(b"\r");
        }
        //= RFC 6376 section 3.4.3
        //# If there is no body or no trailing CRLF on the message body, a CRLF is added.
        //= RFC 6376 section 3.4.4
        //# If the body is non-empty but does not end with a CRLF, a CRLF is added.
        if self.begun || self.form == Canonicalization::Simple {
            out(b"\r\n");
        }
    }

    const fn is_holding(&self) -> bool {
        self.space || self.line_ends > 0
    }

    const fn end_line(&mut self) {
        self.space = false;
        self.line_ends += 1;
    }

    fn give(&mut self, run: &[u8], out: &mut impl FnMut(&[u8])) {
        if !run.is_empty() {
            self.begun = true;
            out(run);
        }
    }

    /// What was held back was not at the end.
    fn release(&mut self, out: &mut impl FnMut(&[u8])) {
        self.begun = true;
        while self.line_ends > 0 {
            let count = self.line_ends.min(64);
            out(usize::try_from(2 * count).ok().and_then(|octets| LINE_ENDS.get(..octets)).unwrap_or_default());
            self.line_ends -= count;
        }
        if std::mem::take(&mut self.space) {
            out(b" ");
        }
    }
}

/// Fuzz entry: the canonical form of a body is the same in whatever chunks it comes, and stable.
///
/// # Panics
/// If it is not.
pub fn fuzz_body(data: &[u8]) {
    let Some((&size, body)) = data.split_first() else { return };
    for form in [Canonicalization::Simple, Canonicalization::Relaxed] {
        let whole = in_chunks(form, body, body.len());
        assert_eq!(in_chunks(form, body, usize::from(size)), whole);
        assert_eq!(in_chunks(form, body, 1), whole);
        assert_eq!(in_chunks(form, &whole, body.len()), whole);
    }
}

fn in_chunks(form: Canonicalization, bytes: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sink = |run: &[u8]| out.extend_from_slice(run);
    let mut body = Body::new(form);
    for chunk in bytes.chunks(size.max(1)) {
        body.put(chunk, &mut sink);
    }
    body.finish(&mut sink);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(form: Canonicalization, body: &str) -> String {
        let out = in_chunks(form, body.as_bytes(), usize::MAX);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn bodies() {
        for (body, simple, relaxed) in [
            // RFC 6376 section 3.4.5
            (" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"),
            ("", "\r\n", ""),
            ("\r\n\r\n", "\r\n", ""),
            (" \t\r\n \r\n", " \t\r\n \r\n", ""),
            ("  ", "  \r\n", ""),
            ("a", "a\r\n", "a\r\n"),
            ("a\r", "a\r\r\n", "a\r\r\n"),
            ("a \r", "a \r\r\n", "a \r\r\n"),
            ("a\r\n", "a\r\n", "a\r\n"),
            ("a\r\n\r\n\r\nb", "a\r\n\r\n\r\nb\r\n", "a\r\n\r\n\r\nb\r\n"),
            ("\r\na\tb  c \r\n  \r\nd", "\r\na\tb  c \r\n  \r\nd\r\n", "\r\na b c\r\n\r\nd\r\n"),
            ("a\n\n", "a\n\n\r\n", "a\n\n\r\n"),
            ("a\r\r\n\r", "a\r\r\n\r\r\n", "a\r\r\n\r\r\n"),
        ] {
            assert_eq!(canonical(Canonicalization::Simple, body), simple, "simple {body:?}");
            assert_eq!(canonical(Canonicalization::Relaxed, body), relaxed, "relaxed {body:?}");
        }
    }

    #[test]
    fn many_held_line_ends_come_out() {
        let body = format!("a{}b", "\r\n".repeat(1000));
        assert_eq!(canonical(Canonicalization::Relaxed, &body), format!("{body}\r\n"));
    }

    /// The RFC's steps, each on the whole body.
    fn plainly(form: Canonicalization, body: &str) -> String {
        let mut lines: Vec<String> = body.split("\r\n").map(str::to_owned).collect();
        if form == Canonicalization::Relaxed {
            for line in &mut lines {
                let words: Vec<&str> = line.split([' ', '\t']).collect();
                let leading = words.len() > 1 && words[0].is_empty();
                let kept: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
                *line = format!("{}{}", if leading && !kept.is_empty() { " " } else { "" }, kept.join(" "));
            }
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        match (lines.is_empty(), form) {
            (true, Canonicalization::Simple) => "\r\n".to_owned(),
            (true, Canonicalization::Relaxed) => String::new(),
            _ => lines.join("\r\n") + "\r\n",
        }
    }

    proptest! {
        #[test]
        fn as_a_plain_reading(body in "([ab]|[ \t]|\r|\n|\r\n){0,40}") {
            for form in [Canonicalization::Simple, Canonicalization::Relaxed] {
                prop_assert_eq!(canonical(form, &body), plainly(form, &body));
            }
        }

        #[test]
        fn chunks_do_not_matter(body in "([ab]|[ \t]|\r|\n|\r\n){0,40}", size in 1u8..9) {
            fuzz_body(&[&[size], body.as_bytes()].concat());
        }
    }
}
