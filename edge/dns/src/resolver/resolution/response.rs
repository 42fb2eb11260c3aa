//! What comes for the query under way: whether it is its response, and which way it leads.

use super::query::Outstanding;
use super::question::Purpose;
use super::{Resolution, TRIES_MAX, ZONE_TRIES_MAX};
use crate::message::ResponseView;
use crate::name::{Name, labels};
use crate::query::HEADER_BYTES;
use crate::resolver::delegation::{Delegation, Kind};
use crate::resolver::infrastructure::Infrastructure;
use crate::resolver::reading::{Asked, Reading, read};
use crate::responder::Transport;
use crate::types::{CLASS_IN, Rcode};
use std::net::SocketAddr;

/// Packets from the server's address that are not ours before TCP is taken: somebody is guessing.
const STRANGERS_MAX: u8 = 16;

impl Resolution {
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

fn referral_text(delegation: &Delegation) -> String {
    use std::fmt::Write;
    let mut text = format!("referral to {}", delegation.zone);
    for server in delegation.servers.iter().take(4) {
        let _ = write!(text, " {}", server.name);
    }
    text
}
