//! The process of role `edge`: a thread for each shard, and the control thread.

use crate::cache::Kept;
use crate::config::{BareLineEnds, EdgeLaunch, TlsLaunch};
use crate::cookies::Cookies;
use crate::dmarc;
use crate::dnsbl::{self, Health};
use crate::explain::Hypothetical;
use crate::memory::Keeper;
use crate::reports::{Daily, Writer};
use crate::shard::{Event, OperatorAnswer, Settings, Shard, ShardParts, Suffixes};
use crate::snapshots::Snapshots;
use crate::zones::Publisher;
use glommio::{LocalExecutorBuilder, Placement};
use postring_control::{Child, FromChild, ListenerName, ListenerSpec, Role, Shards, StatsPage, ToChild};
use postring_directory::Newest;
use postring_mail::limits::{MESSAGE_BYTES_CEILING, SLOT_HEAD_BYTES};
use postring_ring::{Arena, ArenaGeometry, DoorbellButton, SlotClass};
use postring_smtp::{Protocol, ServerConfig};
use postring_transport::tls::{Servers, Tickets};
use postring_transport::{Doorbell, Listener};
use postring_zones::Handle;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Time for the keeper of zones to do what an operator asks; the operator waits a little longer.
const ANSWER_WAIT: Duration = Duration::from_secs(9);

/// Time for the shards to take a reload.
const SETTLE_WAIT: Duration = Duration::from_secs(5);

/// Runs the role until it is drained.
///
/// # Errors
/// One line that says why the role cannot work.
pub fn run(mut child: Child) -> Result<(), String> {
    let settings = read_settings(child.launch.config.clone())?;
    let launch = Arc::clone(&settings.launch);
    let snapshots = Snapshots::new(&child.launch.data, launch.dns.cache_mib);
    let reading = snapshots.read()?;
    // A zone that has become unreadable since the check does not keep mail from being taken: it says SERVFAIL.
    let publisher = Arc::new(Publisher::default());
    let publish = Arc::clone(&publisher);
    let zones = launch.dns.zones(&child.launch.hostname);
    let (keeper, served) = postring_zones::start(zones, &child.launch.data, Box::new(move |served| publish.publish(served)))?;
    let cookies = Cookies::new(&child.launch.data);
    let secrets = cookies.open();
    let negatives = launch.dns.negatives();
    let senders = Keeper::begin(&child.launch.data, &launch.policy)?;
    let reports = Writer::begin(&child.launch.data)?;
    let geometry = geometry(&launch);
    let mut listeners = std::mem::take(&mut child.listeners);
    let mut shards = Shards::new(Role::Edge);
    let mut arenas = Vec::new();
    let resources = std::mem::take(&mut child.shards);
    let shard_count = u32::try_from(resources.len()).unwrap_or(u32::MAX);
    let part = |at: usize| (at, usize::try_from(shard_count).unwrap_or(usize::MAX));
    let left = reading.wait();
    for (at, resources) in resources.into_iter().enumerate() {
        let number = resources.shard;
        let wrong = |error: std::io::Error| format!("edge.{number}: {error}");
        let arena = Arena::create(&geometry).map_err(wrong)?;
        arenas.push(arena.as_fd().try_clone_to_owned().map_err(wrong)?);
        let parts = ShardParts {
            number,
            shards: shard_count,
            hostname: child.launch.hostname.clone(),
            store_shards: child.launch.store_shards,
            data: child.launch.data.clone(),
            settings: settings.clone(),
            served: Arc::clone(&served),
            keeper: keeper.clone(),
            cookies: secrets.clone(),
            negatives: negatives.clone(),
            memory: senders.memory(),
            rows: reports.messages(),
            arena,
            stats: StatsPage::map(&resources.stats).map_err(wrong)?,
            control: child.sender(),
        };
        let (own, others) = listeners.into_iter().partition(|(spec, _)| spec.shard == number);
        listeners = others;
        let (events, receiver) = mpsc::channel();
        // Taken before the first question is.
        left.iter().for_each(|left| drop(events.send(Event::Snapshots(left.clone()))));
        let (part, keep) = (part(at), snapshots.clone());
        let doorbell = resources.doorbell;
        let builder = LocalExecutorBuilder::new(Placement::Fixed(resources.core)).name(&format!("edge-{number}"));
        // Built by hand instead of `spawn`, whose error would come too late to be one clear line.
        let thread = std::thread::Builder::new()
            .name(format!("edge-{number}"))
            .spawn(move || match builder.make() {
                Ok(executor) => {
                    let left = executor.run(run_shard(parts, own, doorbell, receiver, part));
                    keep.write(number, left.as_deref());
                }
                Err(error) => {
                    tracing::error!("edge.{number} has no io_uring executor: {error}; raise RLIMIT_MEMLOCK to 8 MiB, check kernel.io_uring_disabled");
                    std::process::exit(1);
                }
            })
            .map_err(wrong)?;
        shards.add(number, events, DoorbellButton::from_descriptor(resources.doorbell_button), thread);
    }
    let descriptors: Vec<BorrowedFd<'_>> = arenas.iter().map(AsFd::as_fd).collect();
    child.sender().send(&FromChild::Ready, &descriptors).map_err(|error| error.to_string())?;
    drop(arenas);
    if left.is_none() {
        reading.tell(&shards)?;
    }
    // The shards let theirs go after a while.
    drop(left);
    let speakers = shards.speakers().map_err(|error| format!("edge: {error}"))?;
    publisher.begin(speakers);
    let speakers = shards.speakers().map_err(|error| format!("edge: {error}"))?;
    let daily = Daily::begin(&reports, &child.launch.hostname, launch.policy.dmarc.reports.clone(), speakers)?;
    let operator = Operator { daily, keeper, cookies, kept: Kept { snapshots, negatives }, tickets: Tickets::new()? };
    control(&child, &shards, &operator)?;
    operator.kept.snapshots.remove_beyond(shard_count);
    operator.daily.end();
    shards.drain(|| Event::Drain, &child.sender());
    senders.end();
    reports.end();
    Ok(())
}

