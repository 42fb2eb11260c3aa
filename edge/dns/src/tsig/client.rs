//! Signs our own requests, and verifies what comes back (RFC 8945 section 5.3 and 5.4).

use super::UNSIGNED_MAX;
use super::chain::{Chain, Stamp};
use super::key::Key;
use super::record::{Malformed, find};
use std::sync::Arc;

/// Signs a request; `now` in seconds since 1970.
pub fn sign_request(key: &Arc<Key>, message: &mut Vec<u8>, now: u64) -> Verifier {
    let mut chain = Chain::new(key.clone());
    chain.sign(message, Stamp::now(now), false);
    Verifier { chain, first: true, unsigned: 0 }
}

/// A message that belongs to the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// It and all before it are proven.
    Signed,
    /// A later one will prove it: do not use it yet.
    NotYet,
}

/// Why a message is not to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyError {
    /// It cannot be read.
    Malformed,
    /// There is no signature where there must be one.
    Unsigned,
    /// Another key or algorithm.
    WrongKey,
    /// The MAC is wrong or cut short.
    WrongMac,
    /// The time is not within the fudge.
    WrongTime,
    /// The server found our signature wrong; the error it names. Unless it is BADTIME (18), nothing proves that the server said so.
    Refused(u16),
}

/// Verifies the messages of one answer, in their order.
#[derive(Clone, Debug)]
pub struct Verifier {
    chain: Chain,
    first: bool,
    unsigned: usize,
}

impl Verifier {
    /// True if the last message was signed: an answer must not end otherwise.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unsigned == 0 && !self.first
    }

    /// The next message.
    ///
    /// # Errors
    /// See [`VerifyError`]; over UDP go on waiting, over TCP the exchange is over.
    pub fn verify(&mut self, message: &[u8], now: u64) -> Result<Verified, VerifyError> {
        let record = match find(message) {
            Err(Malformed) => return Err(VerifyError::Malformed),
            Ok(None) if self.first || self.unsigned >= UNSIGNED_MAX => return Err(VerifyError::Unsigned),
            Ok(None) => {
                self.unsigned += 1;
                self.chain.add_unsigned(message);
                return Ok(Verified::NotYet);
            }
            Ok(Some(record)) => record,
        };
        let key = &self.chain.key;
        if &record.key_name != key.name() || record.algorithm.wire() != key.algorithm().wire() {
            return Err(VerifyError::WrongKey);
        }
        if record.mac.is_empty() && record.error != 0 {
            return Err(VerifyError::Refused(record.error));
        }
        if record.mac.len() != key.algorithm().mac_bytes() || !self.chain.verify(message, &record, true) {
            return Err(VerifyError::WrongMac);
        }
        if record.error != 0 {
            return Err(VerifyError::Refused(record.error));
        }
        if now.abs_diff(record.time) > record.fudge.into() {
            return Err(VerifyError::WrongTime);
        }
        self.first = false;
        self.unsigned = 0;
        Ok(Verified::Signed)
    }
}
