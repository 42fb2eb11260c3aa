//! DNSSEC (RFC 4033 to 4035, 5155, 6605, 8080): what signing zones and validating answers share.

pub mod algorithm;
pub mod bitmap;
pub mod canonical;
pub mod digest;
pub mod key;
pub mod nsec3;
pub mod rrsig;

use std::fmt;

/// What validation found out about an answer (RFC 4033 section 5). A bogus answer is never given on: it becomes a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Nobody looked: validation is off, or the answer is not from the DNS.
    #[default]
    Unchecked,
    /// It is proven that the zone is not signed.
    Insecure,
    /// Signed, up to a trust anchor.
    Secure,
}

/// How a signed zone proves that something is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// By names in order (RFC 4034 section 4).
    Nsec,
    /// By hashes in order (RFC 5155).
    Nsec3 {
        /// Additional iterations; RFC 9276 section 3.1 wants 0.
        iterations: u16,
        /// RFC 9276 section 3.1 wants none.
        salt: Box<[u8]>,
    },
}

/// Makes the signatures of one zone, when they are asked for. Inception and expiration are fixed when it is made: a zone is signed anew by
/// replacing it.
pub trait SetSigner: Send + Sync + fmt::Debug {
    /// The data of the RRSIG records of a set: one for each key that signs it (the keys of the apex' DNSKEY, CDS and CDNSKEY differ from the
    /// others'). `owner` is lower-case and in wire form, a wildcard's own name where one answers.
    fn sign(&self, owner: &[u8], rtype: crate::Rtype, ttl: u32, rdata: &[&[u8]]) -> Vec<Box<[u8]>>;
}
