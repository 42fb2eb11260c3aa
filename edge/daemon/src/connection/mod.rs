//! One client, from accept to close: moves bytes between its socket, the session and the slot.
//!
//! While it is idle a connection owns the session, the stream and this task's state, and no buffer: commands are received into the
//! shard's scratch, content into the slot. What an idle connection does not need is not part of its task: a handshake and the way of a
//! message have state of their own while they last (one allocation each, about 1 KiB).

mod body;
mod submit;

use crate::budget::Lookups;
use crate::content::ContentCheck;
use crate::dnsbl::Check;
use crate::helpers::HelperCheck;
use crate::history;
use crate::limits::{self, STRESS_COMMAND_WAIT_MS};
use crate::proxied;
use crate::questions;
use crate::reverse::ReverseName;
use crate::rules::{Asked, RuleCheck};
use crate::sender::SenderCheck;
use crate::shard::Shard;
use postring_control::Counter;
use postring_handoff::Receipt;
use postring_mail::limits::{REPLY_TAKEN_WAIT_MS, TLS_HANDSHAKE_WAIT_MS};
use postring_ring::Slot;
use postring_smtp::{
    Answer, Client, Protocol, Question, Receiving, RecipientAnswer, ServerConfig, Session, Step, TlsInfo, replies,
};
use postring_transport::{Registered, Stream};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Room for a message of unknown size to begin with: the smallest class.
const FIRST_BYTES: usize = 48 * 1024;
/// A slot with less room than this left is exchanged for a larger one before the next read.
const ROOM_MIN: usize = 2048;

/// No declared size asks for more: the largest class holds it.
const BODY_BYTES_MAX: usize = 39 * 1024 * 1024;
const _: () = assert!(BODY_BYTES_MAX as u64 == postring_mail::limits::MESSAGE_BYTES_CEILING);

struct Connection {
    // First: it must be gone before the stream is.
    _registered: Registered,
    shard: Rc<Shard>,
    session: Session<Receipt>,
    stream: Stream,
    /// The address this connection counts for.
    counted: IpAddr,
    reverse: ReverseName,
    check: Check,
    greeted: bool,
    errors_answered: u32,
    /// It spoke before the greeting.
    early_talk: bool,
    rules: RuleCheck,
    /// Of this transaction, once something was asked.
    lookups: Option<Rc<Lookups>>,
    sender: SenderCheck,
    helpers: HelperCheck,
    content: ContentCheck,
    /// Replies not sent yet.
    out: Vec<u8>,
    /// Bytes the client has sent ahead, from `ahead_at` on. Not moved for each command: many a small one may lie there.
    ahead: Vec<u8>,
    ahead_at: usize,
    slot: Option<Slot>,
    decoded: usize,
}

/// Serves a client until it or we have had enough; the address it is counted for at the end, which a proxy may have told.
pub(crate) async fn serve(shard: Rc<Shard>, mut stream: Stream, peer: Client, config: Arc<ServerConfig>) -> IpAddr {
    let Some(client) = proxied::client(&shard, &mut stream, peer).await else { return peer.address };
    let mut session = Session::new(config, client, shard.now());
    if shard.config().edge.xclient_networks.iter().any(|network| network.contains(&client.address)) {
        session.allow_xclient();
    }
    let registered = shard.hangups().register(&stream);
    let mut connection = Connection {
        _registered: registered,
        shard,
        session,
        stream,
        counted: peer.address,
        reverse: ReverseName::default(),
        check: Check::default(),
        greeted: false,
        errors_answered: 0,
        early_talk: false,
        rules: RuleCheck::default(),
        lookups: None,
        sender: SenderCheck::default(),
        helpers: HelperCheck::default(),
        content: ContentCheck::default(),
        out: Vec::new(),
        ahead: Vec::new(),
        ahead_at: 0,
        slot: None,
        decoded: 0,
    };
    if connection.session.config().protocol == Protocol::Submissions && Box::pin(connection.start_tls()).await.is_err() {
        return connection.counted;
    }
    match connection.run().await {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            connection.session.handle_timeout(&mut connection.out);
            // The client may be gone for long.
            let _ = connection.flush().await;
        }
        // A connection that breaks is the client's business; nothing that was acknowledged hangs on it.
        Err(error) => tracing::debug!(client = %client.address, "connection ended: {error}"),
    }
    if let Some(slot) = connection.slot.take() {
        connection.shard.release(slot);
    }
    let all_read = connection.session.has_quit() && connection.ahead.is_empty();
    connection.stream.close(all_read).await;
    connection.counted
}

