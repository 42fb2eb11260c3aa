//! DKIM and ARC of a message together, while it comes: what can be done before its end is done by then.
//!
//! ```text
//!   header ─> begin ─> questions ──────(the caller asks)──────┐
//!   body ───> put_body ... ───────────────────────────────> finish ─> a Verification for each signature, and the chain
//! ```
//! The header is split twice, keys are asked for at the same time, and the body is hashed once for all.

use crate::arc::{self, Chain};
use crate::dkim::fields::Message;
use crate::dkim::hashes::BodyHashes;
use crate::dkim::keys::{Keys, distinct};
use crate::dkim::signed::Signed;
use crate::dkim::{self, Signatures, Verification};
use postring_dns::Name;
use postring_dns::resolver::Resolved;

/// Keys that are asked for at most. Honest mail has a few signatures and a chain of a few sets; what is beyond counts as not answered.
const QUESTIONS_MAX: usize = 24;

/// The verification of one message, without I/O.
#[derive(Debug)]
pub struct Verifier {
    questions: Vec<Name>,
    hashes: BodyHashes,
    /// Seconds since 1970.
    now: u64,
}

impl Verifier {
    /// Reads the signatures of a header with CRLF at its line ends; what is behind its empty line is not looked at. `now` in seconds since 1970.
    ///
    /// Cost: the header is split into its fields; a message without a signature asks nothing and hashes nothing.
    #[must_use]
    pub fn begin(header: &[u8], now: u64) -> Self {
        let mut begun = Self { questions: Vec::new(), hashes: BodyHashes::default(), now };
        if let Some(message) = Message::parse(header) {
            let (signatures, chain) = (Signatures::read(&message, now), arc::Draft::read(&message, now));
            signatures.ask_hashes(&mut begun.hashes);
            chain.ask_hashes(&mut begun.hashes);
            begun.questions = distinct(signatures.key_names().chain(chain.key_names()).take(QUESTIONS_MAX));
        }
        begun
    }

    /// The names whose TXT records are the keys, each once; at most 24.
    #[must_use]
    pub fn questions(&self) -> &[Name] {
        &self.questions
    }

    /// Takes the next octets behind the header's empty line.
    pub fn put_body(&mut self, chunk: &[u8]) {
        if !self.hashes.is_empty() {
            self.hashes.put(chunk);
        }
    }

    /// Judges the signatures, the body having ended. `header` as it was given to [`begin`](Self::begin), `answers` to the questions in their order.
    /// Gives what [`dkim::verify`] and [`arc::verify`] give.
    ///
    /// Cost: the header is split once more, which is cheaper than to keep it; signed fields are copied once a signature.
    #[must_use]
    pub fn finish<'h>(mut self, header: &'h [u8], answers: &[Resolved]) -> (Vec<Verification>, Chain<'h>) {
        let Some(message) = Message::parse(header) else {
            return (vec![Verification::of_message(dkim::Problem::Header)], Chain::failed(arc::Problem::Header));
        };
        self.hashes.finish();
        let signed = Signed::new(&message, &self.hashes);
        let mut chain = arc::Draft::read(&message, self.now);
        chain.check_body(&signed);
        let keys = Keys::new(&self.questions, answers);
        (Signatures::read(&message, self.now).judge(&signed, keys), chain.judge(&signed, keys))
    }
}
