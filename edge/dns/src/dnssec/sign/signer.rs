//! Makes the signatures of a zone (RFC 4034 section 3, RFC 4035 section 2.2), one set at a time.

use super::key::{SIGNATURE_BYTES, SigningKey};
use super::zone_keys::{ZoneKey, ZoneKeys};
use crate::dnssec::SetSigner;
use crate::dnssec::canonical::label_count;
use crate::dnssec::rrsig::Rrsig;
use crate::name::Name;
use crate::types::Rtype;
use std::sync::Arc;

/// How long signatures hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Seconds from the time of signing to the last expiration.
    pub lifetime: u32,
    /// The expirations of a zone are spread over so many seconds before the last one, so that not all sets leave all caches at one time.
    pub spread: u32,
    /// The inception lies so many seconds before the time of signing, for validators whose clocks are behind.
    pub clock_skew: u32,
}

impl Default for Validity {
    /// Two weeks, as BIND and Knot have it: the week after half of it is the time an operator has to notice that nothing is signed any more.
    /// Spread over one day of it, and an hour for clocks.
    fn default() -> Self {
        Self { lifetime: 14 * 86_400, spread: 86_400, clock_skew: 3600 }
    }
}

/// Signs the sets of one zone with its keys as they are now. Replaced by a new one when keys change state or [`ZoneSigner::resign_due`] says so.
#[derive(Debug)]
pub struct ZoneSigner {
    origin: Name,
    key_set_keys: Vec<Arc<SigningKey>>,
    zone_keys: Vec<Arc<SigningKey>>,
    signed_at: u64,
    validity: Validity,
}

impl ZoneSigner {
    /// A signer for what is signed at `now`. With no keys it makes no signatures.
    #[must_use]
    pub fn new(keys: &ZoneKeys, now: u64, validity: Validity) -> Self {
        fn collect<'k>(keys: impl Iterator<Item = &'k ZoneKey>) -> Vec<Arc<SigningKey>> {
            keys.map(|zone_key| Arc::clone(&zone_key.key)).collect()
        }
        let (key_set_keys, zone_keys) = (collect(keys.key_set_signers()), collect(keys.zone_signers()));
        Self { origin: keys.origin().clone(), key_set_keys, zone_keys, signed_at: now, validity }
    }

    /// True if these keys would sign with the same ones: this signer's signatures may stay beside new ones.
    #[must_use]
    pub fn has_keys_of(&self, keys: &ZoneKeys) -> bool {
        fn same<'k>(own: &[Arc<SigningKey>], others: impl Iterator<Item = &'k ZoneKey>) -> bool {
            own.iter().map(|key| key.dnskey()).eq(others.map(|zone_key| zone_key.key.dnskey()))
        }
        same(&self.key_set_keys, keys.key_set_signers()) && same(&self.zone_keys, keys.zone_signers())
    }

    /// When the zone should be signed anew: half of the shortest lifetime is over, and what is left is more than the largest TTL, so that no
    /// cache gives on a set with a dead signature.
    #[must_use]
    pub fn resign_at(&self, zone_ttl: u32) -> u64 {
        let shortest = u64::from(self.validity.lifetime.saturating_sub(self.validity.spread));
        self.signed_at + (shortest / 2).min(shortest.saturating_sub(u64::from(zone_ttl)))
    }

    /// True if the zone must be signed anew.
    #[must_use]
    pub fn is_resign_due(&self, now: u64, zone_ttl: u32) -> bool {
        now >= self.resign_at(zone_ttl)
    }

    /// The keys for a set.
    fn keys_for(&self, owner: &[u8], rtype: Rtype) -> &[Arc<SigningKey>] {
        //= RFC 7344 section 4.1
        //# MUST be signed with a key that is represented in both the current DNSKEY and DS RRsets
        let about_keys = matches!(rtype, Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY) && owner == self.origin.wire();
        if about_keys { &self.key_set_keys } else { &self.zone_keys }
    }

    /// Inception and expiration of a set, both modulo 2^32 (RFC 4034 section 3.1.5).
    fn times(&self, owner: &[u8], rtype: Rtype) -> (u32, u32) {
        let early = match self.validity.spread {
            0 => 0,
            spread => u64::from(mix(owner, rtype) % spread),
        };
        let inception = self.signed_at.saturating_sub(self.validity.clock_skew.into());
        let expiration = (self.signed_at + u64::from(self.validity.lifetime)).saturating_sub(early);
        (low_half(inception), low_half(expiration))
    }
}

