//! The network half of a send shard, on a glommio executor: takes errands from the keeper, finds the hosts, holds the conversations,
//! says what became of each recipient. Keeps nothing: what it knows dies with it, and is tried again.

use super::keeper::Event;
use crate::config::{SendLaunch, TlsPolicy};
use glommio::net::TcpStream;
use glommio::sync::Semaphore;
use postring_mail::dsn::{RecipientRequest, Returned};
use postring_mail::envelope::EnvelopeFlags;
use postring_mail::limits::TLS_HANDSHAKE_WAIT_MS;
use postring_mail::{Now, Reply};
use postring_queue::{Attempt, Outcome, RecipientOutcome, record};
use postring_ring::DoorbellButton;
use postring_sender::{Route, RouteConfig, RouteStep, Target};
use postring_smtp::client::{self, ClientConfig, ClientSession, Mail, Step, TlsUse, Waits};
use postring_smtp::header;
use postring_transport::dns::Resolver;
use postring_transport::{Doorbell, Stream};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time for a TCP connection; a host that is up answers in less.
const CONNECT_WAIT: Duration = Duration::from_secs(30);
/// KiB of messages in memory at once, a shard; the largest message fits.
const MESSAGES_KIB: u64 = 128 * 1024;
/// Bytes of replies read at once.
const RECEIVE_BYTES: usize = 4096;

const _: () = assert!(MESSAGES_KIB * 1024 > postring_mail::limits::MESSAGE_BYTES_CEILING);

/// From the keeper and the control thread.
pub(super) enum Order {
    Deliver(Box<Errand>),
    Reload(Arc<SendLaunch>, Arc<postring_dns::Hosted>),
    /// Other zones.
    Host(Arc<postring_dns::Hosted>),
    Drain,
}

/// An attempt, and where its message is.
pub(super) struct Errand {
    pub attempt: Attempt,
    pub path: PathBuf,
    pub size: u64,
}

/// What the tasks of the executor share.
pub(super) struct Courier {
    hostname: String,
    launch: RefCell<Arc<SendLaunch>>,
    resolver: Resolver,
    tls: Arc<rustls::ClientConfig>,
    memory: Semaphore,
    results: Sender<Event>,
    keeper: DoorbellButton,
    begun: Instant,
}

static UNREADABLE: Reply = Reply::fixed(451, 3, 0, "The queued message could not be read here");
static NOT_VERIFIED: Reply = Reply::fixed(550, 7, 30, "REQUIRETLS: this host does not verify the servers it sends to");
static NOT_REACHED: Reply = Reply::fixed(451, 4, 1, "No mail host was reached");

impl Courier {
    pub(super) fn new(
        hostname: String,
        launch: Arc<SendLaunch>,
        hosted: Arc<postring_dns::Hosted>,
        tls: Arc<rustls::ClientConfig>,
        results: Sender<Event>,
        keeper: DoorbellButton,
    ) -> Rc<Self> {
        Rc::new(Self {
            hostname,
            resolver: Resolver::new(&launch.dns, hosted),
            launch: RefCell::new(launch),
            tls,
            memory: Semaphore::new(MESSAGES_KIB),
            results,
            keeper,
            begun: Instant::now(),
        })
    }

    /// Works until it is drained; attempts under way then are the keeper's to wait for.
    pub(super) async fn run(self: Rc<Self>, mut doorbell: Doorbell, orders: Receiver<Order>) {
        loop {
            loop {
                match orders.try_recv() {
                    Ok(Order::Deliver(errand)) => {
                        glommio::spawn_local(Rc::clone(&self).deliver(errand)).detach();
                    }
                    Ok(Order::Reload(launch, hosted)) => {
                        self.resolver.reload(&launch.dns, hosted);
                        *self.launch.borrow_mut() = launch;
                    }
                    Ok(Order::Host(hosted)) => self.resolver.host(hosted),
                    Ok(Order::Drain) | Err(TryRecvError::Disconnected) => return,
                    Err(TryRecvError::Empty) => break,
                }
            }
            if doorbell.wait().await.is_err() {
                return;
            }
        }
    }

    fn now(&self) -> Now {
        let unix_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let number = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
        Now { monotonic_ms: number(self.begun.elapsed().as_millis()), unix_us: number(unix_us) }
    }

    async fn deliver(self: Rc<Self>, errand: Box<Errand>) {
        let kib = (errand.size / 1024 + 1).min(MESSAGES_KIB);
        // Held until the attempt has ended.
        let permit = self.memory.acquire_permit(kib).await;
        let id = errand.attempt.id;
        let to: BTreeMap<usize, String> = errand.attempt.recipients.iter().cloned().collect();
        let outcomes = self.attempt(*errand).await;
        drop(permit);
        for outcome in &outcomes {
            let to = to.get(&outcome.recipient).map_or("", String::as_str);
            let word = match outcome.outcome {
                Outcome::Delivered | Outcome::Relayed => "delivered",
                Outcome::Transient => "put off",
                Outcome::Permanent => "refused",
            };
            tracing::info!(target: "mail", %id, to, host = outcome.host, "{word}: {}", outcome.reply);
        }
        // A keeper that is gone has no use for it.
        let _ = self.results.send(Event::Ended { id, outcomes });
        self.keeper.ring();
    }

