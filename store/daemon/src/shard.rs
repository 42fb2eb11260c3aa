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
use crate::record::{self, DELIVERY, Delivery};
use postring_control::{ConsumerEnd, Counter, Gauge, StatsPage};
use postring_directory::Snapshot;
use postring_journal::Record;
use postring_mail::envelope::{EnvelopeFlags, Fate};
use postring_mail::work::{Kind, Refusal};
use postring_maildir::{BaseName, Failure, Folder, MailStore, Place};
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
    pub mailboxes: Mailboxes,
    pub events: Receiver<Event>,
    pub known: KnownIds,
    pub stats: StatsPage,
    pub draining: bool,
}

impl Shard {
    /// Runs until drained.
    pub(crate) fn run(mut self) {
        self.stats.set(Gauge::StoreBacklog, self.mailboxes.waiting() as u64);
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
            let timeout = (self.mailboxes.waiting() > 0).then_some(RETRY);
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
        let (shard, directory, host, store) = (self.number, self.directory.as_ref(), &self.host, &self.mailboxes.store);
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
        if self.draining || volume_failed || self.mailboxes.waiting() > 0 {
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
        if self.mailboxes.waiting() == 0 {
            self.ledger.all_applied();
        }
    }

    fn refuse(&mut self, batch: &[(Taken, Fresh)], refusal: Refusal) {
        self.stats.add(Counter::StoreRefusals, batch.len() as u64);
        for (taken, _) in batch {
            self.intake.refuse(taken, refusal);
        }
    }

    /// Makes the files of one message.
    fn materialise(&mut self, taken: &Taken, head: &[u8]) {
        let message = self.intake.message(taken);
        let Some(delivery) = record::read(head) else { return };
        let made = self.mailboxes.deliver(&Delivery { message, ..delivery });
        self.stats.add(Counter::MailboxFiles, made as u64);
        self.stats.set(Gauge::StoreBacklog, self.mailboxes.waiting() as u64);
    }

    /// Tries the backlog, and lets go of journal segments that are not needed.
    fn housekeeping(&mut self) {
        if self.mailboxes.waiting() > 0 && Instant::now() >= self.mailboxes.retry_at {
            let made = self.mailboxes.retry();
            self.stats.add(Counter::MailboxFiles, made as u64);
            self.stats.set(Gauge::StoreBacklog, self.mailboxes.waiting() as u64);
            if self.mailboxes.waiting() == 0 {
                self.ledger.all_applied();
            }
        }
        if self.mailboxes.waiting() == 0 {
            self.ledger.housekeeping();
        }
    }
}

/// The mailboxes of a shard, and what could not be put into them yet.
pub(crate) struct Mailboxes {
    /// The shard's number.
    shard: u32,
    store: MailStore,
    /// Bodies of records, each with the places that are still without; while there are any, nothing new is taken.
    backlog: VecDeque<Vec<u8>>,
    retry_at: Instant,
    alarm: Box<dyn Fn(&str) + Send>,
}

impl Mailboxes {
    pub(crate) fn new(shard: u32, store: MailStore, alarm: impl Fn(&str) + Send + 'static) -> Self {
        Self { shard, store, backlog: VecDeque::new(), retry_at: Instant::now(), alarm: Box::new(alarm) }
    }

    /// Messages that wait for space.
    pub(crate) fn waiting(&self) -> usize {
        self.backlog.len()
    }

    /// Makes the files of a message that was not there before; gives how many. What does not succeed waits or is set aside.
    fn deliver(&mut self, delivery: &Delivery<'_>) -> usize {
        let failed = self.store.deliver(&delivery.places, delivery.name, delivery.message);
        let made = delivery.places.len() - failed.len();
        let rest = self.settle(delivery, failed);
        self.backlog.extend(rest);
        made
    }

    /// The same for a message that may be there already, in part or broken.
    pub(crate) fn restore(&mut self, delivery: &Delivery<'_>) -> usize {
        let restored = self.store.restore(&delivery.places, delivery.name, delivery.message);
        let rest = self.settle(delivery, restored.failed);
        self.backlog.extend(rest);
        restored.made
    }

    /// Tries what waits, until something must still wait; gives how many files were made.
    fn retry(&mut self) -> usize {
        let mut made = 0;
        while let Some(body) = self.backlog.pop_front() {
            let Some(delivery) = record::read(&body) else { continue };
            let restored = self.store.restore(&delivery.places, delivery.name, delivery.message);
            made += restored.made;
            if let Some(rest) = self.settle(&delivery, restored.failed) {
                self.backlog.push_front(rest);
                return made;
            }
        }
        tracing::info!("all mailbox files that waited are made");
        made
    }

