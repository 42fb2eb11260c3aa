//! Keys: the DNSKEY record (RFC 4034 section 2).
//!
//! ```text
//!   flags 2 | protocol 1 (always 3) | algorithm 1 | public key
//!     flags: 0x0100 zone key, 0x0001 secure entry point, 0x0080 revoked (RFC 5011)
//! ```

use super::algorithm::Algorithm;

/// The key signs sets of its zone (RFC 4034 section 2.1.1).
pub const FLAG_ZONE: u16 = 0x0100;
/// The key is the one the parent knows; a hint for people (RFC 4034 section 2.1.1).
pub const FLAG_SECURE_ENTRY_POINT: u16 = 0x0001;
/// Never to be trusted again (RFC 5011 section 2.1).
pub const FLAG_REVOKED: u16 = 0x0080;
/// The only protocol (RFC 4034 section 2.1.2).
pub const PROTOCOL: u8 = 3;

/// The data of a DNSKEY or CDNSKEY record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dnskey<'r> {
    /// See the constants.
    pub flags: u16,
    /// See [`PROTOCOL`].
    pub protocol: u8,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// In the form its algorithm wants.
    pub public_key: &'r [u8],
    /// The whole data, as digests and key tags are made of it.
    pub rdata: &'r [u8],
}

impl<'r> Dnskey<'r> {
    /// Reads the data of a DNSKEY record. `None`: it is too short.
    #[must_use]
    pub fn parse(rdata: &'r [u8]) -> Option<Self> {
        let ([high, low, protocol, algorithm], public_key) = rdata.split_first_chunk()?;
        let flags = u16::from_be_bytes([*high, *low]);
        Some(Self { flags, protocol: *protocol, algorithm: Algorithm(*algorithm), public_key, rdata })
    }

    /// True if signatures of this key may count: a zone key, of the right protocol, not revoked.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        //= RFC 4034 section 2.1.1
        //# If bit 7 has value 0, then the DNSKEY record holds some other type of DNS public key and MUST NOT be used to verify RRSIGs that cover
        //# RRsets.
        self.flags & (FLAG_ZONE | FLAG_REVOKED) == FLAG_ZONE && self.protocol == PROTOCOL
    }

    /// See [`key_tag`].
    #[must_use]
    pub fn key_tag(&self) -> u16 {
        key_tag(self.rdata)
    }
}

/// Writes the data of a DNSKEY record.
#[must_use]
pub fn dnskey_rdata(flags: u16, algorithm: Algorithm, public_key: &[u8]) -> Vec<u8> {
    let [high, low] = flags.to_be_bytes();
    [&[high, low, PROTOCOL, algorithm.0], public_key].concat()
}

/// A number that finds the key most of the time; others may have the same (RFC 4034 appendix B).
#[must_use]
pub fn key_tag(rdata: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    // 65,535 octets at most, so that the sum cannot pass 2^32.
    for pair in rdata.chunks(2) {
        let word = [pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0)];
        sum = sum.wrapping_add(u16::from_be_bytes(word).into());
    }
    let [_, _, high, low] = sum.wrapping_add(sum >> 16 & 0xffff).to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use hickory_proto::dnssec::{PublicKeyBuf, rdata::DNSKEY};
    use proptest::prelude::*;

    #[test]
    fn the_key_of_rfc_4034_section_5_4() {
        let key = "AQOeiiR0GOMYkDshWoSKz9XzfwJr1AYtsmx3TGkJaNXVbfi/2pHm822aJ5iI9BMzNXxeYCmZDRD99WYwYqUSdjMmmAphXdvxegXd/M5+X7OrzKBaMbCVdFLUUh6DhweJBjEVv5f2wwjM9XzcnOf+EPbtG9DMBmADjFDc2w/rljwvFw==";
        let key = base64::engine::general_purpose::STANDARD.decode(key).unwrap();
        let rdata = dnskey_rdata(256, Algorithm::RSASHA1, &key);
        let key = Dnskey::parse(&rdata).unwrap();
        assert_eq!((key.key_tag(), key.is_usable()), (60485, true));
    }

    #[test]
    fn only_zone_keys_that_are_not_revoked_are_usable() {
        let usable = |flags: u16, protocol: u8| {
            let [high, low] = flags.to_be_bytes();
            Dnskey::parse(&[high, low, protocol, 13]).unwrap().is_usable()
        };
        assert!(usable(256, 3) && usable(257, 3));
        assert!(!usable(0, 3) && !usable(1, 3) && !usable(256, 2) && !usable(257 | 128, 3));
        assert_eq!(Dnskey::parse(&[1, 0, 3]), None);
    }

    proptest! {
        #[test]
        fn tags_are_hickorys(flags in prop_oneof![Just(256_u16), Just(257), Just(257 | 128), Just(0)], key in proptest::collection::vec(any::<u8>(), 0..300)) {
            let rdata = dnskey_rdata(flags, Algorithm::ED25519, &key);
            let theirs = DNSKEY::with_flags(flags, PublicKeyBuf::new(key, hickory_proto::dnssec::Algorithm::ED25519));
            // hickory knows only some flags, and drops the others.
            if theirs.flags() == flags {
                prop_assert_eq!(key_tag(&rdata), theirs.calculate_key_tag().unwrap());
            }
        }
    }
}
