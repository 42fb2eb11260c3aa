//! One zone: built once, never changed; a newer one replaces it whole.
//!
//! ```text
//!   table   hash of the lower-case name -> number of the node
//!   nodes   in canonical order (RFC 4034 section 6.1), the apex first:  name  first set  parent  flags      16 octets each
//!   sets    in the order of the nodes:                                  type  place  length                 12 octets each
//!   blob    in the order of the nodes:   name | record record ... | record ...     a record as on the wire behind its owner
//! ```
//! Every name between a record's owner and the apex is a node, with no sets if it has none: an empty non-terminal exists (RFC 4592 section
//! 2.2.2). So the closest encloser is found by going down from the apex until a name is missing. What lies below a delegation or a DNAME is
//! marked when the zone is built; a look-up that finds its name unmarked needs nothing else.

mod alias;
mod answer;
mod build;
mod carry;
mod chain;
mod file;
mod generate;
mod lookup;
mod signed;
mod text;

pub(crate) use answer::{Extra, Sink};
pub use answer::{Placed, ZoneAnswer};
pub use build::ZoneBuilder;
pub use file::{ZoneFileError, fuzz_zone_file, parse_zone};
pub(crate) use lookup::{NameBuffer, Outcome, Question, Step};
pub(crate) use signed::After;
#[cfg(test)]
pub(crate) use text::words_of;
pub(crate) use text::{Word, seconds, unescape};

use crate::key::NameKey;
use crate::name::Name;
use crate::types::Rtype;
use crate::writer::Encoded;
use hashbrown::HashTable;
use signed::{Chain, Signed, Source};
use std::ops::Range;

/// A name of the zone.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Place of the name, letters as the file writes it.
    name: u32,
    /// Number of the first set; the sets end where those of the next node begin.
    sets: u32,
    /// Number of the node above; the apex is its own.
    parent: u32,
    name_bytes: u8,
    labels: u8,
    flags: u8,
}

/// The name has capital letters.
const MIXED: u8 = 1;
/// A delegation: what is below belongs to somebody else.
const CUT: u8 = 2;
/// The names below are redirected.
const DNAME: u8 = 4;
/// Below a delegation or a DNAME: never answered from, but as glue.
const OCCLUDED: u8 = 8;
/// There is a wildcard right below.
const WILDCARD: u8 = 16;

/// The records of a name and type.
#[derive(Clone, Copy, Debug)]
struct Set {
    rtype: Rtype,
    place: u32,
    length: u32,
}

/// A zone that can be served.
#[derive(Debug)]
pub struct Zone {
    /// Lower-case.
    origin: Name,
    blob: Box<[u8]>,
    /// And one more, where the sets end.
    nodes: Box<[Node]>,
    sets: Box<[Set]>,
    table: HashTable<u32>,
    records: usize,
    /// Seconds of negative answers (RFC 2308 section 3).
    negative_ttl: u32,
    signed: Option<Box<Signed>>,
}

/// A record of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordRef<'z> {
    /// The owner in wire form, letters as in the file.
    pub owner: &'z [u8],
    /// The type.
    pub rtype: Rtype,
    /// Seconds it may be kept.
    pub ttl: u32,
    /// The data, names whole.
    pub rdata: &'z [u8],
}

const APEX: u32 = 0;

impl Zone {
    /// The apex, lower-case.
    #[must_use]
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// Number of records.
    #[must_use]
    pub fn record_count(&self) -> usize {
        self.records
    }

