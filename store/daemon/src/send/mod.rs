//! Role `send`: the outbound queue and the conversations with other servers.
//!
//! A shard is two threads on one core: the keeper, plain and blocking, that owns queue and journal, and the courier, an executor that
//! owns the connections. They speak over channels; a doorbell wakes each.
//!
//! - `keeper`: what is kept, in which order it is written
//! - `files`: the queue on disk
//! - `courier`: hosts, conversations, outcomes
//! - `reports`: what senders are told of mail that could not be delivered
//! - `operator`: `postring queue`
//! - `zones`: names that need not be asked for

mod courier;
mod files;
mod keeper;
mod operator;
mod reports;
mod zones;

use crate::config::SendLaunch;
use crate::intake::{Intake, KnownIds};
use crate::ledger::Ledger;
use courier::{Courier, Order};
use files::{Effect, Files};
use glommio::{LocalExecutorBuilder, Placement};
use keeper::{Event, Keeper, OperatorAnswer};
use postring_control::{Child, FromChild, Launch, Role, ShardResources, Shards, Side, StatsPage, ToChild, socket};
use postring_directory::Newest;
use postring_dns::Hosted;
use postring_journal::JournalConfig;
use postring_queue::{Queue, record};
use postring_ring::{Arena, Doorbell, DoorbellButton};
use postring_transport::tls;
use reports::Reports;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};
use zones::Zones;

/// Time a shard has to answer an operator.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// The couriers of all shards: channel and doorbell.
type Couriers = Vec<(Sender<Order>, DoorbellButton)>;

/// Runs the role until it is drained.
///
/// # Errors
/// One line that says why the role cannot work.
pub fn run_send(mut child: Child) -> Result<(), String> {
    let launch = read_launch(child.launch.config.clone())?;
    // A zone that has become unreadable since the check must not keep mail from going out.
    let zones = Zones::new(&child.launch.data);
    let (hosted, wrong) = zones.configure(&launch.dns.zones(&child.launch.hostname));
    wrong.iter().for_each(|text| tracing::error!("{text}"));
    let mut shards = Shards::new(Role::Send);
    let (mut couriers, mut arenas) = (Vec::new(), Vec::new());
    for resources in std::mem::take(&mut child.shards) {
        arenas.push(start_shard(&mut shards, &mut couriers, &child, resources, &launch, &hosted)?);
    }
    let descriptors: Vec<BorrowedFd<'_>> = arenas.iter().map(AsFd::as_fd).collect();
    child.sender().send(&FromChild::Ready, &descriptors).map_err(|error| error.to_string())?;
    drop(arenas);
    let couriers = Arc::new(couriers);
    let _following = zones.follow(&couriers)?;
    control(&child, &shards, &couriers, &zones)?;
    shards.drain(|| Event::Drain, &child.sender());
    Ok(())
}

fn read_launch(config: serde_json::Value) -> Result<Arc<SendLaunch>, String> {
    serde_json::from_value(config).map(Arc::new).map_err(|error| format!("send: the launch's configuration: {error}"))
}

/// Hears the supervisor until it says drain.
fn control(child: &Child, shards: &Shards<Event>, couriers: &Couriers, zones: &Zones) -> Result<(), String> {
    let mut newest = Newest::default();
    loop {
        let (message, descriptors) =
            child.receive().map_err(|error| format!("the supervisor says what cannot be read: {error}"))?;
        match message {
            ToChild::Attach(attach) if attach.side == Side::Consumer => match attach.open_consumer(descriptors) {
                Ok(link) => shards.tell(attach.consumer.shard, Event::Attach(Box::new(link))),
                Err(error) => tracing::error!("a link from {} could not be opened: {error}", attach.producer),
            },
            ToChild::Attach(attach) => match attach.open_producer(descriptors) {
                Ok(link) => shards.tell(attach.producer.shard, Event::AttachStore(Box::new(link))),
                Err(error) => tracing::error!("a link to {} could not be opened: {error}", attach.consumer),
            },
            ToChild::Directory { sequence } => {
                if let Some(snapshot) = newest.take(sequence, &descriptors) {
                    shards.tell_all(|| Event::Directory(snapshot.clone()));
                }
            }
            ToChild::Reload { config } => child.sender().answer(0, reload(config, shards, couriers, zones)),
            ToChild::Ask { id, words } => child.sender().answer(id, ask(&words, shards)),
            ToChild::Tls | ToChild::Launch(_) => {}
            ToChild::Drain => return Ok(()),
        }
    }
}

