//! The MACs of one exchange, each over the one before (RFC 8945 section 4.3 and 5.3.1).

use super::FUDGE_SECONDS;
use super::key::Key;
use super::record::{NewRecord, TsigRecord, time_octets};
use crate::query::HEADER_BYTES;
use crate::types::CLASS_ANY;
use ring::hmac;
use std::sync::Arc;

/// What a TSIG record says besides its MAC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp<'s> {
    pub time: u64,
    pub fudge: u16,
    pub error: u16,
    pub other: &'s [u8],
}

impl Stamp<'static> {
    /// A message without an error.
    pub fn now(time: u64) -> Self {
        Self { time, fudge: FUDGE_SECONDS, error: 0, other: &[] }
    }
}

/// What has been hashed of the exchange so far.
#[derive(Clone)]
pub(super) struct Chain {
    pub key: Arc<Key>,
    context: hmac::Context,
    /// The first answer is over: the next MACs are over time and fudge instead of all variables.
    later: bool,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").field("key", self.key.name()).field("later", &self.later).finish_non_exhaustive()
    }
}

impl Chain {
    /// Before the request.
    pub fn new(key: Arc<Key>) -> Self {
        let context = key.context();
        Self { key, context, later: false }
    }

    /// Behind a request with this MAC.
    pub fn after_request(key: Arc<Key>, mac: &[u8]) -> Self {
        let mut chain = Self::new(key);
        chain.begin(mac);
        chain
    }

    fn begin(&mut self, mac: &[u8]) {
        self.context = self.key.context();
        self.context.update(&u16::try_from(mac.len()).unwrap_or(u16::MAX).to_be_bytes());
        self.context.update(mac);
    }

    /// Adds a message that bears no TSIG.
    pub fn add_unsigned(&mut self, message: &[u8]) {
        self.context.update(message);
    }

    /// The MAC of a message whose TSIG was taken off.
    fn mac(&self, message: &[u8], original_id: u16, additionals: u16, stamp: Stamp<'_>) -> hmac::Tag {
        let mut context = self.context.clone();
        context.update(&original_id.to_be_bytes());
        context.update(message.get(2..10).unwrap_or_default());
        context.update(&additionals.to_be_bytes());
        context.update(message.get(HEADER_BYTES..).unwrap_or_default());
        if !self.later {
            context.update(self.key.name().wire());
            context.update(&CLASS_ANY.to_be_bytes());
            context.update(&[0; 4]);
            context.update(self.key.algorithm().wire());
        }
        context.update(&time_octets(stamp.time));
        context.update(&stamp.fudge.to_be_bytes());
        if !self.later {
            context.update(&stamp.error.to_be_bytes());
            context.update(&u16::try_from(stamp.other.len()).unwrap_or(u16::MAX).to_be_bytes());
            context.update(stamp.other);
        }
        context.sign()
    }

    /// Signs a message. `answer`: the next one is chained as a later one of the same answer.
    pub fn sign(&mut self, message: &mut Vec<u8>, stamp: Stamp<'_>, answer: bool) {
        let word = |at: usize| message.get(at..at + 2).and_then(|word| word.try_into().ok()).map_or(0, u16::from_be_bytes);
        let original_id = word(0);
        let tag = self.mac(message, original_id, word(10), stamp);
        let (key_name, algorithm, mac) = (self.key.name().wire(), self.key.algorithm().wire(), tag.as_ref());
        let Stamp { time, fudge, error, other } = stamp;
        NewRecord { key_name, algorithm, time, fudge, mac, original_id, error, other }.append(message);
        self.begin(mac);
        self.later = answer;
    }

    /// True if the MAC of a message's TSIG is right as far as it goes; then the chain goes on behind it.
    pub fn verify(&mut self, message: &[u8], record: &TsigRecord<'_>, answer: bool) -> bool {
        let count = message.get(10..12).and_then(|word| word.try_into().ok()).map_or(0, u16::from_be_bytes);
        let signed = message.get(..record.start).unwrap_or_default();
        let additionals = count.saturating_sub(1);
        let stamp = Stamp { time: record.time, fudge: record.fudge, error: record.error, other: record.other };
        let tag = self.mac(signed, record.original_id, additionals, stamp);
        let right = tag.as_ref().get(..record.mac.len()).is_some_and(|tag| is_equal(tag, record.mac));
        if right {
            self.begin(record.mac);
            self.later = answer;
        }
        right
    }
}

/// Compares in a time that does not tell where they differ.
fn is_equal(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0, |difference, (left, right)| difference | (left ^ right));
    left.len() == right.len() && std::hint::black_box(difference) == 0
}

/// Signs the messages of an answer.
#[derive(Clone, Debug)]
pub struct Signer {
    chain: Chain,
}

impl Signer {
    pub(super) fn new(key: Arc<Key>, request_mac: &[u8]) -> Self {
        Self { chain: Chain::after_request(key, request_mac) }
    }

    /// The key the request was signed with.
    #[must_use]
    pub fn key(&self) -> &Arc<Key> {
        &self.chain.key
    }

    /// Octets that must be left free for the record.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.chain.key.record_bytes()
    }

    /// Puts the TSIG record behind a whole message; `now` in seconds since 1970.
    pub fn sign(&mut self, message: &mut Vec<u8>, now: u64) {
        self.chain.sign(message, Stamp::now(now), true);
    }

    /// Signs a message that must not be longer than `limit`; one that would be is cut to its question, with TC set, so that the client asks
    /// over TCP. `question_end`: where its question ends.
    pub fn sign_within(&mut self, message: &mut Vec<u8>, limit: usize, question_end: usize, now: u64) {
        if message.len() + self.record_bytes() > limit {
            message.truncate(question_end);
            if let Some(flags) = message.get_mut(2) {
                *flags |= 2;
            }
            message.get_mut(6..HEADER_BYTES).unwrap_or_default().fill(0);
        }
        self.sign(message, now);
    }

    pub(super) fn sign_error(&mut self, message: &mut Vec<u8>, stamp: Stamp<'_>) {
        self.chain.sign(message, stamp, true);
    }
}