    /// The record that says who is in charge and how new the zone is.
    #[must_use]
    pub fn soa(&self) -> RecordRef<'_> {
        let set = self.set_of(APEX, Rtype::SOA).map(|set| self.encoded(set));
        let rdata = set.and_then(|set| set.rdata().next()).unwrap_or_default();
        RecordRef { owner: self.name(APEX), rtype: Rtype::SOA, ttl: set.map_or(0, Encoded::ttl), rdata }
    }

    /// The version of the zone (RFC 1035 section 3.3.13).
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.soa()
            .rdata
            .last_chunk::<20>()
            .and_then(|numbers| numbers.first_chunk())
            .map_or(0, |serial| u32::from_be_bytes(*serial))
    }

    /// All records, the names in canonical order (RFC 4034 section 6.1), so the apex' first. Without those that are made here by signing, but
    /// for what was put at the apex: see [`Self::records_signed`].
    pub fn records(&self) -> impl Iterator<Item = RecordRef<'_>> {
        self.numbers().flat_map(move |node| self.records_of_node(node))
    }

    /// The records of a name, which must be lower-case; as [`Self::records`].
    pub fn records_at(&self, key: &[u8]) -> impl Iterator<Item = RecordRef<'_>> {
        self.find_name(key).into_iter().flat_map(move |node| self.records_of_node(node))
    }

    fn records_of_node(&self, node: u32) -> impl Iterator<Item = RecordRef<'_>> {
        let made_here = self.signed.as_ref().is_some_and(|signed| matches!(signed.source, Source::Signer { .. }));
        let owner = self.name(node);
        let sets = self.set_range(node).map(|set| self.encoded(set));
        sets.filter(move |set| !(made_here && set.rtype == Rtype::NSEC)).flat_map(move |set| self.records_of(owner, set))
    }

    fn records_of<'z>(&'z self, owner: &'z [u8], set: Encoded<'z>) -> impl Iterator<Item = RecordRef<'z>> + use<'z> {
        set.records().map(move |record| RecordRef {
            owner,
            rtype: set.rtype,
            ttl: Encoded { octets: record, ..set }.ttl(),
            rdata: record.get(crate::writer::RECORD_HEAD_BYTES..).unwrap_or_default(),
        })
    }

    /// Octets on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let signed = self.signed.as_ref().map_or(0, |signed| {
            let made = match &signed.source {
                Source::Signer { made, .. } => {
                    size_of_val(&**made) + made.iter().filter_map(|made| made.get()).map(|made| made.len()).sum::<usize>()
                }
                Source::Records => 0,
            };
            made + match &signed.denial {
                Chain::Nsec(names) => names.octets.len() + 8 * names.nodes.len(),
                Chain::Nsec3 { links, of_node, .. } => size_of_val(&**links) + size_of_val(&**of_node),
            }
        });
        self.blob.len() + size_of_val(&*self.nodes) + size_of_val(&*self.sets) + self.table.allocation_size() + signed
    }

    fn numbers(&self) -> Range<u32> {
        0..u32::try_from(self.nodes.len().saturating_sub(1)).unwrap_or(0)
    }

    fn node(&self, number: u32) -> Node {
        const NOWHERE: Node = Node { name: 0, sets: 0, parent: APEX, name_bytes: 0, labels: 0, flags: 0 };
        self.nodes.get(number as usize).copied().unwrap_or(NOWHERE)
    }

    /// The name of a node, letters as in the file.
    fn name(&self, number: u32) -> &[u8] {
        let node = self.node(number);
        let start = node.name as usize;
        self.blob.get(start..start + usize::from(node.name_bytes)).unwrap_or_default()
    }

    fn set_range(&self, number: u32) -> Range<u32> {
        self.node(number).sets..self.node(number.saturating_add(1)).sets
    }

    fn set_of(&self, number: u32, rtype: Rtype) -> Option<u32> {
        let range = self.set_range(number);
        let sets = self.sets.get(range.start as usize..range.end as usize)?;
        let at = sets.iter().position(|set| set.rtype == rtype)?;
        Some(range.start + u32::try_from(at).ok()?)
    }

    fn encoded(&self, set: u32) -> Encoded<'_> {
        let Some(set) = self.sets.get(set as usize) else { return Encoded { rtype: Rtype(0), octets: &[] } };
        let start = set.place as usize;
        Encoded { rtype: set.rtype, octets: self.blob.get(start..start + set.length as usize).unwrap_or_default() }
    }

    /// The node of a lower-case name, by its hash. Costs one look-up and one comparison.
    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.table.find(hash, |number| self.is_named(*number, key)).copied()
    }

    /// The node of a lower-case name.
    fn find_name(&self, wire: &[u8]) -> Option<u32> {
        let key = NameKey::of(wire)?;
        self.find(key.hash(key.labels()), key.wire())
    }

    #[inline]
    fn is_named(&self, number: u32, key: &[u8]) -> bool {
        let name = self.name(number);
        if self.node(number).flags & MIXED == 0 { name == key } else { name.eq_ignore_ascii_case(key) }
    }
}
