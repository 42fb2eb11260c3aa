//! An answer as it is kept: one allocation, which is also the response to be sent.
//!
//! ```text
//!   0   2 rcode   1 security in two bits, above them the extended error's code and 1, or 0   1 octets of the question's name
//!   4   4 x 2 records of:  answer | answer, DNSSEC | authority | authority, DNSSEC
//!   12  4 x 2 where in the message each of the four ends
//!   20  2 records in all
//!   22  question: name in lower case, type, class        (place 12 of the message)
//!       records, names in their data whole, owners as pointers where that is possible
//!       2 a record: where its TTL is in the message      (numbers of this file little-endian, the message's big-endian)
//! ```
//! A client without DO gets the first and the third part only, so what stands in these points to nothing but the question and the first.
//! The question of every client that asks for it is as long as the one here, and so no pointer has to be changed.
//!
//! Names in record data are whole, because the users in this process read them where they lie; what that costs against compressed ones is
//! measured in `benches/cache.rs`.
//!
//! Nothing here trusts its bytes: on broken ones ([`Packed::check`] finds them) the accessors give less, and never panic.

use super::Answer;
use crate::dnssec::Security;
use crate::message::Section;
use crate::name::{NAME_BYTES_MAX, Name, parent, suffixes};
use crate::query::HEADER_BYTES;
use crate::record::{Record, read_rdata};
use crate::types::{CLASS_IN, ExtendedError, Rcode, Rtype};
use crate::wire::Reader;
use smallvec::SmallVec;
use std::rc::Rc;

/// Octets before the question.
const HEAD_BYTES: usize = 22;
/// Octets of a message that can still be sent with an OPT record and its options behind it.
const MESSAGE_BYTES_MAX: usize = 65_000;
/// Names in answer data that an owner may point at; one alias needs one.
const TARGETS_MAX: usize = 32;

/// The last place a pointer can say (RFC 1035 section 4.1.4).
const POINTER_MAX: usize = 0x3fff;

/// Of the octet for security.
const SECURITY_BITS: u8 = 3;

/// The four parts in their order.
const PARTS: [(Section, bool); 4] =
    [(Section::Answer, false), (Section::Answer, true), (Section::Authority, false), (Section::Authority, true)];

/// See the module. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed(Rc<[u8]>);

/// A record where it lies.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    pub(super) message: &'a [u8],
    pub(super) owner_at: usize,
    /// Its section: answer or authority.
    pub section: Section,
    /// Only for those who ask for DNSSEC (RFC 4035 section 3.2.1).
    pub dnssec_only: bool,
    /// Its type.
    pub rtype: Rtype,
    /// Seconds, as they were when the answer came.
    pub ttl: u32,
    /// Its data, names in it whole.
    pub rdata: &'a [u8],
}

impl RecordView<'_> {
    /// Its owner, in lower case where it is the question's.
    #[must_use]
    pub fn owner(&self) -> Name {
        Reader::new(self.message, self.owner_at).name().unwrap_or_else(Name::root)
    }
}

/// True for what only those get who know what to do with it, or asked for it by name (RFC 4035 section 3.2.1).
fn is_dnssec_only(rtype: Rtype, asked: Rtype) -> bool {
    matches!(rtype, Rtype::RRSIG | Rtype::NSEC | NSEC3) && rtype != asked && asked != Rtype::ANY
}

const NSEC3: Rtype = Rtype(50);

impl Packed {
    /// Packs the answer to a question; `ttl` says what becomes of the TTL of each record. One that fits no message becomes a failure.
    pub(super) fn new(name: &Name, rtype: Rtype, answer: &Answer, ttl: impl Fn(u32) -> u32) -> Self {
        let mut packer = Packer::new(name, rtype);
        for (part, (section, dnssec_only)) in PARTS.into_iter().enumerate() {
            let records = if section == Section::Answer { &answer.records } else { &answer.authority };
            for record in records.iter().filter(|record| is_dnssec_only(record.rtype, rtype) == dnssec_only) {
                packer.record(part, record, ttl(record.ttl));
            }
            packer.end(part);
        }
        packer.finish(answer.rcode, answer.security, answer.extended_error).unwrap_or_else(|| {
            let packer = Packer::new(name, rtype);
            packer.finish(Rcode::SERVFAIL, Security::Unchecked, None).unwrap_or_else(|| Self(Rc::default()))
        })
    }

