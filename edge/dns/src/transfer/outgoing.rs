//! Gives a zone to a secondary: AXFR (RFC 5936), IXFR (RFC 1995).
//!
//! ```text
//!   whole:        SOA  every other record  SOA
//!   differences:  SOA  (old SOA, what went, new SOA, what came) for each step  SOA
//!   up to date:   SOA
//! ```

use super::read::{AA, Header, QR, Sections};
use super::serial::is_newer;
use super::write::MessageWriter;
use super::{RecordRef, Soa, ZoneHistory};
use crate::message::{PAYLOAD_BYTES, Section};
use crate::name::Name;
use crate::query::write_refusal;
use crate::tsig::Signer;
use crate::types::{CLASS_IN, Rcode, Rtype};
use std::iter::{Peekable, once};

/// Octets of one message of a transfer: a pointer reaches 16 KiB back, so that a longer message would only be less compressed.
const MESSAGE_BYTES: usize = 16 * 1024;
/// Records the additional section of a request is read through: OPT and TSIG.
const ADDITIONALS_MAX: u16 = 8;

/// The DO bit where a record has its TTL (RFC 3225 section 3).
const DNSSEC_OK: u32 = 0x8000;

/// A query for a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferRequest {
    /// Repeated in every message of the answer.
    pub id: u16,
    /// The zone, as the client wrote it.
    pub zone: Name,
    /// AXFR or IXFR.
    pub rtype: Rtype,
    /// The version the client has; with IXFR only.
    pub serial: Option<u32>,
    /// The DO bit of its OPT record; `None`: it came without one.
    pub edns: Option<bool>,
    /// Octets that fit into a datagram.
    pub payload_bytes: u16,
}

impl TransferRequest {
    /// Reads a query for AXFR or IXFR.
    ///
    /// # Errors
    /// The response code to refuse it with; `None`: it is no query for a transfer at all.
    pub fn parse(packet: &[u8]) -> Result<Self, Option<Rcode>> {
        let header = Header::read(packet).ok_or(None)?;
        if header.is_response() || header.opcode() != 0 || header.counts[0] != 1 {
            return Err(None);
        }
        let mut sections = Sections::new(packet);
        let (zone, rtype, class) = sections.question().ok_or(None)?;
        if rtype != Rtype::AXFR && rtype != Rtype::IXFR {
            return Err(None);
        }
        if class != CLASS_IN {
            return Err(Some(Rcode::NOTAUTH));
        }
        Self::read(&header, &mut sections, zone, rtype).ok_or(Some(Rcode::FORMERR))
    }

    fn read(header: &Header, sections: &mut Sections<'_>, zone: Name, rtype: Rtype) -> Option<Self> {
        let [_, answers, authorities, additionals] = header.counts;
        let mut request = Self { id: header.id, zone, rtype, serial: None, edns: None, payload_bytes: 512 };
        if answers != 0 || authorities > 1 || additionals > ADDITIONALS_MAX || (rtype == Rtype::IXFR && authorities != 1) {
            return None;
        }
        for _ in 0..authorities {
            let record = sections.record()?;
            if record.rtype == Rtype::SOA && record.name.to_key() == request.zone.to_key() {
                request.serial = Some(Soa::parse(&sections.rdata(&record)?)?.serial);
            }
        }
        if rtype == Rtype::IXFR && request.serial.is_none() {
            return None;
        }
        for _ in 0..additionals {
            let record = sections.record()?;
            if record.rtype == Rtype::OPT {
                request.edns = Some(record.ttl & DNSSEC_OK != 0);
                request.payload_bytes = record.class.max(512);
            }
        }
        Some(request)
    }
}

/// Refuses a request with its header alone, or its question with it if it can be read.
pub fn write_transfer_refusal(packet: &[u8], rcode: Rcode, signer: Option<Signer>, now: u64, out: &mut Vec<u8>) {
    let header = Header::read(packet);
    let (id, flags) = header.map_or((0, 0), |header| (header.id, header.flags));
    write_refusal(id, flags, rcode, out);
    let question = || {
        let mut sections = Sections::new(packet);
        header.filter(|header| header.counts[0] == 1)?;
        let (name, rtype, class) = sections.question()?;
        let mut question = name.wire().to_vec();
        question.extend_from_slice(&rtype.0.to_be_bytes());
        question.extend_from_slice(&class.to_be_bytes());
        Some(question)
    };
    if let Some(question) = question() {
        out.extend_from_slice(&question);
        if let Some(count) = out.get_mut(5) {
            *count = 1;
        }
    }
    if let Some(mut signer) = signer {
        signer.sign(out, now);
    }
}

/// The records of an answer in the order they go out.
pub type Sequence<'z> = Box<dyn Iterator<Item = RecordRef<'z>> + 'z>;

