//! Asks a primary how new its zone is (RFC 1034 section 4.3.5).

use super::read::{Header, Sections, TC};
use super::write::MessageWriter;
use super::{Soa, TransferError};
use crate::name::Name;
use crate::tsig::{Key, Verifier, sign_request};
use crate::types::{CLASS_IN, Rcode, Rtype};
use std::sync::Arc;

/// One question for an SOA record.
#[derive(Debug)]
pub struct SoaProbe {
    id: u16,
    zone: Name,
    verifier: Option<Verifier>,
}

impl SoaProbe {
    /// Writes the query. `id` must be random; `now` in seconds since 1970.
    pub fn new(zone: &Name, key: Option<&Arc<Key>>, id: u16, now: u64, query: &mut Vec<u8>) -> Self {
        MessageWriter::begin(id, 0, query).question(zone.wire(), Rtype::SOA, CLASS_IN);
        Self { id, zone: zone.to_key(), verifier: key.map(|key| sign_request(key, query, now)) }
    }

    /// The primary's SOA.
    ///
    /// # Errors
    /// [`TransferError::NotOurs`] and [`TransferError::Signature`] may come from a stranger: over UDP go on waiting.
    pub fn handle_response(&mut self, packet: &[u8], now: u64) -> Result<Soa, TransferError> {
        let header = Header::read(packet).filter(|header| header.is_response() && header.id == self.id && header.counts[0] == 1);
        let header = header.ok_or(TransferError::NotOurs)?;
        let mut sections = Sections::new(packet);
        let question = sections.question().filter(|(name, rtype, _)| name.to_key() == self.zone && *rtype == Rtype::SOA);
        question.ok_or(TransferError::NotOurs)?;
        if let Some(verifier) = &mut self.verifier {
            verifier.verify(packet, now).map_err(TransferError::Signature)?;
        }
        if header.rcode() != Rcode::NOERROR {
            return Err(TransferError::Refused(header.rcode()));
        }
        if header.flags & TC != 0 {
            return Err(TransferError::Malformed("the SOA does not fit into a datagram"));
        }
        for _ in 0..header.counts[1] {
            let record = sections.record().ok_or(TransferError::Malformed("a record cannot be read"))?;
            if record.rtype == Rtype::SOA && record.class == CLASS_IN && record.name.to_key() == self.zone {
                let soa = sections.rdata(&record).and_then(|rdata| Soa::parse(&rdata));
                return soa.ok_or(TransferError::Malformed("an SOA that is not one"));
            }
        }
        Err(TransferError::Malformed("the primary is not in charge of the zone"))
    }
}
