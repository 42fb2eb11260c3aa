//! Records and sets of them, and where names lie in their data.

use crate::name::Name;
use crate::types::Rtype;
use crate::wire::Reader;
use smallvec::SmallVec;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use crate::rdata::rdata_text;

/// Record data in uncompressed wire form.
pub type Rdata = Box<[u8]>;

/// All records of one name and type; they share a TTL (RFC 2181 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSet {
    /// Their type.
    pub rtype: Rtype,
    /// Seconds a resolver may keep them.
    pub ttl: u32,
    /// The data of each.
    pub rdata: Vec<Rdata>,
}

/// One record with its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The owner.
    pub name: Name,
    /// Its type.
    pub rtype: Rtype,
    /// Seconds a resolver may keep it.
    pub ttl: u32,
    /// Its data.
    pub rdata: Rdata,
}

/// A part of a type's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Name,
    Bytes(usize),
    Rest,
}

/// The parts of a type's data. Only the types of RFC 1035 may be compressed (RFC 3597 section 4); SRV's and DNAME's names are read with
/// pointers because some old servers write them.
pub(crate) fn parts(rtype: Rtype) -> &'static [Part] {
    match rtype {
        Rtype::NS | Rtype::CNAME | Rtype::PTR | Rtype::DNAME => &[Part::Name],
        Rtype::SOA => &[Part::Name, Part::Name, Part::Bytes(20)],
        Rtype::MX => &[Part::Bytes(2), Part::Name],
        Rtype::SRV => &[Part::Bytes(6), Part::Name],
        _ => &[Part::Rest],
    }
}

/// True if names in the data may be written with pointers.
pub(crate) fn is_compressible(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::NS | Rtype::CNAME | Rtype::PTR | Rtype::SOA | Rtype::MX)
}

/// Takes the data of a record out of a message, pointers resolved. `None`: it is not as its type wants it.
pub(crate) fn read_rdata(reader: &mut Reader<'_>, rtype: Rtype, length: usize) -> Option<Rdata> {
    let end = reader.position().checked_add(length)?;
    let mut rdata: SmallVec<[u8; 128]> = SmallVec::new();
    for part in parts(rtype) {
        match part {
            Part::Name => rdata.extend_from_slice(reader.name()?.wire()),
            Part::Bytes(count) => rdata.extend_from_slice(reader.bytes(*count)?),
            Part::Rest => rdata.extend_from_slice(reader.bytes(end.checked_sub(reader.position())?)?),
        }
    }
    let right_size = match rtype {
        Rtype::A => rdata.len() == 4,
        Rtype::AAAA => rdata.len() == 16,
        _ => true,
    };
    (reader.position() == end && right_size).then(|| rdata.as_slice().into())
}

/// The address of an A or AAAA record's data.
#[must_use]
pub fn address(rdata: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(rdata) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(rdata).ok().map(|octets| Ipv6Addr::from(octets).into())
}

/// Preference and exchange of an MX record's data (RFC 1035 section 3.3.9).
#[must_use]
pub fn mail_exchange(rdata: &[u8]) -> Option<(u16, Name)> {
    let (preference, exchange) = rdata.split_first_chunk()?;
    Some((u16::from_be_bytes(*preference), Name::from_wire(exchange).ok()?))
}

/// The strings of a TXT record's data, joined as SPF and DKIM want them (RFC 7208 section 3.3).
#[must_use]
pub fn text(rdata: &[u8]) -> Vec<u8> {
    character_strings(rdata).flatten().copied().collect()
}

fn character_strings(rdata: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = rdata;
    std::iter::from_fn(move || {
        let (&length, behind) = rest.split_first()?;
        let (string, behind) = behind.split_at_checked(length.into())?;
        rest = behind;
        Some(string)
    })
}

/// Seconds a negative answer with this SOA may be kept: the lesser of its last field and its own TTL (RFC 2308 section 5).
#[must_use]
pub fn negative_ttl(ttl: u32, soa_rdata: &[u8]) -> u32 {
    soa_rdata.last_chunk().map_or(0, |minimum| u32::from_be_bytes(*minimum).min(ttl))
}
