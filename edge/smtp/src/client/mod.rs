//! The client's side: one message to one server, without I/O.
//!
//! ```text
//!   let taken = client.handle_bytes(&received, now, &mut out);      // or handle_tls_established, handle_timeout, handle_lost
//!   while let Some(step) = client.poll_step() { ... }               // StartTls | SendContent | Done | Close
//!   send(out); wait_for_bytes_until(client.poll_timeout());
//!
//!   greeting --> EHLO [--> STARTTLS --> EHLO] --> MAIL, RCPT..., DATA --> content --> reply --> QUIT
//!                  `--> HELO
//! ```
//! With PIPELINING (RFC 2920) MAIL, all RCPT and DATA are one group of up to [`WINDOW`] commands. Every recipient has an outcome at
//! [`Step::Done`], whatever the server did; a recipient is only `Delivered` if the server took the message for it.

mod content;
mod reply;

pub use reply::{ReplyError, ReplyReader, fuzz_reply};

use content::ContentWriter;
use postring_mail::dsn::{Notify, RecipientRequest, Returned, is_envelope_id, is_original_recipient};
use postring_mail::path::{Characters, parse_mailbox};
use postring_mail::{Now, Reply};
use smallvec::SmallVec;

/// Commands under way at once. Their replies must fit in the socket buffers (RFC 2920 section 3.1 asks the client to see to it).
const WINDOW: usize = 50;
/// Octets of content per call of [`ClientSession::next_content`].
const CONTENT_CHUNK_BYTES: usize = 64 * 1024;

/// Use of STARTTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsUse {
    /// Not, even if offered: the second try after a handshake that failed.
    Never,
    /// If the server offers it (RFC 3207, opportunistic).
    WhenOffered,
    /// Or no delivery.
    Required,
}

/// How to speak.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Our name in EHLO.
    pub helo: String,
    /// STARTTLS or not.
    pub tls: TlsUse,
    /// LHLO, and a reply for each recipient (RFC 2033).
    pub lmtp: bool,
    /// Patience.
    pub waits: Waits,
}

/// How long to wait for what, milliseconds.
//= RFC 5321 section 4.5.3.2
//# An SMTP client MUST provide a timeout mechanism. It MUST use per-command timeouts
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// For the greeting (section 4.5.3.2.1) and the reply to EHLO or STARTTLS.
    pub greeting_ms: u64,
    /// For the reply to MAIL or RCPT (4.5.3.2.2, 4.5.3.2.3).
    pub envelope_ms: u64,
    /// For 354 (4.5.3.2.4).
    pub data_ms: u64,
    /// For a block of content to go out (4.5.3.2.5).
    pub block_ms: u64,
    /// For the reply to the last dot (4.5.3.2.6); too short a wait delivers mail twice.
    pub termination_ms: u64,
    /// For 221; nothing depends on it.
    pub quit_ms: u64,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            greeting_ms: 300_000,
            envelope_ms: 300_000,
            data_ms: 120_000,
            block_ms: 180_000,
            termination_ms: 600_000,
            quit_ms: 5_000,
        }
    }
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Mail {
    /// `local-part@domain`, or empty for the null reverse-path.
    pub reverse_path: String,
    /// `local-part@domain` each.
    pub recipients: Vec<String>,
    /// Octets of the message in wire form.
    pub size: u64,
    /// It has octets above 127. Sent as it is to a server without 8BITMIME too: to bounce it would help nobody.
    pub eight_bit: bool,
    /// It came with SMTPUTF8 and its header has octets above 127: only a server that offers SMTPUTF8 gets it. Addresses speak for themselves.
    pub utf8_header: bool,
    /// RET (RFC 3461); it and the next two are told to servers that offer DSN.
    pub returned: Option<Returned>,
    /// ENVID in xtext, or empty.
    pub envelope_id: String,
    /// What was asked for each of `recipients`; nothing for those beyond its end.
    pub requests: Vec<RecipientRequest>,
}