impl SetSigner for ZoneSigner {
    /// Cost: the set is sorted; one signature for each key (see `dnssec/sign/mod.rs`), two allocations for each. Empty if the system gives no
    /// random octets.
    fn sign(&self, owner: &[u8], rtype: Rtype, ttl: u32, rdata: &[&[u8]]) -> Vec<Box<[u8]>> {
        let (inception, expiration) = self.times(owner, rtype);
        let keys = self.keys_for(owner, rtype);
        let mut signatures = Vec::with_capacity(keys.len());
        let mut message = Vec::new();
        for key in keys {
            let rrsig = Rrsig {
                type_covered: rtype,
                algorithm: key.algorithm(),
                labels: label_count(owner),
                original_ttl: ttl,
                expiration,
                inception,
                key_tag: key.tag(),
                signer: self.origin.wire(),
                signature: &[],
            };
            message.clear();
            if !rrsig.signed_bytes(owner, rdata.iter().copied(), &mut message) {
                continue;
            }
            let Some(signature) = key.sign(&message) else { continue };
            let mut out = Vec::with_capacity(message.len().min(18 + self.origin.wire().len()) + SIGNATURE_BYTES);
            Rrsig { signature: &signature, ..rrsig }.write(&mut out);
            signatures.push(out.into_boxed_slice());
        }
        signatures
    }
}

fn low_half(time: u64) -> u32 {
    let [_, _, _, _, low @ ..] = time.to_be_bytes();
    u32::from_be_bytes(low)
}

