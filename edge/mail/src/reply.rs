//! Replies of SMTP (RFC 5321 section 4.2) with enhanced status codes (RFC 2034, RFC 3463, RFC 5248).

use std::borrow::Cow;

/// An enhanced mail system status code `class.subject.detail` (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EnhancedStatus {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// 0 to 999: addressing, mailbox, mail system, ...
    pub subject: u16,
    /// 0 to 999: the detail within the subject.
    pub detail: u16,
}

impl EnhancedStatus {
    /// Builds a code; const so that tables can hold it.
    #[must_use]
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self { class, subject, detail }
    }
}

impl std::fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// One reply: code, enhanced code, text for the peer. Lines of the text are separated by `\n`.
///
/// What the log should know besides is another field of another type: the peer never reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digit code.
    pub code: u16,
    /// The enhanced code; absent in the greeting, EHLO, HELO and 354 (RFC 2034 section 4).
    pub enhanced: Option<EnhancedStatus>,
    /// Text, without the codes.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A reply with an enhanced code whose class is the code's first digit.
    #[must_use]
    pub const fn fixed(code: u16, subject: u16, detail: u16, text: &'static str) -> Self {
        #[allow(clippy::cast_possible_truncation)] // a code is three digits: the quotient is one
        let class = (code / 100) as u8;
        Self { code, enhanced: Some(EnhancedStatus::new(class, subject, detail)), text: Cow::Borrowed(text) }
    }

    /// A reply whose text is made at run time. Control characters in it are replaced when it is written.
    #[must_use]
    pub fn with_text(code: u16, subject: u16, detail: u16, text: String) -> Self {
        Self { text: Cow::Owned(text), ..Self::fixed(code, subject, detail, "") }
    }

    /// A reply without an enhanced code (greeting, EHLO, 354).
    #[must_use]
    pub const fn plain(code: u16, text: &'static str) -> Self {
        Self { code, enhanced: None, text: Cow::Borrowed(text) }
    }

    /// True for 2xx.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// True for 4xx: the client may try again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// True for 5xx.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Writes the reply as it goes over the wire, every line with its code and CRLF.
    //= RFC 5321 section 4.2.1
    //# The format for multiline replies requires that every line, except the
    //# last, begin with the reply code, followed immediately by a hyphen, "-"
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            write_number(out, self.code);
            out.push(if lines.peek().is_some() { b'-' } else { b' ' });
            if let Some(enhanced) = self.enhanced {
                write_number(out, enhanced.class.into());
                out.push(b'.');
                write_number(out, enhanced.subject);
                out.push(b'.');
                write_number(out, enhanced.detail);
                out.push(b' ');
            }
            // A control character would let a text from elsewhere forge a line of ours.
            out.extend(line.bytes().map(|byte| if byte.is_ascii_control() { b'?' } else { byte }));
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Decimal digits without a formatter: replies are on the hot path.
fn write_number(out: &mut Vec<u8>, number: u16) {
    let mut divisor = 10_000;
    let mut begun = false;
    while divisor > 0 {
        let digit = number / divisor % 10;
        begun |= digit != 0 || divisor == 1;
        if begun {
            #[allow(clippy::cast_possible_truncation)] // a digit
            out.push(b'0' + digit as u8);
        }
        divisor /= 10;
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.enhanced {
            Some(enhanced) => write!(f, "{} {} {}", self.code, enhanced, self.text),
            None => write!(f, "{} {}", self.code, self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_line_and_many() {
        assert_eq!(wire(&Reply::fixed(250, 2, 0, "ok")), "250 2.2.0 ok\r\n");
        assert_eq!(wire(&Reply::plain(354, "go")), "354 go\r\n");
        assert_eq!(wire(&Reply::fixed(550, 7, 100, "a\nb")), "550-5.7.100 a\r\n550 5.7.100 b\r\n");
    }

    #[test]
    fn a_text_from_elsewhere_cannot_forge_a_line() {
        let reply = Reply::with_text(550, 7, 1, "bad\r250 ok".to_owned());
        assert_eq!(wire(&reply), "550 5.7.1 bad?250 ok\r\n");
    }
}