/// Chooses what to answer: one SOA if the client is up to date, differences if they are remembered and fewer octets than the zone, else the
/// zone.
///
/// The SOA among `records` is passed over. `zone_bytes`: about the octets of the zone, as [`super::Difference::bytes`] counts them;
/// `usize::MAX` if nobody knows.
pub fn outgoing<'z>(
    request: &TransferRequest,
    soa: RecordRef<'z>,
    records: impl Iterator<Item = RecordRef<'z>> + 'z,
    zone_bytes: usize,
    history: Option<&'z ZoneHistory>,
    signer: Option<Signer>,
) -> Outgoing<'z> {
    let current = Soa::parse(soa.rdata).map_or(0, |soa| soa.serial);
    let smaller = |serial: u32| {
        let steps = history.filter(|history| history.serial() == Some(current))?.since(serial)?;
        (steps.clone().map(super::Difference::bytes).sum::<usize>() < zone_bytes).then_some(steps)
    };
    let sequence: Sequence<'z> = match request.serial.filter(|_| request.rtype == Rtype::IXFR) {
        // The same or newer: one SOA (RFC 1995 section 2).
        Some(serial) if serial == current || is_newer(serial, current) => Box::new(once(soa)),
        serial => match serial.and_then(smaller) {
            Some(steps) => Box::new(once(soa).chain(steps.flat_map(super::Difference::records)).chain(once(soa))),
            None => Box::new(once(soa).chain(records.filter(|record| record.rtype != Rtype::SOA)).chain(once(soa))),
        },
    };
    Outgoing { request: request.clone(), records: sequence.peekable(), soa, signer, is_first: true }
}

/// A record that no message can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// The messages of one answer.
pub struct Outgoing<'z> {
    request: TransferRequest,
    records: Peekable<Sequence<'z>>,
    soa: RecordRef<'z>,
    signer: Option<Signer>,
    is_first: bool,
}

impl Outgoing<'_> {
    fn reserved_bytes(&self) -> usize {
        self.signer.as_ref().map_or(0, Signer::record_bytes) + 11
    }

    /// Writes the next message of an answer over TCP; false: it is over. `now` in seconds since 1970.
    ///
    /// Cost: one copy of each record and one MAC a message; no allocation if `out` is used again.
    ///
    /// # Errors
    /// [`TooLong`]: the connection must be closed, so that the secondary throws away what it has.
    pub fn poll_message(&mut self, now: u64, out: &mut Vec<u8>) -> Result<bool, TooLong> {
        if self.records.peek().is_none() {
            return Ok(false);
        }
        let reserved = self.reserved_bytes();
        let mut writer = MessageWriter::begin(self.request.id, QR | AA, out);
        // The question in the first message (RFC 5936 section 2.2.1); in the others it would only take room.
        if self.is_first {
            writer.question(self.request.zone.wire(), self.request.rtype, CLASS_IN);
        }
        while let Some(record) = self.records.peek() {
            let is_empty = writer.records(Section::Answer) == 0;
            let limit = if is_empty { usize::from(u16::MAX) } else { MESSAGE_BYTES } - reserved;
            if !writer.record(Section::Answer, *record, CLASS_IN, limit) {
                if is_empty {
                    return Err(TooLong);
                }
                break;
            }
            self.records.next();
        }
        if let (true, Some(dnssec_ok)) = (std::mem::take(&mut self.is_first), self.request.edns) {
            writer.opt(dnssec_ok);
        }
        if let Some(signer) = &mut self.signer {
            signer.sign(out, now);
        }
        Ok(true)
    }

    /// Writes the answer to an IXFR over UDP: one message with all records, or with the SOA alone if they do not fit, so that the secondary
    /// asks over TCP (RFC 1995 section 2).
    pub fn write_datagram(mut self, now: u64, out: &mut Vec<u8>) {
        let limit = usize::from(self.request.payload_bytes.min(PAYLOAD_BYTES)).saturating_sub(self.reserved_bytes());
        let mut writer = MessageWriter::begin(self.request.id, QR | AA, out);
        writer.question(self.request.zone.wire(), self.request.rtype, CLASS_IN);
        if !self.records.all(|record| writer.record(Section::Answer, record, CLASS_IN, limit)) {
            writer = MessageWriter::begin(self.request.id, QR | AA, out);
            writer.question(self.request.zone.wire(), self.request.rtype, CLASS_IN);
            writer.record(Section::Answer, self.soa, CLASS_IN, limit);
        }
        if let Some(dnssec_ok) = self.request.edns {
            writer.opt(dnssec_ok);
        }
        if let Some(signer) = &mut self.signer {
            signer.sign(out, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::write_query;

    #[test]
    fn the_opt_record_of_the_answer_repeats_the_do_bit() {
        let zone = Name::absolute("example.org").unwrap();
        let soa = [&[0, 0][..], &[0; 20]].concat();
        let soa = RecordRef { owner: zone.wire(), rtype: Rtype::SOA, ttl: 60, rdata: &soa };
        for (flags, expected) in [(0x80, 0x80), (0x7f, 0)] {
            let (mut query, mut out) = (Vec::new(), Vec::new());
            write_query(7, zone.wire(), Rtype::AXFR, false, &mut query);
            let at = query.len() - 4;
            query[at] = flags;
            let request = TransferRequest::parse(&query).unwrap();
            assert!(outgoing(&request, soa, std::iter::empty(), 0, None, None).poll_message(0, &mut out).unwrap());
            let opt = &out[out.len() - 11..];
            assert_eq!((&opt[..3], &opt[7..9]), (&[0, 0, 41][..], &[expected, 0][..]));
        }
    }
}
