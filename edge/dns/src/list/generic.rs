//! Plain records at names of a list's zone: rbldnsd's `generic`.

use crate::name::suffixes;
use crate::record::RecordSet;
use crate::types::Rtype;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Records by name relative to the zone, lower-case, in wire form.
#[derive(Debug, Default)]
pub(super) struct Generic {
    names: BTreeMap<Box<[u8]>, SmallVec<[RecordSet; 1]>>,
}

impl Generic {
    /// Adds a record; those of one name and type get the lowest TTL among them (RFC 2181 section 5.2).
    pub(super) fn add(&mut self, key: &[u8], rtype: Rtype, ttl: u32, rdata: Box<[u8]>) {
        for suffix in suffixes(key).skip(1) {
            if !self.names.contains_key(suffix) {
                self.names.insert(suffix.into(), SmallVec::new());
            }
        }
        let sets = self.names.entry(key.into()).or_default();
        match sets.iter_mut().find(|set| set.rtype == rtype) {
            Some(set) => {
                set.ttl = set.ttl.min(ttl);
                if !set.rdata.contains(&rdata) {
                    set.rdata.push(rdata);
                }
            }
            None => sets.push(RecordSet { rtype, ttl, rdata: vec![rdata] }),
        }
    }

    /// The sets of a name; `None` if nothing is at it or below it.
    pub(super) fn find(&self, key: &[u8]) -> Option<&[RecordSet]> {
        self.names.get(key).map(SmallVec::as_slice)
    }

    /// All sets with their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &RecordSet)> {
        self.names.iter().flat_map(|(name, sets)| sets.iter().map(|set| (&**name, set)))
    }
}
