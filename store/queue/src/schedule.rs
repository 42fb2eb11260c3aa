//! The schedule: which recipients of which message are tried when, and what their outcomes make of the message.
//!
//! A message is in one of four phases; every phase has an index that finds it without looking at the others:
//!
//! | phase | has | index | leaves it when |
//! |---|---|---|---|
//! | waiting | pending recipients, none failed | `waiting`, by due time | it is due, or an operator says so |
//! | round | pending recipients, in groups by destination | `lanes` | the attempts of all its groups have ended |
//! | reporting | recipients of whom the sender is to be told (failed; if asked: relayed, late), perhaps pending ones too | `reports`, `report_waits` | its sender has been told |
//! | settled | nothing to do (only from disk) | `settled` | `poll_settled` has given it |
//!
//! A message whose sender is to be told begins no round before that: the report whose id is reserved names the same recipients
//! whenever it is made again, so that its receiver may drop the second one.

pub use crate::config::QueueConfig;
pub use crate::selector::{Selector, SelectorError};

use crate::config::span;
use crate::lanes::Lanes;
use crate::record::{HOST_BYTES_MAX, MessageHead, Progress, REPLY_BYTES_MAX, Status};
use postring_mail::dsn::RecipientRequest;
use postring_mail::envelope::{EnvelopeFlags, MessageId};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};

/// Recipients of one attempt: what every server takes (RFC 5321 section 4.5.3.1.8). More of a domain are further attempts.
pub const ATTEMPT_RECIPIENTS_MAX: usize = 100;
/// The wait before a report that could not be handed over is given again, microseconds. What failed is on this machine.
pub const REPORT_RETRY_US: u64 = 60_000_000;

/// How old a message is when a sender who wants to hear of delay (NOTIFY=DELAY, RFC 3461) is told that it is late, microseconds: four
/// hours, as sendmail and Postfix say it. Once for each recipient, at the end of a round.
pub const LATE_AFTER_US: u64 = 4 * 3_600_000_000;

/// What a recipient is told whose attempt ended without a word about it.
const NO_ANSWER: &str = "450 4.4.1 No answer";

/// Something to try: some recipients of one message, at one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The message.
    pub id: MessageId,
    /// The domain or address literal, in lower case; of an address without a domain the whole address.
    pub domain: String,
    /// Index in the message's recipients and address of each; at least one, at most [`ATTEMPT_RECIPIENTS_MAX`].
    pub recipients: Vec<(usize, String)>,
    /// `local-part@domain`, or empty for the null reverse-path.
    pub reverse_path: String,
    /// As the edge said.
    pub flags: EnvelopeFlags,
    /// ENVID in xtext, or empty (RFC 3461).
    pub envelope_id: String,
    /// What was asked for each of `recipients`, in their order.
    pub requests: Vec<RecipientRequest>,
}

/// What an attempt made of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A host has taken the message for it.
    Delivered,
    /// A host has taken the message for it that makes no reports (RFC 3461): whoever wants to hear of success hears this.
    Relayed,
    /// Another attempt may succeed.
    Transient,
    /// None will.
    Permanent,
}

/// What an attempt made of a recipient, and who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientOutcome {
    /// Index in the message's recipients, as the attempt gave it.
    pub recipient: usize,
    /// What became of it.
    pub outcome: Outcome,
    /// The remote host that said `reply`; empty if the reply is ours. Cut at [`HOST_BYTES_MAX`] octets.
    pub host: String,
    /// `550 5.1.1 text`. Kept as one line, cut at [`REPLY_BYTES_MAX`] octets.
    pub reply: String,
}

/// What is to be kept now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write this as a PROGRESS record.
    Kept(Progress),
    /// Nothing is left to do for the message: write DONE, remove its file. The queue has forgotten it.
    Ended,
}

/// A message, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Names it.
    pub id: MessageId,
    /// When it was received, microseconds since 1970.
    pub received_us: u64,
    /// Octets of the message.
    pub size: u64,
    /// The sender; empty for the null reverse-path.
    pub reverse_path: &'a str,
    /// Rounds that have ended.
    pub attempts: u32,
    /// When the next round may begin, microseconds since 1970; 0: at once.
    pub next_attempt_us: u64,
    /// An attempt is under way.
    pub under_way: bool,
    /// Address, status and last reply of each recipient.
    pub recipients: Vec<(&'a str, Status, &'a str)>,
}