/// What became of one recipient. The reply is the server's, or ours if it said nothing useful; its text is safe for logs and DSNs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server took the message for this recipient.
    Delivered(Reply),
    /// Another try may succeed, here or at another host.
    Transient(Reply),
    /// No.
    Permanent(Reply),
}

/// What the daemon is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send the output, do the handshake, then `handle_tls_established` or `handle_lost`.
    StartTls,
    /// Call `next_content` with the message and send the output, until it says that was all.
    SendContent,
    /// Every recipient has its outcome. QUIT is on its way, a reply to it may be waited for.
    Done,
    /// Send the output if it can still be sent, then close.
    Close,
}

/// What is awaited from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    /// The handshake.
    Tls,
    /// MAIL, RCPT, DATA: `answered` says which.
    Envelope,
    /// Nothing: the content goes out.
    Content,
    /// The reply, or in LMTP replies, to the last dot.
    Termination,
    Quit,
    Closed,
}

/// One delivery. See the module.
#[derive(Debug)]
pub struct ClientSession {
    config: ClientConfig,
    mail: Mail,
    phase: Phase,
    reader: ReplyReader,
    steps: SmallVec<[Step; 2]>,
    extensions: Extensions,
    secure: bool,
    /// The recipients that get an RCPT, by index.
    asked: Vec<usize>,
    /// Of the sequence MAIL, RCPT..., DATA: sent and answered so far.
    sent: usize,
    answered: usize,
    /// MAIL or DATA was refused, or every RCPT: nothing more of the envelope is sent.
    abandoned: bool,
    outcomes: Vec<Option<Outcome>>,
    /// Accepted at RCPT, by index.
    accepted: Vec<usize>,
    /// In LMTP: replies to the last dot so far.
    terminated: usize,
    content: ContentWriter,
    deadline_ms: u64,
}

/// What the server's EHLO reply offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 6152.
    pub eight_bit: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 1870; with a maximum other than 0 if one is told.
    pub size: Option<u64>,
}

impl Extensions {
    /// Reads the lines of an EHLO reply; the first is the server's name.
    #[must_use]
    pub fn from_reply(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.split('\n').skip(1) {
            let mut words = line.split(' ');
            let keyword = words.next().unwrap_or_default();
            if keyword.eq_ignore_ascii_case("PIPELINING") {
                found.pipelining = true;
            } else if keyword.eq_ignore_ascii_case("8BITMIME") {
                found.eight_bit = true;
            } else if keyword.eq_ignore_ascii_case("DSN") {
                found.dsn = true;
            } else if keyword.eq_ignore_ascii_case("SMTPUTF8") {
                found.smtputf8 = true;
            } else if keyword.eq_ignore_ascii_case("STARTTLS") {
                found.starttls = true;
            } else if keyword.eq_ignore_ascii_case("SIZE") {
                found.size = Some(words.next().and_then(|word| word.parse().ok()).unwrap_or(0));
            }
        }
        found
    }
}

static LOST: Reply = Reply::fixed(421, 4, 2, "The connection was lost");
static TIMEOUT: Reply = Reply::fixed(421, 4, 2, "The server did not answer in time");
static NO_SMTP: Reply = Reply::fixed(421, 5, 0, "The server's answer is not SMTP");
static NO_TLS: Reply = Reply::fixed(454, 7, 5, "TLS is required and the server does not offer it");
static INJECTED: Reply = Reply::fixed(421, 7, 5, "The server sent plain text behind its reply to STARTTLS");
static BAD_RECIPIENT: Reply = Reply::fixed(553, 1, 3, "Not an address that SMTP can carry");
static BAD_SENDER: Reply = Reply::fixed(553, 1, 7, "Not a sender address that SMTP can carry");
static NO_SMTPUTF8: Reply = Reply::fixed(550, 6, 7, "The server does not offer SMTPUTF8, which the addresses or the header need");
static TOO_LARGE: Reply = Reply::fixed(552, 3, 4, "The message is larger than the server takes");

