//! The header fields that tell what was found: Authentication-Results (RFC 8601) and Received-SPF (RFC 7208 section 9.1).

use crate::authres::claims_to_be;
use crate::spf::{Session, Spf};
use std::fmt::Display;
use std::io::Write;

/// Characters of a comment: reasons quote what strangers wrote.
const COMMENT_MAX: usize = 200;
/// Characters of a value.
const VALUE_MAX: usize = 320;
/// Octets of one result; a longer one is left out.
const RESULT_MAX: usize = 1600;
/// Octets of a field: a result that would make it longer is left out.
const FIELD_MAX: usize = 4000;
/// A line is folded before it is longer, if it can be (RFC 5322 section 2.1.1).
const LINE_MAX: usize = 78;

/// True for a field that says it is a result of `host`: an Authentication-Results of that authserv-id, or a Received-SPF of that receiver. Who is not
/// `host` has forged it.
#[must_use]
pub fn is_of(host: &str, name: &[u8], value: &[u8]) -> bool {
    if name.eq_ignore_ascii_case(b"Authentication-Results") {
        return claims_to_be(value, host);
    }
    // However it is written, a reader may find our name in it.
    name.eq_ignore_ascii_case(b"Received-SPF")
        && value.windows(host.len().max(1)).any(|text| text.eq_ignore_ascii_case(host.as_bytes()))
}

/// Writes an Authentication-Results field, folded, with CRLF ends: one result behind the other.
///
/// ```text
///   begin(host) ── spf ── result(dkim) ── result(dkim) ── finish
/// ```
#[derive(Debug)]
pub struct AuthenticationResults<'o> {
    out: &'o mut Vec<u8>,
    begin: usize,
    any: bool,
}

impl<'o> AuthenticationResults<'o> {
    /// Begins a field; `host` is who has checked, our authserv-id (RFC 8601 section 2.5).
    pub fn begin(host: &str, out: &'o mut Vec<u8>) -> Self {
        let begin = out.len();
        out.extend_from_slice(b"Authentication-Results: ");
        out.extend_from_slice(host.as_bytes());
        Self { out, begin, any: false }
    }

    /// The result of SPF.
    pub fn spf(&mut self, spf: &Spf, session: &Session<'_>) {
        self.separate();
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "spf={} ", spf.result);
        comment(&spf.reason, self.out);
        //= RFC 8601 section 2.7.2
        //# the "smtp" [...] "mailfrom" [...] or "helo"
        let (property, value) =
            if session.mail_from.is_empty() { ("helo", session.helo) } else { ("mailfrom", session.mail_from) };
        let _ = write!(self.out, "\r\n\tsmtp.{property}=");
        value_text(value, self.out);
    }

    /// A result that is written as RFC 8601 section 2.2 has it (`resinfo`); what cannot stand in a header is a question mark.
    pub fn result(&mut self, resinfo: &impl Display) {
        let mut column = 8;
        let text = resinfo.to_string();
        // Never cut: where a quoted-string has no end, the next result could be what a stranger wrote.
        if text.len() > RESULT_MAX || self.out.len() - self.begin + text.len() > FIELD_MAX - RESULT_MAX / 4 {
            return;
        }
        self.separate();
        let mut quoted = false;
        for word in text.split_inclusive(' ') {
            // White space within quotes would become a part of the value's folding, and readers differ in what they make of it.
            if column > 8 && column + word.trim_end().len() > LINE_MAX && !quoted {
                if self.out.last() == Some(&b' ') {
                    self.out.pop();
                }
                self.out.extend_from_slice(b"\r\n\t");
                column = 8;
            }
            self.out.extend(word.chars().map(|character| if (' '..='~').contains(&character) { character as u8 } else { b'?' }));
            column += word.len();
            quoted ^= word.bytes().filter(|byte| *byte == b'"').count() % 2 == 1;
        }
    }

    /// Ends the field. One without results says so.
    pub fn finish(self) {
        //= RFC 8601 section 2.2
        //# no-result = [CFWS] ";" [CFWS] "none"
        self.out.extend_from_slice(if self.any { b"\r\n" } else { b"; none\r\n" });
    }

    fn separate(&mut self) {
        self.any = true;
        self.out.extend_from_slice(b";\r\n\t");
    }
}
/// Writes the Received-SPF field, folded, with CRLF ends.
pub fn received_spf(host: &str, spf: &Spf, session: &Session<'_>, out: &mut Vec<u8>) {
    let _ = write!(out, "Received-SPF: {} ", spf.result);
    comment(&format!("{host}: {}", spf.reason), out);
    let _ = write!(out, "\r\n\tclient-ip={}; envelope-from=\"", session.client);
    quoted(session.mail_from, out);
    out.extend_from_slice(b"\"; helo=");
    value_text(session.helo, out);
    let identity = if session.mail_from.is_empty() { "helo" } else { "mailfrom" };
    let _ = write!(out, ";\r\n\treceiver={host}; identity={identity}\r\n");
}

