//! Reverse-path and forward-path (RFC 5321 sections 4.1.1.2, 4.1.1.3, 4.1.2, 4.1.3).
//!
//! Strict: what the grammar does not allow is refused, because every tolerant parser disagrees with its neighbour's, and mail is
//! lost or forged in between. Two habits of everybody are kept: `<postmaster>` without a domain (section 4.1.1.3), and source
//! routes, which are read and ignored (appendix C).

use crate::limits::{DOMAIN_BYTES_MAX, LOCAL_PART_BYTES_MAX, PATH_BYTES_MAX};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A mailbox: `Local-part "@" ( Domain / address-literal )`, borrowed from the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox<'a> {
    /// The local part as sent, quotes included.
    pub local_part: &'a str,
    /// The domain or address literal as sent; empty only for `<postmaster>`.
    pub domain: &'a str,
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Not `<` path `>`.
    Brackets,
    /// The local part is not of the grammar.
    LocalPart,
    /// The domain is not of the grammar.
    Domain,
    /// Longer than RFC 5321 section 4.5.3.1 allows.
    TooLong,
    /// Characters outside ASCII without SMTPUTF8.
    NotAscii,
}

impl PathError {
    /// What the client is told.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Brackets => "Syntax: the address goes in <angle brackets>",
            Self::LocalPart => "Bad local part in the address",
            Self::Domain => "Bad domain in the address",
            Self::TooLong => "The address is too long",
            Self::NotAscii => "Characters outside ASCII in the address need SMTPUTF8, which is not offered",
        }
    }
}

/// Takes a path and the rest of the line behind it: `None` is the null reverse-path `<>`.
///
/// # Errors
/// See [`PathError`].
pub fn parse_path(text: &str) -> Result<(Option<Mailbox<'_>>, &str), PathError> {
    if !text.is_ascii() {
        return Err(PathError::NotAscii);
    }
    let inner = text.strip_prefix('<').ok_or(PathError::Brackets)?;
    let end = closing_bracket(inner).ok_or(PathError::Brackets)?;
    let (inner, rest) = (inner.get(..end).unwrap_or_default(), inner.get(end + 1..).unwrap_or_default());
    if inner.is_empty() {
        return Ok((None, rest));
    }
    if inner.len() + 2 > PATH_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    let inner = skip_source_route(inner)?;
    Ok((Some(parse_mailbox(inner)?), rest))
}

/// The bracket that closes the path: one inside a quoted string does not.
fn closing_bracket(inner: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (index, byte) in inner.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(index),
            _ => {}
        }
    }
    None
}

//= RFC 5321 section 3.6.1
//# SMTP servers MUST be prepared to accept source routes but [...] SHOULD ignore them
fn skip_source_route(path: &str) -> Result<&str, PathError> {
    if !path.starts_with('@') {
        return Ok(path);
    }
    let (route, mailbox) = path.split_once(':').ok_or(PathError::Domain)?;
    for hop in route.split(',') {
        let domain = hop.strip_prefix('@').ok_or(PathError::Domain)?;
        if !is_domain(domain) {
            return Err(PathError::Domain);
        }
    }
    Ok(mailbox)
}

/// A mailbox without brackets.
///
/// # Errors
/// See [`PathError`].
pub fn parse_mailbox(text: &str) -> Result<Mailbox<'_>, PathError> {
    if !text.is_ascii() {
        return Err(PathError::NotAscii);
    }
    if text.eq_ignore_ascii_case("postmaster") {
        return Ok(Mailbox { local_part: text, domain: "" });
    }
    // An @ in a quoted string is before the last one; a domain has none.
    let (local_part, domain) = text.rsplit_once('@').ok_or(PathError::Domain)?;
    if local_part.len() > LOCAL_PART_BYTES_MAX || domain.len() > DOMAIN_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    if !(is_dot_string(local_part) || is_quoted_string(local_part)) {
        return Err(PathError::LocalPart);
    }
    if !(is_domain(domain) || is_address_literal(domain)) {
        return Err(PathError::Domain);
    }
    Ok(Mailbox { local_part, domain })
}

fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

