//! Writes responses, and reads those of other servers.

use crate::name::{Name, parent, suffixes};
use crate::query::{HEADER_BYTES, QueryView};
use crate::record::{Part, Record, is_compressible, parts, read_rdata};
use crate::types::{Rcode, Rtype};
use crate::wire::Reader;
use smallvec::SmallVec;

/// Octets of UDP payload we take and give: no fragments on any path (DNS flag day 2020).
pub const PAYLOAD_BYTES: u16 = 1232;
/// Octets of an OPT record without options.
const OPT_BYTES: usize = 11;
/// Names a response remembers to point at; later ones are written whole.
const TARGETS_MAX: usize = 64;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// What was asked for.
    Answer = 1,
    /// Who is in charge: NS of a referral, SOA of a negative answer.
    Authority = 2,
    /// What will be asked next.
    Additional = 3,
}

/// What the header says besides the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFlags {
    /// From our own zone.
    pub authoritative: bool,
    /// The client may ask us for any name.
    pub recursion_available: bool,
}

/// The record does not fit any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Writes one response: header and question first, then records in the order of the sections.
///
/// Cost: each name is compared with the names written before, at most [`TARGETS_MAX`]; no allocation beyond `out`.
#[derive(Debug)]
pub struct ResponseWriter<'o> {
    out: &'o mut Vec<u8>,
    limit: usize,
    edns: bool,
    flags: u16,
    counts: [u16; 4],
    /// Places of labels that begin a name.
    targets: SmallVec<[u16; TARGETS_MAX]>,
}

impl<'o> ResponseWriter<'o> {
    /// Begins the response to `query` in `out`, at most `limit` octets long.
    pub fn begin(query: &QueryView<'_>, limit: usize, out: &'o mut Vec<u8>) -> Self {
        out.clear();
        out.extend_from_slice(&query.id.to_be_bytes());
        out.extend_from_slice(&[0; HEADER_BYTES - 2]);
        out.extend_from_slice(query.question());
        let edns = query.edns.is_some();
        let mut writer = Self {
            out,
            limit: limit - if edns { OPT_BYTES } else { 0 },
            edns,
            flags: 0x8000 | query.repeated_flags(),
            counts: [1, 0, 0, 0],
            targets: SmallVec::new(),
        };
        writer.remember(HEADER_BYTES, query.name);
        writer
    }

