//! The query under way: how it is written, and what becomes of a server that is silent.

use super::question::Purpose;
use super::{Ask, Failure, Resolution, TRIES_MAX};
use crate::name::{Name, labels};
use crate::resolver::ask::{Manner, labels_to_show, last_labels, randomise_case, write_question};
use crate::resolver::delegation::{Delegation, Kind};
use crate::resolver::infrastructure::Infrastructure;
use crate::responder::Transport;
use crate::types::Rtype;
use std::net::SocketAddr;
use std::rc::Rc;

/// Milliseconds a forwarder has at least: how fast it was with what it had in memory says nothing about the rest.
const FORWARD_WAIT_MS: u64 = 1500;

/// The query under way.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) ask: Ask,
    /// As it was sent.
    pub(super) name: Name,
    pub(super) rtype: Rtype,
    pub(super) manner: Manner,
    /// Its letters were chosen by chance.
    pub(super) cased: bool,
    pub(super) sent_ms: u64,
    pub(super) strangers: u8,
    pub(super) at: Rc<Delegation>,
}

impl Resolution {
    pub(super) fn ask(
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
}
