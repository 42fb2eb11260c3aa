//! What one request may make us compute.
//!
//! KeyTrap (CVE-2023-50387): many keys with one tag times many signatures; CVE-2023-50868: many NSEC3 hashes of a long name with many
//! iterations. Both are bounded three times: for one set, for one request, and by the limits on what is looked at.

use crate::dnssec::algorithm::Algorithm;
use crate::dnssec::nsec3::{HASH_BYTES, Nsec3Param};

/// Verifications for one request, one with P-384 counted as [`P384_COST`]. A name of four zones with nothing in the key cache takes seven, a
/// denial up to four more, each alias into another zone three or four more. At most 3.2 ms with P-256, 8 ms with P-384.
pub const SIGNATURES_MAX: u32 = 64;
/// A verification with P-384 takes ring ten times as long as one with P-256; counted as less, so that an honest zone of it has enough.
pub const P384_COST: u32 = 4;
/// Verifications that fail, for one request; honest zones have none.
pub const FAILURES_MAX: u32 = 12;
/// Verifications that fail, for one set: a roll-over may leave one signature nobody can verify, a tag may belong to two keys.
pub const FAILURES_PER_SET_MAX: u32 = 4;
/// Keys of one zone with the same tag and algorithm that are tried.
pub const KEYS_PER_TAG_MAX: usize = 2;
/// SHA-1 computations for one request, iterations counted: a name of 34 labels below a zone with [`ITERATIONS_MAX`], or several usual ones.
pub const HASHES_MAX: u32 = 2000;
/// DS and DNSKEY sets asked for, for one request: a reverse name of IPv6 has 34 labels, each of which may be a cut.
pub const LOOK_UPS_MAX: u32 = 44;
/// NSEC3 iterations above which a proof is not computed and counts as insecure (RFC 9276 section 3.2 leaves the number to us; BIND and Knot
/// have 50 as well).
pub const ITERATIONS_MAX: u16 = 50;
/// NSEC3 iterations above which the answer is refused: more than RFC 5155 section 10.3 allowed with keys of 2048 bits.
pub const ITERATIONS_REFUSED: u16 = 500;

/// What is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// See [`SIGNATURES_MAX`].
    pub signatures: u32,
    /// See [`FAILURES_MAX`].
    pub failures: u32,
    /// See [`HASHES_MAX`].
    pub hashes: u32,
    /// See [`LOOK_UPS_MAX`].
    pub look_ups: u32,
}

impl Default for Work {
    fn default() -> Self {
        Self { signatures: SIGNATURES_MAX, failures: FAILURES_MAX, hashes: HASHES_MAX, look_ups: LOOK_UPS_MAX }
    }
}

/// There is nothing left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spent;

impl Work {
    pub(super) fn take_signature(&mut self, algorithm: Algorithm) -> Result<(), Spent> {
        let cost = if algorithm == Algorithm::ECDSAP384SHA384 { P384_COST } else { 1 };
        if self.failures == 0 {
            return Err(Spent);
        }
        let left = self.signatures.checked_sub(cost);
        // What is too little for one is nothing for all: the end must not depend on the order.
        self.signatures = left.unwrap_or(0);
        left.map(|_| ()).ok_or(Spent)
    }

    pub(super) fn take_failure(&mut self) {
        self.failures = self.failures.saturating_sub(1);
    }

    /// True if some kind of it is used up.
    pub(super) fn is_spent(&self) -> bool {
        self.signatures == 0 || self.failures == 0 || self.hashes <= u32::from(ITERATIONS_MAX)
    }

    pub(super) fn take_look_up(&mut self) -> Result<(), Spent> {
        self.look_ups = self.look_ups.checked_sub(1).ok_or(Spent)?;
        Ok(())
    }

    pub(super) fn take_hash(&mut self) -> Result<(), Spent> {
        self.hashes = self.hashes.checked_sub(1).ok_or(Spent)?;
        Ok(())
    }

    pub(super) fn nsec3_hash(&mut self, param: &Nsec3Param<'_>, name: &[u8]) -> Result<[u8; HASH_BYTES], Spent> {
        self.hashes = self.hashes.checked_sub(u32::from(param.iterations) + 1).ok_or(Spent)?;
        Ok(param.hash(name))
    }
}
