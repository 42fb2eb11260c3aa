//! Parameters behind the paths of MAIL and RCPT (RFC 5321 section 4.1.1.11), each by the RFC of its extension.
//!
//! Strict: a parameter that is known, and given twice or with a value that is none, is refused and not guessed at.

use postring_mail::dsn::{self, Notify, Returned};
use std::borrow::Cow;

/// What stands behind MAIL's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MailParameters<'a> {
    /// SIZE= (RFC 1870), octets.
    pub size: Option<u64>,
    /// BODY=8BITMIME (RFC 6152) or BODY=BINARYMIME.
    pub eight_bit: bool,
    /// BODY=BINARYMIME (RFC 3030).
    pub binary: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// PRDR (draft-hall-prdr-00).
    pub prdr: bool,
    /// RET= (RFC 3461).
    pub returned: Option<Returned>,
    /// ENVID= (RFC 3461), xtext.
    pub envelope_id: Option<&'a str>,
}

/// What stands behind RCPT's path.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RcptParameters<'a> {
    /// NOTIFY= (RFC 3461).
    pub notify: Option<Notify>,
    /// ORCPT= (RFC 3461): address type and xtext.
    pub original_recipient: Option<Cow<'a, str>>,
}

/// Why parameters were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterError {
    /// Not of the grammar, given twice, or a value out of bounds: 501 5.5.4.
    Syntax,
    /// A parameter we did not announce: 555 5.5.4.
    Unknown,
}

/// Reads the parameters behind MAIL's path.
///
/// # Errors
/// See [`ParameterError`].
pub fn mail_parameters(text: &str) -> Result<MailParameters<'_>, ParameterError> {
    let mut parameters = MailParameters::default();
    let mut body_given = false;
    for parameter in split(text)? {
        let (keyword, value) = keyword_and_value(parameter);
        if is(keyword, "SIZE") {
            once(parameters.size.is_some())?;
            parameters.size = Some(size(value)?);
        } else if is(keyword, "BODY") {
            once(body_given)?;
            body_given = true;
            (parameters.eight_bit, parameters.binary) = body_value(value)?;
        } else if is(keyword, "SMTPUTF8") {
            //= RFC 6531 section 3.4
            //# If this parameter is provided, it MUST not accept a value.
            once(parameters.smtputf8 || value.is_some())?;
            parameters.smtputf8 = true;
        } else if is(keyword, "REQUIRETLS") {
            once(parameters.require_tls || value.is_some())?;
            parameters.require_tls = true;
        } else if is(keyword, "PRDR") {
            once(parameters.prdr || value.is_some())?;
            parameters.prdr = true;
        } else if is(keyword, "RET") {
            once(parameters.returned.is_some())?;
            parameters.returned = Some(value.and_then(Returned::parse).ok_or(ParameterError::Syntax)?);
        } else if is(keyword, "ENVID") {
            once(parameters.envelope_id.is_some())?;
            let envelope_id = value.filter(|value| dsn::is_envelope_id(value));
            parameters.envelope_id = Some(envelope_id.ok_or(ParameterError::Syntax)?);
        } else if is(keyword, "AUTH") && value.is_some_and(|value| !value.is_empty()) {
            //= RFC 4954 section 5
            //# If the server does not trust [...] it MUST behave as if the AUTH=<> parameter was supplied.
        } else {
            return Err(ParameterError::Unknown);
        }
    }
    Ok(parameters)
}

/// Reads the parameters behind RCPT's path.
///
/// `utf8`: SMTPUTF8 was said.
///
/// # Errors
/// See [`ParameterError`].
pub fn rcpt_parameters(text: &str, utf8: bool) -> Result<RcptParameters<'_>, ParameterError> {
    let mut parameters = RcptParameters::default();
    for parameter in split(text)? {
        let (keyword, value) = keyword_and_value(parameter);
        if is(keyword, "NOTIFY") {
            once(parameters.notify.is_some())?;
            parameters.notify = Some(value.and_then(Notify::parse).ok_or(ParameterError::Syntax)?);
        } else if is(keyword, "ORCPT") {
            once(parameters.original_recipient.is_some())?;
            let original_recipient = value.and_then(|value| dsn::original_recipient(value, utf8));
            parameters.original_recipient = Some(original_recipient.ok_or(ParameterError::Syntax)?);
        } else {
            return Err(ParameterError::Unknown);
        }
    }
    Ok(parameters)
}

