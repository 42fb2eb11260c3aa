//! One shard: what the tasks of one thread share, and the tasks that are not a client's.

use crate::cache;
use crate::config::EdgeLaunch;
use crate::connection;
use crate::dnsbl::{self, Health, Lists};
use crate::explain::{self, Hypothetical};
use crate::helpers::Helpers;
use crate::limits::{self, Clients, STRESS_COMMAND_WAIT_MS, STRESS_ERRORS_MAX};
use crate::memory::Memory;
use crate::questions;
use crate::reports::{Message, Outgoing, OutgoingAnswer, Rows, send};
use crate::snapshots::Found;
use crate::zones::ZoneService;
use postring_auth::dmarc::PublicSuffixes;
use postring_control::{ChildSender, Counter, Endpoint, FromChild, Gauge, ProducerEnd, Role, StatsPage};
use postring_directory::Snapshot;
use postring_dns::Name;
use postring_dns::cookie::CookieSecrets;
use postring_dns::resolver::NegativeStore;
use postring_handoff::{JobId, Jobs, Trouble};
use postring_mail::envelope::MessageId;
use postring_mail::{Now, slot};
use postring_ring::{Arena, Slot};
use postring_smtp::{Client, Protocol, ServerConfig};
use postring_transport::dns::{Beyond, DnsServer, Resolver};
use postring_transport::tls::Servers;
use postring_transport::{Doorbell, Hangups, Listener, NEWCOMERS_MAX, Newcomer};
use postring_zones::{Handle, Served};
use std::cell::{Cell, Ref, RefCell, RefMut};
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes of one read of commands.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Time for messages under way when the shard drains.
const DRAIN_WAIT: Duration = Duration::from_secs(20);
/// Time for the last words to those who are idle.
const GOODBYE_WAIT: Duration = Duration::from_secs(2);
/// Behind a client that was refused at once, those who come are taken together after this time. Waking up for each would cost more than refusing it
/// (`postring-bench refuse`); one who is welcome waits this long, too.
const REFUSED_GATHER: Duration = Duration::from_micros(250);
/// Rows of DMARC's reports a crash may lose.
const ROWS_INTERVAL_SECONDS: u64 = 10;
/// Messages kept in quarantine; more are only logged.
const QUARANTINE_MAX: usize = 1000;

/// From the control thread.
pub(crate) enum Event {
    Attach(Box<ProducerEnd>),
    Directory(Snapshot),
    Reload(Box<Settings>),
    /// Certificates, for the handshakes that begin from now on.
    Tls(Servers),
    /// Other secrets of DNS cookies.
    Cookies(Box<CookieSecrets>),
    /// Other zones and lists; who waits until they are served.
    Served(Arc<Served>, Option<Sender<()>>),
    /// What the resolvers of the last run have left.
    Snapshots(Found),
    /// A command about what the shard's resolver has kept.
    Cache {
        words: Vec<String>,
        answer: SyncSender<OperatorAnswer>,
    },
    /// `postring smtp explain`.
    Explain {
        client: Box<Hypothetical>,
        answer: SyncSender<OperatorAnswer>,
    },
    /// Rows of DMARC's reports are wanted; who waits until they are given away.
    Rows(Sender<()>),
    /// A report of DMARC is to be sent.
    Report {
        report: Box<Outgoing>,
        answer: SyncSender<OutgoingAnswer>,
    },
    Drain,
}

/// What a reload brings anew.
#[derive(Clone)]
pub(crate) struct Settings {
    pub launch: Arc<EdgeLaunch>,
    /// Of the block lists asked by DNS; nothing is known in a new one.
    pub health: Arc<Health>,
    pub suffixes: Suffixes,
}

/// The list of public suffixes: a file's (one for all shards), or that in the program.
pub(crate) type Suffixes = Option<Arc<PublicSuffixes>>;

/// What an operator's command gets.
pub(crate) type OperatorAnswer = Result<serde_json::Value, String>;

