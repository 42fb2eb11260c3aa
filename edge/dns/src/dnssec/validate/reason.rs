//! Why an answer is not secure, in the words of RFC 8914.

use crate::name::Name;
use crate::types::ExtendedError;
use std::fmt;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// For the client.
    pub code: ExtendedError,
    /// The owner or zone concerned, lower-case.
    pub name: Name,
    /// For the log.
    pub text: &'static str,
}

impl Reason {
    pub(super) fn new(code: ExtendedError, name: &Name, text: &'static str) -> Self {
        Self { code, name: name.clone(), text }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (extended error {})", self.name, self.text, self.code.0)
    }
}
