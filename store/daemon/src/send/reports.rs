//! Reports to the senders of mail that could not be delivered: written, then handed to the store that has the sender's mailbox, or to our
//! own queue if the sender is elsewhere.
//!
//! ```text
//!   reserve: the report's id is journaled  >  hand_over: arena slot > store shard, or a MESSAGE record  >  poll_ended: it is on disk
//! ```
//! The id is on disk before the report is given to anybody: after a crash the same report is made again, and the store, which knows
//! the id, drops it.

use super::files::Effect;
use postring_control::{ChildSender, Counter, Endpoint, FromChild, ProducerEnd, Role, StatsPage};
use postring_directory::{Resolution, Snapshot, Target, account_shard};
use postring_handoff::{JobId, Jobs, Trouble};
use postring_mail::dsn::Notify;
use postring_mail::envelope::{EnvelopeFlags, EnvelopeWriter, Fate, MessageId, Origin, Recipient};
use postring_mail::limits::SLOT_HEAD_BYTES;
use postring_mail::work::Kind;
use postring_queue::record::{HEAD_BYTES_MAX, read_message};
use postring_queue::{Action, MessageHead, Progress, RecipientReport, Report, record, write_report};
use postring_ring::{Arena, ArenaGeometry, SlotClass};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Reports under way at once.
const REPORTS_MAX: usize = 32;
/// Bytes of a report: its own words, and the header of the message it is about.
const REPORT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a queued message that are read: its header is to be found there, and with RET=FULL what is longer does not go back.
const ORIGINAL_BYTES_MAX: usize = 64 * 1024;
/// How often deadlines are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

const RETURN_PATH: &[u8] = b"Return-Path: <>\r\n";

/// One report; by the message it is about.
#[derive(Default)]
struct Open {
    /// Given to stores.
    job: Option<JobId>,
    /// Our own queue's, until it is journaled.
    own: Option<MessageId>,
    /// A store did not take it.
    failed: bool,
}

/// See the module.
pub(super) struct Reports {
    hostname: String,
    shard: u32,
    store_shards: u32,
    directory: Option<Snapshot>,
    arena: Arena,
    jobs: Jobs,
    last_id: MessageId,
    reserved: Vec<MessageId>,
    open: BTreeMap<MessageId, Open>,
    begun: Instant,
    look_at: Instant,
    control: ChildSender,
}

/// The slots of a send shard.
pub(super) fn geometry() -> ArenaGeometry {
    let bytes = SLOT_HEAD_BYTES + REPORT_BYTES_MAX;
    let count = u32::try_from(REPORTS_MAX).unwrap_or(u32::MAX);
    ArenaGeometry { classes: vec![SlotClass { slot_bytes: u32::try_from(bytes).unwrap_or(u32::MAX), count }] }
}

impl Reports {
    pub(super) fn new(hostname: String, shard: u32, store_shards: u32, arena: Arena, control: ChildSender) -> Self {
        Self {
            hostname,
            shard,
            store_shards,
            directory: None,
            arena,
            jobs: Jobs::default(),
            last_id: MessageId::default(),
            reserved: Vec::new(),
            open: BTreeMap::new(),
            begun: Instant::now(),
            look_at: Instant::now(),
            control,
        }
    }

    pub(super) fn set_directory(&mut self, directory: Snapshot) {
        self.directory = Some(directory);
    }

