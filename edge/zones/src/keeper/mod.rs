//! The keeper: one thread that holds every zone and list of the process, changes them, and publishes what is served.
//!
//! ```text
//!   supervisor ── Configure, Directory, Operator ──┐              ┌─> Arc<Served> to every shard
//!   shards ────── Notify, Update ──────────────────┼─> Keeper ────┤
//!   network jobs ─ Done (SOA, transfer, notify) ───┘     │        └─> files and journals in data/dns
//!                                                        └─> network jobs, threads of their own: plain blocking sockets
//! ```
//! It does what may take time: files, signatures, waiting for other servers. The shards never wait for it: they go on serving what they
//! have. A service that cannot be loaded anew is served on as it was; one that never could be says SERVFAIL.

mod block;
mod challenge;
mod change;
mod domains;
mod jobs;
mod kept;
mod network;
mod operator;
mod secondary;

use crate::config::{BlockListConfig, ZoneConfig, ZonesConfig};
use crate::memory::release;
use crate::served::Served;
use crate::source::Stamp;
use crate::state::State;
use crate::template;
use domains::check_template;
use jobs::Jobs;
use kept::{Kept, Kind};
use network::Done;
use postring_directory::Snapshot;
use postring_dns::Hosted;
use postring_dns::name::Name;
use postring_dns::tsig::{Key, KeyRing};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often timers are looked at: those of DNS count seconds.
const TICK: Duration = Duration::from_secs(1);

/// What an operator's command gets.
pub type Answer = Result<serde_json::Value, String>;
/// Takes the response to a packet; `None`: nothing is said.
pub type Reply = Box<dyn FnOnce(Option<Vec<u8>>) + Send>;

/// What the keeper is told.
pub(crate) enum Order {
    Configure(Box<ZonesConfig>, SyncSender<Result<(), String>>),
    Directory(Snapshot),
    Tlsa(Vec<String>, u64),
    Notify { packet: Vec<u8>, client: IpAddr, reply: Reply },
    Update { packet: Vec<u8>, reply: Reply },
    Operator { words: Vec<String>, answer: SyncSender<Answer> },
    Done(Done),
}

/// How others speak to the keeper. Cheap to clone; never waits but where it says so.
#[derive(Clone)]
pub struct Handle {
    orders: Sender<Order>,
}

impl Handle {
    /// Takes another configuration, as a whole or not at all; waits until it is served.
    ///
    /// # Errors
    /// The first thing that is wrong, with file and line; nothing has changed.
    pub fn configure(&self, config: ZonesConfig) -> Result<(), String> {
        let gone = || "the keeper of zones has ended".to_owned();
        let (answer, receiver) = mpsc::sync_channel(1);
        self.orders.send(Order::Configure(Box::new(config), answer)).map_err(|_| gone())?;
        receiver.recv().map_err(|_| gone())?
    }

    /// Takes another directory: the zones of its domains are made of it.
    pub fn directory(&self, snapshot: Snapshot) {
        // A keeper that has ended takes its process with it.
        let _ = self.orders.send(Order::Directory(snapshot));
    }

    /// Takes other TLSA records of this host's SMTP (RDATA), and when they changed, seconds since 1970: the zone of a domain of the directory
    /// this host is in has them.
    pub fn tlsa(&self, records: Vec<String>, changed: u64) {
        let _ = self.orders.send(Order::Tlsa(records, changed));
    }

    /// Hands in a NOTIFY (RFC 1996).
    pub fn notify(&self, packet: Vec<u8>, client: IpAddr, reply: Reply) {
        let _ = self.orders.send(Order::Notify { packet, client, reply });
    }

    /// Hands in a dynamic update (RFC 2136).
    pub fn update(&self, packet: Vec<u8>, reply: Reply) {
        let _ = self.orders.send(Order::Update { packet, reply });
    }

    /// An operator's command: its words, without the first ("dns" or "block" stands first in them).
    ///
    /// # Errors
    /// A line that says why not.
    pub fn ask(&self, words: Vec<String>, wait: Duration) -> Answer {
        let (answer, receiver) = mpsc::sync_channel(1);
        self.orders.send(Order::Operator { words, answer }).map_err(|_| "the keeper of zones has ended".to_owned())?;
        receiver.recv_timeout(wait).map_err(|_| "the keeper of zones is busy with something long; try again".to_owned())?
    }
}

/// Publishes to all shards; comes back when they serve it, but for one that is too busy to say so.
pub type Publish = Box<dyn Fn(Arc<Served>) + Send>;

