//! The taking end of a shard's links: messages out of the rings, completions back, what a lying peer gets.
//!
//! A batch is taken with [`Intake::take`], answered with [`Intake::tell`] and closed with [`Intake::end_batch`]; the numbers of links
//! stay as they are within a batch. Cost of a message: one checked reading of its descriptor, a copy of its envelope (some hundred bytes),
//! no allocation but the batch's own vector.

use postring_control::{ChildSender, ConsumerEnd, Counter, Endpoint, FromChild, StatsPage};
use postring_mail::envelope::EnvelopeView;
use postring_mail::work::{Kind, Refusal};
use postring_ring::{Descriptor, Doorbell};
use std::collections::{HashSet, VecDeque};
use std::time::Duration;

/// Messages of one batch; more wait for the next.
const BATCH_MAX: usize = 256;
/// Ids that are remembered, to drop what a producer gives out again after a restart.
const IDS_MAX: usize = 200_000;

/// A message taken from a link; its slot is readable until its completion says otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    link: usize,
    work: Descriptor,
}

/// What a taken message is.
pub(crate) struct Offered<'a> {
    pub kind: Option<Kind>,
    pub envelope: EnvelopeView<'a>,
    /// The message in wire form.
    pub message: &'a [u8],
}

/// A link, and whether its producer was told something since it was last woken.
struct Line {
    end: ConsumerEnd,
    told: bool,
}

impl Line {
    /// False: the producer does not take its answers, or has given out more than they have room for.
    fn complete(&mut self, work: &Descriptor, kind: Kind, status: u16) -> bool {
        self.told = true;
        self.end.link.push(&Descriptor { kind: kind as u16, status, ..*work }, &[]).is_ok()
    }
}

/// The links of one shard, and the doorbell it sleeps on.
pub(crate) struct Intake {
    links: Vec<Line>,
    /// The head of the message that is being judged. A copy: its producer could still change the original.
    head: Vec<u8>,
    doorbell: Doorbell,
    liars: Vec<(Endpoint, String)>,
    control: ChildSender,
}

impl Intake {
    pub(crate) fn new(doorbell: Doorbell, control: ChildSender) -> Self {
        Self { links: Vec::new(), head: Vec::new(), doorbell, liars: Vec::new(), control }
    }

    /// A new link in the place of an earlier one from the same producer.
    pub(crate) fn attach(&mut self, link: ConsumerEnd) {
        self.links.retain(|old| old.end.producer != link.producer);
        self.links.push(Line { end: link, told: false });
    }

    /// Takes what waits, up to a batch. What `judge` refuses is told so at once.
    pub(crate) fn take<T>(
        &mut self,
        stats: &StatsPage,
        mut judge: impl FnMut(&Offered<'_>) -> Result<T, Refusal>,
    ) -> Vec<(Taken, T)> {
        let mut batch = Vec::new();
        for (index, line) in self.links.iter_mut().enumerate() {
            let producer = line.end.producer;
            // What is refused counts too: a producer must not keep us here.
            for _ in batch.len()..BATCH_MAX {
                let work = match line.end.link.pop() {
                    Ok(Some((work, _))) => work,
                    Ok(None) => break,
                    Err(lie) => {
                        self.liars.push((producer, lie.to_string()));
                        break;
                    }
                };
                let view = line.end.arena.view(&work).map_err(|_| Refusal::Broken);
                let judged = view.and_then(|(head, message)| {
                    self.head.clear();
                    self.head.extend_from_slice(head);
                    let envelope = EnvelopeView::parse(&self.head).map_err(|_| Refusal::Broken)?;
                    judge(&Offered { kind: Kind::from_number(work.kind), envelope, message })
                });
                match judged {
                    Ok(what) => batch.push((Taken { link: index, work }, what)),
                    Err(refusal) => {
                        stats.add(Counter::StoreRefusals, 1);
                        if !line.complete(&work, Kind::Refused, refusal as u16) {
                            self.liars.push((producer, NOT_TAKEN.to_owned()));
                            break;
                        }
                    }
                }
            }
        }
        batch
    }

    /// The bytes of a taken message; none if its link is gone.
    pub(crate) fn message(&self, taken: &Taken) -> &[u8] {
        let view = self.links.get(taken.link).and_then(|line| line.end.arena.view(&taken.work).ok());
        view.map_or(&[], |(_, message)| message)
    }

    /// Tells the producer; its ring has room for every descriptor it has given out.
    pub(crate) fn tell(&mut self, taken: &Taken, kind: Kind) {
        self.tell_status(taken, kind, 0);
    }

    /// Nothing was kept.
    pub(crate) fn refuse(&mut self, taken: &Taken, refusal: Refusal) {
        self.tell_status(taken, Kind::Refused, refusal as u16);
    }

    fn tell_status(&mut self, taken: &Taken, kind: Kind, status: u16) {
        if let Some(line) = self.links.get_mut(taken.link)
            && !line.complete(&taken.work, kind, status)
            && !self.liars.iter().any(|(liar, _)| *liar == line.end.producer)
        {
            self.liars.push((line.end.producer, NOT_TAKEN.to_owned()));
        }
    }

    /// Wakes the producers that sleep and were told something.
    pub(crate) fn ring(&mut self) {
        for line in &mut self.links {
            if std::mem::take(&mut line.told) && line.end.link.must_ring() {
                line.end.bell.ring();
            }
        }
    }

    /// Wakes the producers, and parts from those that broke the rules.
    pub(crate) fn end_batch(&mut self, stats: &StatsPage) {
        self.ring();
        for (peer, text) in std::mem::take(&mut self.liars) {
            self.links.retain(|line| line.end.producer != peer);
            stats.add(Counter::PeersLied, 1);
            tracing::error!("{peer} broke the ring's rules: {text}");
            // A supervisor that is gone drains us anyway.
            let _ = self.control.send(&FromChild::PeerLied { peer, text }, &[]);
        }
    }

    /// Sleeps until something waits, somebody rings, or the time is over. False: nobody is left who could ring.
    pub(crate) fn sleep(&mut self, timeout: Option<Duration>) -> bool {
        self.links.iter_mut().for_each(|line| line.end.link.prepare_sleep());
        let mut alive = true;
        if !self.links.iter().any(|line| line.end.link.has_work())
            && let Err(error) = self.doorbell.wait(timeout)
        {
            // The control thread holds a button as long as the process lives.
            tracing::error!("the shard's doorbell is gone: {error}");
            alive = false;
        }
        self.links.iter_mut().for_each(|line| line.end.link.awake());
        alive
    }

    /// Refuses what is still in the rings, so that the producers can tell their clients.
    pub(crate) fn finish(&mut self) {
        for line in &mut self.links {
            while let Ok(Some((work, _))) = line.end.link.pop() {
                if !line.complete(&work, Kind::Refused, Refusal::Draining as u16) {
                    break;
                }
            }
        }
        self.ring();
    }
}

const NOT_TAKEN: &str = "completions are not taken";

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

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.set.contains(&id)
    }
}
