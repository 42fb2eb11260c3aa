//! A message's signatures while the message comes: what can be done before its end is done by then.

use super::fields::Message;
use super::hashes::BodyHashes;
use super::verify::{Draft, drafts, judge_all};
use super::{Problem, Verification};
use crate::Lookup;
use crate::together::together;
use postring_dns::resolver::Resolved;
use postring_dns::{Name, Rtype};

/// The verification of one message (RFC 6376 section 6), without I/O.
///
/// ```text
///   header ─> begin ─> questions ──────(the caller asks)──────┐
///   body ───> put_body ... ───────────────────────────────> finish ─> a Verification for each signature
/// ```
#[derive(Debug)]
pub struct Verifier {
    /// Where the keys are, each once.
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
        let Some(message) = Message::parse(header) else { return begun };
        for signature in drafts(&message, now).filter_map(|draft: Draft<'_>| draft.signature) {
            begun.hashes.ask(signature.body, signature.length);
            if !begun.questions.contains(&signature.key_name) {
                begun.questions.push(signature.key_name);
            }
        }
        begun
    }

    /// The names whose TXT records are the keys; at most one a signature.
    #[must_use]
    pub fn questions(&self) -> &[Name] {
        &self.questions
    }

    /// Takes the next octets behind the header's empty line.
    pub fn put_body(&mut self, chunk: &[u8]) {
        if !self.questions.is_empty() {
            self.hashes.put(chunk);
        }
    }

    /// Judges the signatures, the body having ended. `header` as it was given to [`begin`](Self::begin), `answers` to the questions in their order.
    /// Gives something for each signature that is looked at, from the top down, and at least one thing: that there is none.
    ///
    /// Cost: the header is split once more, which is cheaper than to keep it; signed fields are copied once a signature.
    #[must_use]
    pub fn finish(mut self, header: &[u8], answers: &[Resolved]) -> Vec<Verification> {
        let Some(message) = Message::parse(header) else { return vec![Verification::of_message(Problem::Header)] };
        self.hashes.finish();
        judge_all(&message, &self.hashes, |name| answers.get(self.questions.iter().position(|known| known == name)?), self.now)
    }
}

/// Verifies the signatures of a whole message with CRLF at its line ends; `now` in seconds since 1970. Gives what [`Verifier::finish`] gives.
///
/// Cost: one question a key, all at the same time; the rest as [`Verifier`].
pub async fn verify(lookup: &impl Lookup, message: &[u8], now: u64) -> Vec<Verification> {
    let mut verifier = Verifier::begin(message, now);
    verifier.put_body(Message::parse(message).map_or(&b""[..], |message| message.body));
    let answers = together(verifier.questions().iter().map(|name| lookup.lookup(name, Rtype::TXT))).await;
    verifier.finish(message, &answers)
}
