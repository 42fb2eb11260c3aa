//! What signing changes in a zone before it is laid out: the records it adds at the apex, those of the file it makes itself, the serial.

use super::zone_keys::ZoneKeys;
use crate::dnssec::Denial;
use crate::dnssec::digest::DigestType;
use crate::dnssec::nsec3::{HASH_SHA1, Nsec3Param};
use crate::record::{Rdata, RecordSet};
use crate::types::Rtype;
use crate::zone::{Zone, ZoneBuilder};

/// CDS of RFC 8078 section 4: "0 0 0 00", delete all DS.
const CDS_DELETE: [u8; 5] = [0, 0, 0, 0, 0];
/// CDNSKEY of RFC 8078 section 4: "0 3 0 AA==", delete all DS.
const CDNSKEY_DELETE: [u8; 5] = [0, 0, 3, 0, 0];

/// The sets to put at the apex before the zone is finished: DNSKEY, CDS, CDNSKEY, and NSEC3PARAM for NSEC3. None for a zone without keys.
#[must_use]
pub fn apex_sets(keys: &ZoneKeys, dnskey_ttl: u32, denial: &Denial) -> Vec<RecordSet> {
    if keys.is_unsigned() {
        return Vec::new();
    }
    let dnskey: Vec<Rdata> = keys.key_set().map(|zone_key| zone_key.key.dnskey().clone()).collect();
    let (cds, cdnskey): (Vec<Rdata>, Vec<Rdata>) = if keys.is_leaving() {
        (vec![CDS_DELETE.into()], vec![CDNSKEY_DELETE.into()])
    } else {
        //= RFC 7344 section 4
        //# the two RRsets MUST match in content.
        let cdnskey = keys.wanted_at_parent().map(|zone_key| zone_key.key.dnskey().clone());
        (keys.ds_wanted(DigestType::SHA256), cdnskey.collect())
    };
    let set = |rtype, rdata| RecordSet { rtype, ttl: dnskey_ttl, rdata };
    let mut sets = vec![set(Rtype::DNSKEY, dnskey), set(Rtype::CDS, cds), set(Rtype::CDNSKEY, cdnskey)];
    if let Denial::Nsec3 { iterations, salt } = denial {
        let mut rdata = Vec::new();
        Nsec3Param { hash_algorithm: HASH_SHA1, flags: 0, iterations: *iterations, salt }.write(&mut rdata);
        // Resolvers never ask for it, so that its TTL is for nobody.
        sets.push(RecordSet { rtype: Rtype::NSEC3PARAM, ttl: 0, rdata: vec![rdata.into()] });
    }
    sets.retain(|set| !set.rdata.is_empty());
    sets
}

/// Makes a zone's records ready for [`ZoneBuilder::finish_signed`]: [`apex_sets`] in, those of the file that signing makes itself out, the SOA
/// with `serial`. DNSKEY records of the file stay, for a zone that several signers share (RFC 8901).
///
/// # Errors
/// The zone has no SOA.
pub fn prepare(zone: &mut ZoneBuilder, keys: &ZoneKeys, dnskey_ttl: u32, denial: &Denial, serial: u32) -> Result<(), String> {
    let origin = keys.origin();
    for rtype in [Rtype::CDS, Rtype::CDNSKEY, Rtype::NSEC3PARAM] {
        zone.remove_set(origin, rtype);
    }
    for RecordSet { rtype, ttl, rdata } in apex_sets(keys, dnskey_ttl, denial) {
        for rdata in rdata {
            zone.add(origin, rtype, ttl, rdata)?;
        }
    }
    let soa = zone.set(origin, Rtype::SOA).cloned().ok_or_else(|| format!("the apex {origin} has no SOA"))?;
    let mut rdata = soa.rdata.into_iter().next().unwrap_or_default();
    // The serial is the first of five numbers at the end.
    let place = rdata.len().checked_sub(20).and_then(|at| rdata.get_mut(at..at + 4));
    place.ok_or("the SOA is cut")?.copy_from_slice(&serial.to_be_bytes());
    zone.remove_set(origin, Rtype::SOA);
    zone.add(origin, Rtype::SOA, soa.ttl, rdata)
}

/// The largest TTL of a zone, for [`Timing::new`](super::Timing::new).
///
/// Cost: a pass over all records.
#[must_use]
pub fn largest_ttl(zone: &Zone) -> u32 {
    zone.records().map(|record| record.ttl).max().unwrap_or(0)
}
