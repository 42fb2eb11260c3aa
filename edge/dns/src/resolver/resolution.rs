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

use super::Answer;
use super::ask::{Manner, labels_to_show, last_labels, randomise_case, write_question};
use super::budget::Budget;
use super::delegation::{Delegation, Kind};
use super::infrastructure::Infrastructure;
use super::reading::{ALIASES_MAX, Asked, Reading, read};
use crate::dnssec::Security;
use crate::message::ResponseView;
use crate::name::{Name, is_within, labels};
use crate::query::HEADER_BYTES;
use crate::record::{Record, address};
use crate::responder::Transport;
use crate::types::{CLASS_IN, ExtendedError, Rcode, Rtype};
use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};
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
/// Milliseconds a forwarder has at least: how fast it was with what it had in memory says nothing about the rest.
const FORWARD_WAIT_MS: u64 = 1500;
/// Packets from the server's address that are not ours before TCP is taken: somebody is guessing.
const STRANGERS_MAX: u8 = 16;
/// Seconds the addresses of a name server are kept at most, and at least.
const HOST_TTL: (u32, u32) = (86_400, 30);
/// Seconds it is remembered that a name server has none, and that nobody could say.
const NO_HOST_TTL: (u32, u32) = (60, 15);
/// Steps between two queries; each pushes or ends a question, so that few are possible.
const STEPS_MAX: usize = 64;
/// Records of one answer, over all its aliases; more than a full TCP message of addresses is nobody's.
const RECORDS_MAX: usize = 4000;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Client,
    /// The address of a name server.
    Address,
    /// The root's own name servers.
    Priming,
}

/// A question on the stack.
#[derive(Debug)]
struct Question {
    /// Lower-case; the last target of the aliases.
    name: Name,
    rtype: Rtype,
    purpose: Purpose,
    /// As it was asked, for what is learned of it.
    origin: Name,
    /// Aliases so far.
    records: Vec<Record>,
    authority: Vec<Record>,
    ttl: u32,
    aliases: usize,
    /// Whose servers are asked now.
    at: Option<Rc<Delegation>>,
    /// Labels shown to the servers of `at`, and questions with a part of the name.
    shown: usize,
    minimised: usize,
    /// A server did not like a part of the name: all of it from now on.
    whole: bool,
    /// Queries to each server of `at`; [`TRIES_MAX`]: given up.
    tries: SmallVec<[(SocketAddr, u64); 4]>,
    zone_tries: u8,
    glueless: u8,
    /// The same server once more: over TCP, or without EDNS.
    again: Option<(SocketAddr, Transport)>,
}

impl Question {
    fn new(name: Name, rtype: Rtype, purpose: Purpose) -> Self {
        Self {
            origin: name.clone(),
            name,
            rtype,
            purpose,
            records: Vec::new(),
            authority: Vec::new(),
            ttl: u32::MAX,
            aliases: 0,
            at: None,
            shown: 0,
            minimised: 0,
            whole: false,
            tries: SmallVec::new(),
            zone_tries: 0,
            glueless: 0,
            again: None,
        }
    }

    fn go_to(&mut self, at: Option<Rc<Delegation>>) {
        self.shown = at.as_ref().map_or(0, |at| labels(at.zone.wire()).count());
        self.at = at;
        self.start_over();
        self.glueless = 0;
    }

    /// The same servers, another part of the name.
    fn start_over(&mut self) {
        self.tries.clear();
        self.zone_tries = 0;
        self.again = None;
    }

    fn give_up(&mut self, server: SocketAddr, tries: u64) {
        match self.tries.iter_mut().find(|(tried, _)| *tried == server) {
            Some((_, count)) => *count += tries,
            None => self.tries.push((server, tries)),
        }
    }
}

/// The query under way.
#[derive(Debug)]
struct Outstanding {
    ask: Ask,
    /// As it was sent.
    name: Name,
    rtype: Rtype,
    manner: Manner,
    /// Its letters were chosen by chance.
    cased: bool,
    sent_ms: u64,
    strangers: u8,
    at: Rc<Delegation>,
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

