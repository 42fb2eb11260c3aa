//! Macros in domains and explanations (RFC 7208 section 7).

use super::Session;
use std::fmt::Write;
use std::net::IpAddr;

/// Characters of an expanded domain.
const DOMAIN_MAX: usize = 253;
/// Characters of an expanded explanation; an SMTP reply line has no room for more.
const EXPLANATION_MAX: usize = 400;

/// Where a macro string stands: some letters are for explanations alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Domain,
    Explanation,
}

/// A text with macros.
#[derive(Clone, Debug)]
pub(super) struct MacroString {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Literal(String),
    /// `%%`, `%_`, `%-`.
    Escape(&'static str),
    Expand {
        letter: u8,
        url: bool,
        /// Parts kept, from the right; 0: all.
        keep: usize,
        reverse: bool,
        delimiters: Vec<u8>,
    },
}

/// What the macros stand for.
pub(super) struct Values<'a> {
    pub(super) session: Session<'a>,
    pub(super) local_part: &'a str,
    pub(super) sender_domain: &'a str,
    /// The domain being asked about.
    pub(super) domain: &'a str,
    /// The client's validated name, if the text asks for it.
    pub(super) validated: &'a str,
}

impl MacroString {
    /// Reads a text; spaces are allowed in an explanation alone.
    pub(super) fn parse(text: &str, place: Place) -> Result<Self, &'static str> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            let (literal, behind) = rest.split_at_checked(at).unwrap_or((rest, ""));
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            let (piece, length) = match behind.as_bytes().get(1) {
                Some(b'%') => (Piece::Escape("%"), 2),
                Some(b'_') => (Piece::Escape(" "), 2),
                Some(b'-') => (Piece::Escape("%20"), 2),
                Some(b'{') => {
                    let end = behind.find('}').ok_or("a macro has no end")?;
                    (expand(behind.get(2..end).unwrap_or_default(), place)?, end + 1)
                }
                _ => return Err("a percent sign must be followed by {, %, _ or -"),
            };
            pieces.push(piece);
            rest = behind.get(length..).unwrap_or_default();
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        Ok(Self { pieces })
    }

    /// True if it ends in a dot and a label that may be a top-level domain, or in a macro (`domain-end` of RFC 7208 section 7.1).
    pub(super) fn ends_as_a_domain(&self) -> bool {
        let literal = match self.pieces.last() {
            Some(Piece::Literal(literal)) => literal,
            Some(_) => return true,
            None => return false,
        };
        let literal = literal.strip_suffix('.').unwrap_or(literal);
        let Some((_, label)) = literal.rsplit_once('.') else { return false };
        let is_inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let is_number = label.bytes().all(|byte| byte.is_ascii_digit());
        is_inner && !is_number && !label.starts_with('-') && !label.ends_with('-')
    }

    /// True if it takes the client's validated name, which takes questions to find.
    pub(super) fn needs_validated(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Expand { letter: b'p', .. }))
    }

    /// The text with all macros replaced; whole labels are cut from the left of a domain that is too long (RFC 7208 section 7.3).
    pub(super) fn domain(&self, values: &Values<'_>) -> String {
        let expanded = self.expand(values);
        let mut domain = expanded.as_str();
        while domain.len() > DOMAIN_MAX {
            domain = domain.split_once('.').map_or("", |(_, rest)| rest);
        }
        domain.to_owned()
    }

    /// The text of an explanation; `None` if it is no printable ASCII.
    pub(super) fn explanation(&self, values: &Values<'_>) -> Option<String> {
        let mut text = self.expand(values);
        text.truncate(text.floor_char_boundary(EXPLANATION_MAX));
        text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ').then_some(text)
    }

    fn expand(&self, values: &Values<'_>) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Escape(character) => text.push_str(character),
                Piece::Expand { letter, url, keep, reverse, delimiters } => {
                    let value = values.of(*letter);
                    let mut parts: Vec<&str> = if delimiters.is_empty() {
                        value.split('.').collect()
                    } else {
                        value.split(|character: char| delimiters.iter().any(|byte| char::from(*byte) == character)).collect()
                    };
                    if *reverse {
                        parts.reverse();
                    }
                    let from = if *keep == 0 { 0 } else { parts.len().saturating_sub(*keep) };
                    let kept = parts.get(from..).unwrap_or_default().join(".");
                    if *url { push_url(&mut text, &kept) } else { text.push_str(&kept) }
                }
            }
        }
        text
    }
}

