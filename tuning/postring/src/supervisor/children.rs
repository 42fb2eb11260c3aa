//! The children: started, heard, restarted with back-off, counted.

use super::users::Users;
use super::{access, links};
use crate::config::Config;
use crate::plan::Plan;
use postring_control::stats::StatsReader;
use postring_control::{
    Access, Counter, Endpoint, FromChild, Gauge, HelperCount, Launch, ListCount, ListenerSpec, Role, RuleCount, StatsPage,
    ToChild, User, socket,
};
use postring_edge::config::EdgeLaunch;
use postring_policy::Rule;
use postring_ring::{Doorbell, DoorbellButton};
use postring_store::SendLaunch;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child as Process, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender};
use std::time::{Duration, Instant};

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Up this long, a child's next death is its first again.
const STEADY: Duration = Duration::from_secs(30);

/// A process: a role, and for `scan` which worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub role: Role,
    pub index: u32,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.role == Role::Scan { write!(f, "scan.{}", self.index) } else { write!(f, "{}", self.role) }
    }
}

/// What the deciding thread is told.
pub enum Note {
    Child { key: Key, generation: u64, message: FromChild, descriptors: Vec<OwnedFd> },
    Gone { key: Key, generation: u64 },
    Ask { words: Vec<String>, answer: SyncSender<Result<serde_json::Value, String>> },
    Stop,
    Reload,
}

struct Running {
    process: Process,
    socket: Arc<OwnedFd>,
    since: Instant,
    ready: bool,
    buttons: BTreeMap<u32, DoorbellButton>,
    arenas: Vec<OwnedFd>,
}

struct One {
    cores: Vec<usize>,
    config: serde_json::Value,
    user: Option<User>,
    access: Option<Access>,
    running: Option<Running>,
    generation: u64,
    backoff: Duration,
    restart_at: Option<Instant>,
    ever_ready: bool,
    fatal: Option<String>,
    stats: Vec<(OwnedFd, StatsReader)>,
}

/// A child is not replaced for what was said of the one before it.
const FRESH: Duration = Duration::from_millis(1500);

/// Who gives work to whom.
const LINKS: [(Role, Role); 4] =
    [(Role::Edge, Role::Scan), (Role::Edge, Role::Store), (Role::Edge, Role::Send), (Role::Send, Role::Store)];

/// All of them.
pub struct Children {
    all: BTreeMap<Key, One>,
    sockets: Vec<(ListenerSpec, OwnedFd)>,
    notes: Sender<Note>,
    template: Launch,
    draining: bool,
}

/// Each role's part of the configuration as its process wants it.
fn role_config(config: &Config, plan: &Plan, role: Role) -> Result<serde_json::Value, String> {
    let value = match role {
        Role::Edge => serde_json::to_value(EdgeLaunch {
            edge: config.edge.clone(),
            policy: config.policy.clone(),
            scan_workers: u32::try_from(plan.scan.len()).unwrap_or(u32::MAX),
            dns: config.dns.clone(),
            send_shards: u32::try_from(plan.send.len()).unwrap_or(u32::MAX),
            tls: config.tls.certificate.is_some(),
        }),
        Role::Scan => serde_json::to_value(&config.scan),
        Role::Store => serde_json::to_value(&config.store),
        Role::Send => serde_json::to_value(SendLaunch { send: config.send.clone(), dns: config.dns.clone() }),
    };
    value.map_err(|error| error.to_string())
}

impl Children {
    pub fn new(
        config: &Config,
        plan: &Plan,
        users: Option<&Users>,
        sockets: Vec<(ListenerSpec, OwnedFd)>,
        notes: Sender<Note>,
    ) -> Result<Self, String> {
        let template = Launch {
            role: Role::Edge,
            first_shard: 0,
            cores: Vec::new(),
            generation: 0,
            data: config.server.data.clone(),
            hostname: config.server.hostname.clone(),
            store_shards: u32::try_from(plan.store.len()).unwrap_or(1),
            config: serde_json::Value::Null,
            user: None,
            access: None,
            listeners: Vec::new(),
        };
        let mut all = BTreeMap::new();
        let mut add = |role: Role, index: u32, cores: Vec<usize>| -> Result<(), String> {
            let stats = cores.iter().map(|_| page()).collect::<Result<Vec<_>, _>>()?;
            let one = One {
                cores,
                config: role_config(config, plan, role)?,
                user: users.map(|users| users.of(role)),
                access: access::of(config, plan, role),
                running: None,
                generation: 0,
                backoff: BACKOFF_MIN,
                restart_at: None,
                ever_ready: false,
                fatal: None,
                stats,
            };
            all.insert(Key { role, index }, one);
            Ok(())
        };
        add(Role::Store, 0, plan.store.clone())?;
        if !plan.send.is_empty() {
            add(Role::Send, 0, plan.send.clone())?;
        }
        for (index, &core) in (0_u32..).zip(&plan.scan) {
            add(Role::Scan, index, vec![core])?;
        }
        add(Role::Edge, 0, plan.edge.clone())?;
        Ok(Self { all, sockets, notes, template, draining: false })
    }