/// True if a reply is of our own making and not what the server said (RFC 3464 section 2.3.6 wants that apart).
#[must_use]
pub fn is_ours(reply: &Reply) -> bool {
    [&LOST, &TIMEOUT, &NO_SMTP, &NO_TLS, &INJECTED, &BAD_RECIPIENT, &BAD_SENDER, &NO_SMTPUTF8, &TOO_LARGE].contains(&reply)
}

impl ClientSession {
    /// A delivery over a connection just made. Recipients that are no addresses have their outcome already.
    #[must_use]
    pub fn new(config: ClientConfig, mail: Mail, now: Now) -> Self {
        let sender_is_good = mail.reverse_path.is_empty() || is_address(&mail.reverse_path);
        let outcomes = mail.recipients.iter().map(|recipient| match (sender_is_good, is_address(recipient)) {
            (true, true) => None,
            (true, false) => Some(Outcome::Permanent(BAD_RECIPIENT.clone())),
            (false, _) => Some(Outcome::Permanent(BAD_SENDER.clone())),
        });
        Self {
            outcomes: outcomes.collect(),
            deadline_ms: now.monotonic_ms.saturating_add(config.waits.greeting_ms),
            config,
            mail,
            phase: Phase::Greeting,
            reader: ReplyReader::default(),
            steps: SmallVec::new(),
            extensions: Extensions::default(),
            secure: false,
            asked: Vec::new(),
            sent: 0,
            answered: 0,
            abandoned: false,
            accepted: Vec::new(),
            terminated: 0,
            content: ContentWriter::default(),
        }
    }

    /// What the daemon is to do; ask until there is nothing.
    pub fn poll_step(&mut self) -> Option<Step> {
        if self.steps.is_empty() { None } else { Some(self.steps.remove(0)) }
    }

    /// When to call `handle_timeout`: a value of [`Now::monotonic_ms`]. During the handshake the daemon has its own limit.
    #[must_use]
    pub fn poll_timeout(&self) -> u64 {
        self.deadline_ms
    }

    /// The outcome of every recipient, in the order of [`Mail::recipients`]; `None` only before [`Step::Done`].
    #[must_use]
    pub fn outcomes(&self) -> &[Option<Outcome>] {
        &self.outcomes
    }

    /// What the server offers, after its last EHLO reply.
    #[must_use]
    pub fn extensions(&self) -> Extensions {
        self.extensions
    }

    /// True if TLS was established.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Takes what the server sent, all of it but behind the reply that leads to TLS.
    pub fn handle_bytes(&mut self, input: &[u8], now: Now, out: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        while !matches!(self.phase, Phase::Tls | Phase::Closed) {
            let rest = input.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let (length, reply) = self.reader.read(rest);
            taken += length;
            match reply {
                None => {}
                Some(Err(_)) => self.fail(&NO_SMTP),
                Some(Ok(reply)) => {
                    let behind = input.len() > taken;
                    self.handle_reply(reply, behind, now, out);
                }
            }
        }
        taken
    }

    fn handle_reply(&mut self, reply: Reply, behind: bool, now: Now, out: &mut Vec<u8>) {
        //= RFC 5321 section 3.8
        //# SMTP clients that experience a connection close, reset, or other communications failure [...] 421
        if reply.code == 421 && self.phase != Phase::Quit {
            return self.fail(&reply);
        }
        match self.phase {
            Phase::Greeting | Phase::Helo if !reply.is_positive() => self.refused(&reply, now, out),
            Phase::Greeting => self.say_hello(now, out),
            Phase::Ehlo if reply.is_positive() => {
                self.extensions = Extensions::from_reply(&reply.text);
                self.greeted(now, out);
            }
            //= RFC 5321 section 3.2
            //# a client that receives [...] SHOULD issue HELO
            Phase::Ehlo if reply.is_permanent() && !self.config.lmtp && !self.secure => {
                self.command(Phase::Helo, self.config.waits.greeting_ms, now);
                put(out, &["HELO ", &self.config.helo]);
            }
            Phase::Ehlo => self.refused(&reply, now, out),
            Phase::Helo => self.greeted(now, out),
            Phase::StartTls if reply.is_positive() => {
                // What was sent in plain text behind it must not be read as said within TLS.
                if behind {
                    return self.fail(&INJECTED);
                }
                self.phase = Phase::Tls;
                self.steps.push(Step::StartTls);
            }
            Phase::StartTls if self.config.tls == TlsUse::Required => self.refused(&reply, now, out),
            Phase::StartTls => self.begin_envelope(now, out),
            Phase::Envelope => self.envelope_reply(reply, now, out),
            Phase::Termination => self.termination_reply(reply, now, out),
            // A server that speaks while content goes out has given up on it, or is no server.
            Phase::Content => {
                self.settle(&reply, by_code_refused);
                self.fail(&reply);
            }
            Phase::Quit => self.close(),
            Phase::Tls | Phase::Closed => {}
        }
    }

