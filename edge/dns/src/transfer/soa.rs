//! The numbers of an SOA record.

use crate::record::Rdata;

/// What a zone says about its copies (RFC 1035 section 3.3.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soa {
    /// The version.
    pub serial: u32,
    /// Seconds until a secondary looks again.
    pub refresh_seconds: u32,
    /// Seconds until it tries again after it could not.
    pub retry_seconds: u32,
    /// Seconds until it gives the zone up.
    pub expire_seconds: u32,
}

/// Octets of the five numbers.
const NUMBERS_BYTES: usize = 20;

impl Soa {
    /// From an SOA record's data.
    #[must_use]
    pub fn parse(rdata: &[u8]) -> Option<Self> {
        let numbers: &[u8; NUMBERS_BYTES] = rdata.last_chunk()?;
        let mut words = numbers.chunks_exact(4).filter_map(|word| word.try_into().ok()).map(u32::from_be_bytes);
        let mut next = || words.next();
        Some(Self { serial: next()?, refresh_seconds: next()?, retry_seconds: next()?, expire_seconds: next()? })
    }

    /// An SOA record's data with another serial.
    #[must_use]
    pub fn with_serial(rdata: &[u8], serial: u32) -> Rdata {
        let mut changed: Rdata = rdata.into();
        if let Some(numbers) = changed.last_chunk_mut::<NUMBERS_BYTES>()
            && let Some(place) = numbers.first_chunk_mut::<4>()
        {
            *place = serial.to_be_bytes();
        }
        changed
    }
}
