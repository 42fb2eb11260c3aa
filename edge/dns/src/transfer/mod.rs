//! Zones from server to server: whole (AXFR, RFC 5936), by differences (IXFR, RFC 1995), and what both need.
//!
//! ```text
//!   primary:    TransferRequest::parse ─> outgoing(request, zone, history) ─> Outgoing::poll_message, many times
//!   secondary:  Secondary::poll ─> AskSoa: SoaProbe | Transfer: Incoming::handle_message, many times ─> Whole | Differences
//!                                                            └ apply(zone, differences) ─> Difference ─> changed_records ─> a new Zone
//!   both:       Difference ─> ZoneHistory (answers IXFR), journal (survives a restart)
//! ```
//! A zone is never changed: what comes in is checked against it, and makes a new one. Nothing here reads a clock or a socket.

pub mod access;
mod difference;
mod history;
mod incoming;
pub mod journal;
mod outgoing;
mod overlay;
mod probe;
pub(crate) mod read;
mod secondary;
pub mod serial;
mod soa;
#[cfg(test)]
mod tests;
pub(crate) mod write;

pub use crate::zone::RecordRef;
pub use access::{AccessEntry, AccessList};
pub use difference::{Difference, build_zone, changed_records};
pub use history::ZoneHistory;
pub use incoming::{Incoming, Limits, Outcome, Progress, TransferError, Wanted, fuzz_transfer};
pub use journal::fuzz_journal;
pub use outgoing::{Outgoing, TransferRequest, outgoing, write_transfer_refusal};
pub use overlay::{ApplyError, Overlay, apply};
pub use probe::SoaProbe;
pub use secondary::{Secondary, SecondaryStep};
pub use soa::Soa;

use crate::name::Name;
use crate::record::{Part, Record, parts};
use crate::types::Rtype;
use crate::wire::Reader;
use std::borrow::Cow;
use std::collections::BTreeMap;

impl<'r> From<&'r Record> for RecordRef<'r> {
    fn from(record: &'r Record) -> Self {
        Self { owner: record.name.wire(), rtype: record.rtype, ttl: record.ttl, rdata: &record.rdata }
    }
}

impl RecordRef<'_> {
    /// A copy. `None`: the owner is no name.
    #[must_use]
    pub fn to_record(self) -> Option<Record> {
        Some(Record { name: Name::from_wire(self.owner).ok()?, rtype: self.rtype, ttl: self.ttl, rdata: self.rdata.into() })
    }
}

/// A zone as updates and differences look at it: one name at a time.
pub trait ZoneView {
    /// The apex, lower-case.
    fn origin(&self) -> &Name;
    /// Gives each record of a name, lower-case, in any order; none if there is no such name, or nothing at it.
    fn records_at(&self, key: &[u8], each: &mut dyn FnMut(RecordRef<'_>));
}

impl ZoneView for crate::zone::Zone {
    fn origin(&self) -> &Name {
        self.origin()
    }

    fn records_at(&self, key: &[u8], each: &mut dyn FnMut(RecordRef<'_>)) {
        self.records_at(key).for_each(each);
    }
}

/// The SOA record of a zone.
#[must_use]
pub fn soa_of(zone: &dyn ZoneView) -> Option<Record> {
    let mut found = None;
    zone.records_at(zone.origin().wire(), &mut |record| {
        if record.rtype == Rtype::SOA {
            found = record.to_record();
        }
    });
    found
}

/// Records in a table by name: for tests, and for whoever wants to change a zone record by record before it is built.
#[derive(Clone, Debug)]
pub struct RecordTable {
    origin: Name,
    names: BTreeMap<Box<[u8]>, Vec<Record>>,
}

impl RecordTable {
    /// Takes the records as they are.
    pub fn new(origin: &Name, records: impl IntoIterator<Item = Record>) -> Self {
        let mut names: BTreeMap<Box<[u8]>, Vec<Record>> = BTreeMap::new();
        for record in records {
            names.entry(record.name.to_key().wire().into()).or_default().push(record);
        }
        Self { origin: origin.to_key(), names }
    }

    /// All records, by name.
    pub fn records(&self) -> impl Iterator<Item = RecordRef<'_>> {
        self.names.values().flatten().map(RecordRef::from)
    }
}

impl ZoneView for RecordTable {
    fn origin(&self) -> &Name {
        &self.origin
    }

    fn records_at(&self, key: &[u8], each: &mut dyn FnMut(RecordRef<'_>)) {
        self.names.get(key).into_iter().flatten().for_each(|record| each(record.into()));
    }
}

/// Data with the letters of its names in lower case: two records are the same if this is (RFC 2136 section 1.1.1, RFC 4343).
pub(crate) fn comparable(rtype: Rtype, rdata: &[u8]) -> Cow<'_, [u8]> {
    let parts = parts(rtype);
    if !parts.contains(&Part::Name) {
        return Cow::Borrowed(rdata);
    }
    let mut folded = rdata.to_vec();
    let mut reader = Reader::new(rdata, 0);
    for part in parts {
        let start = reader.position();
        let read = match part {
            Part::Name => reader.plain_name(),
            Part::Bytes(count) => reader.bytes(*count),
            Part::Rest => break,
        };
        if read.is_none() {
            break;
        }
        if *part == Part::Name {
            // Length octets are below every letter.
            folded.get_mut(start..reader.position()).unwrap_or_default().make_ascii_lowercase();
        }
    }
    Cow::Owned(folded)
}

/// True if both are the same data of this type.
pub(crate) fn is_same_data(rtype: Rtype, left: &[u8], right: &[u8]) -> bool {
    // Copies are made only of what differs in letters.
    left == right || (left.eq_ignore_ascii_case(right) && comparable(rtype, left) == comparable(rtype, right))
}