    fn say_hello(&mut self, now: Now, out: &mut Vec<u8>) {
        self.command(Phase::Ehlo, self.config.waits.greeting_ms, now);
        put(out, &[if self.config.lmtp { "LHLO " } else { "EHLO " }, &self.config.helo]);
    }

    fn greeted(&mut self, now: Now, out: &mut Vec<u8>) {
        if self.secure || self.config.tls == TlsUse::Never {
            return self.begin_envelope(now, out);
        }
        match (self.extensions.starttls, self.config.tls) {
            (true, _) => {
                self.command(Phase::StartTls, self.config.waits.greeting_ms, now);
                put(out, &["STARTTLS"]);
            }
            (false, TlsUse::Required) => self.refused(&NO_TLS, now, out),
            (false, _) => self.begin_envelope(now, out),
        }
    }

    /// TLS is established: everything the server said before is forgotten (RFC 3207 section 4.2).
    pub fn handle_tls_established(&mut self, now: Now, out: &mut Vec<u8>) {
        if self.phase == Phase::Tls {
            self.secure = true;
            self.extensions = Extensions::default();
            self.say_hello(now, out);
        }
    }

    fn begin_envelope(&mut self, now: Now, out: &mut Vec<u8>) {
        //= RFC 1870 section 6.1
        //# a client [...] MUST NOT attempt to send a message that exceeds it [the maximum]
        if self.extensions.size.is_some_and(|maximum| maximum != 0 && self.mail.size > maximum) {
            self.settle(&TOO_LARGE, Outcome::Permanent);
        }
        if !self.extensions.smtputf8 {
            self.settle_international();
        }
        self.asked = (0..self.outcomes.len()).filter(|index| self.outcomes.get(*index) == Some(&None)).collect();
        if self.asked.is_empty() {
            return self.done(now, out);
        }
        self.send_envelope(now, out);
    }

    /// Those who can be reached through SMTPUTF8 only cannot be reached through this server.
    //= RFC 6531 section 3.5
    //# An SMTPUTF8-aware SMTP client MUST NOT send an internationalized message to an SMTP server that does not support SMTPUTF8.
    fn settle_international(&mut self) {
        if self.mail.utf8_header || !self.mail.reverse_path.is_ascii() {
            return self.settle(&NO_SMTPUTF8, Outcome::Permanent);
        }
        for (recipient, open) in self.mail.recipients.iter().zip(&mut self.outcomes) {
            if open.is_none() && !recipient.is_ascii() {
                *open = Some(Outcome::Permanent(NO_SMTPUTF8.clone()));
            }
        }
    }

