//! Messages given out over the links: who works on which, what came back, what is given out again when a peer is replaced.
//!
//! A message is given out at least once and counted once: consumers know ids they have kept. Its slot is free when nobody reads
//! it any more. All of it is one thread's; tasks wait by their waker.
//!
//! No more is under way at a consumer than its answers have room for in its ring, so an honest consumer can always answer; the rest
//! waits here.

use postring_control::{Endpoint, ProducerEnd, Role};
use postring_mail::work::{Kind, Refusal};
use postring_mail::{envelope::MessageId, limits};
use postring_ring::{Arena, Descriptor, Lie, PushError, Slot};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::task::{Poll, Waker};

/// The proof that every store and queue concerned has the message on disk. Only [`Jobs::poll_stored`] makes one, out of their
/// `Durable` completions.
#[derive(Debug)]
pub struct Receipt(());

/// How a scan ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Scanned {
    /// The verdict's bytes are in the job.
    Verdict,
    /// No worker came to an end with it.
    Failed,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// Given to nobody yet.
    Begun,
    /// Waits for a worker with room.
    ScanWaits,
    Scanning(Endpoint),
    ScanDone(bool),
    /// Given to stores and queue.
    Storing,
    /// The session has its answer; consumers may still read the slot.
    Answered,
}

#[derive(Debug)]
struct Job {
    slot: Option<Slot>,
    work: Descriptor,
    stage: Stage,
    verdict: Vec<u8>,
    attempts: u32,
    deadline_ms: u64,
    /// Consumers that have not said Durable, with what they were given.
    awaited: SmallVec<[(Endpoint, Descriptor); 2]>,
    /// Consumers that have not said Released.
    readers: SmallVec<[Endpoint; 2]>,
    /// Somebody has said Durable.
    durable: bool,
    refusal: Option<Refusal>,
    waker: Option<Waker>,
}

/// Names a job; a stale one finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobId(u64);

#[derive(Default)]
struct Place {
    generation: u32,
    job: Option<Job>,
}

/// What must be told to the supervisor.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// This peer broke the ring's rules.
    Lied(Endpoint, String),
    /// This peer does not come to an end.
    Hangs(Endpoint, String),
}

/// A link, and what is under way there.
struct Line {
    end: ProducerEnd,
    under_way: u32,
}

impl Line {
    /// Gives work, if the consumer has room for it and for its answers.
    fn push(&mut self, work: &Descriptor) -> Result<(), PushError> {
        // A scan is answered once, everything else twice: Durable, then Released.
        let answers = if self.end.consumer.role == Role::Scan { 1 } else { 2 };
        if self.under_way >= self.end.entries / answers {
            return Err(PushError::Full);
        }
        self.end.link.push(work, &[])?;
        self.under_way += 1;
        if self.end.link.must_ring() {
            self.end.bell.ring();
        }
        Ok(())
    }
}

/// Completions taken from one link in one turn; a peer must not keep us here.
const TURN_MAX: usize = 8192;

/// The jobs of a shard.
#[derive(Default)]
pub struct Jobs {
    places: Vec<Place>,
    free: Vec<u32>,
    links: Vec<Line>,
    /// Scans no worker had room for.
    waiting: VecDeque<JobId>,
    /// Work a store or the queue had no room for.
    unsent: VecDeque<(JobId, Endpoint)>,
    next_worker: usize,
    trouble: Vec<Trouble>,
}