    fn ask(
        &mut self,
        infrastructure: &mut Infrastructure,
        at: Rc<Delegation>,
        server: SocketAddr,
        transport: Transport,
        now_ms: u64,
    ) -> Ask {
        let (random, letters) = (infrastructure.random(), infrastructure.random());
        let forward = at.kind == Kind::Forward;
        let mut manner = Manner { recursion: forward, edns: true, dnssec: self.dnssec };
        let (mut name, mut rtype) = (Name::root(), Rtype::A);
        if let Some(question) = self.questions.last_mut() {
            question.zone_tries = question.zone_tries.saturating_add(1);
            question.give_up(server, 1);
            name = question.name.clone();
            rtype = question.rtype;
            let all = labels(name.wire()).count();
            // Only what a client asks for can be a secret.
            let whole = question.whole || forward || question.purpose != Purpose::Client || infrastructure.asks_whole(&name);
            let zone = labels(at.zone.wire()).count();
            let no_cut = |part: &[u8]| infrastructure.is_no_cut(part);
            let count = if whole { all } else { labels_to_show(&name, zone, question.shown, question.minimised, no_cut) };
            if count < all
                && let Some(part) = last_labels(&name, count).and_then(|part| Name::from_wire(part).ok())
            {
                (name, rtype) = (part, Rtype::A);
            }
        }
        let state = infrastructure.server(server);
        manner.edns = state.knows_edns(now_ms);
        manner.dnssec &= manner.edns;
        let keeps_case = state.keeps_case(now_ms);
        let left_ms = self.budget.until_ms().saturating_sub(now_ms);
        // A connection has to be made first; a resolver has to ask others.
        let wait_ms = state.wait_ms() * if transport == Transport::Tcp { 3 } else { 1 };
        let wait_ms = if forward { wait_ms.max(FORWARD_WAIT_MS) } else { wait_ms };
        let cased = !forward && keeps_case && infrastructure.config.randomise_case;
        let sent = if cased { randomise_case(&name, letters) } else { name };
        let [low, high, ..] = random.to_le_bytes();
        let id = u16::from_le_bytes([low, high]);
        write_question(id, &sent, rtype, manner, &mut self.packet);
        self.asks = self.asks.wrapping_add(1);
        self.budget.take_packet();
        infrastructure.counters.asked += 1;
        infrastructure.counters.asked_tcp += u64::from(transport == Transport::Tcp);
        let ask = Ask { number: self.asks, server, transport, wait_ms: wait_ms.min(left_ms).max(1), id };
        self.outstanding = Some(Outstanding { ask, name: sent, rtype, manner, cased, sent_ms: now_ms, strangers: 0, at });
        ask
    }

    /// Nothing came from the server that was asked. `number` as it was in the [`Ask`].
    pub fn handle_failure(&mut self, infrastructure: &mut Infrastructure, number: u32, failure: Failure, now_ms: u64) {
        let Some(outstanding) = self.outstanding.take_if(|outstanding| outstanding.ask.number == number) else { return };
        infrastructure.counters.silences += 1;
        self.unreachable = failure != Failure::Silence;
        let server = outstanding.ask.server;
        let (weight, tries, outcome) = match failure {
            Failure::Silence => (1, 0, "no answer"),
            Failure::Unreachable => (2, TRIES_MAX, "not reachable"),
            Failure::Local => (0, 0, "not sent"),
        };
        // Over TCP it says little about what it does over UDP.
        if weight == 0 {
        } else if outstanding.ask.transport == Transport::Udp {
            infrastructure.server(server).handle_silence(weight, outstanding.sent_ms, now_ms);
        } else if let Some(question) = self.questions.last_mut() {
            question.give_up(server, TRIES_MAX);
        }
        if let Some(question) = self.questions.last_mut() {
            question.give_up(server, tries);
        }
        self.note(&outstanding, now_ms, || outcome.to_owned());
    }

