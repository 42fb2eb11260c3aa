//! A query as it came, borrowed from the receive buffer.
//!
//! ```text
//!   0    2 id   2 flags (QR opcode AA TC RD | RA Z AD CD rcode)   2 QDCOUNT = 1   2 ANCOUNT = 0   2 NSCOUNT = 0   2 ARCOUNT
//!   12   name, 2 type, 2 class, then perhaps OPT: 0, 2 type 41, 2 payload size, 1 extended rcode, 1 version, 2 flags (DO ...), options,
//!        then perhaps TSIG, always last
//! ```
//! Cost of reading: the name's length octets and the heads of the records behind; nothing is copied, options are read when asked for.

use crate::name::Name;
use crate::types::{CLASS_ANY, CLASS_IN, Rcode, Rtype};
use crate::wire::Reader;

/// Octets of the fixed header.
pub const HEADER_BYTES: usize = 12;
const QR: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TC: u16 = 0x0200;
const RD: u16 = 0x0100;
const AD: u16 = 0x0020;
const CD: u16 = 0x0010;
/// The flags a response repeats.
const REPEATED: u16 = OPCODE | RD | CD;
/// "This zone has changed" (RFC 1996).
pub const OPCODE_NOTIFY: u8 = 4;
/// "Change this zone" (RFC 2136).
pub const OPCODE_UPDATE: u8 = 5;
/// TSIG's type (RFC 8945).
const TSIG: Rtype = Rtype(250);

/// What EDNS(0) says (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns<'a> {
    /// Octets of UDP payload the client takes; at least 512 whatever it says.
    pub payload_bytes: u16,
    /// Version; only 0 exists.
    pub version: u8,
    /// DNSSEC records are wanted (RFC 3225).
    pub dnssec_ok: bool,
    /// The options as they came: 2 code, 2 length, data each.
    pub options: &'a [u8],
}

/// Name server identity (RFC 5001).
pub const OPTION_NSID: u16 = 3;
/// Cookies (RFC 7873).
pub const OPTION_COOKIE: u16 = 10;
/// Idle time of a connection (RFC 7828).
pub const OPTION_TCP_KEEPALIVE: u16 = 11;
/// Extended error (RFC 8914).
pub const OPTION_EXTENDED_ERROR: u16 = 15;

impl<'a> Edns<'a> {
    /// The options one after the other; `Err` once if they end in the middle of one.
    pub fn options(&self) -> impl Iterator<Item = Result<(u16, &'a [u8]), ()>> + use<'a> {
        let mut reader = Reader::new(self.options, 0);
        let mut end = self.options.len();
        std::iter::from_fn(move || {
            if reader.position() >= end {
                return None;
            }
            let mut option = || {
                let (code, length) = (reader.u16()?, reader.u16()?);
                Some((code, reader.bytes(length.into())?))
            };
            Some(option().ok_or_else(|| end = 0))
        })
    }
}

/// A query that can be answered.
#[derive(Clone, Copy, Debug)]
pub struct QueryView<'a> {
    /// Repeated in the response.
    pub id: u16,
    /// The name as the client wrote it.
    pub name: &'a [u8],
    /// The type asked for.
    pub rtype: Rtype,
    /// The class asked for.
    pub class: u16,
    /// Absent: a client of before EDNS, 512 octets over UDP.
    pub edns: Option<Edns<'a>>,
    /// Where the TSIG record begins, the last of the packet: who checked it takes it off before the query is answered.
    pub tsig_at: Option<usize>,
    flags: u16,
    question: &'a [u8],
}

/// Why a packet gets no ordinary answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// No query at all: silence. Answering a response could make two servers talk for ever.
    Drop,
    /// Another opcode than QUERY.
    Opcode {
        /// Repeated.
        id: u16,
        /// Its flags word.
        flags: u16,
        /// See [`OPCODE_NOTIFY`], [`OPCODE_UPDATE`].
        opcode: u8,
    },
    /// Answered by its header alone.
    Refuse {
        /// Repeated.
        id: u16,
        /// Its flags word.
        flags: u16,
        /// FORMERR or NOTIMP.
        rcode: Rcode,
    },
}

