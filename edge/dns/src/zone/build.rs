//! Collects the records of a zone, judges them, and lays them out.

use super::alias::LastMade;
use super::chain;
use super::signed::{Signed, Source};
use super::{CUT, DNAME, MIXED, Node, OCCLUDED, Set, WILDCARD, Zone};
use crate::dnssec::{Denial, SetSigner};
use crate::key::{LABELS_MAX, NameKey};
use crate::name::{Name, labels, suffixes};
use crate::record::{Rdata, RecordSet, negative_ttl};
use crate::types::Rtype;
use crate::writer::head;
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Records of one name and type: a message of 64 KiB holds no more, each being a pointer, ten octets and data.
const SET_RECORDS_MAX: usize = 5461;

/// The records of one name.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    /// The name as the file writes it.
    pub(super) name: Name,
    pub(super) sets: SmallVec<[RecordSet; 2]>,
}

impl Owner {
    pub(super) fn set(&self, rtype: Rtype) -> Option<&RecordSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }
}

/// Collects the records of a zone and judges them.
#[derive(Clone, Debug)]
pub struct ZoneBuilder {
    origin: Name,
    /// By [`canonical`] form.
    owners: BTreeMap<Box<[u8]>, Owner>,
}

/// A name so that octet order is canonical order (RFC 4034 section 6.1): lower-case labels from the root, each ended by an octet below all.
fn canonical(wire: &[u8]) -> Box<[u8]> {
    let mut out = SmallVec::new();
    canonical_into(wire, &mut out);
    out.as_slice().into()
}

/// The longest name doubled.
const CANONICAL_BYTES_MAX: usize = 512;

pub(super) fn canonical_into(wire: &[u8], out: &mut SmallVec<[u8; CANONICAL_BYTES_MAX]>) {
    let labels: SmallVec<[&[u8]; LABELS_MAX]> = labels(wire).collect();
    for label in labels.iter().rev() {
        for &octet in *label {
            match octet.to_ascii_lowercase() {
                octet @ 0..=1 => out.extend([1, octet + 1]),
                octet => out.push(octet),
            }
        }
        out.push(0);
    }
}

/// True for types that may stand beside a CNAME.
//= RFC 4035 section 2.5
//# If a CNAME RRset is present at a name in a signed zone, appropriate RRSIG and NSEC RRsets are REQUIRED at that name.
fn goes_with_alias(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::RRSIG | Rtype::NSEC)
}

impl ZoneBuilder {
    /// An empty zone.
    #[must_use]
    pub fn new(origin: &Name) -> Self {
        Self { origin: origin.to_key(), owners: BTreeMap::new() }
    }

    /// Begins with all records of a zone, to change some.
    #[must_use]
    pub fn from_zone(zone: &Zone) -> Self {
        let mut builder = Self::new(zone.origin());
        for record in zone.records() {
            if let Ok(owner) = Name::from_wire(record.owner) {
                // They went together before.
                let _ = builder.add(&owner, record.rtype, record.ttl, record.rdata.into());
            }
        }
        builder
    }

    pub(super) fn origin(&self) -> &Name {
        &self.origin
    }

    /// The records of a name and type as they are now.
    #[must_use]
    pub fn set(&self, owner: &Name, rtype: Rtype) -> Option<&RecordSet> {
        self.owners.get(&canonical(owner.wire()))?.set(rtype)
    }