fn reload(config: serde_json::Value, shards: &Shards<Event>, couriers: &Couriers, zones: &Zones) -> OperatorAnswer {
    let launch = read_launch(config)?;
    let (hosted, wrong) = zones.configure(&launch.dns.zones(""));
    if let Some(wrong) = wrong.into_iter().next() {
        return Err(wrong);
    }
    shards.tell_all(|| Event::Reload(launch.send.clone()));
    for (orders, button) in couriers {
        // A courier that has ended takes its process with it.
        let _ = orders.send(Order::Reload(Arc::clone(&launch), Arc::clone(&hosted)));
        button.ring();
    }
    Ok(serde_json::json!("reloaded"))
}

/// Asks every shard, and makes one answer of theirs: lists are joined, numbers are added.
fn ask(words: &[String], shards: &Shards<Event>) -> OperatorAnswer {
    let bytes_max = socket::MESSAGE_BYTES_MAX * 3 / 4 / shards.len().max(1);
    let (answer, answers) = mpsc::sync_channel(shards.len());
    shards.tell_all(|| Event::Operator { words: words.to_vec(), bytes_max, answer: answer.clone() });
    drop(answer);
    let until = Instant::now() + ANSWER_WAIT;
    let (mut sum, mut total, mut messages) = (0, 0, Vec::new());
    for _ in 0..shards.len() {
        let wait = until.saturating_duration_since(Instant::now());
        let mut one = answers.recv_timeout(wait).map_err(|_| "a send shard did not answer".to_owned())??;
        sum += one.as_u64().unwrap_or(0);
        total += one.get("total").and_then(serde_json::Value::as_u64).unwrap_or(0);
        messages.extend(one.get_mut("messages").and_then(|list| list.as_array_mut().map(std::mem::take)).unwrap_or_default());
    }
    let is_list = words.get(1).is_some_and(|word| word == "list");
    Ok(if is_list { serde_json::json!({ "total": total, "messages": messages }) } else { serde_json::json!(sum) })
}

