//! Command lines (RFC 5321 section 4.1): one line in, one command out, borrowed from the line.

use crate::parameters;
use postring_mail::path::{self, Characters, Mailbox, PathError};

/// The verbs the table knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// RFC 5321 section 4.1.1.1.
    Helo,
    /// RFC 5321 section 4.1.1.1.
    Ehlo,
    /// RFC 2033 section 4.1.
    Lhlo,
    /// RFC 5321 section 4.1.1.2.
    Mail,
    /// RFC 5321 section 4.1.1.3.
    Rcpt,
    /// RFC 5321 section 4.1.1.4.
    Data,
    /// RFC 3030 section 2.
    Bdat,
    /// RFC 5321 section 4.1.1.5.
    Rset,
    /// RFC 5321 section 4.1.1.9.
    Noop,
    /// RFC 5321 section 4.1.1.10.
    Quit,
    /// RFC 5321 section 4.1.1.6.
    Vrfy,
    /// RFC 5321 section 4.1.1.7.
    Expn,
    /// RFC 5321 section 4.1.1.8.
    Help,
    /// RFC 3207.
    StartTls,
    /// RFC 4954.
    Auth,
    /// Postfix's XCLIENT_README.
    Xclient,
    /// Known and not done: ETRN (RFC 1985), TURN, SEND, SOML, SAML (RFC 5321 appendix F).
    Obsolete,
    /// Another protocol on the port: HTTP, TLS.
    Foreign,
    /// Nothing we know.
    Unknown,
}

/// A path with what follows it.
pub type PathArgument<'a> = Result<(Option<Mailbox<'a>>, &'a str), PathError>;

/// Splits a line (without its CRLF) into verb and argument.
#[must_use]
pub fn split(line: &str) -> (Verb, &str) {
    let end = line.find(' ').unwrap_or(line.len());
    let (word, argument) = (line.get(..end).unwrap_or_default(), line.get(end..).unwrap_or_default());
    let argument = argument.trim_matches(' ');
    let verb = match word.len() {
        4 => {
            let mut upper = [0; 4];
            upper.copy_from_slice(word.as_bytes());
            upper.make_ascii_uppercase();
            match &upper {
                b"HELO" => Verb::Helo,
                b"EHLO" => Verb::Ehlo,
                b"LHLO" => Verb::Lhlo,
                b"MAIL" => Verb::Mail,
                b"RCPT" => Verb::Rcpt,
                b"DATA" => Verb::Data,
                b"BDAT" => Verb::Bdat,
                b"RSET" => Verb::Rset,
                b"NOOP" => Verb::Noop,
                b"QUIT" => Verb::Quit,
                b"VRFY" => Verb::Vrfy,
                b"EXPN" => Verb::Expn,
                b"HELP" => Verb::Help,
                b"AUTH" => Verb::Auth,
                b"ETRN" | b"TURN" | b"SEND" | b"SOML" | b"SAML" => Verb::Obsolete,
                b"POST" | b"HEAD" => Verb::Foreign,
                _ => Verb::Unknown,
            }
        }
        7 if word.eq_ignore_ascii_case("XCLIENT") => Verb::Xclient,
        8 if word.eq_ignore_ascii_case("STARTTLS") => Verb::StartTls,
        _ if ["GET", "PUT", "CONNECT", "OPTIONS", "DELETE"].contains(&word) || word.starts_with("\u{16}\u{3}") => Verb::Foreign,
        _ => Verb::Unknown,
    };
    (verb, argument)
}

/// The argument of MAIL or RCPT: `FROM:<path> parameters`. Blanks behind the colon are let through, as everybody does.
#[must_use]
pub fn path_argument<'a>(argument: &'a str, keyword: &str, characters: Characters) -> Option<PathArgument<'a>> {
    let given = argument.get(..keyword.len())?;
    if !given.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let path = argument.get(keyword.len()..)?.trim_start_matches(' ');
    Some(path::parse_path(path, characters))
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic.
#[doc(hidden)]
pub fn fuzz_command(data: &[u8]) {
    if let Ok(line) = std::str::from_utf8(data) {
        let (_, argument) = split(line);
        if let Some(Ok((_, rest))) = path_argument(argument, "FROM:", Characters::Utf8) {
            parameters::fuzz_parameters(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs() {
        assert_eq!(split("mail FROM:<a@b>"), (Verb::Mail, "FROM:<a@b>"));
        assert_eq!(split("QUIT "), (Verb::Quit, ""));
        assert_eq!(split("StartTLS").0, Verb::StartTls);
        assert_eq!(split("GET / HTTP/1.1").0, Verb::Foreign);
        assert_eq!(split("").0, Verb::Unknown);
        assert_eq!(split("MAILFROM").0, Verb::Unknown);
    }
}