struct Keeper {
    config: ZonesConfig,
    state: State,
    keys: BTreeMap<Name, Arc<Key>>,
    kept: BTreeMap<Name, Kept>,
    snapshot: Option<Snapshot>,
    /// Of this host's SMTP, and since when.
    tlsa: (Vec<String>, u64),
    /// Names and values of challenges in the domains' zones, and when they changed.
    challenges: Vec<(String, String)>,
    challenges_changed: u64,
    template: String,
    served: Served,
    /// Something that is served has changed since it was published.
    is_changed: bool,
    publish: Publish,
    orders: Sender<Order>,
    jobs: Jobs,
    blocks: block::Blocks,
    begun: (Instant, u64),
}

/// Loads everything and starts the keeper's thread. What cannot be loaded is said and served as SERVFAIL: a process that is started again
/// while a file is broken must not stay down.
///
/// # Errors
/// No thread can be started.
pub fn start(config: ZonesConfig, data: &Path, publish: Publish) -> Result<(Handle, Arc<Served>), String> {
    let (orders, receiver) = mpsc::channel();
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut keeper = Keeper {
        config: ZonesConfig::default(),
        state: State::new(data),
        keys: BTreeMap::new(),
        kept: BTreeMap::new(),
        snapshot: None,
        tlsa: (Vec::new(), 0),
        challenges: Vec::new(),
        challenges_changed: 0,
        template: template::DEFAULT.to_owned(),
        served: Served::default(),
        is_changed: false,
        publish,
        orders: orders.clone(),
        jobs: Jobs::default(),
        blocks: block::Blocks::default(),
        begun: (Instant::now(), unix),
    };
    keeper.blocks = block::Blocks::open(&keeper.state, unix)?;
    for error in keeper.configure(config, true).err().into_iter().flatten() {
        tracing::error!("{error}");
    }
    keeper.is_changed = false;
    let served = Arc::new(keeper.served.clone());
    let run = std::thread::Builder::new().name("zones".to_owned()).spawn(move || keeper.run(&receiver));
    run.map_err(|error| format!("the keeper of zones cannot be started: {error}"))?;
    Ok((Handle { orders }, served))
}

impl Keeper {
    /// Seconds since 1970 by a clock that does not go back.
    fn now(&self) -> u64 {
        self.begun.1 + self.begun.0.elapsed().as_secs()
    }

