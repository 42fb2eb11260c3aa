//! The TSIG record (RFC 8945 section 4.2).
//!
//! ```text
//!   key name   2 type 250   2 class ANY   4 TTL 0   2 length
//!   algorithm name   6 time signed   2 fudge   2 MAC size   MAC   2 original id   2 error   2 other length   other data
//! ```

use crate::Name;
use crate::Rtype;
use crate::query::HEADER_BYTES;
use crate::types::CLASS_ANY;
use crate::wire::Reader;

/// Seconds that 48 bits can say.
const TIME_MAX: u64 = (1 << 48) - 1;

/// What a TSIG record says, borrowed from its message.
#[derive(Clone, Debug)]
pub(super) struct TsigRecord<'m> {
    /// Where it begins: the message before it is what was signed.
    pub start: usize,
    /// Lower-case.
    pub key_name: Name,
    /// Lower-case.
    pub algorithm: Name,
    pub time: u64,
    pub fudge: u16,
    pub mac: &'m [u8],
    pub original_id: u16,
    pub error: u16,
    pub other: &'m [u8],
}

/// A message whose TSIG cannot be read, or does not stand at the end alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Passes over a name, wherever its pointers lead.
fn skip_name(reader: &mut Reader<'_>) -> Option<()> {
    loop {
        match *reader.bytes(1)?.first()? {
            0 => return Some(()),
            length @ 1..=63 => reader.bytes(length.into())?,
            64..=191 => return None,
            192..=255 => return reader.bytes(1).map(|_| ()),
        };
    }
}

/// Where the only TSIG record of a message begins, `None` without one. Costs one pass over the records' heads.
fn locate(message: &[u8]) -> Option<Option<usize>> {
    let mut header = Reader::new(message, 4);
    let counts = [header.u16()?, header.u16()?, header.u16()?, header.u16()?];
    let mut reader = Reader::new(message, HEADER_BYTES);
    for _ in 0..counts[0] {
        skip_name(&mut reader)?;
        reader.bytes(4)?;
    }
    let records: usize = counts.iter().skip(1).map(|count| usize::from(*count)).sum();
    let before_additional = records - usize::from(counts[3]);
    for index in 0..records {
        let start = reader.position();
        skip_name(&mut reader)?;
        let rtype = Rtype(reader.u16()?);
        reader.bytes(6)?;
        let length = reader.u16()?;
        reader.bytes(length.into())?;
        if rtype == Rtype::TSIG {
            // Alone, in the additional section, at the end (RFC 8945 section 5.1).
            let last = index + 1 == records && index >= before_additional && reader.position() == message.len();
            return last.then_some(Some(start));
        }
    }
    Some(None)
}

/// True if a message that can be read ends in a TSIG record, or has one where it must not be: it needs [`super::KeyRing::check`].
#[must_use]
pub fn is_signed(message: &[u8]) -> bool {
    !matches!(find(message), Ok(None))
}

/// Takes the TSIG record out of a message.
pub(super) fn find(message: &[u8]) -> Result<Option<TsigRecord<'_>>, Malformed> {
    match locate(message).ok_or(Malformed)? {
        None => Ok(None),
        Some(start) => read(message, start).ok_or(Malformed).map(Some),
    }
}

fn read(message: &[u8], start: usize) -> Option<TsigRecord<'_>> {
    let mut reader = Reader::new(message, start);
    let key_name = reader.name()?.to_key();
    let (_, class, ttl, length) = (reader.u16()?, reader.u16()?, reader.u32()?, reader.u16()?);
    let end = reader.position().checked_add(length.into())?;
    let algorithm = Name::from_wire(reader.plain_name()?).ok()?.to_key();
    let time = u64::from(reader.u16()?) << 32 | u64::from(reader.u32()?);
    let (fudge, mac_bytes) = (reader.u16()?, reader.u16()?);
    let mac = reader.bytes(mac_bytes.into())?;
    let (original_id, error, other_bytes) = (reader.u16()?, reader.u16()?, reader.u16()?);
    let other = reader.bytes(other_bytes.into())?;
    let whole = reader.position() == end && class == CLASS_ANY && ttl == 0;
    whole.then_some(TsigRecord { start, key_name, algorithm, time, fudge, mac, original_id, error, other })
}

/// Six octets of a time.
pub(super) fn time_octets(time: u64) -> [u8; 6] {
    let [_, _, octets @ ..] = time.min(TIME_MAX).to_be_bytes();
    octets
}

/// The fields of a record to be written.
pub(super) struct NewRecord<'r> {
    pub key_name: &'r [u8],
    pub algorithm: &'r [u8],
    pub time: u64,
    pub fudge: u16,
    pub mac: &'r [u8],
    pub original_id: u16,
    pub error: u16,
    pub other: &'r [u8],
}

impl NewRecord<'_> {
    /// Puts the record behind a message, and counts it.
    pub fn append(&self, message: &mut Vec<u8>) {
        let length = self.algorithm.len() + 16 + self.mac.len() + self.other.len();
        let word = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        message.extend_from_slice(self.key_name);
        message.extend_from_slice(&Rtype::TSIG.0.to_be_bytes());
        message.extend_from_slice(&CLASS_ANY.to_be_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&word(length));
        message.extend_from_slice(self.algorithm);
        message.extend_from_slice(&time_octets(self.time));
        message.extend_from_slice(&self.fudge.to_be_bytes());
        message.extend_from_slice(&word(self.mac.len()));
        message.extend_from_slice(self.mac);
        message.extend_from_slice(&self.original_id.to_be_bytes());
        message.extend_from_slice(&self.error.to_be_bytes());
        message.extend_from_slice(&word(self.other.len()));
        message.extend_from_slice(self.other);
        if let Some(place) = message.get_mut(10..HEADER_BYTES)
            && let Ok(count) = <[u8; 2]>::try_from(&*place)
        {
            place.copy_from_slice(&u16::from_be_bytes(count).saturating_add(1).to_be_bytes());
        }
    }
}