fn read_settings(config: serde_json::Value) -> Result<Settings, String> {
    let mut launch: EdgeLaunch =
        serde_json::from_value(config).map_err(|error| format!("edge: the launch's configuration: {error}"))?;
    dnsbl::show_whole_names(&mut launch);
    let health = Arc::new(Health::new(launch.policy.dnsbl.iter().map(|list| list.zone.clone())));
    let suffixes = read_suffixes(&launch);
    Ok(Settings { launch: Arc::new(launch), health, suffixes })
}

/// The list of public suffixes of the configuration, which the supervisor has read without an error before.
fn read_suffixes(launch: &EdgeLaunch) -> Suffixes {
    let file = launch.policy.dmarc.suffix_list.as_ref()?;
    match dmarc::read_suffixes(file) {
        Ok(list) => Some(Arc::new(list)),
        Err(error) => {
            tracing::error!("policy.dmarc.suffix_list: {error}; the list in the program is used");
            None
        }
    }
}

/// Certificates as the supervisor has read them: this process may read none of their files.
fn read_certificates(descriptors: &[OwnedFd], tickets: &Tickets) -> Result<(Servers, TlsLaunch), String> {
    let memory = descriptors.first().ok_or("certificates came without their memory")?;
    let bytes = postring_control::read_sealed(memory).map_err(|error| format!("certificates: {error}"))?;
    let launch: TlsLaunch = serde_json::from_slice(&bytes).map_err(|error| format!("certificates: {error}"))?;
    Ok((Servers::new(&launch.material, tickets)?, launch))
}

fn geometry(launch: &EdgeLaunch) -> ArenaGeometry {
    let bytes = |body: u64| u32::try_from(body + SLOT_HEAD_BYTES as u64 + 4096).unwrap_or(u32::MAX);
    let class = |body: u64, count: u32| SlotClass { slot_bytes: bytes(body), count };
    let edge = &launch.edge;
    let classes = vec![
        class(60 * 1024, edge.slots_small),
        class(1024 * 1024, edge.slots_medium),
        class(MESSAGE_BYTES_CEILING, edge.slots_large),
    ];
    ArenaGeometry { classes }
}

/// What an operator's commands are about, besides the shards.
struct Operator {
    /// Who sends the reports of DMARC.
    daily: Daily,
    keeper: Handle,
    cookies: Cookies,
    kept: Kept,
    /// Of all certificates that are and will be: who comes back resumes, whatever was changed meanwhile.
    tickets: Tickets,
}

