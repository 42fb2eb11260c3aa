//! What one request may cost, whatever the servers it meets would like it to cost.
//!
//! One budget is shared by the client's question, the sub-questions for name servers' addresses and what validation asks for: an answer that
//! makes work for others (NXNSAttack, a chain of aliases, a KeyTrap) is paid from the same purse.

use std::cell::Cell;
use std::rc::Rc;

/// Queries sent for one request. From nothing at all a name of four labels below glueless servers takes about twenty, and its validation as
/// many again; NXNSAttack wants thousands.
pub const PACKETS_MAX: u32 = 80;
/// Octets of responses read for one request: a dozen full TCP answers.
pub const BYTES_MAX: u32 = 768 * 1024;
/// Sub-questions for addresses of name servers, for one request.
pub const SUB_QUESTIONS_MAX: u32 = 12;
/// Milliseconds for one request; mail checks and stub resolvers give up at about ten seconds.
pub const TIME_MS: u64 = 8000;

/// What is left; clones are one purse.
#[derive(Clone, Debug)]
pub struct Budget(Rc<Left>);

#[derive(Debug)]
struct Left {
    packets: Cell<u32>,
    bytes: Cell<u32>,
    sub_questions: Cell<u32>,
    until_ms: u64,
}

impl Budget {
    /// A full purse of a request that begins now.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self(Rc::new(Left {
            packets: Cell::new(PACKETS_MAX),
            bytes: Cell::new(BYTES_MAX),
            sub_questions: Cell::new(SUB_QUESTIONS_MAX),
            until_ms: now_ms.saturating_add(TIME_MS),
        }))
    }

    /// When the request has failed, whatever is left.
    #[must_use]
    pub fn until_ms(&self) -> u64 {
        self.0.until_ms
    }

    /// Queries that may still be sent.
    #[must_use]
    pub fn packets_left(&self) -> u32 {
        self.0.packets.get()
    }

    /// True if nothing more may be asked.
    #[must_use]
    pub fn is_spent(&self, now_ms: u64) -> bool {
        now_ms >= self.0.until_ms || self.0.packets.get() == 0 || self.0.bytes.get() == 0
    }

    pub(crate) fn take_packet(&self) {
        self.0.packets.set(self.0.packets.get().saturating_sub(1));
    }

    pub(crate) fn take_bytes(&self, count: usize) {
        self.0.bytes.set(self.0.bytes.get().saturating_sub(u32::try_from(count).unwrap_or(u32::MAX)));
    }

    /// False: no more sub-questions.
    pub(crate) fn take_sub_question(&self) -> bool {
        let left = self.0.sub_questions.get();
        self.0.sub_questions.set(left.saturating_sub(1));
        left > 0
    }
}