    /// Takes bytes that were packed before; `None` if they were not, or have changed.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let packed = Self(bytes.into());
        packed.check().then_some(packed)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn word(&self, at: usize) -> usize {
        self.0.get(at..at + 2).and_then(|word| word.first_chunk()).map_or(0, |word| usize::from(u16::from_le_bytes(*word)))
    }

    /// The whole, so placed that the question is at 12 as in a message; the octets before it are not a header.
    fn message(&self) -> &[u8] {
        let end = HEAD_BYTES - HEADER_BYTES + self.end(3);
        self.0.get(HEAD_BYTES - HEADER_BYTES..end).unwrap_or_default()
    }

    fn count(&self, part: usize) -> usize {
        self.word(4 + 2 * part)
    }

    fn end(&self, part: usize) -> usize {
        self.word(12 + 2 * part)
    }

    fn name_bytes(&self) -> usize {
        self.0.get(3).copied().unwrap_or(0).into()
    }

    /// Name of the question, in lower case.
    pub(super) fn key(&self) -> &[u8] {
        self.0.get(HEAD_BYTES..HEAD_BYTES + self.name_bytes()).unwrap_or_default()
    }

    /// Type of the question.
    pub(super) fn rtype(&self) -> Rtype {
        let at = HEAD_BYTES + self.name_bytes();
        self.0.get(at..).and_then(|rest| rest.first_chunk()).map_or(Rtype(0), |word| Rtype(u16::from_be_bytes(*word)))
    }

    /// True if it answers this question.
    pub(super) fn is_for(&self, key: &[u8], rtype: Rtype) -> bool {
        self.key() == key && self.rtype() == rtype
    }

    pub(super) fn rcode(&self) -> Rcode {
        Rcode(u16::try_from(self.word(0)).unwrap_or(0))
    }

    pub(super) fn security(&self) -> Security {
        match self.0.get(2).map(|octet| octet & SECURITY_BITS) {
            Some(1) => Security::Insecure,
            Some(2) => Security::Secure,
            _ => Security::Unchecked,
        }
    }

    pub(super) fn extended_error(&self) -> Option<ExtendedError> {
        let code = self.0.get(2)? / (SECURITY_BITS + 1);
        code.checked_sub(1).map(|code| ExtendedError(code.into()))
    }

    /// Places of the TTLs in the message, of the records from `first` on.
    fn ttl_places(&self, first: usize, count: usize) -> impl Iterator<Item = usize> {
        let at = HEAD_BYTES - HEADER_BYTES + self.end(3) + 2 * first;
        let places = self.0.get(at..at + 2 * count).unwrap_or_default();
        places.chunks_exact(2).filter_map(|word| word.first_chunk()).map(|word| usize::from(u16::from_le_bytes(*word)))
    }

    /// Type, TTL and data of the record with its TTL at this place, and where it ends.
    fn record_at(message: &[u8], ttl_at: usize) -> Option<(Rtype, u32, &[u8], usize)> {
        let mut reader = Reader::new(message, ttl_at.checked_sub(4)?);
        let (rtype, _class, ttl, length) = (Rtype(reader.u16()?), reader.u16()?, reader.u32()?, reader.u16()?);
        let rdata = reader.bytes(length.into())?;
        Some((rtype, ttl, rdata, reader.position()))
    }

    /// Data of the records of a type in the answer section. Costs some ten nanoseconds a record, no name is read.
    pub(super) fn rdata(&self, rtype: Rtype) -> impl Iterator<Item = &[u8]> {
        let message = self.message();
        let places = self.ttl_places(0, self.count(0) + self.count(1));
        let records = places.filter_map(|place| Self::record_at(message, place));
        records.filter(move |record| record.0 == rtype).map(|record| record.2)
    }

