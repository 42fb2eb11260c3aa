//! Reverse-path and forward-path (RFC 5321 sections 4.1.1.2, 4.1.1.3, 4.1.2, 4.1.3).
//!
//! Strict: what the grammar does not allow is refused, because every tolerant parser disagrees with its neighbour's, and mail is
//! lost or forged in between. Two habits of everybody are kept: `<postmaster>` without a domain (section 4.1.1.3), and source
//! routes, which are read and ignored (appendix C).
//!
//! With SMTPUTF8 (RFC 6531 section 3.3) local parts may have characters outside ASCII, and domains U-labels: [`Characters`] says whether.

use crate::limits::{DOMAIN_BYTES_MAX, LOCAL_PART_BYTES_MAX, PATH_BYTES_MAX};
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Which characters an address may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Characters {
    /// Those of RFC 5321.
    Ascii,
    /// Also those of RFC 6531: SMTPUTF8 was said, or may be yet.
    Utf8,
}

/// A mailbox: `Local-part "@" ( Domain / address-literal )`, borrowed from the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox<'a> {
    /// The local part as sent, quotes included.
    pub local_part: &'a str,
    /// The domain or address literal as sent; empty only for `<postmaster>`.
    pub domain: &'a str,
}

impl<'a> Mailbox<'a> {
    /// True if it needs no SMTPUTF8.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.local_part.is_ascii() && self.domain.is_ascii()
    }

    /// The domain with A-labels, as DNS, directory and every other server know it. Allocates for U-labels only.
    //= RFC 6531 section 3.2
    //# When doing lookups, the SMTPUTF8-aware SMTP client or server MUST either use a Unicode-aware DNS library, or transform the
    //# internationalized domain name to A-label form
    #[must_use]
    pub fn ascii_domain(&self) -> Cow<'a, str> {
        ascii_domain(self.domain).unwrap_or(Cow::Borrowed(self.domain))
    }
}

/// A domain with its U-labels turned into A-labels (RFC 5891 by way of UTS 46); `None` if there is a label IDNA does not allow. ASCII, and
/// so an address literal, is left as it is.
fn ascii_domain(domain: &str) -> Option<Cow<'_, str>> {
    if domain.is_ascii() {
        return Some(Cow::Borrowed(domain));
    }
    idna::domain_to_ascii(domain).ok().filter(|ascii| is_domain(ascii)).map(Cow::Owned)
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
            Self::NotAscii => "Characters outside ASCII in the address need SMTPUTF8 behind MAIL",
        }
    }
}

/// Takes a path and the rest of the line behind it: `None` is the null reverse-path `<>`.
///
/// # Errors
/// See [`PathError`].
pub fn parse_path(text: &str, characters: Characters) -> Result<(Option<Mailbox<'_>>, &str), PathError> {
    if characters == Characters::Ascii && !text.is_ascii() {
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
    Ok((Some(parse_mailbox(inner, characters)?), rest))
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
pub fn parse_mailbox(text: &str, characters: Characters) -> Result<Mailbox<'_>, PathError> {
    if characters == Characters::Ascii && !text.is_ascii() {
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
    let is_good = is_address_literal(domain) || ascii_domain(domain).is_some_and(|domain| is_domain(&domain));
    if !is_good {
        return Err(PathError::Domain);
    }
    Ok(Mailbox { local_part, domain })
}

fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

//= RFC 5322 section 3.2.3
//# atext           =   ALPHA / DIGIT /    ; Printable US-ASCII characters not including specials
//= RFC 6531 section 3.3
//# atext   =/  UTF8-non-ascii
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_text_beyond_ascii(c)
}

/// `UTF8-non-ascii` without what is no text in a line: C1 controls, line separators, and the characters that turn its direction, with
/// which an address would be shown as another one.
fn is_text_beyond_ascii(c: char) -> bool {
    let is_format = matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}' | '\u{FEFF}');
    !c.is_ascii() && !c.is_control() && !is_format
}