    /// Sends as much of MAIL, RCPT..., DATA as may be under way.
    fn send_envelope(&mut self, now: Now, out: &mut Vec<u8>) {
        let window = if self.extensions.pipelining { WINDOW } else { 1 };
        let data = self.asked.len() + 1;
        while !self.abandoned && self.sent <= data && self.sent - self.answered < window {
            if self.sent == 0 {
                self.put_mail(out);
            } else if let Some(index) = self.asked.get(self.sent - 1) {
                self.put_rcpt(*index, out);
            } else if self.answered == self.sent && self.accepted.is_empty() {
                // All were refused, and that is known before DATA: it is not needed.
                self.abandoned = true;
                break;
            } else {
                put(out, &["DATA"]);
            }
            self.sent += 1;
        }
        let wait = if self.sent > data { self.config.waits.data_ms } else { self.config.waits.envelope_ms };
        self.command(Phase::Envelope, wait, now);
        if self.abandoned && self.answered == self.sent {
            self.done(now, out);
        }
    }

    fn put_mail(&self, out: &mut Vec<u8>) {
        let size = if self.extensions.size.is_some() { format!(" SIZE={}", self.mail.size) } else { String::new() };
        let body = if self.extensions.eight_bit && self.mail.eight_bit { " BODY=8BITMIME" } else { "" };
        let mut recipients = self.asked.iter().filter_map(|index| self.mail.recipients.get(*index));
        let international =
            self.mail.utf8_header || !self.mail.reverse_path.is_ascii() || recipients.any(|recipient| !recipient.is_ascii());
        let smtputf8 = if international { " SMTPUTF8" } else { "" };
        let mut dsn = String::new();
        if self.extensions.dsn {
            dsn.push_str(match self.mail.returned {
                Some(Returned::Full) => " RET=FULL",
                Some(Returned::Headers) => " RET=HDRS",
                None => "",
            });
            if is_envelope_id(&self.mail.envelope_id) {
                dsn.push_str(" ENVID=");
                dsn.push_str(&self.mail.envelope_id);
            }
        }
        put(out, &["MAIL FROM:<", &self.mail.reverse_path, ">", &size, body, smtputf8, &dsn]);
    }

    fn put_rcpt(&self, index: usize, out: &mut Vec<u8>) {
        let mut dsn = String::new();
        if let Some(request) = self.mail.requests.get(index).filter(|_| self.extensions.dsn) {
            if request.notify != Notify::default() {
                dsn = format!(" NOTIFY={}", request.notify);
            }
            if is_original_recipient(&request.original_recipient) {
                dsn.push_str(" ORCPT=");
                dsn.push_str(&request.original_recipient);
            }
        }
        put(out, &["RCPT TO:<", self.mail.recipients.get(index).map_or("", String::as_str), ">", &dsn]);
    }

    fn envelope_reply(&mut self, reply: Reply, now: Now, out: &mut Vec<u8>) {
        let index = self.answered;
        self.answered += 1;
        if index == 0 {
            if !reply.is_positive() {
                self.settle(&reply, by_code_refused);
                self.abandoned = true;
            }
        } else if let Some(recipient) = self.asked.get(index - 1) {
            self.recipient_reply(*recipient, reply);
        } else {
            return self.data_reply(&reply, now, out);
        }
        self.send_envelope(now, out);
    }

    fn recipient_reply(&mut self, index: usize, reply: Reply) {
        let Some(outcome @ None) = self.outcomes.get_mut(index) else { return };
        if reply.is_positive() {
            self.accepted.push(index);
        } else if reply.is_permanent() && reply.code != 552 {
            *outcome = Some(Outcome::Permanent(reply));
        } else {
            //= RFC 5321 section 4.5.3.1.10
            //# A client SHOULD treat a 552 reply to RCPT [...] as if it were 452
            *outcome = Some(Outcome::Transient(reply));
        }
    }

    fn data_reply(&mut self, reply: &Reply, now: Now, out: &mut Vec<u8>) {
        if reply.code != 354 {
            self.settle(reply, by_code_refused);
            return self.done(now, out);
        }
        if self.accepted.is_empty() {
            //= RFC 2920 section 3.1
            //# If the DATA command [...] 354 [...] the client should send a single dot
            put(out, &["."]);
            return self.done(now, out);
        }
        self.command(Phase::Content, self.config.waits.block_ms, now);
        self.steps.push(Step::SendContent);
    }