    /// All records, part by part.
    pub(super) fn records(&self) -> impl Iterator<Item = RecordView<'_>> {
        let message = self.message();
        let parts = PARTS.into_iter().enumerate().flat_map(|(part, kind)| std::iter::repeat_n(kind, self.count(part)));
        let mut owner_at = HEADER_BYTES + self.name_bytes() + 4;
        self.ttl_places(0, self.word(20)).zip(parts).filter_map(move |(place, (section, dnssec_only))| {
            let (rtype, ttl, rdata, end) = Self::record_at(message, place)?;
            let view = RecordView { message, owner_at, section, dnssec_only, rtype, ttl, rdata };
            owner_at = end;
            Some(view)
        })
    }

    /// The records of one part as they are sent: how many, their octets, and the places of the TTLs in these.
    pub(super) fn part(&self, part: usize) -> (u16, &[u8], impl Iterator<Item = usize>) {
        let start = match part.checked_sub(1) {
            Some(before) => self.end(before),
            None => HEADER_BYTES + self.name_bytes() + 4,
        };
        let octets = self.message().get(start..self.end(part)).unwrap_or_default();
        let first = (0..part).map(|part| self.count(part)).sum();
        let places = self.ttl_places(first, self.count(part)).map(move |place| place.saturating_sub(start));
        (u16::try_from(self.count(part)).unwrap_or(0), octets, places)
    }

    /// True if everything is as [`Self::new`] makes it: for what was read from a disk.
    fn check(&self) -> bool {
        self.check_records().is_some()
    }

    fn check_records(&self) -> Option<()> {
        let message = self.message();
        let records = self.word(20);
        let whole = HEAD_BYTES - HEADER_BYTES + self.end(3) + 2 * records == self.0.len();
        let name = Name::from_wire(self.key()).ok()?;
        let counted = (0..4).map(|part| self.count(part)).sum::<usize>() == records;
        let mut at = HEADER_BYTES + self.name_bytes() + 4;
        let class = message.get(at - 2..at)? == CLASS_IN.to_be_bytes();
        if !(whole
            && counted
            && class
            && name.to_key() == name
            && self.end(3) <= MESSAGE_BYTES_MAX
            && self.0.get(2)? & SECURITY_BITS <= 2)
        {
            return None;
        }
        for part in 0..4 {
            let first = (0..part).map(|part| self.count(part)).sum();
            for place in self.ttl_places(first, self.count(part)) {
                let mut reader = Reader::new(message, at);
                if own_pointer(message, at).is_some_and(|target| target < HEADER_BYTES) {
                    return None;
                }
                reader.name()?;
                if reader.position() + 4 != place {
                    return None;
                }
                let (rtype, _, rdata, end) = Self::record_at(message, place)?;
                let mut reader = Reader::new(rdata, 0);
                if read_rdata(&mut reader, rtype, rdata.len())?.as_ref() != rdata {
                    return None;
                }
                at = end;
            }
            if self.end(part) != at {
                return None;
            }
        }
        Some(())
    }
}

/// The pointer at the end of the name at `at`, if it ends in one.
fn own_pointer(message: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..NAME_BYTES_MAX {
        match *message.get(at)? {
            0 => return None,
            length @ 1..=63 => at += usize::from(length) + 1,
            high => return Some(usize::from(u16::from_be_bytes([high & 0x3f, *message.get(at + 1)?]))),
        }
    }
    None
}

/// Writes the stored form.
struct Packer {
    /// From the question on: place 0 here is place 12 of the message.
    body: Vec<u8>,
    question: Name,
    /// Places in the question where a label begins.
    begins_label: [bool; NAME_BYTES_MAX],
    counts: [u16; 4],
    ends: [usize; 4],
    places: Vec<usize>,
    /// Names in the data of the answer's first part: where, and how long.
    targets: SmallVec<[(usize, usize); TARGETS_MAX]>,
}

impl Packer {
    fn new(name: &Name, rtype: Rtype) -> Self {
        let question = name.to_key();
        let mut body = Vec::with_capacity(256);
        body.extend_from_slice(question.wire());
        body.extend_from_slice(&rtype.0.to_be_bytes());
        body.extend_from_slice(&CLASS_IN.to_be_bytes());
        let mut begins_label = [false; NAME_BYTES_MAX];
        for suffix in suffixes(question.wire()) {
            if let Some(begins) = begins_label.get_mut(question.wire().len() - suffix.len()) {
                *begins = true;
            }
        }
        Self { body, question, begins_label, counts: [0; 4], ends: [0; 4], places: Vec::new(), targets: SmallVec::new() }
    }

