//! The process of role `store`: replays its journals, starts a thread for each shard, and listens to the supervisor.

use crate::config::{LineEnds, StoreConfig};
use crate::record::{self, DELIVERY};
use crate::shard::{Event, KnownIds, Shard};
use postring_control::{Child, FromChild, Launch, ShardResources, StatsPage, ToChild};
use postring_directory::Snapshot;
use postring_journal::{Journal, JournalConfig, Replayed};
use postring_maildir::MailStore;
use postring_ring::{Doorbell, DoorbellButton};
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::time::Instant;

/// Runs the role until it is drained.
///
/// # Errors
/// One line that says why the role cannot work.
pub fn run_store(mut child: Child) -> Result<(), String> {
    let config: StoreConfig = serde_json::from_value(child.launch.config.clone())
        .map_err(|error| format!("store: the launch's configuration: {error}"))?;
    let mail_root = child.launch.data.join("mail");
    std::fs::create_dir_all(&mail_root).map_err(|error| format!("{} cannot be made: {error}", mail_root.display()))?;
    let mut shards = Vec::new();
    for resources in std::mem::take(&mut child.shards) {
        shards.push(start_shard(&child, resources, &config, &mail_root)?);
    }
    child.sender().send(&FromChild::Ready, &[]).map_err(|error| error.to_string())?;

    let mut sequence = 0;
    loop {
        let (message, descriptors) =
            child.receive().map_err(|error| format!("the supervisor says what cannot be read: {error}"))?;
        match message {
            ToChild::Attach(attach) => {
                let Some(shard) = shards.iter().find(|shard| shard.number == attach.consumer.shard) else { continue };
                match attach.open_consumer(descriptors) {
                    Ok(link) => shard.send(Event::Attach(Box::new(link))),
                    Err(error) => tracing::error!("a link from {} could not be opened: {error}", attach.producer),
                }
            }
            ToChild::Directory { sequence: newer } if newer >= sequence => {
                sequence = newer;
                match descriptors.first().map(Snapshot::map) {
                    Some(Ok(snapshot)) => shards.iter().for_each(|shard| shard.send(Event::Directory(snapshot.clone()))),
                    Some(Err(error)) => tracing::error!("{error}; the one before stays in use"),
                    None => tracing::error!("a directory snapshot came without its memory; the one before stays in use"),
                }
            }
            ToChild::Directory { .. } | ToChild::Launch(_) => {}
            ToChild::Reload { .. } => answer(&child, 0, Ok(serde_json::json!("nothing of [store] changes while running"))),
            ToChild::Ask { id, words } => answer(&child, id, Err(format!("store does not know \"{}\"", words.join(" ")))),
            ToChild::Drain => break,
        }
    }
    for shard in &shards {
        shard.send(Event::Drain);
    }
    for shard in shards {
        if shard.thread.join().is_err() {
            tracing::error!("store.{} ended by a panic", shard.number);
        }
    }
    // Nobody may be left to hear it.
    let _ = child.sender().send(&FromChild::Drained, &[]);
    Ok(())
}

fn answer(child: &Child, id: u64, result: Result<serde_json::Value, String>) {
    if let Err(error) = child.sender().send(&FromChild::Answer { id, result }, &[]) {
        tracing::warn!("an answer could not be given to the supervisor: {error}");
    }
}

struct ShardHandle {
    number: u32,
    events: Sender<Event>,
    button: DoorbellButton,
    thread: std::thread::JoinHandle<()>,
}

impl ShardHandle {
    fn send(&self, event: Event) {
        // A shard that has ended needs no events.
        let _ = self.events.send(event);
        self.button.ring();
    }
}