#[derive(Debug)]
struct Message {
    head: MessageHead,
    size: u64,
    progress: Progress,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Waiting,
    Round(Round),
    Reporting(Reporting),
    Settled,
}

/// How far the telling of the sender is.
#[derive(Clone, Copy, Debug)]
enum Reporting {
    /// `poll_report` will give it.
    Ready,
    /// `poll_report` has given it.
    Given,
    /// It could not be handed over, and is ready again then.
    Later(u64),
}

#[derive(Debug)]
struct Round {
    groups: Vec<Group>,
    /// The group of each recipient; `None` for those that were not pending.
    group_of: Vec<Option<usize>>,
    /// Attempts that ended without naming a recipient, while several were under way: which they are is known once as many are left.
    unnamed: usize,
}

#[derive(Debug)]
struct Group {
    domain: String,
    recipients: Vec<usize>,
    state: GroupState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GroupState {
    /// Waits in its lane under this ticket.
    Ready(u64),
    UnderWay,
    Ended,
}

/// What the recipients ask for when no attempt is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Report,
    Round,
    Nothing,
}

impl Message {
    fn need(&self) -> Need {
        let any = |is: fn(Status) -> bool| self.progress.recipients.iter().any(|recipient| is(recipient.status));
        if any(Status::is_to_tell) {
            Need::Report
        } else if any(Status::is_pending) {
            Need::Round
        } else {
            Need::Nothing
        }
    }

    //= RFC 5321 section 6.1
    //# However, if this address is null ("<>"), the receiver-SMTP MUST NOT send a notification.
    /// With a null reverse-path nobody is to be told; else who is told what is as the sender asked.
    // RFC 3461 section 4.1 says who hears what.
    fn silence(&mut self) {
        for (index, recipient) in self.progress.recipients.iter_mut().enumerate() {
            let notify = self.head.notify(index);
            let is_wanted = match recipient.status {
                Status::Failed => notify.wants_failure(),
                Status::Relayed => notify.wants_success(),
                Status::Late => notify.wants_delay(),
                Status::Pending | Status::PendingLate | Status::Delivered | Status::Reported => true,
            };
            if !is_wanted || self.head.reverse_path.is_empty() {
                recipient.status = recipient.status.told();
            }
        }
        if self.need() != Need::Report {
            self.progress.report = MessageId(0);
        }
    }

    fn is_told(&mut self) {
        for recipient in &mut self.progress.recipients {
            recipient.status = recipient.status.told();
        }
        self.progress.report = MessageId(0);
    }

    /// All groups have ended: when again, or not any more.
    fn end_round(&mut self, config: &QueueConfig, now_us: u64) {
        let progress = &mut self.progress;
        progress.attempts = progress.attempts.saturating_add(1);
        progress.next_attempt_us = config.next_attempt_us(self.head.id, progress.attempts, self.head.received_us, now_us);
        if config.is_expired(self.head.received_us, now_us) {
            for recipient in progress.recipients.iter_mut().filter(|recipient| recipient.status.is_pending()) {
                recipient.status = Status::Failed;
                let last = if recipient.reply.is_empty() { "none" } else { recipient.reply.as_str() };
                let reply = format!("450 4.4.7 Not delivered within {}; the last reply: {last}", span(config.lifetime_us));
                recipient.reply = one_line(&reply, REPLY_BYTES_MAX);
            }
        } else if now_us.saturating_sub(self.head.received_us) >= LATE_AFTER_US {
            for (index, recipient) in progress.recipients.iter_mut().enumerate() {
                if recipient.status == Status::Pending && self.head.notify(index).wants_delay() {
                    recipient.status = Status::Late;
                }
            }
        }
    }
}