    /// Writes the next piece of content after [`Step::SendContent`]; `message` is the whole one, in wire form, the same in every call.
    /// True when that was all, and the server's word is waited for.
    pub fn next_content(&mut self, message: &[u8], now: Now, out: &mut Vec<u8>) -> bool {
        if self.phase != Phase::Content {
            return true;
        }
        self.command(Phase::Content, self.config.waits.block_ms, now);
        let finished = self.content.next(message, CONTENT_CHUNK_BYTES, out);
        if finished {
            self.command(Phase::Termination, self.config.waits.termination_ms, now);
        }
        finished
    }

    fn termination_reply(&mut self, reply: Reply, now: Now, out: &mut Vec<u8>) {
        //= RFC 2033 section 4.2
        //# the server returns one reply for each previously successful RCPT command
        let concerned = if self.config.lmtp { self.terminated..self.terminated + 1 } else { 0..self.accepted.len() };
        self.terminated = concerned.end;
        for index in self.accepted.get(concerned).unwrap_or_default() {
            if let Some(outcome @ None) = self.outcomes.get_mut(*index) {
                *outcome = Some(by_code(reply.clone()));
            }
        }
        if self.terminated >= self.accepted.len() {
            self.done(now, out);
        }
    }

    /// The deadline of [`poll_timeout`](Self::poll_timeout) has passed.
    pub fn handle_timeout(&mut self) {
        self.fail(&TIMEOUT);
    }

    /// The connection ended, or the handshake failed (then, with [`TlsUse::WhenOffered`], a new connection with
    /// [`TlsUse::Never`] may be tried: [`is_in_handshake`](Self::is_in_handshake) tells before the call).
    pub fn handle_lost(&mut self) {
        self.fail(&LOST);
    }

    /// True between [`Step::StartTls`] and `handle_tls_established`.
    #[must_use]
    pub fn is_in_handshake(&self) -> bool {
        self.phase == Phase::Tls
    }

    /// A refusal before the envelope says something of this host, not of the recipients: another try, another host may do.
    fn refused(&mut self, reply: &Reply, now: Now, out: &mut Vec<u8>) {
        self.settle(reply, Outcome::Transient);
        self.done(now, out);
    }

    fn settle(&mut self, reply: &Reply, outcome: impl Fn(Reply) -> Outcome) {
        for open in self.outcomes.iter_mut().filter(|open| open.is_none()) {
            *open = Some(outcome(reply.clone()));
        }
    }

    fn command(&mut self, phase: Phase, wait_ms: u64, now: Now) {
        self.phase = phase;
        self.deadline_ms = now.monotonic_ms.saturating_add(wait_ms);
    }

    /// Every recipient has an outcome.
    fn done(&mut self, now: Now, out: &mut Vec<u8>) {
        //= RFC 5321 section 4.1.1.10
        //# The sender MUST NOT intentionally close the transmission channel until it sends a QUIT command
        put(out, &["QUIT"]);
        self.command(Phase::Quit, self.config.waits.quit_ms, now);
        self.steps.push(Step::Done);
    }

    /// Nothing more can be said on this connection.
    fn fail(&mut self, reply: &Reply) {
        self.settle(reply, Outcome::Transient);
        if !matches!(self.phase, Phase::Quit | Phase::Closed) {
            self.steps.push(Step::Done);
        }
        self.close();
    }

    fn close(&mut self) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.steps.push(Step::Close);
        }
    }
}

fn by_code(reply: Reply) -> Outcome {
    if reply.is_positive() { Outcome::Delivered(reply) } else { by_code_refused(reply) }
}

fn by_code_refused(reply: Reply) -> Outcome {
    if reply.is_permanent() { Outcome::Permanent(reply) } else { Outcome::Transient(reply) }
}

/// Only what the grammar allows goes into a command: an address with a CR in it would be two commands.
fn is_address(address: &str) -> bool {
    parse_mailbox(address, Characters::Utf8).is_ok()
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