    fn remember(&mut self, at: usize, name: &[u8]) {
        let mut offset = at;
        for suffix in suffixes(name) {
            // The root needs no pointer, and a pointer has 14 bits.
            if suffix.len() < 2 || offset > 0x3fff || self.targets.len() == TARGETS_MAX {
                return;
            }
            self.targets.push(u16::try_from(offset).unwrap_or(u16::MAX));
            offset += suffix.len() - parent(suffix).map_or(0, <[u8]>::len);
        }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`Full`], and nothing was written.
    pub fn record(&mut self, section: Section, owner: &[u8], rtype: Rtype, ttl: u32, rdata: &[u8]) -> Result<(), Full> {
        let (before, targets) = (self.out.len(), self.targets.len());
        self.name(owner, true);
        for word in [rtype.0, crate::types::CLASS_IN] {
            self.out.extend_from_slice(&word.to_be_bytes());
        }
        self.out.extend_from_slice(&ttl.to_be_bytes());
        let length_at = self.out.len();
        self.out.extend_from_slice(&[0; 2]);
        self.rdata(rtype, rdata);
        let length = u16::try_from(self.out.len() - length_at - 2).unwrap_or(u16::MAX);
        if let Some(place) = self.out.get_mut(length_at..length_at + 2) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        if self.out.len() > self.limit || rdata.len() > usize::from(u16::MAX) {
            self.out.truncate(before);
            self.targets.truncate(targets);
            return Err(Full);
        }
        if let Some(count) = self.counts.get_mut(section as usize) {
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    /// Adds records that are encoded: `octets` with owners that point into this question or into `octets` at this place, and where in them the
    /// TTLs are, each of which becomes what `ttl` makes of it. Nothing written later points into them.
    ///
    /// # Errors
    /// [`Full`], and nothing was written.
    pub(crate) fn encoded(
        &mut self,
        section: Section,
        count: u16,
        octets: &[u8],
        ttl_places: impl Iterator<Item = usize>,
        ttl: impl Fn(u32) -> u32,
    ) -> Result<(), Full> {
        let before = self.out.len();
        if before + octets.len() > self.limit {
            return Err(Full);
        }
        self.out.extend_from_slice(octets);
        for place in ttl_places {
            if let Some(word) = self.out.get_mut(before + place..).and_then(|rest| rest.first_chunk_mut()) {
                *word = ttl(u32::from_be_bytes(*word)).to_be_bytes();
            }
        }
        if let Some(sum) = self.counts.get_mut(section as usize) {
            *sum = sum.saturating_add(count);
        }
        Ok(())
    }

    /// Says in the header that all of it was validated (RFC 4035 section 3.2.3).
    pub(crate) fn authentic_data(&mut self) {
        self.flags |= 0x0020;
    }

    fn rdata(&mut self, rtype: Rtype, rdata: &[u8]) {
        let mut rest = rdata;
        let compressible = is_compressible(rtype);
        for part in parts(rtype) {
            let taken = match part {
                Part::Name if compressible => {
                    let length = Reader::new(rest, 0).plain_name().map_or(rest.len(), <[u8]>::len);
                    let (name, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                    self.name(name, true);
                    rest = behind;
                    continue;
                }
                Part::Bytes(count) => *count,
                // No pointers inside, and nothing points into it: the reader of an unknown type could not follow.
                Part::Name | Part::Rest => rest.len(),
            };
            let (bytes, behind) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
            self.out.extend_from_slice(bytes);
            rest = behind;
        }
    }

    /// Writes a name, its known ending as a pointer (RFC 1035 section 4.1.4).
    fn name(&mut self, name: &[u8], remember: bool) {
        let mut written = 0;
        for suffix in suffixes(name) {
            if suffix.len() < 2 {
                break;
            }
            if let Some(&target) = self.targets.iter().find(|target| self.is_at(usize::from(**target), suffix)) {
                let start = self.out.len();
                self.out.extend_from_slice(name.get(..written).unwrap_or_default());
                self.out.extend_from_slice(&(0xc000 | target).to_be_bytes());
                if remember {
                    self.remember_labels(start, name, written);
                }
                return;
            }
            written = name.len() - parent(suffix).map_or(0, <[u8]>::len);
        }
        let start = self.out.len();
        self.out.extend_from_slice(name);
        if remember {
            self.remember(start, name);
        }
    }

    /// Remembers the labels of `name` that were written whole: the first `written` octets.
    fn remember_labels(&mut self, at: usize, name: &[u8], written: usize) {
        for suffix in suffixes(name) {
            let offset = name.len() - suffix.len();
            if offset >= written || at + offset > 0x3fff || self.targets.len() == TARGETS_MAX {
                return;
            }
            self.targets.push(u16::try_from(at + offset).unwrap_or(u16::MAX));
        }
    }

    /// True if the name at `at` of what is written is `name`, letter for letter: a pointer must keep the case (RFC 4343 section 4.1 allows
    /// less, but owners compare it).
    fn is_at(&self, mut at: usize, name: &[u8]) -> bool {
        let mut rest = name;
        for _ in 0..crate::name::NAME_BYTES_MAX {
            let (Some(&there), Some(&here)) = (self.out.get(at), rest.first()) else { return false };
            if there >= 0xc0 {
                let low = self.out.get(at + 1).copied().unwrap_or(0);
                at = usize::from(u16::from_be_bytes([there & 0x3f, low]));
                continue;
            }
            let label = usize::from(here) + 1;
            if there != here || self.out.get(at..at + label) != rest.get(..label) {
                return false;
            }
            if here == 0 {
                return true;
            }
            at += label;
            rest = rest.get(label..).unwrap_or_default();
        }
        false
    }

    /// What was written so far, to come back to with [`Self::rewind`].
    #[must_use]
    pub fn mark(&self) -> (usize, usize, [u16; 4]) {
        (self.out.len(), self.targets.len(), self.counts)
    }

    /// Takes back what was written since the mark.
    pub fn rewind(&mut self, (length, targets, counts): (usize, usize, [u16; 4])) {
        self.out.truncate(length);
        self.targets.truncate(targets);
        self.counts = counts;
    }

    /// Completes header and OPT. `truncated`: the client shall ask again over TCP.
    pub fn finish(mut self, rcode: Rcode, flags: ResponseFlags, truncated: bool) {
        let bit = |set: bool, bit: u16| if set { bit } else { 0 };
        self.flags |=
            bit(flags.authoritative, 0x0400) | bit(truncated, 0x0200) | bit(flags.recursion_available, 0x0080) | (rcode.0 & 15);
        if self.edns {
            self.out.push(0);
            for word in [Rtype::OPT.0, PAYLOAD_BYTES, (rcode.0 >> 4) << 8, 0, 0] {
                self.out.extend_from_slice(&word.to_be_bytes());
            }
            self.counts[3] = self.counts[3].saturating_add(1);
        }
        let words = std::iter::once(self.flags).chain(self.counts);
        for (place, word) in self.out.get_mut(2..HEADER_BYTES).unwrap_or_default().chunks_exact_mut(2).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
    }
}

/// A response of another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseView {
    /// Of the query.
    pub id: u16,
    /// The code; EDNS's upper bits included.
    pub rcode: Rcode,
    /// Ask again over TCP.
    pub truncated: bool,
    /// From the sender's own zone (AA).
    pub authoritative: bool,
    /// The sender would have asked others (RA).
    pub recursion_available: bool,
    /// The sender knows EDNS.
    pub edns: bool,
    /// Repeated from the query, letters as they came.
    pub question: Option<(Name, Rtype, u16)>,
    /// Records of class IN.
    pub answer: Vec<Record>,
    /// Records of class IN.
    pub authority: Vec<Record>,
    /// Records of class IN, without OPT.
    pub additional: Vec<Record>,
}

/// Records of one response; more are a flood, not an answer.
const RECORDS_MAX: usize = 1000;

impl ResponseView {
    /// Reads a response. `None`: it is none, or broken.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(packet, 0);
        let (id, flags) = (reader.u16()?, reader.u16()?);
        let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        let records: usize = counts.iter().map(|count| usize::from(*count)).sum();
        if flags & 0x8000 == 0 || counts[0] > 1 || records > RECORDS_MAX {
            return None;
        }
        let question = match counts[0] {
            0 => None,
            _ => Some((reader.name()?, Rtype(reader.u16()?), reader.u16()?)),
        };
        let truncated = flags & 0x0200 != 0;
        let mut rcode = flags & 15;
        let (mut answer, mut authority, mut additional) = (Vec::new(), Vec::new(), Vec::new());
        let mut edns = false;
        'sections: for (section, count) in counts.into_iter().enumerate().skip(1) {
            for _ in 0..count {
                match read_record(&mut reader) {
                    // The rest of a truncated response may be cut anywhere.
                    None if truncated => break 'sections,
                    None => return None,
                    Some(Found::Opt(extended)) => {
                        rcode |= extended << 4;
                        edns = true;
                    }
                    Some(Found::Other) => {}
                    Some(Found::Record(record)) if section == 1 => answer.push(record),
                    Some(Found::Record(record)) if section == 2 => authority.push(record),
                    Some(Found::Record(record)) => additional.push(record),
                }
            }
        }
        let (authoritative, recursion_available) = (flags & 0x0400 != 0, flags & 0x0080 != 0);
        Some(Self {
            id,
            rcode: Rcode(rcode),
            truncated,
            authoritative,
            recursion_available,
            edns,
            question,
            answer,
            authority,
            additional,
        })
    }
}

