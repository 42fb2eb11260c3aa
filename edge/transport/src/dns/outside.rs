//! Answers of other servers: runs resolutions over sockets, and validates what comes of them.
//!
//! ```text
//!   answer(question) ─> Resolution ─> upstream pool (UDP), a connection (TCP)
//!        └ validate ─> Validator ── needs DS, DNSKEY ─> raw answers, coalesced, from the same budget
//! ```
//! No task and no timer for a packet: the pool's sweep ends what is not answered.

use super::exchange::over_tcp;
use super::upstream::UpstreamPool;
use super::waiting::{Flights, Place};
use postring_dns::dnssec::validate::{KeyCache, Step as ValidatorStep, Trust, Validator, Verdict, Work};
use postring_dns::resolver::{
    Answer, Ask, Budget, Counters, Failure, Infrastructure, InfrastructureConfig, Resolution, Step, TraceEntry,
};
use postring_dns::responder::Transport;
use postring_dns::{Name, Rtype};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Unvalidated questions under way, keys and delegations that many validations wait for.
const RAW_FLIGHTS_MAX: usize = 2000;

/// What is remembered of the world outside, and the way to it. One per shard.
pub(super) struct Outside {
    infrastructure: RefCell<Infrastructure>,
    upstream: UpstreamPool,
    /// Empty: nothing is validated.
    trust: RefCell<Arc<Trust>>,
    keys: RefCell<KeyCache>,
    raw: Flights<(Name, Rtype), Rc<Answer>>,
    begun: Instant,
    bogus: Cell<u64>,
}

/// What a question led to, step by step.
#[derive(Debug)]
pub struct Trace {
    /// As it would be given on.
    pub answer: Answer,
    /// Each query, keys included.
    pub entries: Vec<TraceEntry>,
    /// What validation said; none if there is no trust anchor.
    pub verdict: Option<Verdict>,
}

impl Outside {
    pub(super) fn new() -> Self {
        Self {
            infrastructure: RefCell::new(Infrastructure::new(InfrastructureConfig::default(), fill)),
            upstream: UpstreamPool::new(),
            trust: RefCell::default(),
            keys: RefCell::default(),
            raw: Flights::new(RAW_FLIGHTS_MAX),
            begun: Instant::now(),
            bogus: Cell::new(0),
        }
    }

    pub(super) fn configure(&self, config: InfrastructureConfig, trust: Trust) {
        self.infrastructure.borrow_mut().configure(config);
        self.keys.borrow_mut().clear();
        *self.trust.borrow_mut() = Arc::new(trust);
    }

    pub(super) fn clear(&self) {
        self.infrastructure.borrow_mut().clear();
        self.keys.borrow_mut().clear();
    }

    pub(super) fn counters(&self) -> Counters {
        self.infrastructure.borrow().counters()
    }

    /// Answers that were found to be bogus.
    pub(super) fn bogus(&self) -> u64 {
        self.bogus.get()
    }

    pub(super) fn upstream(&self) -> &UpstreamPool {
        &self.upstream
    }

    /// Milliseconds since the start.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Asks, and validates if there is a trust anchor. `name` in lower case.
    pub(super) async fn answer(&self, name: &Name, rtype: Rtype) -> Answer {
        let budget = Budget::new(self.now_ms());
        let trust = Arc::clone(&self.trust.borrow());
        let mut resolution = Resolution::new(name, rtype, !trust.is_empty(), budget.clone());
        let answer = self.resolve(&mut resolution).await;
        if trust.is_empty() || answer.is_failure() {
            return answer;
        }
        self.validate(name, rtype, &answer, trust, &budget, None).await.0
    }

    /// The same, told step by step, whatever others are asking.
    pub(super) async fn trace(&self, name: &Name, rtype: Rtype) -> Trace {
        let budget = Budget::new(self.now_ms());
        let trust = Arc::clone(&self.trust.borrow());
        let mut resolution = Resolution::new(name, rtype, !trust.is_empty(), budget.clone()).traced();
        let answer = self.resolve(&mut resolution).await;
        let mut entries = resolution.take_trace();
        if trust.is_empty() || answer.is_failure() {
            return Trace { answer, entries, verdict: None };
        }
        let (answer, verdict) = self.validate(name, rtype, &answer, trust, &budget, Some(&mut entries)).await;
        Trace { answer, entries, verdict: Some(verdict) }
    }

    /// Asks without validating, and keeps signatures and denials; equal questions once. It may be an answer that is being fetched from somebody
    /// else's budget.
    pub(super) async fn raw(&self, name: &Name, rtype: Rtype, budget: &Budget) -> Rc<Answer> {
        let question = (name.to_key(), rtype);
        match self.raw.join(&question) {
            Place::Joined(waiting) => waiting.result().await,
            Place::Full => Rc::new(Answer::failure(0)),
            Place::New(_) => {
                // Should whoever asks lose interest, those who have joined must not wait for ever.
                let guard = Landing { flights: &self.raw, question, answer: Rc::new(Answer::failure(0)) };
                let mut resolution = Resolution::new(name, rtype, true, budget.clone());
                let answer = Rc::new(self.resolve(&mut resolution).await);
                guard.land(Rc::clone(&answer));
                answer
            }
        }
    }