    pub fn start_all(&mut self) {
        for key in self.all.keys().copied().collect::<Vec<_>>() {
            self.start(key);
        }
    }

    fn start(&mut self, key: Key) {
        if let Err(error) = self.try_start(key) {
            tracing::error!("{key} could not be started: {error}");
            if let Some(one) = self.all.get_mut(&key) {
                one.restart_at = Some(Instant::now() + BACKOFF_MAX);
            }
        }
    }

    fn try_start(&mut self, key: Key) -> std::io::Result<()> {
        let Some(one) = self.all.get_mut(&key) else { return Ok(()) };
        one.generation += 1;
        one.restart_at = None;
        let (ours, theirs) = socket::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0(format!("postring: {key}")).args(["child", key.role.name()]).stdin(Stdio::from(theirs));
        // Ctrl-C at the terminal is for the supervisor, which drains the children in their order.
        command.process_group(0);
        let mut doorbells = Vec::new();
        let mut buttons = BTreeMap::new();
        for (shard, _) in (key.index..).zip(&one.cores) {
            let (doorbell, button) = Doorbell::pair()?;
            doorbells.push((doorbell, button.as_fd().try_clone_to_owned()?));
            buttons.insert(shard, button);
        }
        let own_sockets: Vec<&(ListenerSpec, OwnedFd)> =
            if key.role == Role::Edge { self.sockets.iter().collect() } else { Vec::new() };
        let launch = Launch {
            role: key.role,
            first_shard: key.index,
            cores: one.cores.clone(),
            generation: one.generation,
            config: one.config.clone(),
            user: one.user,
            access: one.access.clone(),
            listeners: own_sockets.iter().map(|(spec, _)| spec.clone()).collect(),
            ..self.template.clone()
        };
        let mut descriptors: Vec<BorrowedFd<'_>> = own_sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
        for ((doorbell, button), (stats, _)) in doorbells.iter().zip(&one.stats) {
            descriptors.extend([doorbell.as_fd(), button.as_fd(), stats.as_fd()]);
        }
        let process = command.spawn()?;
        drop(command);
        let socket = Arc::new(ours);
        let generation = one.generation;
        one.running = Some(Running {
            process,
            socket: Arc::clone(&socket),
            since: Instant::now(),
            ready: false,
            buttons,
            arenas: Vec::new(),
        });
        socket::send(&*socket, &ToChild::Launch(Box::new(launch)), &descriptors)?;
        let notes = self.notes.clone();
        std::thread::Builder::new().name(format!("hear-{key}")).spawn(move || {
            loop {
                let note = match socket::receive::<FromChild>(&*socket) {
                    Ok((message, descriptors)) => Note::Child { key, generation, message, descriptors },
                    Err(_) => Note::Gone { key, generation },
                };
                let gone = matches!(note, Note::Gone { .. });
                if notes.send(note).is_err() || gone {
                    return;
                }
            }
        })?;
        Ok(())
    }

    fn running(&self, key: Key) -> Option<&Running> {
        self.all.get(&key)?.running.as_ref()
    }