    /// True if the name has records.
    #[must_use]
    pub fn has_name(&self, owner: &Name) -> bool {
        self.owners.contains_key(&canonical(owner.wire()))
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
        if rtype == Rtype::ALIAS && key != self.origin {
            return Err(format!("an ALIAS belongs to the apex {}; at {owner} a CNAME does the same", self.origin));
        }
        if rtype == Rtype::ALIAS && rdata.eq_ignore_ascii_case(self.origin.wire()) {
            return Err(format!("the ALIAS of {owner} leads to itself; name the host that has the addresses"));
        }
        if rdata.len() > usize::from(u16::MAX) {
            return Err(format!("the {rtype} record of {owner} is longer than 65535 octets"));
        }
        let entry = self.owners.entry(canonical(key.wire()));
        let node = entry.or_insert_with(|| Owner { name: owner.clone(), sets: SmallVec::new() });
        //= RFC 2181 section 10.1
        //# An alias name (label of a CNAME record) may, if DNSSEC is in use, have SIG, NXT, and KEY RRs, but may have no other data.
        let alias = |rtype: Rtype| rtype == Rtype::CNAME;
        if !goes_with_alias(rtype) && node.sets.iter().any(|set| !goes_with_alias(set.rtype) && alias(set.rtype) != alias(rtype))
        {
            return Err(format!("{owner} has a CNAME and other records; a CNAME must be alone"));
        }
        let is_address = |rtype: Rtype| matches!(rtype, Rtype::A | Rtype::AAAA);
        let beside = |other: fn(Rtype) -> bool| node.sets.iter().any(|set| other(set.rtype));
        if (rtype == Rtype::ALIAS && beside(is_address)) || (is_address(rtype) && beside(|other| other == Rtype::ALIAS)) {
            return Err(format!("{owner} has an ALIAS and addresses of its own; give one of them"));
        }
        match node.sets.iter_mut().find(|set| set.rtype == rtype) {
            None => node.sets.push(RecordSet { rtype, ttl, rdata: vec![rdata] }),
            Some(_) if alias(rtype) || matches!(rtype, Rtype::SOA | Rtype::DNAME | Rtype::ALIAS) => {
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

    /// Takes a record away; false if there is none like it.
    pub fn remove(&mut self, owner: &Name, rtype: Rtype, rdata: &[u8]) -> bool {
        self.change(owner, |sets| {
            let Some(set) = sets.iter_mut().find(|set| set.rtype == rtype) else { return false };
            let before = set.rdata.len();
            set.rdata.retain(|own| **own != *rdata);
            set.rdata.len() < before
        })
    }

    /// Takes all records of a name and type away; false if there are none.
    pub fn remove_set(&mut self, owner: &Name, rtype: Rtype) -> bool {
        self.change(owner, |sets| {
            let before = sets.len();
            sets.retain(|set| set.rtype != rtype);
            sets.len() < before
        })
    }

    /// Takes all records of a name away, those below it stay; false if it has none.
    pub fn remove_name(&mut self, owner: &Name) -> bool {
        self.owners.remove(&canonical(owner.wire())).is_some()
    }

    fn change(&mut self, owner: &Name, change: impl FnOnce(&mut SmallVec<[RecordSet; 2]>) -> bool) -> bool {
        let key = canonical(owner.wire());
        let Some(node) = self.owners.get_mut(&key) else { return false };
        let changed = change(&mut node.sets);
        node.sets.retain(|set| !set.rdata.is_empty());
        if node.sets.is_empty() {
            self.owners.remove(&key);
        }
        changed
    }

    fn judge(&self) -> Result<u32, String> {
        let apex = self.owners.get(&canonical(self.origin.wire()));
        let apex = apex.ok_or_else(|| format!("no record of the apex {}", self.origin))?;
        let soa = apex.set(Rtype::SOA).ok_or_else(|| format!("the apex {} has no SOA", self.origin))?;
        let servers = apex.set(Rtype::NS).ok_or_else(|| format!("the apex {} has no NS", self.origin))?;
        for server in &servers.rdata {
            if let Some(owner) = self.owners.get(&canonical(server))
                && owner.set(Rtype::CNAME).is_some()
            {
                return Err(format!("the name server {} is an alias; NS must name a host (RFC 2181 section 10.3)", owner.name));
            }
        }
        Ok(soa.rdata.first().map_or(0, |rdata| negative_ttl(soa.ttl, rdata)))
    }

    /// The zone, if it is whole.
    ///
    /// # Errors
    /// What it lacks.
    pub fn finish(self) -> Result<Zone, String> {
        let negative_ttl = self.judge()?;
        let mut layout = Layout::default();
        for owner in self.owners.into_values() {
            layout.owner(&self.origin, owner)?;
        }
        let mut zone = layout.finish(self.origin, negative_ttl)?;
        zone.signed = chain::of_records(&zone)
            .map(|denial| Box::new(Signed { source: Source::Records, denial, last_made: LastMade::default() }));
        Ok(zone)
    }

    /// The zone, if it is whole, with signatures made by `signer` when they are asked for, and with the records that prove what is not there.
    /// The caller has put DNSKEY, CDS and CDNSKEY at the apex; signatures and proofs of others are left out.
    ///
    /// # Errors
    /// What it lacks.
    pub fn finish_signed(mut self, signer: Arc<dyn SetSigner>, denial: Denial) -> Result<Zone, String> {
        let negative_ttl = self.judge()?;
        self.owners.retain(|_, owner| {
            owner.sets.retain(|set| !matches!(set.rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3));
            !owner.sets.is_empty()
        });
        chain::prepare(&self.origin, negative_ttl, &denial, &mut self.owners);
        let mut layout = Layout::default();
        for owner in self.owners.into_values() {
            layout.owner(&self.origin, owner)?;
        }
        let made_by_chain = layout.sets.iter().filter(|set| set.rtype == Rtype::NSEC).count();
        layout.records -= made_by_chain;
        let mut zone = layout.finish(self.origin, negative_ttl)?;
        let denial = chain::build(&mut zone, denial)?;
        let made = std::iter::repeat_with(OnceLock::new).take(zone.sets.len()).collect();
        zone.signed = Some(Box::new(Signed { source: Source::Signer { signer, made }, denial, last_made: LastMade::default() }));
        Ok(zone)
    }
}

/// A zone being laid out: owners come in canonical order.
#[derive(Default)]
struct Layout {
    blob: Vec<u8>,
    nodes: Vec<Node>,
    sets: Vec<Set>,
    hashes: Vec<u64>,
    records: usize,
    /// The nodes above the last one and itself, the apex first.
    line: Vec<u32>,
}

fn number(length: usize) -> Result<u32, String> {
    u32::try_from(length).map_err(|_| "the zone is larger than 4 GiB".to_owned())
}

impl Layout {
    /// Lays out an owner, before it what lies between it and the names before: the empty non-terminals (RFC 4592 section 2.2.2).
    fn owner(&mut self, origin: &Name, owner: Owner) -> Result<(), String> {
        let key = owner.name.to_key();
        let mut above: SmallVec<[&[u8]; 8]> =
            suffixes(key.wire()).skip(1).take_while(|suffix| suffix.len() >= origin.wire().len()).collect();
        above.reverse();
        let known = self.line.iter().zip(&above).take_while(|(node, name)| self.is_named(**node, name)).count();
        self.line.truncate(known);
        for name in above.iter().skip(known) {
            self.node(name, &[])?;
        }
        self.node(owner.name.wire(), &owner.sets)
    }

    fn is_named(&self, node: u32, key: &[u8]) -> bool {
        self.nodes.get(node as usize).is_some_and(|node| {
            let start = node.name as usize;
            self.blob.get(start..start + usize::from(node.name_bytes)).is_some_and(|name| name.eq_ignore_ascii_case(key))
        })
    }

    fn node(&mut self, name: &[u8], sets: &[RecordSet]) -> Result<(), String> {
        let number_here = number(self.nodes.len())?;
        let above = self.line.last().copied();
        let has = |rtype: Rtype| sets.iter().any(|set| set.rtype == rtype);
        let mut flags = if name.iter().any(u8::is_ascii_uppercase) { MIXED } else { 0 };
        if let Some(above) = above.and_then(|above| self.nodes.get_mut(above as usize)) {
            if above.flags & (CUT | DNAME | OCCLUDED) != 0 {
                flags |= OCCLUDED;
            } else if has(Rtype::NS) {
                flags |= CUT;
            }
            if name.starts_with(super::lookup::WILDCARD_LABEL) {
                above.flags |= WILDCARD;
            }
        }
        if has(Rtype::DNAME) {
            flags |= DNAME;
        }
        let key = NameKey::of(name).ok_or("an owner is no name")?;
        self.hashes.push(key.hash(key.labels()));
        self.nodes.push(Node {
            name: number(self.blob.len())?,
            sets: number(self.sets.len())?,
            parent: above.unwrap_or(super::APEX),
            name_bytes: u8::try_from(name.len()).map_err(|error| error.to_string())?,
            labels: u8::try_from(key.labels()).map_err(|error| error.to_string())?,
            flags,
        });
        self.line.push(number_here);
        self.blob.extend_from_slice(name);
        for set in sets {
            self.set(set)?;
        }
        Ok(())
    }

    fn set(&mut self, set: &RecordSet) -> Result<(), String> {
        let place = self.blob.len();
        let mut all: Vec<&Rdata> = set.rdata.iter().collect();
        if set.rtype == Rtype::RRSIG {
            // The signatures of a type stand together: it is their first field.
            all.sort_by_key(|rdata| rdata.first_chunk::<2>().copied());
        }
        for rdata in all {
            let length = u16::try_from(rdata.len()).map_err(|error| error.to_string())?;
            //= RFC 4034 section 3
            //# The TTL value of an RRSIG RR MUST match the TTL value of the RRset it covers.
            // Those of a name cover several sets; the TTL of each is in its data.
            let original = rdata.get(4..8).and_then(<[u8]>::first_chunk).filter(|_| set.rtype == Rtype::RRSIG);
            let ttl = original.map_or(set.ttl, |ttl| u32::from_be_bytes(*ttl));
            self.blob.extend_from_slice(&head(set.rtype, ttl, length));
            self.blob.extend_from_slice(rdata);
        }
        self.records += set.rdata.len();
        self.sets.push(Set { rtype: set.rtype, place: number(place)?, length: number(self.blob.len() - place)? });
        Ok(())
    }

    fn finish(mut self, origin: Name, negative_ttl: u32) -> Result<Zone, String> {
        number(self.blob.len())?;
        let end = Node { name: 0, sets: number(self.sets.len())?, parent: 0, name_bytes: 0, labels: 0, flags: 0 };
        let hashes = self.hashes;
        let mut table = HashTable::with_capacity(hashes.len());
        for (at, hash) in hashes.iter().enumerate() {
            table.insert_unique(*hash, number(at)?, |other| hashes.get(*other as usize).copied().unwrap_or(0));
        }
        self.nodes.push(end);
        Ok(Zone {
            origin,
            blob: self.blob.into(),
            nodes: self.nodes.into(),
            sets: self.sets.into(),
            table,
            records: self.records,
            negative_ttl,
            signed: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::parent;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::parse(text, Some(&Name::absolute("ex.org").unwrap())).unwrap()
    }

    fn builder(owners: &[&str]) -> ZoneBuilder {
        let mut builder = ZoneBuilder::new(&name("@"));
        builder.add(&name("@"), Rtype::SOA, 60, [&[0, 0][..], &[0; 20]].concat().into()).unwrap();
        builder.add(&name("@"), Rtype::NS, 60, name("ns").wire().into()).unwrap();
        for owner in owners {
            builder.add(&name(owner), Rtype::A, 60, [192, 0, 2, 1].into()).unwrap();
        }
        builder
    }

    #[test]
    fn names_stand_in_canonical_order() {
        // The example of RFC 4034 section 6.1, and what lies between.
        let zone = builder(&["yljkjljk.a", "Z.a", "zABC.a", "z", "\\001.z", "*.z", "\\200.z", "a.b.c"]).finish().unwrap();
        let owners: Vec<String> = zone.numbers().map(|node| Name::from_wire(zone.name(node)).unwrap().to_string()).collect();
        let expected = ["", "a.", "yljkjljk.a.", "Z.a.", "zABC.a.", "c.", "b.c.", "a.b.c.", "z.", "\\001.z.", "*.z.", "\\200.z."]
            .map(|text| format!("{text}ex.org."));
        assert_eq!(owners, expected);
        assert_eq!(zone.records().count(), zone.record_count());
        assert!(zone.heap_bytes() > 0 && zone.serial() == 0 && zone.soa().rdata.len() == 22);
    }

    #[test]
    fn what_is_taken_away_is_gone() {
        let before = builder(&["a.b", "c"]).finish().unwrap();
        let mut changed = ZoneBuilder::from_zone(&before);
        assert!(changed.remove(&name("A.b"), Rtype::A, &[192, 0, 2, 1]) && !changed.has_name(&name("a.b")));
        assert!(!changed.remove(&name("a.b"), Rtype::A, &[192, 0, 2, 1]) && !changed.remove_set(&name("c"), Rtype::MX));
        assert!(changed.remove_set(&name("c"), Rtype::A) && !changed.remove_name(&name("c")));
        changed.add(&name("d"), Rtype::A, 60, [192, 0, 2, 2].into()).unwrap();
        assert_eq!(changed.set(&name("D"), Rtype::A).unwrap().rdata.len(), 1);
        let zone = changed.finish().unwrap();
        // Nor is there an empty non-terminal above it any more.
        assert_eq!((zone.numbers().count(), zone.record_count()), (2, 3));
        assert!(zone.find_name(name("b").wire()).is_none() && zone.find_name(name("d").wire()).is_some());
    }

    proptest! {
        /// Every name and all that lies above it is found, and knows its parent.
        #[test]
        fn names_are_found(owners in proptest::collection::vec("([a-cA-C]{1,2}\\.){0,4}[a-c*]", 1..40)) {
            let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
            let zone = builder(&owners).finish().unwrap();
            for owner in owners {
                let owner = name(owner);
                for suffix in suffixes(owner.wire()).take_while(|suffix| suffix.len() >= zone.origin().wire().len()) {
                    let node = zone.find_name(suffix).unwrap();
                    prop_assert!(zone.name(node).eq_ignore_ascii_case(suffix));
                    if suffix.len() > zone.origin().wire().len() {
                        prop_assert!(zone.name(zone.node(node).parent).eq_ignore_ascii_case(parent(suffix).unwrap()));
                    }
                }
            }
            let again = ZoneBuilder::from_zone(&zone).finish().unwrap();
            prop_assert!(again.records().eq(zone.records()));
        }
    }
}