/// The queue. See the crate and the module.
#[derive(Debug)]
pub struct Queue {
    config: QueueConfig,
    messages: BTreeMap<MessageId, Message>,
    waiting: BTreeSet<(u64, MessageId)>,
    lanes: Lanes,
    reports: BTreeSet<MessageId>,
    report_waits: BTreeSet<(u64, MessageId)>,
    settled: BTreeSet<MessageId>,
    /// Attempts under way of messages that were dropped meanwhile: they still count against the limits.
    /// Few: each has an attempt under way.
    orphans: Vec<(MessageId, Round)>,
    /// The latest time told, for what is asked without one.
    now_us: u64,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(config: QueueConfig) -> Self {
        let config = config.bounded();
        Self {
            config,
            messages: BTreeMap::new(),
            waiting: BTreeSet::new(),
            lanes: Lanes::new(config.attempts_max, config.attempts_per_domain_max),
            reports: BTreeSet::new(),
            report_waits: BTreeSet::new(),
            settled: BTreeSet::new(),
            orphans: Vec::new(),
            now_us: 0,
        }
    }

    /// Other settings. Limits and lifetime count at once; a wait that has begun stays as it is.
    pub fn reconfigure(&mut self, config: QueueConfig) {
        self.config = config.bounded();
        self.lanes.set_limits(self.config.attempts_max, self.config.attempts_per_domain_max);
    }

