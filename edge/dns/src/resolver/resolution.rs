//! One question on its way through the servers of the world, without I/O.
//!
//! ```text
//!   new ─> Ask ── response ─┬─ referral ─> the zone below: Ask ...
//!           ▲               ├─ alias ────> the target, from the nearest known zone: Ask ...
//!           │               ├─ truncated > the same server over TCP
//!           │               ├─ no use ───> another server of the zone; none left ─> failure
//!           │               └─ answer ───> Done
//!           └ a server without an address: its name is a question of its own first, on top of the others
//! ```
//! The questions are a stack: the client's at the bottom, above it those for addresses of name servers (and for the root's own servers). One
//! query is under way at a time. Everything is paid from one [`Budget`], so that whatever the servers say, it ends.

mod ending;
mod fuzz;
mod query;
mod question;
mod response;

#[doc(hidden)]
pub use fuzz::fuzz_resolution;

use super::Answer;
use super::budget::Budget;
use super::delegation::{Delegation, Kind};
use super::infrastructure::Infrastructure;
use crate::name::{Name, is_within};
use crate::responder::Transport;
use crate::types::{ExtendedError, Rtype};
use query::Outstanding;
use question::{Purpose, Question};
use std::net::SocketAddr;
use std::rc::Rc;

/// Questions on the stack: a name server whose name server's name server has no address is looked for, but not without end.
const DEPTH_MAX: usize = 6;
/// Names of servers without an address that are looked up for one delegation (NXNSAttack: RFC 9520 speaks of it, Unbound takes 5).
const GLUELESS_MAX: u8 = 3;
/// Queries to one server for the same.
const TRIES_MAX: u64 = 2;
/// Queries to all servers of a zone for the same.
const ZONE_TRIES_MAX: u8 = 8;
/// Milliseconds after which a delegation nobody answers for may be out of date.
const REFETCH_MS: u64 = 60_000;
/// Steps between two queries; each pushes or ends a question, so that few are possible.
const STEPS_MAX: usize = 64;

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Send [`Resolution::packet`] and wait, then [`Resolution::handle_response`] or [`Resolution::handle_failure`].
    Ask(Ask),
    /// The end; asked again it is a failure.
    Done(Answer),
}

/// A query to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Counts the queries of this resolution: what comes for another is too late.
    pub number: u32,
    /// Whom.
    pub server: SocketAddr,
    /// How.
    pub transport: Transport,
    /// Milliseconds until it has failed.
    pub wait_ms: u64,
    /// The message's id, as it is in the packet.
    pub id: u16,
}

/// Why there was no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came in time.
    Silence,
    /// The system says that there is nobody (an ICMP error, a refused connection, no route).
    Unreachable,
    /// It could not be sent, and that is not the server's fault.
    Local,
}

/// One query and what came of it, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// The zone whose server was asked.
    pub zone: Name,
    /// Whom.
    pub server: SocketAddr,
    /// How.
    pub transport: Transport,
    /// What was asked.
    pub name: Name,
    /// What was asked.
    pub rtype: Rtype,
    /// Milliseconds it took.
    pub ms: u64,
    /// What it said, in words.
    pub outcome: String,
}

/// See the module.
#[derive(Debug)]
pub struct Resolution {
    questions: Vec<Question>,
    budget: Budget,
    dnssec: bool,
    outstanding: Option<Outstanding>,
    asks: u32,
    packet: Vec<u8>,
    refetched: bool,
    /// The system said of the last server that it cannot be reached.
    unreachable: bool,
    done: Option<Answer>,
    trace: Option<Vec<TraceEntry>>,
}

impl Resolution {
    /// Begins with a question. `dnssec`: signatures and denials are fetched and kept in the answer, unchecked.
    #[must_use]
    pub fn new(name: &Name, rtype: Rtype, dnssec: bool, budget: Budget) -> Self {
        Self {
            questions: vec![Question::new(name.to_key(), rtype, Purpose::Client)],
            budget,
            dnssec,
            outstanding: None,
            asks: 0,
            packet: Vec::with_capacity(64),
            refetched: false,
            unreachable: false,
            done: None,
            trace: None,
        }
    }

    /// Writes down what is asked, and what comes of it.
    #[must_use]
    pub fn traced(mut self) -> Self {
        self.trace = Some(Vec::new());
        self
    }

    /// What was written down.
    pub fn take_trace(&mut self) -> Vec<TraceEntry> {
        self.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The query of the last [`Step::Ask`].
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        &self.packet
    }

