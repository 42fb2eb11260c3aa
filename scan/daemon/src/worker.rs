//! The working thread: takes a descriptor, judges the message in its slot, gives the verdict back.
//!
//! Cost: no copy of the message; mail-parser's allocations; the engines. A verdict is two kilobytes at most, copied into our page.

use crate::watch::Fresh;
use postring_control::{ChildSender, ConsumerEnd, Counter, FromChild, StatsPage};
use postring_engine::bayes::{Bayes, TokenStore};
use postring_engine::yara::Yara;
use postring_engine::{Engine, Limits, StandardTests, with_content};
use postring_mail::verdict::{Outcome, VerdictWriter};
use postring_mail::work::{Kind, Refusal};
use postring_ring::{ArenaReader, Descriptor, Doorbell};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// From the control thread.
pub(crate) enum Event {
    Attach(Box<ConsumerEnd>),
    Drain,
}

pub(crate) struct Worker {
    pub links: Vec<ConsumerEnd>,
    pub doorbell: Doorbell,
    pub events: Receiver<Event>,
    pub fresh: Receiver<Fresh>,
    pub stats: StatsPage,
    pub control: ChildSender,
    pub yara_timeout: Duration,
    pub verdict: VerdictWriter,
}

/// Why serving with one set of rules has ended.
enum Ended {
    NewRules(Box<yara_x::Rules>),
    Drained,
}

impl Worker {
    /// Works until drained. A scanner borrows its rules, so each set of rules has a turn of its own.
    pub(crate) fn run(mut self, mut rules: Option<Box<yara_x::Rules>>, tokens: Option<TokenStore>) {
        let mut bayes = tokens.map(Bayes::new);
        let mut tests = StandardTests::default();
        loop {
            let mut yara = rules.as_deref().map(|rules| Yara::new(rules, self.yara_timeout));
            match self.serve(&mut tests, &mut yara, &mut bayes) {
                Ended::Drained => return,
                Ended::NewRules(newer) => {
                    drop(yara);
                    rules = Some(newer);
                }
            }
        }
    }

    fn serve(&mut self, tests: &mut StandardTests, yara: &mut Option<Yara<'_>>, bayes: &mut Option<Bayes>) -> Ended {
        loop {
            for event in self.events.try_iter() {
                match event {
                    Event::Attach(link) => {
                        self.links.retain(|old| old.producer != link.producer);
                        self.links.push(*link);
                    }
                    Event::Drain => return Ended::Drained,
                }
            }
            for fresh in self.fresh.try_iter() {
                match fresh {
                    Fresh::Rules(rules) => return Ended::NewRules(rules),
                    Fresh::Tokens(store) => *bayes = Some(Bayes::new(*store)),
                }
            }
            if !self.work(tests, yara, bayes) {
                self.sleep();
            }
        }
    }

    /// One message of each link. True if there was any.
    fn work(&mut self, tests: &mut StandardTests, yara: &mut Option<Yara<'_>>, bayes: &mut Option<Bayes>) -> bool {
        let mut worked = false;
        let mut liar = None;
        for link in &mut self.links {
            let text = match link.link.pop() {
                Ok(None) => continue,
                Ok(Some((work, _))) => {
                    worked = true;
                    let begun = Instant::now();
                    let (kind, status) = judge(&link.arena, &work, &mut self.verdict, |content, verdict| {
                        tests.judge(content, verdict);
                        if let Some(yara) = yara {
                            yara.judge(content, verdict);
                        }
                        if let Some(bayes) = bayes {
                            bayes.judge(content, verdict);
                        }
                    });
                    self.stats.add(if kind == Kind::Verdict { Counter::Scans } else { Counter::ScansFailed }, 1);
                    self.stats.add(Counter::ScanMicroseconds, u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
                    let done = Descriptor { kind: kind as u16, status, ..work };
                    let payload: &[u8] = if kind == Kind::Verdict { self.verdict.finish() } else { &[] };
                    match link.link.push(&done, payload) {
                        Ok(()) => {
                            if link.link.must_ring() {
                                link.bell.ring();
                            }
                            continue;
                        }
                        Err(error) => format!("a verdict could not be given back: {error:?}"),
                    }
                }
                Err(lie) => lie.to_string(),
            };
            liar = Some((link.producer, text));
        }
        if let Some((peer, text)) = liar {
            tracing::error!("{peer} broke the ring's rules: {text}");
            self.links.retain(|link| link.producer != peer);
            self.stats.add(Counter::PeersLied, 1);
            // A supervisor that is gone drains us anyway.
            let _ = self.control.send(&FromChild::PeerLied { peer, text }, &[]);
        }
        worked
    }

    fn sleep(&mut self) {
        for link in &mut self.links {
            link.link.prepare_sleep();
        }
        if !self.links.iter().any(|link| link.link.has_work())
            && let Err(error) = self.doorbell.wait(Some(Duration::from_secs(60)))
        {
            // The control thread holds a button as long as the process lives.
            tracing::error!("the worker's doorbell is gone: {error}");
            std::thread::sleep(Duration::from_secs(1));
        }
        for link in &mut self.links {
            link.link.awake();
        }
    }
}

/// Judges one message; the verdict's outcome says how it went.
fn judge(
    arena: &ArenaReader,
    work: &Descriptor,
    verdict: &mut VerdictWriter,
    engines: impl FnOnce(&postring_engine::Content<'_>, &mut VerdictWriter),
) -> (Kind, u16) {
    verdict.clear();
    let message = match (Kind::from_number(work.kind), arena.view(work)) {
        (Some(Kind::Scan), Ok((_, message))) => message,
        _ => return (Kind::Refused, Refusal::Broken as u16),
    };
    with_content(message, &Limits::default(), verdict, engines);
    if !arena.is_current(work) {
        // The edge has given up on us and used the slot again: what was read is worth nothing.
        verdict.set_outcome(Outcome::Failed);
        return (Kind::Refused, Refusal::Broken as u16);
    }
    (Kind::Verdict, 0)
}
