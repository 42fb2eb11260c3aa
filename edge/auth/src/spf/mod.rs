//! The Sender Policy Framework: may this client send mail for this domain (RFC 7208)?
//!
//! ```text
//!   domain ─> TXT ─> record ─> terms, from left to right ─> the first that matches decides
//!                              include, redirect ─> the same again for another domain
//! ```

mod evaluate;
mod macros;
mod network;
mod record;

pub use evaluate::check;
pub use record::fuzz_record;

use std::fmt;
use std::net::IpAddr;

/// What the domain says of the client (RFC 7208 section 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpfResult {
    /// The domain says nothing, or there is no domain to ask.
    None,
    /// The domain says that it says nothing.
    Neutral,
    /// The client may.
    Pass,
    /// The client may not.
    Fail,
    /// The client most likely may not; nobody should be refused for that.
    SoftFail,
    /// The DNS could not say; another time it may.
    TempError,
    /// What the domain says cannot be understood, or takes too many questions.
    PermError,
}

impl SpfResult {
    /// As it stands in Received-SPF and Authentication-Results (RFC 7208 section 9, RFC 8601 section 2.7.2).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl fmt::Display for SpfResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Who says what, in an SMTP session.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// What it said in EHLO or HELO.
    pub helo: &'a str,
    /// The reverse path without its angle brackets; empty for the null sender, whose domain is then `helo` (RFC 7208 section 2.4).
    pub mail_from: &'a str,
    /// The name of the checking host, for explanations.
    pub receiver: &'a str,
    /// Seconds since 1970, for explanations.
    pub unix_seconds: u64,
}

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spf {
    /// See [`SpfResult`].
    pub result: SpfResult,
    /// The domain that was asked first.
    pub domain: String,
    /// Why: the term that decided, or what is wrong. For people, and for the `mechanism` and `problem` of Received-SPF.
    pub reason: String,
    /// What the domain wants a refused client to be told (`exp`): printable ASCII, of a stranger's making.
    pub explanation: Option<String>,
    /// Questions asked of the DNS.
    pub questions: usize,
}
