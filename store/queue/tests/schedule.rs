//! The schedule under random operations, with crashes: nothing is lost, nothing delivered twice, limits hold, everything ends.
//!
//! The world keeps what a disk would (heads, the last progress of each, as bytes), what the remote hosts took, and what the sender
//! was told. A crash forgets the queue and the attempts under way, and reads the disk again.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use postring_mail::envelope::{EnvelopeFlags, MessageId};
use postring_queue::record::{read_done, read_message, write_done};
use postring_queue::{
    Attempt, Change, MessageHead, Outcome, Progress, Queue, QueueConfig, RecipientOutcome, RecipientReport, Selector, Status,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SECOND_US: u64 = 1_000_000;

#[derive(Clone, Debug)]
enum Step {
    /// A message for these of [`ADDRESSES`].
    Add {
        recipients: Vec<usize>,
        null_sender: bool,
    },
    /// Take up to so many attempts.
    Poll(usize),
    /// End one of those under way; one number decides each recipient's outcome.
    Finish {
        which: usize,
        fates: Vec<u8>,
    },
    Pass(u64),
    /// Make one report; it may fail to be handed over, or the machine crashes before it is noted.
    Report(ReportEnd),
    Crash,
    Retry(usize),
    Drop(usize),
    Reconfigure {
        attempts_max: usize,
        attempts_per_domain_max: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum ReportEnd {
    Noted,
    Failed,
    CrashAfterReserve,
    CrashAfterHandOver,
}

const ADDRESSES: [&str; 8] =
    ["a@one.example", "b@one.example", "c@ONE.example", "d@two.example", "e@three.example", "f@[192.0.2.1]", "nobody", "g@"];

fn step() -> impl Strategy<Value = Step> {
    let report_end = prop_oneof![
        6 => Just(ReportEnd::Noted),
        2 => Just(ReportEnd::Failed),
        1 => Just(ReportEnd::CrashAfterReserve),
        1 => Just(ReportEnd::CrashAfterHandOver),
    ];
    prop_oneof![
        4 => (prop::collection::vec(0..ADDRESSES.len(), 0..6), prop::bool::weighted(0.2))
            .prop_map(|(recipients, null_sender)| Step::Add { recipients, null_sender }),
        6 => (0..6_usize).prop_map(Step::Poll),
        8 => (any::<usize>(), prop::collection::vec(0..5_u8, 0..4)).prop_map(|(which, fates)| Step::Finish { which, fates }),
        3 => (0..4_000_u64).prop_map(|seconds| Step::Pass(seconds * SECOND_US)),
        3 => report_end.prop_map(Step::Report),
        1 => Just(Step::Crash),
        1 => any::<usize>().prop_map(Step::Retry),
        1 => any::<usize>().prop_map(Step::Drop),
        1 => (0..8_usize, 0..4_usize).prop_map(|(attempts_max, attempts_per_domain_max)| Step::Reconfigure { attempts_max, attempts_per_domain_max }),
    ]
}

struct World {
    queue: Queue,
    config: QueueConfig,
    now_us: u64,
    last_id: u64,
    /// What the disk has of each message that is not done: the MESSAGE and the last PROGRESS.
    disk: BTreeMap<MessageId, (Vec<u8>, Option<Vec<u8>>)>,
    under_way: Vec<Attempt>,
    /// Every message that was added, and the number of its recipients.
    added: BTreeMap<MessageId, usize>,
    null_sender: BTreeSet<MessageId>,
    dropped: BTreeSet<MessageId>,
    delivered: BTreeSet<(MessageId, usize)>,
    refused: BTreeSet<(MessageId, usize)>,
    /// Reports by their id; one of the same id is dropped by who receives it.
    reports: BTreeMap<MessageId, BTreeSet<(MessageId, usize)>>,
}

impl World {
    fn new(config: QueueConfig) -> Self {
        Self {
            queue: Queue::new(config),
            config,
            now_us: 1_700_000_000 * SECOND_US,
            last_id: 0,
            disk: BTreeMap::new(),
            under_way: Vec::new(),
            added: BTreeMap::new(),
            null_sender: BTreeSet::new(),
            dropped: BTreeSet::new(),
            delivered: BTreeSet::new(),
            refused: BTreeSet::new(),
            reports: BTreeMap::new(),
        }
    }

    fn new_id(&mut self) -> MessageId {
        self.last_id += 1;
        MessageId(self.last_id)
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Add { recipients, null_sender } => self.add(&recipients, null_sender),
            Step::Poll(count) => {
                for _ in 0..count {
                    self.poll();
                }
            }
            Step::Finish { which, fates } => self.finish(which, &fates),
            Step::Pass(time_us) => self.now_us += time_us,
            Step::Report(end) => self.report(end),
            Step::Crash => self.crash(),
            Step::Retry(which) => {
                self.queue.retry(&self.selector(which), self.now_us);
            }
            Step::Drop(which) => {
                for id in self.queue.drop(&self.selector(which)) {
                    self.dropped.insert(id);
                    self.done(id);
                }
            }
            Step::Reconfigure { attempts_max, attempts_per_domain_max } => {
                self.config = QueueConfig { attempts_max, attempts_per_domain_max, ..self.config };
                self.queue.reconfigure(self.config);
            }
        }
        self.check();
    }

    /// Seldom all; else a message, a domain or an address.
    fn selector(&self, which: usize) -> Selector {
        let text = match which % 8 {
            0 => "all".to_owned(),
            1 => "two.example".to_owned(),
            2 => "B@one.example".to_owned(),
            _ => MessageId(u64::try_from(which / 8).unwrap() % (self.last_id + 1)).to_string(),
        };
        text.parse().unwrap()
    }

    fn add(&mut self, recipients: &[usize], null_sender: bool) {
        let id = self.new_id();
        let head = MessageHead {
            id,
            received_us: self.now_us,
            flags: EnvelopeFlags(0),
            reverse_path: if null_sender { String::new() } else { "s@here.example".to_owned() },
            account: String::new(),
            recipients: recipients.iter().map(|index| ADDRESSES[*index].to_owned()).collect(),
            envelope_id: String::new(),
            requests: Vec::new(),
        };
        let mut record = Vec::new();
        assert!(head.write_to(&mut record));
        record.extend_from_slice(b"message");
        self.disk.insert(id, (record, None));
        self.added.insert(id, recipients.len());
        if null_sender {
            self.null_sender.insert(id);
        }
        self.queue.add(head, 7, None);
        // A message without recipients is settled from the beginning.
        self.settled();
    }

    fn poll(&mut self) -> bool {
        let Some(attempt) = self.queue.poll_attempt(self.now_us) else { return false };
        assert!(!self.dropped.contains(&attempt.id) && !attempt.recipients.is_empty());
        let progress = self.queue.get(attempt.id).unwrap().1;
        assert!(progress.next_attempt_us <= self.now_us);
        for (recipient, address) in &attempt.recipients {
            assert_eq!(progress.recipients[*recipient].status, Status::Pending);
            assert!(!self.delivered.contains(&(attempt.id, *recipient)), "delivered twice");
            assert!(!self.refused.contains(&(attempt.id, *recipient)), "tried after a refusal");
            assert!(address.to_ascii_lowercase().ends_with(&attempt.domain));
            let twice = |other: &Attempt| other.id == attempt.id && other.recipients.iter().any(|(index, _)| index == recipient);
            assert!(!self.under_way.iter().any(twice), "under way twice");
        }
        let to_domain = self.under_way.iter().filter(|other| other.domain == attempt.domain).count();
        assert!(to_domain < self.config.attempts_per_domain_max.max(1));
        assert!(self.under_way.len() < self.config.attempts_max.max(1));
        self.under_way.push(attempt);
        true
    }

    fn finish(&mut self, which: usize, fates: &[u8]) {
        if self.under_way.is_empty() {
            return;
        }
        let attempt = self.under_way.swap_remove(which % self.under_way.len());
        let mut outcomes = Vec::new();
        // Recipients without a fate get no outcome.
        for ((recipient, _), fate) in attempt.recipients.iter().zip(fates) {
            let outcome = match fate {
                0 | 1 => Outcome::Delivered,
                2 => Outcome::Permanent,
                3 => Outcome::Transient,
                _ => continue,
            };
            if outcome == Outcome::Delivered {
                assert!(self.delivered.insert((attempt.id, *recipient)));
            }
            if outcome == Outcome::Permanent {
                self.refused.insert((attempt.id, *recipient));
            }
            let reply = format!("{} said\r\nso\u{0}", 200 + 100 * u16::from(*fate));
            outcomes.push(RecipientOutcome { recipient: *recipient, outcome, host: "mx.example".to_owned(), reply });
        }
        let change = self.queue.handle_attempt(attempt.id, outcomes, self.now_us);
        assert_eq!(change.is_none(), self.dropped.contains(&attempt.id));
        self.keep(attempt.id, change);
    }

    fn keep(&mut self, id: MessageId, change: Option<Change>) {
        match change {
            Some(Change::Kept(progress)) => {
                assert_eq!(self.queue.get(id).unwrap().1, &progress);
                self.write(&progress);
            }
            Some(Change::Ended) => self.done(id),
            None => {}
        }
    }

    fn write(&mut self, progress: &Progress) {
        let mut record = Vec::new();
        assert!(progress.write_to(&mut record));
        self.disk.get_mut(&progress.id).unwrap().1 = Some(record);
    }

    fn done(&mut self, id: MessageId) {
        let mut record = Vec::new();
        write_done(id, &mut record);
        assert!(self.disk.remove(&read_done(&record).unwrap()).is_some(), "done twice");
        assert!(!self.queue.contains(id));
    }

    fn settled(&mut self) {
        while let Some(id) = self.queue.poll_settled() {
            self.done(id);
        }
    }

    fn report(&mut self, end: ReportEnd) {
        let Some(id) = self.queue.poll_report() else { return };
        assert!(!self.null_sender.contains(&id) && !self.under_way.iter().any(|attempt| attempt.id == id));
        let new_id = self.new_id();
        let progress = self.queue.reserve_report(id, new_id).unwrap();
        self.write(&progress);
        if matches!(end, ReportEnd::CrashAfterReserve) {
            return self.crash();
        }
        if matches!(end, ReportEnd::Failed) {
            let change = self.queue.report_failed(id, self.now_us);
            return self.keep(id, change);
        }
        let (head, progress) = self.queue.get(id).unwrap();
        assert!(!RecipientReport::all_of(head, progress).is_empty());
        let failed = progress.recipients.iter().enumerate().filter(|(_, state)| state.status == Status::Failed);
        let told: BTreeSet<_> = failed.map(|(index, _)| (id, index)).collect();
        // The receiver drops a report of an id it knows: that one must have said the same.
        let known = self.reports.entry(progress.report).or_insert_with(|| told.clone());
        assert_eq!(*known, told);
        if matches!(end, ReportEnd::CrashAfterHandOver) {
            return self.crash();
        }
        let change = self.queue.handle_reported(id);
        assert!(change.is_some());
        self.keep(id, change);
    }

    fn crash(&mut self) {
        self.under_way.clear();
        self.queue = Queue::new(self.config);
        for (record, progress) in self.disk.values() {
            let (head, message) = read_message(record).unwrap();
            assert_eq!(message, b"message");
            self.queue.add(head, 7, progress.as_ref().map(|progress| Progress::read(progress).unwrap()));
        }
        self.settled();
    }

    fn check(&self) {
        self.queue.invariants();
        // An attempt that ended without naming a recipient may still count; not when nothing else is under way.
        assert!(self.queue.under_way() >= self.under_way.len());
        assert!(self.queue.under_way() == 0 || !self.under_way.is_empty());
        assert_eq!(self.queue.len(), self.disk.len());
        assert!(self.disk.keys().all(|id| self.queue.contains(*id)));
        let listed = self.queue.list(usize::MAX);
        assert!(listed.iter().map(|listed| &listed.id).eq(self.disk.keys()));
        for listed in listed {
            assert_eq!(listed.under_way, self.under_way.iter().any(|attempt| attempt.id == listed.id));
        }
    }

    /// Runs until nothing is left, only waking when the queue says so. Nobody takes anything: the lifetime must end it.
    fn drain(&mut self) {
        self.config = QueueConfig { attempts_max: 5, attempts_per_domain_max: 2, ..self.config };
        self.queue.reconfigure(self.config);
        let mut turns = 0;
        while !self.queue.is_empty() || !self.under_way.is_empty() {
            while self.poll() {}
            while !self.under_way.is_empty() {
                self.finish(0, &[]);
            }
            for _ in 0..self.queue.len() {
                self.report(ReportEnd::Noted);
            }
            self.check();
            // Something else may have become possible by what has just ended; only then is time to pass.
            if !self.poll()
                && let Some(next_us) = self.queue.poll_timeout()
            {
                self.now_us = self.now_us.max(next_us);
            }
            turns += 1;
            assert!(turns < 10_000, "a message does not end");
        }
    }

    /// Every recipient of a message that nobody dropped was delivered to, or its sender was told, and never both.
    fn account(&self) {
        let mut told = BTreeSet::new();
        for recipient in self.reports.values().flatten() {
            assert!(told.insert(*recipient), "told twice");
            assert!(!self.delivered.contains(recipient), "delivered and reported");
        }
        for (id, recipients) in &self.added {
            if self.dropped.contains(id) || self.null_sender.contains(id) {
                continue;
            }
            for recipient in 0..*recipients {
                assert!(self.delivered.contains(&(*id, recipient)) || told.contains(&(*id, recipient)), "lost: {id} {recipient}");
            }
        }
        assert!(self.disk.is_empty());
    }
}

fn config() -> QueueConfig {
    QueueConfig {
        lifetime_us: 20_000 * SECOND_US,
        retry_min_us: 60 * SECOND_US,
        retry_max_us: 3_000 * SECOND_US,
        messages_max: 10,
        attempts_max: 4,
        attempts_per_domain_max: 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost_and_nothing_is_delivered_twice(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new(config());
        for step in steps {
            world.run(step);
        }
        world.drain();
        world.account();
    }
}

/// A thousand messages to a host that never answers, and one to another.
#[test]
fn a_stuck_domain_holds_nobody() {
    let mut queue = Queue::new(QueueConfig::default());
    let head = |id: u64, address: &str| MessageHead {
        id: MessageId(id),
        received_us: 0,
        flags: EnvelopeFlags(0),
        reverse_path: String::new(),
        account: String::new(),
        recipients: vec![address.to_owned()],
        envelope_id: String::new(),
        requests: Vec::new(),
    };
    for id in 0..1000 {
        queue.add(head(id, "u@stuck.example"), 1, None);
    }
    queue.add(head(1000, "u@good.example"), 1, None);
    let begun: Vec<String> = std::iter::from_fn(|| queue.poll_attempt(0)).map(|attempt| attempt.domain).collect();
    assert_eq!(begun.len(), 5);
    assert!(begun[..2].contains(&"good.example".to_owned()), "{begun:?}");
    // Nothing waits for time: the end of an attempt is what all others wait for.
    assert_eq!(queue.poll_timeout(), None);
    assert_eq!(queue.handle_attempt(MessageId(0), vec![], 0).map(|change| matches!(change, Change::Kept(_))), Some(true));
    assert!(queue.poll_attempt(0).is_some() && queue.poll_attempt(0).is_none());
    queue.invariants();
}
