//! The keeping half of a send shard: a plain thread that owns the queue, its journal and its files (store decision 0001 says why plain).
//!
//! ```text
//!   loop:  new messages from the links  >  what became of attempts  >  reports to senders  >  one journal commit  >  Durable for each
//!          >  files  >  Released  >  attempts that are due to the courier  >  sleep if nothing waits
//! ```
//! What an attempt changed is in the journal before anything is built on it; a kill between a host's 250 and that commit sends
//! the message twice, as with every mail server.

use super::courier::{Errand, Order};
use super::files::{Effect, Files};
use super::operator;
use super::reports::Reports;
use crate::config::SendConfig;
use crate::intake::{Intake, KnownIds, Offered, Taken};
use crate::ledger::Ledger;
use postring_control::{ConsumerEnd, Counter, Gauge, ProducerEnd, StatsPage};
use postring_directory::Snapshot;
use postring_journal::Record;
use postring_mail::dsn::RecipientRequest;
use postring_mail::envelope::{MessageId, Recipient};
use postring_mail::work::{Kind, Refusal};
use postring_queue::{Change, MessageHead, Outcome, Queue, RecipientOutcome, record};
use postring_ring::DoorbellButton;
use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often files and records that could not be written are tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The longest sleep: deadlines of reports are looked at that often.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// How often a draining shard looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(50);
/// Time for attempts under way when the shard drains; then they count as not made.
const DRAIN_WAIT: Duration = Duration::from_secs(15);

/// Bytes of a journal segment that new messages leave to the ends of others: on a full disk the ends make room, if they can be written.
const LEFT_BYTES: u64 = 4 * 1024 * 1024;

/// What an operator hears.
pub(super) type OperatorAnswer = Result<serde_json::Value, String>;

/// From the control thread, the courier and the syncing thread.
pub(super) enum Event {
    Attach(Box<ConsumerEnd>),
    AttachStore(Box<ProducerEnd>),
    Directory(Snapshot),
    Reload(SendConfig),
    Ended { id: MessageId, outcomes: Vec<RecipientOutcome> },
    Operator { words: Vec<String>, bytes_max: usize, answer: SyncSender<OperatorAnswer> },
    Synced { sequence: u64, result: std::io::Result<()> },
    Drain,
}

/// A message not yet kept.
struct Fresh {
    head: MessageHead,
    /// The head's bytes.
    bytes: Vec<u8>,
}

/// See the module.
pub(super) struct Keeper {
    pub intake: Intake,
    pub queue: Queue,
    pub files: Files,
    pub ledger: Ledger,
    pub known: KnownIds,
    pub reports: Reports,
    /// The last of each message, to be journaled. Bounded by the queue.
    pub unwritten: BTreeMap<MessageId, Effect>,
    /// Journaled, but the disk would not take the file.
    pub backlog: VecDeque<Effect>,
    pub retry_at: Instant,
    pub events: Receiver<Event>,
    pub orders: Sender<Order>,
    pub courier: DoorbellButton,
    pub stats: StatsPage,
    pub under_way: usize,
    pub draining: bool,
}

pub(super) fn now_us() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

impl Keeper {
    /// Runs until drained.
    pub(super) fn run(mut self) {
        let mut drain_until = None;
        loop {
            self.take_events();
            let worked = self.take_messages();
            self.take_reports();
            while let Some(id) = self.queue.poll_settled() {
                self.change(id, Change::Ended);
            }
            self.write_changes();
            self.retry_backlog();
            self.ledger_housekeeping();
            self.stats.set(Gauge::QueueMessages, self.queue.len() as u64);
            if self.draining {
                let until = *drain_until.get_or_insert_with(|| Instant::now() + DRAIN_WAIT);
                let idle = self.under_way == 0 && self.reports.under_way() == 0;
                if (idle && self.unwritten.is_empty()) || Instant::now() >= until {
                    break;
                }
            } else if !Ledger::has_failed(&self.stats) && self.unwritten.is_empty() {
                // What was delivered and cannot be journaled would be delivered again after a restart: no more of it.
                self.start_attempts();
            }
            if !worked && !self.may_write() {
                self.sleep();
            }
        }
        // Nobody is left on the other side if it has ended by itself.
        let _ = self.orders.send(Order::Drain);
        self.courier.ring();
        self.intake.finish();
    }