fn start_shard(child: &Child, resources: ShardResources, config: &StoreConfig, mail_root: &Path) -> Result<ShardHandle, String> {
    let number = resources.shard;
    let launch: &Launch = &child.launch;
    let mut store = MailStore::new(mail_root, config.line_ends == LineEnds::Crlf);
    let journal_config =
        JournalConfig { segment_bytes: config.journal_segment_mib * 1024 * 1024, segments_max: config.journal_segments_max };
    let mut known = KnownIds::default();
    let mut recovered = 0;
    let folder = launch.data.join("journal").join(format!("store-{number}"));
    let mut journal = Journal::open(&folder, journal_config, |replayed| {
        recovered += u64::from(replay(&mut store, &mut known, replayed)?);
        Ok(())
    })
    .map_err(|error| error.to_string())?;
    if recovered > 0 {
        tracing::info!("store.{number}: {recovered} mailbox files were missing after the last stop and have been made again");
    }
    // A full disk at start is no reason to stay down: the shard answers 452 until there is space.
    if let Err(error) = journal.prepare() {
        tracing::error!("store.{number}: {error}");
    }
    let applied_lsn = journal.last_lsn();
    journal.mark_applied(applied_lsn);

    let (events, receiver) = mpsc::channel();
    let (sync_requests, requests) = mpsc::channel::<u64>();
    let own_button = || resources.doorbell_button.as_fd().try_clone_to_owned().map(DoorbellButton::from_descriptor);
    let (button, sync_button) =
        (own_button().map_err(|error| error.to_string())?, own_button().map_err(|error| error.to_string())?);
    let (sync_events, sync_root) = (events.clone(), mail_root.to_owned());
    // Ends with the shard, which holds the other end of its channel.
    let spawned = std::thread::Builder::new().name(format!("store-sync-{number}")).spawn(move || {
        while let Ok(sequence) = requests.recv() {
            let result = MailStore::sync(&sync_root);
            if sync_events.send(Event::Synced { sequence, result }).is_err() {
                return;
            }
            sync_button.ring();
        }
    });
    spawned.map_err(|error| format!("no thread for store.{number}: {error}"))?;

    let shard = Shard {
        endpoint: postring_control::Endpoint { role: launch.role, shard: number },
        host: launch.hostname.clone(),
        mail_root: mail_root.to_owned(),
        links: Vec::new(),
        directory: None,
        journal,
        store,
        doorbell: Doorbell::from_descriptor(resources.doorbell),
        events: receiver,
        sync_requests,
        syncing: None,
        applied_lsn,
        backlog: VecDeque::new(),
        retry_at: Instant::now(),
        known,
        stats: StatsPage::map(&resources.stats).map_err(|error| error.to_string())?,
        control: child.sender(),
        draining: false,
    };
    let core = resources.core;
    let thread = std::thread::Builder::new()
        .name(format!("store-{number}"))
        .spawn(move || {
            let mut set = rustix::thread::CpuSet::new();
            set.set(core);
            // Where pinning is not allowed the shard still works.
            let _ = rustix::thread::sched_setaffinity(None, &set);
            shard.run();
        })
        .map_err(|error| format!("no thread for store.{number}: {error}"))?;
    Ok(ShardHandle { number, events, button, thread })
}

/// Makes what a crash has lost of one record. True if something was missing.
///
/// A record that was applied before a mere restart of the process is not looked at: its file was there, and if it is not there
/// any more its reader has removed it.
fn replay(store: &mut MailStore, known: &mut KnownIds, replayed: Replayed<'_>) -> Result<bool, String> {
    if replayed.kind != DELIVERY {
        return Err(format!("the journal holds a record of kind {}, made by another version of postring", replayed.kind));
    }
    let Some(delivery) = record::read(replayed.body) else {
        return Err("the journal holds a record of another version of postring; use the postring that made it".to_owned());
    };
    known.insert(delivery.message_id);
    if replayed.applied {
        return Ok(false);
    }
    let mut missing = Vec::new();
    for place in &delivery.places {
        let wrong = |error: std::io::Error| format!("mailbox {}: {error}", place.mailbox);
        store.clear_unfinished(place, delivery.name).map_err(wrong)?;
        if !store.has_seen(place, delivery.name).map_err(wrong)? {
            missing.push(*place);
        }
    }
    store
        .deliver(&missing, delivery.name, delivery.message)
        .map_err(|error| format!("mailbox file {}: {error}", delivery.name))?;
    Ok(!missing.is_empty())
}
