//! What came of a signature, in the words of RFC 8601 section 2.7.1.

use super::Problem;
use std::fmt;

/// `a=`: the algorithms of key and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with PKCS#1 v1.5 and SHA-256.
    RsaSha256,
    /// Ed25519 over SHA-256 (RFC 8463).
    Ed25519Sha256,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        })
    }
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The message is not signed.
    None,
    /// The signature is good.
    Pass,
    /// It is not.
    Fail,
    /// It is good and not believed.
    Policy,
    /// It cannot be judged: its syntax is broken, or it uses what is not known here.
    Neutral,
    /// Another time it may be judged.
    TempError,
    /// It can never be.
    PermError,
}

impl Status {
    /// Its name in RFC 8601 section 2.7.1.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Policy => "policy",
            Self::Neutral => "neutral",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What came of one signature. Displayed it is the `resinfo` of an Authentication-Results field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Why the signature does not count, if it does not.
    pub problem: Option<Problem>,
    /// The key says that its domain tests DKIM.
    pub testing: bool,
    /// `d=`, if it is a domain name.
    pub domain: Option<String>,
    /// `s=`, if it is one.
    pub selector: Option<String>,
    /// `i=`, decoded, if the signature could be read.
    pub identity: Option<String>,
    /// `a=`, if the signature could be read.
    pub algorithm: Option<Algorithm>,
    /// The first eight characters of `b=`, which tell one signature from another (RFC 6008).
    pub signature: Option<String>,
}

impl Verification {
    /// One that belongs to no signature.
    pub(crate) const fn of_message(problem: Problem) -> Self {
        let problem = Some(problem);
        Self { problem, testing: false, domain: None, selector: None, identity: None, algorithm: None, signature: None }
    }

    /// The result.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.problem.map(Problem::status) {
            None => Status::Pass,
            //= RFC 6376 section 3.6.1, t=y
            //# Verifiers MUST NOT treat messages from Signers in testing mode differently from unsigned email, even should the
            //# signature fail to verify.
            Some(Status::Fail) if self.testing => Status::Neutral,
            Some(status) => status,
        }
    }

    /// Why, for people.
    #[must_use]
    pub fn reason(&self) -> String {
        let testing = if self.testing { "; the domain tests DKIM (t=y)" } else { "" };
        match self.problem {
            Some(problem) => format!("{problem}{testing}"),
            None => format!("good signature{testing}"),
        }
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dkim={}", self.status())?;
        if self.problem.is_some() || self.testing {
            f.write_str(" reason=")?;
            write_value(&self.reason(), f)?;
        }
        let algorithm = self.algorithm.map(|algorithm| algorithm.to_string());
        for (property, value) in
            [("d", &self.domain), ("i", &self.identity), ("s", &self.selector), ("a", &algorithm), ("b", &self.signature)]
        {
            if let Some(value) = value {
                write!(f, " header.{property}=")?;
                write_value(value, f)?;
            }
        }
        Ok(())
    }
}

/// Characters of a value: it is cut here, before its quotes are set, and never later.
const VALUE_MAX: usize = 320;

/// A token or an address as it is, anything else as a quoted-string (RFC 8601 section 2.2). A long one is cut.
pub(crate) fn write_value(value: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~@".contains(&byte);
    if !value.is_empty() && value.len() <= VALUE_MAX && value.bytes().all(plain) {
        return f.write_str(value);
    }
    f.write_str("\"")?;
    for character in value.chars().take(VALUE_MAX) {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            character if character.is_control() => f.write_str(" ")?,
            character => write!(f, "{character}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_as_text() {
        let mut verification = Verification {
            problem: None,
            testing: false,
            domain: Some("example.org".to_owned()),
            selector: Some("s1".to_owned()),
            identity: Some("a\"b@example.org".to_owned()),
            algorithm: Some(Algorithm::RsaSha256),
            signature: Some("aB/+1234".to_owned()),
        };
        let properties =
            "header.d=example.org header.i=\"a\\\"b@example.org\" header.s=s1 header.a=rsa-sha256 header.b=\"aB/+1234\"";
        assert_eq!(verification.to_string(), format!("dkim=pass {properties}"));
        verification.problem = Some(Problem::Body);
        assert_eq!(verification.to_string(), format!("dkim=fail reason=\"the body was changed\" {properties}"));
        verification.testing = true;
        assert_eq!(verification.status(), Status::Neutral);
        verification.problem = Some(Problem::KeyNotAnswered);
        assert_eq!(verification.status(), Status::TempError);
        let none = Verification::of_message(Problem::Unsigned);
        assert_eq!(none.to_string(), "dkim=none reason=\"the message has no signature\"");
    }
}
