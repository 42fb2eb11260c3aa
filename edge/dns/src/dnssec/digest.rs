//! What a parent says of its child's keys: the DS record (RFC 4034 section 5, RFC 4509, RFC 6605).
//!
//! ```text
//!   key tag 2 | algorithm 1 | digest type 1 | digest of (owner's name, lower-case | DNSKEY data)
//! ```

use super::algorithm::Algorithm;
use super::key::{Dnskey, key_tag};
use ring::digest::{Context, SHA256, SHA384};
use std::fmt;

/// A number of the registry "DNSSEC Delegation Signer (DS) RR Type Digest Algorithms".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DigestType(pub u8);

impl DigestType {
    /// Known, and not believed (RFC 9905 section 2 for signatures; RFC 9904's tables for digests).
    pub const SHA1: Self = Self(1);
    /// RFC 4509.
    pub const SHA256: Self = Self(2);
    /// RFC 6605.
    pub const SHA384: Self = Self(4);

    /// True if a key may be believed for such a digest.
    #[must_use]
    pub fn is_supported(self) -> bool {
        matches!(self, Self::SHA256 | Self::SHA384)
    }
}

impl fmt::Display for DigestType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SHA1 => f.pad("SHA-1"),
            Self::SHA256 => f.pad("SHA-256"),
            Self::SHA384 => f.pad("SHA-384"),
            Self(number) => write!(f, "{number}"),
        }
    }
}

/// The data of a DS or CDS record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ds<'r> {
    /// Of the key.
    pub key_tag: u16,
    /// Of the key.
    pub algorithm: Algorithm,
    /// Of the digest.
    pub digest_type: DigestType,
    /// In binary.
    pub digest: &'r [u8],
}

impl<'r> Ds<'r> {
    /// Reads the data of a DS record. `None`: it is too short.
    #[must_use]
    pub fn parse(rdata: &'r [u8]) -> Option<Self> {
        let ([high, low, algorithm, digest_type], digest) = rdata.split_first_chunk()?;
        let key_tag = u16::from_be_bytes([*high, *low]);
        Some(Self { key_tag, algorithm: Algorithm(*algorithm), digest_type: DigestType(*digest_type), digest })
    }

    /// True if both the key's algorithm and the digest's are ones that are believed; records without are as if not there.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        self.algorithm.is_supported() && self.digest_type.is_supported()
    }

    /// True if it is this key's digest; tag and algorithm are compared first, which costs no hash.
    #[must_use]
    pub fn matches(&self, owner: &[u8], key: &Dnskey<'_>) -> bool {
        self.algorithm == key.algorithm
            && self.key_tag == key.key_tag()
            && digest(owner, key.rdata, self.digest_type).is_some_and(|digest| digest.as_ref() == self.digest)
    }
}

/// The data of the DS record of a key; `owner` in wire form. `None`: no such digest is made here.
#[must_use]
pub fn ds_rdata(owner: &[u8], dnskey_rdata: &[u8], digest_type: DigestType) -> Option<Vec<u8>> {
    let [high, low] = key_tag(dnskey_rdata).to_be_bytes();
    let algorithm = Dnskey::parse(dnskey_rdata)?.algorithm;
    let digest = digest(owner, dnskey_rdata, digest_type)?;
    Some([&[high, low, algorithm.0, digest_type.0], digest.as_ref()].concat())
}

fn digest(owner: &[u8], dnskey_rdata: &[u8], digest_type: DigestType) -> Option<ring::digest::Digest> {
    let mut context = Context::new(match digest_type {
        DigestType::SHA256 => &SHA256,
        DigestType::SHA384 => &SHA384,
        _ => return None,
    });
    context.update(&owner.to_ascii_lowercase());
    context.update(dnskey_rdata);
    Some(context.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dnssec::key::dnskey_rdata;
    use crate::name::Name;
    use base64::Engine;
    use hickory_proto::dnssec::{PublicKeyBuf, rdata::DNSKEY};

    fn octets(hex: &str) -> Vec<u8> {
        hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    /// The examples of RFC 4509 section 2.3 and RFC 6605 section 6.
    #[test]
    fn digests_of_the_rfcs() {
        let rsa = "AQOeiiR0GOMYkDshWoSKz9XzfwJr1AYtsmx3TGkJaNXVbfi/2pHm822aJ5iI9BMzNXxeYCmZDRD99WYwYqUSdjMmmAphXdvxegXd/M5+X7OrzKBaMbCVdFLUUh6DhweJBjEVv5f2wwjM9XzcnOf+EPbtG9DMBmADjFDc2w/rljwvFw==";
        let p256 = "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==";
        let p384 = "xKYaNhWdGOfJ+nPrL8/arkwf2EY3MDJ+SErKivBVSum1w/egsXvSADtNJhyem5RCOpgQ6K8X1DRSEkrbYQ+OB+v8/uX45NBwY8rp65F6Glur8I/mlVNgF6W/qTI37m40";
        for (owner, flags, algorithm, key, tag, kind, expected) in [
            (
                "dskey.example.com",
                256,
                5,
                rsa,
                60485,
                DigestType::SHA256,
                "D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A",
            ),
            (
                "example.net",
                257,
                13,
                p256,
                55648,
                DigestType::SHA256,
                "B4C8C1FE2E7477127B27115656AD6256F424625BF5C1E2770CE6D6E37DF61D17",
            ),
            (
                "example.net",
                257,
                14,
                p384,
                10771,
                DigestType::SHA384,
                "72D7B62976CE06438E9C0BF319013CF801F09ECC84B8D7E9495F27E305C6A9B0563A9B5F4D288405C3008A946DF983D6",
            ),
        ] {
            let owner = Name::absolute(owner).unwrap();
            let key = dnskey_rdata(flags, Algorithm(algorithm), &base64::engine::general_purpose::STANDARD.decode(key).unwrap());
            let ds = ds_rdata(owner.wire(), &key, kind).unwrap();
            let ds = Ds::parse(&ds).unwrap();
            assert_eq!((ds.key_tag, ds.digest), (tag, &*octets(expected)));
            let upper = Name::absolute(&owner.to_string().to_uppercase()).unwrap();
            assert!(ds.matches(upper.wire(), &Dnskey::parse(&key).unwrap()));
            assert!(!ds.matches(&[0], &Dnskey::parse(&key).unwrap()));
            // And hickory's.
            let their_key = PublicKeyBuf::new(key[4..].to_vec(), hickory_proto::dnssec::Algorithm::from_u8(algorithm));
            let theirs = DNSKEY::with_flags(flags, their_key);
            let their_owner = hickory_proto::rr::Name::from_ascii(owner.to_string()).unwrap();
            let their_kind = hickory_proto::dnssec::DigestType::from(kind.0);
            assert_eq!(theirs.to_digest(&their_owner, their_kind).unwrap().as_ref(), ds.digest);
        }
        assert_eq!(ds_rdata(&[0], &[1, 0, 3, 13], DigestType::SHA1), None);
    }
}
