//! What came of a chain (RFC 8617 section 4.4).

use super::Problem;
use crate::authres::AuthenticationResults;
use crate::dkim;
use crate::dkim::result::write_value;
use std::fmt;

/// The Chain Validation Status, of a message or in the `cv=` of a seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is no chain.
    None,
    /// It is whole.
    Pass,
    /// It is not.
    Fail,
}

impl Status {
    /// `cv=` of a seal.
    #[must_use]
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        //= RFC 6376 section 3.2
        //# Values MUST be processed as case sensitive unless the specific tag description of semantics specifies case insensitivity.
        [Self::None, Self::Pass, Self::Fail].into_iter().find(|status| value == status.name().as_bytes())
    }

    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The chain of a message. Displayed it is the `resinfo` of an Authentication-Results field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain<'a> {
    /// Why it fails, if it does.
    pub problem: Option<Problem>,
    /// What was found of each set, by instance; whole, one of each from 1 on, if the chain passes.
    pub sets: Vec<Set<'a>>,
    /// The oldest instance whose message signature still holds, or 0 if all do (RFC 8617 section 5.2 step 5); none if the chain fails.
    pub oldest_pass: Option<u8>,
}

/// One set; what cannot be read of it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set<'a> {
    /// From 1 on.
    pub instance: u8,
    /// `d=` of the seal.
    pub domain: Option<&'a str>,
    /// `s=` of the seal.
    pub selector: Option<&'a str>,
    /// `cv=` of the seal: what the sealer found the chain before it to be.
    pub status: Option<Status>,
    /// What the sealer found: what stands behind the instance in ARC-Authentication-Results.
    pub results: Option<&'a [u8]>,
    /// Does the message signature hold? None if nobody looked.
    pub message_signature: Option<Result<(), dkim::Problem>>,
    /// Does the seal? None if nobody looked.
    pub seal: Option<Result<(), dkim::Problem>>,
}

impl<'a> Chain<'a> {
    /// One that fails before it was looked at.
    pub(crate) const fn failed(problem: Problem) -> Self {
        Self { problem: Some(problem), sets: Vec::new(), oldest_pass: None }
    }

    /// The Chain Validation Status.
    ///
    /// There is none for errors that may pass, not even if the DNS does not answer.
    #[must_use]
    pub const fn status(&self) -> Status {
        //= RFC 8617 section 5.2.1
        //# All errors, including DNS failures, become unrecoverable and are considered permanent.
        if self.problem.is_some() {
            Status::Fail
        } else if self.sets.is_empty() {
            Status::None
        } else {
            Status::Pass
        }
    }

    /// Why, for people.
    #[must_use]
    pub fn reason(&self) -> String {
        match (self.problem, self.sets.len()) {
            (Some(problem), _) => problem.to_string(),
            (None, 0) => "the message has no chain".to_owned(),
            (None, 1) => "a chain of one set".to_owned(),
            (None, sets) => format!("a chain of {sets} sets"),
        }
    }

    /// Who sealed the message last, if the chain passes.
    #[must_use]
    pub fn sealer(&self) -> Option<&'a str> {
        self.sets.last().filter(|_| self.problem.is_none())?.domain
    }

    /// What the sealer of an instance found, if it can be read. Believe it only if the chain passes, and its sealers are trusted.
    #[must_use]
    pub fn results_of(&self, instance: u8) -> Option<AuthenticationResults<'a>> {
        AuthenticationResults::parse(self.sets.iter().find(|set| set.instance == instance)?.results?)
    }
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arc={}", self.status())?;
        if self.problem.is_some() {
            f.write_str(" reason=")?;
            write_value(&self.reason(), f)?;
        }
        //= RFC 8617 section 6
        //# header.oldest-pass - The instance number of the oldest AMS that still validates, or 0 if all pass.
        if let Some(oldest) = self.oldest_pass {
            write!(f, " header.oldest-pass={oldest}")?;
        }
        Ok(())
    }
}
