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

use crate::intake::{Intake, KnownIds, Offered, Taken};
use crate::ledger::Ledger;
use crate::record::{self, DELIVERY};
use postring_control::{ConsumerEnd, Counter, Gauge, StatsPage};
use postring_directory::Snapshot;
use postring_journal::Record;
use postring_mail::envelope::EnvelopeFlags;
use postring_mail::work::{Kind, Refusal};
use postring_maildir::{BaseName, Folder, MailStore, Place};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// How often files that could not be made are tried again.
const RETRY: Duration = Duration::from_secs(1);

/// From the control thread.
pub(crate) enum Event {
    Attach(Box<ConsumerEnd>),
    Directory(Snapshot),
    Synced { sequence: u64, result: std::io::Result<()> },
    Drain,
}

/// A message not yet kept.
struct Fresh {
    message_id: u64,
    /// Range of its record's head in the batch's heads.
    head: Range<usize>,
}

pub(crate) struct Shard {
    /// Its number.
    pub number: u32,
    pub host: String,
    pub intake: Intake,
    pub directory: Option<Snapshot>,
    pub ledger: Ledger,
    pub store: MailStore,
    pub events: Receiver<Event>,
    /// Bodies of records whose files could not be made (full disk); while there are any, nothing new is taken.
    pub backlog: VecDeque<Vec<u8>>,
    pub retry_at: Instant,
    pub known: KnownIds,
    pub stats: StatsPage,
    pub draining: bool,
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
            let timeout = (!self.backlog.is_empty()).then_some(RETRY);
            self.draining |= !self.intake.sleep(timeout);
            // Where a producer shares the core, it is let to the end of its turn first: what it gives out meanwhile joins this commit (with 16
            // clients on one core 0.130 > 0.124 CPU ms a message, `postring-bench compare`).
            std::thread::yield_now();
        }
        self.intake.finish();
    }

    fn take_events(&mut self) {
        loop {
            match self.events.try_recv() {
                Ok(Event::Attach(link)) => self.intake.attach(*link),
                Ok(Event::Directory(snapshot)) => self.directory = Some(snapshot),
                Ok(Event::Synced { sequence, result }) => self.ledger.synced(sequence, result, &self.stats),
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
        let (shard, directory, host, store) = (self.number, self.directory.as_ref(), &self.host, &self.store);
        let batch = self.intake.take(&self.stats, |offered| judge(offered, shard, directory, host, store, &mut heads));
        let worked = !batch.is_empty();
        if worked {
            self.keep(&heads, batch);
        }
        self.intake.end_batch(&self.stats);
        worked
    }

    /// Commits a batch, tells the producers, makes the files.
    fn keep(&mut self, heads: &[u8], batch: Vec<(Taken, Fresh)>) {
        let volume_failed = Ledger::has_failed(&self.stats);
        if self.draining || volume_failed || !self.backlog.is_empty() {
            let refusal = match (self.draining, volume_failed) {
                (true, _) => Refusal::Draining,
                (false, true) => Refusal::Failed,
                (false, false) => Refusal::Full,
            };
            return self.refuse(&batch, refusal);
        }
        // What a producer gives out again after a restart is kept already.
        let (again, fresh): (Vec<_>, Vec<_>) = batch.into_iter().partition(|(_, fresh)| self.known.contains(fresh.message_id));
        for (taken, _) in &again {
            self.intake.tell(taken, Kind::Durable);
            self.intake.tell(taken, Kind::Released);
        }
        if fresh.is_empty() {
            return;
        }
        let bodies: Vec<[&[u8]; 2]> = fresh
            .iter()
            .map(|(taken, fresh)| [heads.get(fresh.head.clone()).unwrap_or_default(), self.intake.message(taken)])
            .collect();
        let records: Vec<Record<'_>> = bodies.iter().map(|parts| Record { kind: DELIVERY, parts }).collect();
        let committed = self.ledger.commit(&records, &self.stats);
        drop(records);
        drop(bodies);
        if let Err(refusal) = committed {
            return self.refuse(&fresh, refusal);
        }
        for (taken, fresh) in &fresh {
            self.known.insert(fresh.message_id);
            self.intake.tell(taken, Kind::Durable);
        }
        // The 250 goes out while the files are made.
        self.intake.ring();
        for (taken, fresh) in &fresh {
            self.materialise(taken, heads.get(fresh.head.clone()).unwrap_or_default());
            self.intake.tell(taken, Kind::Released);
        }
        if self.backlog.is_empty() {
            self.ledger.all_applied();
        }
    }

    fn refuse(&mut self, batch: &[(Taken, Fresh)], refusal: Refusal) {
        self.stats.add(Counter::StoreRefusals, batch.len() as u64);
        for (taken, _) in batch {
            self.intake.refuse(taken, refusal);
        }
    }

    /// Makes the files of one message; if that is not possible now, its record waits in the backlog.
    fn materialise(&mut self, taken: &Taken, head: &[u8]) {
        let message = self.intake.message(taken);
        let Some(delivery) = record::read(head) else { return };
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
        if self.backlog.is_empty() {
            self.ledger.housekeeping();
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
        self.ledger.all_applied();
        tracing::info!("all mailbox files that waited for space are made");
    }
}

/// Checks one message and writes its record's head behind `heads`.
fn judge(
    offered: &Offered<'_>,
    shard: u32,
    directory: Option<&Snapshot>,
    host: &str,
    store: &MailStore,
    heads: &mut Vec<u8>,
) -> Result<Fresh, Refusal> {
    if offered.kind != Some(Kind::Deliver) {
        return Err(Refusal::Broken);
    }
    let (envelope, message) = (&offered.envelope, offered.message);
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
    Ok(Fresh { message_id: envelope.origin.id.0, head: start..heads.len() })
}
