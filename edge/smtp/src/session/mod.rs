//! The server's side of one connection.
//!
//! ```text
//!   let consumed = session.handle_bytes(&received, now, &mut out);     // or handle_body, handle_answer, handle_timeout, ...
//!   while let Some(step) = session.poll_step() { ... }                 // Ask | OpenBody | StartTls | Submit | Close
//!   send(out); wait_for(session.receiving(), session.poll_timeout());
//! ```
//! The session owns no buffer while it is idle: replies go to `out`, which the shard lends; only the beginning of a line that
//! came in pieces is kept. Cost of a command: one search for its end, one split, no allocation but the transaction's own
//! addresses.
//!
//! `lines` takes commands apart, `table` says which is allowed when, `greeting`, `security`, `xclient`, `transaction`,
//! `content` and `chunking` do them.
//!
//! The receipt type `R` is the daemon's: the `250` after the last dot takes one, and only the journal makes them.

mod auth;
mod chunking;
mod content;
mod fuzz;
mod greeting;
mod lines;
mod security;
mod table;
mod transaction;
mod words;
mod xclient;

#[doc(hidden)]
pub use fuzz::fuzz_session;
pub use words::{
    Account, Answer, Client, Protocol, Question, Receiving, RecipientAnswer, ServerConfig, Step, Target, TlsInfo, Transaction,
    TransactionRecipient,
};

use crate::body::BodyDecoder;
use crate::judge::ContentJudge;
use crate::replies;
use auth::Exchange;
use chunking::Chunk;
use postring_mail::{Now, Reply};
use smallvec::SmallVec;
use std::marker::PhantomData;
use std::sync::Arc;
use table::Phase;

/// What the session waits for from the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Awaited {
    /// Nothing: it reads commands.
    Nothing,
    Connect,
    /// What MAIL said is in the transaction.
    Sender,
    /// The address of VRFY.
    Verify(String),
    Recipient(TransactionRecipient),
    Credentials,
    /// For DATA.
    Slot,
    /// For the octets of BDAT.
    Room(Chunk),
    Receipt,
    Tls,
    /// The end.
    Closed,
}

/// What is being read when nothing is awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reading {
    Commands,
    Sasl(Exchange),
    /// The content of DATA, kept.
    Body,
    /// The content of DATA of a message that gets this reply when it has ended.
    Discard(Reply),
    /// Octets of BDAT, kept.
    Chunk(Chunk),
    /// Octets of BDAT that gets this reply when they have come.
    DiscardChunk(Chunk, Reply),
}

/// One connection. See the module.
pub struct Session<R> {
    config: Arc<ServerConfig>,
    client: Client,
    phase: Phase,
    awaited: Awaited,
    reading: Reading,
    steps: SmallVec<[Step; 2]>,
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    /// The rest of a line that was too long is skipped.
    skipping: bool,
    /// That line is a BDAT.
    skips_chunk: bool,
    helo: String,
    extended: bool,
    tls: Option<TlsInfo>,
    account: Option<Account>,
    transaction: Transaction,
    decoder: BodyDecoder,
    /// What BDAT brought so far, and its octets.
    judge: ContentJudge,
    chunks_bytes: u64,
    errors: u32,
    idle_commands: u32,
    transactions: u32,
    login_failures: u32,
    deadline_ms: u64,
    body_deadline_ms: u64,
    draining: bool,
    quit: bool,
    /// XCLIENT is offered.
    xclient: bool,
    receipt: PhantomData<fn(R)>,
}

/// Logins that fail before the connection is closed.
const LOGIN_FAILURES_MAX: u32 = 3;

