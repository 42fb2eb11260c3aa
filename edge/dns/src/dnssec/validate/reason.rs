//! Why an answer is not secure, in the words of RFC 8914.

use crate::name::Name;
use std::fmt;

/// An info code of the registry "Extended DNS Error Codes" (RFC 8914 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExtendedError(pub u16);

#[allow(missing_docs)] // their names are the registry's
impl ExtendedError {
    pub const UNSUPPORTED_DNSKEY_ALGORITHM: Self = Self(1);
    pub const UNSUPPORTED_DS_DIGEST: Self = Self(2);
    pub const BOGUS: Self = Self(6);
    pub const SIGNATURE_EXPIRED: Self = Self(7);
    pub const SIGNATURE_NOT_YET_VALID: Self = Self(8);
    pub const DNSKEY_MISSING: Self = Self(9);
    pub const RRSIGS_MISSING: Self = Self(10);
    pub const NO_ZONE_KEY_BIT: Self = Self(11);
    pub const NSEC_MISSING: Self = Self(12);
    pub const NO_REACHABLE_AUTHORITY: Self = Self(22);
    pub const UNSUPPORTED_NSEC3_ITERATIONS: Self = Self(27);
}

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