    fn run(mut self, orders: &Receiver<Order>) {
        let mut tick_at = Instant::now();
        loop {
            match orders.recv_timeout(tick_at.saturating_duration_since(Instant::now())) {
                Ok(order) => {
                    self.take(order);
                    // What has come meanwhile is published with it.
                    while let Ok(order) = orders.try_recv() {
                        self.take(order);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= tick_at {
                self.tick();
                tick_at = Instant::now() + TICK;
            }
            // In this order: who is told of a version asks for it at once.
            self.publish_changes();
            self.jobs.start(&self.orders);
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Configure(config, answer) => {
                let result = self.configure(*config, false);
                self.publish_changes();
                // Whoever asked may have given up.
                let _ = answer.send(result.map_err(|errors| errors.into_iter().next().unwrap_or_default()));
            }
            Order::Directory(snapshot) => {
                self.snapshot = Some(snapshot);
                self.make_domains();
            }
            Order::Tlsa(records, changed) => {
                self.tlsa = (records, changed);
                self.make_domains();
            }
            Order::Notify { packet, client, reply } => reply(self.handle_notify(&packet, client)),
            Order::Update { packet, reply } => {
                let response = self.handle_update(&packet);
                // What was changed is served before it is acknowledged.
                self.publish_changes();
                reply(response);
            }
            Order::Operator { words, answer } => {
                let result = self.operator(&words);
                self.publish_changes();
                let _ = answer.send(result);
            }
            Order::Done(done) => {
                self.jobs.handle_end(matches!(done, Done::Notify { .. }));
                self.handle_done(done);
            }
        }
    }

    fn tick(&mut self) {
        let now = self.now();
        self.blocks.tick(&self.state, now);
        self.jobs.tick(now);
        let origins: Vec<Name> = self.kept.keys().cloned().collect();
        for origin in origins {
            self.poll_secondary(&origin, now);
            self.sign_if_due(&origin, now);
        }
    }

    fn publish_changes(&mut self) {
        if std::mem::take(&mut self.is_changed) {
            if let Err(error) = self.state.mark() {
                tracing::warn!("other roles do not see that a zone has changed: {error}");
            }
            (self.publish)(Arc::new(self.served.clone()));
        }
    }

    /// Loads what is new or has changed; with an error nothing is taken, unless `what_can_be`.
    fn configure(&mut self, config: ZonesConfig, what_can_be: bool) -> Result<(), Vec<String>> {
        let mut errors = Vec::new();
        let mut keys = BTreeMap::new();
        for key in &config.key {
            match key.key() {
                Ok(key) => {
                    keys.insert(key.name().clone(), Arc::new(key));
                }
                Err(error) => errors.push(error),
            }
        }
        let template = match &config.domain_template {
            None => Ok(template::DEFAULT.to_owned()),
            Some(path) => {
                std::fs::read_to_string(path).map_err(|error| format!("dns.domain_template: {}: {error}", path.display()))
            }
        };
        let template = template.and_then(|template| check_template(&template, &config).map(|()| template));
        let template = template.unwrap_or_else(|error| {
            errors.push(error);
            self.template.clone()
        });
        let now = self.now();
        let mut loaded: Vec<Kept> = Vec::new();
        let mut same: Vec<Name> = Vec::new();
        let kinds = config.zone.iter().cloned().map(Kind::of_zone).chain(config.block_list.iter().cloned().map(Kind::List));
        for kind in kinds {
            let origin = match kind.origin() {
                Ok(origin) => origin,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            if loaded.iter().any(|kept| kept.origin == origin) || same.contains(&origin) {
                errors.push(format!("{origin} is served twice; a name can be one zone or one block list"));
                continue;
            }
            if self.kept.get(&origin).is_some_and(|kept| kept.is_current(&kind)) {
                same.push(origin);
                continue;
            }
            match Kept::load(&origin, &kind, self.kept.get(&origin), &self.state, &mut self.blocks, now) {
                Ok(kept) => loaded.push(kept),
                Err(error) => {
                    errors.push(format!("{origin} is not served: {error}"));
                    loaded.push(Kept::broken(&origin, kind, error));
                }
            }
        }
        if !errors.is_empty() && !what_can_be {
            return Err(errors);
        }
        let named: Vec<Name> = same.iter().cloned().chain(loaded.iter().map(|kept| kept.origin.clone())).collect();
        let gone = self.kept.values().filter(|kept| !matches!(kept.kind, Kind::Domain { .. }) && !named.contains(&kept.origin));
        for origin in gone.map(|kept| kept.origin.clone()).collect::<Vec<_>>() {
            self.remove(&origin);
        }
        self.config = config;
        self.keys = keys;
        self.served.keys = KeyRing::new(self.keys.values().cloned());
        self.template = template;
        for kept in loaded {
            let origin = kept.origin.clone();
            self.put(kept);
            self.notify_secondaries(&origin);
        }
        self.is_changed = true;
        self.make_domains();
        release();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Serves what was loaded, instead of what was there.
    fn put(&mut self, mut kept: Kept) {
        // What a secondary or a primary knew of its past stays with it.
        if let Some(before) = self.kept.remove(&kept.origin) {
            kept.inherit(before);
        }
        Arc::make_mut(&mut self.served.hosted).put(&kept.origin, Some(Arc::clone(&kept.service)));
        self.served.set_rules(&kept.origin, Some(kept.rules()));
        self.is_changed = true;
        self.kept.insert(kept.origin.clone(), kept);
    }

    fn remove(&mut self, origin: &Name) {
        self.kept.remove(origin);
        Arc::make_mut(&mut self.served.hosted).put(origin, None);
        self.served.set_rules(origin, None);
        self.is_changed = true;
    }

    /// Serves another form of a service that is kept.
    fn serve(&mut self, origin: &Name) {
        let Some(kept) = self.kept.get(origin) else { return };
        Arc::make_mut(&mut self.served.hosted).put(origin, Some(Arc::clone(&kept.service)));
        self.served.set_rules(origin, Some(kept.rules()));
        self.is_changed = true;
    }
}

/// Loads everything once and gives what would be served: what `postring check` judges. Changes nothing.
///
/// # Errors
/// The first thing that is wrong, with file and line.
pub fn check(config: &ZonesConfig, state: &State) -> Result<Hosted, String> {
    let mut hosted = Hosted::default();
    let mut blocks = block::Blocks::default();
    for key in &config.key {
        key.key()?;
    }
    if let Some(path) = &config.domain_template {
        let template =
            std::fs::read_to_string(path).map_err(|error| format!("dns.domain_template: {}: {error}", path.display()))?;
        check_template(&template, config)?;
    }
    let kinds = config.zone.iter().cloned().map(Kind::of_zone).chain(config.block_list.iter().cloned().map(Kind::List));
    for kind in kinds {
        let origin = kind.origin()?;
        let service = kept::read(&origin, &kind, state, &mut blocks)?;
        let twice = || format!("{origin} is served twice; a name can be one zone or one block list");
        if hosted.get(&origin).is_some() {
            return Err(twice());
        }
        hosted.put(&origin, Some(Arc::new(service)));
    }
    Ok(hosted)
}

/// For [`Stamp`]: the files of a service.
fn stamp_of_list(config: &BlockListConfig) -> Stamp {
    Stamp::of(config.file.paths().iter().map(std::path::PathBuf::as_path))
}

/// The key a zone's own requests are signed with.
fn own_key(keys: &BTreeMap<Name, Arc<Key>>, config: &ZoneConfig) -> Option<Arc<Key>> {
    let name = Name::absolute(config.key.as_deref()?).ok()?.to_key();
    keys.get(&name).cloned()
}
