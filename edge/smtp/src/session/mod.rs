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
//! The receipt type `R` is the daemon's: the `250` after the last dot takes one, and only the journal makes them.

mod auth;
mod fuzz;
mod table;
mod words;

#[doc(hidden)]
pub use fuzz::fuzz_session;
pub use words::{
    Account, Answer, Client, Protocol, Question, Receiving, RecipientAnswer, ServerConfig, Step, Target, TlsInfo, Transaction,
    TransactionRecipient,
};

use crate::body::{BodyDecoder, BodyProgress, Flaw};
use crate::command::{self, ParameterError, Verb};
use crate::replies;
use auth::{Exchange, Progress};
use memchr::memmem;
use postring_mail::{Now, Reply, limits};
use smallvec::SmallVec;
use std::marker::PhantomData;
use std::sync::Arc;
use table::{Allowed, Phase, allowed};

/// What the session waits for from the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Awaited {
    /// Nothing: it reads commands.
    Nothing,
    Connect,
    Sender {
        address: String,
        size_declared: Option<u64>,
        eight_bit: bool,
    },
    Recipient {
        address: String,
    },
    Credentials,
    Slot,
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
    /// The content, kept.
    Body,
    /// The content of a message that gets this reply when it has ended.
    Discard(Reply),
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
    helo: String,
    extended: bool,
    tls: Option<TlsInfo>,
    account: Option<Account>,
    transaction: Transaction,
    decoder: BodyDecoder,
    errors: u32,
    idle_commands: u32,
    transactions: u32,
    login_failures: u32,
    deadline_ms: u64,
    body_deadline_ms: u64,
    draining: bool,
    quit: bool,
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
            helo: String::new(),
            extended: false,
            tls: None,
            account: None,
            transaction: Transaction::default(),
            decoder: BodyDecoder::default(),
            errors: 0,
            idle_commands: 0,
            transactions: 0,
            login_failures: 0,
            deadline_ms,
            body_deadline_ms: 0,
            draining: false,
            quit: false,
            receipt: PhantomData,
        }
    }

    /// What it would take now.
    #[must_use]
    pub fn receiving(&self) -> Receiving {
        match (&self.awaited, &self.reading) {
            (Awaited::Nothing, Reading::Commands | Reading::Sasl(_)) => Receiving::Commands,
            (Awaited::Nothing, Reading::Body) => Receiving::Body,
            (Awaited::Nothing, Reading::Discard(_)) => Receiving::Discard,
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
            Reading::Body | Reading::Discard(_) => self.deadline_ms.min(self.body_deadline_ms),
            _ => self.deadline_ms,
        }
    }

    /// The transaction, complete at [`Step::Submit`].
    #[must_use]
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
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

    /// Takes bytes while [`receiving`](Self::receiving) is `Commands`; says how many it took. It stops where it has to wait for an
    /// answer, or where content begins: the rest is given again later.
    pub fn handle_bytes(&mut self, input: &[u8], now: Now, out: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        while self.receiving() == Receiving::Commands {
            let rest = input.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            taken += self.take_line(rest, now, out);
        }
        taken
    }

    /// Takes one line, or the beginning of one.
    fn take_line(&mut self, input: &[u8], now: Now, out: &mut Vec<u8>) -> usize {
        // CR and LF may come in two packets.
        let split_end = self.partial.last() == Some(&b'\r') && input.first() == Some(&b'\n');
        let end = if split_end { Some(1) } else { memmem::find(input, b"\r\n").map(|at| at + 2) };
        let maximum = match self.reading {
            Reading::Sasl(_) => limits::AUTH_LINE_BYTES_MAX,
            // A first AUTH line may carry the whole response.
            _ if self.may_authenticate() && begins_with_auth(&self.partial, input) => limits::AUTH_LINE_BYTES_MAX,
            _ => limits::COMMAND_LINE_BYTES_MAX,
        };
        let Some(end) = end else {
            if self.skipping || self.partial.len() + input.len() > maximum {
                self.skipping = true;
                // Only the last byte matters: it may be the CR of the end.
                self.partial.clear();
                self.partial.extend(input.last().filter(|byte| **byte == b'\r'));
            } else {
                self.partial.extend_from_slice(input);
            }
            return input.len();
        };
        self.deadline_ms = now.monotonic_ms.saturating_add(self.config.command_wait_ms);
        let rest_behind = input.len() > end;
        if self.skipping || self.partial.len() + end > maximum {
            self.skipping = false;
            self.partial = Vec::new();
            self.reading = Reading::Commands;
            self.error(&replies::LINE_TOO_LONG, out);
            return end;
        }
        if self.partial.is_empty() {
            let line = input.get(..end.saturating_sub(2)).unwrap_or_default();
            self.handle_line(line, rest_behind, now, out);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(input.get(..end).unwrap_or_default());
            whole.truncate(whole.len().saturating_sub(2));
            self.handle_line(&whole, rest_behind, now, out);
        }
        end
    }

    fn handle_line(&mut self, line: &[u8], rest_behind: bool, now: Now, out: &mut Vec<u8>) {
        // A TLS handshake on a plain port, told by its first bytes, would otherwise be a syntax error.
        let text =
            std::str::from_utf8(line).ok().filter(|text| !text.bytes().any(|byte| byte == b'\r' || byte == b'\n' || byte == 0));
        let Some(text) = text else {
            self.reading = Reading::Commands;
            return self.error(&replies::BAD_LINE, out);
        };
        if let Reading::Sasl(exchange) = std::mem::replace(&mut self.reading, Reading::Commands) {
            if text == "*" {
                return self.error(&replies::AUTH_CANCELLED, out);
            }
            let progress = auth::proceed(exchange, text);
            return self.proceed_auth(progress, out);
        }
        let (verb, argument) = command::split(text);
        match allowed(self.phase, verb) {
            Allowed::No(reply) => {
                self.error(reply, out);
                if verb == Verb::Foreign {
                    self.close();
                }
                return;
            }
            Allowed::Resets if verb != Verb::Rset && argument.is_empty() => return self.error(&replies::BAD_HELO, out),
            Allowed::Resets => {
                self.idle_commands += 1;
                self.reset();
            }
            Allowed::Idle => self.idle_commands += 1,
            Allowed::Yes => {}
        }
        if self.idle_commands > self.config.idle_commands_max {
            replies::TOO_MANY_ERRORS.write_to(out);
            return self.close();
        }
        match verb {
            Verb::Helo | Verb::Ehlo | Verb::Lhlo => self.greet(verb, argument, out),
            Verb::Mail => self.mail(argument, out),
            Verb::Rcpt => self.rcpt(argument, out),
            Verb::Data if !argument.is_empty() => self.error(&replies::NO_ARGUMENT, out),
            Verb::Data => {
                self.awaited = Awaited::Slot;
                self.body_deadline_ms = now.monotonic_ms.saturating_add(self.config.data_total_wait_ms);
                self.steps.push(Step::OpenBody { size_declared: self.transaction.size_declared });
            }
            Verb::Rset if !argument.is_empty() => self.error(&replies::NO_ARGUMENT, out),
            Verb::Rset => replies::RESET.write_to(out),
            Verb::Noop => replies::OK.write_to(out),
            Verb::Vrfy => replies::VERIFY.write_to(out),
            Verb::Help => replies::HELP.write_to(out),
            Verb::Quit => {
                self.quit = true;
                replies::BYE.write_to(out);
                self.close();
            }
            Verb::StartTls => self.start_tls(argument, rest_behind, out),
            Verb::Auth => self.auth(argument, out),
            // The table has refused these.
            Verb::Expn | Verb::Obsolete | Verb::Foreign | Verb::Unknown => self.error(&replies::UNKNOWN_COMMAND, out),
        }
    }

    fn greet(&mut self, verb: Verb, argument: &str, out: &mut Vec<u8>) {
        let lmtp = self.config.protocol == Protocol::Lmtp;
        if lmtp != (verb == Verb::Lhlo) {
            return self.error(if lmtp { &replies::NEED_LHLO } else { &replies::UNKNOWN_COMMAND }, out);
        }
        // The name is only written down, so nearly anything is taken, as everybody takes it; but it is one word of ASCII.
        let name = argument.split(' ').next().unwrap_or_default();
        if name.len() > limits::DOMAIN_BYTES_MAX || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return self.error(&replies::BAD_HELO, out);
        }
        name.clone_into(&mut self.helo);
        self.phase = Phase::Greeted;
        self.extended = verb != Verb::Helo;
        if verb == Verb::Helo {
            out.extend_from_slice(b"250 ");
            out.extend_from_slice(self.config.hostname.as_bytes());
            return out.extend_from_slice(b"\r\n");
        }
        for line in [self.config.hostname.as_str(), "PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"] {
            out.extend_from_slice(b"250-");
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if self.may_start_tls() {
            out.extend_from_slice(b"250-STARTTLS\r\n");
        }
        if self.may_authenticate() {
            out.extend_from_slice(b"250-AUTH PLAIN LOGIN\r\n");
        }
        //= RFC 1870 section 3
        //# a decimal number indicating the fixed maximum message size in bytes that the server will accept
        out.extend_from_slice(b"250 SIZE ");
        out.extend_from_slice(self.config.message_bytes_max.to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn may_start_tls(&self) -> bool {
        self.config.tls_available && self.tls.is_none() && self.config.protocol != Protocol::Submissions
    }

    //= RFC 4954 section 4
    //# a server [...] MUST NOT advertise or support [PLAIN] unless a strong encryption layer is active
    fn may_authenticate(&self) -> bool {
        self.config.protocol.is_submission() && self.tls.is_some() && self.account.is_none()
    }

    fn mail(&mut self, argument: &str, out: &mut Vec<u8>) {
        if self.config.protocol.is_submission() && self.account.is_none() {
            let reply = if self.tls.is_none() { &replies::NEED_TLS } else { &replies::NEED_AUTH };
            return self.error(reply, out);
        }
        if self.draining {
            replies::SHUTDOWN.write_to(out);
            return self.close();
        }
        if self.transactions >= limits::TRANSACTIONS_MAX {
            replies::TOO_MANY_TRANSACTIONS.write_to(out);
            return self.close();
        }
        let (mailbox, rest) = match command::path_argument(argument, "FROM:") {
            None => return self.error(&replies::BAD_MAIL, out),
            Some(Err(error)) => return self.error(&Reply::fixed(553, 1, 7, error.text()), out),
            Some(Ok(path)) => path,
        };
        let parameters = match command::mail_parameters(rest) {
            Ok(parameters) => parameters,
            Err(ParameterError::Syntax) => return self.error(&replies::BAD_PARAMETER, out),
            Err(ParameterError::Unknown) => return self.error(&replies::UNKNOWN_PARAMETER, out),
        };
        //= RFC 1870 section 6.1
        //# If the server determines [...] the message size exceeds [...] 552
        if parameters.size.is_some_and(|size| size > self.config.message_bytes_max) {
            return self.error(&replies::TOO_LARGE, out);
        }
        let address = match mailbox {
            None => String::new(),
            Some(mailbox) if mailbox.domain.is_empty() => {
                return self.error(&Reply::fixed(553, 1, 7, "A sender has a domain"), out);
            }
            Some(mailbox) => joined(mailbox.local_part, mailbox.domain),
        };
        if self.account.is_some() && !address.is_empty() {
            self.steps.push(Step::Ask(Question::Sender { address: address.clone() }));
            self.awaited = Awaited::Sender { address, size_declared: parameters.size, eight_bit: parameters.eight_bit };
            return;
        }
        self.begin_transaction(address, parameters.size, parameters.eight_bit, out);
    }

    fn begin_transaction(&mut self, reverse_path: String, size_declared: Option<u64>, eight_bit: bool, out: &mut Vec<u8>) {
        self.transaction.reverse_path = reverse_path;
        self.transaction.size_declared = size_declared;
        self.transaction.eight_bit = eight_bit;
        self.transactions += 1;
        self.phase = Phase::Sender;
        replies::SENDER_OK.write_to(out);
    }

    fn rcpt(&mut self, argument: &str, out: &mut Vec<u8>) {
        let (mailbox, rest) = match command::path_argument(argument, "TO:") {
            None => return self.error(&replies::BAD_RCPT, out),
            Some(Err(error)) => return self.error(&Reply::fixed(553, 1, 3, error.text()), out),
            Some(Ok((None, _))) => return self.error(&replies::BAD_RCPT, out),
            Some(Ok((Some(mailbox), rest))) => (mailbox, rest),
        };
        if !rest.trim_matches(' ').is_empty() {
            return self.error(&replies::UNKNOWN_PARAMETER, out);
        }
        //= RFC 5321 section 4.5.3.1.10
        //# If an SMTP server has an implementation limit on the number of RCPT commands and this limit is exhausted, it MUST use a
        //# response code of 452
        if self.transaction.recipients.len() >= self.config.recipients_max {
            return replies::TOO_MANY_RECIPIENTS.write_to(out);
        }
        let address = joined(mailbox.local_part, mailbox.domain);
        self.steps.push(Step::Ask(Question::Recipient { address: address.clone() }));
        self.awaited = Awaited::Recipient { address };
    }

    fn start_tls(&mut self, argument: &str, rest_behind: bool, out: &mut Vec<u8>) {
        if !argument.is_empty() {
            return self.error(&replies::NO_ARGUMENT, out);
        }
        if self.tls.is_some() {
            return self.error(&replies::ALREADY_DONE, out);
        }
        if !self.may_start_tls() {
            return self.error(&replies::TLS_UNAVAILABLE, out);
        }
        // What an attacker put behind STARTTLS in plain text must not be read as said within TLS (CVE-2011-0411).
        if rest_behind {
            self.error(&replies::PIPELINED_TLS, out);
            return self.close();
        }
        replies::TLS_READY.write_to(out);
        self.awaited = Awaited::Tls;
        self.steps.push(Step::StartTls);
    }

    fn auth(&mut self, argument: &str, out: &mut Vec<u8>) {
        if !self.config.protocol.is_submission() {
            return self.error(&replies::NOT_IMPLEMENTED, out);
        }
        if self.account.is_some() {
            return self.error(&replies::ALREADY_DONE, out);
        }
        if self.tls.is_none() {
            return self.error(&replies::NEED_TLS, out);
        }
        let (mechanism, initial) =
            argument.split_once(' ').map_or((argument, None), |(mechanism, initial)| (mechanism, Some(initial)));
        match auth::begin(mechanism, initial) {
            None => self.error(&replies::BAD_MECHANISM, out),
            Some(progress) => self.proceed_auth(progress, out),
        }
    }

    fn proceed_auth(&mut self, progress: Progress, out: &mut Vec<u8>) {
        match progress {
            Progress::Challenge(exchange, challenge) => {
                out.extend_from_slice(b"334 ");
                out.extend_from_slice(challenge.as_bytes());
                out.extend_from_slice(b"\r\n");
                self.reading = Reading::Sasl(exchange);
            }
            Progress::Credentials { name, password } => {
                self.awaited = Awaited::Credentials;
                self.steps.push(Step::Ask(Question::Authenticate { name, password }));
            }
            Progress::Broken => self.error(&replies::BAD_AUTH, out),
        }
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
            (Awaited::Sender { address, size_declared, eight_bit }, Answer::Sender(true)) => {
                self.begin_transaction(address, size_declared, eight_bit, out);
            }
            (Awaited::Sender { .. }, Answer::Sender(false)) => self.error(&replies::NOT_YOUR_ADDRESS, out),
            (Awaited::Recipient { address }, Answer::Recipient(answer)) => self.recipient_answered(address, answer, out),
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
            (Awaited::Sender { .. } | Awaited::Recipient { .. }, _) => replies::LOOKUP_FAILED.write_to(out),
            // No question was open; what was awaited still is.
            (awaited, _) => self.awaited = awaited,
        }
    }

    fn recipient_answered(&mut self, address: String, answer: RecipientAnswer, out: &mut Vec<u8>) {
        match answer {
            RecipientAnswer::Accept(targets) => {
                self.transaction.recipients.push(TransactionRecipient { address, targets });
                self.phase = Phase::Recipients;
                replies::RECIPIENT_OK.write_to(out);
            }
            RecipientAnswer::Unknown => self.error(&replies::NO_MAILBOX, out),
            RecipientAnswer::NotHosted => self.error(&replies::NO_RELAY, out),
            RecipientAnswer::Disabled => self.error(&replies::DISABLED, out),
            RecipientAnswer::Refused(reply) => self.error(&reply, out),
        }
    }

    /// The slot is there: the content may come.
    pub fn body_opened(&mut self, now: Now, out: &mut Vec<u8>) {
        if self.awaited == Awaited::Slot {
            self.awaited = Awaited::Nothing;
            self.reading = Reading::Body;
            self.decoder = BodyDecoder::default();
            self.deadline_ms = now.monotonic_ms.saturating_add(self.config.data_block_wait_ms);
            replies::SEND_DATA.write_to(out);
        }
    }

    /// No content now: DATA gets this reply instead of 354.
    pub fn body_refused(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        if self.awaited == Awaited::Slot {
            self.awaited = Awaited::Nothing;
            self.reset();
            reply.write_to(out);
        }
    }

    /// The content has outgrown what the daemon can hold: the rest is read and thrown away, then this is the reply.
    pub fn body_overflowed(&mut self, reply: Reply) {
        if self.reading == Reading::Body {
            self.reading = Reading::Discard(reply);
        }
    }

    /// Takes content while [`receiving`](Self::receiving) is `Body` or `Discard`: `fresh` bytes received behind the `decoded` bytes
    /// before them; see [`BodyDecoder::decode`]. While discarding, give every chunk with `decoded` 0.
    pub fn handle_body(&mut self, buffer: &mut [u8], decoded: usize, fresh: usize, now: Now, out: &mut Vec<u8>) -> BodyProgress {
        self.deadline_ms = now.monotonic_ms.saturating_add(self.config.data_block_wait_ms);
        let progress = self.decoder.decode(buffer, decoded, fresh);
        let (BodyProgress::More { decoded } | BodyProgress::End { decoded, .. }) = progress;
        if self.reading == Reading::Body && decoded as u64 > self.config.message_bytes_max {
            self.reading = Reading::Discard(replies::TOO_LARGE.clone());
        }
        if let BodyProgress::End { .. } = progress {
            let reading = std::mem::replace(&mut self.reading, Reading::Commands);
            match (reading, self.decoder.flaw()) {
                (Reading::Discard(reply), _) => self.finish(&reply, out),
                (_, Some(Flaw::BareLineEnd)) => self.finish(&replies::BARE_LINE_END, out),
                (_, Some(Flaw::Nul)) => self.finish(&replies::NUL_OCTET, out),
                (_, None) => {
                    self.awaited = Awaited::Receipt;
                    self.steps.push(Step::Submit);
                }
            }
        }
        progress
    }

    /// The message is safe: the one place that says so to the client.
    //= RFC 5321 section 6.1
    //# When the receiver-SMTP accepts a piece of mail [...], it is accepting responsibility for delivering or relaying the message
    pub fn handle_receipt(&mut self, _receipt: R, id: impl std::fmt::Display, now: Now, out: &mut Vec<u8>) {
        if self.awaited == Awaited::Receipt {
            self.awaited = Awaited::Nothing;
            self.deadline_ms = now.monotonic_ms.saturating_add(self.config.command_wait_ms);
            // A client that says RSET or EHLO before each of many messages does work.
            self.idle_commands = 0;
            self.finish(&Reply::with_text(250, 0, 0, format!("Ok: on disk as {id}")), out);
        }
    }

    /// The message was not taken; nothing of it is kept.
    pub fn handle_refusal(&mut self, reply: &Reply, now: Now, out: &mut Vec<u8>) {
        if self.awaited == Awaited::Receipt {
            self.awaited = Awaited::Nothing;
            self.deadline_ms = now.monotonic_ms.saturating_add(self.config.command_wait_ms);
            self.finish(reply, out);
        }
    }

    /// The reply to the last dot; in LMTP one for each recipient.
    //= RFC 2033 section 4.2
    //# after the final ".", the server returns one reply for each previously successful RCPT command
    fn finish(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        let replies = if self.config.protocol == Protocol::Lmtp { self.transaction.recipients.len() } else { 1 };
        for _ in 0..replies {
            reply.write_to(out);
        }
        self.reset();
        if self.draining {
            replies::SHUTDOWN.write_to(out);
            self.close();
        }
    }

    /// TLS is established.
    //= RFC 3207 section 4.2
    //# Upon completion of the TLS handshake, the SMTP protocol is reset to the initial state
    pub fn handle_tls_established(&mut self, tls: TlsInfo, now: Now) {
        self.deadline_ms = now.monotonic_ms.saturating_add(self.config.command_wait_ms);
        self.tls = Some(tls);
        if self.awaited == Awaited::Tls {
            self.awaited = Awaited::Nothing;
            self.phase = Phase::Connected;
            self.helo.clear();
            self.reset();
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
        if self.receiving() == Receiving::Commands && matches!(self.phase, Phase::Connected | Phase::Greeted) {
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

/// True if the line that lies in these two pieces is an AUTH command.
fn begins_with_auth(partial: &[u8], input: &[u8]) -> bool {
    let mut line = partial.iter().chain(input).map(u8::to_ascii_uppercase);
    b"AUTH ".iter().all(|byte| line.next() == Some(*byte))
}

fn joined(local_part: &str, domain: &str) -> String {
    if domain.is_empty() {
        return local_part.to_owned();
    }
    let mut address = String::with_capacity(local_part.len() + 1 + domain.len());
    address.push_str(local_part);
    address.push('@');
    address.push_str(domain);
    address
}
