//! What whoever asked the resolver is given.

use super::packed::{Packed, RecordView};
use super::{Answer, TTL_STALE};
use crate::dnssec::Security;
use crate::message::{Full, ResponseWriter, Section};
use crate::name::Name;
use crate::record::Record;
use crate::types::{ExtendedError, Rcode, Rtype};

/// An answer as it is kept, and its age. Cheap to clone; reading it allocates nothing.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub(super) packed: Packed,
    /// Seconds since it came.
    pub(super) age_seconds: u32,
    /// Seconds for which it may be given on.
    pub(super) left_seconds: u32,
    pub(super) stale: bool,
}

impl Resolved {
    /// An answer that is not from the cache. `name` and `rtype` are the question.
    #[must_use]
    pub fn new(name: &Name, rtype: Rtype, answer: &Answer) -> Self {
        let packed = Packed::new(name, rtype, answer, |ttl| ttl);
        Self { packed, age_seconds: 0, left_seconds: u32::MAX, stale: false }
    }

    /// Nobody could say: a temporary failure of whatever asked.
    #[must_use]
    pub fn failure(name: &Name, rtype: Rtype) -> Self {
        Self::new(name, rtype, &Answer::failure(0))
    }

    /// NOERROR (without records of the type: the name has none), NXDOMAIN, or a failure.
    #[must_use]
    pub fn rcode(&self) -> Rcode {
        self.packed.rcode()
    }

    /// True if it says nothing about the name.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.rcode() != Rcode::NOERROR && self.rcode() != Rcode::NXDOMAIN
    }

    /// What validation said.
    #[must_use]
    pub fn security(&self) -> Security {
        self.packed.security()
    }

    /// Why it is a failure, or not secure, where that is known (RFC 8914).
    #[must_use]
    pub fn extended_error(&self) -> Option<ExtendedError> {
        self.packed.extended_error()
    }

    /// True if its time is over and nothing better could be had (RFC 8767): good enough to go on, not to decide for ever.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Octets it takes in memory, about as many as in a packet.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.packed.bytes().len()
    }

    /// Seconds since it came.
    #[must_use]
    pub fn age_seconds(&self) -> u32 {
        self.age_seconds
    }

    /// The data of the answer's records of a type, names in it whole.
    pub fn rdata(&self, rtype: Rtype) -> impl Iterator<Item = &[u8]> {
        self.packed.rdata(rtype)
    }

    /// All records, with the TTLs that are left of them.
    pub fn records(&self) -> impl Iterator<Item = RecordView<'_>> {
        self.packed.records().map(|record| RecordView { ttl: self.ttl_left(record.ttl), ..record })
    }

    /// The owned form.
    #[must_use]
    pub fn to_answer(&self) -> Answer {
        let of = |section: Section| -> Vec<Record> {
            let own = self.records().filter(|record| record.section == section);
            own.map(|record| Record { name: record.owner(), rtype: record.rtype, ttl: record.ttl, rdata: record.rdata.into() })
                .collect()
        };
        let (records, authority) = (of(Section::Answer), of(Section::Authority));
        let ttl = records.iter().chain(&authority).map(|record| record.ttl).min().unwrap_or(0);
        Answer { rcode: self.rcode(), records, authority, ttl, security: self.security(), extended_error: self.extended_error() }
    }

    /// True if this is what is known of the question; `key` in lower case.
    #[must_use]
    pub fn is_for(&self, key: &[u8], rtype: Rtype) -> bool {
        self.packed.is_for(key, rtype)
    }

    /// What a client may be told of a TTL.
    fn ttl_left(&self, ttl: u32) -> u32 {
        if self.stale { TTL_STALE } else { ttl.saturating_sub(self.age_seconds).min(self.left_seconds) }
    }

    /// Writes the records behind a question that [`Self::is_for`] has approved. Costs a copy of the octets and a word a record.
    pub(crate) fn write(&self, writer: &mut ResponseWriter<'_, '_>, dnssec: bool) -> Result<(), Full> {
        for (part, section, dnssec_only) in [
            (0, Section::Answer, false),
            (1, Section::Answer, true),
            (2, Section::Authority, false),
            (3, Section::Authority, true),
        ] {
            if dnssec_only && !dnssec {
                continue;
            }
            let (count, octets, places) = self.packed.part(part);
            writer.encoded(section, count, octets, places, |ttl| self.ttl_left(ttl))?;
        }
        Ok(())
    }
}
