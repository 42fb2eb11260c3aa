//! Checks requests, and refuses those whose signature is not right (RFC 8945 section 5.2).

use super::chain::{Chain, Signer, Stamp};
use super::key::Key;
use super::record::{Malformed, NewRecord, TsigRecord, find, time_octets};
use crate::Name;
use crate::query::{HEADER_BYTES, write_refusal};
use crate::types::Rcode;
use crate::wire::Reader;
use std::sync::Arc;

/// The keys this server knows. Few: looked through one by one.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Vec<Arc<Key>>,
}

/// What a request's signature is worth.
#[derive(Debug)]
pub enum Check {
    /// It has none.
    Unsigned,
    /// By a key we know; the answer must be signed with the [`Signer`].
    Signed(Signer),
    /// Answer with [`Refusal::write`] and do nothing.
    Refused(Refusal),
}

/// The error of a TSIG record (RFC 8945 section 3 and 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TsigError {
    /// Not where it must be, or not readable: FORMERR.
    Malformed,
    /// The MAC is wrong.
    BadSig,
    /// Key or algorithm is not known.
    BadKey,
    /// The clocks differ by more than the fudge.
    BadTime,
    /// The MAC is cut shorter than we take it.
    BadTrunc,
}

impl TsigError {
    /// The number that goes into the record.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Malformed => 0,
            Self::BadSig => 16,
            Self::BadKey => 17,
            Self::BadTime => 18,
            Self::BadTrunc => 22,
        }
    }
}

/// Why a request is refused, and what its answer needs.
#[derive(Debug)]
pub struct Refusal {
    /// Why; for the log.
    pub error: TsigError,
    /// The key the request names.
    pub key_name: Name,
    algorithm: Name,
    time: u64,
    fudge: u16,
    original_id: u16,
    /// For the errors whose answer is signed.
    signer: Option<Signer>,
}

impl KeyRing {
    /// Keys of different names.
    pub fn new(keys: impl IntoIterator<Item = Arc<Key>>) -> Self {
        Self { keys: keys.into_iter().collect() }
    }

    /// The key of a name, lower-case.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Arc<Key>> {
        self.keys.iter().find(|key| key.name() == name)
    }

    /// Checks a request; `now` in seconds since 1970. Cost: one pass over the records' heads, and one MAC if there is a TSIG.
    #[must_use]
    pub fn check(&self, message: &[u8], now: u64) -> Check {
        let record = match find(message) {
            Ok(None) => return Check::Unsigned,
            Ok(Some(record)) => record,
            Err(Malformed) => return Check::Refused(Refusal::malformed()),
        };
        let refuse = |error, signer| Check::Refused(Refusal::new(error, &record, signer));
        let key = self.get(&record.key_name).filter(|key| key.algorithm().wire() == record.algorithm.wire());
        let Some(key) = key else { return refuse(TsigError::BadKey, None) };
        // Longer than the hash, or shorter than half of it or than ten octets: no MAC at all (RFC 8945 section 5.2.2.1).
        let whole = key.algorithm().mac_bytes();
        if record.mac.len() > whole || record.mac.len() < (whole / 2).max(10) {
            return Check::Refused(Refusal::malformed());
        }
        if !Chain::new(key.clone()).verify(message, &record, false) {
            return refuse(TsigError::BadSig, None);
        }
        let signer = Signer::new(key.clone(), record.mac);
        if now.abs_diff(record.time) > record.fudge.into() {
            return refuse(TsigError::BadTime, Some(signer));
        }
        if record.mac.len() < whole {
            return refuse(TsigError::BadTrunc, Some(signer));
        }
        Check::Signed(signer)
    }
}

/// Where the question of a message ends, if it has exactly one.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(message, 4);
    if reader.u16()? != 1 {
        return None;
    }
    let mut reader = Reader::new(message, HEADER_BYTES);
    reader.plain_name()?;
    reader.bytes(4)?;
    Some(reader.position())
}

impl Refusal {
    fn new(error: TsigError, record: &TsigRecord<'_>, signer: Option<Signer>) -> Self {
        let (key_name, algorithm) = (record.key_name.clone(), record.algorithm.clone());
        Self { error, key_name, algorithm, time: record.time, fudge: record.fudge, original_id: record.original_id, signer }
    }

    fn malformed() -> Self {
        let (key_name, algorithm) = (Name::root(), Name::root());
        Self { error: TsigError::Malformed, key_name, algorithm, time: 0, fudge: 0, original_id: 0, signer: None }
    }

    /// The response code.
    #[must_use]
    pub fn rcode(&self) -> Rcode {
        if self.error == TsigError::Malformed { Rcode::FORMERR } else { Rcode::NOTAUTH }
    }

    /// Writes the answer to the request it was made for.
    pub fn write(&self, request: &[u8], now: u64, out: &mut Vec<u8>) {
        let word = |at: usize| request.get(at..at + 2).and_then(|word| word.try_into().ok()).map_or(0, u16::from_be_bytes);
        write_refusal(word(0), word(2), self.rcode(), out);
        if self.error == TsigError::Malformed {
            return;
        }
        if let Some(question) = question_end(request).and_then(|end| request.get(HEADER_BYTES..end)) {
            out.extend_from_slice(question);
            if let Some(count) = out.get_mut(5) {
                *count = 1;
            }
        }
        let (fudge, error) = (self.fudge, self.error.code());
        let Some(signer) = &self.signer else {
            let (key_name, algorithm) = (self.key_name.wire(), self.algorithm.wire());
            NewRecord { key_name, algorithm, time: now, fudge, mac: &[], original_id: self.original_id, error, other: &[] }
                .append(out);
            return;
        };
        let ours = time_octets(now);
        let stamp = match self.error {
            // With the client's own time, or it could not verify it; ours is told beside it (RFC 8945 section 5.2.3).
            TsigError::BadTime => Stamp { time: self.time, fudge, error, other: &ours },
            _ => Stamp { time: now, fudge, error, other: &[] },
        };
        signer.clone().sign_error(out, stamp);
    }
}