impl<'a> QueryView<'a> {
    /// Reads a packet.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn parse(packet: &'a [u8]) -> Result<Self, QueryError> {
        let Some(([i, j, f, g, counts @ ..], _)) = packet.split_first_chunk::<HEADER_BYTES>() else {
            return Err(QueryError::Drop);
        };
        let (id, flags) = (u16::from_be_bytes([*i, *j]), u16::from_be_bytes([*f, *g]));
        let [questions, answers, authorities, additionals] =
            [[counts[0], counts[1]], [counts[2], counts[3]], [counts[4], counts[5]], [counts[6], counts[7]]]
                .map(u16::from_be_bytes);
        if flags & QR != 0 {
            return Err(QueryError::Drop);
        }
        if flags & OPCODE != 0 {
            let opcode = (f >> 3) & 15;
            return Err(QueryError::Opcode { id, flags, opcode });
        }
        let refused = QueryError::Refuse { id, flags, rcode: Rcode::FORMERR };
        //= RFC 9619 section 4
        //# A DNS message with OPCODE = 0 and QDCOUNT > 1 MUST be treated as an incorrectly formatted message.
        if questions != 1 || answers != 0 || authorities > 1 || flags & TC != 0 {
            return Err(refused);
        }
        Self::read(packet, id, flags, authorities, additionals).ok_or(refused)
    }

    fn read(packet: &'a [u8], id: u16, flags: u16, authorities: u16, additionals: u16) -> Option<Self> {
        let mut reader = Reader::new(packet, HEADER_BYTES);
        let name = reader.plain_name()?;
        let (rtype, class) = (Rtype(reader.u16()?), reader.u16()?);
        let question = packet.get(HEADER_BYTES..reader.position())?;
        if authorities > 0 {
            //= RFC 1995 section 3
            //# the authority section containing the SOA record of client's version of the zone.
            // Nothing else has one.
            if rtype != Rtype::IXFR {
                return None;
            }
            skip_record(&mut reader)?;
        }
        let (mut edns, mut tsig_at) = (None, None);
        if additionals == 1
            && let Some((found, end)) = plain_opt(packet, reader.position())
        {
            edns = Some(found);
            reader = Reader::new(packet, end);
        }
        for _ in 0..additionals - u16::from(edns.is_some()) {
            // Whatever signs the packet is its last record.
            if tsig_at.is_some() {
                return None;
            }
            let start = reader.position();
            let (owner, kind, payload, extended, data) = skip_record(&mut reader)?;
            if kind == TSIG {
                tsig_at = Some(start);
            }
            if kind == Rtype::OPT {
                //= RFC 6891 section 6.1.1
                //# If a query message with more than one OPT RR is received, a FORMERR (RCODE=1) MUST be returned.
                if edns.is_some() || owner != Some(0) {
                    return None;
                }
                let [_, version, high, _] = extended.to_be_bytes();
                let options = packet.get(data..reader.position())?;
                edns = Some(Edns { payload_bytes: payload.max(512), version, dnssec_ok: high & 0x80 != 0, options });
            }
        }
        Some(Self { id, name, rtype, class, edns, tsig_at, flags, question })
    }

    /// True for the class we serve.
    #[must_use]
    pub fn is_internet(&self) -> bool {
        self.class == CLASS_IN || self.class == CLASS_ANY
    }

    /// The client asks for recursion.
    #[must_use]
    pub fn recursion_desired(&self) -> bool {
        self.flags & RD != 0
    }

    /// The client wants to know whether the answer was validated: it set AD (RFC 6840 section 5.7) or DO.
    #[must_use]
    pub fn authentic_data_wanted(&self) -> bool {
        self.flags & AD != 0 || self.dnssec_ok()
    }

    /// DNSSEC records are wanted.
    #[must_use]
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    pub(crate) fn question(&self) -> &'a [u8] {
        self.question
    }

    pub(crate) fn repeated_flags(&self) -> u16 {
        self.flags & REPEATED
    }
}

