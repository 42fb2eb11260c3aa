//! A query as it came, borrowed from the receive buffer.
//!
//! ```text
//!   0    2 id   2 flags (QR opcode AA TC RD | RA Z AD CD rcode)   2 QDCOUNT = 1   2 ANCOUNT = 0   2 NSCOUNT = 0   2 ARCOUNT <= 1
//!   12   name, 2 type, 2 class, then perhaps OPT: 0, 2 type 41, 2 payload size, 1 extended rcode, 1 version, 2 flags (DO ...), options
//! ```
//! Cost of reading: one pass over the name, which also makes the key; no allocation for names up to 64 octets.

use crate::name::Name;
use crate::types::{CLASS_ANY, CLASS_IN, Rcode, Rtype};
use crate::wire::Reader;
use smallvec::SmallVec;

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

/// What EDNS(0) says (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// Octets of UDP payload the client takes; at least 512 whatever it says.
    pub payload_bytes: u16,
    /// Version; only 0 exists.
    pub version: u8,
    /// DNSSEC records are wanted (RFC 3225).
    pub dnssec_ok: bool,
}

/// A query that can be answered.
#[derive(Clone, Debug)]
pub struct QueryView<'a> {
    /// Repeated in the response.
    pub id: u16,
    /// The name as the client wrote it.
    pub name: &'a [u8],
    /// The name in lower case.
    pub key: SmallVec<[u8; 64]>,
    /// The type asked for.
    pub rtype: Rtype,
    /// The class asked for.
    pub class: u16,
    /// Absent: a client of before EDNS, 512 octets over UDP.
    pub edns: Option<Edns>,
    flags: u16,
    question: &'a [u8],
}

/// Why a packet gets no ordinary answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// No query at all: silence. Answering a response could make two servers talk for ever.
    Drop,
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
        let mut header = Reader::new(packet, 0);
        let mut word = || header.u16().ok_or(QueryError::Drop);
        let (id, flags, questions, answers, authorities, additionals) = (word()?, word()?, word()?, word()?, word()?, word()?);
        if flags & QR != 0 {
            return Err(QueryError::Drop);
        }
        let refuse = |rcode| QueryError::Refuse { id, flags, rcode };
        if flags & OPCODE != 0 {
            return Err(refuse(Rcode::NOTIMP));
        }
        //= RFC 9619 section 4
        //# A DNS message with OPCODE = 0 and QDCOUNT > 1 MUST be treated as an incorrectly formatted message.
        if questions != 1 || answers != 0 || authorities != 0 || flags & TC != 0 {
            return Err(refuse(Rcode::FORMERR));
        }
        Self::read(packet, id, flags, additionals).ok_or_else(|| refuse(Rcode::FORMERR))
    }

    fn read(packet: &'a [u8], id: u16, flags: u16, additionals: u16) -> Option<Self> {
        let mut reader = Reader::new(packet, HEADER_BYTES);
        let name = reader.plain_name()?;
        let (rtype, class) = (Rtype(reader.u16()?), reader.u16()?);
        let question = packet.get(HEADER_BYTES..reader.position())?;
        let mut edns = None;
        for _ in 0..additionals {
            let owner = reader.name()?;
            let (kind, payload, extended, length) = (Rtype(reader.u16()?), reader.u16()?, reader.u32()?, reader.u16()?);
            reader.bytes(length.into())?;
            if kind == Rtype::OPT {
                //= RFC 6891 section 6.1.1
                //# If a query message with more than one OPT RR is received, a FORMERR (RCODE=1) MUST be returned.
                if edns.is_some() || owner != Name::root() {
                    return None;
                }
                let [_, version, high, _] = extended.to_be_bytes();
                edns = Some(Edns { payload_bytes: payload.max(512), version, dnssec_ok: high & 0x80 != 0 });
            }
        }
        let mut key = SmallVec::from_slice(name);
        key.make_ascii_lowercase();
        Some(Self { id, name, key, rtype, class, edns, flags, question })
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
        self.flags & AD != 0 || self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    pub(crate) fn question(&self) -> &'a [u8] {
        self.question
    }

    pub(crate) fn repeated_flags(&self) -> u16 {
        self.flags & REPEATED
    }
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
        assert_eq!(query.key.len(), query.name.len());
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
        assert_eq!(view.key.as_slice(), b"\x02ex\x03org\0");
        assert_eq!(view.edns, Some(Edns { payload_bytes: 1232, version: 0, dnssec_ok: false }));
    }

    #[test]
    fn what_is_no_query() {
        let refused = |rcode, packet: Vec<u8>| {
            let flags = u16::from_be_bytes([packet[2], packet[3]]);
            assert_eq!(QueryView::parse(&packet).unwrap_err(), QueryError::Refuse { id: 7, flags, rcode });
        };
        assert_eq!(QueryView::parse(b"short").unwrap_err(), QueryError::Drop);
        assert_eq!(QueryView::parse(&query("a", |packet| packet[2] |= 0x80)).unwrap_err(), QueryError::Drop);
        refused(Rcode::NOTIMP, query("a", |packet| packet[2] |= 0x28));
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