//= RFC 5322 section 3.2.3
//# atext           =   ALPHA / DIGIT /    ; Printable US-ASCII characters not including specials
fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

fn is_quoted_string(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else { return false };
    let mut bytes = inner.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if !bytes.next().is_some_and(|byte| (32..=126).contains(&byte)) => return false,
            b'\\' | 32 | 33 | 35..=91 | 93..=126 => {}
            _ => return false,
        }
    }
    true
}

/// True for `sub-domain *("." sub-domain)` with labels of 1 to 63 octets. An underscore is let through: such hosts send mail.
#[must_use]
pub fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= DOMAIN_BYTES_MAX && text.split('.').all(label)
}

/// True for `[192.0.2.1]` and `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3).
#[must_use]
pub fn is_address_literal(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) else { return false };
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner.get(5..).unwrap_or_default().parse::<Ipv6Addr>().is_ok(),
        _ => inner.parse::<Ipv4Addr>().is_ok(),
    }
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic.
#[doc(hidden)]
pub fn fuzz_path(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok((Some(mailbox), rest)) = parse_path(text)
    {
        assert!(mailbox.local_part.len() <= LOCAL_PART_BYTES_MAX && mailbox.domain.len() <= DOMAIN_BYTES_MAX);
        assert!(text.ends_with(rest));
        // It goes into commands, logs and file names: one line of printable ASCII, and it is read as itself.
        assert!(mailbox.local_part.bytes().chain(mailbox.domain.bytes()).all(|byte| (32..=126).contains(&byte)));
        if !mailbox.domain.is_empty() {
            let written = format!("<{}@{}>", mailbox.local_part, mailbox.domain);
            assert_eq!(parse_path(&written), Ok((Some(mailbox), "")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn good_paths() {
        for (path, local_part, domain, rest) in [
            ("<a@b>", "a", "b", ""),
            ("<a.b+c@Example.COM> SIZE=1", "a.b+c", "Example.COM", " SIZE=1"),
            ("<\"a > b\"@c.example>", "\"a > b\"", "c.example", ""),
            ("<\"a\\\"@b\"@c>", "\"a\\\"@b\"", "c", ""),
            ("<@r1.example,@r2.example:u@d.example>", "u", "d.example", ""),
            ("<u@[192.0.2.1]>", "u", "[192.0.2.1]", ""),
            ("<u@[IPv6:2001:db8::1]>", "u", "[IPv6:2001:db8::1]", ""),
            ("<Postmaster>", "Postmaster", "", ""),
        ] {
            assert_eq!(parse_path(path), Ok((Some(Mailbox { local_part, domain }), rest)), "{path}");
        }
        assert_eq!(parse_path("<> BODY=8BITMIME"), Ok((None, " BODY=8BITMIME")));
    }

    #[test]
    fn bad_paths() {
        use PathError::{Brackets, Domain, LocalPart, NotAscii, TooLong};
        let long_local = format!("<{}@b>", "x".repeat(65));
        let long_domain = format!("<a@{}>", "x.".repeat(130));
        for (path, error) in [
            ("a@b", Brackets),
            ("<a@b", Brackets),
            ("<a>", Domain),
            ("<a@>", Domain),
            ("<@b>", Domain),
            ("<a..b@c>", LocalPart),
            ("<.a@c>", LocalPart),
            ("<a b@c>", LocalPart),
            ("<a@b@c>", LocalPart),
            ("<a@-b>", Domain),
            ("<a@b..c>", Domain),
            ("<a@[300.1.1.1]>", Domain),
            ("<a@[IPv6:zz]>", Domain),
            ("<\"a\\\"@b>", Brackets),
            ("<@x,y:a@b>", Domain),
            ("<ü@b>", NotAscii),
            (&long_local, TooLong),
            (&long_domain, TooLong),
        ] {
            assert_eq!(parse_path(path), Err(error), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_harmless(data in proptest::collection::vec(any::<u8>(), 0..300)) { fuzz_path(&data); }
        #[test]
        fn near_paths_are_harmless(text in "[<>@\"\\\\a.: ,\\[\\]]{0,40}") { fuzz_path(text.as_bytes()); }
    }
}