impl Jobs {
    /// Takes a message over: its slot, and where it lies in it.
    pub fn begin(&mut self, slot: Slot, id: MessageId, offset: usize, length: usize, head_length: usize) -> JobId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let generation = self.places.get(index as usize).map_or(0, |place| place.generation);
        let cookie = u64::from(index) | u64::from(generation) << 32;
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let work = Descriptor {
            slot: slot.index(),
            generation: slot.generation(),
            offset: number(offset),
            length: number(length),
            kind: 0,
            status: 0,
            head_length: number(head_length),
            cookie,
            aux: id.0,
        };
        let job = Job {
            slot: Some(slot),
            work,
            stage: Stage::Begun,
            verdict: Vec::new(),
            attempts: 0,
            deadline_ms: u64::MAX,
            awaited: SmallVec::new(),
            readers: SmallVec::new(),
            durable: false,
            refusal: None,
            waker: None,
        };
        if let Some(place) = self.places.get_mut(index as usize) {
            place.job = Some(job);
        }
        JobId(cookie)
    }

    fn get(&mut self, id: JobId) -> Option<&mut Job> {
        #[allow(clippy::cast_possible_truncation)] // takes the cookie apart
        let (index, generation) = (id.0 as u32, (id.0 >> 32) as u32);
        let place = self.places.get_mut(index as usize)?;
        if place.generation == generation { place.job.as_mut() } else { None }
    }

    /// The slot of a job that nobody else reads now, to add header fields.
    pub fn slot(&mut self, id: JobId) -> Option<&Slot> {
        self.get(id)?.slot.as_ref()
    }

    /// A copy of the message as it was scanned.
    pub fn message(&mut self, id: JobId, arena: &Arena) -> Option<(MessageId, Vec<u8>)> {
        let job = self.get(id)?;
        let start = job.work.offset as usize;
        let bytes = arena.bytes(job.slot.as_ref()?).get(start..start + job.work.length as usize)?;
        Some((MessageId(job.work.aux), bytes.to_vec()))
    }

    /// Gives it to a scan worker, or to the first that has room.
    pub fn scan(&mut self, id: JobId, now_ms: u64) {
        if let Some(job) = self.get(id) {
            job.stage = Stage::ScanWaits;
            job.deadline_ms = now_ms.saturating_add(limits::SCAN_WAIT_MS * u64::from(limits::SCAN_ATTEMPTS_MAX + 1));
            self.waiting.push_back(id);
        }
        self.give_out_scans(now_ms);
    }

    fn give_out_scans(&mut self, now_ms: u64) {
        while let Some(&id) = self.waiting.front() {
            let Some(work) = self.get(id).filter(|job| job.stage == Stage::ScanWaits).map(|job| job.work) else {
                self.waiting.pop_front();
                continue;
            };
            let Some(worker) = self.push_to_worker(&Descriptor { kind: Kind::Scan as u16, ..work }) else { return };
            self.waiting.pop_front();
            if let Some(job) = self.get(id) {
                job.stage = Stage::Scanning(worker);
                job.attempts += 1;
                job.deadline_ms = now_ms.saturating_add(limits::SCAN_WAIT_MS);
            }
        }
    }

    /// Round robin over the workers; one whose ring is full is passed by.
    fn push_to_worker(&mut self, work: &Descriptor) -> Option<Endpoint> {
        let count = self.links.len();
        for step in 0..count {
            let at = (self.next_worker + step) % count;
            let Some(line) = self.links.get_mut(at) else { continue };
            let worker = line.end.consumer;
            if worker.role != Role::Scan {
                continue;
            }
            match line.push(work) {
                Ok(()) => {
                    self.next_worker = at + 1;
                    return Some(worker);
                }
                Err(PushError::Full) => {}
                Err(error) => self.trouble.push(Trouble::Lied(worker, format!("{error:?}"))),
            }
        }
        None
    }

    /// Waits for the scan's end.
    pub fn poll_scanned(&mut self, id: JobId, waker: &Waker) -> Poll<Scanned> {
        match self.get(id) {
            Some(job) => match job.stage {
                Stage::ScanDone(true) => Poll::Ready(Scanned::Verdict),
                Stage::ScanDone(false) => Poll::Ready(Scanned::Failed),
                _ => {
                    job.waker = Some(waker.clone());
                    Poll::Pending
                }
            },
            None => Poll::Ready(Scanned::Failed),
        }
    }

    /// The verdict's bytes.
    pub fn verdict(&mut self, id: JobId) -> Vec<u8> {
        self.get(id).map(|job| std::mem::take(&mut job.verdict)).unwrap_or_default()
    }

    /// Gives it to stores and queue; each with its own range of the slot.
    pub fn store(&mut self, id: JobId, to: &[(Endpoint, Kind, usize, usize)], now_ms: u64) {
        let Some(job) = self.get(id) else { return };
        let work = job.work;
        job.stage = Stage::Storing;
        if to.is_empty() {
            // Nobody would ever say Durable: that is no message anybody may acknowledge.
            job.refusal = Some(Refusal::Broken);
        }
        job.deadline_ms = now_ms.saturating_add(limits::STORE_WAIT_MS);
        for &(consumer, kind, offset, length) in to {
            let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
            let given = Descriptor { kind: kind as u16, offset: number(offset), length: number(length), ..work };
            if let Some(job) = self.get(id) {
                job.awaited.push((consumer, given));
            }
            self.push_to(consumer, id, &given);
        }
    }

    /// A consumer that is away gets its work when it is back, one that is full when it has room, or the deadline ends it.
    fn push_to(&mut self, consumer: Endpoint, id: JobId, work: &Descriptor) {
        let Some(line) = self.links.iter_mut().find(|line| line.end.consumer == consumer) else { return };
        match line.push(work) {
            Ok(()) => {
                if let Some(job) = self.get(id) {
                    job.readers.push(consumer);
                }
            }
            Err(PushError::Full) => self.unsent.push_back((id, consumer)),
            Err(error) => self.trouble.push(Trouble::Lied(consumer, format!("{error:?}"))),
        }
    }

    /// Gives out what there was no room for.
    fn give_out_unsent(&mut self) {
        for _ in 0..self.unsent.len() {
            let Some((id, consumer)) = self.unsent.pop_front() else { return };
            // One that has ended meanwhile, or was given out over a new link, is not given again.
            let work = self
                .get(id)
                .filter(|job| !job.readers.contains(&consumer))
                .and_then(|job| job.awaited.iter().find(|(awaited, _)| *awaited == consumer).map(|(_, work)| *work));
            if let Some(work) = work {
                self.push_to(consumer, id, &work);
            }
        }
    }

    /// Waits until everybody has it on disk, or one has refused it.
    pub fn poll_stored(&mut self, id: JobId, waker: &Waker) -> Poll<Result<Receipt, Refusal>> {
        let Some(job) = self.get(id) else { return Poll::Ready(Err(Refusal::Failed)) };
        if let Some(refusal) = job.refusal {
            return Poll::Ready(Err(refusal));
        }
        if job.stage == Stage::Storing && job.durable && job.awaited.is_empty() {
            return Poll::Ready(Ok(Receipt(())));
        }
        job.waker = Some(waker.clone());
        Poll::Pending
    }

    /// The session is done with it; the slot goes back when nobody reads it any more.
    pub fn end(&mut self, id: JobId, arena: &mut Arena) {
        if let Some(job) = self.get(id) {
            if let Stage::Scanning(worker) = job.stage {
                job.readers.push(worker);
            }
            job.stage = Stage::Answered;
            job.awaited.clear();
            job.waker = None;
            job.deadline_ms = u64::MAX;
            self.free_if_unread(id, arena);
        }
    }

    fn free_if_unread(&mut self, id: JobId, arena: &mut Arena) {
        let Some(job) = self.get(id) else { return };
        if job.stage != Stage::Answered || !job.readers.is_empty() {
            return;
        }
        if let Some(slot) = job.slot.take() {
            arena.release(slot);
        }
        #[allow(clippy::cast_possible_truncation)] // takes the cookie apart
        let index = id.0 as u32;
        if let Some(place) = self.places.get_mut(index as usize) {
            place.job = None;
            place.generation = place.generation.wrapping_add(1);
            self.free.push(index);
        }
    }

    /// Number of messages under way.
    pub fn count(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Takes all completions that wait.
    pub fn take_completions(&mut self, arena: &mut Arena, now_ms: u64) {
        let mut at = 0;
        while let Some(consumer) = self.links.get(at).map(|line| line.end.consumer) {
            let mut honest = true;
            for _ in 0..TURN_MAX {
                let Some(line) = self.links.get_mut(at).filter(|line| line.end.consumer == consumer) else {
                    honest = false;
                    break;
                };
                match line.end.link.pop() {
                    Ok(Some((done, payload))) => {
                        let kind = Kind::from_number(done.kind);
                        if matches!(kind, Some(Kind::Verdict | Kind::Released | Kind::Refused)) {
                            line.under_way = line.under_way.saturating_sub(1);
                        }
                        let verdict = (kind == Some(Kind::Verdict)).then(|| payload.to_vec());
                        self.completed(consumer, &done, verdict, arena);
                    }
                    Ok(None) => break,
                    Err(lie) => {
                        self.lied(consumer, lie);
                        honest = false;
                        break;
                    }
                }
            }
            // A liar's link is gone, and another stands in its place.
            at += usize::from(honest);
        }
        self.give_out_scans(now_ms);
        self.give_out_unsent();
    }

    fn lied(&mut self, consumer: Endpoint, lie: Lie) {
        self.links.retain(|line| line.end.consumer != consumer);
        self.trouble.push(Trouble::Lied(consumer, lie.to_string()));
    }

    fn completed(&mut self, consumer: Endpoint, done: &Descriptor, verdict: Option<Vec<u8>>, arena: &mut Arena) {
        let id = JobId(done.cookie);
        let Some(job) = self.get(id) else { return };
        match Kind::from_number(done.kind) {
            Some(Kind::Verdict) if job.stage == Stage::Scanning(consumer) => {
                job.verdict = verdict.unwrap_or_default();
                job.stage = Stage::ScanDone(true);
                wake(job);
            }
            Some(Kind::Refused) if job.stage == Stage::Scanning(consumer) => {
                job.stage = Stage::ScanDone(false);
                wake(job);
            }
            Some(Kind::Durable) => {
                let before = job.awaited.len();
                job.awaited.retain(|(awaited, _)| *awaited != consumer);
                job.durable |= job.awaited.len() < before;
                if job.awaited.is_empty() {
                    wake(job);
                }
            }
            Some(Kind::Refused) => {
                job.readers.retain(|reader| *reader != consumer);
                if job.awaited.iter().any(|(awaited, _)| *awaited == consumer) {
                    job.refusal = Some(Refusal::from_number(done.status));
                    wake(job);
                }
                self.free_if_unread(id, arena);
            }
            Some(Kind::Released | Kind::Verdict) => {
                job.readers.retain(|reader| *reader != consumer);
                self.free_if_unread(id, arena);
            }
            // Work is nothing a consumer may send.
            Some(Kind::Scan | Kind::Deliver | Kind::Queue) | None => self.lied(consumer, Lie::Range),
        }
    }

    /// A new link in the place of an earlier one to the same consumer: what that one had is given out again.
    pub fn attach(&mut self, link: ProducerEnd, arena: &mut Arena, now_ms: u64) {
        let consumer = link.consumer;
        self.links.retain(|old| old.end.consumer != consumer);
        self.links.push(Line { end: link, under_way: 0 });
        let ids: Vec<JobId> = (0_u64..)
            .zip(&self.places)
            .filter(|(_, place)| place.job.is_some())
            .map(|(index, place)| JobId(index | u64::from(place.generation) << 32))
            .collect();
        for id in ids {
            let Some(job) = self.get(id) else { continue };
            // Whoever it was reads no more.
            job.readers.retain(|reader| *reader != consumer);
            if job.stage == Stage::Scanning(consumer) {
                if job.attempts >= limits::SCAN_ATTEMPTS_MAX {
                    job.stage = Stage::ScanDone(false);
                    wake(job);
                } else {
                    job.stage = Stage::ScanWaits;
                    self.waiting.push_back(id);
                }
            } else if let Some(work) = job.awaited.iter().find(|(awaited, _)| *awaited == consumer).map(|(_, work)| *work) {
                self.push_to(consumer, id, &work);
            } else {
                self.free_if_unread(id, arena);
            }
        }
        self.give_out_scans(now_ms);
    }

    /// Ends what has passed its deadline.
    pub fn check_deadlines(&mut self, now_ms: u64) {
        let mut hanging: Vec<Endpoint> = Vec::new();
        for job in self.places.iter_mut().filter_map(|place| place.job.as_mut()).filter(|job| job.deadline_ms <= now_ms) {
            match job.stage {
                // The supervisor replaces the worker; the new link gives the job out again.
                Stage::Scanning(worker) => {
                    hanging.push(worker);
                    job.deadline_ms = now_ms.saturating_add(limits::SCAN_WAIT_MS);
                }
                Stage::ScanWaits => {
                    job.stage = Stage::ScanDone(false);
                    wake(job);
                }
                Stage::Storing => {
                    job.refusal = Some(Refusal::Failed);
                    wake(job);
                }
                Stage::Begun | Stage::ScanDone(_) | Stage::Answered => {}
            }
        }
        hanging.sort();
        hanging.dedup();
        self.trouble
            .extend(hanging.into_iter().map(|worker| Trouble::Hangs(worker, "a scan has passed its deadline".to_owned())));
    }

    /// What the supervisor must be told.
    pub fn take_trouble(&mut self) -> Vec<Trouble> {
        std::mem::take(&mut self.trouble)
    }

    /// Before the shard waits for its doorbell. True if it must look once more.
    pub fn prepare_sleep(&mut self) -> bool {
        self.links.iter_mut().for_each(|line| line.end.link.prepare_sleep());
        self.links.iter().any(|line| line.end.link.has_work())
    }

    /// After the doorbell.
    pub fn awake(&mut self) {
        self.links.iter_mut().for_each(|line| line.end.link.awake());
    }
}