/// What the tasks of a shard share. Borrows never last over an await.
pub(crate) struct Shard {
    number: u32,
    /// In this process.
    shards: u32,
    hostname: String,
    store_shards: u32,
    data: PathBuf,
    launch: RefCell<Arc<EdgeLaunch>>,
    suffixes: RefCell<Suffixes>,
    tls: RefCell<Option<Servers>>,
    directory: RefCell<Option<Snapshot>>,
    resolver: Resolver,
    dns: Rc<DnsServer>,
    zones: Rc<ZoneService>,
    /// The block lists asked by DNS.
    lists: RefCell<Rc<Lists>>,
    /// The policy servers and milters.
    helpers: RefCell<Rc<Helpers>>,
    /// The block lists that refuse clients.
    refusing: RefCell<Vec<Name>>,
    memory: Arc<Memory>,
    rows: Rows,
    arena: RefCell<Arena>,
    jobs: RefCell<Jobs>,
    scratch: RefCell<Vec<u8>>,
    stats: StatsPage,
    control: ChildSender,
    clients: Clients,
    last_id: Cell<MessageId>,
    draining: Cell<bool>,
    hangups: Hangups,
    begun: Instant,
}

/// What a shard is made of.
pub(crate) struct ShardParts {
    pub number: u32,
    pub shards: u32,
    pub hostname: String,
    pub store_shards: u32,
    pub data: PathBuf,
    pub settings: Settings,
    pub served: Arc<Served>,
    pub keeper: Handle,
    /// None: one of this process.
    pub cookies: Option<CookieSecrets>,
    /// Shared by all shards.
    pub negatives: Option<Arc<NegativeStore>>,
    /// Shared by all shards.
    pub memory: Arc<Memory>,
    /// To the writer of DMARC's reports.
    pub rows: SyncSender<Message>,
    pub arena: Arena,
    pub stats: StatsPage,
    pub control: ChildSender,
}

