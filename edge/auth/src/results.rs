//! The header fields that tell what was found: Authentication-Results (RFC 8601) and Received-SPF (RFC 7208 section 9.1).

use crate::spf::{Session, Spf};
use std::io::Write;

/// Characters of a comment: reasons quote what strangers wrote.
const COMMENT_MAX: usize = 200;
/// Characters of a value.
const VALUE_MAX: usize = 320;

/// Writes the Authentication-Results field of a check of SPF, folded, with CRLF ends.
pub fn authentication_results(host: &str, spf: &Spf, session: &Session<'_>, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "Authentication-Results: {host};\r\n\tspf={} ", spf.result);
    comment(&spf.reason, out);
    //= RFC 8601 section 2.7.2
    //# the "smtp" [...] "mailfrom" [...] or "helo"
    let (property, value) = if session.mail_from.is_empty() { ("helo", session.helo) } else { ("mailfrom", session.mail_from) };
    let _ = write!(out, "\r\n\tsmtp.{property}=");
    value_text(value, out);
    out.extend_from_slice(b"\r\n");
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
        authentication_results("mx.example.net", &spf, &session, &mut out);
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
}