    pub fn tell(&self, key: Key, message: &ToChild, descriptors: &[BorrowedFd<'_>]) {
        if let Some(running) = self.running(key)
            && let Err(error) = socket::send(&*running.socket, message, descriptors)
        {
            tracing::warn!("{key} could not be told: {error}");
        }
    }

    pub fn ready(&mut self, key: Key, generation: u64, arenas: Vec<OwnedFd>) {
        if let Some(one) = self.all.get_mut(&key).filter(|one| one.generation == generation) {
            one.ever_ready = true;
            if let Some(running) = one.running.as_mut() {
                running.ready = true;
                running.arenas = arenas;
            }
        }
    }

    pub fn all_ready(&self) -> bool {
        self.all.values().all(|one| one.running.as_ref().is_some_and(|running| running.ready))
    }

    pub fn ready_keys(&self) -> Vec<Key> {
        self.all
            .iter()
            .filter(|(_, one)| one.running.as_ref().is_some_and(|running| running.ready))
            .map(|(key, _)| *key)
            .collect()
    }

    /// The text of a child that can never have worked.
    pub fn fatal(&self) -> Option<String> {
        self.all.iter().find_map(|(key, one)| one.fatal.as_ref().filter(|_| !one.ever_ready).map(|text| format!("{key}: {text}")))
    }

    pub fn set_fatal(&mut self, key: Key, generation: u64, text: String) {
        tracing::error!("{key}: {text}");
        if let Some(one) = self.all.get_mut(&key).filter(|one| one.generation == generation) {
            one.backoff = BACKOFF_MAX;
            one.fatal = Some(text);
        }
    }

    /// A child that has to go: it is ended, and started anew as any that dies.
    pub fn replace(&mut self, peer: Endpoint, reason: &str) {
        let Some(key) = self.key_of(peer) else { return };
        if let Some(running) = self.all.get_mut(&key).and_then(|one| one.running.as_mut()) {
            // Several shards say the same of one child within their second: its successor is not meant.
            if running.since.elapsed() < FRESH {
                return;
            }
            tracing::error!("{key} is replaced: {reason}");
            // One that is gone already is what was wanted.
            let _ = running.process.kill();
        }
    }

    fn key_of(&self, endpoint: Endpoint) -> Option<Key> {
        let index = if endpoint.role == Role::Scan { endpoint.shard } else { 0 };
        Some(Key { role: endpoint.role, index }).filter(|key| self.all.contains_key(key))
    }

    pub fn gone(&mut self, key: Key, generation: u64) {
        let Some(one) = self.all.get_mut(&key).filter(|one| one.generation == generation) else { return };
        let Some(mut running) = one.running.take() else { return };
        // It has closed its control socket: if it has not ended, it is of no use any more.
        let _ = running.process.kill();
        let reason = running.process.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        if running.since.elapsed() > STEADY {
            one.backoff = BACKOFF_MIN;
        }
        tracing::error!("{key} ended ({reason}); it is started again in {} ms", one.backoff.as_millis());
        one.restart_at = Some(Instant::now() + one.backoff);
        one.backoff = (one.backoff * 2).min(BACKOFF_MAX);
    }

    /// Starts what is due. True if anything was.
    pub fn restart_due(&mut self) -> bool {
        let now = Instant::now();
        let due: Vec<Key> =
            self.all.iter().filter(|(_, one)| one.restart_at.is_some_and(|at| at <= now)).map(|(key, _)| *key).collect();
        if self.draining {
            return false;
        }
        for key in &due {
            self.start(*key);
        }
        !due.is_empty()
    }

    /// Links a child that has become ready with every other that is.
    pub fn link(&self, key: Key) {
        for (from, to) in LINKS {
            for (producer, consumer) in self.pairs(from, to) {
                if self.key_of(producer) != Some(key) && self.key_of(consumer) != Some(key) {
                    continue;
                }
                let ends = (
                    self.key_of(producer).and_then(|key| self.running(key)),
                    self.key_of(consumer).and_then(|key| self.running(key)),
                );
                let (Some(giver), Some(taker)) = ends else { continue };
                if !(giver.ready && taker.ready) {
                    continue;
                }
                let (Some(giver_button), Some(taker_button), Some(arena)) = (
                    giver.buttons.get(&producer.shard),
                    taker.buttons.get(&consumer.shard),
                    giver.arenas.get(producer.shard as usize),
                ) else {
                    continue;
                };
                let made = links::make(
                    producer,
                    consumer,
                    &links::End { socket: &giver.socket, button: giver_button },
                    &links::End { socket: &taker.socket, button: taker_button },
                    arena,
                );
                if let Err(error) = made {
                    tracing::error!("{producer} and {consumer} could not be linked: {error}");
                }
            }
        }
    }

    fn pairs(&self, from: Role, to: Role) -> Vec<(Endpoint, Endpoint)> {
        let consumers = self.endpoints(to);
        self.endpoints(from)
            .into_iter()
            .flat_map(|producer| consumers.iter().map(move |consumer| (producer, *consumer)))
            .collect()
    }

    fn endpoints(&self, role: Role) -> Vec<Endpoint> {
        self.all
            .iter()
            .filter(|(key, _)| key.role == role)
            .flat_map(|(key, one)| (key.index..).zip(&one.cores).map(move |(shard, _)| Endpoint { role, shard }))
            .collect()
    }

    pub fn reload(&mut self, config: &Config, plan: &Plan) -> Result<(), String> {
        let mut parts = Vec::new();
        for key in self.all.keys() {
            parts.push((*key, role_config(config, plan, key.role)?));
        }
        for (key, part) in parts {
            let Some(one) = self.all.get_mut(&key) else { continue };
            // Whoever serves zones reads their files again, though the configuration names the same ones.
            if one.config != part || matches!(key.role, Role::Edge | Role::Send) {
                one.config = part.clone();
                self.tell(key, &ToChild::Reload { config: part }, &[]);
            }
        }
        Ok(())
    }

    pub fn drain(&mut self, role: Role) {
        self.draining = true;
        for key in self.all.keys().filter(|key| key.role == role).copied().collect::<Vec<_>>() {
            if self.running(key).is_some() {
                self.tell(key, &ToChild::Drain, &[]);
            }
        }
    }

    pub fn any_running(&self, role: Role) -> bool {
        self.all.iter().any(|(key, one)| key.role == role && one.running.is_some())
    }

    /// A child that was told to drain has ended.
    pub fn ended(&mut self, key: Key, generation: u64) {
        if let Some(one) = self.all.get_mut(&key).filter(|one| one.generation == generation)
            && let Some(mut running) = one.running.take()
        {
            // It says nothing more; a process that lingers is ended.
            std::thread::sleep(Duration::from_millis(1));
            if running.process.try_wait().ok().flatten().is_none() {
                std::thread::sleep(Duration::from_millis(200));
                let _ = running.process.kill();
                let _ = running.process.wait();
            }
        }
    }

    pub fn kill(&mut self, role: Role) {
        for (key, one) in self.all.iter_mut().filter(|(key, _)| key.role == role) {
            if let Some(mut running) = one.running.take() {
                tracing::warn!("{key} did not drain in time and is ended");
                let _ = running.process.kill();
                let _ = running.process.wait();
            }
        }
    }

    pub fn pids(&self) -> BTreeMap<String, u32> {
        self.all.iter().filter_map(|(key, one)| Some((key.to_string(), one.running.as_ref()?.process.id()))).collect()
    }

    fn shards(&self) -> impl Iterator<Item = (Endpoint, &StatsReader)> {
        self.all.iter().flat_map(|(key, one)| {
            (key.index..).zip(&one.stats).map(|(shard, (_, stats))| (Endpoint { role: key.role, shard }, stats))
        })
    }

    /// The block lists asked by DNS, in the order of their counts.
    fn dnsbl_zones(&self) -> Vec<&str> {
        let edge = self.all.iter().find(|(key, _)| key.role == Role::Edge);
        let lists = edge.and_then(|(_, one)| one.config.pointer("/policy/dnsbl")?.as_array());
        lists.into_iter().flatten().map(|list| list.get("zone").and_then(serde_json::Value::as_str).unwrap_or_default()).collect()
    }

    /// The policy servers and milters, in the order of their counts.
    fn helper_names(&self) -> Vec<String> {
        let edge = self.all.iter().find(|(key, _)| key.role == Role::Edge);
        let named = |kind: &'static str| {
            let all = edge.and_then(|(_, one)| one.config.pointer(&format!("/policy/{kind}"))?.as_array());
            all.into_iter().flatten().map(move |one| {
                let text = |key: &str| one.get(key).and_then(serde_json::Value::as_str);
                let at = text("at").map(|at| format!(" at {at}")).unwrap_or_default();
                format!("{kind} {}{at}", text("address").unwrap_or_default())
            })
        };
        named("delegate").chain(named("milter")).collect()
    }