/// A number that is the same for a set in each process and on each machine (FNV-1a).
fn mix(owner: &[u8], rtype: Rtype) -> u32 {
    let octets = owner.iter().chain(&rtype.0.to_be_bytes()).copied().collect::<smallvec::SmallVec<[u8; 64]>>();
    octets.iter().fold(0x811c_9dc5, |hash, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dnssec::algorithm::Algorithm;
    use crate::dnssec::sign::{KeyState, Role, Timing, read_key};
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::absolute(text).unwrap()
    }

    fn started(keys: &[(Role, Algorithm)]) -> ZoneKeys {
        let mut zone_keys = ZoneKeys::new(&name("example.org"));
        let new = |(role, algorithm): &(Role, Algorithm)| {
            (*role, Arc::new(SigningKey::generate(*algorithm, role.is_entry_point()).unwrap().0))
        };
        zone_keys.start(0, keys.iter().map(new).collect()).unwrap();
        zone_keys
    }

    /// RFC 8080 section 6.1: Ed25519 has no randomness, so that the signature is the RFC's own.
    #[test]
    fn the_signature_of_rfc_8080() {
        let origin = name("example.com");
        let public = "example.com. 3600 IN DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=";
        let private =
            "Private-key-format: v1.2\nAlgorithm: 15 (ED25519)\nPrivateKey: ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=\n";
        let mut keys = ZoneKeys::new(&origin);
        keys.adopt(0, vec![(Role::Csk, Arc::new(read_key(&origin, public, private).unwrap()))]).unwrap();
        let validity = Validity { lifetime: 1_440_021_600 - 1_438_207_200, spread: 0, clock_skew: 0 };
        let signer = ZoneSigner::new(&keys, 1_438_207_200, validity);
        let mx = [&[0, 10], name("mail.example.com").wire()].concat();
        let signatures = signer.sign(origin.wire(), Rtype::MX, 3600, &[&mx]);
        let rrsig = Rrsig::parse(&signatures[0]).unwrap();
        assert_eq!((rrsig.key_tag, rrsig.inception, rrsig.expiration, rrsig.labels), (3613, 1_438_207_200, 1_440_021_600, 2));
        use base64::Engine;
        let signature = base64::engine::general_purpose::STANDARD.encode(rrsig.signature);
        assert_eq!(signature, "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==");
    }

    #[test]
    fn each_set_by_its_keys() {
        let keys = started(&[(Role::Ksk, Algorithm::ED25519), (Role::Zsk, Algorithm::ED25519)]);
        let [ksk, zsk] = [0, 1].map(|at| keys.keys()[at].key.tag());
        let signer = ZoneSigner::new(&keys, 1_790_000_000, Validity::default());
        let by = |owner: &str, rtype| {
            let signatures = signer.sign(name(owner).wire(), rtype, 60, &[&[1, 2, 3, 4]]);
            signatures.iter().map(|rdata| Rrsig::parse(rdata).unwrap().key_tag).collect::<Vec<_>>()
        };
        for rtype in [Rtype::DNSKEY, Rtype::CDS, Rtype::CDNSKEY] {
            assert_eq!((by("example.org", rtype), by("sub.example.org", rtype)), (vec![ksk], vec![zsk]));
        }
        assert_eq!(by("example.org", Rtype::SOA), [zsk]);
        assert!(ZoneSigner::new(&ZoneKeys::new(&name("a")), 0, Validity::default()).sign(&[0], Rtype::A, 0, &[]).is_empty());
    }

    #[test]
    fn times_are_spread_and_end_together_at_most() {
        let keys = started(&[(Role::Csk, Algorithm::ED25519)]);
        assert_eq!(keys.keys()[0].state, KeyState::Published);
        let now = 1_790_000_000;
        let signer = ZoneSigner::new(&keys, now, Validity::default());
        let ends: Vec<u32> = (0..100)
            .map(|host| {
                let rdata = signer.sign(name(&format!("h{host}.example.org")).wire(), Rtype::A, 60, &[&[192, 0, 2, 1]]);
                let rrsig = Rrsig::parse(&rdata[0]).unwrap();
                assert_eq!(u64::from(rrsig.inception), now - 3600);
                rrsig.expiration
            })
            .collect();
        let (least, most) = (u64::from(*ends.iter().min().unwrap()), u64::from(*ends.iter().max().unwrap()));
        assert!(least > now + 13 * 86_400 && most <= now + 14 * 86_400 && most - least > 43_200);
        assert_eq!(signer.resign_at(Timing::new(3600).zone_ttl), now + 13 * 43_200);
        assert_eq!(signer.resign_at(10 * 86_400), now + 3 * 86_400);
        assert!(signer.is_resign_due(now + 7 * 86_400, 3600) && !signer.is_resign_due(now + 6 * 86_400, 3600));
    }

    proptest! {
        /// What we sign, our own verification takes, and hickory's; a wildcard's signature fits what it expands to.
        #[test]
        fn signatures_verify(labels in proptest::collection::vec("[a-zA-Z0-9]{1,8}", 0..4), wildcard: bool, ed: bool, ttl: u32,
                             addresses in proptest::collection::vec(any::<[u8; 4]>(), 1..5)) {
            use hickory_proto::dnssec::{Verifier, rdata::DNSSECRData};
            use hickory_proto::rr::{DNSClass, Name as TheirName, RData, Record, rdata::A};
            use hickory_proto::serialize::binary::BinDecodable;
            let read = |rtype: Rtype, rdata: &[u8]| {
                let length = u16::try_from(rdata.len()).unwrap().to_be_bytes();
                let record = [&[0], &rtype.0.to_be_bytes()[..], &[0, 1, 0, 0, 0, 0], &length, rdata].concat();
                Record::<RData>::from_bytes(&record).unwrap().data
            };
            let algorithm = if ed { Algorithm::ED25519 } else { Algorithm::ECDSAP256SHA256 };
            let keys = started(&[(Role::Csk, algorithm)]);
            let prefix = if wildcard { "*." } else { "" };
            let owner = format!("{prefix}{}{}example.org.", labels.join("."), if labels.is_empty() { "" } else { "." });
            let signer = ZoneSigner::new(&keys, 1_790_000_000, Validity::default());
            let rdata: Vec<&[u8]> = addresses.iter().map(|address| &address[..]).collect();
            let signature = signer.sign(name(&owner).to_key().wire(), Rtype::A, ttl, &rdata).remove(0);
            let rrsig = Rrsig::parse(&signature).unwrap();
            let asked = owner.replace('*', "a.b");
            let mut message = Vec::new();
            prop_assert!(rrsig.signed_bytes(name(&asked).wire(), rdata.iter().rev().copied(), &mut message));
            let dnskey = keys.keys()[0].key.dnskey();
            prop_assert!(algorithm.verify(&dnskey[4..], &message, rrsig.signature));
            let RData::DNSSEC(DNSSECRData::RRSIG(theirs)) = read(Rtype::RRSIG, &signature) else { panic!() };
            let RData::DNSSEC(DNSSECRData::DNSKEY(their_key)) = read(Rtype::DNSKEY, dnskey) else { panic!() };
            let their_owner = TheirName::from_ascii(&asked).unwrap();
            let unique: std::collections::BTreeSet<_> = addresses.iter().collect();
            let records: Vec<Record> = unique
                .into_iter()
                .map(|octets| Record::from_rdata(their_owner.clone(), ttl, RData::A(A::from(std::net::Ipv4Addr::from(*octets)))))
                .collect();
            their_key.verify_rrsig(&their_owner, DNSClass::IN, &theirs, records.iter()).unwrap();
        }
    }
}