impl Connection {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            while let Some(step) = self.session.poll_step() {
                if self.take_step(step).await? {
                    return self.flush().await;
                }
            }
            if self.slot.is_some() {
                self.make_room();
            }
            if self.session.receiving() == Receiving::Nothing {
                // Nothing to do and nothing to wait for: an answer was lost, which must not hold the connection for ever.
                return Err(io::Error::other("the session waits for nothing"));
            }
            if !self.ahead.is_empty() {
                self.take_ahead();
                continue;
            }
            self.flush().await?;
            let mut deadline = self.session.poll_timeout().saturating_sub(self.shard.now().monotonic_ms);
            if self.session.receiving() == Receiving::Commands && limits::is_stressed(&self.shard) {
                deadline = deadline.min(STRESS_COMMAND_WAIT_MS);
            }
            self.stream.set_deadline(Duration::from_millis(deadline));
            let received = match self.session.receiving() {
                Receiving::Body => self.receive_body().await?,
                Receiving::Commands | Receiving::Discard | Receiving::Nothing => self.receive_scratch().await?,
            };
            if !received {
                if self.shard.is_draining() {
                    self.session.handle_shutdown(&mut self.out);
                    if self.out.is_empty() {
                        // In a transaction; what it had of it is not kept.
                        replies::SHUTDOWN.write_to(&mut self.out);
                    }
                    return self.flush().await;
                }
                return Ok(());
            }
        }
    }

    /// True: the end.
    async fn take_step(&mut self, step: Step) -> io::Result<bool> {
        match step {
            Step::Ask(question) => {
                let answer = match question {
                    Question::Authenticate { name, password } => {
                        Box::pin(questions::authenticate(&self.shard, name, password)).await
                    }
                    Question::Connect => {
                        self.meet();
                        let answer = questions::answer(&self.shard, &self.session, &question);
                        // No list is asked of those who are sent away, nor of our users or the server that delivers to us.
                        if answer == Answer::Welcome && self.session.config().protocol == Protocol::Smtp {
                            self.check = Check::begin(&self.shard, self.session.client().address);
                            if !self.wait_before_greeting().await? {
                                return Ok(true);
                            }
                        }
                        answer
                    }
                    Question::Recipient { address } => {
                        let reverse_path = &self.session.transaction().reverse_path;
                        if !self.rules.are_about(self.session.helo(), reverse_path) {
                            // Another transaction.
                            self.lookups = None;
                        }
                        let (stream, lookups) = (&self.stream, lookups(&mut self.lookups, &self.shard));
                        let client = Asked {
                            address: self.session.client().address,
                            helo: self.session.helo(),
                            reverse_path,
                            reverse: &self.reverse,
                            early_talk: self.early_talk,
                            own_address: &|| stream.local_address(),
                            lookups: &lookups,
                        };
                        self.helpers.begin(&self.shard, &self.session, || stream.local_socket());
                        let checks = (&self.check, &mut self.rules, client, &mut self.helpers);
                        let answer = Box::pin(questions::recipient(&self.shard, &self.session, checks, &address)).await;
                        // For a recipient that is refused nobody is asked.
                        if matches!(answer, Answer::Recipient(RecipientAnswer::Accept(_))) {
                            self.sender.begin(&self.shard, &lookups, &self.session);
                        }
                        answer
                    }
                    question => questions::answer(&self.shard, &self.session, &question),
                };
                self.session.handle_answer(answer, self.shard.now(), &mut self.out);
            }
            Step::OpenBody { size_declared } => self.open_body(size_declared),
            Step::ContinueBody { bytes } => self.continue_body(bytes),
            Step::StartTls => {
                self.flush().await?;
                Box::pin(self.start_tls()).await?;
            }
            Step::Submit => Box::pin(self.submit()).await,
            Step::Close => return Ok(true),
        }
        Ok(false)
    }

    /// Lets a client that does not wait for the greeting show it. False: it has closed.
    async fn wait_before_greeting(&mut self) -> io::Result<bool> {
        let config = self.shard.config();
        let client = self.session.client().address;
        // A proxy that names another client has had its greeting.
        let is_greeted = std::mem::replace(&mut self.greeted, true);
        if is_greeted
            || config.policy.greeting_wait_ms == 0
            || limits::is_stressed(&self.shard)
            || config.policy.is_trusted(client)
            || history::is_good_client(&self.shard, client)
        {
            return Ok(true);
        }
        self.stream.set_deadline(Duration::from_millis(config.policy.greeting_wait_ms));
        let shard = Rc::clone(&self.shard);
        match self.stream.receive(|read| read(&mut shard.scratch())).await {
            Ok(received) => {
                self.early_talk = received > 0;
                self.ahead.extend_from_slice(shard.scratch().get(..received).unwrap_or_default());
                Ok(received > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// A client, or another one a proxy speaks for now: what is known of the one before is not of this one.
    fn meet(&mut self) {
        let address = self.session.client().address;
        self.shard.clients().recount(self.counted, address);
        self.counted = address;
        self.check = Check::default();
        self.rules = RuleCheck::default();
        self.sender = SenderCheck::default();
        self.reverse = if self.session.config().protocol == Protocol::Smtp {
            ReverseName::look_up(&self.shard, address)
        } else {
            ReverseName::default()
        };
    }

    async fn start_tls(&mut self) -> io::Result<()> {
        let Some(tls) = self.shard.tls(self.session.config().protocol) else { return Err(io::Error::other("no certificate")) };
        self.stream.set_deadline(Duration::from_millis(TLS_HANDSHAKE_WAIT_MS));
        if let Err(error) = self.stream.accept_tls(&tls).await {
            self.shard.stats().add(Counter::TlsFailures, 1);
            return Err(error);
        }
        self.shard.stats().add(Counter::TlsHandshakes, 1);
        self.shard.stats().add(Counter::TlsResumed, u64::from(self.stream.is_resumed()));
        self.shard.stats().add(Counter::TlsClientCertificates, u64::from(self.stream.peer_certificate().is_some()));
        let (version, cipher) = self.stream.tls_description();
        self.session.handle_tls_established(TlsInfo { version, cipher }, self.shard.now());
        Ok(())
    }

    /// Holds back the reply to a client that makes one error after the other.
    async fn tarpit(&mut self) {
        let errors = self.session.errors();
        if errors == self.errors_answered {
            return;
        }
        self.errors_answered = errors;
        let config = self.shard.config();
        let limits = &config.policy.limits;
        let is_trusted = config.policy.is_trusted(self.session.client().address);
        if errors > limits.tarpit_errors && limits.tarpit_ms > 0 && !is_trusted && !limits::is_stressed(&self.shard) {
            self.shard.stats().add(Counter::RepliesHeldBack, 1);
            glommio::timer::sleep(Duration::from_millis(limits.tarpit_ms)).await;
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let out = std::mem::take(&mut self.out);
        if out.is_empty() {
            return Ok(());
        }
        self.tarpit().await;
        self.stream.set_deadline(Duration::from_millis(REPLY_TAKEN_WAIT_MS));
        self.stream.send(&out).await
    }
}

/// What the transaction may still ask.
fn lookups(kept: &mut Option<Rc<Lookups>>, shard: &Rc<Shard>) -> Rc<Lookups> {
    Rc::clone(kept.get_or_insert_with(|| Rc::new(Lookups::new(shard))))
}
