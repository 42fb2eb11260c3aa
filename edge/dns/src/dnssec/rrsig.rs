//! Signatures over sets: the RRSIG record, and the bytes it signs.
//!
//! ```text
//!   RRSIG data (RFC 4034 section 3.1), numbers are octets
//!   type covered 2 | algorithm 1 | labels 1 | original TTL 4 | expiration 4 | inception 4 | key tag 2 | signer's name | signature
//!   └──────────────────────────────── signed, the signer's name lower-case ─────────────────────────────┘
//!   then for each record of the set, in canonical order: owner | type 2 | class 2 | original TTL 4 | length 2 | data
//! ```

use super::algorithm::Algorithm;
use super::canonical::{canonical_set, label_count, last_labels};
use crate::types::{CLASS_IN, Rtype};
use crate::wire::Reader;

/// The data of an RRSIG record, read or about to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rrsig<'r> {
    /// The type of the set.
    pub type_covered: Rtype,
    /// Of the key.
    pub algorithm: Algorithm,
    /// [`label_count`] of the owner where it was signed: fewer than the owner has if a wildcard answered.
    pub labels: u8,
    /// Seconds the set had in the zone.
    pub original_ttl: u32,
    /// Seconds since 1970, modulo 2^32: not valid after.
    pub expiration: u32,
    /// Seconds since 1970, modulo 2^32: not valid before.
    pub inception: u32,
    /// Of the key.
    pub key_tag: u16,
    /// The zone, in wire form; any case when read.
    pub signer: &'r [u8],
    /// Empty while it is being made.
    pub signature: &'r [u8],
}

impl<'r> Rrsig<'r> {
    /// Reads the data of an RRSIG record. `None`: it is broken.
    #[must_use]
    pub fn parse(rdata: &'r [u8]) -> Option<Self> {
        let mut reader = Reader::new(rdata, 0);
        let type_covered = Rtype(reader.u16()?);
        let [algorithm, labels] = *reader.bytes(2)?.first_chunk()?;
        let (original_ttl, expiration, inception) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let (key_tag, signer) = (reader.u16()?, reader.plain_name()?);
        let signature = rdata.get(reader.position()..)?;
        let algorithm = Algorithm(algorithm);
        Some(Self { type_covered, algorithm, labels, original_ttl, expiration, inception, key_tag, signer, signature })
    }

    /// Writes the data, the signer's name lower-case, and the signature if it is there already.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.type_covered.0.to_be_bytes());
        out.extend_from_slice(&[self.algorithm.0, self.labels]);
        for seconds in [self.original_ttl, self.expiration, self.inception] {
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        out.extend_from_slice(&self.key_tag.to_be_bytes());
        out.extend(self.signer.iter().map(u8::to_ascii_lowercase));
        out.extend_from_slice(self.signature);
    }

    /// True if this is the signature of a set that a wildcard gave: the owner has more labels than were signed.
    #[must_use]
    pub fn is_expanded(&self, owner: &[u8]) -> bool {
        self.labels < label_count(owner)
    }

    /// Appends the bytes that are signed (RFC 4034 section 3.1.8.1). `owner` may be the name that a wildcard was expanded to, in any case; the
    /// data in any order. False, and nothing is of use: the owner has fewer labels than were signed.
    ///
    /// Cost: the set is sorted; data is copied once, and once more if names in it have upper-case letters.
    pub fn signed_bytes<'d>(&self, owner: &[u8], rdata: impl IntoIterator<Item = &'d [u8]>, out: &mut Vec<u8>) -> bool {
        let Some(owner) = self.signed_owner(owner) else { return false };
        Self { signature: &[], ..*self }.write(out);
        for rdata in canonical_set(self.type_covered, rdata) {
            let Ok(length) = u16::try_from(rdata.len()) else { return false };
            out.extend_from_slice(&owner);
            out.extend_from_slice(&self.type_covered.0.to_be_bytes());
            out.extend_from_slice(&CLASS_IN.to_be_bytes());
            out.extend_from_slice(&self.original_ttl.to_be_bytes());
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&rdata);
        }
        true
    }

    /// The owner as it was signed, lower-case: the wildcard, if there was one.
    fn signed_owner(&self, owner: &[u8]) -> Option<Vec<u8>> {
        //= RFC 4034 section 3.1.8.1
        //# if rrsig_labels < fqdn_labels, name = "*." | the rightmost rrsig_label labels of the fqdn
        let count = label_count(owner);
        if self.labels > count {
            return None;
        }
        let mut signed =
            if self.labels == count { owner.to_vec() } else { [b"\x01*", last_labels(owner, self.labels.into())?].concat() };
        signed.make_ascii_lowercase();
        Some(signed)
    }
}

