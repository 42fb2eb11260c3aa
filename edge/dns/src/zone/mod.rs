//! One zone: its names as a table, built once, never changed; a newer one replaces it whole.
//!
//! Every name between a record's owner and the apex is in the table, with no records if it has none: an empty non-terminal exists
//! (RFC 4592 section 2.2.2), so a look-up knows the closest encloser by trying the suffixes of the name.

mod file;
mod generate;
mod lookup;
mod text;

pub use file::{ZoneFileError, fuzz_zone_file, parse_zone};
pub use lookup::{Placed, ZoneAnswer};
#[cfg(test)]
pub(crate) use text::words_of;
pub(crate) use text::{Word, seconds, unescape};

use crate::name::{Name, parent, suffixes};
use crate::record::{Rdata, RecordSet, negative_ttl};
use crate::types::Rtype;
use smallvec::SmallVec;
use std::collections::HashMap;

/// The records of one name.
#[derive(Clone, Debug)]
struct Node {
    /// The name as the file writes it.
    name: Name,
    sets: SmallVec<[RecordSet; 2]>,
}

impl Node {
    fn set(&self, rtype: Rtype) -> Option<&RecordSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }
}

/// A zone that can be served.
#[derive(Debug)]
pub struct Zone {
    /// Lower-case.
    origin: Name,
    nodes: HashMap<Box<[u8]>, Node>,
    /// The SOA with the TTL of negative answers (RFC 2308 section 3).
    negative_soa: RecordSet,
    /// Some name has a DNAME: only then are they looked for.
    has_dname: bool,
}

impl Zone {
    /// The apex, lower-case.
    #[must_use]
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// Number of records.
    #[must_use]
    pub fn record_count(&self) -> usize {
        self.nodes.values().flat_map(|node| &node.sets).map(|set| set.rdata.len()).sum()
    }

    fn node(&self, key: &[u8]) -> Option<&Node> {
        self.nodes.get(key)
    }
}

/// Records of one name and type: a message of 64 KiB holds no more, each being a pointer, ten octets and data.
const SET_RECORDS_MAX: usize = 5461;

/// Collects the records of a zone and judges them.
#[derive(Debug)]
pub struct ZoneBuilder {
    origin: Name,
    nodes: HashMap<Box<[u8]>, Node>,
}

impl ZoneBuilder {
    /// An empty zone.
    #[must_use]
    pub fn new(origin: &Name) -> Self {
        Self { origin: origin.to_key(), nodes: HashMap::new() }
    }

    fn origin(&self) -> &Name {
        &self.origin
    }

    /// Adds a record; one that is there already counts once (RFC 2181 section 5).
    ///
    /// # Errors
    /// What does not go together with the records before.
    pub fn add(&mut self, owner: &Name, rtype: Rtype, ttl: u32, rdata: Rdata) -> Result<(), String> {
        let key = owner.to_key();
        if !self.contains(&key) {
            return Err(format!("{owner} is not within the zone {}", self.origin));
        }
        if rtype == Rtype::SOA && key != self.origin {
            return Err(format!("the SOA belongs to the apex {}, not to {owner}", self.origin));
        }
        // Every name above exists, too.
        for suffix in suffixes(key.wire()).skip(1).take_while(|suffix| suffix.len() >= self.origin.wire().len()) {
            if !self.nodes.contains_key(suffix) {
                let name = Name::from_wire(suffix).map_err(|error| error.to_string())?;
                self.nodes.insert(suffix.into(), Node { name, sets: SmallVec::new() });
            }
        }
        let node = self.nodes.entry(key.wire().into()).or_insert_with(|| Node { name: owner.clone(), sets: SmallVec::new() });
        //= RFC 2181 section 10.1
        //# An alias name (label of a CNAME record) may, if DNSSEC is in use, have SIG, NXT, and KEY RRs, but may have no other data.
        let alias = |rtype: Rtype| rtype == Rtype::CNAME;
        if node.sets.iter().any(|set| alias(set.rtype) != alias(rtype)) {
            return Err(format!("{owner} has a CNAME and other records; a CNAME must be alone"));
        }
        match node.sets.iter_mut().find(|set| set.rtype == rtype) {
            None => node.sets.push(RecordSet { rtype, ttl, rdata: vec![rdata] }),
            Some(_) if alias(rtype) || rtype == Rtype::SOA || rtype == Rtype::DNAME => {
                return Err(format!("{owner} has a second {rtype}; there can be one"));
            }
            Some(set) => {
                //= RFC 2181 section 5.2
                //# the TTLs of all RRs in an RRSet must be the same.
                // What differs is set to the least, as NSD and BIND do.
                set.ttl = set.ttl.min(ttl);
                if !set.rdata.contains(&rdata) {
                    if set.rdata.len() >= SET_RECORDS_MAX {
                        return Err(format!("{owner} has more than {SET_RECORDS_MAX} {rtype} records; no message holds them"));
                    }
                    set.rdata.push(rdata);
                }
            }
        }
        Ok(())
    }

    /// The zone, if it is whole.
    ///
    /// # Errors
    /// What it lacks.
    pub fn finish(self) -> Result<Zone, String> {
        let apex = self.nodes.get(self.origin.wire()).ok_or_else(|| format!("no record of the apex {}", self.origin))?;
        let soa = apex.set(Rtype::SOA).ok_or_else(|| format!("the apex {} has no SOA", self.origin))?;
        let servers = apex.set(Rtype::NS).ok_or_else(|| format!("the apex {} has no NS", self.origin))?;
        for server in &servers.rdata {
            if let Some(node) = self.nodes.get(Name::from_wire(server).map_err(|error| error.to_string())?.to_key().wire())
                && node.set(Rtype::CNAME).is_some()
            {
                return Err(format!("the name server {} is an alias; NS must name a host (RFC 2181 section 10.3)", node.name));
            }
        }
        let ttl = soa.rdata.first().map_or(0, |rdata| negative_ttl(soa.ttl, rdata));
        let negative_soa = RecordSet { ttl, ..soa.clone() };
        let has_dname = self.nodes.values().any(|node| node.set(Rtype::DNAME).is_some());
        Ok(Zone { origin: self.origin, nodes: self.nodes, negative_soa, has_dname })
    }
}

/// The first label's octets with its length, `*` as a label.
const WILDCARD: &[u8] = b"\x01*";

fn wildcard_of(encloser: &[u8]) -> SmallVec<[u8; 64]> {
    let mut key = SmallVec::from_slice(WILDCARD);
    key.extend_from_slice(encloser);
    key
}

fn depth(wire: &[u8]) -> usize {
    std::iter::successors(Some(wire), |wire| parent(wire)).count()
}
