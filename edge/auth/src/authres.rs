//! What an Authentication-Results field says (RFC 8601 section 2.2), which an ARC-Authentication-Results field says too behind its instance.
//!
//! ```text
//!   mx.example.org 1; spf=pass (comment) reason="text" smtp.mailfrom=a@b.example; dkim=fail header.d=b.example
//!   authserv-id    |  method=result                    ptype.property=value
//!                  version
//! ```
//! Read leniently where the great senders do not keep to the syntax: values are what stands before white space, a semicolon or a comment, and a
//! property may have no ptype. A result that is none is left out; nothing behind a comment or a quoted-string without an end is believed.

use crate::dkim::result::write_value;
use crate::dkim::tags::is_space;
use std::borrow::Cow;
use std::fmt;

/// More results of a field are not read.
const RESULTS_MAX: usize = 64;

/// More properties of a result are not read.
const PROPERTIES_MAX: usize = 32;

/// The results of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationResults<'a> {
    /// Who has checked.
    pub authserv_id: Cow<'a, str>,
    /// In their order.
    pub results: Vec<MethodResult<'a>>,
}

/// One `resinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodResult<'a> {
    /// `spf`, `dkim`, `dmarc`, `arc`, … in the case they were written in.
    pub method: &'a str,
    /// `pass`, `fail`, …
    pub result: &'a str,
    /// `reason=`.
    pub reason: Option<Cow<'a, str>>,
    /// In their order.
    pub properties: Vec<Property<'a>>,
}

/// One `propspec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property<'a> {
    /// `smtp`, `header`, `body`, `policy`, …; empty if there is none.
    pub ptype: &'a str,
    /// `mailfrom`, `from`, `d`, …
    pub name: &'a str,
    /// Without quotes.
    pub value: Cow<'a, str>,
}

impl<'a> AuthenticationResults<'a> {
    /// Reads what stands behind the colon of the field; `None` if not even the authserv-id can be read.
    ///
    /// Cost: each octet is looked at once or twice, whatever it is; no more than 64 results of 32 properties are kept.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let mut reader = Reader { rest: value };
        let authserv_id = reader.authserv_id()?;
        let mut results = Vec::new();
        while results.len() < RESULTS_MAX && reader.skip_to_semicolon().is_some() {
            // `none` alone has no "=", so that no result is left of it.
            results.extend(reader.result());
        }
        Some(Self { authserv_id, results })
    }

    /// The results of a method, whatever case it has.
    pub fn of<'s>(&'s self, method: &'s str) -> impl Iterator<Item = &'s MethodResult<'a>> {
        self.results.iter().filter(move |result| result.method.eq_ignore_ascii_case(method))
    }
}

impl MethodResult<'_> {
    /// True if the result is this one, whatever case it has.
    #[must_use]
    pub fn is(&self, result: &str) -> bool {
        self.result.eq_ignore_ascii_case(result)
    }

    /// The value of a property; the first one if it is there twice.
    #[must_use]
    pub fn property(&self, ptype: &str, name: &str) -> Option<&str> {
        let is =
            |property: &&Property<'_>| property.ptype.eq_ignore_ascii_case(ptype) && property.name.eq_ignore_ascii_case(name);
        self.properties.iter().find(is).map(|property| &*property.value)
    }
}

/// True if an Authentication-Results field may be read as one of `host`, so that nobody else may have brought it.
///
/// A field whose authserv-id cannot be read, or whose end is not clear, is one: another reader may see our name in it.
#[must_use]
pub fn claims_to_be(value: &[u8], host: &str) -> bool {
    //= RFC 8601 section 5
    //# MUST delete any discovered instance of this header field that claims, by virtue of its authentication service identifier, to
    //# have been added within its trust boundary but that did not come directly from another trusted MTA.
    let mut reader = Reader { rest: value };
    let Some(id) = reader.authserv_id() else { return true };
    let strange = |byte: u8| !byte.is_ascii_alphanumeric() && !b"!#$%&'*+-._`{|}~^".contains(&byte);
    id.is_empty() || id.bytes().any(strange) || id.trim_end_matches('.').eq_ignore_ascii_case(host.trim_end_matches('.'))
}

