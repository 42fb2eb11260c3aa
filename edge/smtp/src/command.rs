//! Command lines (RFC 5321 section 4.1): one line in, one command out, borrowed from the line.

use postring_mail::path::{self, Mailbox, PathError};

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
    /// Known and not done: ETRN (RFC 1985), TURN, SEND, SOML, SAML (RFC 5321 appendix F).
    Obsolete,
    /// Another protocol on the port: HTTP, TLS.
    Foreign,
    /// Nothing we know.
    Unknown,
}

/// Parameters of MAIL we know (RFC 1870, RFC 6152, RFC 4954).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MailParameters {
    /// SIZE=, octets.
    pub size: Option<u64>,
    /// BODY=8BITMIME.
    pub eight_bit: bool,
}

/// A path with what follows it.
pub type PathArgument<'a> = Result<(Option<Mailbox<'a>>, &'a str), PathError>;

/// Why parameters were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterError {
    /// Not of the grammar, given twice, or a value out of bounds: 501 5.5.4.
    Syntax,
    /// A parameter we did not announce: 555 5.5.4.
    Unknown,
}

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
        8 if word.eq_ignore_ascii_case("STARTTLS") => Verb::StartTls,
        _ if ["GET", "PUT", "CONNECT", "OPTIONS", "DELETE"].contains(&word) || word.starts_with("\u{16}\u{3}") => Verb::Foreign,
        _ => Verb::Unknown,
    };
    (verb, argument)
}

/// The argument of MAIL or RCPT: `FROM:<path> parameters`. Blanks behind the colon are let through, as everybody does.
#[must_use]
pub fn path_argument<'a>(argument: &'a str, keyword: &str) -> Option<PathArgument<'a>> {
    let given = argument.get(..keyword.len())?;
    if !given.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let path = argument.get(keyword.len()..)?.trim_start_matches(' ');
    Some(path::parse_path(path))
}

/// Reads the parameters behind MAIL's path.
///
/// # Errors
/// See [`ParameterError`].
pub fn mail_parameters(text: &str) -> Result<MailParameters, ParameterError> {
    let mut parameters = MailParameters::default();
    let mut body_given = false;
    if !text.is_empty() && !text.starts_with(' ') {
        return Err(ParameterError::Syntax);
    }
    for parameter in text.split(' ').filter(|parameter| !parameter.is_empty()) {
        let (keyword, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if keyword.eq_ignore_ascii_case("SIZE") {
            //= RFC 1870 section 4
            //# size-value ::= 1*20DIGIT
            let digits = (1..=20).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
            if !digits || parameters.size.is_some() {
                return Err(ParameterError::Syntax);
            }
            parameters.size = Some(value.parse().unwrap_or(u64::MAX));
        } else if keyword.eq_ignore_ascii_case("BODY") {
            if body_given {
                return Err(ParameterError::Syntax);
            }
            body_given = true;
            parameters.eight_bit = match value {
                value if value.eq_ignore_ascii_case("8BITMIME") => true,
                value if value.eq_ignore_ascii_case("7BIT") => false,
                _ => return Err(ParameterError::Syntax),
            };
        } else if keyword.eq_ignore_ascii_case("AUTH") && !value.is_empty() {
            //= RFC 4954 section 5
            //# If the server does not trust [...] it MUST behave as if the AUTH=<> parameter was supplied.
        } else {
            return Err(ParameterError::Unknown);
        }
    }
    Ok(parameters)
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic.
#[doc(hidden)]
pub fn fuzz_command(data: &[u8]) {
    if let Ok(line) = std::str::from_utf8(data) {
        let (_, argument) = split(line);
        if let Some(Ok((_, rest))) = path_argument(argument, "FROM:") {
            let _ = mail_parameters(rest);
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

    #[test]
    fn parameters() {
        assert_eq!(mail_parameters(" SIZE=10 BODY=8bitmime"), Ok(MailParameters { size: Some(10), eight_bit: true }));
        assert_eq!(mail_parameters(" SIZE=99999999999999999999").map(|parameters| parameters.size), Ok(Some(u64::MAX)));
        for bad in ["SIZE=1", " SIZE=", " SIZE=-1", " SIZE=1 SIZE=1", " BODY=BINARYMIME", " BODY=7BIT BODY=7BIT"] {
            assert_eq!(mail_parameters(bad), Err(ParameterError::Syntax), "{bad}");
        }
        for unknown in [" SMTPUTF8", " RET=FULL", " FOO"] {
            assert_eq!(mail_parameters(unknown), Err(ParameterError::Unknown), "{unknown}");
        }
        assert_eq!(mail_parameters(" AUTH=<>"), Ok(MailParameters::default()));
    }
}