/// The OPT record that stands there, as it does in nearly every query; whatever is else is read with more care.
fn plain_opt(packet: &[u8], at: usize) -> Option<(Edns<'_>, usize)> {
    let head: &[u8; 11] = packet.get(at..)?.first_chunk()?;
    let &[0, 0, 41, payload_high, payload_low, _, version, high, _, length_high, length_low] = head else { return None };
    let start = at + head.len();
    let end = start + usize::from(u16::from_be_bytes([length_high, length_low]));
    let options = packet.get(start..end)?;
    let payload_bytes = u16::from_be_bytes([payload_high, payload_low]).max(512);
    Some((Edns { payload_bytes, version, dnssec_ok: high & 0x80 != 0, options }, end))
}

/// The first octet of the owner, type, class, TTL, and where the data begins.
type RecordHead = (Option<u8>, Rtype, u16, u32, usize);

fn skip_record(reader: &mut Reader<'_>) -> Option<RecordHead> {
    let owner = reader.peek();
    reader.skip_name()?;
    let (kind, class, ttl, length) = (Rtype(reader.u16()?), reader.u16()?, reader.u32()?, reader.u16()?);
    let data = reader.position();
    reader.bytes(length.into())?;
    Some((owner, kind, class, ttl, data))
}

/// The zone a NOTIFY or an UPDATE is about: the name of its one question (RFC 1996 section 3.7, RFC 2136 section 2.3).
#[must_use]
pub fn question_name(packet: &[u8]) -> Option<Name> {
    if packet.get(4..6)? != [0, 1] {
        return None;
    }
    Name::from_wire(Reader::new(packet, HEADER_BYTES).plain_name()?).ok()
}

/// The response to a query that could not be read: its header alone.
pub fn write_refusal(id: u16, flags: u16, rcode: Rcode, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&(QR | (flags & REPEATED) | (rcode.0 & 15)).to_be_bytes());
    out.extend_from_slice(&[0; 8]);
}

