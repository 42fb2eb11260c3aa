//! The domains of an address list (RFC 5322 section 3.4, the obsolete forms of section 4.4 too), read strictly: two programs that guess
//! what a broken From field means guess differently, and that is what its sender wants.
//!
//! ```text
//!   Name (comment) <@route:local@domain>, local@domain, group: local@domain, ...;
//! ```

/// Addresses of one field that are read.
const MAILBOXES_MAX: usize = 100;

/// What does not fit the syntax, for people.
pub(super) type Wrong = &'static str;

/// The domains of all mailboxes, in their order, without comments and white space; a literal has its brackets. Empty for groups without members.
///
/// Cost: every octet is read once, nothing is nested.
///
/// # Errors
/// What is wrong, if it is no address list.
pub(super) fn domains(value: &[u8]) -> Result<Vec<Vec<u8>>, Wrong> {
    let mut parser = Parser { lexer: Lexer { rest: value }, domains: Vec::new() };
    let groups = parser.address_list()?;
    if parser.domains.is_empty() && !groups { Err("it is empty") } else { Ok(parser.domains) }
}

/// What was read of an address so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Nothing,
    /// Words with dots between: a local-part, or a name.
    Words,
    /// The same with a dot at the end.
    Dot,
    /// Words that can only be a name.
    Phrase,
    /// `local@domain`, which a `<` makes a name.
    Address,
    /// Nothing may follow it: the angle brackets, or a group.
    End,
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    domains: Vec<Vec<u8>>,
}

impl Parser<'_> {
    /// True if there are groups.
    fn address_list(&mut self) -> Result<bool, Wrong> {
        let mut shape = Shape::Nothing;
        let mut groups = false;
        let mut in_group = false;
        loop {
            let token = self.lexer.next()?;
            shape = match (token, shape) {
                (None, _) if in_group => return Err("a group has no end"),
                (None, shape) => return finish(shape).map(|()| groups),
                (Some(Token::Special(b',')), shape) => {
                    finish(shape)?;
                    Shape::Nothing
                }
                (Some(Token::Special(b';')), shape) if in_group => {
                    finish(shape)?;
                    in_group = false;
                    Shape::End
                }
                (Some(_), Shape::End) => return Err("something stands behind an address"),
                (Some(Token::Special(b':')), Shape::Words | Shape::Dot | Shape::Phrase) if !in_group => {
                    (in_group, groups) = (true, true);
                    Shape::Nothing
                }
                // Programs that are not strict about names write `a@b.example <c@d.example>`; some show the one address, some the other.
                (Some(Token::Special(b'<')), _) => {
                    self.angle_address()?;
                    Shape::End
                }
                (Some(Token::Special(b'@')), Shape::Words) => {
                    self.domain()?;
                    Shape::Address
                }
                (Some(Token::Word), Shape::Nothing | Shape::Dot) => Shape::Words,
                (Some(Token::Word), Shape::Words | Shape::Phrase) => Shape::Phrase,
                (Some(Token::Special(b'.')), Shape::Words) => Shape::Dot,
                (Some(Token::Special(b'.')), Shape::Phrase | Shape::Dot) => Shape::Phrase,
                (Some(Token::Special(b'@')), _) => return Err("a local-part is not words with dots between"),
                (Some(_), _) => return Err("it is not a list of addresses"),
            };
        }
    }

    /// Behind the `<`.
    fn angle_address(&mut self) -> Result<(), Wrong> {
        let mut token = self.lexer.next()?;
        //= RFC 5322 section 4.4
        //# obs-route = obs-domain-list ":"
        if matches!(token, Some(Token::Special(b'@' | b','))) {
            loop {
                match token {
                    Some(Token::Special(b'@')) => drop(self.lexer.domain()?),
                    Some(Token::Special(b',')) => {}
                    Some(Token::Special(b':')) => break,
                    _ => return Err("a route has no end"),
                }
                token = self.lexer.next()?;
            }
            token = self.lexer.next()?;
        }
        let mut shape = Shape::Nothing;
        loop {
            shape = match (token, shape) {
                (Some(Token::Word), Shape::Nothing | Shape::Dot) => Shape::Words,
                (Some(Token::Special(b'.')), Shape::Words) => Shape::Dot,
                (Some(Token::Special(b'@')), Shape::Words) => break,
                _ => return Err("between angle brackets is not one address"),
            };
            token = self.lexer.next()?;
        }
        self.domain()?;
        if self.lexer.next()? == Some(Token::Special(b'>')) { Ok(()) } else { Err("between angle brackets is not one address") }
    }

    /// Behind the `@` of an address.
    fn domain(&mut self) -> Result<(), Wrong> {
        let domain = self.lexer.domain()?;
        if self.domains.len() == MAILBOXES_MAX {
            return Err("it has more than 100 addresses");
        }
        self.domains.push(domain);
        Ok(())
    }
}

