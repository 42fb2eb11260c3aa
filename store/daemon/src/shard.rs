//! One store shard: a thread that owns its mailboxes and its journal.
//!
//! ```text
//!   loop:  take all that waits in the links  >  one journal commit (write, sync)  >  Durable for each
//!          >  make the Maildir files         >  Released for each                 >  sleep if nothing waits
//! ```
//! What arrives while the journal syncs is the next batch: under load the batches grow by themselves. The loop is plain and
//! blocking on purpose: all it waits for is its own disk, and there is nothing else to do meanwhile (decision 0001).
//!
//! Cost of a message: its share of a batch's write and sync, four or five system calls for its file, one copy to turn line ends.

use crate::record::{self, DELIVERY};
use postring_control::{ChildSender, ConsumerEnd, Counter, Endpoint, FromChild, Gauge, StatsPage};
use postring_directory::Snapshot;
use postring_journal::{CommitError, Journal, Record};
use postring_mail::envelope::{EnvelopeFlags, EnvelopeView};
use postring_mail::work::{Kind, Refusal};
use postring_maildir::{BaseName, Folder, MailStore, Place};
use postring_ring::{Descriptor, Doorbell, PushError};
use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// Messages of one commit; more wait for the next.
const BATCH_MAX: usize = 256;
/// Ids that are remembered, to drop what a producer gives out again after a restart.
const IDS_MAX: usize = 200_000;
/// How often files that could not be made are tried again.
const RETRY: Duration = Duration::from_secs(1);

/// From the control thread.
pub(crate) enum Event {
    Attach(Box<ConsumerEnd>),
    Directory(Snapshot),
    Synced { sequence: u64, result: std::io::Result<()> },
    Drain,
}

/// Tells the producer; its ring has room for every descriptor it has given out.
fn complete(end: &mut ConsumerEnd, work: &Descriptor, kind: Kind, status: u16) -> Result<(), PushError> {
    end.link.push(&Descriptor { kind: kind as u16, status, ..*work }, &[])
}

/// A message taken from a link, not yet kept.
struct Taken {
    link: usize,
    work: Descriptor,
    message_id: u64,
    /// Range of its head in the batch's heads.
    head: std::ops::Range<usize>,
}

pub(crate) struct Shard {
    pub endpoint: Endpoint,
    pub host: String,
    pub mail_root: PathBuf,
    pub links: Vec<ConsumerEnd>,
    pub directory: Option<Snapshot>,
    pub journal: Journal,
    pub store: MailStore,
    pub doorbell: Doorbell,
    pub events: Receiver<Event>,
    /// Asks the syncing thread to write the volume out for this segment.
    pub sync_requests: std::sync::mpsc::Sender<u64>,
    pub syncing: Option<u64>,
    pub applied_lsn: u64,
    /// Bodies of records whose files could not be made (full disk); while there are any, nothing new is taken.
    pub backlog: VecDeque<Vec<u8>>,
    pub retry_at: Instant,
    pub known: KnownIds,
    pub stats: StatsPage,
    pub control: ChildSender,
    pub draining: bool,
}

/// The ids seen last.
#[derive(Default)]
pub(crate) struct KnownIds {
    set: HashSet<u64>,
    order: VecDeque<u64>,
}

impl KnownIds {
    pub(crate) fn insert(&mut self, id: u64) {
        if self.set.insert(id) {
            self.order.push_back(id);
            if self.order.len() > IDS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.set.remove(&oldest);
            }
        }
    }
}

impl Shard {
    /// Runs until drained.
    pub(crate) fn run(mut self) {
        loop {
            self.take_events();
            let worked = self.work();
            self.housekeeping();
            if worked {
                continue;
            }
            if self.draining {
                break;
            }
            self.sleep();
        }
        self.finish();
    }

