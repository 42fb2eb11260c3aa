//! One shard: what the tasks of one thread share, and the tasks that are not a client's.

mod tasks;

use crate::config::EdgeLaunch;
use crate::dnsbl::{self, Health, Lists};
use crate::explain::Hypothetical;
use crate::helpers::Helpers;
use crate::limits::Clients;
use crate::memory::Memory;
use crate::reports::{Message, Outgoing, OutgoingAnswer, Rows};
use crate::snapshots::Found;
use crate::zones::ZoneService;
use postring_auth::dmarc::PublicSuffixes;
use postring_control::{ChildSender, Endpoint, ProducerEnd, Role, StatsPage};
use postring_directory::Snapshot;
use postring_dns::Name;
use postring_dns::cookie::CookieSecrets;
use postring_dns::resolver::NegativeStore;
use postring_handoff::{JobId, Jobs};
use postring_mail::envelope::MessageId;
use postring_mail::{Now, slot};
use postring_ring::{Arena, Slot};
use postring_smtp::Protocol;
use postring_transport::Hangups;
use postring_transport::dns::{Beyond, DnsServer, Resolver};
use postring_transport::tls::Servers;
use postring_zones::{Handle, Served};
use std::cell::{Cell, Ref, RefCell, RefMut};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Bytes of one read of commands.
const SCRATCH_BYTES: usize = 64 * 1024;
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
}