    /// False if the intake should say `452` instead of adding a message.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.messages.len() < self.config.messages_max
    }

    /// Messages in the queue.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// True if there is no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Attempts that were given and have not ended, of dropped messages too.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.lanes.under_way()
    }

    /// True if the message is in the queue: a second copy, from the intake or a replay, is none.
    #[must_use]
    pub fn contains(&self, id: MessageId) -> bool {
        self.messages.contains_key(&id)
    }

    /// The message and how far it came.
    #[must_use]
    pub fn get(&self, id: MessageId) -> Option<(&MessageHead, &Progress)> {
        self.messages.get(&id).map(|message| (&message.head, &message.progress))
    }

    /// Takes a message: from the intake (`progress` is `None`: due at once) or from disk. `size`: its octets. A progress of another
    /// message, or with another number of recipients, is as good as none. A message that is there already stays as it is. Takes a
    /// message without room too, since what is on disk has been acknowledged: the intake asks [`Queue::has_room`] before.
    pub fn add(&mut self, head: MessageHead, size: u64, progress: Option<Progress>) {
        let (id, recipients) = (head.id, head.recipients.len());
        if self.messages.contains_key(&id) {
            return;
        }
        let progress = progress
            .filter(|progress| progress.id == id && progress.recipients.len() == recipients)
            .unwrap_or_else(|| Progress::new(id, recipients, 0));
        let mut message = Message { head, size, progress, phase: Phase::Settled };
        message.silence();
        self.messages.insert(id, message);
        if self.place(id) == Need::Nothing {
            self.settled.insert(id);
        }
    }

    /// Puts a message that is in no index where it belongs. One that needs nothing is left to the caller.
    fn place(&mut self, id: MessageId) -> Need {
        let Some(message) = self.messages.get_mut(&id) else { return Need::Nothing };
        let need = message.need();
        match need {
            Need::Report => {
                message.phase = Phase::Reporting(Reporting::Ready);
                self.reports.insert(id);
            }
            Need::Round => {
                message.phase = Phase::Waiting;
                self.waiting.insert((message.progress.next_attempt_us, id));
            }
            Need::Nothing => message.phase = Phase::Settled,
        }
        need
    }

    /// The next thing to try, if something is due and within the limits; it is under way from now on, and its end is told by
    /// [`Queue::handle_attempt`]. Destinations take turns; one at its limit does not hold the others.
    ///
    /// Cost: each message that became due is split into its groups once; else a few look-ups in balanced trees.
    pub fn poll_attempt(&mut self, now_us: u64) -> Option<Attempt> {
        self.now_us = now_us;
        while let Some(&(due_us, id)) = self.waiting.first()
            && due_us <= now_us
        {
            self.waiting.pop_first();
            self.begin_round(id);
        }
        let (id, group) = self.lanes.begin()?;
        // A ticket in a lane and a ready group of a message are made and unmade together (`invariants`).
        let message = self.messages.get_mut(&id)?;
        let Phase::Round(round) = &mut message.phase else { return None };
        let group = round.groups.get_mut(group)?;
        group.state = GroupState::UnderWay;
        let address = |index: &usize| message.head.recipients.get(*index).map(|address| (*index, address.clone()));
        Some(Attempt {
            id,
            domain: group.domain.clone(),
            recipients: group.recipients.iter().filter_map(address).collect(),
            reverse_path: message.head.reverse_path.clone(),
            flags: message.head.flags,
            envelope_id: message.head.envelope_id.clone(),
            requests: group
                .recipients
                .iter()
                .map(|index| message.head.requests.get(*index).cloned().unwrap_or_default())
                .collect(),
        })
    }

    fn begin_round(&mut self, id: MessageId) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        let mut by_domain: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, (address, state)) in message.head.recipients.iter().zip(&message.progress.recipients).enumerate() {
            if state.status.is_pending() {
                by_domain.entry(destination(address).to_ascii_lowercase()).or_default().push(index);
            }
        }
        let mut round = Round {
            groups: Vec::with_capacity(by_domain.len()),
            group_of: vec![None; message.head.recipients.len()],
            unnamed: 0,
        };
        for (domain, recipients) in by_domain {
            for part in recipients.chunks(ATTEMPT_RECIPIENTS_MAX) {
                let group = round.groups.len();
                let ticket = self.lanes.push(&domain, id, group);
                for index in part {
                    if let Some(place) = round.group_of.get_mut(*index) {
                        *place = Some(group);
                    }
                }
                let state = GroupState::Ready(ticket);
                round.groups.push(Group { domain: domain.clone(), recipients: part.to_vec(), state });
            }
        }
        message.phase = Phase::Round(round);
    }

    /// When to ask again if nothing else happens, microseconds since 1970: the earliest message that waits for its next round, or
    /// report that waits to be given again. `None` if nothing waits for time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let waiting = self.waiting.first().map(|(due_us, _)| *due_us);
        let report = self.report_waits.first().map(|(due_us, _)| *due_us);
        waiting.into_iter().chain(report).min()
    }

    /// An attempt has ended. `outcomes` are those of its recipients; one without an outcome counts as transient, without an answer.
    /// Gives what is to be kept now, after the end of every attempt; `None` if the message is not there any more or has no attempt
    /// under way.
    ///
    /// Which attempt of the message has ended is known by the recipients named; one call ends one attempt, or several if it names
    /// recipients of several. If none is named while several attempts of the message are under way, it is not known which one is
    /// meant: it counts against the limits until the others have ended too. So name one, with [`Outcome::Transient`].
    pub fn handle_attempt(&mut self, id: MessageId, outcomes: Vec<RecipientOutcome>, now_us: u64) -> Option<Change> {
        self.now_us = now_us;
        if self.end_orphan(id, &outcomes) {
            return None;
        }
        let message = self.messages.get_mut(&id)?;
        let Phase::Round(round) = &mut message.phase else { return None };
        let ended = round.end(&outcomes)?;
        let mut answered = vec![false; message.progress.recipients.len()];
        for outcome in outcomes {
            // Nobody can know an outcome for a recipient that was not being tried.
            let is_of_ended = round.group_of(outcome.recipient).is_some_and(|group| ended.contains(&group));
            let state = message.progress.recipients.get_mut(outcome.recipient);
            if let (true, Some(state), Some(answered)) = (is_of_ended, state, answered.get_mut(outcome.recipient))
                && state.status.is_pending()
            {
                *answered = true;
                state.status = match outcome.outcome {
                    Outcome::Delivered => Status::Delivered,
                    Outcome::Relayed => Status::Relayed,
                    Outcome::Transient => state.status,
                    Outcome::Permanent => Status::Failed,
                };
                state.host = one_line(&outcome.host, HOST_BYTES_MAX);
                state.reply = one_line(&outcome.reply, REPLY_BYTES_MAX);
            }
        }
        for group in ended.into_iter().filter_map(|index| round.groups.get(index)) {
            self.lanes.end(&group.domain);
            for recipient in &group.recipients {
                if let (Some(false), Some(state)) = (answered.get(*recipient), message.progress.recipients.get_mut(*recipient)) {
                    state.host = String::new();
                    state.reply = NO_ANSWER.to_owned();
                }
            }
        }
        let round_has_ended = round.has_ended();
        if round_has_ended {
            message.end_round(&self.config, now_us);
        }
        message.silence();
        let progress = message.progress.clone();
        if round_has_ended { self.settle(id, progress) } else { Some(Change::Kept(progress)) }
    }

    /// A message leaves its round or its reporting.
    fn settle(&mut self, id: MessageId, progress: Progress) -> Option<Change> {
        if self.place(id) == Need::Nothing {
            self.messages.remove(&id);
            return Some(Change::Ended);
        }
        Some(Change::Kept(progress))
    }

    /// Ends an attempt of a message that was dropped while it was under way; false if there is none.
    fn end_orphan(&mut self, id: MessageId, outcomes: &[RecipientOutcome]) -> bool {
        let Some(index) = self.orphans.iter().position(|(orphan, _)| *orphan == id) else { return false };
        if let Some((_, round)) = self.orphans.get_mut(index) {
            let ended = round.end(outcomes).unwrap_or_default();
            ended.into_iter().filter_map(|index| round.groups.get(index)).for_each(|group| self.lanes.end(&group.domain));
            if round.has_ended() {
                self.orphans.swap_remove(index);
            }
        }
        true
    }

    /// A message whose sender is to be told that recipients failed. Given once; it stays, and begins no round, until
    /// [`Queue::handle_reported`] or [`Queue::report_failed`]. Then: [`Queue::reserve_report`], keep what that gives, make the report
    /// with the reserved id, hand it over.
    pub fn poll_report(&mut self) -> Option<MessageId> {
        while let Some(&(due_us, id)) = self.report_waits.first()
            && due_us <= self.now_us
        {
            self.report_waits.pop_first();
            self.set_reporting(id, Reporting::Ready);
            self.reports.insert(id);
        }
        let id = self.reports.pop_first()?;
        self.set_reporting(id, Reporting::Given);
        Some(id)
    }

    fn set_reporting(&mut self, id: MessageId, reporting: Reporting) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.phase = Phase::Reporting(reporting);
        }
    }

    /// Reserves the id of the report about a message; if one is reserved already, that one stays. Gives the progress to be written
    /// before the report is handed over: its `report` is the id to use. `None` if nothing is to be reported of the message.
    pub fn reserve_report(&mut self, id: MessageId, report: MessageId) -> Option<Progress> {
        debug_assert_ne!(report, MessageId(0), "0 means that no id is reserved");
        let message = self.messages.get_mut(&id).filter(|message| matches!(message.phase, Phase::Reporting(_)))?;
        if message.progress.report == MessageId(0) {
            message.progress.report = report;
        }
        Some(message.progress.clone())
    }

    /// The report could not be handed over now: it is given again in [`REPORT_RETRY_US`], with the same id. One that tells of no failure, only of
    /// a delay or that others have it now, is given up instead, because the message waits for it: gives what is to be kept then.
    pub fn report_failed(&mut self, id: MessageId, now_us: u64) -> Option<Change> {
        self.now_us = now_us;
        let message = self.messages.get_mut(&id)?;
        if !matches!(message.phase, Phase::Reporting(_)) {
            return None;
        }
        if message.progress.recipients.iter().all(|recipient| recipient.status != Status::Failed) {
            return self.handle_reported(id);
        }
        let Phase::Reporting(reporting) = &mut message.phase else { return None };
        let due_us = now_us.saturating_add(REPORT_RETRY_US);
        if let Reporting::Later(before_us) = std::mem::replace(reporting, Reporting::Later(due_us)) {
            self.report_waits.remove(&(before_us, id));
        }
        self.reports.remove(&id);
        self.report_waits.insert((due_us, id));
        None
    }

    /// The sender has been told of all that failed. Gives what is to be kept; `None` if nothing was to be reported.
    pub fn handle_reported(&mut self, id: MessageId) -> Option<Change> {
        let message = self.messages.get_mut(&id)?;
        let Phase::Reporting(reporting) = message.phase else { return None };
        if let Reporting::Later(due_us) = reporting {
            self.report_waits.remove(&(due_us, id));
        }
        self.reports.remove(&id);
        message.is_told();
        let progress = message.progress.clone();
        self.settle(id, progress)
    }

    /// A message from disk of which nothing is left to do: write DONE, remove its file. The queue has forgotten it.
    pub fn poll_settled(&mut self) -> Option<MessageId> {
        let id = self.settled.pop_first()?;
        self.messages.remove(&id);
        Some(id)
    }

    fn selected(&self, selector: &Selector) -> Vec<MessageId> {
        if let Selector::Id(id) = selector {
            return self.messages.contains_key(id).then_some(*id).into_iter().collect();
        }
        let selected = self.messages.values().filter(|message| selector.matches(&message.head, &message.progress));
        selected.map(|message| message.head.id).collect()
    }

    /// The operator's: what is selected is due at once, also the report to its sender. Gives how many messages; those already in a
    /// round are due and do not count. Looks at every message.
    pub fn retry(&mut self, selector: &Selector, now_us: u64) -> usize {
        self.now_us = now_us;
        let mut hastened = 0;
        for id in self.selected(selector) {
            let Some(message) = self.messages.get_mut(&id) else { continue };
            match message.phase {
                Phase::Waiting => {
                    self.waiting.remove(&(message.progress.next_attempt_us, id));
                    self.waiting.insert((now_us, id));
                }
                Phase::Reporting(Reporting::Later(due_us)) => {
                    self.report_waits.remove(&(due_us, id));
                    self.reports.insert(id);
                    message.phase = Phase::Reporting(Reporting::Ready);
                }
                Phase::Reporting(Reporting::Ready | Reporting::Given) => {}
                Phase::Round(_) | Phase::Settled => continue,
            }
            message.progress.next_attempt_us = now_us;
            hastened += 1;
        }
        hastened
    }

    /// The operator's: forgets whole messages, whose senders are not told. Gives which: write DONE for each, remove its file. An
    /// attempt under way goes on, and counts against the limits until [`Queue::handle_attempt`], which gives `None` then. Looks at
    /// every message.
    pub fn drop(&mut self, selector: &Selector) -> Vec<MessageId> {
        let dropped = self.selected(selector);
        for id in &dropped {
            let Some(message) = self.messages.remove(id) else { continue };
            match message.phase {
                Phase::Waiting => {
                    self.waiting.remove(&(message.progress.next_attempt_us, *id));
                }
                Phase::Round(round) => self.abandon(*id, round),
                Phase::Reporting(reporting) => {
                    if let Reporting::Later(due_us) = reporting {
                        self.report_waits.remove(&(due_us, *id));
                    }
                    self.reports.remove(id);
                }
                Phase::Settled => {
                    self.settled.remove(id);
                }
            }
        }
        dropped
    }

    fn abandon(&mut self, id: MessageId, mut round: Round) {
        for group in &mut round.groups {
            if let GroupState::Ready(ticket) = group.state {
                self.lanes.withdraw(&group.domain, ticket);
                group.state = GroupState::Ended;
            }
        }
        if !round.has_ended() {
            self.orphans.push((id, round));
        }
    }

    /// Up to `limit` messages, the oldest first (by id, which begins with the time).
    #[must_use]
    pub fn list(&self, limit: usize) -> Vec<Listed<'_>> {
        self.messages.values().take(limit).map(Message::listed).collect()
    }

    /// Asserts what must always be true; looks at every message. For tests.
    #[doc(hidden)]
    pub fn invariants(&self) {
        let (mut waiting, mut reports, mut report_waits, mut settled, mut ready, mut under_way) = (0, 0, 0, 0, 0, 0);
        for (id, message) in &self.messages {
            let progress = &message.progress;
            assert!(message.head.id == *id && progress.id == *id);
            assert_eq!(progress.recipients.len(), message.head.recipients.len());
            assert!(progress.write_to(&mut Vec::new()) || progress.recipients.len() > crate::record::MESSAGE_RECIPIENTS_MAX);
            match &message.phase {
                Phase::Waiting => {
                    waiting += 1;
                    assert!(message.need() == Need::Round && self.waiting.contains(&(progress.next_attempt_us, *id)));
                }
                Phase::Round(round) => {
                    assert!(!round.has_ended());
                    assert!(round.unnamed == 0 || round.unnamed < round.under_way());
                    for (index, group) in round.groups.iter().enumerate() {
                        assert!((1..=ATTEMPT_RECIPIENTS_MAX).contains(&group.recipients.len()));
                        assert!(group.recipients.iter().all(|recipient| round.group_of.get(*recipient) == Some(&Some(index))));
                        match group.state {
                            GroupState::Ready(ticket) => {
                                ready += 1;
                                assert!(self.lanes.holds(&group.domain, ticket, *id, index));
                            }
                            GroupState::UnderWay => under_way += 1,
                            GroupState::Ended => {}
                        }
                    }
                }
                Phase::Reporting(reporting) => {
                    assert_eq!(message.need(), Need::Report);
                    match reporting {
                        Reporting::Ready => {
                            reports += 1;
                            assert!(self.reports.contains(id));
                        }
                        Reporting::Given => {}
                        Reporting::Later(due_us) => {
                            report_waits += 1;
                            assert!(self.report_waits.contains(&(*due_us, *id)));
                        }
                    }
                }
                Phase::Settled => {
                    settled += 1;
                    assert!(message.need() == Need::Nothing && self.settled.contains(id));
                }
            }
        }
        for (_, round) in &self.orphans {
            assert!(round.groups.iter().all(|group| !matches!(group.state, GroupState::Ready(_))));
            assert!(round.unnamed < round.under_way());
            under_way += round.under_way();
        }
        self.lanes.invariants(ready, under_way);
        let indexed = [self.waiting.len(), self.reports.len(), self.report_waits.len(), self.settled.len()];
        assert_eq!(indexed, [waiting, reports, report_waits, settled]);
    }
}