/// An address may end here; that none was there is the obsolete syntax.
fn finish(shape: Shape) -> Result<(), Wrong> {
    match shape {
        Shape::Nothing | Shape::Address | Shape::End => Ok(()),
        Shape::Words | Shape::Dot | Shape::Phrase => Err("a name has no address"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    /// An atom or a quoted-string.
    Word,
    Special(u8),
}

/// Cuts a value into words and specials; comments, white space and folding are passed over.
#[derive(Clone, Copy)]
struct Lexer<'a> {
    rest: &'a [u8],
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Result<Option<Token>, Wrong> {
        self.skip_space()?;
        match self.rest.first() {
            None => Ok(None),
            Some(b'"') => self.quoted(b'"', b"\"").map(|_| Some(Token::Word)),
            Some(&byte) if b"<>:;@,.".contains(&byte) => {
                self.take(1);
                Ok(Some(Token::Special(byte)))
            }
            Some(_) => self.atom().map(|_| Some(Token::Word)),
        }
    }

    /// Atoms with dots between, or a literal.
    fn domain(&mut self) -> Result<Vec<u8>, Wrong> {
        self.skip_space()?;
        if self.rest.first() == Some(&b'[') {
            return self.quoted(b']', b"[]").map(<[u8]>::to_vec);
        }
        let mut domain = self.atom()?.to_vec();
        loop {
            let mut ahead = *self;
            if ahead.next()? != Some(Token::Special(b'.')) {
                return Ok(domain);
            }
            *self = ahead;
            self.skip_space()?;
            domain.push(b'.');
            domain.extend_from_slice(self.atom()?);
        }
    }

    fn atom(&mut self) -> Result<&'a [u8], Wrong> {
        // RFC 6532: what is not ASCII may be in an atom.
        let is_atext = |byte: &u8| !byte.is_ascii() || (byte.is_ascii_graphic() && !b"()<>[]:;@\\,.\"".contains(byte));
        let length = self.rest.iter().take_while(|byte| is_atext(byte)).count();
        if length == 0 { Err("an octet is out of its place") } else { Ok(self.take(length)) }
    }

    /// From here to the closing octet, with both; an octet of `specials` within needs a backslash.
    fn quoted(&mut self, close: u8, specials: &[u8]) -> Result<&'a [u8], Wrong> {
        let mut at = 1;
        loop {
            match self.rest.get(at) {
                None => return Err("a quoted string or a literal has no end"),
                Some(byte) if *byte == close => return Ok(self.take(at + 1)),
                Some(b'\\') => at += 1 + self.text(at + 1)?,
                Some(byte) if specials.contains(byte) => return Err("an octet is out of its place"),
                Some(_) => at += self.text(at)?,
            }
        }
    }

    /// White space and comments, which may be nested.
    fn skip_space(&mut self) -> Result<(), Wrong> {
        let mut depth: usize = 0;
        let mut at = 0;
        loop {
            match self.rest.get(at) {
                Some(b'(') => depth += 1,
                Some(b')') if depth > 0 => depth -= 1,
                None if depth > 0 => return Err("a comment has no end"),
                Some(b'\\') if depth > 0 => {
                    at += 1 + self.text(at + 1)?;
                    continue;
                }
                Some(b' ' | b'\t' | b'\r' | b'\n') => {
                    at += self.text(at)?;
                    continue;
                }
                Some(_) if depth > 0 => {
                    at += self.text(at)?;
                    continue;
                }
                _ => {
                    self.take(at);
                    return Ok(());
                }
            }
            at += 1;
        }
    }

    /// Octets of the character here: a fold is three, no other control may be there.
    fn text(&self, at: usize) -> Result<usize, Wrong> {
        match self.rest.get(at..).unwrap_or_default() {
            [b'\r', b'\n', b' ' | b'\t', ..] => Ok(3),
            [b'\t', ..] => Ok(1),
            [byte, ..] if byte.is_ascii_control() => Err("it has control characters"),
            [_, ..] => Ok(1),
            [] => Err("a backslash stands at the end"),
        }
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, b""));
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, Wrong> {
        domains(text.as_bytes()).map(|domains| domains.into_iter().map(|domain| String::from_utf8(domain).unwrap()).collect())
    }

    #[test]
    fn lists() {
        for (text, expected) in [
            (" a@b.example", &["b.example"][..]),
            ("Name <a@b.example>", &["b.example"]),
            ("J. R. \"a@x.example\" Name <a@b.example>", &["b.example"]),
            ("=?utf-8?q?a=40x.example?= <a@b.example>", &["b.example"]),
            ("(a@x.example) a (x) . c (\\)(<a@x.example>)) @ b . (x) example (y)", &["b.example"]),
            ("\"a b\\\"@x.example\".c@b.example", &["b.example"]),
            ("<a@b.example>", &["b.example"]),
            ("<@x.example,@y.example:a@b.example>", &["b.example"]),
            ("a@b.example, , \"N\"\r\n <c@d.example>,", &["b.example", "d.example"]),
            ("group: a@b.example, N <c@d.example>;", &["b.example", "d.example"]),
            ("undisclosed:;", &[]),
            ("a:;, b@c.example", &["c.example"]),
            ("a@[192.0.2.1]", &["[192.0.2.1]"]),
            ("x@x.example <a@b.example>", &["x.example", "b.example"]),
            ("ü@bücher.example", &["bücher.example"]),
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_none() {
        for (text, wrong) in [
            ("", "empty"),
            (" , (x) ,", "empty"),
            ("a b@c.example", "local-part"),
            ("a.@c.example", "local-part"),
            ("a@b.example c@d.example", "not a list"),
            ("a@b.example@c.example", "local-part"),
            ("<a@b.example> <c@d.example>", "behind"),
            ("<a@b.example> x", "behind"),
            ("<a@b.example, c@d.example>", "angle brackets"),
            ("<a@b.example", "angle brackets"),
            ("<>", "angle brackets"),
            ("<@x.example a@b.example>", "route"),
            ("Name", "no address"),
            ("=?utf-8?q?a=40x.example?=", "no address"),
            ("a@", "out of its place"),
            ("a@b.", "out of its place"),
            ("a@b..c", "out of its place"),
            ("a@b.example)", "out of its place"),
            ("a@[192.0.2.1[", "out of its place"),
            ("a@b\\.example", "out of its place"),
            ("\"a@b.example", "no end"),
            ("(a@b.example", "no end"),
            ("a@[192.0.2.1", "no end"),
            ("g: a@b.example", "no end"),
            ("g: h: a@b.example;;", "not a list"),
            ("a@b.example;", "not a list"),
            ("a@b.exam\0ple", "out of its place"),
            ("\"\0\" <a@b.example>", "control"),
            ("(\0) a@b.example", "control"),
            ("a@b.example\r", "control"),
            ("\"a\nFrom: b@c.example\" <a@b.example>", "control"),
            ("(\\", "backslash"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(wrong), "{text:?}: {problem}");
        }
        assert!(read(&"a@b.example,".repeat(100)).is_ok());
        assert!(read(&"a@b.example,".repeat(101)).unwrap_err().contains("100"));
        assert!(read(&"(".repeat(1_000_000)).unwrap_err().contains("no end"));
    }
}
