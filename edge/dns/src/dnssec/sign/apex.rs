//! The records that signing adds at a zone's apex, and those of its file that signing makes itself.

use super::zone_keys::ZoneKeys;
use crate::dnssec::Denial;
use crate::dnssec::digest::DigestType;
use crate::record::{Rdata, RecordSet};
use crate::types::Rtype;

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
        //= RFC 7344 section 4.1
        //# If a Child publishes both CDS and CDNSKEY RRsets, the two RRsets MUST match in content.
        let cdnskey = keys.wanted_at_parent().map(|zone_key| zone_key.key.dnskey().clone());
        (keys.ds_wanted(DigestType::SHA256), cdnskey.collect())
    };
    let set = |rtype, rdata| RecordSet { rtype, ttl: dnskey_ttl, rdata };
    let mut sets = vec![set(Rtype::DNSKEY, dnskey), set(Rtype::CDS, cds), set(Rtype::CDNSKEY, cdnskey)];
    if let Denial::Nsec3 { iterations, salt } = denial {
        // SHA-1, no flags. Resolvers never ask for it, so that its TTL is for nobody.
        let [high, low] = iterations.to_be_bytes();
        let salt = salt.get(..salt.len().min(255)).unwrap_or_default();
        let rdata = [&[1, 0, high, low, u8::try_from(salt.len()).unwrap_or(0)], salt].concat();
        sets.push(RecordSet { rtype: Rtype::NSEC3PARAM, ttl: 0, rdata: vec![rdata.into()] });
    }
    sets.retain(|set| !set.rdata.is_empty());
    sets
}

/// True for records that signing makes itself: they are left out of a file that was signed elsewhere. DNSKEY records of the file stay, for a
/// zone that several signers share (RFC 8901).
#[must_use]
pub fn is_made_by_signing(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3 | Rtype::NSEC3PARAM | Rtype::CDS | Rtype::CDNSKEY)
}
