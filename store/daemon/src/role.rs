//! The process of role `store`: replays its journals, starts a thread for each shard, and listens to the supervisor.

use crate::config::{LineEnds, StoreConfig};
use crate::intake::{Intake, KnownIds};
use crate::ledger::Ledger;
use crate::record::{self, DELIVERY};
use crate::shard::{Event, Shard};
use postring_control::{Child, FromChild, Launch, Role, ShardResources, Shards, StatsPage, ToChild};
use postring_directory::Newest;
use postring_journal::{JournalConfig, Replayed};
use postring_maildir::MailStore;
use postring_ring::{Doorbell, DoorbellButton};
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc;
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
    let mut shards = Shards::new(Role::Store);
    for resources in std::mem::take(&mut child.shards) {
        start_shard(&mut shards, &child, resources, &config, &mail_root)?;
    }
    child.sender().send(&FromChild::Ready, &[]).map_err(|error| error.to_string())?;

    let mut newest = Newest::default();
    loop {
        let (message, descriptors) =
            child.receive().map_err(|error| format!("the supervisor says what cannot be read: {error}"))?;
        match message {
            ToChild::Attach(attach) => match attach.open_consumer(descriptors) {
                Ok(link) => shards.tell(attach.consumer.shard, Event::Attach(Box::new(link))),
                Err(error) => tracing::error!("a link from {} could not be opened: {error}", attach.producer),
            },
            ToChild::Directory { sequence } => {
                if let Some(snapshot) = newest.take(sequence, &descriptors) {
                    shards.tell_all(|| Event::Directory(snapshot.clone()));
                }
            }
            ToChild::Launch(_) => {}
            ToChild::Reload { .. } => child.sender().answer(0, Ok(serde_json::json!("nothing of [store] changes while running"))),
            ToChild::Ask { id, words } => child.sender().answer(id, Err(format!("store does not know \"{}\"", words.join(" ")))),
            ToChild::Drain => break,
        }
    }
    shards.drain(|| Event::Drain, &child.sender());
    Ok(())
}

fn start_shard(
    shards: &mut Shards<Event>,
    child: &Child,
    resources: ShardResources,
    config: &StoreConfig,
    mail_root: &Path,
) -> Result<(), String> {
    let number = resources.shard;
    let launch: &Launch = &child.launch;
    let mut store = MailStore::new(mail_root, config.line_ends == LineEnds::Crlf);
    let journal_config =
        JournalConfig { segment_bytes: config.journal_segment_mib * 1024 * 1024, segments_max: config.journal_segments_max };
    let mut known = KnownIds::default();
    let mut recovered = 0;
    let folder = launch.data.join("journal").join(format!("store-{number}"));
    let (events, receiver) = mpsc::channel();
    let own_button = || resources.doorbell_button.as_fd().try_clone_to_owned().map(DoorbellButton::from_descriptor);
    let (button, sync_button) =
        (own_button().map_err(|error| error.to_string())?, own_button().map_err(|error| error.to_string())?);
    let sync_events = events.clone();
    let ledger = Ledger::open(
        &folder,
        mail_root,
        journal_config,
        child.sender(),
        |replayed| {
            recovered += u64::from(replay(&mut store, &mut known, replayed)?);
            Ok(())
        },
        move |sequence, result| {
            let heard = sync_events.send(Event::Synced { sequence, result }).is_ok();
            sync_button.ring();
            heard
        },
    )?;
    if recovered > 0 {
        tracing::info!("store.{number}: {recovered} mailbox files were missing after the last stop and have been made again");
    }

    let shard = Shard {
        number,
        host: launch.hostname.clone(),
        intake: Intake::new(Doorbell::from_descriptor(resources.doorbell), child.sender()),
        directory: None,
        ledger,
        store,
        events: receiver,
        backlog: VecDeque::new(),
        retry_at: Instant::now(),
        known,
        stats: StatsPage::map(&resources.stats).map_err(|error| error.to_string())?,
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
    shards.add(number, events, button, thread);
    Ok(())
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