    /// A packet from the server that was asked; the letters of its question are made small ones again. False: it is not the response; go on
    /// waiting.
    pub fn handle_response(&mut self, infrastructure: &mut Infrastructure, number: u32, packet: &mut [u8], now_ms: u64) -> bool {
        let Some(mut outstanding) = self.outstanding.take_if(|outstanding| outstanding.ask.number == number) else { return true };
        self.budget.take_bytes(packet.len());
        let server = outstanding.ask.server;
        let over_tcp = outstanding.ask.transport == Transport::Tcp;
        let same_letters = outstanding.cased && restore_letters(packet, &outstanding.name);
        let fits = |view: &ResponseView| is_ours(view, &outstanding);
        let Some(view) = ResponseView::parse(packet).filter(fits) else {
            infrastructure.counters.strangers += 1;
            outstanding.strangers += 1;
            if over_tcp {
                // Nobody but the server can have sent it.
                self.give_up(infrastructure, &outstanding, "an unreadable response", now_ms);
                return true;
            }
            if outstanding.strangers >= STRANGERS_MAX {
                self.again(server, Transport::Tcp);
                self.note(&outstanding, now_ms, || "packets that are no response".to_owned());
                return true;
            }
            self.outstanding = Some(outstanding);
            return false;
        };
        self.unreachable = false;
        infrastructure.server(server).handle_answer(now_ms.saturating_sub(outstanding.sent_ms), now_ms);
        if outstanding.cased && !same_letters && view.question.is_some() {
            infrastructure.counters.case_lost += 1;
            if !over_tcp {
                // It may be forged; over TCP it cannot be.
                self.again(server, Transport::Tcp);
                self.note(&outstanding, now_ms, || "other letters than ours".to_owned());
                return true;
            }
            infrastructure.server(server).set_case_lost(now_ms);
        }
        //= RFC 2181 section 9
        //# When a DNS client receives a reply with TC set, it should ignore that response, and query again, using a mechanism, such as a TCP
        //# connection, that will permit larger replies.
        if view.truncated && !over_tcp {
            self.again(server, Transport::Tcp);
            self.note(&outstanding, now_ms, || "truncated".to_owned());
            return true;
        }
        match view.rcode {
            Rcode::NOERROR | Rcode::NXDOMAIN => self.take(infrastructure, &outstanding, view, now_ms),
            // A server of before EDNS says one of these (RFC 6891 section 7); one that knows it has an OPT in its response.
            Rcode::FORMERR | Rcode::NOTIMP if outstanding.manner.edns && !view.edns => {
                infrastructure.counters.plain += 1;
                infrastructure.server(server).set_plain(now_ms);
                self.again(server, outstanding.ask.transport);
                self.note(&outstanding, now_ms, || format!("{}: without EDNS", view.rcode));
            }
            Rcode::BADVERS if outstanding.manner.edns => {
                infrastructure.counters.plain += 1;
                infrastructure.server(server).set_plain(now_ms);
                self.again(server, outstanding.ask.transport);
                self.note(&outstanding, now_ms, || "BADVERS: without EDNS".to_owned());
            }
            _ if self.is_part(&outstanding) => {
                // Some servers know whole names only (RFC 9156 section 2.3).
                self.show_all();
                self.note(&outstanding, now_ms, || format!("{} to a part of the name", view.rcode));
            }
            Rcode::REFUSED | Rcode::NOTAUTH => {
                self.lame(infrastructure, &outstanding, now_ms);
                self.note(&outstanding, now_ms, || view.rcode.to_string());
            }
            rcode => {
                if let Some(question) = self.questions.last_mut() {
                    question.give_up(server, TRIES_MAX);
                }
                self.note(&outstanding, now_ms, || rcode.to_string());
            }
        }
        true
    }