    pub fn status(&self, plan: &Plan) -> serde_json::Value {
        let roles: Vec<serde_json::Value> = self
            .all
            .iter()
            .map(|(key, one)| {
                let running = one.running.as_ref();
                serde_json::json!({
                    "role": key.to_string(),
                    "pid": running.map(|running| running.process.id()),
                    "ready": running.is_some_and(|running| running.ready),
                    "up_seconds": running.map(|running| running.since.elapsed().as_secs()),
                    "restarts": one.generation.saturating_sub(1),
                    "cores": one.cores,
                })
            })
            .collect();
        let mut totals = serde_json::Map::new();
        for counter in Counter::ALL {
            let sum: u64 = self.shards().map(|(_, stats)| stats.counter(*counter)).sum();
            totals.insert(counter.name().to_owned(), sum.into());
        }
        for gauge in Gauge::ALL {
            let sum: u64 = self.shards().map(|(_, stats)| stats.gauge(*gauge)).sum();
            totals.insert(gauge.name().to_owned(), sum.into());
        }
        let lists: Vec<serde_json::Value> = self
            .dnsbl_zones()
            .into_iter()
            .enumerate()
            .map(|(at, zone)| {
                let mut counts = serde_json::Map::new();
                counts.insert("zone".to_owned(), zone.into());
                for count in ListCount::ALL {
                    let sum: u64 = self.shards().map(|(_, stats)| stats.list(at, *count)).sum();
                    counts.insert(count.name().to_owned(), sum.into());
                }
                counts.into()
            })
            .collect();
        let rules: Vec<serde_json::Value> = Rule::ALL
            .iter()
            .map(|rule| {
                let mut counts = serde_json::Map::new();
                counts.insert("rule".to_owned(), rule.name().into());
                for count in RuleCount::ALL {
                    let sum: u64 = self.shards().map(|(_, stats)| stats.rule(rule.index(), *count)).sum();
                    counts.insert(count.name().to_owned(), sum.into());
                }
                counts.into()
            })
            .collect();
        let helpers: Vec<serde_json::Value> = self
            .helper_names()
            .into_iter()
            .enumerate()
            .map(|(at, name)| {
                let mut counts = serde_json::Map::new();
                counts.insert("helper".to_owned(), name.into());
                for count in HelperCount::ALL {
                    let sum: u64 = self.shards().map(|(_, stats)| stats.helper(at, *count)).sum();
                    counts.insert(count.name().to_owned(), sum.into());
                }
                counts.into()
            })
            .collect();
        serde_json::json!({
            "dnsbl": lists,
            "helpers": helpers,
            "rules": rules,
            "ready": self.all_ready(),
            "plan": { "edge": plan.edge, "scan": plan.scan, "store": plan.store, "send": plan.send },
            "roles": roles,
            "counters": totals,
        })
    }