/// Hears the supervisor until it says drain.
fn control(child: &Child, shards: &Shards<Event>, operator: &Operator) -> Result<(), String> {
    let Operator { daily, keeper, cookies, kept, tickets } = operator;
    let mut newest = Newest::default();
    loop {
        let (message, descriptors) =
            child.receive().map_err(|error| format!("the supervisor says what cannot be read: {error}"))?;
        match message {
            ToChild::Attach(attach) => match attach.open_producer(descriptors) {
                Ok(link) => shards.tell(attach.producer.shard, Event::Attach(Box::new(link))),
                Err(error) => tracing::error!("a link to {} could not be opened: {error}", attach.consumer),
            },
            ToChild::Directory { sequence } => {
                if let Some(snapshot) = newest.take(sequence, &descriptors) {
                    keeper.directory(snapshot.clone());
                    shards.tell_all(|| Event::Directory(snapshot.clone()));
                }
            }
            ToChild::Tls => match read_certificates(&descriptors, tickets) {
                Ok((servers, launch)) => {
                    shards.tell_all(|| Event::Tls(servers.clone()));
                    keeper.tlsa(launch.tlsa, launch.tlsa_changed);
                }
                Err(error) => child.sender().answer(0, Err(format!("{error}; those in use stay"))),
            },
            ToChild::Reload { config } => {
                let result = read_settings(config).and_then(|settings| {
                    keeper.configure(settings.launch.dns.zones(&child.launch.hostname))?;
                    daily.configure(&settings.launch.policy.dmarc.reports);
                    shards.tell_all(|| Event::Reload(Box::new(settings.clone())));
                    if let Some(secrets) = cookies.open() {
                        shards.tell_all(|| Event::Cookies(Box::new(secrets.clone())));
                    }
                    Ok(serde_json::json!("reloaded"))
                });
                child.sender().answer(0, result);
            }
            ToChild::Ask { id, words } => {
                let result = match words.get(..2).unwrap_or_default() {
                    [first, second] if first == "edge" && second == "settled" => Ok(settled(shards)),
                    [first, _] if first == "dmarc" => daily.ask(&words, ANSWER_WAIT),
                    [first, second] if first == "dns" && second == "cache" => kept.ask(&words, shards),
                    [first, second] if first == "smtp" && second == "explain" => explain(&words, shards),
                    [first, second] if first == "dns" && second == "cookie" => cookies.ask(&words, shards),
                    _ => keeper.ask(words, ANSWER_WAIT),
                };
                child.sender().answer(id, result);
            }
            ToChild::Launch(_) => {}
            ToChild::Drain => return Ok(()),
        }
    }
}

/// Comes back when all shards have taken what they were told before, or one is too busy to say so.
fn settled(shards: &Shards<Event>) -> serde_json::Value {
    let (taken, all_taken) = mpsc::channel();
    shards.tell_all(|| Event::Rows(taken.clone()));
    drop(taken);
    let until = Instant::now() + SETTLE_WAIT;
    // Each shard says so once, and lets its sender go.
    while all_taken.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok() {}
    "reloaded".into()
}

/// `postring smtp explain ...`, asked of any shard.
fn explain(words: &[String], shards: &Shards<Event>) -> OperatorAnswer {
    let client = Hypothetical::parse(words.get(2..).unwrap_or_default())?;
    let (answer, answers) = mpsc::sync_channel(1);
    shards.tell(0, Event::Explain { client: Box::new(client), answer });
    answers.recv_timeout(ANSWER_WAIT).map_err(|_| "the edge shard did not answer".to_owned())?
}

/// Gives what the resolver leaves to the next run. `part`: the number of this shard, and of how many; the first looks after what all have in common.
async fn run_shard(
    parts: ShardParts,
    listeners: Vec<(ListenerSpec, OwnedFd)>,
    doorbell: OwnedFd,
    events: Receiver<Event>,
    part: (usize, usize),
) -> Option<Vec<u8>> {
    let launch = Arc::clone(&parts.settings.launch);
    let (hostname, tls_available) = (parts.hostname.clone(), launch.tls);
    let shard = Shard::new(parts);
    for (spec, socket) in listeners {
        let protocol = match spec.name {
            ListenerName::Smtp => Protocol::Smtp,
            ListenerName::Submission => Protocol::Submission,
            ListenerName::Submissions => Protocol::Submissions,
            ListenerName::Lmtp => Protocol::Lmtp,
            ListenerName::DnsUdp => {
                glommio::spawn_local(shard.dns().serve_udp(socket)).detach();
                continue;
            }
            ListenerName::DnsTcp => {
                glommio::spawn_local(shard.dns().serve_tcp(socket)).detach();
                continue;
            }
        };
        let config = ServerConfig {
            message_bytes_max: launch.edge.message_bytes_max,
            recipients_max: launch.edge.recipients_max,
            tls_available,
            verify: launch.edge.vrfy,
            take_bare_line_ends: launch.edge.bare_line_ends == BareLineEnds::Normalise,
            ..ServerConfig::new(&hostname, protocol)
        };
        match Listener::new(socket) {
            Ok(listener) => glommio::spawn_local(Rc::clone(&shard).accept(listener, Arc::new(config))).detach(),
            Err(error) => {
                tracing::error!("nobody can be accepted for {protocol:?}: {error}; raise the limit of open files (LimitNOFILE)");
                continue;
            }
        };
    }
    glommio::spawn_local(Rc::clone(&shard).tick()).detach();
    glommio::spawn_local(dnsbl::watch(Rc::clone(&shard), part.0 == 0)).detach();
    Rc::clone(&shard).listen(Doorbell::new(doorbell), events).await;
    shard.rows().flush(shard.stats());
    shard.resolver().snapshot(part)
}