/// Writes a query of our own: recursion desired, EDNS with our payload size.
pub fn write_query(id: u16, name: &[u8], rtype: Rtype, recursion: bool, out: &mut Vec<u8>) {
    out.clear();
    let flags = if recursion { RD } else { 0 };
    for word in [id, flags, 1, 0, 0, 1] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(name);
    for word in [rtype.0, CLASS_IN] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.push(0);
    for word in [Rtype::OPT.0, crate::message::PAYLOAD_BYTES, 0, 0, 0] {
        out.extend_from_slice(&word.to_be_bytes());
    }
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic.
#[doc(hidden)]
pub fn fuzz_query(data: &[u8]) {
    if let Ok(query) = QueryView::parse(data) {
        assert!(Name::from_wire(query.name).is_ok());
        assert!(query.edns.is_none_or(|edns| edns.options().count() <= edns.options.len()));
        assert!(query.tsig_at.is_none_or(|at| at < data.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut packet = Vec::new();
        write_query(7, Name::absolute(name).unwrap().wire(), Rtype::MX, true, &mut packet);
        change(&mut packet);
        packet
    }

    #[test]
    fn a_query_is_read() {
        let packet = query("Ex.Org", |_| ());
        let view = QueryView::parse(&packet).unwrap();
        assert_eq!((view.id, view.rtype, view.class, view.recursion_desired()), (7, Rtype::MX, 1, true));
        assert_eq!(view.name, b"\x02Ex\x03Org\0");
        assert_eq!(view.edns, Some(Edns { payload_bytes: 1232, version: 0, dnssec_ok: false, options: &[] }));
    }

    #[test]
    fn what_is_no_query() {
        let refused = |rcode, packet: Vec<u8>| {
            let flags = u16::from_be_bytes([packet[2], packet[3]]);
            assert_eq!(QueryView::parse(&packet).unwrap_err(), QueryError::Refuse { id: 7, flags, rcode });
        };
        assert_eq!(QueryView::parse(b"short").unwrap_err(), QueryError::Drop);
        assert_eq!(QueryView::parse(&query("a", |packet| packet[2] |= 0x80)).unwrap_err(), QueryError::Drop);
        let opcode = |packet: &[u8]| matches!(QueryView::parse(packet), Err(QueryError::Opcode { id: 7, opcode: 5, .. }));
        assert!(opcode(&query("a", |packet| packet[2] |= 0x28)));
        refused(Rcode::FORMERR, query("a", |packet| packet[5] = 2));
        refused(Rcode::FORMERR, query("a", |packet| packet[5] = 0));
        refused(Rcode::FORMERR, query("a", |packet| packet[7] = 1));
        refused(Rcode::FORMERR, query("a", |packet| packet[11] = 2));
        refused(Rcode::FORMERR, query("a", |packet| packet.truncate(14)));
        // A pointer in the question.
        refused(Rcode::FORMERR, query("a", |packet| packet[12] = 0xc0));
        // Two OPT records.
        refused(
            Rcode::FORMERR,
            query("a", |packet| {
                packet[11] = 2;
                packet.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
            }),
        );
    }

    #[test]
    fn options_are_read_one_by_one() {
        let with = |options: &[u8]| {
            query("a", |packet| {
                let at = packet.len() - 1;
                packet[at] = u8::try_from(options.len()).unwrap();
                packet.extend_from_slice(options);
            })
        };
        let packet = with(b"\0\x03\0\0\0\x0a\0\x02ab");
        let view = QueryView::parse(&packet).unwrap();
        let options: Vec<_> = view.edns.unwrap().options().collect();
        assert_eq!(options, [Ok((OPTION_NSID, b"".as_slice())), Ok((OPTION_COOKIE, b"ab"))]);
        let packet = with(b"\0\x03\0\0\0\x0a\0\x09ab");
        let options: Vec<_> = QueryView::parse(&packet).unwrap().edns.unwrap().options().collect();
        assert_eq!(options, [Ok((OPTION_NSID, b"".as_slice())), Err(())]);
    }

    #[test]
    fn a_signed_query_and_one_for_a_difference() {
        let tsig = b"\x01k\0\0\xfa\0\xff\0\0\0\0\0\x02xx";
        let signed = query("a", |packet| {
            packet[11] = 2;
            packet.extend_from_slice(tsig);
        });
        assert_eq!(QueryView::parse(&signed).unwrap().tsig_at, Some(signed.len() - tsig.len()));
        let not_last = query("a", |packet| {
            packet[11] = 3;
            packet.extend_from_slice(tsig);
            packet.extend_from_slice(b"\0\0\x01\0\x01\0\0\0\0\0\0");
        });
        assert!(QueryView::parse(&not_last).is_err());
        let difference = |rtype: u8| {
            let mut packet = query("a", |_| ());
            (packet[9], packet[11], packet[16]) = (1, 0, rtype);
            packet.truncate(19);
            packet.extend_from_slice(b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\0");
            packet
        };
        assert!(QueryView::parse(&difference(251)).is_ok() && QueryView::parse(&difference(15)).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..100)) { fuzz_query(&data); }

        #[test]
        fn broken_queries_are_harmless(at in 0..40_usize, byte in any::<u8>(), length in 0..40_usize) {
            let packet = query("ab.cd", |packet| { if let Some(place) = packet.get_mut(at) { *place = byte; } packet.truncate(length); });
            fuzz_query(&packet);
        }
    }
}