impl<R> Session<R> {
    /// A new connection; its first step asks whether the client may speak.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>, client: Client, now: Now) -> Self {
        let deadline_ms = now.monotonic_ms.saturating_add(config.command_wait_ms);
        let mut steps = SmallVec::new();
        steps.push(Step::Ask(Question::Connect));
        Self {
            config,
            client,
            phase: Phase::Connected,
            awaited: Awaited::Connect,
            reading: Reading::Commands,
            steps,
            partial: Vec::new(),
            skipping: false,
            skips_chunk: false,
            helo: String::new(),
            extended: false,
            tls: None,
            account: None,
            transaction: Transaction::default(),
            decoder: BodyDecoder::default(),
            judge: ContentJudge::default(),
            chunks_bytes: 0,
            errors: 0,
            idle_commands: 0,
            transactions: 0,
            login_failures: 0,
            deadline_ms,
            body_deadline_ms: 0,
            draining: false,
            quit: false,
            xclient: false,
            receipt: PhantomData,
        }
    }

    /// What it would take now.
    #[must_use]
    pub fn receiving(&self) -> Receiving {
        match (&self.awaited, &self.reading) {
            (Awaited::Nothing, Reading::Commands | Reading::Sasl(_)) => Receiving::Commands,
            (Awaited::Nothing, Reading::Body | Reading::Chunk(_)) => Receiving::Body,
            (Awaited::Nothing, Reading::Discard(_) | Reading::DiscardChunk(..)) => Receiving::Discard,
            _ => Receiving::Nothing,
        }
    }

    /// What the daemon is to do; ask until there is nothing.
    pub fn poll_step(&mut self) -> Option<Step> {
        if self.steps.is_empty() { None } else { Some(self.steps.remove(0)) }
    }

    /// When to call `handle_timeout` if nothing has come: a value of [`Now::monotonic_ms`]. Counts while it is receiving; answers
    /// have the daemon's deadlines.
    #[must_use]
    pub fn poll_timeout(&self) -> u64 {
        match self.reading {
            // Between chunks too the clock of the whole message runs: whoever sends an octet now and then must not hold a slot.
            Reading::Commands if !matches!(self.phase, Phase::Chunks | Phase::Failed) => self.deadline_ms,
            Reading::Sasl(_) => self.deadline_ms,
            _ => self.deadline_ms.min(self.body_deadline_ms),
        }
    }

    /// The transaction, complete at [`Step::Submit`].
    #[must_use]
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Errors of the client so far.
    #[must_use]
    pub fn errors(&self) -> u32 {
        self.errors
    }

    /// The number of transactions begun, this one included.
    #[must_use]
    pub fn transactions(&self) -> u32 {
        self.transactions
    }

    /// What the client said in EHLO.
    #[must_use]
    pub fn helo(&self) -> &str {
        &self.helo
    }

    /// True if it said EHLO or LHLO.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.extended
    }

    /// True if it ended with QUIT: nothing the client has sent is unread.
    #[must_use]
    pub fn has_quit(&self) -> bool {
        self.quit
    }

    /// TLS, once established.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref()
    }

    /// The account, once authenticated.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// The other end.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client
    }

    /// The listener's settings.
    #[must_use]
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// Takes the answer to the question asked last. An answer that does not fit the question counts as a temporary failure.
    pub fn handle_answer(&mut self, answer: Answer, now: Now, out: &mut Vec<u8>) {
        self.deadline_ms = now.monotonic_ms.saturating_add(self.config.command_wait_ms);
        match (std::mem::replace(&mut self.awaited, Awaited::Nothing), answer) {
            (Awaited::Connect, Answer::Refused(reply)) => {
                reply.write_to(out);
                self.close();
            }
            // Not to know is no reason to refuse a client.
            (Awaited::Connect, _) => {
                out.extend_from_slice(b"220 ");
                out.extend_from_slice(self.config.hostname.as_bytes());
                out.extend_from_slice(if self.config.protocol == Protocol::Lmtp {
                    b" LMTP Postring\r\n"
                } else {
                    b" ESMTP Postring\r\n"
                });
            }
            (Awaited::Sender, Answer::Sender(true)) => self.begin_transaction(out),
            (Awaited::Sender, Answer::Sender(false)) => {
                self.reset();
                self.error(&replies::NOT_YOUR_ADDRESS, out);
            }
            (Awaited::Recipient(recipient), Answer::Recipient(answer)) => self.recipient_answered(recipient, answer, out),
            (Awaited::Verify(address), Answer::Recipient(answer)) => self.verified(&address, &answer, out),
            (Awaited::Verify(_), _) => replies::LOOKUP_FAILED.write_to(out),
            (Awaited::Credentials, Answer::Authenticated(account)) => {
                self.account = Some(account);
                replies::AUTHENTICATED.write_to(out);
            }
            (Awaited::Credentials, Answer::AuthenticationFailed) => {
                self.login_failures += 1;
                self.error(&replies::AUTH_FAILED, out);
                if self.login_failures >= LOGIN_FAILURES_MAX {
                    self.close();
                }
            }
            (Awaited::Credentials, _) => replies::AUTH_UNAVAILABLE.write_to(out),
            (Awaited::Sender, _) => {
                self.reset();
                replies::LOOKUP_FAILED.write_to(out);
            }
            (Awaited::Recipient(_), _) => replies::LOOKUP_FAILED.write_to(out),
            // No question was open; what was awaited still is.
            (awaited, _) => self.awaited = awaited,
        }
    }

    /// The deadline of [`poll_timeout`](Self::poll_timeout) has passed.
    pub fn handle_timeout(&mut self, out: &mut Vec<u8>) {
        replies::TIMEOUT.write_to(out);
        self.close();
    }

    /// The server stops: an idle connection ends now, one in a transaction after it.
    pub fn handle_shutdown(&mut self, out: &mut Vec<u8>) {
        self.draining = true;
        if self.receiving() == Receiving::Commands && matches!(self.phase, Phase::Connected | Phase::Greeted | Phase::Failed) {
            replies::SHUTDOWN.write_to(out);
            self.close();
        }
    }

    fn error(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        self.errors += 1;
        if self.errors > self.config.errors_max {
            replies::TOO_MANY_ERRORS.write_to(out);
            return self.close();
        }
        reply.write_to(out);
    }

    fn reset(&mut self) {
        self.transaction.reverse_path.clear();
        self.transaction.recipients.clear();
        self.transaction.size_declared = None;
        self.transaction.eight_bit = false;
        self.transaction.binary = false;
        self.transaction.bare_line_ends = false;
        self.transaction.smtputf8 = false;
        self.transaction.require_tls = false;
        self.transaction.prdr = false;
        self.transaction.returned = None;
        self.transaction.envelope_id.clear();
        self.transaction.envelope_bytes = 0;
        self.judge = ContentJudge::default();
        self.chunks_bytes = 0;
        if self.phase != Phase::Connected {
            self.phase = Phase::Greeted;
        }
    }

    fn close(&mut self) {
        if self.awaited != Awaited::Closed {
            self.awaited = Awaited::Closed;
            self.steps.push(Step::Close);
        }
    }
}