    async fn attempt(&self, errand: Errand) -> Vec<RecipientOutcome> {
        let requests = errand.attempt.requests.into_iter();
        let asked = errand.attempt.recipients.iter().map(|(index, _)| *index).zip(requests).collect();
        let mut open = Open { recipients: errand.attempt.recipients, asked, outcomes: BTreeMap::new() };
        let path = errand.path;
        let body = glommio::executor().spawn_blocking(move || std::fs::read(path)).await;
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(id = %errand.attempt.id, "a queued message could not be read: {error}");
                return open.end(&UNREADABLE);
            }
        };
        let Some((_, message)) = record::read_message(&body) else { return open.end(&UNREADABLE) };
        // RFC 8689 section 4.2.1: to verified servers only. Nobody is verified here, so nobody gets it. The edge takes no such message for elsewhere;
        // this is for the day it does.
        if errand.attempt.flags.has(EnvelopeFlags::REQUIRE_TLS) {
            return open.end(&NOT_VERIFIED);
        }
        let launch = Arc::clone(&self.launch.borrow());
        let config = RouteConfig { own_hostname: self.hostname.clone(), loopback: launch.send.loopback };
        let (mut route, port) = match launch.send.relay_parts() {
            Some((host, port)) => (Route::to_host(RouteConfig { loopback: true, ..config }, &host), port),
            None => (Route::new(config, &errand.attempt.domain, self.now().unix_us), launch.send.port),
        };
        loop {
            match route.poll_step() {
                RouteStep::Ask(name, rtype) => {
                    let resolved = self.resolver.lookup(&name, rtype).await;
                    route.handle_answer(&resolved);
                }
                RouteStep::Try(target) => {
                    let mail = Mail {
                        reverse_path: errand.attempt.reverse_path.clone(),
                        recipients: open.recipients.iter().map(|(_, address)| address.clone()).collect(),
                        size: message.len() as u64,
                        eight_bit: errand.attempt.flags.has(EnvelopeFlags::EIGHT_BIT),
                        returned: returned(errand.attempt.flags),
                        envelope_id: errand.attempt.envelope_id.clone(),
                        requests: open.requests(),
                        utf8_header: errand.attempt.flags.has(EnvelopeFlags::SMTPUTF8) && header::is_international(message),
                    };
                    match self.visit(&target, port, mail, message, launch.send.tls).await {
                        Ok(told) => route.handle_session(open.settle(&target.host, told).as_ref()),
                        Err(reply) => route.handle_unreachable(&reply),
                    }
                }
                RouteStep::Failed(reply) => return open.end(&reply),
                RouteStep::Ended => return open.end(&NOT_REACHED),
            }
        }
    }

    /// One visit to one address; a second without TLS if the handshake fails and nobody insists on it.
    async fn visit(&self, target: &Target, port: u16, mail: Mail, message: &[u8], tls: TlsPolicy) -> Result<Told, Reply> {
        let first = match tls {
            TlsPolicy::Opportunistic => TlsUse::WhenOffered,
            TlsPolicy::Required => TlsUse::Required,
            TlsPolicy::Never => TlsUse::Never,
        };
        match self.session(target, port, mail.clone(), message, first).await? {
            Some(told) => Ok(told),
            None if tls == TlsPolicy::Opportunistic => {
                let second = self.session(target, port, mail, message, TlsUse::Never).await?;
                second.ok_or_else(|| NOT_REACHED.clone())
            }
            None => Err(Reply::fixed(454, 7, 5, "The TLS handshake with the mail host failed, and TLS is required")),
        }
    }

    /// One connection. `None`: its TLS handshake failed.
    async fn session(&self, target: &Target, port: u16, mail: Mail, message: &[u8], tls: TlsUse) -> Result<Option<Told>, Reply> {
        let address = SocketAddr::new(target.address, port);
        let connected = TcpStream::connect_timeout(address, CONNECT_WAIT).await;
        let tcp = connected.map_err(|error| {
            let text = format!("{} [{address}] could not be reached: {error}", target.host);
            Reply::with_text(451, 4, 1, text.chars().filter(|c| !c.is_control()).collect())
        })?;
        let mut stream = Stream::connected(tcp);
        let config = ClientConfig { helo: self.hostname.clone(), tls, lmtp: false, waits: Waits::default() };
        let mut client = ClientSession::new(config, mail, self.now());
        let ended = self.converse(&mut client, &mut stream, &target.host, message).await;
        stream.close(false).await;
        if ended == Conversation::NoTls {
            return Ok(None);
        }
        let missing = || client::Outcome::Transient(NOT_REACHED.clone());
        let outcomes = client.outcomes().iter().map(|outcome| outcome.clone().unwrap_or_else(missing)).collect();
        Ok(Some(Told { outcomes, makes_reports: client.extensions().dsn }))
    }

    async fn converse(&self, client: &mut ClientSession, stream: &mut Stream, host: &str, message: &[u8]) -> Conversation {
        let (mut out, mut input) = (Vec::new(), [0; RECEIVE_BYTES]);
        loop {
            while let Some(step) = client.poll_step() {
                match step {
                    Step::StartTls => {
                        self.flush(client, stream, &mut out).await;
                        stream.set_deadline(Duration::from_millis(TLS_HANDSHAKE_WAIT_MS));
                        if let Err(error) = stream.connect_tls(&self.tls, host).await {
                            tracing::info!(target: "mail", host, "TLS handshake failed: {error}");
                            return Conversation::NoTls;
                        }
                        client.handle_tls_established(self.now(), &mut out);
                    }
                    Step::SendContent => loop {
                        let finished = client.next_content(message, self.now(), &mut out);
                        if !self.flush(client, stream, &mut out).await || finished {
                            break;
                        }
                    },
                    Step::Done => {}
                    Step::Close => {
                        self.flush(client, stream, &mut out).await;
                        return Conversation::Ended;
                    }
                }
            }
            if !self.flush(client, stream, &mut out).await {
                continue;
            }
            stream.set_deadline(Duration::from_millis(client.poll_timeout().saturating_sub(self.now().monotonic_ms)));
            let received = stream.receive(|read| -> Poll<std::io::Result<usize>> { read(&mut input) }).await;
            match received {
                Ok(0) => client.handle_lost(),
                Ok(length) => {
                    let taken = client.handle_bytes(input.get(..length).unwrap_or_default(), self.now(), &mut out);
                    debug_assert!(taken == length || client.is_in_handshake());
                }
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => client.handle_timeout(),
                Err(_) => client.handle_lost(),
            }
        }
    }

    /// Sends what waits. False: the connection is lost, and the client knows it.
    async fn flush(&self, client: &mut ClientSession, stream: &mut Stream, out: &mut Vec<u8>) -> bool {
        if out.is_empty() {
            return true;
        }
        stream.set_deadline(Duration::from_millis(client.poll_timeout().saturating_sub(self.now().monotonic_ms)));
        let sent = stream.send(out).await;
        out.clear();
        match sent {
            Ok(()) => true,
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                client.handle_timeout();
                false
            }
            Err(_) => {
                client.handle_lost();
                false
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Conversation {
    Ended,
    NoTls,
}

fn returned(flags: EnvelopeFlags) -> Option<Returned> {
    if flags.has(EnvelopeFlags::RETURN_FULL) {
        Some(Returned::Full)
    } else {
        flags.has(EnvelopeFlags::RETURN_HEADERS).then_some(Returned::Headers)
    }
}

/// What a host said.
struct Told {
    /// Of each recipient, in their order.
    outcomes: Vec<client::Outcome>,
    /// It offers DSN: what becomes of the message now is for it to tell.
    makes_reports: bool,
}

/// The recipients that another host may still take, and what is known of all.
struct Open {
    recipients: Vec<(usize, String)>,
    /// What the sender wants to hear of each.
    asked: BTreeMap<usize, RecipientRequest>,
    outcomes: BTreeMap<usize, RecipientOutcome>,
}

impl Open {
    /// What was asked for each of `recipients`, in their order.
    fn requests(&self) -> Vec<RecipientRequest> {
        self.recipients.iter().map(|(index, _)| self.asked.get(index).cloned().unwrap_or_default()).collect()
    }

    /// Takes the outcomes of a session, in the order of `recipients`; gives what the first that is still open was told.
    fn settle(&mut self, host: &str, told: Told) -> Option<Reply> {
        let mut put_off = None;
        let tried = std::mem::take(&mut self.recipients);
        for ((recipient, address), outcome) in tried.into_iter().zip(told.outcomes) {
            let wants_success = self.asked.get(&recipient).is_some_and(|request| request.notify.wants_success());
            let (kind, reply) = match outcome {
                // RFC 3461 section 5.2.2: nobody behind this host tells the sender more.
                client::Outcome::Delivered(reply) if wants_success && !told.makes_reports => (Outcome::Relayed, reply),
                client::Outcome::Delivered(reply) => (Outcome::Delivered, reply),
                client::Outcome::Permanent(reply) => (Outcome::Permanent, reply),
                client::Outcome::Transient(reply) => {
                    self.recipients.push((recipient, address));
                    put_off.get_or_insert_with(|| reply.clone());
                    (Outcome::Transient, reply)
                }
            };
            let host = if client::is_ours(&reply) || reply == NOT_REACHED { String::new() } else { host.to_owned() };
            let outcome = RecipientOutcome { recipient, outcome: kind, host, reply: reply.to_string() };
            self.outcomes.insert(recipient, outcome);
        }
        put_off
    }

    /// What is known of every recipient; those nobody has spoken of get `reply`.
    fn end(mut self, reply: &Reply) -> Vec<RecipientOutcome> {
        let outcome = if reply.is_permanent() { Outcome::Permanent } else { Outcome::Transient };
        for (recipient, _) in self.recipients {
            let unknown = RecipientOutcome { recipient, outcome, host: String::new(), reply: reply.to_string() };
            self.outcomes.entry(recipient).or_insert(unknown);
        }
        self.outcomes.into_values().collect()
    }
}
