//! The Author Domain: whose domain the From field shows (RFC 7489 section 6.6.1, RFC 9989 section 5.3.1).

use super::Domain;
use super::address::domains;
use crate::dkim::Message;
use std::fmt;

/// Why a message has no Author Domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorProblem {
    /// The header has more octets or fields than are looked at.
    Header,
    /// There is no From field.
    NoField,
    /// There are so many From fields.
    Fields(usize),
    /// The From field is not an address list.
    Syntax(&'static str),
    /// It has no address, only groups without members.
    NoAddress,
    /// Its only domain is an address literal.
    Literal,
    /// A domain is none.
    NoDomain,
    /// It has addresses of several domains.
    Domains,
}

impl AuthorProblem {
    /// True if the field may be as it is, and merely names no domain; everything else is against the rules, or an attempt to be judged by one domain
    /// and shown with another.
    //= RFC 7489 section 6.6.1
    //# Messages bearing a single RFC5322.From field containing no meaningful domains, such as RFC 5322's group syntax, are typically
    //# ignored.
    #[must_use]
    pub fn is_legal(&self) -> bool {
        matches!(self, Self::NoAddress | Self::Literal)
    }
}

impl fmt::Display for AuthorProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header is too large to be looked at"),
            Self::NoField => f.write_str("there is no From field"),
            Self::Fields(count) => write!(f, "there are {count} From fields"),
            Self::Syntax(wrong) => write!(f, "the From field cannot be read: {wrong}"),
            Self::NoAddress => f.write_str("the From field has no address"),
            Self::Literal => f.write_str("the From field has an address literal and no domain"),
            Self::NoDomain => f.write_str("the From field's domain is not a domain name"),
            Self::Domains => f.write_str("the From field has addresses of several domains"),
        }
    }
}

/// The one domain that the one From field of a message has; `message` with CRLF at its line ends.
///
/// # Errors
/// [`AuthorProblem`], if there is not exactly one.
pub fn author(message: &[u8]) -> Result<Domain, AuthorProblem> {
    let message = Message::parse(message).ok_or(AuthorProblem::Header)?;
    let mut fields = message.fields.iter().filter(|field| field.is("From"));
    let field = fields.next().ok_or(AuthorProblem::NoField)?;
    let more = fields.count();
    if more > 0 {
        return Err(AuthorProblem::Fields(more + 1));
    }
    author_of(field.value)
}

/// The same of the field's value.
fn author_of(value: &[u8]) -> Result<Domain, AuthorProblem> {
    let texts = domains(value).map_err(AuthorProblem::Syntax)?;
    let is_literal = |text: &Vec<u8>| text.first() == Some(&b'[');
    if !texts.is_empty() && texts.iter().all(is_literal) {
        return Err(AuthorProblem::Literal);
    }
    if texts.iter().any(is_literal) {
        return Err(AuthorProblem::Domains);
    }
    let mut author: Option<Domain> = None;
    for text in texts {
        let domain = std::str::from_utf8(&text).ok().and_then(Domain::new).ok_or(AuthorProblem::NoDomain)?;
        //= RFC 9989 section 5.3.1
        //# If zero or more than one domain is extracted from the RFC5322.From header field, then DMARC validation is not possible
        if author.as_ref().is_some_and(|author| *author != domain) {
            return Err(AuthorProblem::Domains);
        }
        author = Some(domain);
    }
    author.ok_or(AuthorProblem::NoAddress)
}

/// Fuzz entry: any octets have one author or none, and white space and comments change nothing.
///
/// # Panics
/// If that does not hold.
pub fn fuzz_from(data: &[u8]) {
    let found = author_of(data);
    // More addresses than are read would be in twice of what is long.
    if let Ok(domain) = &found
        && data.len() <= 200
    {
        assert_eq!(Domain::new(domain.as_str()).as_ref(), Some(domain));
        let framed = [b"(c (x) \\)) \r\n\t", data, b" (a@b.example)"].concat();
        assert_eq!(author_of(&framed).as_ref(), Ok(domain));
        let twice = [data, b",", data].concat();
        assert_eq!(author_of(&twice).as_ref(), Ok(domain));
        let other = [data, b", x@other.invalid"].concat();
        assert!(domain.as_str() == "other.invalid" || author_of(&other) == Err(AuthorProblem::Domains));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn authors() {
        assert_eq!(author(b"From: a@B.example\r\n\r\nFrom: c@d.example\r\n").unwrap().as_str(), "b.example");
        assert_eq!(author_of("a@bücher.example, b@XN--bcher-kva.example".as_bytes()).unwrap().as_str(), "xn--bcher-kva.example");
        for (header, problem) in [
            ("Sender: a@b.example\r\n", AuthorProblem::NoField),
            ("From: a@b.example\r\nfrom : a@b.example\r\n", AuthorProblem::Fields(2)),
            ("From: a@b.example, c@d.example\r\n", AuthorProblem::Domains),
            ("From: a@b.example, c@[192.0.2.1]\r\n", AuthorProblem::Domains),
            ("From: a@[192.0.2.1]\r\n", AuthorProblem::Literal),
            ("From: a:;\r\n", AuthorProblem::NoAddress),
            ("From: a@b!c.example\r\n", AuthorProblem::NoDomain),
            ("From: a@=?utf-8?q?b?=.example\r\n", AuthorProblem::NoDomain),
        ] {
            assert_eq!(author(header.as_bytes()), Err(problem), "{header}");
        }
        assert_eq!(author_of(b"a@b\xff.example"), Err(AuthorProblem::NoDomain));
        assert_eq!(author("A:\r\n".repeat(10_001).as_bytes()), Err(AuthorProblem::Header));
    }

    proptest! {
        #[test]
        fn any_octets_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..100)) { fuzz_from(&data); }

        #[test]
        fn likely_text_is_harmless(text in "[ab<>@.,:;()\"\\\\ \\[\\]é]{0,40}") { fuzz_from(text.as_bytes()); }

        #[test]
        fn likely_addresses_are_harmless(text in "((g:)?(N |\"x\" |\\(c\\))?<?[a-c]@[a-c.ßé．]{1,4}>?[,;]?){1,3}") { fuzz_from(text.as_bytes()); }
    }
}