fn wake(job: &mut Job) {
    if let Some(waker) = job.waker.take() {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postring_mail::limits::SLOT_HEAD_BYTES;
    use postring_ring::{ArenaGeometry, Doorbell, DoorbellButton, Link, LinkGeometry, SlotClass};
    use std::os::fd::AsFd;

    const STORE: Endpoint = Endpoint { role: Role::Store, shard: 0 };
    const ENTRIES: u32 = 4;

    /// Both ends of a link; the doorbells are kept so that a ring finds somebody.
    fn link() -> (ProducerEnd, Link, (Doorbell, DoorbellButton)) {
        let page = || Link::create_page(ENTRIES, 0).unwrap();
        let (ours, theirs) = (page(), page());
        let geometry = LinkGeometry { entries: ENTRIES, own_payload_bytes: 0, peer_payload_bytes: 0 };
        let producer = Link::attach(&ours, &theirs, geometry).unwrap();
        let consumer = Link::attach(&theirs, &ours, geometry).unwrap();
        let (doorbell, button) = Doorbell::pair().unwrap();
        let bell = DoorbellButton::from_descriptor(button.as_fd().try_clone_to_owned().unwrap());
        (ProducerEnd { consumer: STORE, link: producer, bell, entries: ENTRIES }, consumer, (doorbell, button))
    }

    fn jobs(count: u64) -> (Jobs, Arena, Vec<JobId>) {
        let slot_bytes = u32::try_from(SLOT_HEAD_BYTES + 4096).unwrap();
        let mut arena = Arena::create(&ArenaGeometry { classes: vec![SlotClass { slot_bytes, count: 16 }] }).unwrap();
        let mut jobs = Jobs::default();
        let ids = (1..=count)
            .map(|number| jobs.begin(arena.acquire(100).unwrap(), MessageId(number), SLOT_HEAD_BYTES, 10, 32))
            .collect();
        (jobs, arena, ids)
    }

    fn stored(jobs: &mut Jobs, id: JobId) -> Poll<Result<(), Refusal>> {
        jobs.poll_stored(id, Waker::noop()).map(|stored| stored.map(|_| ()))
    }

    #[test]
    fn no_more_is_under_way_than_can_be_answered_and_the_rest_follows() {
        let (mut jobs, mut arena, ids) = jobs(5);
        let (end, mut consumer, _bells) = link();
        jobs.attach(end, &mut arena, 0);
        for id in &ids {
            jobs.store(*id, &[(STORE, Kind::Deliver, SLOT_HEAD_BYTES, 10)], 0);
        }
        assert_eq!(jobs.take_trouble(), []);
        let mut answered = 0;
        for _ in 0..ids.len() {
            let mut taken = Vec::new();
            while let Some((work, _)) = consumer.pop().unwrap() {
                taken.push(work);
            }
            assert!(taken.len() <= ENTRIES as usize / 2);
            answered += taken.len();
            // Everything is answered at once, and the ring takes it.
            for kind in [Kind::Durable, Kind::Released] {
                for work in &taken {
                    consumer.push(&Descriptor { kind: kind as u16, ..*work }, &[]).unwrap();
                }
            }
            jobs.take_completions(&mut arena, 0);
        }
        assert_eq!(answered, ids.len());
        assert!(jobs.take_trouble().is_empty());
        for id in ids {
            assert_eq!(stored(&mut jobs, id), Poll::Ready(Ok(())));
            jobs.end(id, &mut arena);
        }
        assert_eq!((jobs.count(), arena.in_use()), (0, 0));
    }

    #[test]
    fn what_goes_nowhere_has_no_receipt() {
        let (mut jobs, _arena, ids) = jobs(2);
        jobs.store(ids[0], &[], 0);
        assert_eq!(stored(&mut jobs, ids[0]), Poll::Ready(Err(Refusal::Broken)));
        // Nor has what was not given to anybody yet.
        assert_eq!(stored(&mut jobs, ids[1]), Poll::Pending);
    }

    #[test]
    fn a_new_link_gets_what_the_old_one_had_once() {
        let (mut jobs, mut arena, ids) = jobs(3);
        let (end, consumer, _bells) = link();
        jobs.attach(end, &mut arena, 0);
        for id in &ids {
            jobs.store(*id, &[(STORE, Kind::Deliver, SLOT_HEAD_BYTES, 10)], 0);
        }
        drop(consumer);
        let (end, mut consumer, _more_bells) = link();
        jobs.attach(end, &mut arena, 0);
        let mut seen = Vec::new();
        for _ in 0..4 {
            while let Some((work, _)) = consumer.pop().unwrap() {
                seen.push(work.aux);
                for kind in [Kind::Durable, Kind::Released] {
                    consumer.push(&Descriptor { kind: kind as u16, ..work }, &[]).unwrap();
                }
            }
            jobs.take_completions(&mut arena, 0);
        }
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3]);
    }
}
