//! Reads responses of other servers; ours are written by [`ResponseWriter`].

pub use crate::writer::{Encoded, Full, Mark, ResponseFlags, ResponseOptions, ResponseWriter, Section};

use crate::name::Name;
use crate::record::{Record, read_rdata};
use crate::types::{Rcode, Rtype};
use crate::wire::Reader;

/// Octets of UDP payload we take and give: no fragments on any path (DNS flag day 2020).
pub const PAYLOAD_BYTES: u16 = 1232;
/// A response of another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseView {
    /// Of the query.
    pub id: u16,
    /// The code; EDNS's upper bits included.
    pub rcode: Rcode,
    /// Ask again over TCP.
    pub truncated: bool,
    /// Repeated from the query, letters as they came.
    pub question: Option<(Name, Rtype, u16)>,
    /// Records of class IN.
    pub answer: Vec<Record>,
    /// Records of class IN.
    pub authority: Vec<Record>,
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
        let (mut answer, mut authority) = (Vec::new(), Vec::new());
        'sections: for (section, count) in counts.into_iter().enumerate().skip(1) {
            for _ in 0..count {
                match read_record(&mut reader) {
                    // The rest of a truncated response may be cut anywhere.
                    None if truncated => break 'sections,
                    None => return None,
                    Some(Found::Opt(extended)) => rcode |= extended << 4,
                    Some(Found::Other) => {}
                    Some(Found::Record(record)) if section == 1 => answer.push(record),
                    Some(Found::Record(record)) if section == 2 => authority.push(record),
                    Some(Found::Record(_)) => {}
                }
            }
        }
        Some(Self { id, rcode: Rcode(rcode), truncated, question, answer, authority })
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
    use crate::query::{QueryView, write_query};
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
        writer.finish(Rcode::NOERROR, ResponseFlags { authoritative: true, ..ResponseFlags::default() }, false);
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