    fn take_events(&mut self) {
        loop {
            match self.events.try_recv() {
                Ok(Event::Attach(link)) => self.intake.attach(*link),
                Ok(Event::AttachStore(link)) => self.reports.attach(*link),
                Ok(Event::Directory(snapshot)) => self.reports.set_directory(snapshot),
                Ok(Event::Reload(config)) => self.queue.reconfigure(config.queue()),
                Ok(Event::Ended { id, outcomes }) => self.attempt_ended(id, outcomes),
                Ok(Event::Operator { words, bytes_max, answer }) => {
                    let result = self.operator(&words, bytes_max);
                    // Whoever asked may have gone.
                    let _ = answer.try_send(result);
                }
                Ok(Event::Synced { sequence, result }) => self.ledger.synced(sequence, result, &self.stats),
                Ok(Event::Drain) | Err(TryRecvError::Disconnected) => {
                    self.draining = true;
                    return;
                }
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    /// One batch from the links: into the journal, acknowledged, into files, into the queue. True if there was any.
    fn take_messages(&mut self) -> bool {
        let batch = self.intake.take(&self.stats, judge);
        let worked = !batch.is_empty();
        if worked {
            self.keep(batch);
        }
        self.intake.end_batch(&self.stats);
        worked
    }

    fn keep(&mut self, batch: Vec<(Taken, Fresh)>) {
        if let Some(refusal) = self.refusal() {
            return self.refuse(&batch, refusal);
        }
        // What the edge gives out again after a restart is kept already.
        let is_kept = |id: MessageId| self.known.contains(id.0) || self.queue.contains(id);
        let (again, fresh): (Vec<_>, Vec<_>) = batch.into_iter().partition(|(_, fresh)| is_kept(fresh.head.id));
        for (taken, _) in &again {
            self.intake.tell(taken, Kind::Durable);
            self.intake.tell(taken, Kind::Released);
        }
        if fresh.is_empty() {
            return;
        }
        let bodies: Vec<[&[u8]; 2]> = fresh.iter().map(|(taken, fresh)| [&*fresh.bytes, self.intake.message(taken)]).collect();
        let records: Vec<Record<'_>> = bodies.iter().map(|parts| Record { kind: record::MESSAGE, parts }).collect();
        let committed = self.ledger.commit_leaving(&records, LEFT_BYTES, &self.stats);
        drop(records);
        drop(bodies);
        if let Err(refusal) = committed {
            return self.refuse(&fresh, refusal);
        }
        for (taken, fresh) in &fresh {
            self.known.insert(fresh.head.id.0);
            self.intake.tell(taken, Kind::Durable);
        }
        // The 250 goes out while the files are made.
        self.intake.ring();
        for (taken, Fresh { head, bytes }) in fresh {
            let message = self.intake.message(&taken);
            let size = (bytes.len() + message.len()) as u64;
            if let Err(error) = self.files.write_message(head.id, &[&bytes, message]) {
                let effect = Effect { id: head.id, kind: record::MESSAGE, body: [&bytes, message].concat() };
                self.put_off(effect, &error);
            } else {
                self.queue.add(head, size, None);
            }
            self.intake.tell(&taken, Kind::Released);
        }
        self.mark_applied();
    }

    /// Why nothing new is taken now.
    fn refusal(&self) -> Option<Refusal> {
        if self.draining {
            Some(Refusal::Draining)
        } else if Ledger::has_failed(&self.stats) {
            Some(Refusal::Failed)
        } else if !self.backlog.is_empty() || !self.queue.has_room() {
            Some(Refusal::Full)
        } else {
            None
        }
    }

    fn refuse(&mut self, batch: &[(Taken, Fresh)], refusal: Refusal) {
        self.stats.add(Counter::StoreRefusals, batch.len() as u64);
        for (taken, _) in batch {
            self.intake.refuse(taken, refusal);
        }
    }

    fn attempt_ended(&mut self, id: MessageId, outcomes: Vec<RecipientOutcome>) {
        self.under_way = self.under_way.saturating_sub(1);
        for outcome in &outcomes {
            let counter = match outcome.outcome {
                Outcome::Delivered | Outcome::Relayed => Counter::OutboundDelivered,
                Outcome::Transient => Counter::OutboundDeferred,
                Outcome::Permanent => continue,
            };
            self.stats.add(counter, 1);
        }
        // One that was dropped meanwhile has no change.
        if let Some(change) = self.queue.handle_attempt(id, outcomes, now_us()) {
            self.change(id, change);
        }
    }

    fn change(&mut self, id: MessageId, change: Change) {
        let effect = match change {
            Change::Kept(progress) => Effect::progress(&progress),
            Change::Ended => Some(Effect::done(id)),
        };
        match effect {
            Some(effect) => drop(self.unwritten.insert(id, effect)),
            None => tracing::error!(%id, "how far the message is does not fit its format; a restart will try it anew"),
        }
    }

    /// Reports: those that have been handed over, then those that are due.
    fn take_reports(&mut self) {
        for (id, handed_over) in self.reports.poll_ended(&self.stats) {
            if handed_over {
                self.reported(id);
            } else {
                self.report_failed(id);
            }
        }
        while !self.draining && self.reports.has_room() {
            let Some(id) = self.queue.poll_report() else { return };
            let Some(progress) = self.queue.reserve_report(id, self.reports.next_id(now_us())) else { continue };
            self.reports.reserve(id);
            self.change(id, Change::Kept(progress));
        }
    }

    fn reported(&mut self, id: MessageId) {
        let failed = self.queue.get(id).map_or(0, |(_, progress)| {
            progress.recipients.iter().filter(|recipient| recipient.status == postring_queue::Status::Failed).count()
        });
        self.stats.add(Counter::OutboundBounced, failed as u64);
        if let Some(change) = self.queue.handle_reported(id) {
            self.change(id, change);
        }
    }

    /// It is tried again, or given up if the message waits for no more than a notice.
    fn report_failed(&mut self, id: MessageId) {
        if let Some(change) = self.queue.report_failed(id, now_us()) {
            tracing::warn!(%id, "a notice of delay or of relaying is lost; the delivery goes on");
            self.change(id, change);
        }
    }

    /// Something waits to be journaled, and the journal would take it.
    fn may_write(&self) -> bool {
        !self.unwritten.is_empty() && Instant::now() >= self.retry_at && !Ledger::has_failed(&self.stats)
    }

    /// Journals what has changed, then does it; reports whose id is on disk now are handed over.
    fn write_changes(&mut self) {
        if !self.may_write() {
            return;
        }
        let effects = std::mem::take(&mut self.unwritten);
        if self.commit(&effects).is_err() {
            // In memory it stands; what a crash loses of it is tried again.
            self.unwritten = effects;
            self.retry_at = Instant::now() + RETRY;
            return;
        }
        effects.into_values().for_each(|effect| self.apply(effect));
        for id in self.reports.take_reserved() {
            self.hand_over(id);
        }
        self.mark_applied();
    }

    fn commit(&mut self, effects: &BTreeMap<MessageId, Effect>) -> Result<(), Refusal> {
        let bodies: Vec<(u16, [&[u8]; 1])> = effects.values().map(|effect| (effect.kind, [&*effect.body])).collect();
        let records: Vec<Record<'_>> = bodies.iter().map(|(kind, parts)| Record { kind: *kind, parts }).collect();
        self.ledger.commit(&records, &self.stats).map(|_| ())
    }

    fn apply(&mut self, effect: Effect) {
        if effect.kind == record::MESSAGE {
            self.known.insert(effect.id.0);
            self.reports.kept_here(effect.id);
        }
        if effect.kind == record::DONE {
            // It makes room: it must not wait behind what needs room, and nothing earlier of its message matters any more.
            self.backlog.retain(|earlier| earlier.id != effect.id);
        } else if !self.backlog.is_empty() {
            // In their order, so that the last word stands.
            self.backlog.push_back(effect);
            return;
        }
        match self.files.apply(&effect) {
            Ok(()) => self.enqueue(&effect),
            Err(error) => self.put_off(effect, &error),
        }
    }

    /// A message whose file is there takes part from now on.
    fn enqueue(&mut self, effect: &Effect) {
        if effect.kind == record::MESSAGE
            && let Some((head, _)) = record::read_message(&effect.body)
        {
            self.queue.add(head, effect.body.len() as u64, None);
        }
    }

    fn put_off(&mut self, effect: Effect, error: &std::io::Error) {
        tracing::error!("a file of the queue could not be written: {error}; it is in the journal and will be tried again");
        self.backlog.push_back(effect);
        self.retry_at = Instant::now() + RETRY;
        self.stats.set(Gauge::StoreBacklog, self.backlog.len() as u64);
    }

    fn retry_backlog(&mut self) {
        if self.backlog.is_empty() || Instant::now() < self.retry_at {
            return;
        }
        while let Some(effect) = self.backlog.pop_front() {
            if let Err(error) = self.files.apply(&effect) {
                tracing::warn!("files of the queue wait for space: {error}");
                self.backlog.push_front(effect);
                self.retry_at = Instant::now() + RETRY;
                return;
            }
            self.enqueue(&effect);
            self.stats.set(Gauge::StoreBacklog, self.backlog.len() as u64);
        }
        self.mark_applied();
    }

    fn mark_applied(&mut self) {
        if self.backlog.is_empty() {
            self.ledger.all_applied();
        }
    }

    fn ledger_housekeeping(&mut self) {
        if self.backlog.is_empty() {
            self.ledger.housekeeping();
        }
    }

    /// Gives a report, whose id is on disk, to the store or to our own queue.
    fn hand_over(&mut self, id: MessageId) {
        let Some((head, progress)) = self.queue.get(id) else { return self.reports.forget(id) };
        match self.reports.hand_over(head, progress, &self.files.message_path(id)) {
            Ok(Some(own)) if self.known.contains(own.id.0) => self.reports.kept_here(own.id),
            Ok(Some(own)) => drop(self.unwritten.insert(own.id, own)),
            Ok(None) => {}
            Err(text) => {
                tracing::warn!(%id, "the report to its sender waits: {text}");
                self.reports.forget(id);
                self.report_failed(id);
            }
        }
    }

    fn start_attempts(&mut self) {
        let mut any = false;
        while let Some(attempt) = self.queue.poll_attempt(now_us()) {
            let path = self.files.message_path(attempt.id);
            let size = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            self.under_way += 1;
            if self.orders.send(Order::Deliver(Box::new(Errand { attempt, path, size }))).is_err() {
                // It has ended by a panic. The supervisor starts both anew; what is queued is on disk.
                tracing::error!("the courier is gone; the process ends");
                std::process::exit(1);
            }
            any = true;
        }
        if any {
            self.courier.ring();
        }
    }

    fn operator(&mut self, words: &[String], bytes_max: usize) -> OperatorAnswer {
        match operator::parse(words)? {
            operator::Request::List => Ok(operator::list(&self.queue, bytes_max)),
            operator::Request::Retry(selector) => Ok(serde_json::json!(self.queue.retry(&selector, now_us()))),
            operator::Request::Drop(selector) => {
                let dropped = self.queue.drop(&selector);
                dropped.iter().for_each(|id| self.change(*id, Change::Ended));
                Ok(serde_json::json!(dropped.len()))
            }
        }
    }

    fn sleep(&mut self) {
        let due = self.queue.poll_timeout().map(|at| Duration::from_micros(at.saturating_sub(now_us())));
        let timeout = match due {
            // Nothing new is begun while it drains, or while its journal takes nothing.
            Some(due) if !self.draining && self.unwritten.is_empty() => due.clamp(Duration::from_millis(1), SLEEP_MAX),
            _ if self.draining => DRAIN_LOOK,
            _ => SLEEP_MAX,
        };
        let busy = self.reports.prepare_sleep();
        let alive = self.intake.sleep(Some(if busy { Duration::ZERO } else { timeout }));
        self.reports.awake();
        self.draining |= !alive;
    }
}

/// Checks one message and makes its record's head.
fn judge(offered: &Offered<'_>) -> Result<Fresh, Refusal> {
    if offered.kind != Some(Kind::Queue) {
        return Err(Refusal::Broken);
    }
    let origin = &offered.envelope.origin;
    let remote = || offered.envelope.recipients().filter(|recipient| recipient.account == 0);
    let request = |recipient: Recipient<'_>| RecipientRequest {
        notify: recipient.notify,
        original_recipient: recipient.original_recipient.to_owned(),
    };
    let mut requests: Vec<RecipientRequest> = remote().map(request).collect();
    if requests.iter().all(|request| *request == RecipientRequest::default()) {
        requests = Vec::new();
    }
    let head = MessageHead {
        id: origin.id,
        received_us: origin.received_us,
        flags: origin.flags,
        reverse_path: origin.reverse_path.to_owned(),
        account: origin.account.to_owned(),
        recipients: remote().map(|recipient| recipient.forward_path.to_owned()).collect(),
        envelope_id: origin.envelope_id.to_owned(),
        requests,
    };
    let mut bytes = Vec::with_capacity(512);
    if head.recipients.is_empty() || !head.write_to(&mut bytes) {
        return Err(Refusal::Broken);
    }
    Ok(Fresh { head, bytes })
}