/// What is not read yet.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Passes white space and comments, which may be within each other (RFC 5322 section 3.2.2); `None` if one has no end.
    pub fn skip_space(&mut self) -> Option<()> {
        let mut depth: usize = 0;
        loop {
            match self.rest {
                [b'(', rest @ ..] => (self.rest, depth) = (rest, depth + 1),
                [b')', rest @ ..] if depth > 0 => (self.rest, depth) = (rest, depth - 1),
                [b'\\', _, rest @ ..] if depth > 0 => self.rest = rest,
                [byte, rest @ ..] if depth > 0 || is_space(*byte) => self.rest = rest,
                _ if depth > 0 => return None,
                _ => return Some(()),
            }
        }
    }

    /// Passes an octet, and the white space before.
    pub fn take(&mut self, octet: u8) -> Option<()> {
        self.skip_space()?;
        let rest = self.rest.strip_prefix(&[octet])?;
        self.rest = rest;
        Some(())
    }

    /// A `Keyword`, or digits: letters, digits, hyphens and, as many have them, underscores.
    pub fn word(&mut self) -> Option<&'a str> {
        self.skip_space()?;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let length = self.rest.iter().position(|byte| !plain(byte)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(length).filter(|(word, _)| !word.is_empty())?;
        self.rest = rest;
        std::str::from_utf8(word).ok()
    }

    /// A value: quoted-strings and what is not quoted, up to white space, a comment or a semicolon.
    fn value(&mut self) -> Option<Cow<'a, str>> {
        self.skip_space()?;
        let mut parts: Vec<Cow<'a, str>> = Vec::new();
        loop {
            let part = match self.rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    self.quoted()?
                }
                rest => {
                    let ends =
                        |byte: &u8| is_space(*byte) || byte.is_ascii_control() || matches!(byte, b';' | b'(' | b')' | b'"');
                    let length = rest.iter().position(ends).unwrap_or(rest.len());
                    let (run, rest) = rest.split_at_checked(length)?;
                    if run.is_empty() {
                        break;
                    }
                    self.rest = rest;
                    String::from_utf8_lossy(run)
                }
            };
            parts.push(part);
        }
        match parts.len() {
            0 => None,
            1 => parts.pop(),
            _ => Some(Cow::Owned(parts.concat())),
        }
    }

    /// What is in a quoted-string, behind its first quote; line ends are no part of it.
    fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let end = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\r' | b'\n'))?;
        let (run, rest) = self.rest.split_at_checked(end)?;
        if let [b'"', rest @ ..] = rest {
            self.rest = rest;
            return Some(String::from_utf8_lossy(run));
        }
        let mut out = run.to_vec();
        self.rest = rest;
        loop {
            match self.rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Some(Cow::Owned(String::from_utf8_lossy(&out).into_owned()));
                }
                [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
                    self.rest = rest;
                    if !matches!(byte, b'\r' | b'\n') {
                        out.push(*byte);
                    }
                }
                [] => return None,
            }
        }
    }

    /// The authserv-id and the version behind it, up to a semicolon or the end.
    fn authserv_id(&mut self) -> Option<Cow<'a, str>> {
        let id = self.value()?;
        self.skip_space()?;
        //= RFC 8601 section 2.2
        //# authserv-id [ CFWS authres-version ]
        if self.rest.first().is_some_and(u8::is_ascii_digit) {
            self.word()?;
            self.skip_space()?;
        }
        matches!(self.rest, [] | [b';', ..]).then_some(id)
    }

    /// Passes what is left of a result, and the semicolon behind.
    fn skip_to_semicolon(&mut self) -> Option<()> {
        loop {
            self.skip_space()?;
            match self.rest {
                [b';', rest @ ..] => {
                    self.rest = rest;
                    return Some(());
                }
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    self.quoted()?;
                }
                [_, rest @ ..] => self.rest = rest,
                [] => return None,
            }
        }
    }

    fn result(&mut self) -> Option<MethodResult<'a>> {
        let method = self.word()?;
        if self.take(b'/').is_some() {
            self.word()?; // method-version
        }
        self.take(b'=')?;
        let result = self.word()?;
        let mut reason = None;
        let mut properties = Vec::new();
        while properties.len() < PROPERTIES_MAX {
            let before = *self;
            let Some(property) = self.property() else {
                *self = before;
                break;
            };
            if property.ptype.is_empty() && property.name.eq_ignore_ascii_case("reason") && reason.is_none() {
                reason = Some(property.value);
            } else {
                properties.push(property);
            }
        }
        Some(MethodResult { method, result, reason, properties })
    }

    fn property(&mut self) -> Option<Property<'a>> {
        let first = self.word()?;
        let (ptype, name) = if self.take(b'.').is_some() { (first, self.word()?) } else { ("", first) };
        self.take(b'=')?;
        Some(Property { ptype, name, value: self.value()? })
    }
}

impl fmt::Display for AuthenticationResults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(&self.authserv_id, f)?;
        for result in &self.results {
            write!(f, "; {result}")?;
        }
        if self.results.is_empty() { f.write_str("; none") } else { Ok(()) }
    }
}

impl fmt::Display for MethodResult<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.method, self.result)?;
        if let Some(reason) = &self.reason {
            f.write_str(" reason=")?;
            write_value(reason, f)?;
        }
        for Property { ptype, name, value } in &self.properties {
            let dot = if ptype.is_empty() { "" } else { "." };
            write!(f, " {ptype}{dot}{name}=")?;
            write_value(value, f)?;
        }
        Ok(())
    }
}

