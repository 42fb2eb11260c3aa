//! What changed from one version of a zone to the next.

use super::serial::is_newer;
use super::{RecordRef, Soa};
use crate::name::Name;
use crate::record::Record;
use crate::types::Rtype;
use crate::zone::{Zone, ZoneBuilder};
use std::collections::HashSet;

/// One step of a zone: the SOA records of both versions, and all other records that went or came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The SOA before.
    pub from: Record,
    /// The SOA after; its serial is newer.
    pub to: Record,
    /// Records that are no longer there; no SOA among them.
    pub removed: Vec<Record>,
    /// Records that are new; no SOA among them.
    pub added: Vec<Record>,
}

/// Octets a record is counted as besides its data: what the structures around it take in memory, and more than its head on the wire.
const RECORD_OVERHEAD_BYTES: usize = 96;

impl Difference {
    /// Compares two versions of a zone; each must have one SOA. `None`: the serial of the new one is not newer, so nobody could be told.
    ///
    /// A record whose TTL or letters changed goes and comes. Costs the sorting of both.
    pub fn between<'z>(
        old: impl IntoIterator<Item = RecordRef<'z>>,
        new: impl IntoIterator<Item = RecordRef<'z>>,
    ) -> Option<Self> {
        let (mut old, mut new): (Vec<_>, Vec<_>) = (old.into_iter().collect(), new.into_iter().collect());
        old.sort_unstable();
        old.dedup();
        new.sort_unstable();
        new.dedup();
        let soa = |records: &[RecordRef<'z>]| records.iter().find(|record| record.rtype == Rtype::SOA)?.to_record();
        let (from, to) = (soa(&old)?, soa(&new)?);
        if !is_newer(Soa::parse(&to.rdata)?.serial, Soa::parse(&from.rdata)?.serial) {
            return None;
        }
        let only_in = |these: &[RecordRef<'z>], those: &[RecordRef<'z>]| {
            let missing = |record: &&RecordRef<'_>| record.rtype != Rtype::SOA && those.binary_search(record).is_err();
            these.iter().filter(missing).filter_map(|record| record.to_record()).collect()
        };
        Some(Self { from, to, removed: only_in(&old, &new), added: only_in(&new, &old) })
    }

    /// The serial before.
    #[must_use]
    pub fn from_serial(&self) -> u32 {
        Soa::parse(&self.from.rdata).map_or(0, |soa| soa.serial)
    }

    /// The serial after.
    #[must_use]
    pub fn to_serial(&self) -> u32 {
        Soa::parse(&self.to.rdata).map_or(0, |soa| soa.serial)
    }

    /// About the octets it takes, in memory as well as on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let one = |record: &Record| RECORD_OVERHEAD_BYTES + record.name.wire().len() + record.rdata.len();
        self.removed.iter().chain(&self.added).chain([&self.from, &self.to]).map(one).sum()
    }

    /// Its records as IXFR sends them: old SOA, what went, new SOA, what came (RFC 1995 section 4).
    pub fn records(&self) -> impl Iterator<Item = RecordRef<'_>> {
        let old = std::iter::once(&self.from).chain(&self.removed);
        old.chain(std::iter::once(&self.to)).chain(&self.added).map(RecordRef::from)
    }
}

/// The records of the new version: the old ones without what went, then what came. The difference must be of this very zone, as
/// [`super::apply`] and [`crate::update::Update::apply`] make it.
pub fn changed_records<'z>(
    old: impl Iterator<Item = RecordRef<'z>>,
    difference: &'z Difference,
) -> impl Iterator<Item = RecordRef<'z>> {
    let went: HashSet<RecordRef<'_>> = difference.removed.iter().map(RecordRef::from).collect();
    let stays = old.filter(move |record| record.rtype != Rtype::SOA && !went.contains(record));
    std::iter::once((&difference.to).into()).chain(stays).chain(difference.added.iter().map(RecordRef::from))
}

/// A zone from records.
///
/// # Errors
/// What does not go together, as in a master file.
pub fn build_zone<'r>(origin: &Name, records: impl IntoIterator<Item = RecordRef<'r>>) -> Result<Zone, String> {
    let mut builder = ZoneBuilder::new(origin);
    for record in records {
        let owner = Name::from_wire(record.owner).map_err(|error| error.to_string())?;
        builder.add(&owner, record.rtype, record.ttl, record.rdata.into())?;
    }
    builder.finish()
}