/// Printable ASCII without what has a meaning in a comment.
fn comment(text: &str, out: &mut Vec<u8>) {
    out.push(b'(');
    out.extend(text.bytes().take(COMMENT_MAX).map(|byte| match byte {
        b'(' | b')' | b'\\' => b'?',
        b' '..=b'~' => byte,
        _ => b'?',
    }));
    out.push(b')');
}

/// A value, in quotes if it is more than a word or an address.
fn value_text(text: &str, out: &mut Vec<u8>) {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@.-_+=[]:".contains(&byte));
    if is_plain {
        out.extend(text.bytes().take(VALUE_MAX));
    } else {
        out.push(b'"');
        quoted(text, out);
        out.push(b'"');
    }
}

fn quoted(text: &str, out: &mut Vec<u8>) {
    out.extend(text.bytes().take(VALUE_MAX).map(|byte| match byte {
        b'"' | b'\\' => b'?',
        b' '..=b'~' => byte,
        _ => b'?',
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spf::SpfResult;

    fn fields(mail_from: &str, helo: &str, reason: &str) -> String {
        let session = Session { client: [192, 0, 2, 7].into(), helo, mail_from, receiver: "mx.example.net", unix_seconds: 0 };
        let spf =
            Spf { result: SpfResult::Fail, domain: "example.com".into(), reason: reason.into(), explanation: None, questions: 1 };
        let mut out = Vec::new();
        let mut results = AuthenticationResults::begin("mx.example.net", &mut out);
        results.spf(&spf, &session);
        results.finish();
        received_spf("mx.example.net", &spf, &session, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_are_folded() {
        assert_eq!(
            fields("me@example.com", "mx.example.com", "-all of example.com"),
            "Authentication-Results: mx.example.net;\r\n\tspf=fail (-all of example.com)\r\n\tsmtp.mailfrom=me@example.com\r\n\
             Received-SPF: fail (mx.example.net: -all of example.com)\r\n\tclient-ip=192.0.2.7; envelope-from=\"me@example.com\"; \
             helo=mx.example.com;\r\n\treceiver=mx.example.net; identity=mailfrom\r\n"
        );
    }

    #[test]
    fn what_strangers_wrote_stays_within_its_place() {
        let text = fields("\"a\\b\r\nX: y\"@example.com", "x\"; y=(z)", "a) ; spf=pass (b\r\nX: y");
        assert!(!text.contains("\r\nX:"), "{text}");
        assert!(text.contains("spf=fail (a? ; spf=pass ?b??X: y)\r\n"), "{text}");
        assert!(text.contains("smtp.mailfrom=\"?a?b??X: y?@example.com\"\r\n"), "{text}");
        assert!(text.contains("helo=\"x?; y=(z)\";"), "{text}");
        assert!(fields("", "mx.example.com", "").contains("smtp.helo=mx.example.com\r\n"));
    }
    #[test]
    fn whose_results_they_are() {
        let of = |name: &str, value: &str| is_of("mx.example.net", name.as_bytes(), value.as_bytes());
        for ours in [
            " mx.example.net; dkim=pass",
            "mx.example.net 1;none",
            "\r\n\t(a (b) \\) c) MX.Example.Net; x",
            "\"mx.example.net\"; x",
            "mx.example.net(x); y",
            "mx.example.net",
            // Nobody knows what others read there.
            "",
            "(",
        ] {
            assert!(of("authentication-results", ours), "{ours:?}");
        }
        for other in ["mx.example.org; smtp.helo=mx.example.net", "(mx.example.net) a; b", "mx.example.net.evil.example; x"] {
            assert!(!of("Authentication-Results", other), "{other:?}");
        }
        assert!(of("Received-SPF", "pass (MX.example.net: x) receiver=mx.example.net"));
        assert!(!of("Received-SPF", "pass receiver=mx.example.org") && !of("X", "mx.example.net"));
    }

    #[test]
    fn results_stand_behind_each_other_and_are_folded() {
        let written = |results: &[&str]| {
            let mut out = Vec::new();
            let mut field = AuthenticationResults::begin("mx.example.net", &mut out);
            results.iter().for_each(|result| field.result(result));
            field.finish();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(&[]), "Authentication-Results: mx.example.net; none\r\n");
        assert_eq!(written(&["dkim=none", "a=b"]), "Authentication-Results: mx.example.net;\r\n\tdkim=none;\r\n\ta=b\r\n");
        assert!(written(&["x"; 4000]).len() <= FIELD_MAX && written(&["x".repeat(800).as_str(); 9]).matches("xx;").count() == 3);
        assert_eq!(written(&[&"x".repeat(RESULT_MAX + 1), "a=b"]), "Authentication-Results: mx.example.net;\r\n\ta=b\r\n");
        let domain = "d".repeat(40);
        let long =
            format!("dkim=fail reason=\"a b\" header.d={domain} header.s=s header.i=\"x y\u{e9}{domain} z\" header.b=x\r\nX:");
        assert_eq!(
            written(&[&long]),
            format!(
                "Authentication-Results: mx.example.net;\r\n\tdkim=fail reason=\"a b\"\r\n\theader.d={domain} header.s=s\r\n\t\
                 header.i=\"x y?{domain} z\"\r\n\theader.b=x??X:\r\n"
            )
        );
    }
}
