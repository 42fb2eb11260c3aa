//! The process of role `store`: replays its journals, starts a thread for each shard, and listens to the supervisor.

use crate::config::{LineEnds, StoreConfig};
use crate::intake::{Intake, KnownIds};
use crate::ledger::Ledger;
use crate::record::{self, DELIVERY};
use crate::shard::{Event, Mailboxes, Shard};
use postring_control::{Child, FromChild, Launch, Role, ShardResources, Shards, StatsPage, ToChild};
use postring_directory::Newest;
use postring_journal::{JournalConfig, Replayed};
use postring_maildir::MailStore;
use postring_ring::{Doorbell, DoorbellButton};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc;

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
            ToChild::Tls | ToChild::Launch(_) => {}
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
    let control = child.sender();
    let store = MailStore::new(mail_root, config.line_ends == LineEnds::Crlf);
    let mut mailboxes = Mailboxes::new(number, store, move |text| control.alarm(text));
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
    let mut ledger = Ledger::open(
        &folder,
        mail_root,
        journal_config,
        child.sender(),
        |replayed| {
            recovered += replay(&mut mailboxes, &mut known, replayed)?;
            Ok(())
        },
        move |sequence, result| {
            let heard = sync_events.send(Event::Synced { sequence, result }).is_ok();
            sync_button.ring();
            heard
        },
    )?;
    match mailboxes.waiting() {
        0 => ledger.all_applied(),
        // A full disk is no reason to stay down: 452 until they are made.
        waiting => tracing::warn!("store.{number}: {waiting} messages in the journal wait for their mailbox files"),
    }
    if recovered > 0 {
        tracing::info!("store.{number}: {recovered} mailbox files were missing after the last stop and have been made again");
    }

    let shard = Shard {
        number,
        host: launch.hostname.clone(),
        intake: Intake::new(Doorbell::from_descriptor(resources.doorbell), child.sender()),
        directory: None,
        ledger,
        mailboxes,
        events: receiver,
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

/// Makes what a crash has lost of one record; gives how many files. What cannot be made waits or is set aside, as when it is new.
///
/// A record that was applied before a mere restart of the process is not looked at: its file was there, and if it is not there
/// any more its reader has removed it.
fn replay(mailboxes: &mut Mailboxes, known: &mut KnownIds, replayed: Replayed<'_>) -> Result<usize, String> {
    if replayed.kind != DELIVERY {
        return Err(format!("the journal holds a record of kind {}, made by another version of postring", replayed.kind));
    }
    let Some(delivery) = record::read(replayed.body) else {
        return Err("the journal holds a record of another version of postring; use the postring that made it".to_owned());
    };
    known.insert(delivery.message_id);
    Ok(if replayed.applied { 0 } else { mailboxes.restore(&delivery) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use postring_maildir::{Folder, Place};

    #[test]
    fn a_replay_goes_on_past_a_broken_mailbox_and_makes_broken_files_anew() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("broken.example"), "").unwrap();
        let place = |mailbox| Place { mailbox, folder: Folder::Inbox };
        let mut body = Vec::new();
        assert!(record::write_head(7, "n", &[place("broken.example/a"), place("d.example/a")], &mut body));
        body.extend_from_slice(b"a\r\n");
        let mut mailboxes = Mailboxes::new(0, MailStore::new(root.path(), false), |_| {});
        let mut replayed = |applied| {
            let record = Replayed { lsn: 1, kind: DELIVERY, body: &body, applied };
            let made = replay(&mut mailboxes, &mut KnownIds::default(), record).unwrap();
            assert_eq!(mailboxes.waiting(), 0);
            made
        };
        let file = root.path().join("d.example/a/Maildir/new/n");
        assert_eq!(replayed(false), 1);
        assert_eq!(replayed(false), 0);
        std::fs::write(&file, "").unwrap();
        assert_eq!(replayed(true), 0);
        assert_eq!(replayed(false), 1);
        assert_eq!(std::fs::read(&file).unwrap(), b"a\n");
        assert!(root.path().join(".undeliverable/0000000000000007-0.eml").exists());
    }
}