    fn take_events(&mut self) {
        loop {
            match self.events.try_recv() {
                Ok(Event::Attach(link)) => {
                    self.links.retain(|old| old.producer != link.producer);
                    self.links.push(*link);
                }
                Ok(Event::Directory(snapshot)) => self.directory = Some(snapshot),
                Ok(Event::Synced { sequence, result }) => self.synced(sequence, result),
                Ok(Event::Drain) | Err(TryRecvError::Disconnected) => {
                    self.draining = true;
                    return;
                }
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    /// One batch. True if there was any.
    fn work(&mut self) -> bool {
        let mut heads = Vec::new();
        let mut taken = Vec::new();
        let mut liars = Vec::new();
        for (index, link) in self.links.iter_mut().enumerate() {
            while taken.len() < BATCH_MAX {
                match link.link.pop() {
                    Ok(Some((work, _))) => {
                        let accepted = Self::take(
                            link,
                            work,
                            self.endpoint.shard,
                            self.directory.as_ref(),
                            &self.host,
                            &self.store,
                            &mut heads,
                        );
                        match accepted {
                            Ok((message_id, head)) => taken.push(Taken { link: index, work, message_id, head }),
                            Err(refusal) => {
                                self.stats.add(Counter::StoreRefusals, 1);
                                if complete(link, &work, Kind::Refused, refusal as u16).is_err() {
                                    liars.push((link.producer, "completions are not taken".to_owned()));
                                    break;
                                }
                            }
                        }
                    }
                    Ok(None) => break,
                    Err(lie) => {
                        liars.push((link.producer, lie.to_string()));
                        break;
                    }
                }
            }
        }
        let worked = !taken.is_empty();
        if worked {
            self.keep(&heads, taken, &mut liars);
        }
        self.ring_all();
        for (peer, text) in liars {
            self.links.retain(|link| link.producer != peer);
            self.stats.add(Counter::PeersLied, 1);
            tracing::error!("{peer} broke the ring's rules: {text}");
            // A supervisor that is gone drains us anyway.
            let _ = self.control.send(&FromChild::PeerLied { peer, text }, &[]);
        }
        worked
    }

    /// Checks one descriptor and writes its record's head behind `heads`.
    fn take(
        link: &ConsumerEnd,
        work: Descriptor,
        shard: u32,
        directory: Option<&Snapshot>,
        host: &str,
        store: &MailStore,
        heads: &mut Vec<u8>,
    ) -> Result<(u64, std::ops::Range<usize>), Refusal> {
        if Kind::from_number(work.kind) != Some(Kind::Deliver) {
            return Err(Refusal::Broken);
        }
        let (head, message) = link.arena.view(&work).map_err(|_| Refusal::Broken)?;
        let envelope = EnvelopeView::parse(head).map_err(|_| Refusal::Broken)?;
        let directory = directory.ok_or(Refusal::Failed)?;
        let folder = if envelope.origin.flags.has(EnvelopeFlags::JUNK) { Folder::Junk } else { Folder::Inbox };
        let mut places: Vec<Place<'_>> = Vec::with_capacity(envelope.recipient_count());
        for recipient in envelope.recipients().filter(|recipient| recipient.account != 0 && recipient.shard == shard) {
            // An account that was removed a moment ago: the client tries again and hears that it is gone.
            let account = directory.account(recipient.account).ok_or(Refusal::Broken)?;
            let place = Place { mailbox: account.maildir, folder };
            if !places.contains(&place) {
                places.push(place);
            }
        }
        if places.is_empty() {
            return Err(Refusal::Broken);
        }
        let name = BaseName {
            received_us: envelope.origin.received_us,
            message_id: envelope.origin.id.0,
            host,
            size: store.size_on_disk(message),
            virtual_size: message.len(),
        };
        let start = heads.len();
        if !record::write_head(envelope.origin.id.0, &name.to_string(), &places, heads) {
            heads.truncate(start);
            return Err(Refusal::Broken);
        }
        Ok((envelope.origin.id.0, start..heads.len()))
    }

    /// Commits a batch, tells the producers, makes the files.
    fn keep(&mut self, heads: &[u8], mut taken: Vec<Taken>, liars: &mut Vec<(Endpoint, String)>) {
        let refuse = |links: &mut Vec<ConsumerEnd>, taken: &[Taken], refusal: Refusal, liars: &mut Vec<(Endpoint, String)>| {
            for one in taken {
                if let Some(link) = links.get_mut(one.link)
                    && complete(link, &one.work, Kind::Refused, refusal as u16).is_err()
                {
                    liars.push((link.producer, "completions are not taken".to_owned()));
                }
            }
        };
        // A volume that has lost something acknowledges nothing more, whatever the journal says.
        let volume_failed = self.stats.gauge(Gauge::VolumeFailed) != 0;
        if self.draining || volume_failed || !self.backlog.is_empty() {
            let refusal = match (self.draining, volume_failed) {
                (true, _) => Refusal::Draining,
                (false, true) => Refusal::Failed,
                (false, false) => Refusal::Full,
            };
            self.stats.add(Counter::StoreRefusals, taken.len() as u64);
            return refuse(&mut self.links, &taken, refusal, liars);
        }
        // What a producer gives out again after a restart is kept already.
        let (again, fresh): (Vec<Taken>, Vec<Taken>) = taken.drain(..).partition(|one| self.known.set.contains(&one.message_id));
        for one in &again {
            if let Some(link) = self.links.get_mut(one.link) {
                let told =
                    complete(link, &one.work, Kind::Durable, 0).and_then(|()| complete(link, &one.work, Kind::Released, 0));
                if told.is_err() {
                    liars.push((link.producer, "completions are not taken".to_owned()));
                }
            }
        }
        if fresh.is_empty() {
            return;
        }
        let bodies: Vec<[&[u8]; 2]> = fresh
            .iter()
            .map(|one| {
                let message =
                    self.links.get(one.link).and_then(|link| link.arena.view(&one.work).ok()).map(|(_, message)| message);
                [heads.get(one.head.clone()).unwrap_or_default(), message.unwrap_or_default()]
            })
            .collect();
        let records: Vec<Record<'_>> = bodies.iter().map(|parts| Record { kind: DELIVERY, parts }).collect();
        let committed = self.journal.commit(&records);
        let bytes: usize = bodies.iter().map(|[head, message]| head.len() + message.len()).sum();
        let durable = match committed {
            Ok(durable) => durable,
            Err(error) => {
                let refusal = match error {
                    CommitError::Full(_) => Refusal::Full,
                    CommitError::TooLong => Refusal::Broken,
                    CommitError::Failed(_) => Refusal::Failed,
                };
                self.alarm(&error.to_string(), refusal);
                self.stats.add(Counter::StoreRefusals, fresh.len() as u64);
                return refuse(&mut self.links, &fresh, refusal, liars);
            }
        };
        self.stats.add(Counter::JournalCommits, 1);
        self.stats.add(Counter::JournalRecords, fresh.len() as u64);
        self.stats.add(Counter::JournalBytes, bytes as u64);
        drop(records);
        drop(bodies);
        for one in &fresh {
            self.known.insert(one.message_id);
            self.tell(one, Kind::Durable, liars);
        }
        // The 250 goes out while the files are made.
        self.ring_all();
        for one in &fresh {
            self.materialise(one, heads);
            self.tell(one, Kind::Released, liars);
        }
        if self.backlog.is_empty() {
            self.applied_lsn = durable.last();
            self.journal.mark_applied(durable.last());
        }
    }

    fn tell(&mut self, one: &Taken, kind: Kind, liars: &mut Vec<(Endpoint, String)>) {
        if let Some(link) = self.links.get_mut(one.link)
            && complete(link, &one.work, kind, 0).is_err()
        {
            liars.push((link.producer, "completions are not taken".to_owned()));
        }
    }

    /// Makes the files of one message; if that is not possible now, its record waits in the backlog.
    fn materialise(&mut self, one: &Taken, heads: &[u8]) {
        let head = heads.get(one.head.clone()).unwrap_or_default();
        let message = self.links.get(one.link).and_then(|link| link.arena.view(&one.work).ok()).map(|(_, message)| message);
        let (Some(delivery), Some(message)) = (record::read(head), message) else { return };
        match self.store.deliver(&delivery.places, delivery.name, message) {
            Ok(()) => self.stats.add(Counter::MailboxFiles, delivery.places.len() as u64),
            Err(error) => {
                tracing::error!(
                    "mailbox file {} could not be made: {error}; it is in the journal and will be tried again",
                    delivery.name
                );
                self.backlog.push_back([head, message].concat());
                self.retry_at = Instant::now() + RETRY;
                self.stats.set(Gauge::StoreBacklog, self.backlog.len() as u64);
            }
        }
    }

    /// Tries the backlog, and lets go of journal segments that are not needed.
    fn housekeeping(&mut self) {
        if !self.backlog.is_empty() && Instant::now() >= self.retry_at {
            self.retry_backlog();
        }
        if self.syncing.is_none()
            && self.backlog.is_empty()
            && let Some(sequence) = self.journal.retirable(self.applied_lsn)
            && self.sync_requests.send(sequence).is_ok()
        {
            self.syncing = Some(sequence);
        }
    }

    fn retry_backlog(&mut self) {
        while let Some(body) = self.backlog.front() {
            let Some(delivery) = record::read(body) else {
                self.backlog.pop_front();
                continue;
            };
            if let Err(error) = self.store.deliver(&delivery.places, delivery.name, delivery.message) {
                tracing::warn!("mailbox files wait for space: {error}");
                self.retry_at = Instant::now() + RETRY;
                return;
            }
            self.stats.add(Counter::MailboxFiles, delivery.places.len() as u64);
            self.backlog.pop_front();
            self.stats.set(Gauge::StoreBacklog, self.backlog.len() as u64);
        }
        self.applied_lsn = self.journal.last_lsn();
        self.journal.mark_applied(self.applied_lsn);
        tracing::info!("all mailbox files that waited for space are made");
    }

    fn synced(&mut self, sequence: u64, result: std::io::Result<()>) {
        self.syncing = None;
        match result {
            Ok(()) => {
                if let Err(error) = self.journal.retire(sequence) {
                    tracing::warn!("a journal segment could not be put aside: {error}");
                }
            }
            Err(error) => {
                // Never asked again: the kernel has dropped what it could not write and would say yes the second time.
                self.syncing = Some(sequence);
                self.alarm(
                    &format!("writing out {} failed: {error}; check the disk, then restart", self.mail_root.display()),
                    Refusal::Failed,
                );
            }
        }
    }

    fn alarm(&mut self, text: &str, refusal: Refusal) {
        if refusal == Refusal::Failed {
            if self.stats.gauge(Gauge::VolumeFailed) == 0 {
                self.stats.set(Gauge::VolumeFailed, 1);
                self.control.alarm(text);
            }
        } else {
            tracing::warn!("{text}");
        }
    }

    fn ring_all(&mut self) {
        for link in &mut self.links {
            if link.link.must_ring() {
                link.bell.ring();
            }
        }
    }

    fn sleep(&mut self) {
        for link in &mut self.links {
            link.link.prepare_sleep();
        }
        if !self.links.iter().any(|link| link.link.has_work()) {
            let timeout = (!self.backlog.is_empty()).then_some(RETRY);
            if let Err(error) = self.doorbell.wait(timeout) {
                // The control thread holds a button as long as the process lives.
                tracing::error!("the shard's doorbell is gone: {error}");
                self.draining = true;
            }
        }
        for link in &mut self.links {
            link.link.awake();
        }
    }

    /// Refuses what is still in the rings, so that the producers can tell their clients.
    fn finish(&mut self) {
        for link in &mut self.links {
            while let Ok(Some((work, _))) = link.link.pop() {
                if complete(link, &work, Kind::Refused, Refusal::Draining as u16).is_err() {
                    break;
                }
            }
        }
        self.ring_all();
    }
}