enum Found {
    Record(Record),
    Opt(u16),
    Other,
}

fn read_record(reader: &mut Reader<'_>) -> Option<Found> {
    let name = reader.name()?;
    let (rtype, class, ttl, length) = (Rtype(reader.u16()?), reader.u16()?, reader.u32()?, usize::from(reader.u16()?));
    if rtype == Rtype::OPT || class != crate::types::CLASS_IN {
        reader.bytes(length)?;
        let [extended, ..] = ttl.to_be_bytes();
        return Some(if rtype == Rtype::OPT { Found::Opt(extended.into()) } else { Found::Other });
    }
    let rdata = read_rdata(reader, rtype, length)?;
    //= RFC 2181 section 8
    //# Implementations should treat TTL values received with the most significant bit set as if the entire value received was zero.
    let ttl = if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl };
    Some(Found::Record(Record { name, rtype, ttl, rdata }))
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic.
#[doc(hidden)]
pub fn fuzz_response(data: &[u8]) {
    if let Some(view) = ResponseView::parse(data) {
        for record in view.answer.iter().chain(&view.authority) {
            let _ = crate::record::rdata_text(record.rtype, &record.rdata);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::write_query;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::absolute(text).unwrap()
    }

    #[test]
    fn names_are_compressed_and_read_back_by_us_and_by_hickory() {
        let mut packet = Vec::new();
        write_query(9, name("Example.org").wire(), Rtype::MX, false, &mut packet);
        let query = QueryView::parse(&packet).unwrap();
        let mut out = Vec::new();
        let mut writer = ResponseWriter::begin(&query, 1232, &mut out);
        let mut rdata = vec![0, 10];
        rdata.extend_from_slice(name("mx.Example.org").wire());
        writer.record(Section::Answer, query.name, Rtype::MX, 300, &rdata).unwrap();
        writer.record(Section::Additional, name("mx.Example.org").wire(), Rtype::A, 300, &[192, 0, 2, 1]).unwrap();
        writer.finish(Rcode::NOERROR, ResponseFlags { authoritative: true, recursion_available: false }, false);
        // Header, question, then 2+10 + 2 + 5 for the MX, 2+10+4 for the A, OPT.
        assert_eq!(out.len(), 12 + 17 + 19 + 16 + 11);
        let view = ResponseView::parse(&out).unwrap();
        assert_eq!(view.answer, [Record { name: name("Example.org"), rtype: Rtype::MX, ttl: 300, rdata: rdata.into() }]);
        let theirs = hickory_proto::op::Message::from_vec(&out).unwrap();
        assert_eq!(theirs.answers[0].to_string(), "Example.org. 300 IN MX 10 mx.Example.org.");
        assert_eq!(theirs.additionals[0].to_string(), "mx.Example.org. 300 IN A 192.0.2.1");
        assert!(theirs.edns.is_some());
    }

    #[test]
    fn a_full_response_stays_whole() {
        let mut packet = Vec::new();
        write_query(9, name("a.b").wire(), Rtype::TXT, false, &mut packet);
        let query = QueryView::parse(&packet).unwrap();
        let mut out = Vec::new();
        let mut writer = ResponseWriter::begin(&query, 512, &mut out);
        let long = [200; 201];
        assert_eq!(writer.record(Section::Answer, query.name, Rtype::TXT, 1, &long), Ok(()));
        assert_eq!(writer.record(Section::Answer, query.name, Rtype::TXT, 1, &long), Ok(()));
        assert_eq!(writer.record(Section::Answer, query.name, Rtype::TXT, 1, &long), Err(Full));
        writer.finish(Rcode::NOERROR, ResponseFlags::default(), true);
        let view = ResponseView::parse(&out).unwrap();
        assert!(view.truncated && view.answer.len() == 2 && out.len() <= 512);
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..200)) { fuzz_response(&data); }

        /// Whatever names are written, they are read back as they were.
        #[test]
        fn names_survive(names in proptest::collection::vec("([abAB]{1,3}\\.){0,5}", 1..20)) {
            let mut packet = Vec::new();
            write_query(9, name("b.a").wire(), Rtype::NS, false, &mut packet);
            let query = QueryView::parse(&packet).unwrap();
            let mut out = Vec::new();
            let mut writer = ResponseWriter::begin(&query, 60_000, &mut out);
            let records: Vec<Record> = names.iter().map(|text| {
                let target = name(if text.is_empty() { "." } else { text });
                Record { name: target.clone(), rtype: Rtype::NS, ttl: 1, rdata: target.wire().into() }
            }).collect();
            for record in &records {
                writer.record(Section::Answer, record.name.wire(), record.rtype, record.ttl, &record.rdata).unwrap();
            }
            writer.finish(Rcode::NOERROR, ResponseFlags::default(), false);
            prop_assert_eq!(ResponseView::parse(&out).unwrap().answer, records);
            prop_assert!(hickory_proto::op::Message::from_vec(&out).is_ok());
        }
    }
}
