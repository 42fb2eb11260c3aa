//! The text of a zone's journal: its differences, so that IXFR goes on after a restart, and dynamic updates are not lost.
//!
//! ```text
//!   one entry a difference, appended:
//!   0   4 "ZDF1"   4 octets of the body   4 CRC-32 of the body   body
//!   body:    4 records removed   4 records added   SOA before   SOA after   removed   added
//!   record:  owner in wire form   2 type   4 TTL   2 length   data
//! ```
//! Numbers are big-endian as in a message. An entry is whole or it is not there: the reader stops at the first that is torn, wrong or does not
//! follow the one before, and says how far the file is good; whoever appends cuts it there first. Files and syncing are the daemon's.

use super::{Difference, serial};
use crate::name::Name;
use crate::record::Record;
use crate::types::Rtype;
use crate::wire::Reader;

const MAGIC: [u8; 4] = *b"ZDF1";
const HEAD_BYTES: usize = 12;
/// Octets of one entry's body: a difference that is larger is worth less than a copy of the zone.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// The difference is larger than [`BODY_BYTES_MAX`]: write the zone down instead, and begin the journal anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Appends an entry to `out`.
///
/// # Errors
/// [`TooLarge`], and nothing was written.
pub fn write(difference: &Difference, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 8]);
    for records in [&difference.removed, &difference.added] {
        out.extend_from_slice(&u32::try_from(records.len()).unwrap_or(u32::MAX).to_be_bytes());
    }
    for record in [&difference.from, &difference.to].into_iter().chain(&difference.removed).chain(&difference.added) {
        out.extend_from_slice(record.name.wire());
        out.extend_from_slice(&record.rtype.0.to_be_bytes());
        out.extend_from_slice(&record.ttl.to_be_bytes());
        out.extend_from_slice(&u16::try_from(record.rdata.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(record.rdata.get(..usize::from(u16::MAX)).unwrap_or(&record.rdata));
    }
    let body = out.get(start + HEAD_BYTES..).unwrap_or_default();
    let (length, sum) = (body.len(), crc32fast::hash(body));
    let Some(length) = u32::try_from(length).ok().filter(|_| length <= BODY_BYTES_MAX) else {
        out.truncate(start);
        return Err(TooLarge);
    };
    if let Some(head) = out.get_mut(start + 4..start + HEAD_BYTES) {
        let (first, second) = head.split_at_mut(4);
        first.copy_from_slice(&length.to_be_bytes());
        second.copy_from_slice(&sum.to_be_bytes());
    }
    Ok(())
}

/// Reads a journal: its differences, each following the one before, and the octets they take. What is behind is torn or foreign.
#[must_use]
pub fn read(journal: &[u8]) -> (Vec<Difference>, usize) {
    let (mut differences, mut good) = (Vec::<Difference>::new(), 0);
    while let Some((difference, length)) = journal.get(good..).and_then(read_entry) {
        if differences.last().is_some_and(|last| last.to_serial() != difference.from_serial()) {
            break;
        }
        differences.push(difference);
        good += length;
    }
    (differences, good)
}

fn read_entry(journal: &[u8]) -> Option<(Difference, usize)> {
    let mut head = Reader::new(journal, 0);
    if head.bytes(4)? != MAGIC {
        return None;
    }
    let (length, sum) = (usize::try_from(head.u32()?).ok()?, head.u32()?);
    let body = head.bytes(Some(length).filter(|length| *length <= BODY_BYTES_MAX)?)?;
    if crc32fast::hash(body) != sum {
        return None;
    }
    let mut reader = Reader::new(body, 0);
    let (removed, added) = (reader.u32()?, reader.u32()?);
    let (from, to) = (read_record(&mut reader)?, read_record(&mut reader)?);
    // Not reserved by the counts: they are only as good as the sum.
    let mut records = |count: u32| (0..count).map(|_| read_record(&mut reader)).collect::<Option<Vec<_>>>();
    let difference = Difference { from, to, removed: records(removed)?, added: records(added)? };
    let right = reader.position() == body.len()
        && [&difference.from, &difference.to].iter().all(|soa| soa.rtype == Rtype::SOA)
        && difference.removed.iter().chain(&difference.added).all(|record| record.rtype != Rtype::SOA)
        && serial::is_newer(difference.to_serial(), difference.from_serial());
    right.then_some((difference, HEAD_BYTES + length))
}

fn read_record(reader: &mut Reader<'_>) -> Option<Record> {
    let name = Name::from_wire(reader.plain_name()?).ok()?;
    let (rtype, ttl, length) = (Rtype(reader.u16()?), reader.u32()?, reader.u16()?);
    Some(Record { name, rtype, ttl, rdata: reader.bytes(length.into())?.into() })
}

/// For the fuzzer and the replay of its inputs: what is read is written again as it was; nothing may panic.
#[doc(hidden)]
pub fn fuzz_journal(data: &[u8]) {
    let (differences, good) = read(data);
    let mut again = Vec::new();
    assert!(differences.iter().all(|difference| write(difference, &mut again).is_ok()));
    assert_eq!(Some(again.as_slice()), data.get(..good));
    // The sum keeps a fuzzer out; the body alone must be as harmless.
    let mut entry = MAGIC.to_vec();
    entry.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    entry.extend_from_slice(&crc32fast::hash(data).to_be_bytes());
    entry.extend_from_slice(data);
    let _ = read(&entry);
}