    /// What becomes of places that did not get their copy: where one mailbox is broken the message is set aside, an alarm says so, and the
    /// others go on; where all is short the rest is given as a record that must wait, and so is what could not even be set aside.
    fn settle(&mut self, delivery: &Delivery<'_>, failed: Vec<Failure<'_>>) -> Option<Vec<u8>> {
        if failed.is_empty() {
            return None;
        }
        let (mut waiting, broken): (Vec<_>, Vec<_>) = failed.into_iter().partition(Failure::concerns_all);
        if !broken.is_empty() {
            match self.store.set_aside(self.shard, delivery.message_id, &broken, delivery.message) {
                Ok(file) => {
                    for Failure { place, error } in &broken {
                        (self.alarm)(&format!(
                            "mailbox {} cannot take a message: {error}; the message is in {}: repair the mailbox, then move the file into its new/",
                            place.mailbox,
                            file.display()
                        ));
                    }
                }
                Err(error) => {
                    tracing::error!("message {} could not be set aside: {error}", delivery.name);
                    waiting.extend(broken);
                }
            }
        }
        let Failure { place, error } = waiting.first()?;
        tracing::error!(
            "mailbox file {} of {} could not be made: {error}; it is in the journal and will be tried again",
            delivery.name,
            place.mailbox
        );
        self.retry_at = Instant::now() + RETRY;
        let places: Vec<Place<'_>> = waiting.iter().map(|failure| failure.place).collect();
        let mut body = Vec::with_capacity(delivery.message.len() + 1024);
        // Fewer places than the record had, so it fits.
        record::write_head(delivery.message_id, delivery.name, &places, &mut body);
        body.extend_from_slice(delivery.message);
        Some(body)
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
    let all_junk = envelope.origin.flags.has(EnvelopeFlags::JUNK);
    let mut places: Vec<Place<'_>> = Vec::with_capacity(envelope.recipient_count());
    for recipient in envelope.recipients().filter(|recipient| recipient.account != 0 && recipient.shard == shard) {
        // An account that was removed a moment ago: the client tries again and hears that it is gone.
        let account = directory.account(recipient.account).ok_or(Refusal::Broken)?;
        let folder = if all_junk || recipient.fate == Fate::Junk { Folder::Junk } else { Folder::Inbox };
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use std::path::Path;
    use std::sync::mpsc;

    const A: Place = Place { mailbox: "d.example/a", folder: Folder::Inbox };
    const B: Place = Place { mailbox: "d.example/b", folder: Folder::Inbox };
    const BROKEN: Place = Place { mailbox: "d.example/broken", folder: Folder::Junk };

    fn message_to(places: &[Place<'static>]) -> Delivery<'static> {
        Delivery { message_id: 7, name: "n", places: places.to_vec(), message: b"a\r\n" }
    }

    /// Mailboxes of which one cannot be, and the alarms.
    fn mailboxes(root: &Path) -> (Mailboxes, Receiver<String>) {
        std::fs::create_dir_all(root.join(BROKEN.mailbox)).unwrap();
        std::fs::write(root.join(BROKEN.mailbox).join("Maildir"), "").unwrap();
        let (alarms, heard) = mpsc::channel();
        let alarm = move |text: &str| alarms.send(text.to_owned()).unwrap();
        (Mailboxes::new(0, MailStore::new(root, false), alarm), heard)
    }

    #[test]
    fn a_broken_mailbox_stops_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (mut mailboxes, alarms) = mailboxes(root.path());
        for replay in [false, true] {
            let delivery = message_to(&[BROKEN, A]);
            let made = if replay { mailboxes.restore(&delivery) } else { mailboxes.deliver(&delivery) };
            assert_eq!((made, mailboxes.waiting()), (usize::from(!replay), 0));
            let alarm = alarms.try_recv().unwrap();
            let file = root.path().join(".undeliverable/0000000000000007-0.eml");
            assert!(alarm.contains(BROKEN.mailbox) && alarm.contains(file.to_str().unwrap()), "{alarm}");
            assert_eq!(std::fs::read(file).unwrap(), b"a\r\n");
        }
        // Not even that succeeds: it waits, until it does.
        let aside = root.path().join(".undeliverable");
        std::fs::remove_dir_all(&aside).unwrap();
        std::fs::write(&aside, "").unwrap();
        assert_eq!((mailboxes.deliver(&message_to(&[A, BROKEN, B])), mailboxes.waiting()), (2, 1));
        assert_eq!((mailboxes.retry(), mailboxes.waiting()), (0, 1));
        std::fs::remove_file(&aside).unwrap();
        assert_eq!((mailboxes.retry(), mailboxes.waiting()), (0, 0));
        assert_eq!(std::fs::read(aside.join("0000000000000007-0.eml")).unwrap(), b"a\r\n");
    }

    #[test]
    fn only_what_is_missing_waits_for_space() {
        let root = tempfile::tempdir().unwrap();
        let (mut mailboxes, alarms) = mailboxes(root.path());
        assert_eq!(mailboxes.deliver(&message_to(&[A])), 1);
        let rest = mailboxes.settle(&message_to(&[A, B]), vec![Failure { place: B, error: Errno::NOSPC.into() }]).unwrap();
        assert_eq!(record::read(&rest), Some(message_to(&[B])));
        mailboxes.backlog.push_back(rest);
        // Meanwhile the reader of A has had it and removed it: it does not come back.
        std::fs::remove_file(root.path().join("d.example/a/Maildir/new/n")).unwrap();
        assert_eq!((mailboxes.retry(), mailboxes.waiting()), (1, 0));
        assert!(!root.path().join("d.example/a/Maildir/new/n").exists());
        assert!(root.path().join("d.example/b/Maildir/new/n").exists());
        assert!(alarms.try_recv().is_err(), "a full disk is no mailbox's fault");
    }
}