    /// Takes what an acceptable response says.
    fn take(&mut self, infrastructure: &mut Infrastructure, outstanding: &Outstanding, view: ResponseView, now_ms: u64) {
        let part = self.is_part(outstanding);
        let Some(question) = self.questions.last_mut() else { return };
        if question.purpose == Purpose::Priming {
            let learned = view
                .authoritative
                .then(|| {
                    let mut root = (*outstanding.at).clone();
                    // The hints never expire; what the root says does.
                    root.expires_ms = u64::MAX;
                    Delegation::learn(&Name::root(), &root, &view.answer, &view.additional, infrastructure.config.port, now_ms)
                })
                .flatten();
            // Without addresses it would be of no use.
            let learned = learned.filter(|root| root.servers.iter().any(|server| !server.addresses.is_empty()));
            match learned {
                Some(root) => {
                    infrastructure.learn(root);
                    self.questions.pop();
                    self.note(outstanding, now_ms, || "the root's servers".to_owned());
                }
                None => self.give_up(infrastructure, outstanding, "no servers of the root", now_ms),
            }
            return;
        }
        let name = outstanding.name.to_key();
        let asked = Asked {
            name: &name,
            rtype: outstanding.rtype,
            of: &outstanding.at,
            dnssec: self.dnssec,
            port: infrastructure.config.port,
            now_ms,
        };
        match read(view, &asked) {
            Reading::Lame(why) if part => {
                self.show_all();
                self.note(outstanding, now_ms, || format!("{why}, to a part of the name"));
            }
            Reading::Lame(why) => {
                self.lame(infrastructure, outstanding, now_ms);
                self.note(outstanding, now_ms, || why.to_owned());
            }
            Reading::Referral(delegation) => {
                infrastructure.counters.referrals += 1;
                self.note(outstanding, now_ms, || referral_text(&delegation));
                let delegation = infrastructure.learn(delegation);
                if let Some(question) = self.questions.last_mut() {
                    question.go_to(Some(delegation));
                }
            }
            // Of a part of the name it is enough to know whether there is anything.
            Reading::Answer { .. } if part => {
                infrastructure.learn_no_cut(&name);
                self.show_more(&name);
                self.note(outstanding, now_ms, || "no cut here".to_owned());
            }
            Reading::Negative { rcode: Rcode::NOERROR, .. } if part => {
                infrastructure.learn_no_cut(&name);
                self.show_more(&name);
                self.note(outstanding, now_ms, || "no cut here".to_owned());
            }
            // RFC 8020 says that there is nothing below, and there are servers that say it of names with something below.
            Reading::Negative { rcode, .. } if part => {
                self.show_all();
                self.note(outstanding, now_ms, || format!("{rcode} to a part of the name"));
            }
            Reading::Alias { .. } if part => {
                self.show_all();
                self.note(outstanding, now_ms, || "an alias above the name".to_owned());
            }
            Reading::Answer { records, authority, ttl } => {
                self.note(outstanding, now_ms, || format!("{} records", records.len()));
                self.finish(infrastructure, Rcode::NOERROR, records, authority, ttl, now_ms);
            }
            Reading::Negative { rcode, records, authority, ttl } => {
                self.note(outstanding, now_ms, || {
                    if rcode == Rcode::NOERROR { "no such records".to_owned() } else { rcode.to_string() }
                });
                self.finish(infrastructure, rcode, records, authority, ttl, now_ms);
            }
            Reading::Alias { records, authority, target } => {
                self.note(outstanding, now_ms, || format!("an alias of {target}"));
                self.follow(infrastructure, records, authority, target, now_ms);
            }
        }
    }

    /// Goes on with the target of an alias.
    fn follow(
        &mut self,
        infrastructure: &mut Infrastructure,
        records: Vec<Record>,
        authority: Vec<Record>,
        target: Name,
        now_ms: u64,
    ) {
        let Some(question) = self.questions.last_mut() else { return };
        let links = records.iter().filter(|record| record.rtype == Rtype::CNAME).count().max(1);
        question.aliases += links;
        question.ttl = records.iter().map(|record| record.ttl).fold(question.ttl, u32::min);
        question.records.extend(records);
        question.authority.extend(authority);
        // A name that was met before is a loop.
        let seen = |record: &Record| record.rtype == Rtype::CNAME && record.name == target;
        //= RFC 2181 section 10.3
        //# The domain name used as the value of a NS resource record, or part of the value of a MX resource record must not be an alias.
        if question.aliases > ALIASES_MAX
            || question.records.len() > RECORDS_MAX
            || question.records.iter().any(seen)
            || question.purpose != Purpose::Client
        {
            return self.fail(infrastructure, None, now_ms);
        }
        question.name = target;
        question.whole = false;
        question.minimised = 0;
        question.go_to(None);
    }