/// Whether `now` lies between inception and expiration, in serial number arithmetic (RFC 4034 section 3.1.5, RFC 1982). `skew` seconds are
/// forgiven on either side.
#[must_use]
pub fn is_current(rrsig: &Rrsig<'_>, now: u32, skew: u32) -> Validity {
    let behind = |earlier: u32, later: u32| i32::MAX.unsigned_abs() >= later.wrapping_sub(earlier);
    if !behind(rrsig.inception, rrsig.expiration) || !behind(now.wrapping_sub(skew), rrsig.expiration) {
        Validity::Expired
    } else if !behind(rrsig.inception, now.wrapping_add(skew)) {
        Validity::NotYet
    } else {
        Validity::Current
    }
}

/// What a signature's times say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Inception is still to come.
    NotYet,
    /// It is of today.
    Current,
    /// Expiration is over, or lies before the inception.
    Expired,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use proptest::prelude::*;

    fn rrsig(signer: &[u8]) -> Rrsig<'_> {
        Rrsig {
            type_covered: Rtype::MX,
            algorithm: Algorithm::ECDSAP256SHA256,
            labels: 2,
            original_ttl: 3600,
            expiration: 200,
            inception: 100,
            key_tag: 7,
            signer,
            signature: b"sig",
        }
    }

    #[test]
    fn written_and_read() {
        let signer = Name::absolute("example.org").unwrap();
        let mut out = Vec::new();
        rrsig(signer.wire()).write(&mut out);
        assert_eq!(Rrsig::parse(&out), Some(rrsig(signer.wire())));
        assert_eq!(Rrsig::parse(&out[..20]), None);
    }

    #[test]
    fn a_wildcards_set_is_signed_with_the_wildcards_name() {
        let signer = Name::absolute("example.org").unwrap();
        let signed = |owner: &str| {
            let mut out = Vec::new();
            rrsig(signer.wire()).signed_bytes(Name::absolute(owner).unwrap().wire(), [&b"\0\x01\0"[..]], &mut out).then_some(out)
        };
        assert_eq!(signed("*.Example.org"), signed("a.b.example.ORG"));
        assert_ne!(signed("example.org"), signed("a.example.org"));
        assert_eq!(signed("org"), None);
        assert!(rrsig(signer.wire()).is_expanded(Name::absolute("a.example.org").unwrap().wire()));
        assert!(!rrsig(signer.wire()).is_expanded(Name::absolute("*.example.org").unwrap().wire()));
    }

    #[test]
    fn times_are_serial_numbers() {
        let of = |inception, expiration| Rrsig { inception, expiration, ..rrsig(&[0]) };
        for (inception, expiration, now, expected) in [
            (100, 200, 100, Validity::Current),
            (100, 200, 200, Validity::Current),
            (100, 200, 99, Validity::NotYet),
            (100, 200, 201, Validity::Expired),
            (200, 100, 150, Validity::Expired),
            // Over 2106.
            (u32::MAX - 10, 10, 3, Validity::Current),
            (u32::MAX - 10, 10, 11, Validity::Expired),
            (u32::MAX - 10, 10, u32::MAX - 11, Validity::NotYet),
        ] {
            assert_eq!(is_current(&of(inception, expiration), now, 0), expected, "{inception} {expiration} {now}");
        }
        assert_eq!(is_current(&of(100, 200), 90, 10), Validity::Current);
        assert_eq!(is_current(&of(100, 200), 211, 10), Validity::Expired);
    }

    /// RFC 6605 section 6 and RFC 8080 section 6.
    #[test]
    fn signatures_of_the_rfcs() {
        use base64::Engine;
        let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        let name = |text: &str| Name::absolute(text).unwrap();
        let mail = [&[0, 10], name("mail.example.com").wire()].concat();
        let address = vec![192, 0, 2, 1];
        let p256 = (
            "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
            "qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==",
        );
        let p384 = (
            "xKYaNhWdGOfJ+nPrL8/arkwf2EY3MDJ+SErKivBVSum1w/egsXvSADtNJhyem5RCOpgQ6K8X1DRSEkrbYQ+OB+v8/uX45NBwY8rp65F6Glur8I/mlVNgF6W/qTI37m40",
            "/L5hDKIvGDyI1fcARX3z65qrmPsVz73QD1Mr5CEqOiLP95hxQouuroGCeZOvzFaxsT8Glr74hbavRKayJNuydCuzWTSSPdz7wnqXL5bdcJzusdnI0RSMROxxwGipWcJm",
        );
        let ed25519 = (
            "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
            "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==",
        );
        for (algorithm, (key, signature), owner, signer, type_covered, rdata, inception, expiration, tag) in [
            (13, p256, "www.example.net", "example.net", Rtype::A, &address, 1281607479, 1284026679, 55648),
            (14, p384, "www.example.net", "example.net", Rtype::A, &address, 1281608425, 1284027625, 10771),
            (15, ed25519, "example.com", "example.com", Rtype::MX, &mail, 1438207200, 1440021600, 3613),
        ] {
            let (key, signature, signer, owner) = (decode(key), decode(signature), name(signer), name(owner));
            let algorithm = Algorithm(algorithm);
            let rdata_of_key = crate::dnssec::key::dnskey_rdata(257, algorithm, &key);
            assert_eq!(crate::dnssec::key::key_tag(&rdata_of_key), tag);
            let labels = label_count(owner.wire());
            let (signer, signature) = (signer.wire(), &*signature);
            let rrsig = Rrsig {
                type_covered,
                algorithm,
                labels,
                original_ttl: 3600,
                expiration,
                inception,
                key_tag: tag,
                signer,
                signature,
            };
            let mut message = Vec::new();
            assert!(rrsig.signed_bytes(owner.wire(), [&**rdata], &mut message));
            assert!(algorithm.verify(&key, &message, signature), "{algorithm}");
            message[30] ^= 1;
            assert!(!algorithm.verify(&key, &message, signature), "{algorithm}");
        }
    }

    proptest! {
        #[test]
        fn what_is_signed_is_hickorys(owner in "[a-zA-Z]{1,9}(\\.[a-zA-Z]{1,5}){1,3}\\.", fewer in 0..3_u8, addresses in proptest::collection::btree_set(any::<[u8; 4]>(), 1..5)) {
            use hickory_proto::dnssec::{Algorithm as TheirAlgorithm, TBS, rdata::SigInput};
            use hickory_proto::rr::{DNSClass, Name as TheirName, RData, Record, RecordType, rdata::A};
            let ours = Name::parse(&owner, None).unwrap();
            let theirs = TheirName::from_ascii(&owner).unwrap();
            let labels = label_count(ours.wire()).saturating_sub(fewer);
            let rrsig = Rrsig { type_covered: Rtype::A, labels, ..rrsig(ours.wire()) };
            let mut message = Vec::new();
            prop_assert!(rrsig.signed_bytes(ours.wire(), addresses.iter().rev().map(|address| &address[..]), &mut message));
            let input = SigInput {
                type_covered: RecordType::A,
                algorithm: TheirAlgorithm::ECDSAP256SHA256,
                num_labels: labels,
                original_ttl: rrsig.original_ttl,
                sig_expiration: rrsig.expiration.into(),
                sig_inception: rrsig.inception.into(),
                key_tag: rrsig.key_tag,
                signer_name: theirs.clone(),
            };
            let records: Vec<Record> =
                addresses.iter().map(|address| Record::from_rdata(theirs.clone(), 9, RData::A(A((*address).into())))).collect();
            let signed = TBS::from_input(&theirs, DNSClass::IN, &input, records.iter()).unwrap();
            prop_assert_eq!(signed.as_ref(), &*message);
        }

        #[test]
        fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(rrsig) = Rrsig::parse(&data) {
                let mut out = Vec::new();
                rrsig.write(&mut out);
                prop_assert!(out.eq_ignore_ascii_case(&data));
                rrsig.signed_bytes(&data, [&*data], &mut out);
            }
        }
    }
}
