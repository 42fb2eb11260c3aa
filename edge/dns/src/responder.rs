//! From a query's packet to its response's: who may ask what, and how it fits.

use crate::dnssec::Security;
use crate::hosted::Hosted;
use crate::message::{PAYLOAD_BYTES, ResponseFlags, ResponseWriter, Section};
use crate::name::Name;
use crate::query::{QueryError, QueryView, write_refusal};
use crate::resolver::Resolved;
use crate::types::{Rcode, Rtype};
use crate::zone::{Placed, ZoneAnswer};

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram each way.
    Udp,
    /// A stream: no limit but the length's 16 bits.
    Tcp,
}

/// What is to be done with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The response is written.
    Ready,
    /// Nothing is said.
    Drop,
    /// The resolver must look for it; then [`respond_resolved`].
    Resolve(Name, Rtype),
}

fn limit(query: &QueryView<'_>, transport: Transport) -> usize {
    match (transport, query.edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => 512,
        //= RFC 6891 section 6.2.5
        //# The responder's maximum payload size can change over time
        (Transport::Udp, Some(edns)) => usize::from(edns.payload_bytes.min(PAYLOAD_BYTES)),
    }
}

/// Answers a packet from what is hosted, or says that the resolver must. `recursion`: this client may use the resolver.
pub fn respond(hosted: &Hosted, packet: &[u8], transport: Transport, recursion: bool, out: &mut Vec<u8>) -> Response {
    let query = match QueryView::parse(packet) {
        Ok(query) => query,
        Err(QueryError::Drop) => return Response::Drop,
        Err(QueryError::Refuse { id, flags, rcode }) => {
            write_refusal(id, flags, rcode, out);
            return Response::Ready;
        }
    };
    let limit = limit(&query, transport);
    let bare = |rcode: Rcode, out: &mut Vec<u8>| {
        let flags = ResponseFlags { authoritative: false, recursion_available: recursion };
        ResponseWriter::begin(&query, limit, out).finish(rcode, flags, false);
        Response::Ready
    };
    //= RFC 6891 section 6.1.3
    //# If a responder does not implement the VERSION level of the request, then it MUST respond with RCODE=BADVERS.
    if query.edns.is_some_and(|edns| edns.version != 0) {
        return bare(Rcode::BADVERS, out);
    }
    if !query.is_internet() {
        return bare(Rcode::REFUSED, out);
    }
    match query.rtype {
        Rtype::AXFR | Rtype::IXFR => return bare(Rcode::REFUSED, out),
        Rtype::ANY => {}
        rtype if rtype.is_question_only() => return bare(Rcode::NOTIMP, out),
        _ => {}
    }
    let Ok(name) = Name::from_wire(query.name) else { return bare(Rcode::FORMERR, out) };
    match hosted.answer(&name, query.rtype) {
        Some(answer) if answer.leads_to.is_none() || !(recursion && query.recursion_desired()) => {
            write_answer(&query, limit, &answer, recursion, out);
            Response::Ready
        }
        Some(_) => Response::Resolve(name, query.rtype),
        None if recursion && query.recursion_desired() => Response::Resolve(name, query.rtype),
        None => bare(Rcode::REFUSED, out),
    }
}

fn write_answer(query: &QueryView<'_>, limit: usize, answer: &ZoneAnswer<'_>, recursion: bool, out: &mut Vec<u8>) {
    let flags = ResponseFlags { authoritative: answer.authoritative, recursion_available: recursion };
    let mut writer = ResponseWriter::begin(query, limit, out);
    let empty = writer.mark();
    let put = |writer: &mut ResponseWriter<'_>, section: Section, placed: &Placed<'_>| {
        let set = &placed.set;
        set.rdata.iter().try_for_each(|rdata| writer.record(section, placed.owner.wire(), set.rtype, set.ttl, rdata))
    };
    let required = answer
        .answer
        .iter()
        .try_for_each(|placed| put(&mut writer, Section::Answer, placed))
        .and_then(|()| answer.authority.iter().try_for_each(|placed| put(&mut writer, Section::Authority, placed)));
    if required.is_err() {
        //= RFC 2181 section 9
        //# When a DNS client receives a reply with TC set, it should ignore that response, and query again
        // So nothing but the question is worth sending.
        writer.rewind(empty);
        return writer.finish(answer.rcode, flags, true);
    }
    for placed in &answer.additional {
        let before = writer.mark();
        if put(&mut writer, Section::Additional, placed).is_err() {
            writer.rewind(before);
            //= RFC 9471 section 3.1
            //# If a name server generating a referral cannot include all of the available glue records ... it MUST set the TC flag
            return writer.finish(answer.rcode, flags, !answer.authoritative);
        }
    }
    writer.finish(answer.rcode, flags, false);
}

/// Writes the response to a query that went to the resolver; `packet` is the query again.
pub fn respond_resolved(packet: &[u8], resolved: &Resolved, transport: Transport, out: &mut Vec<u8>) {
    let Ok(query) = QueryView::parse(packet) else {
        out.clear();
        return;
    };
    let flags = ResponseFlags { authoritative: false, recursion_available: true };
    let mut writer = ResponseWriter::begin(&query, limit(&query, transport), out);
    // The stored form points into its own question.
    if !resolved.is_for(&query.key, query.rtype) {
        return writer.finish(Rcode::SERVFAIL, flags, false);
    }
    let empty = writer.mark();
    let written = resolved.write(&mut writer, query.edns.is_some_and(|edns| edns.dnssec_ok));
    if written.is_err() {
        writer.rewind(empty);
    } else if resolved.security() == Security::Secure && !resolved.is_stale() && query.authentic_data_wanted() {
        writer.authentic_data();
    }
    writer.finish(resolved.rcode(), flags, written.is_err());
}

/// For the fuzzer and the replay of its inputs: answers anything, must not panic.
#[doc(hidden)]
pub fn fuzz_respond(data: &[u8]) {
    thread_local!(static HOSTED: Hosted = crate::test_support::hosted());
    let mut out = Vec::new();
    for (transport, recursion) in [(Transport::Udp, false), (Transport::Tcp, false), (Transport::Udp, true)] {
        if HOSTED.with(|hosted| respond(hosted, data, transport, recursion, &mut out)) == Response::Ready {
            crate::test_support::assert_readable(&out, transport);
        }
    }
}
