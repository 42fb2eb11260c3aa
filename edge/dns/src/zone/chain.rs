//! Builds what a signed zone proves absence with: the NSEC sets of its names, or the NSEC3 records of their hashes.

use super::build::{Owner, canonical_into};
use super::signed::{Chain, Link, NO_LINK, Names};
use super::{APEX, CUT, OCCLUDED, Set, Zone};
use crate::dnssec::Denial;
use crate::dnssec::bitmap::write_bitmap;
use crate::dnssec::nsec3::{self, Nsec3, Nsec3Param};
use crate::name::Name;
use crate::record::{Rdata, RecordSet};
use crate::types::Rtype;
use crate::writer::head;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// The types a name shows.
//= RFC 4035 section 2.3
//# The bitmap for the NSEC RR at a delegation point requires special attention.
fn shown(types: impl Iterator<Item = Rtype>, is_cut: bool, own: &[Rtype]) -> Vec<Rtype> {
    let mut shown: Vec<Rtype> = types.filter(|rtype| !is_cut || matches!(*rtype, Rtype::NS | Rtype::DS)).collect();
    // An ALIAS is never seen; what it stands for is.
    if shown.contains(&Rtype::ALIAS) {
        shown.retain(|rtype| *rtype != Rtype::ALIAS);
        shown.extend([Rtype::A, Rtype::AAAA]);
    }
    shown.extend_from_slice(own);
    shown.sort_unstable();
    shown.dedup();
    shown
}

/// Before the zone is laid out: adds the NSEC sets, or the NSEC3PARAM set if the caller has not.
pub(super) fn prepare(origin: &Name, ttl: u32, denial: &Denial, owners: &mut BTreeMap<Box<[u8]>, Owner>) {
    if let Denial::Nsec3 { iterations, salt } = denial {
        if let Some(apex) = owners.values_mut().next()
            && apex.set(Rtype::NSEC3PARAM).is_none()
        {
            let mut rdata = Vec::new();
            Nsec3Param { hash_algorithm: nsec3::HASH_SHA1, flags: 0, iterations: *iterations, salt }.write(&mut rdata);
            apex.sets.push(RecordSet { rtype: Rtype::NSEC3PARAM, ttl: 0, rdata: vec![rdata.into()] });
        }
        return;
    }
    let mut barrier: Option<Box<[u8]>> = None;
    let mut chain: Vec<(&mut Owner, bool)> = Vec::new();
    for (canonical, owner) in owners.iter_mut() {
        if barrier.as_ref().is_some_and(|barrier| canonical.starts_with(barrier)) {
            continue;
        }
        let is_cut = !chain.is_empty() && owner.set(Rtype::NS).is_some();
        if is_cut || owner.set(Rtype::DNAME).is_some() {
            barrier = Some(canonical.clone());
        }
        chain.push((owner, is_cut));
    }
    let mut next: Rdata = origin.wire().into();
    for (owner, is_cut) in chain.into_iter().rev() {
        let types = shown(owner.sets.iter().map(|set| set.rtype), is_cut, &[Rtype::RRSIG, Rtype::NSEC]);
        let mut rdata = next.to_vec();
        write_bitmap(types, &mut rdata);
        owner.sets.push(RecordSet { rtype: Rtype::NSEC, ttl, rdata: vec![rdata.into()] });
        next = owner.name.to_key().wire().into();
    }
}

