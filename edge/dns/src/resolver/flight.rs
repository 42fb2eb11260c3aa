//! One question on its way to the forwarders, without I/O.
//!
//! ```text
//!   new ─> Ask(server, udp) ── response ───────────────> Done
//!             │  │ └ truncated ─> Ask(server, tcp) ─────> Done
//!             │  └ failure, timeout, lame ─> Ask(next server) ... after two rounds ─> Done(failure)
//! ```
//! Whoever drives it opens a socket of its own for every datagram, so that the kernel chooses the port; with the random id an attacker
//! who cannot see the packets has to guess about 30 bits (RFC 5452 section 9).

use super::Answer;
use crate::dnssec::Security;
use crate::message::ResponseView;
use crate::name::Name;
use crate::query::write_query;
use crate::record::negative_ttl;
use crate::responder::Transport;
use crate::types::{CLASS_IN, Rcode, Rtype};
use std::net::SocketAddr;

/// Rounds over the servers.
const ROUNDS: usize = 2;
/// Questions sent for one look-up, whatever the number of servers.
const ASKS_MAX: usize = 6;
/// Time a server has, in the first round; doubled in the second.
const WAIT_MS: u64 = 1500;
/// Aliases in one answer.
const ALIASES_MAX: usize = 12;
/// Packets on one socket that are not ours before it counts as failed: somebody is guessing.
const STRANGERS_MAX: usize = 16;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlightStep {
    /// Send this and wait so long, then [`Flight::handle_response`] or [`Flight::handle_failure`].
    Ask {
        /// Whom.
        server: SocketAddr,
        /// How.
        transport: Transport,
        /// The query.
        packet: Vec<u8>,
        /// Milliseconds until it has failed.
        wait_ms: u64,
    },
    /// The end.
    Done(Answer),
}

/// See the module.
#[derive(Debug)]
pub struct Flight {
    name: Name,
    rtype: Rtype,
    servers: Vec<SocketAddr>,
    id: u16,
    asks: usize,
    strangers: usize,
    transport: Transport,
    done: Option<Answer>,
}

impl Flight {
    /// Begins a look-up. `id` must be random; `first` says which server is asked first.
    #[must_use]
    pub fn new(name: Name, rtype: Rtype, servers: Vec<SocketAddr>, id: u16) -> Self {
        let done = servers.is_empty().then(|| Answer::failure(0));
        Self { name, rtype, servers, id, asks: 0, strangers: 0, transport: Transport::Udp, done }
    }

    /// What to do now; the same until something was handled.
    #[must_use]
    pub fn poll_step(&self) -> FlightStep {
        if let Some(answer) = &self.done {
            return FlightStep::Done(answer.clone());
        }
        let server = self.servers.get(self.asks % self.servers.len().max(1)).copied();
        let Some(server) = server else { return FlightStep::Done(Answer::failure(0)) };
        let mut packet = Vec::with_capacity(64);
        write_query(self.id, self.name.wire(), self.rtype, true, &mut packet);
        let round = u32::try_from(self.asks / self.servers.len().max(1)).unwrap_or(0).min(4);
        FlightStep::Ask { server, transport: self.transport, packet, wait_ms: WAIT_MS << round }
    }

    /// The server cannot be reached, or its time is over.
    pub fn handle_failure(&mut self) {
        self.asks += 1;
        self.transport = Transport::Udp;
        self.strangers = 0;
        // Another id: what was sent to the first may still be answered by whoever saw it.
        self.id = self.id.rotate_left(5) ^ 0x5bd1;
        if self.asks >= (self.servers.len() * ROUNDS).min(ASKS_MAX) {
            self.done = Some(Answer::failure(0));
        }
    }

    /// A packet from the server that was asked. False: it is not the answer; go on waiting.
    pub fn handle_response(&mut self, packet: &[u8]) -> bool {
        let view = ResponseView::parse(packet).filter(|view| self.is_ours(view));
        let Some(view) = view else {
            self.strangers += 1;
            if self.strangers >= STRANGERS_MAX || self.transport == Transport::Tcp {
                self.handle_failure();
                return true;
            }
            return false;
        };
        if view.truncated && self.transport == Transport::Udp {
            self.transport = Transport::Tcp;
        } else if view.rcode == Rcode::NOERROR || view.rcode == Rcode::NXDOMAIN {
            self.done = Some(self.judge(view));
        } else {
            // SERVFAIL, REFUSED, FORMERR: another may know.
            self.handle_failure();
        }
        true
    }

