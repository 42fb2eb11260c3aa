//! Transaction signatures: a shared secret proves who sent a message, and that nobody changed it (RFC 8945).
//!
//! ```text
//!   server:  KeyRing::check(request) ─> Unsigned | Signed(key, Signer) | Refused ─> Refusal::write
//!                                                        └ Signer::sign(response), once for each message of a transfer
//!   client:  sign_request(key, query) ─> Verifier::verify(response), once for each message
//!
//!   MAC of a request:          message, variables
//!   MAC of the first answer:   length and MAC of the request, message, variables
//!   MAC of each later one:     length and MAC before, messages since, time and fudge
//! ```
//! The message is hashed as it was before the TSIG record was put behind it: with its original id, and without the record in ARCOUNT.
//! MACs that are cut short are checked and then refused: whoever has the key can send the whole one.

mod chain;
mod check;
mod client;
mod key;
mod record;
#[cfg(test)]
mod tests;

pub use chain::Signer;
pub use check::{Check, KeyRing, Refusal, TsigError};
pub use client::{Verified, Verifier, VerifyError, sign_request};
pub use key::{Algorithm, Key, KeyError};
pub use record::is_signed;

/// Seconds the clocks of both may differ (RFC 8945 section 10 recommends 300).
pub const FUDGE_SECONDS: u16 = 300;
/// Messages without a TSIG between two with one, in a transfer (RFC 8945 section 5.3.1).
pub const UNSIGNED_MAX: usize = 99;

/// For the fuzzer and the replay of its inputs: checks anything as a request, and as an answer; nothing may panic.
#[doc(hidden)]
pub fn fuzz_tsig(data: &[u8]) {
    let Ok(name) = crate::Name::absolute("key") else { return };
    let Ok(key) = Key::new(&name, Algorithm::HmacSha256, b"0123456789abcdef").map(std::sync::Arc::new) else { return };
    let ring = KeyRing::new([key.clone()]);
    let mut out = Vec::new();
    match ring.check(data, 1_000_000) {
        Check::Unsigned => assert!(!is_signed(data)),
        Check::Signed(mut signer) => {
            out.extend_from_slice(data);
            signer.sign(&mut out, 1_000_000);
        }
        Check::Refused(refusal) => refusal.write(data, 1_000_000, &mut out),
    }
    let mut query = Vec::new();
    crate::query::write_query(7, name.wire(), crate::Rtype::SOA, false, &mut query);
    let mut verifier = sign_request(&key, &mut query, 1_000_000);
    for _ in 0..2 {
        let _ = verifier.verify(data, 1_000_000);
    }
}