    async fn validate(
        &self,
        name: &Name,
        rtype: Rtype,
        answer: &Answer,
        trust: Arc<Trust>,
        budget: &Budget,
        mut trace: Option<&mut Vec<TraceEntry>>,
    ) -> (Answer, Verdict) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut validator = Validator::new(name, rtype, answer, trust, now, Work::default());
        self.tell_cuts(&mut validator, name, rtype, answer);
        loop {
            let step = validator.poll(&mut self.keys.borrow_mut());
            let (name, rtype) = match step {
                ValidatorStep::Need { name, rtype } => (name, rtype),
                ValidatorStep::Done(verdict) => {
                    if let Verdict::Bogus(reason) = &verdict {
                        self.bogus.set(self.bogus.get() + 1);
                        tracing::debug!("{name} {rtype} is bogus: {reason:?}");
                    }
                    let mut answer = validator.answer();
                    answer.ttl = answer.ttl.min(validator.expires_in());
                    return (answer, verdict);
                }
            };
            let needed = match &mut trace {
                None => self.raw(&name, rtype, budget).await,
                Some(trace) => {
                    let mut resolution = Resolution::new(&name, rtype, true, budget.clone()).traced();
                    let answer = self.resolve(&mut resolution).await;
                    trace.extend(resolution.take_trace());
                    Rc::new(answer)
                }
            };
            validator.handle_answer(&name, rtype, &needed);
        }
    }

    /// The zones whose servers were asked for the names of an answer.
    fn tell_cuts(&self, validator: &mut Validator, name: &Name, rtype: Rtype, answer: &Answer) {
        let (mut infrastructure, now_ms) = (self.infrastructure.borrow_mut(), self.now_ms());
        let mut before: Option<&Name> = None;
        for owner in std::iter::once(name).chain(answer.records.iter().map(|record| &record.name)) {
            if before.replace(owner) != Some(owner)
                && let Some(zone) = infrastructure.referred_to(&owner.to_key(), rtype, now_ms)
            {
                validator.handle_cut(&zone);
            }
        }
    }

    async fn resolve(&self, resolution: &mut Resolution) -> Answer {
        loop {
            let step = resolution.poll_step(&mut self.infrastructure.borrow_mut(), self.now_ms());
            match step {
                Step::Done(answer) => return answer,
                Step::Ask(ask) => self.ask(resolution, ask).await,
            }
        }
    }

    /// Asks one server once; whatever comes of it, the resolution knows it.
    async fn ask(&self, resolution: &mut Resolution, ask: Ask) {
        let packet = resolution.take_packet();
        let wait = Duration::from_millis(ask.wait_ms);
        let mut handle = |packet: &mut [u8]| {
            let infrastructure = &mut self.infrastructure.borrow_mut();
            resolution.handle_response(infrastructure, ask.number, packet, self.now_ms())
        };
        let result = match ask.transport {
            Transport::Tcp => over_tcp(ask.server, &packet, wait).await.map(|mut response| {
                handle(&mut response);
            }),
            Transport::Udp => {
                let mut copy = Vec::new();
                let accept = |response: &[u8]| {
                    copy.clear();
                    copy.extend_from_slice(response);
                    handle(&mut copy)
                };
                self.upstream.exchange(ask.server, &packet, Instant::now() + wait, accept).await.map(|_| ())
            }
        };
        if let Err(error) = result {
            let failure = match error.kind() {
                io::ErrorKind::TimedOut => Failure::Silence,
                io::ErrorKind::ResourceBusy => Failure::Local,
                _ => Failure::Unreachable,
            };
            let infrastructure = &mut self.infrastructure.borrow_mut();
            resolution.handle_failure(infrastructure, ask.number, failure, self.now_ms());
        }
    }
}

/// A raw flight that must land.
struct Landing<'f> {
    flights: &'f Flights<(Name, Rtype), Rc<Answer>>,
    question: (Name, Rtype),
    answer: Rc<Answer>,
}

impl Landing<'_> {
    fn land(mut self, answer: Rc<Answer>) {
        self.answer = answer;
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.flights.land(&self.question, Rc::clone(&self.answer));
    }
}

/// Randomness of the system.
fn fill(place: &mut [u8]) -> bool {
    let result = getrandom::fill(place);
    if let Err(error) = &result {
        tracing::error!("nothing can be asked: no randomness from the system: {error}");
    }
    result.is_ok()
}
