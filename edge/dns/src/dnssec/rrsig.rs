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

    proptest! {
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