    pub(super) fn attach(&mut self, link: ProducerEnd) {
        let now_ms = self.now_ms();
        self.jobs.attach(link, &mut self.arena, now_ms);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// An id for a report. The edge's shards count from 0, ours down from 63, so that no two make the same.
    pub(super) fn next_id(&mut self, now_us: u64) -> MessageId {
        self.last_id = MessageId::next(self.last_id, 63 - (self.shard & 31), now_us);
        self.last_id
    }

    pub(super) fn has_room(&self) -> bool {
        self.open.len() < REPORTS_MAX
    }

    /// Reports under way.
    pub(super) fn under_way(&self) -> usize {
        self.open.len()
    }

    /// The report on `about` will have an id that is being journaled.
    pub(super) fn reserve(&mut self, about: MessageId) {
        self.open.insert(about, Open::default());
        self.reserved.push(about);
    }

    /// Those whose id is on disk now: hand them over.
    pub(super) fn take_reserved(&mut self) -> Vec<MessageId> {
        std::mem::take(&mut self.reserved)
    }

    /// The report is not under way any more.
    pub(super) fn forget(&mut self, about: MessageId) {
        if let Some(Open { job: Some(job), .. }) = self.open.remove(&about) {
            self.jobs.end(job, &mut self.arena);
        }
    }

    /// A message of our own queue is in the journal.
    pub(super) fn kept_here(&mut self, id: MessageId) {
        for open in self.open.values_mut().filter(|open| open.own == Some(id)) {
            open.own = None;
        }
    }

    /// Writes the report and gives it to the stores of its sender's mailboxes; gives back the record for our own queue if some of them, or
    /// all, are elsewhere. Nobody to tell is no error: it is over then.
    pub(super) fn hand_over(&mut self, head: &MessageHead, progress: &Progress, path: &Path) -> Result<Option<Effect>, String> {
        let recipients = RecipientReport::all_of(head, progress);
        for told in &recipients {
            let word = if told.action == Action::Failed { "returned" } else { "reported" };
            tracing::info!(target: "mail", id = %head.id, to = told.recipient, from = head.reverse_path, "{word}: {}", told.reply);
        }
        //= RFC 5321 section 6.1
        //# the reverse-path is null [...] a notification message MUST NOT be sent
        if head.reverse_path.is_empty() {
            tracing::warn!(id = %head.id, "a report could not be delivered itself; nobody is told");
            return Ok(None);
        }
        let directory = self.directory.as_ref().ok_or("the directory has not come yet")?;
        let (local_part, domain) = head.reverse_path.rsplit_once('@').unwrap_or((&head.reverse_path, ""));
        let (mut accounts, mut remote) = (Vec::new(), Vec::new());
        match directory.resolve(local_part, domain) {
            Resolution::Targets(targets) => targets.for_each(|target| match target {
                Target::Account(id) => accounts.push(id),
                Target::Remote(address) => remote.push(address.to_owned()),
            }),
            Resolution::NotHosted => remote.push(head.reverse_path.clone()),
            Resolution::UnknownUser | Resolution::Disabled => {
                tracing::warn!(id = %head.id, "its sender {} has no mailbox here; nobody is told", head.reverse_path);
            }
        }
        let mut original = Vec::with_capacity(16 * 1024);
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        file.take((HEAD_BYTES_MAX + ORIGINAL_BYTES_MAX) as u64).read_to_end(&mut original).map_err(|error| error.to_string())?;
        let is_whole = original.len() < HEAD_BYTES_MAX + ORIGINAL_BYTES_MAX;
        let original = read_message(&original).map_or(&[][..], |(_, message)| message);
        let now_us = super::keeper::now_us();
        let report = Report {
            hostname: &self.hostname,
            id: progress.report,
            now_us,
            arrived_us: head.received_us,
            reverse_path: &head.reverse_path,
            envelope_id: &head.envelope_id,
            recipients: &recipients,
            original,
            // Only to our own users: whoever forges a sender could have anything sent to it.
            full: is_whole && head.flags.has(EnvelopeFlags::RETURN_FULL | EnvelopeFlags::AUTHENTICATED),
        };
        let mut text = Vec::with_capacity(original.len() + 4096);
        write_report(&report, &mut text);
        if !accounts.is_empty() {
            let job = self.give(progress.report, now_us, &head.reverse_path, &accounts, &text)?;
            self.open.entry(head.id).or_default().job = Some(job);
        }
        if remote.is_empty() {
            return Ok(None);
        }
        self.open.entry(head.id).or_default().own = Some(progress.report);
        let own = MessageHead {
            id: progress.report,
            received_us: now_us,
            flags: body_flags(&text),
            reverse_path: String::new(),
            account: String::new(),
            recipients: remote,
            envelope_id: String::new(),
            requests: Vec::new(),
        };
        let mut body = Vec::with_capacity(text.len() + 512);
        if !own.write_to(&mut body) {
            return Err("the report does not fit the queue's format".to_owned());
        }
        body.extend_from_slice(&text);
        Ok(Some(Effect { id: own.id, kind: record::MESSAGE, body }))
    }

    /// Puts a report into a slot and gives it to the stores of these accounts.
    fn give(&mut self, id: MessageId, now_us: u64, to: &str, accounts: &[u64], text: &[u8]) -> Result<JobId, String> {
        let length = RETURN_PATH.len() + text.len();
        let slot = self.arena.acquire(SLOT_HEAD_BYTES + length).ok_or("no slot is free for it")?;
        let memory = self.arena.bytes_mut(&slot);
        let origin = Origin {
            id,
            received_us: now_us,
            flags: body_flags(text),
            reverse_path: "",
            client: "",
            helo: &self.hostname,
            account: "",
            envelope_id: "",
        };
        let shards: BTreeSet<u32> = accounts.iter().map(|account| account_shard(*account, self.store_shards)).collect();
        let written = EnvelopeWriter::begin(memory, &origin).and_then(|mut writer| {
            for account in accounts {
                let shard = account_shard(*account, self.store_shards);
                let notify = Notify::default();
                writer.push(&Recipient {
                    account: *account,
                    shard,
                    notify,
                    forward_path: to,
                    original_recipient: "",
                    fate: Fate::default(),
                })?;
            }
            Ok(writer.finish())
        });
        let body = memory.get_mut(SLOT_HEAD_BYTES..SLOT_HEAD_BYTES + length);
        let (Ok(head_length), Some(body)) = (written, body) else {
            self.arena.release(slot);
            return Err("its envelope does not fit a slot".to_owned());
        };
        let (first, rest) = body.split_at_mut(RETURN_PATH.len());
        first.copy_from_slice(RETURN_PATH);
        rest.copy_from_slice(text);
        let job = self.jobs.begin(slot, id, SLOT_HEAD_BYTES, length, head_length);
        let to: Vec<_> = shards
            .into_iter()
            .map(|shard| (Endpoint { role: Role::Store, shard }, Kind::Deliver, SLOT_HEAD_BYTES, length))
            .collect();
        let now_ms = self.now_ms();
        self.jobs.store(job, &to, now_ms);
        Ok(job)
    }

    /// Those that have come to an end, and whether they were handed over.
    pub(super) fn poll_ended(&mut self, stats: &StatsPage) -> Vec<(MessageId, bool)> {
        let now_ms = self.now_ms();
        self.jobs.take_completions(&mut self.arena, now_ms);
        if Instant::now() >= self.look_at {
            self.look_at = Instant::now() + LOOK_EVERY;
            self.jobs.check_deadlines(now_ms);
        }
        for trouble in self.jobs.take_trouble() {
            let message = match trouble {
                Trouble::Lied(peer, text) => {
                    stats.add(Counter::PeersLied, 1);
                    FromChild::PeerLied { peer, text }
                }
                Trouble::Hangs(peer, text) => FromChild::PeerHangs { peer, text },
            };
            // A supervisor that is gone drains us anyway.
            let _ = self.control.send(&message, &[]);
        }
        for open in self.open.values_mut() {
            let Some(job) = open.job else { continue };
            if let Poll::Ready(stored) = self.jobs.poll_stored(job, Waker::noop()) {
                open.failed |= stored.is_err();
                open.job = None;
                self.jobs.end(job, &mut self.arena);
            }
        }
        let waits = |about: &MessageId, open: &Open| open.job.is_some() || open.own.is_some() || self.reserved.contains(about);
        let ended: Vec<(MessageId, bool)> =
            self.open.iter().filter(|(about, open)| !waits(about, open)).map(|(about, open)| (*about, !open.failed)).collect();
        for (about, _) in &ended {
            self.open.remove(about);
        }
        ended
    }

    /// Before the shard sleeps. True if it must look once more.
    pub(super) fn prepare_sleep(&mut self) -> bool {
        self.jobs.prepare_sleep()
    }

    /// After it slept.
    pub(super) fn awake(&mut self) {
        self.jobs.awake();
    }
}

fn body_flags(text: &[u8]) -> EnvelopeFlags {
    EnvelopeFlags(if text.is_ascii() { 0 } else { EnvelopeFlags::EIGHT_BIT })
}