fn keyword_and_value(parameter: &str) -> (&str, Option<&str>) {
    parameter.split_once('=').map_or((parameter, None), |(keyword, value)| (keyword, Some(value)))
}

fn split(text: &str) -> Result<impl Iterator<Item = &str>, ParameterError> {
    if !text.is_empty() && !text.starts_with(' ') {
        return Err(ParameterError::Syntax);
    }
    Ok(text.split(' ').filter(|parameter| !parameter.is_empty()))
}

fn is(keyword: &str, name: &str) -> bool {
    keyword.eq_ignore_ascii_case(name)
}

/// An error if it is so already.
fn once(already: bool) -> Result<(), ParameterError> {
    if already { Err(ParameterError::Syntax) } else { Ok(()) }
}

//= RFC 1870 section 4
//# size-value ::= 1*20DIGIT
fn size(value: Option<&str>) -> Result<u64, ParameterError> {
    let digits = |value: &&str| (1..=20).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
    let value = value.filter(digits).ok_or(ParameterError::Syntax)?;
    Ok(value.parse().unwrap_or(u64::MAX))
}

/// Whether it may have octets outside ASCII, and whether it need not be lines.
//= RFC 3030 section 3
//# body-value ::= "7BIT" / "8BITMIME" / "BINARYMIME"
fn body_value(value: Option<&str>) -> Result<(bool, bool), ParameterError> {
    match value {
        Some(value) if is(value, "BINARYMIME") => Ok((true, true)),
        Some(value) if is(value, "8BITMIME") => Ok((true, false)),
        Some(value) if is(value, "7BIT") => Ok((false, false)),
        _ => Err(ParameterError::Syntax),
    }
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic.
pub(crate) fn fuzz_parameters(text: &str) {
    let _ = mail_parameters(text);
    let _ = rcpt_parameters(text, true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_mail() {
        let parameters = mail_parameters(" SIZE=10 BODY=8bitmime smtputf8").unwrap();
        let expected = MailParameters { size: Some(10), eight_bit: true, smtputf8: true, ..MailParameters::default() };
        assert_eq!(parameters, expected);
        let parameters = mail_parameters(" ret=hdrs ENVID=a+2Bb").unwrap();
        assert_eq!((parameters.returned, parameters.envelope_id), (Some(Returned::Headers), Some("a+2Bb")));
        assert_eq!(mail_parameters(" SIZE=99999999999999999999").map(|parameters| parameters.size), Ok(Some(u64::MAX)));
        for bad in [
            "SIZE=1",
            " SIZE",
            " SIZE=",
            " SIZE=-1",
            " SIZE=1 SIZE=1",
            " BODY=BINARY",
            " BODY=7BIT BODY=7BIT",
            " SMTPUTF8=",
            " SMTPUTF8 SMTPUTF8",
            " REQUIRETLS=1",
            " PRDR=1",
            " PRDR PRDR",
            " RET",
            " RET=BODY",
            " RET=FULL RET=HDRS",
            " ENVID=",
            " ENVID=a+2",
            " ENVID=a ENVID=a",
        ] {
            assert_eq!(mail_parameters(bad), Err(ParameterError::Syntax), "{bad}");
        }
        for unknown in [" NOTIFY=NEVER", " FOO", " AUTH"] {
            assert_eq!(mail_parameters(unknown), Err(ParameterError::Unknown), "{unknown}");
        }
        assert_eq!(mail_parameters(" AUTH=<>"), Ok(MailParameters::default()));
    }
    #[test]
    fn of_rcpt() {
        let parameters = rcpt_parameters(" NOTIFY=success,DELAY ORCPT=rfc822;a@b.example", false).unwrap();
        assert_eq!(parameters.notify, Notify::parse("SUCCESS,DELAY"));
        assert_eq!(parameters.original_recipient.as_deref(), Some("rfc822;a@b.example"));
        for bad in [" NOTIFY", " NOTIFY=", " NOTIFY=NEVER,DELAY", " NOTIFY=NEVER NOTIFY=NEVER", " ORCPT=a@b", " ORCPT=rfc822;a=b"]
        {
            assert_eq!(rcpt_parameters(bad, true), Err(ParameterError::Syntax), "{bad}");
        }
        for unknown in [" RET=FULL", " SIZE=1", " FOO"] {
            assert_eq!(rcpt_parameters(unknown, false), Err(ParameterError::Unknown), "{unknown}");
        }
        assert_eq!(rcpt_parameters(" ", false), Ok(RcptParameters::default()));
    }
}
