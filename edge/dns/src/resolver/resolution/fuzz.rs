//! The entry for the fuzzer.

use super::ending::RECORDS_MAX;
use super::{Failure, Resolution, Step};
use crate::name::Name;
use crate::query::HEADER_BYTES;
use crate::resolver::budget::{Budget, PACKETS_MAX};
use crate::resolver::infrastructure::Infrastructure;
use crate::responder::Transport;
use crate::types::Rtype;
use std::net::SocketAddr;

/// For the fuzzer and the replay of its inputs: the first octet chooses forwarding, validation and minimisation; each query then takes a piece
/// of the rest: two octets of length, one of kind, and for a response its header's last ten octets and what follows the question. It must
/// end within the budget, and with something that can be told to a client.
#[doc(hidden)]
pub fn fuzz_resolution(data: &[u8]) {
    use crate::query::{QueryView, write_query};
    use crate::resolver::{Cache, CacheConfig, InfrastructureConfig, Purpose};
    let Ok(name) = Name::absolute("a.b.example.org") else { return };
    let (&kind, mut rest) = data.split_first().unwrap_or((&0, &[]));
    let root = vec![SocketAddr::from(([192, 0, 2, 1], 53)), SocketAddr::from(([192, 0, 2, 2], 5300))];
    let config = InfrastructureConfig {
        forwards: if kind & 1 == 1 { vec![(Name::root(), root.clone())] } else { Vec::new() },
        minimise: kind & 2 == 0,
        ipv6: kind & 4 == 4,
        root_hints: if kind & 16 == 16 { root } else { Vec::new() },
        ..InfrastructureConfig::default()
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
        assert!(asked <= PACKETS_MAX && now_ms < budget.until_ms() && ask.wait_ms <= budget.until_ms() - now_ms);
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
    let resolved = Cache::new(CacheConfig::default()).put(&name, Rtype::MX, &answer, Purpose::Client, 0);
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
    use crate::types::Rcode;
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