    fn is_ours(&self, view: &ResponseView) -> bool {
        //= RFC 5452 section 9.1
        //# A resolver implementation MUST match responses to all of the following attributes of the query: ... Query ID, Query name,
        //# Query class, Query type
        let question = view.question.as_ref();
        view.id == self.id
            && question.is_some_and(|(name, rtype, class)| {
                name.to_key() == self.name.to_key() && *rtype == self.rtype && *class == CLASS_IN
            })
    }

    /// Takes from the response what belongs to the question: the aliases one after the other, then the records of the type.
    fn judge(&self, view: ResponseView) -> Answer {
        let mut owner = self.name.to_key();
        let mut records = Vec::new();
        let mut rest = view.answer;
        for _ in 0..ALIASES_MAX {
            let (own, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|record| record.name.to_key() == owner);
            rest = others;
            let wanted = |record: &crate::record::Record| record.rtype == self.rtype || self.rtype == Rtype::ANY;
            if own.iter().any(wanted) {
                records.extend(own.into_iter().filter(wanted));
                let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
                return Answer { rcode: Rcode::NOERROR, records, authority: Vec::new(), ttl, security: Security::Unchecked };
            }
            let Some(alias) = own.into_iter().find(|record| record.rtype == Rtype::CNAME) else { break };
            let Ok(target) = Name::from_wire(&alias.rdata) else { break };
            owner = target.to_key();
            records.push(alias);
        }
        // Negative. Without an SOA that covers the name it is not kept (RFC 2308 section 5).
        let soa = view
            .authority
            .into_iter()
            .find(|record| record.rtype == Rtype::SOA && crate::name::is_within(owner.wire(), record.name.to_key().wire()));
        let ttl = soa.as_ref().map_or(0, |soa| negative_ttl(soa.ttl, &soa.rdata));
        let ttl = records.iter().map(|record| record.ttl).fold(ttl, u32::min);
        Answer { rcode: view.rcode, records, authority: soa.into_iter().collect(), ttl, security: Security::Unchecked }
    }
}