/// After the zone is laid out: the chain to search in, NSEC3 records behind everything else.
pub(super) fn build(zone: &mut Zone, denial: Denial) -> Result<Chain, String> {
    let Denial::Nsec3 { iterations, salt } = denial else { return Ok(names(zone)) };
    if nsec3::LABEL_BYTES + 1 + zone.origin.wire().len() > crate::name::NAME_BYTES_MAX {
        return Err(format!("the name of the zone is too long for NSEC3: {}", zone.origin));
    }
    let nodes: Vec<u32> = zone.numbers().filter(|node| zone.node(*node).flags & OCCLUDED == 0).collect();
    let mut hashes: Vec<([u8; nsec3::HASH_BYTES], u32)> =
        nodes.iter().map(|node| (nsec3::hash(zone.name(*node), iterations, &salt), *node)).collect();
    hashes.sort_unstable();
    if hashes.windows(2).any(|pair| matches!(pair, [left, right] if left.0 == right.0)) {
        return Err("two names of the zone have the same NSEC3 hash; take another salt".to_owned());
    }
    let too_large = |_| "the zone is larger than 4 GiB".to_owned();
    let (mut blob, mut sets) = (std::mem::take(&mut zone.blob).into_vec(), std::mem::take(&mut zone.sets).into_vec());
    let mut of_node = vec![NO_LINK; zone.numbers().len()];
    let mut links = Vec::with_capacity(hashes.len());
    let param = Nsec3Param { hash_algorithm: nsec3::HASH_SHA1, flags: 0, iterations, salt: &salt };
    for (at, (hash, node)) in hashes.iter().enumerate() {
        let next = hashes.get(at + 1).or_else(|| hashes.first()).map_or(*hash, |(next, _)| *next);
        let range = zone.set_range(*node);
        let types = sets.get(range.start as usize..range.end as usize).unwrap_or_default().iter().map(|set| set.rtype);
        let is_cut = zone.node(*node).flags & CUT != 0;
        let mut types = shown(types, is_cut, &[]);
        // What is signed has a signature: all that is here but the servers of a delegation (RFC 5155 section 7.1).
        if types.iter().any(|rtype| !is_cut || *rtype == Rtype::DS) {
            types = shown(types.into_iter(), false, &[Rtype::RRSIG]);
        }
        let mut rdata = Vec::new();
        param.write(&mut rdata);
        rdata.push(u8::try_from(nsec3::HASH_BYTES).unwrap_or(u8::MAX));
        rdata.extend_from_slice(&next);
        write_bitmap(types, &mut rdata);
        let name = u32::try_from(blob.len()).map_err(too_large)?;
        blob.push(u8::try_from(nsec3::LABEL_BYTES).unwrap_or(u8::MAX));
        blob.extend_from_slice(&nsec3::label(hash));
        blob.extend_from_slice(zone.origin.wire());
        let place = blob.len();
        let length = u16::try_from(rdata.len()).map_err(|error| error.to_string())?;
        blob.extend_from_slice(&head(Rtype::NSEC3, zone.negative_ttl, length));
        blob.extend_from_slice(&rdata);
        let (start, end) = (u32::try_from(place).map_err(too_large)?, u32::try_from(blob.len()).map_err(too_large)?);
        let set = u32::try_from(sets.len()).map_err(too_large)?;
        sets.push(Set { rtype: Rtype::NSEC3, place: start, length: end - start });
        if let Some(of_node) = of_node.get_mut(*node as usize) {
            *of_node = u32::try_from(at).map_err(too_large)?;
        }
        links.push(Link { hash: *hash, name, set });
    }
    (zone.blob, zone.sets) = (blob.into(), sets.into());
    Ok(Chain::Nsec3 { iterations, salt, links: links.into(), of_node: of_node.into() })
}

fn names(zone: &Zone) -> Chain {
    let mut names = Names::default();
    let mut canonical = SmallVec::new();
    for node in zone.numbers().filter(|node| zone.node(*node).flags & OCCLUDED == 0 && zone.set_of(*node, Rtype::NSEC).is_some())
    {
        canonical.clear();
        canonical_into(zone.name(node), &mut canonical);
        names.octets.extend_from_slice(&canonical);
        names.nodes.push(node);
        names.ends.push(u32::try_from(names.octets.len()).unwrap_or(u32::MAX));
    }
    Chain::Nsec(names)
}

/// Of a zone that comes signed: the chain its records are. `None`: it is not signed, or not so that it could be answered from.
pub(super) fn of_records(zone: &Zone) -> Option<Chain> {
    let at_apex = |rtype| zone.set_of(APEX, rtype).map(|set| zone.encoded(set));
    at_apex(Rtype::RRSIG)?;
    if at_apex(Rtype::NSEC).is_some() {
        return Some(names(zone));
    }
    let param = at_apex(Rtype::NSEC3PARAM)?.rdata().find_map(Nsec3Param::parse)?;
    let mut links: Vec<Link> = zone.numbers().filter_map(|node| link_of_node(zone, node, &param)).collect();
    links.sort_unstable_by_key(|link| link.hash);
    let of_node = |node| {
        let hash = param.hash(zone.name(node));
        links.binary_search_by_key(&hash, |link| link.hash).ok().and_then(|at| u32::try_from(at).ok()).unwrap_or(NO_LINK)
    };
    let of_node = zone.numbers().map(of_node).collect();
    Some(Chain::Nsec3 { iterations: param.iterations, salt: param.salt.into(), links: links.into(), of_node })
}

fn link_of_node(zone: &Zone, node: u32, param: &Nsec3Param<'_>) -> Option<Link> {
    let set = zone.set_of(node, Rtype::NSEC3)?;
    let of_chain =
        |rdata| Nsec3::parse(rdata).is_some_and(|own| (own.param.iterations, own.param.salt) == (param.iterations, param.salt));
    zone.encoded(set).rdata().find(|rdata| of_chain(rdata))?;
    let hash = nsec3::parse_label(zone.name(node).get(1..=nsec3::LABEL_BYTES)?)?;
    Some(Link { hash, name: zone.node(node).name, set })
}
