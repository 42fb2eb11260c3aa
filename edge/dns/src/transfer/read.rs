//! Reads any kind of message record by record: transfers, NOTIFY and UPDATE share the four sections of RFC 1035 section 4.1.

use crate::name::Name;
use crate::query::HEADER_BYTES;
use crate::record::{Rdata, read_rdata};
use crate::types::{Rcode, Rtype};
use crate::wire::Reader;

/// "QR": a response.
pub(crate) const QR: u16 = 0x8000;
/// Authoritative.
pub(crate) const AA: u16 = 0x0400;
/// Truncated.
pub(crate) const TC: u16 = 0x0200;
/// Opcode of NOTIFY (RFC 1996).
pub(crate) const NOTIFY: u16 = 4;
/// Opcode of UPDATE (RFC 2136).
pub(crate) const UPDATE: u16 = 5;

/// The fixed header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub id: u16,
    pub flags: u16,
    /// Questions, answers, authorities, additionals; in an UPDATE zones, prerequisites, updates, additionals.
    pub counts: [u16; 4],
}

impl Header {
    pub fn read(message: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(message, 0);
        let (id, flags) = (reader.u16()?, reader.u16()?);
        Some(Self { id, flags, counts: [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?] })
    }

    pub fn opcode(&self) -> u16 {
        self.flags >> 11 & 15
    }

    pub fn rcode(&self) -> Rcode {
        Rcode(self.flags & 15)
    }

    pub fn is_response(&self) -> bool {
        self.flags & QR != 0
    }
}

/// A record as it stands in a message.
#[derive(Clone, Debug)]
pub(crate) struct RawRecord {
    pub name: Name,
    pub rtype: Rtype,
    pub class: u16,
    pub ttl: u32,
    at: usize,
    pub length: usize,
}

/// A message that is being read from its first section to its last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sections<'m> {
    message: &'m [u8],
    reader: Reader<'m>,
}

impl<'m> Sections<'m> {
    pub fn new(message: &'m [u8]) -> Self {
        Self { message, reader: Reader::new(message, HEADER_BYTES) }
    }

    pub fn question(&mut self) -> Option<(Name, Rtype, u16)> {
        Some((self.reader.name()?, Rtype(self.reader.u16()?), self.reader.u16()?))
    }

    pub fn record(&mut self) -> Option<RawRecord> {
        let name = self.reader.name()?;
        let (rtype, class, ttl) = (Rtype(self.reader.u16()?), self.reader.u16()?, self.reader.u32()?);
        let length = usize::from(self.reader.u16()?);
        let at = self.reader.position();
        self.reader.bytes(length)?;
        Some(RawRecord { name, rtype, class, ttl, at, length })
    }

    /// The data of a record, its pointers resolved; `None` if it is not as its type wants it.
    pub fn rdata(&self, record: &RawRecord) -> Option<Rdata> {
        read_rdata(&mut Reader::new(self.message, record.at), record.rtype, record.length)
    }
}