    /// The question on top has its answer.
    fn finish(
        &mut self,
        infrastructure: &mut Infrastructure,
        rcode: Rcode,
        records: Vec<Record>,
        authority: Vec<Record>,
        ttl: u32,
        now_ms: u64,
    ) {
        let Some(mut question) = self.questions.pop() else { return };
        match question.purpose {
            Purpose::Client => {
                question.records.extend(records);
                question.authority.extend(authority);
                let (records, authority) = (question.records, question.authority);
                let ttl = ttl.min(question.ttl);
                self.done = Some(Answer { rcode, records, authority, ttl, security: Security::Unchecked, extended_error: None });
            }
            Purpose::Address => {
                let addresses = records.iter().filter(|record| record.rtype == question.rtype);
                let addresses: SmallVec<[IpAddr; 2]> =
                    addresses.filter_map(|record| address(&record.rdata)).take(super::delegation::ADDRESSES_MAX).collect();
                if addresses.is_empty() && question.rtype == Rtype::A && infrastructure.config.ipv6 && rcode == Rcode::NOERROR {
                    return self.questions.push(Question::new(question.origin, Rtype::AAAA, Purpose::Address));
                }
                let ttl = if addresses.is_empty() { NO_HOST_TTL.0 } else { ttl.clamp(HOST_TTL.1, HOST_TTL.0) };
                infrastructure.learn_host(&question.origin, addresses, ttl, now_ms);
            }
            Purpose::Priming => {}
        }
    }

    /// The question on top has none.
    fn fail(&mut self, infrastructure: &mut Infrastructure, code: Option<ExtendedError>, now_ms: u64) {
        let Some(question) = self.questions.pop() else { return };
        match question.purpose {
            Purpose::Client => {
                self.questions.clear();
                self.done = Some(Answer { extended_error: code, ..Answer::failure(0) });
            }
            Purpose::Address => infrastructure.learn_host(&question.origin, SmallVec::new(), NO_HOST_TTL.1, now_ms),
            // The hints themselves are asked then.
            Purpose::Priming => {}
        }
    }

    fn is_part(&self, outstanding: &Outstanding) -> bool {
        self.questions.last().is_some_and(|question| question.name.wire().len() > outstanding.name.wire().len())
    }

    fn show_more(&mut self, name: &Name) {
        if let Some(question) = self.questions.last_mut() {
            question.shown = labels(name.wire()).count();
            question.minimised += 1;
            question.start_over();
        }
    }

    fn show_all(&mut self) {
        if let Some(question) = self.questions.last_mut() {
            question.whole = true;
            question.start_over();
        }
    }

    fn again(&mut self, server: SocketAddr, transport: Transport) {
        if let Some(question) = self.questions.last_mut()
            && question.zone_tries < ZONE_TRIES_MAX
        {
            question.again = Some((server, transport));
        }
    }

    fn lame(&mut self, infrastructure: &mut Infrastructure, outstanding: &Outstanding, now_ms: u64) {
        infrastructure.counters.lame += 1;
        // A forwarder that refuses one name may know the next.
        if outstanding.at.kind != Kind::Forward {
            let zone = infrastructure.zone_hash(&outstanding.at.zone);
            infrastructure.server(outstanding.ask.server).set_lame(zone, now_ms);
        }
        if let Some(question) = self.questions.last_mut() {
            question.give_up(outstanding.ask.server, TRIES_MAX);
        }
    }