impl Message {
    fn listed(&self) -> Listed<'_> {
        let under_way = match &self.phase {
            Phase::Round(round) => round.under_way() > 0,
            Phase::Waiting | Phase::Reporting(_) | Phase::Settled => false,
        };
        let recipients = self.head.recipients.iter().zip(&self.progress.recipients);
        Listed {
            id: self.head.id,
            received_us: self.head.received_us,
            size: self.size,
            reverse_path: &self.head.reverse_path,
            attempts: self.progress.attempts,
            next_attempt_us: self.progress.next_attempt_us,
            under_way,
            recipients: recipients.map(|(address, state)| (address.as_str(), state.status, state.reply.as_str())).collect(),
        }
    }
}

impl Round {
    fn group_of(&self, recipient: usize) -> Option<usize> {
        self.group_of.get(recipient).copied().flatten()
    }

    fn has_ended(&self) -> bool {
        self.groups.iter().all(|group| group.state == GroupState::Ended)
    }

    fn under_way(&self) -> usize {
        self.groups.iter().filter(|group| group.state == GroupState::UnderWay).count()
    }

    /// An attempt has ended: gives the groups that are known to have ended by that, perhaps none yet. `None` if no attempt is under
    /// way.
    fn end(&mut self, outcomes: &[RecipientOutcome]) -> Option<SmallVec<[usize; 4]>> {
        let mut left = self.under_way();
        if left == 0 {
            return None;
        }
        let mut ended = SmallVec::new();
        for outcome in outcomes {
            if let Some(index) = self.group_of(outcome.recipient)
                && let Some(group) = self.groups.get_mut(index)
                && group.state == GroupState::UnderWay
            {
                group.state = GroupState::Ended;
                ended.push(index);
                left -= 1;
            }
        }
        self.unnamed += usize::from(ended.is_empty());
        // All that are left have ended without being named.
        if self.unnamed >= left {
            self.unnamed = 0;
            for (index, group) in self.groups.iter_mut().enumerate().filter(|(_, group)| group.state == GroupState::UnderWay) {
                group.state = GroupState::Ended;
                ended.push(index);
            }
        }
        Some(ended)
    }
}

/// Where an address goes: what is behind the last `@`, or all of it if that is nothing. Not yet in lower case.
pub(crate) fn destination(address: &str) -> &str {
    match address.rsplit_once('@') {
        Some((_, domain)) if !domain.is_empty() => domain,
        _ => address,
    }
}

/// A text from elsewhere as one line, cut within a number of octets but never inside a character.
fn one_line(text: &str, bytes_max: usize) -> String {
    let mut line: String = text.chars().take(bytes_max).map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.truncate(line.floor_char_boundary(bytes_max));
    line
}

#[cfg(test)]
mod tests;