    /// The same, to keep while something else is done with this.
    pub fn take_packet(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.packet)
    }

    /// What to do now; the same query until something was handled.
    pub fn poll_step(&mut self, infrastructure: &mut Infrastructure, now_ms: u64) -> Step {
        if let Some(outstanding) = &self.outstanding {
            return Step::Ask(outstanding.ask);
        }
        for _ in 0..STEPS_MAX {
            if let Some(answer) = self.done.take() {
                return Step::Done(answer);
            }
            if self.questions.is_empty() {
                return Step::Done(Answer::failure(0));
            }
            if !infrastructure.has_random() {
                self.questions.clear();
                return Step::Done(Answer::failure(0));
            }
            if self.budget.is_spent(now_ms) {
                infrastructure.counters.budgets_spent += 1;
                self.questions.clear();
                return Step::Done(Answer::failure(0).because(ExtendedError::NO_REACHABLE_AUTHORITY));
            }
            if let Some(ask) = self.advance(infrastructure, now_ms) {
                return Step::Ask(ask);
            }
        }
        self.questions.clear();
        Step::Done(Answer::failure(0))
    }

    /// One step of the question on top: a query, or one question more or less.
    fn advance(&mut self, infrastructure: &mut Infrastructure, now_ms: u64) -> Option<Ask> {
        let depth = self.questions.len();
        let question = self.questions.last_mut()?;
        let at = match &question.at {
            Some(at) => Rc::clone(at),
            None => {
                let at = infrastructure.closest(&question.name, question.rtype, now_ms);
                if at.kind == Kind::Hints && question.purpose != Purpose::Priming && infrastructure.must_prime(now_ms) {
                    self.questions.push(Question::new(Name::root(), Rtype::NS, Purpose::Priming));
                    return None;
                }
                question.go_to(Some(Rc::clone(&at)));
                at
            }
        };
        let chosen = match question.again.take() {
            Some(again) => Some(again),
            None if question.zone_tries >= ZONE_TRIES_MAX => None,
            None => {
                let candidates = infrastructure.candidates(&at, now_ms);
                let tried = |server: &SocketAddr| {
                    let tries = question.tries.iter().find(|(tried, _)| tried == server).map_or(0, |(_, tries)| *tries);
                    (tries < TRIES_MAX).then_some(tries)
                };
                infrastructure.choose(&candidates, &at.zone, tried, now_ms).map(|server| (server, Transport::Udp))
            }
        };
        if let Some((server, transport)) = chosen {
            return Some(self.ask(infrastructure, at, server, transport, now_ms));
        }
        if question.zone_tries < ZONE_TRIES_MAX
            && let Some((name, rtype)) = glueless(infrastructure, &self.questions, &at, now_ms)
        {
            let question = self.questions.last_mut()?;
            question.glueless += 1;
            if depth < DEPTH_MAX && question.glueless <= GLUELESS_MAX && self.budget.take_sub_question() {
                self.questions.push(Question::new(name, rtype, Purpose::Address));
                return None;
            }
        }
        // Nobody is left. The delegation may be out of date: once, the parent is asked again.
        let question = self.questions.last_mut()?;
        let old = at.kind == Kind::Learned && now_ms.saturating_sub(at.learned_ms) >= REFETCH_MS;
        if old && !self.refetched && at.zone != Name::root() {
            self.refetched = true;
            infrastructure.forget(&at.zone);
            question.go_to(None);
            return None;
        }
        let code = if self.unreachable { ExtendedError::NETWORK_ERROR } else { ExtendedError::NO_REACHABLE_AUTHORITY };
        self.fail(infrastructure, Some(code), now_ms);
        None
    }

    fn note(&mut self, outstanding: &Outstanding, now_ms: u64, outcome: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(TraceEntry {
                zone: outstanding.at.zone.clone(),
                server: outstanding.ask.server,
                transport: outstanding.ask.transport,
                name: outstanding.name.clone(),
                rtype: outstanding.rtype,
                ms: now_ms.saturating_sub(outstanding.sent_ms),
                outcome: outcome(),
            });
        }
    }
}

/// A name server of the delegation whose address is not known and may be asked for: not one in the zone itself (its parent would have to know
/// it), and none that is being asked for already.
fn glueless(infrastructure: &Infrastructure, questions: &[Question], at: &Delegation, now_ms: u64) -> Option<(Name, Rtype)> {
    let mut servers = at.servers.iter().filter(|server| server.addresses.is_empty() && server.name != Name::root());
    let server = servers.find(|server| {
        infrastructure.host(&server.name, now_ms).is_none()
            && !is_within(server.name.wire(), at.zone.wire())
            && !questions.iter().any(|question| question.origin == server.name)
    })?;
    Some((server.name.clone(), Rtype::A))
}