    fn give_up(&mut self, _: &mut Infrastructure, outstanding: &Outstanding, why: &str, now_ms: u64) {
        if let Some(question) = self.questions.last_mut() {
            question.give_up(outstanding.ask.server, TRIES_MAX);
        }
        self.note(outstanding, now_ms, || why.to_owned());
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

/// True if the question has the letters it was sent with. It gets small ones then: the names that point at it must not carry ours on.
fn restore_letters(packet: &mut [u8], sent: &Name) -> bool {
    let Some(place) = packet.get_mut(HEADER_BYTES..HEADER_BYTES + sent.wire().len()) else { return false };
    let same = place == sent.wire();
    if place.eq_ignore_ascii_case(sent.wire()) {
        place.make_ascii_lowercase();
    }
    same
}

//= RFC 5452 section 9.1
//# A resolver implementation MUST match responses to all of the following attributes of the query:
// its name, type, class, id here; addresses and ports by whoever has the socket. Letters are looked at later.
fn is_ours(view: &ResponseView, outstanding: &Outstanding) -> bool {
    let question = view.question.as_ref();
    // Some servers send back nothing but the header with an error.
    let bare = question.is_none() && !matches!(view.rcode, Rcode::NOERROR | Rcode::NXDOMAIN) && view.answer.is_empty();
    view.id == outstanding.ask.id
        && (bare
            || question.is_some_and(|(name, rtype, class)| {
                name.wire().eq_ignore_ascii_case(outstanding.name.wire()) && *rtype == outstanding.rtype && *class == CLASS_IN
            }))
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

fn referral_text(delegation: &Delegation) -> String {
    use std::fmt::Write;
    let mut text = format!("referral to {}", delegation.zone);
    for server in delegation.servers.iter().take(4) {
        let _ = write!(text, " {}", server.name);
    }
    text
}

/// For the fuzzer and the replay of its inputs: the first octet chooses forwarding, validation and minimisation; each query then takes a piece
/// of the rest: two octets of length, one of kind, and for a response its header's last ten octets and what follows the question. It must
/// end within the budget, and with something that can be told to a client.
#[doc(hidden)]
pub fn fuzz_resolution(data: &[u8]) {
    use crate::query::{QueryView, write_query};
    let Ok(name) = Name::absolute("a.b.example.org") else { return };
    let (&kind, mut rest) = data.split_first().unwrap_or((&0, &[]));
    let root = vec![SocketAddr::from(([192, 0, 2, 1], 53)), SocketAddr::from(([192, 0, 2, 2], 5300))];
    let config = super::InfrastructureConfig {
        forwards: if kind & 1 == 1 { vec![(Name::root(), root.clone())] } else { Vec::new() },
        minimise: kind & 2 == 0,
        ipv6: kind & 4 == 4,
        root_hints: if kind & 16 == 16 { root } else { Vec::new() },
        ..super::InfrastructureConfig::default()
    };
    let mut infrastructure = Infrastructure::new(config, |place| {
        place.fill(0x5a);
        true
    });
    let (dnssec, mut now_ms) = (kind & 8 == 8, 1000);
    let budget = Budget::new(now_ms);
    let mut resolution = Resolution::new(&name, Rtype::MX, dnssec, budget.clone()).traced();
    let mut asked = 0;
    let answer = loop {
        let ask = match resolution.poll_step(&mut infrastructure, now_ms) {
            Step::Ask(ask) => ask,
            Step::Done(answer) => break answer,
        };
        asked += 1;
        assert!(asked <= super::budget::PACKETS_MAX && now_ms < budget.until_ms() && ask.wait_ms <= budget.until_ms() - now_ms);
        let Ok(query) = QueryView::parse(resolution.packet()) else { panic!("our own query cannot be read") };
        let mut packet = resolution.packet().get(..2).unwrap_or_default().to_vec();
        let mut piece = |count: usize| {
            let (piece, behind) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = behind;
            piece
        };
        let length = piece(2).first_chunk().map_or(0, |length| u16::from_be_bytes(*length));
        let how = piece(1).first().copied().unwrap_or(1);
        let piece = piece(usize::from(length).min(2000));
        let failure = if how == 2 { Failure::Unreachable } else { Failure::Silence };
        if how != 1 && how != 2 {
            let (header, records) = piece.split_at_checked(10).unwrap_or((piece, &[]));
            packet.extend_from_slice(header);
            packet.resize(HEADER_BYTES, 0);
            packet.extend_from_slice(query.question());
            packet.extend_from_slice(records);
            now_ms += 5;
            if resolution.handle_response(&mut infrastructure, ask.number, &mut packet, now_ms) {
                continue;
            }
        }
        now_ms += ask.wait_ms;
        resolution.handle_failure(&mut infrastructure, ask.number, failure, now_ms);
    };
    assert!(answer.records.len() <= RECORDS_MAX && answer.records.iter().all(|record| record.ttl >= answer.ttl));
    let kept = [Rtype::MX, Rtype::CNAME, Rtype::DNAME, Rtype::RRSIG];
    assert!(answer.records.iter().all(|record| kept.contains(&record.rtype)));
    let text = resolution.take_trace().iter().map(|entry| format!("{entry:?}")).collect::<String>();
    assert!(text.is_empty() || asked > 0);
    for record in answer.records.iter().chain(&answer.authority) {
        let _ = crate::record::rdata_text(record.rtype, &record.rdata);
    }
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    write_query(7, name.wire(), Rtype::MX, true, &mut packet);
    let resolved = super::Cache::new(super::CacheConfig::default()).put(&name, Rtype::MX, &answer, super::Purpose::Client, 0);
    for transport in [Transport::Udp, Transport::Tcp] {
        crate::test_support::give(&packet, &resolved, transport, &mut out);
        crate::test_support::assert_readable(&out, transport);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ResponseFlags, ResponseWriter, Section};
    use crate::query::{QueryView, write_query};
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::absolute(text).unwrap()
    }

    /// A piece of the fuzz entry's data: what a server may say to `a.b.example.org MX` or a part of it.
    fn piece(which: u8, number: u8) -> Vec<u8> {
        if which < 2 {
            return vec![0, 0, which + 1];
        }
        let host = |text: &str| name(text).wire().to_vec();
        let zone = ["org", "example.org", "b.example.org", "a.b.example.org", "evil.test"][usize::from(number) % 5];
        let other = format!("n{number}.other.test");
        let soa = [name(zone).wire(), &[0; 21][..]].concat();
        let (mut packet, mut out) = (Vec::new(), Vec::new());
        write_query(7, name("a.b.example.org").wire(), Rtype::MX, false, &mut packet);
        let query = QueryView::parse(&packet).unwrap();
        let mut writer = ResponseWriter::begin(&query, 1232, &mut out);
        let mut put = |section, owner: &str, rtype, rdata: &[u8]| {
            let _ = writer.record(section, name(owner).wire(), rtype, u32::from(number), rdata);
        };
        match which {
            2 => {
                put(Section::Authority, zone, Rtype::NS, &host("ns.org"));
                put(Section::Additional, "ns.org", Rtype::A, &[192, 0, 2, number]);
            }
            3 => (0..number % 40).for_each(|count| put(Section::Authority, zone, Rtype::NS, &host(&format!("n{count}.{other}")))),
            4 => put(Section::Answer, "a.b.example.org", Rtype::CNAME, &host(&other)),
            5 => put(Section::Answer, zone, Rtype::DNAME, &host(&other)),
            6 => put(Section::Authority, zone, Rtype::SOA, &soa),
            7 => put(Section::Answer, "a.b.example.org", Rtype::MX, &[&[0, 10][..], &host(&other)].concat()),
            _ => {}
        }
        let rcode = [0, 0, 0, 3, 2, 1, 5, 16][usize::from(number) % 8];
        writer.finish(Rcode(rcode), ResponseFlags { authoritative: number & 1 == 1, ..ResponseFlags::default() }, number > 250);
        let body = [&out[2..HEADER_BYTES], &out[HEADER_BYTES + query.question().len()..]].concat();
        [&u16::try_from(body.len()).unwrap().to_be_bytes()[..], &[0], &body].concat()
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..300)) { fuzz_resolution(&data); }

        #[test]
        fn whatever_servers_say_it_ends_within_its_budget(
            kind in any::<u8>(),
            pieces in proptest::collection::vec((0..9_u8, any::<u8>()), 0..80),
            flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..8),
        ) {
            let mut data = vec![kind & 0x1f];
            pieces.iter().for_each(|(which, number)| data.extend(piece(*which, *number)));
            for (at, octet) in flips {
                let at = at % data.len();
                data[at] ^= octet;
            }
            fuzz_resolution(&data);
        }
    }
}