/// What stands between the braces.
fn expand(text: &str, place: Place) -> Result<Piece, &'static str> {
    let [letter, rest @ ..] = text.as_bytes() else { return Err("a macro has no letter") };
    let lower = letter.to_ascii_lowercase();
    match lower {
        b's' | b'l' | b'o' | b'd' | b'i' | b'p' | b'v' | b'h' => {}
        b'c' | b'r' | b't' if place == Place::Explanation => {}
        b'c' | b'r' | b't' => return Err("this macro is for explanations alone"),
        _ => return Err("there is no macro of that letter"),
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = rest.split_at_checked(digits).unwrap_or((rest, &[]));
    let keep = match number {
        [] => 0,
        // More parts than any name has are all of them.
        _ => std::str::from_utf8(number).ok().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX),
    };
    if keep == 0 && !number.is_empty() {
        return Err("a macro cannot keep 0 parts");
    }
    let (reverse, delimiters) = match rest {
        [b'r' | b'R', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if !delimiters.iter().all(|byte| matches!(byte, b'.' | b'-' | b'+' | b',' | b'/' | b'_' | b'=')) {
        return Err("a macro has something else than its delimiters behind the letter");
    }
    Ok(Piece::Expand { letter: lower, url: letter.is_ascii_uppercase(), keep, reverse, delimiters: delimiters.to_vec() })
}

impl Values<'_> {
    fn of(&self, letter: u8) -> String {
        let client = self.session.client;
        match letter {
            b's' => format!("{}@{}", self.local_part, self.sender_domain),
            b'l' => self.local_part.to_owned(),
            b'o' => self.sender_domain.to_owned(),
            b'd' => self.domain.to_owned(),
            b'i' => match client {
                IpAddr::V4(client) => client.to_string(),
                IpAddr::V6(client) => nibbles(client.octets()),
            },
            b'p' => self.validated.to_owned(),
            b'v' => if client.is_ipv4() { "in-addr" } else { "ip6" }.to_owned(),
            b'h' => self.session.helo.to_owned(),
            b'c' => client.to_string(),
            b'r' => self.session.receiver.to_owned(),
            b't' => self.session.unix_seconds.to_string(),
            _ => String::new(),
        }
    }
}

fn nibbles(octets: [u8; 16]) -> String {
    let mut text = String::with_capacity(64);
    for octet in octets {
        let dot = if text.is_empty() { "" } else { "." };
        // Writing to a string cannot fail.
        let _ = write!(text, "{dot}{:X}.{:X}", octet >> 4, octet & 15);
    }
    text
}

fn push_url(text: &mut String, part: &str) {
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7208 section 7.4.
    #[test]
    fn the_examples_of_the_rfc() {
        let expand = |client: &str, text: &str| {
            let session = Session {
                client: client.parse().unwrap(),
                helo: "mx.example.org",
                mail_from: "strong-bad@email.example.com",
                receiver: "mx.example.net",
                unix_seconds: 0,
            };
            let values = Values {
                session,
                local_part: "strong-bad",
                sender_domain: "email.example.com",
                domain: "email.example.com",
                validated: "mx.example.org",
            };
            MacroString::parse(text, Place::Domain).unwrap().domain(&values)
        };
        for (text, expanded) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
            ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ] {
            assert_eq!(expand("192.0.2.3", text), expanded, "{text}");
        }
        assert_eq!(
            expand("2001:db8::cb01", "%{ir}.%{v}._spf.%{d2}").to_lowercase(),
            "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
        );
    }

    #[test]
    fn a_domain_that_is_too_long_loses_labels_on_its_left() {
        let long = vec!["a123456789"; 30].join(".");
        let session = Session { client: [192, 0, 2, 1].into(), helo: "", mail_from: "", receiver: "", unix_seconds: 0 };
        let values = Values { session, local_part: "", sender_domain: "", domain: &long, validated: "" };
        let domain = MacroString::parse("%{d}.example.com", Place::Domain).unwrap().domain(&values);
        assert!(domain.len() <= DOMAIN_MAX && domain.len() > DOMAIN_MAX - 11, "{domain}");
        assert!(domain.starts_with("a1234") && domain.ends_with(".example.com"), "{domain}");
    }
}
