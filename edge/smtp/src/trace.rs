//! The trace fields a server puts before a message (RFC 5321 section 4.4) and the date they carry (RFC 5322 section 3.3).

use crate::session::{Protocol, TlsInfo};
pub use postring_mail::date::write_date as date;
use postring_mail::envelope::MessageId;
use std::io::Write;
use std::net::IpAddr;

/// What a Received field tells.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// What the client said in EHLO.
    pub helo: &'a str,
    /// Its address.
    pub address: IpAddr,
    /// Its name by PTR, if known by now.
    pub reverse_name: Option<&'a str>,
    /// Us.
    pub host: &'a str,
    /// How it spoke.
    pub protocol: Protocol,
    /// EHLO rather than HELO.
    pub extended: bool,
    /// SMTPUTF8 was said.
    pub smtputf8: bool,
    /// TLS, if used.
    pub tls: Option<&'a TlsInfo>,
    /// An account has authenticated: neither its address nor its name for itself is told to the world.
    pub authenticated: bool,
    /// The message.
    pub id: MessageId,
    /// The only recipient; several are not told about each other.
    pub recipient: Option<&'a str>,
    /// When, seconds since 1970 UTC.
    pub unix_seconds: u64,
}

//= RFC 5321 section 4.4
//# When the delivery SMTP server makes the "final delivery" of a message, it inserts a return-path line at the beginning
/// Writes the Return-Path field; an empty path is the null one.
pub fn return_path(reverse_path: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Return-Path: <");
    sanitized_address(reverse_path, out);
    out.extend_from_slice(b">\r\n");
}

/// Writes the Received field, folded.
pub fn received(field: &Received<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Received: from ");
    if field.authenticated {
        sanitized(field.host, out);
        out.extend_from_slice(b" (authenticated user)");
    } else {
        sanitized(if field.helo.is_empty() { "unknown" } else { field.helo }, out);
        out.extend_from_slice(b" (");
        sanitized(field.reverse_name.unwrap_or("unknown"), out);
        // Writing to a Vec cannot fail.
        let _ = match field.address {
            IpAddr::V4(address) => write!(out, " [{address}])"),
            IpAddr::V6(address) => write!(out, " [IPv6:{address}])"),
        };
    }
    out.extend_from_slice(b"\r\n\tby ");
    sanitized(field.host, out);
    let _ = write!(out, " (Postring) with {} id {}", with(field), field.id);
    if let Some(tls) = field.tls {
        out.extend_from_slice(b"\r\n\t(");
        sanitized(tls.version, out);
        out.push(b' ');
        sanitized(tls.cipher, out);
        out.push(b')');
    }
    if let Some(recipient) = field.recipient {
        out.extend_from_slice(b"\r\n\tfor <");
        sanitized_address(recipient, out);
        out.push(b'>');
    }
    out.extend_from_slice(b";\r\n\t");
    date(field.unix_seconds, out);
    out.extend_from_slice(b"\r\n");
}

//= RFC 3848 section 3
/// The "with" keyword; with SMTPUTF8 those of RFC 6531 section 4.3.
fn with(field: &Received<'_>) -> &'static str {
    match (field.protocol, field.extended, field.smtputf8, field.tls.is_some(), field.authenticated) {
        (Protocol::Lmtp, _, false, false, _) => "LMTP",
        (Protocol::Lmtp, _, false, true, _) => "LMTPS",
        (Protocol::Lmtp, _, true, false, _) => "UTF8LMTP",
        (Protocol::Lmtp, _, true, true, _) => "UTF8LMTPS",
        (_, false, _, false, _) => "SMTP",
        (_, _, false, false, false) => "ESMTP",
        (_, _, false, true, false) => "ESMTPS",
        (_, _, false, false, true) => "ESMTPA",
        (_, _, false, true, true) => "ESMTPSA",
        (_, _, true, false, false) => "UTF8SMTP",
        (_, _, true, true, false) => "UTF8SMTPS",
        (_, _, true, false, true) => "UTF8SMTPA",
        (_, _, true, true, true) => "UTF8SMTPSA",
    }
}

/// An address of an accepted path, which has characters outside ASCII only with SMTPUTF8: those stand as they are.
fn sanitized_address(text: &str, out: &mut Vec<u8>) {
    for c in text.chars().take(320) {
        if c.is_ascii() || c.is_control() {
            sanitized(c.encode_utf8(&mut [0; 4]), out);
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Text from outside: only printable ASCII without what has a meaning in comments and folding.
fn sanitized(text: &str, out: &mut Vec<u8>) {
    out.extend(text.bytes().take(255).map(|byte| match byte {
        b'(' | b')' | b'\\' | b'<' | b'>' | b';' => b'?',
        byte if byte.is_ascii_graphic() => byte,
        _ => b'?',
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_client_cannot_forge_what_we_say() {
        let field = Received {
            helo: "evil) by mx.example; x\r\nX: y",
            address: "2001:db8::1".parse().unwrap(),
            reverse_name: None,
            host: "mx.example",
            protocol: Protocol::Smtp,
            extended: true,
            smtputf8: false,
            tls: None,
            authenticated: false,
            id: MessageId(255),
            recipient: Some("u@d.example"),
            unix_seconds: 0,
        };
        assert_eq!(
            text(|out| received(&field, out)),
            "Received: from evil??by?mx.example??x??X:?y (unknown [IPv6:2001:db8::1])\r\n\tby mx.example (Postring) with ESMTP id 00000000000000FF\r\n\tfor <u@d.example>;\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
        assert_eq!(text(|out| return_path("", out)), "Return-Path: <>\r\n");
        assert_eq!(text(|out| return_path("jörg\u{85}@a>", out)), "Return-Path: <jörg??@a?>\r\n");
        let international = Received { smtputf8: true, recipient: Some("jörg@d.example"), ..field };
        assert!(
            text(|out| received(&international, out)).contains("with UTF8SMTP id 00000000000000FF\r\n\tfor <jörg@d.example>;")
        );
        let field = Received { authenticated: true, ..field };
        let shown = text(|out| received(&field, out));
        assert!(shown.starts_with("Received: from mx.example (authenticated user)\r\n\tby mx.example (Postring) with ESMTPA id"));
        assert!(!shown.contains("2001:db8"));
    }
}