/// Starts both threads of a shard; gives its arena's memory.
fn start_shard(
    shards: &mut Shards<Event>,
    couriers: &mut Couriers,
    child: &Child,
    resources: ShardResources,
    config: &Arc<SendLaunch>,
    hosted: &Arc<Hosted>,
) -> Result<OwnedFd, String> {
    let number = resources.shard;
    let launch: &Launch = &child.launch;
    let wrong = |error: std::io::Error| format!("send.{number}: {error}");
    let arena = Arena::create(&reports::geometry()).map_err(wrong)?;
    let memory = arena.as_fd().try_clone_to_owned().map_err(wrong)?;
    let (events, receiver) = mpsc::channel();
    let own_button = || resources.doorbell_button.as_fd().try_clone_to_owned().map(DoorbellButton::from_descriptor);

    let queue_root = launch.data.join("queue");
    let files = Files::open(queue_root.join(format!("send-{number}"))).map_err(wrong)?;
    let mut known = KnownIds::default();
    // A full disk at start is no reason to stay down: what cannot be written now waits, as it would while running.
    let mut backlog = VecDeque::new();
    let (sync_events, sync_button) = (events.clone(), own_button().map_err(wrong)?);
    let mut ledger = Ledger::open(
        &launch.data.join("journal").join(format!("send-{number}")),
        &queue_root,
        JournalConfig::default(),
        child.sender(),
        |replayed| {
            let effect = Effect::of_record(replayed.kind, replayed.body)
                .ok_or("the queue's journal holds a record of another version of postring; use the postring that made it")?;
            if effect.kind == record::MESSAGE {
                known.insert(effect.id.0);
            }
            // What was applied before a mere restart is there, or was ended since.
            if replayed.applied { Ok(()) } else { files.replay(effect, &mut backlog) }
        },
        move |sequence, result| {
            let heard = sync_events.send(Event::Synced { sequence, result }).is_ok();
            sync_button.ring();
            heard
        },
    )?;
    if backlog.is_empty() {
        ledger.all_applied();
    }
    let mut queue = Queue::new(config.send.queue());
    for found in files.load().map_err(wrong)? {
        queue.add(found.head, found.size, found.progress);
    }
    if !queue.is_empty() {
        tracing::info!("send.{number}: {} messages are queued", queue.len());
    }

    let (orders, order_receiver) = mpsc::channel();
    let (courier_doorbell, courier_button) = Doorbell::pair().map_err(wrong)?;
    let second_button = || courier_button.as_fd().try_clone_to_owned().map(DoorbellButton::from_descriptor);
    let keeper = Keeper {
        intake: Intake::new(Doorbell::from_descriptor(resources.doorbell), child.sender()),
        queue,
        files,
        ledger,
        known,
        reports: Reports::new(launch.hostname.clone(), number, launch.store_shards, arena, child.sender()),
        unwritten: BTreeMap::new(),
        backlog,
        retry_at: Instant::now(),
        events: receiver,
        orders: orders.clone(),
        courier: second_button().map_err(wrong)?,
        stats: StatsPage::map(&resources.stats).map_err(wrong)?,
        under_way: 0,
        draining: false,
    };
    let parts = CourierParts {
        hostname: launch.hostname.clone(),
        config: Arc::clone(config),
        hosted: Arc::clone(hosted),
        results: events.clone(),
        keeper: own_button().map_err(wrong)?,
    };
    start_courier(number, resources.core, parts, courier_doorbell, order_receiver)?;
    couriers.push((orders, courier_button));
    let core = resources.core;
    let thread = std::thread::Builder::new()
        .name(format!("send-{number}"))
        .spawn(move || {
            let mut set = rustix::thread::CpuSet::new();
            set.set(core);
            // Where pinning is not allowed the shard still works.
            let _ = rustix::thread::sched_setaffinity(None, &set);
            keeper.run();
        })
        .map_err(wrong)?;
    shards.add(number, events, own_button().map_err(wrong)?, thread);
    Ok(memory)
}

/// What a courier is made of, on its own thread.
struct CourierParts {
    hostname: String,
    config: Arc<SendLaunch>,
    hosted: Arc<Hosted>,
    results: Sender<Event>,
    keeper: DoorbellButton,
}

fn start_courier(
    number: u32,
    core: usize,
    parts: CourierParts,
    doorbell: Doorbell,
    orders: Receiver<Order>,
) -> Result<(), String> {
    let tls = tls::opportunistic_client_config()?;
    let builder = LocalExecutorBuilder::new(Placement::Fixed(core)).name(&format!("courier-{number}"));
    std::thread::Builder::new()
        .name(format!("courier-{number}"))
        .spawn(move || match builder.make() {
            Ok(executor) => executor.run(async move {
                let courier = Courier::new(parts.hostname, parts.config, parts.hosted, tls, parts.results, parts.keeper);
                courier.run(postring_transport::Doorbell::new(doorbell.into_descriptor()), orders).await;
            }),
            Err(error) => {
                tracing::error!("send.{number} has no io_uring executor: {error}; raise RLIMIT_MEMLOCK to 8 MiB, check kernel.io_uring_disabled");
                std::process::exit(1);
            }
        })
        .map_err(|error| format!("send.{number}: {error}"))?;
    Ok(())
}