    fn place(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    fn record(&mut self, part: usize, record: &Record, ttl: u32) {
        self.owner(&record.name);
        self.body.extend_from_slice(&record.rtype.0.to_be_bytes());
        self.body.extend_from_slice(&CLASS_IN.to_be_bytes());
        self.places.push(self.place());
        self.body.extend_from_slice(&ttl.to_be_bytes());
        self.body.extend_from_slice(&u16::try_from(record.rdata.len()).unwrap_or(u16::MAX).to_be_bytes());
        // Only what everybody gets may be pointed at by everybody. MX and SRV targets own nothing in these sections.
        let may_own = part == 0 && matches!(record.rtype, Rtype::CNAME | Rtype::DNAME);
        if may_own && self.targets.len() < TARGETS_MAX && self.place() <= POINTER_MAX {
            self.targets.push((self.body.len(), record.rdata.len()));
        }
        self.body.extend_from_slice(&record.rdata);
        if let Some(count) = self.counts.get_mut(part) {
            *count = count.saturating_add(1);
        }
    }

    /// Writes an owner: a pointer at a name that is written, or what stands before the ending it has in common with the question.
    fn owner(&mut self, name: &Name) {
        let wire = name.wire();
        let known = self.targets.iter().find(|(at, length)| self.body.get(*at..at + length) == Some(wire));
        if let Some(&(at, _)) = known {
            return self.pointer(HEADER_BYTES + at);
        }
        let mut written = 0;
        for suffix in suffixes(wire) {
            if suffix.len() < 2 {
                break;
            }
            let question = self.question.wire();
            if let Some(at) = question.len().checked_sub(suffix.len())
                && self.begins_label.get(at) == Some(&true)
                && question.get(at..).is_some_and(|ours| ours.eq_ignore_ascii_case(suffix))
            {
                self.body.extend_from_slice(wire.get(..written).unwrap_or_default());
                return self.pointer(HEADER_BYTES + at);
            }
            written = wire.len() - parent(suffix).map_or(0, <[u8]>::len);
        }
        self.body.extend_from_slice(wire);
    }

    fn pointer(&mut self, place: usize) {
        debug_assert!(place <= POINTER_MAX);
        let place = u16::try_from(place).unwrap_or(0) & 0x3fff;
        self.body.extend_from_slice(&(0xc000 | place).to_be_bytes());
    }

    fn end(&mut self, part: usize) {
        let place = self.place();
        if let Some(end) = self.ends.get_mut(part) {
            *end = place;
        }
    }

    fn finish(self, rcode: Rcode, security: Security, extended_error: Option<ExtendedError>) -> Option<Packed> {
        if self.place() > MESSAGE_BYTES_MAX {
            return None;
        }
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.body.len() + 2 * self.places.len());
        bytes.extend_from_slice(&rcode.0.to_le_bytes());
        let security = match security {
            Security::Unchecked => 0,
            Security::Insecure => 1,
            Security::Secure => 2,
        };
        // The registry has 30 codes; one that does not fit is left out.
        let code = extended_error.and_then(|code| u8::try_from(code.0).ok()).filter(|code| *code < u8::MAX / 4);
        bytes.push(security | code.map_or(0, |code| (code + 1) * (SECURITY_BITS + 1)));
        bytes.push(u8::try_from(self.question.wire().len()).ok()?);
        let ends = if self.ends[3] == 0 { [self.place(); 4] } else { self.ends };
        let records = u16::try_from(self.places.len()).ok()?;
        for word in self.counts {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for end in ends {
            bytes.extend_from_slice(&u16::try_from(end).ok()?.to_le_bytes());
        }
        bytes.extend_from_slice(&records.to_le_bytes());
        bytes.extend_from_slice(&self.body);
        for place in self.places {
            bytes.extend_from_slice(&u16::try_from(place).ok()?.to_le_bytes());
        }
        Some(Packed(bytes.into()))
    }
}

#[cfg(test)]
mod tests;