impl Shard {
    pub(crate) fn new(parts: ShardParts) -> Rc<Self> {
        let Settings { launch, health, suffixes } = parts.settings;
        let resolver = Resolver::sharing(&launch.dns, Arc::clone(&parts.served.hosted), parts.negatives);
        resolver.keep_by(dnsbl::ttl_rules(&launch));
        let dns = DnsServer::new(resolver.clone(), launch.dns.recursion.clone());
        dns.set_identity(launch.dns.identity(&parts.hostname));
        dns.set_rates(launch.dns.rates(parts.shards));
        if let Some(secrets) = parts.cookies {
            dns.set_cookies(secrets);
        }
        let zones = ZoneService::new(parts.served, parts.keeper, resolver.clone());
        dns.set_beyond(Rc::clone(&zones) as Rc<dyn Beyond>);
        Rc::new(Self {
            dns,
            zones,
            resolver,
            refusing: RefCell::new(launch.dns.refusing_lists()),
            lists: RefCell::new(Rc::new(Lists::new(&launch, parts.shards, health))),
            helpers: RefCell::new(Rc::new(Helpers::new(&launch.policy))),
            number: parts.number,
            shards: parts.shards,
            hostname: parts.hostname,
            store_shards: parts.store_shards,
            data: parts.data,
            launch: RefCell::new(launch),
            suffixes: RefCell::new(suffixes),
            tls: RefCell::new(None),
            directory: RefCell::new(None),
            memory: parts.memory,
            rows: Rows::new(parts.rows),
            arena: RefCell::new(parts.arena),
            jobs: RefCell::new(Jobs::default()),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES]),
            stats: parts.stats,
            control: parts.control,
            clients: Clients::default(),
            last_id: Cell::new(MessageId::default()),
            draining: Cell::new(false),
            hangups: Hangups::default(),
            begun: Instant::now(),
        })
    }

    pub(crate) fn now(&self) -> Now {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let number = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
        Now { monotonic_ms: number(self.begun.elapsed().as_millis()), unix_us: number(since_1970.as_micros()) }
    }

    pub(crate) fn hostname(&self) -> &str {
        &self.hostname
    }

    pub(crate) fn store_shards(&self) -> u32 {
        self.store_shards
    }

    pub(crate) fn config(&self) -> Arc<EdgeLaunch> {
        Arc::clone(&self.launch.borrow())
    }

    /// The list of public suffixes to go by, if it is not that in the program.
    pub(crate) fn suffixes(&self) -> Suffixes {
        self.suffixes.borrow().clone()
    }

    /// What a client of this protocol is presented and asked for.
    pub(crate) fn tls(&self, protocol: Protocol) -> Option<Arc<rustls::ServerConfig>> {
        let servers = self.tls.borrow();
        let servers = servers.as_ref()?;
        Some(Arc::clone(match protocol {
            Protocol::Smtp | Protocol::Lmtp => &servers.smtp,
            Protocol::Submission | Protocol::Submissions => &servers.submission,
        }))
    }

    pub(crate) fn directory(&self) -> Option<Snapshot> {
        self.directory.borrow().clone()
    }

    /// Lets `look` at the directory; nothing if there is none yet.
    pub(crate) fn with_directory<T>(&self, look: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        self.directory.borrow().as_ref().map(look)
    }

    pub(crate) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    pub(crate) fn dns(&self) -> Rc<DnsServer> {
        Rc::clone(&self.dns)
    }

    /// The block lists that refuse clients at connect.
    pub(crate) fn refusing(&self) -> Ref<'_, Vec<Name>> {
        self.refusing.borrow()
    }

    pub(crate) fn lists(&self) -> Rc<Lists> {
        Rc::clone(&self.lists.borrow())
    }

    pub(crate) fn helpers(&self) -> Rc<Helpers> {
        Rc::clone(&self.helpers.borrow())
    }

    pub(crate) fn stats(&self) -> &StatsPage {
        &self.stats
    }

    /// What all shards know of senders.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What the reports of DMARC will tell.
    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    pub(crate) fn arena(&self) -> RefMut<'_, Arena> {
        self.arena.borrow_mut()
    }

    pub(crate) fn jobs(&self) -> RefMut<'_, Jobs> {
        self.jobs.borrow_mut()
    }

    pub(crate) fn scratch(&self) -> RefMut<'_, Vec<u8>> {
        self.scratch.borrow_mut()
    }

    pub(crate) fn hangups(&self) -> &Hangups {
        &self.hangups
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Who is here.
    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    pub(crate) fn release(&self, slot: Slot) {
        self.arena.borrow_mut().release(slot);
    }

    pub(crate) fn end(&self, job: JobId) {
        self.jobs.borrow_mut().end(job, &mut self.arena.borrow_mut());
    }

    pub(crate) fn next_message_id(&self, now: Now) -> MessageId {
        let id = MessageId::next(self.last_id.get(), self.number, now.unix_us);
        self.last_id.set(id);
        id
    }

    /// The send shard for a message: any will do; the same one for a message that is given out again.
    pub(crate) fn send_endpoint(&self, id: MessageId) -> Endpoint {
        #[allow(clippy::cast_possible_truncation)] // a remainder of a u32
        let shard = ((id.0 >> 12) % u64::from(self.config().send_shards.max(1))) as u32;
        Endpoint { role: Role::Send, shard }
    }

    /// Lets `change` at the memory of a job nobody else reads now.
    pub(crate) fn with_slot<T>(&self, job: JobId, change: impl FnOnce(&mut [u8]) -> T) -> Option<T> {
        let mut jobs = self.jobs.borrow_mut();
        let slot = jobs.slot(job)?;
        Some(change(self.arena.borrow_mut().bytes_mut(slot)))
    }

    /// Puts header fields before a message; gives its new beginning.
    pub(crate) fn prepend(&self, job: JobId, message_offset: usize, fields: &[u8]) -> Option<usize> {
        self.with_slot(job, |memory| slot::prepend(memory, message_offset, fields)).flatten()
    }

    /// Keeps a message no scanner came to an end with, for whoever has to find out why. The client was told to try again, so nothing is
    /// lost if this fails.
    pub(crate) fn quarantine(&self, job: JobId) {
        let Some((id, bytes)) = self.jobs.borrow_mut().message(job, &self.arena.borrow()) else { return };
        let folder = self.data.join("quarantine");
        tracing::warn!("the message {id} could not be scanned; a copy is in {}", folder.display());
        let keep = move || -> std::io::Result<()> {
            std::fs::create_dir_all(&folder)?;
            if std::fs::read_dir(&folder)?.count() < QUARANTINE_MAX {
                std::fs::write(folder.join(format!("{id}.eml")), bytes)?;
            }
            Ok(())
        };
        glommio::spawn_local(async move {
            if let Err(error) = glommio::executor().spawn_blocking(keep).await {
                tracing::warn!("a message could not be kept in quarantine: {error}");
            }
        })
        .detach();
    }

    /// Accepts clients of one listener until the shard drains.
    pub(crate) async fn accept(self: Rc<Self>, mut listener: Listener, config: Arc<ServerConfig>) {
        let hurried = Arc::new(ServerConfig {
            command_wait_ms: config.command_wait_ms.min(STRESS_COMMAND_WAIT_MS),
            errors_max: config.errors_max.min(STRESS_ERRORS_MAX),
            ..(*config).clone()
        });
        // Nobody can be told who lives here before the directory has come; the kernel keeps the clients that long.
        while self.directory.borrow().is_none() && !self.draining.get() {
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        let mut newcomers = Vec::with_capacity(NEWCOMERS_MAX);
        while !self.draining.get() {
            match listener.accept(&mut newcomers).await {
                Ok(()) => {
                    let mut refused = false;
                    for newcomer in newcomers.drain(..) {
                        refused |= !self.admit(newcomer, &config, &hurried);
                    }
                    if refused {
                        // Who refuses one will likely refuse the next, who is in no hurry: together they cost less.
                        listener.gather(REFUSED_GATHER).await;
                    } else {
                        // Accepting does not wait while there is a backlog: those who are here must have their turn.
                        glommio::yield_if_needed().await;
                    }
                }
                Err(error) => {
                    // Out of descriptors most likely: those who are here finish first.
                    tracing::warn!("a connection could not be accepted: {error}");
                    glommio::timer::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// False if the client was refused at once.
    fn admit(self: &Rc<Self>, newcomer: Newcomer, config: &Arc<ServerConfig>, hurried: &Arc<ServerConfig>) -> bool {
        let peer = newcomer.peer();
        self.stats.add(Counter::Connections, 1);
        if let Some(line) = questions::refused_at_once(self, peer.ip(), config.protocol) {
            // A new socket takes a line at once, so that neither a task nor a session is made for it.
            newcomer.refuse(&line);
            return false;
        }
        self.clients.enter(peer.ip());
        self.stats.set(Gauge::ConnectionsOpen, self.clients.open() as u64);
        let config = if limits::is_stressed(self) { hurried } else { config };
        let (shard, config, stream) = (Rc::clone(self), Arc::clone(config), newcomer.into_stream());
        glommio::spawn_local(async move {
            let peer = Client { address: peer.ip(), port: peer.port() };
            let counted = connection::serve(Rc::clone(&shard), stream, peer, config).await;
            shard.leave(counted);
        })
        .detach();
        true
    }

    fn leave(&self, address: IpAddr) {
        self.clients.leave(address);
        self.stats.set(Gauge::ConnectionsOpen, self.clients.open() as u64);
    }

    /// Hears the doorbell until the shard has drained.
    pub(crate) async fn listen(self: Rc<Self>, mut doorbell: Doorbell, events: Receiver<Event>) {
        let mut drain_until = None;
        loop {
            self.take_events(&events);
            self.take_completions();
            if self.draining.get() {
                let until = *drain_until.get_or_insert_with(|| Instant::now() + DRAIN_WAIT);
                if self.jobs.borrow().count() == 0 || Instant::now() >= until {
                    return self.say_goodbye().await;
                }
            }
            if self.jobs.borrow_mut().prepare_sleep() {
                self.jobs.borrow_mut().awake();
                continue;
            }
            let heard = if self.draining.get() {
                // The end of a job that was refused rings nobody.
                futures_lite::future::or(doorbell.wait(), async {
                    glommio::timer::sleep(Duration::from_millis(10)).await;
                    Ok(())
                })
                .await
            } else {
                doorbell.wait().await
            };
            self.jobs.borrow_mut().awake();
            if let Err(error) = heard {
                tracing::error!("the shard's doorbell is gone: {error}");
                return;
            }
        }
    }

    /// What was begun is done: those who are still connected are told, and the shard ends.
    async fn say_goodbye(&self) {
        self.hangups.all();
        let until = Instant::now() + GOODBYE_WAIT;
        while self.clients.open() > 0 && Instant::now() < until {
            glommio::timer::sleep(Duration::from_millis(5)).await;
        }
    }

    fn take_events(self: &Rc<Self>, events: &Receiver<Event>) {
        loop {
            match events.try_recv() {
                Ok(Event::Attach(link)) => {
                    self.jobs.borrow_mut().attach(*link, &mut self.arena.borrow_mut(), self.now().monotonic_ms)
                }
                Ok(Event::Directory(snapshot)) => *self.directory.borrow_mut() = Some(snapshot),
                Ok(Event::Reload(settings)) => self.reload(*settings),
                Ok(Event::Tls(servers)) => *self.tls.borrow_mut() = Some(servers),
                Ok(Event::Cookies(secrets)) => self.dns.set_cookies(*secrets),
                Ok(Event::Served(served, taken)) => {
                    self.zones.take(served);
                    // A keeper that does not wait any more needs not know.
                    if let Some(taken) = taken {
                        let _ = taken.send(());
                    }
                }
                Ok(Event::Snapshots(found)) => self.resolver.attach(found),
                // Whoever asked may have given up.
                Ok(Event::Cache { words, answer }) => drop(answer.send(cache::command(&self.resolver, &words))),
                Ok(Event::Explain { client, answer }) => {
                    let shard = Rc::clone(self);
                    glommio::spawn_local(async move { drop(answer.send(explain::explain(shard, *client).await)) }).detach();
                }
                Ok(Event::Rows(given)) => {
                    self.rows.flush(&self.stats);
                    let _ = given.send(());
                }
                Ok(Event::Report { report, answer }) => {
                    let shard = Rc::clone(self);
                    glommio::spawn_local(async move { drop(answer.try_send(send(&shard, &report).await)) }).detach();
                }
                Ok(Event::Drain) | Err(TryRecvError::Disconnected) => {
                    self.draining.set(true);
                    return;
                }
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    fn reload(&self, settings: Settings) {
        let Settings { launch, health, suffixes } = settings;
        *self.suffixes.borrow_mut() = suffixes;
        self.resolver.reload(&launch.dns, self.resolver.hosted());
        self.resolver.keep_by(dnsbl::ttl_rules(&launch));
        if !self.lists().are_those_of(&launch) {
            *self.lists.borrow_mut() = Rc::new(Lists::new(&launch, self.shards, health));
        }
        if !self.helpers().are_those_of(&launch.policy) {
            *self.helpers.borrow_mut() = Rc::new(Helpers::new(&launch.policy));
        }
        self.dns.reload(launch.dns.recursion.clone());
        self.dns.set_identity(launch.dns.identity(&self.hostname));
        self.dns.set_rates(launch.dns.rates(self.shards));
        *self.refusing.borrow_mut() = launch.dns.refusing_lists();
        *self.launch.borrow_mut() = launch;
    }

    fn take_completions(&self) {
        let mut arena = self.arena.borrow_mut();
        self.jobs.borrow_mut().take_completions(&mut arena, self.now().monotonic_ms);
        self.stats.set(Gauge::SlotsInUse, arena.in_use() as u64);
        drop(arena);
        self.report_trouble();
    }

    fn report_trouble(&self) {
        for trouble in self.jobs.borrow_mut().take_trouble() {
            let message = match trouble {
                Trouble::Lied(peer, text) => {
                    self.stats.add(Counter::PeersLied, 1);
                    FromChild::PeerLied { peer, text }
                }
                Trouble::Hangs(peer, text) => FromChild::PeerHangs { peer, text },
            };
            // A supervisor that is gone drains us anyway.
            let _ = self.control.send(&message, &[]);
        }
    }

    /// Looks at the deadlines and counts DNS once a second.
    pub(crate) async fn tick(self: Rc<Self>) {
        let mut before = [0; 3];
        let mut seconds = 0_u64;
        loop {
            glommio::timer::sleep(Duration::from_secs(1)).await;
            seconds += 1;
            if seconds.is_multiple_of(ROWS_INTERVAL_SECONDS) {
                self.rows.flush(&self.stats);
            }
            self.jobs.borrow_mut().check_deadlines(self.now().monotonic_ms);
            self.stats.set(Gauge::Stressed, limits::is_stressed(&self).into());
            let (queries, answers) = self.dns.counts();
            let counts = [queries, answers, self.resolver.forwards()];
            let counters = [Counter::DnsQueries, Counter::DnsAnswers, Counter::DnsForwards];
            for ((counter, count), before) in counters.into_iter().zip(counts).zip(before) {
                self.stats.add(counter, count - before);
            }
            before = counts;
            self.report_trouble();
        }
    }
}