/// For the fuzzer and the replay of its inputs: takes anything for the response to our query, and tells a client what came of it; must not
/// panic.
#[doc(hidden)]
pub fn fuzz_flight(data: &[u8]) {
    use crate::responder::respond_resolved;
    let Ok(name) = Name::absolute("example.org") else { return };
    let id = data.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    let mut flight = Flight::new(name.clone(), Rtype::MX, vec![([127, 0, 0, 1], 53).into()], id);
    flight.handle_response(data);
    let FlightStep::Done(answer) = flight.poll_step() else { return };
    assert!(answer.records.iter().all(|record| record.rtype == Rtype::MX || record.rtype == Rtype::CNAME));
    assert!(answer.records.iter().all(|record| record.ttl >= answer.ttl) && answer.authority.len() <= 1);
    for record in answer.records.iter().chain(&answer.authority) {
        let _ = crate::record::rdata_text(record.rtype, &record.rdata);
    }
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    write_query(7, name.wire(), Rtype::MX, true, &mut packet);
    let resolved = super::Cache::new(super::CacheConfig::default()).put(&name, Rtype::MX, &answer, super::Purpose::Client, 0);
    for transport in [Transport::Udp, Transport::Tcp] {
        respond_resolved(&packet, &resolved, transport, &mut out);
        crate::test_support::assert_readable(&out, transport);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ResponseFlags, ResponseWriter, Section};
    use crate::query::QueryView;
    use proptest::prelude::*;

    const SERVERS: [([u8; 4], u16); 2] = [([127, 0, 0, 1], 53), ([127, 0, 0, 2], 53)];

    fn name(text: &str) -> Name {
        Name::absolute(text).unwrap()
    }

    fn flight() -> Flight {
        Flight::new(name("a.example"), Rtype::A, SERVERS.map(Into::into).to_vec(), 77)
    }

    fn asked(flight: &Flight) -> (u8, Transport, Vec<u8>) {
        match flight.poll_step() {
            FlightStep::Ask { server: SocketAddr::V4(server), transport, packet, .. } => {
                (server.ip().octets()[3], transport, packet)
            }
            step => panic!("{step:?}"),
        }
    }

    fn response(query: &[u8], rcode: Rcode, truncated: bool, records: &[(Section, &str, Rtype, u32, &[u8])]) -> Vec<u8> {
        let query = QueryView::parse(query).unwrap();
        let mut out = Vec::new();
        let mut writer = ResponseWriter::begin(&query, 1232, &mut out);
        for (section, owner, rtype, ttl, rdata) in records {
            writer.record(*section, name(owner).wire(), *rtype, *ttl, rdata).unwrap();
        }
        writer.finish(rcode, ResponseFlags::default(), truncated);
        out
    }

    fn done(flight: &Flight) -> Answer {
        match flight.poll_step() {
            FlightStep::Done(answer) => answer,
            step => panic!("{step:?}"),
        }
    }

    #[test]
    fn aliases_are_followed_and_strange_records_left_out() {
        let mut flight = flight();
        let (_, _, query) = asked(&flight);
        let target = name("B.example");
        let records: &[(Section, &str, Rtype, u32, &[u8])] = &[
            (Section::Answer, "evil.example", Rtype::A, 9, &[6, 6, 6, 6]),
            (Section::Answer, "a.example", Rtype::CNAME, 50, target.wire()),
            (Section::Answer, "b.example", Rtype::A, 40, &[192, 0, 2, 1]),
        ];
        assert!(flight.handle_response(&response(&query, Rcode::NOERROR, false, records)));
        let answer = done(&flight);
        assert_eq!(
            (answer.ttl, answer.records.len(), answer.rdata(Rtype::A).collect::<Vec<_>>()),
            (40, 2, vec![&[192, 0, 2, 1][..]])
        );
    }

    #[test]
    fn negative_answers_take_the_soas_time() {
        let mut soa = name("ns.example").wire().to_vec();
        soa.extend_from_slice(&[0; 17]);
        soa.extend_from_slice(&120_u32.to_be_bytes());
        for (owner, expected) in [("example", 120), ("other", 0)] {
            let mut flight = flight();
            let (_, _, query) = asked(&flight);
            let records: &[(Section, &str, Rtype, u32, &[u8])] = &[(Section::Authority, owner, Rtype::SOA, 900, &soa)];
            flight.handle_response(&response(&query, Rcode::NXDOMAIN, false, records));
            assert_eq!((done(&flight).rcode, done(&flight).ttl), (Rcode::NXDOMAIN, expected));
        }
    }

    #[test]
    fn truncation_goes_to_tcp_and_failures_to_the_next_server() {
        let mut flight = flight();
        let (server, transport, query) = asked(&flight);
        assert_eq!((server, transport), (1, Transport::Udp));
        flight.handle_response(&response(&query, Rcode::NOERROR, true, &[]));
        assert_eq!(asked(&flight).1, Transport::Tcp);
        flight.handle_response(&response(&query, Rcode::SERVFAIL, false, &[]));
        assert_eq!((asked(&flight).0, asked(&flight).1), (2, Transport::Udp));
        flight.handle_failure();
        assert_eq!(asked(&flight).0, 1);
        flight.handle_failure();
        flight.handle_failure();
        assert!(done(&flight).is_failure());
    }

    #[test]
    fn strangers_are_not_believed() {
        let mut flight = flight();
        let (_, _, query) = asked(&flight);
        let good = response(&query, Rcode::NXDOMAIN, false, &[]);
        let change = |at: usize| {
            let mut packet = good.clone();
            packet[at] ^= 1;
            packet
        };
        // Another id, another name, another type; and a query is no response.
        for stranger in [change(1), change(14), change(24), query.clone()] {
            assert!(!flight.handle_response(&stranger));
        }
        for _ in 4..STRANGERS_MAX {
            flight.handle_response(b"");
        }
        assert_eq!(asked(&flight).0, 2, "too many strangers: another server");
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..200)) { fuzz_flight(&data); }
    }
}