    /// Prometheus' text format, version 0.0.4.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, help: &str, kind: &str, value: &dyn Fn(&StatsReader) -> u64| {
            let _ = writeln!(text, "# HELP postring_{name} {help}\n# TYPE postring_{name} {kind}");
            for (endpoint, stats) in self.shards() {
                let _ =
                    writeln!(text, "postring_{name}{{role=\"{}\",shard=\"{}\"}} {}", endpoint.role, endpoint.shard, value(stats));
            }
        };
        for counter in Counter::ALL {
            family(counter.name(), counter.help(), "counter", &|stats| stats.counter(*counter));
        }
        for gauge in Gauge::ALL {
            family(gauge.name(), gauge.help(), "gauge", &|stats| stats.gauge(*gauge));
        }
        // What is counted of each of several things, in each edge shard.
        let mut each = |name: &str, help: &str, label: &str, things: &[&str], value: &dyn Fn(&StatsReader, usize) -> u64| {
            let _ = writeln!(text, "# HELP postring_{name} {help}\n# TYPE postring_{name} counter");
            for (at, thing) in things.iter().enumerate() {
                for (endpoint, stats) in self.shards().filter(|(endpoint, _)| endpoint.role == Role::Edge) {
                    let _ = writeln!(
                        text,
                        "postring_{name}{{{label}=\"{thing}\",shard=\"{}\"}} {}",
                        endpoint.shard,
                        value(stats, at)
                    );
                }
            }
        };
        let zones = self.dnsbl_zones();
        for count in ListCount::ALL {
            each(count.name(), count.help(), "zone", &zones, &|stats, list| stats.list(list, *count));
        }
        let names = self.helper_names();
        // A path of the administrator's may hold anything.
        let names: Vec<String> = names.iter().map(|name| name.replace(['"', '\\'], "_")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for count in HelperCount::ALL {
            each(count.name(), count.help(), "helper", &names, &|stats, helper| stats.helper(helper, *count));
        }
        let rules: Vec<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        for count in RuleCount::ALL {
            each(count.name(), count.help(), "rule", &rules, &|stats, rule| stats.rule(rule, *count));
        }
        text
    }
}

fn page() -> Result<(OwnedFd, StatsReader), String> {
    let fd = StatsPage::create().map_err(|error| error.to_string())?;
    let reader = StatsPage::map_for_reading(&fd).map_err(|error| error.to_string())?;
    Ok((fd, reader))
}