/// Fuzz entry: any octets are results or none, and results that were written are read as the same.
///
/// # Panics
/// If they are not.
pub fn fuzz_results(data: &[u8]) {
    let host = "mx.example.org";
    let Some(results) = AuthenticationResults::parse(data) else {
        assert!(claims_to_be(data, host));
        return;
    };
    assert!(results.results.len() <= RESULTS_MAX);
    let text = results.to_string();
    let again = AuthenticationResults::parse(text.as_bytes());
    assert_eq!(again.map(|again| again.to_string()), Some(text));
    assert!(claims_to_be(data, &results.authserv_id));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: &str) -> String {
        AuthenticationResults::parse(value.as_bytes()).map_or_else(|| "?".to_owned(), |results| results.to_string())
    }

    #[test]
    fn fields_as_they_are_met() {
        for (value, read) in [
            // RFC 8601 appendix B.
            (" example.org 1; none", "example.org; none"),
            (" example.com;\r\n\tspf=pass smtp.mailfrom=example.net", "example.com; spf=pass smtp.mailfrom=example.net"),
            (
                " foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n policy \
                 (A dot can go here) . (like that) expired\r\n (this surprised me) = (as I wasn't expecting it) 1362471462",
                "foo.example.net; dkim=fail policy.expired=1362471462",
            ),
            (
                " example.com; dkim=pass reason=\"good (\\\"signature\\\")\"\r\n header.i=@mail-router.example.net; \
                 dkim=fail reason=\"bad; x=y\" header.i=@newyork.example.com",
                "example.com; dkim=pass reason=\"good (\\\"signature\\\")\" header.i=@mail-router.example.net; \
                 dkim=fail reason=\"bad; x=y\" header.i=@newyork.example.com",
            ),
            // A slash that is not quoted, a property without a ptype, a comment with a semicolon.
            (
                "mx.a.example;\tdkim=pass header.b=a/b+c=;spf=pass (a; b: (c\\)) d) smtp.mailfrom=\"a b\"@c.example;dmarc=fail action=none \
                 header.from=c.example",
                "mx.a.example; dkim=pass header.b=\"a/b+c=\"; spf=pass smtp.mailfrom=\"a b@c.example\"; dmarc=fail action=none \
                 header.from=c.example",
            ),
            ("\"mx.a.example\" 1 ; x=y", "mx.a.example; x=y"),
            ("a", "a; none"),
            // What is no result is left out, and what is behind it is not.
            ("a; spf; =pass; dkim=; \"x;y\"; arc=pass; dmarc=pass a.b=; spf=fail c.=d;", "a; arc=pass; dmarc=pass; spf=fail"),
            // Nothing is believed behind what has no end.
            ("a; spf=fail (b; dkim=pass", "a; spf=fail"),
            ("a; spf=fail \"b; dkim=pass", "a; spf=fail"),
            ("a; spf=fail a.b=\"c; dkim=pass", "a; spf=fail"),
            ("", "?"),
            ("; spf=pass", "?"),
            ("a b; spf=pass", "?"),
            ("(a; spf=pass", "?"),
            ("\"a; spf=pass", "?"),
        ] {
            assert_eq!(text(value), read, "{value}");
            fuzz_results(value.as_bytes());
        }
    }

    #[test]
    fn results_are_found() {
        let value =
            b"mx.a.example; DMARC=Pass (p=none) header.from=B.example; spf=fail smtp.mailfrom=a@b.example; spf=pass smtp.helo=c";
        let results = AuthenticationResults::parse(value).unwrap();
        let dmarc = results.of("dmarc").next().unwrap();
        assert!(dmarc.is("pass") && !dmarc.is("fail"));
        assert_eq!(dmarc.property("Header", "from"), Some("B.example"));
        assert_eq!(dmarc.property("header", "d"), None);
        assert_eq!(results.of("spf").count(), 2);
        assert_eq!(results.of("dkim").count(), 0);
    }

    #[test]
    fn bounds() {
        let many = format!("a{}", "; spf=pass".repeat(1000));
        assert_eq!(AuthenticationResults::parse(many.as_bytes()).unwrap().results.len(), RESULTS_MAX);
        let many = format!("a; spf=pass{}; dkim=pass", " a.b=c".repeat(1000));
        let results = AuthenticationResults::parse(many.as_bytes()).unwrap();
        assert_eq!(results.results.len(), 2);
        assert_eq!(results.results[0].properties.len(), PROPERTIES_MAX);
        // No recursion, and no time with the square of it.
        fuzz_results("(".repeat(500_000).as_bytes());
        fuzz_results(format!("a;{}", "()\"\"".repeat(200_000)).as_bytes());
    }

    #[test]
    fn who_claims_to_be_us() {
        let host = "mx.example.org";
        for forged in [
            "mx.example.org; spf=pass",
            "\r\n\t(hello) MX.Example.ORG 1; none",
            "\"mx.example\\.org\"",
            "mx.example.org.",
            "\"mx\".example.org;",
            "mx.example.org/1; spf=pass",
            "mx.example.org spf=pass",
            "(mx.example.org",
            "",
            ";",
            "mx.example.\u{f6}rg",
        ] {
            assert!(claims_to_be(forged.as_bytes(), host), "{forged}");
        }
        for other in ["mx.example.net; spf=pass", "example.org", "a.mx.example.org 1;none", "amx.example.org; x=mx.example.org"] {
            assert!(!claims_to_be(other.as_bytes(), host), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..200)) { fuzz_results(&data); }

        #[test]
        fn likely_text_is_harmless(text in "a ?;?[a=.; \r\n()\"\\\\/é]{0,60}") { fuzz_results(text.as_bytes()); }
    }
}