//= RFC 6531 section 3.3
//# qtextSMTP  =/ UTF8-non-ascii
fn is_quoted_string(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else { return false };
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if !chars.next().is_some_and(|c| matches!(c, ' '..='~')) => return false,
            '\\' | ' ' | '!' | '#'..='[' | ']'..='~' => {}
            c if is_text_beyond_ascii(c) => {}
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
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok((Some(mailbox), rest)) = parse_path(text, Characters::Utf8) {
        assert!(mailbox.local_part.len() <= LOCAL_PART_BYTES_MAX && mailbox.domain.len() <= DOMAIN_BYTES_MAX);
        assert!(text.ends_with(rest));
        // It goes into commands, logs and file names: one line of printable text, and it is read as itself.
        assert!(!mailbox.local_part.chars().chain(mailbox.domain.chars()).any(char::is_control));
        let domain = mailbox.ascii_domain();
        assert!(domain.is_ascii());
        if !mailbox.domain.is_empty() {
            let written = format!("<{}@{}>", mailbox.local_part, mailbox.domain);
            assert_eq!(parse_path(&written, Characters::Utf8), Ok((Some(mailbox), "")));
            let written = format!("{}@{domain}", mailbox.local_part);
            assert_eq!(parse_mailbox(&written, Characters::Utf8), Ok(Mailbox { domain: &domain, ..mailbox }));
        }
        // What ASCII allows is the same with and without.
        if text.is_ascii() {
            assert_eq!(parse_path(text, Characters::Ascii), Ok((Some(mailbox), rest)));
        }
    }
    if !text.is_ascii() {
        assert_eq!(parse_path(text, Characters::Ascii), Err(PathError::NotAscii));
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
            assert_eq!(parse_path(path, Characters::Ascii), Ok((Some(Mailbox { local_part, domain }), rest)), "{path}");
        }
        assert_eq!(parse_path("<> BODY=8BITMIME", Characters::Ascii), Ok((None, " BODY=8BITMIME")));
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
            assert_eq!(parse_path(path, Characters::Ascii), Err(error), "{path}");
        }
    }

    #[test]
    fn beyond_ascii() {
        for (path, local_part, domain) in [
            ("<jörg@müller.example>", "jörg", "xn--mller-kva.example"),
            ("<用户@例子.example>", "用户", "xn--fsqu00a.example"),
            ("<\"j ö\"@b>", "\"j ö\"", "b"),
            ("<a@[192.0.2.1]>", "a", "[192.0.2.1]"),
        ] {
            let (mailbox, rest) = parse_path(path, Characters::Utf8).unwrap();
            let mailbox = mailbox.unwrap();
            assert_eq!((mailbox.local_part, &*mailbox.ascii_domain(), rest), (local_part, domain, ""), "{path}");
        }
        let long_local = format!("<{}@b>", "ö".repeat(33));
        // Longer in A-labels than a label may be.
        let long_label = format!("<a@{}.example>", "ü".repeat(62));
        for (path, error) in [
            ("<a\u{85}@b>", PathError::LocalPart),
            ("<a\u{202E}@b>", PathError::LocalPart),
            ("<a\u{2028}@b>", PathError::LocalPart),
            ("<\"\\ö\"@b>", PathError::LocalPart),
            ("<ö@>", PathError::Domain),
            ("<ö@[ü]>", PathError::Domain),
            ("<ö@a b>", PathError::Domain),
            ("<ö@\u{2024}ü>", PathError::Domain),
            ("<ö@xn--ü.example>", PathError::Domain),
            ("<ö@a..ü>", PathError::Domain),
            (&long_local, PathError::TooLong),
            (&long_label, PathError::Domain),
        ] {
            assert_eq!(parse_path(path, Characters::Utf8), Err(error), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_characters_are_harmless(text in "<\\PC{0,8}@\\PC{0,8}>") { fuzz_path(text.as_bytes()); }
        #[test]
        fn any_text_is_harmless(data in proptest::collection::vec(any::<u8>(), 0..300)) { fuzz_path(&data); }
        #[test]
        fn near_paths_are_harmless(text in "[<>@\"\\\\a.: ,\\[\\]]{0,40}") { fuzz_path(text.as_bytes()); }
    }
}
