//! The algorithms of keys (RFC 8624, RFC 9905) and verification with them; the arithmetic is ring's.
//!
//! | number | name | here |
//! |---|---|---|
//! | 5, 7 | RSASHA1, RSASHA1-NSEC3-SHA1 | known, never verified: insecure (RFC 9905 section 2) |
//! | 8, 10 | RSASHA256, RSASHA512 (RFC 5702) | 1024 to 8192 bits |
//! | 13, 14 | ECDSAP256SHA256, ECDSAP384SHA384 (RFC 6605) | |
//! | 15 | ED25519 (RFC 8080) | |
//! | others | | unsupported: insecure (RFC 4035 section 5.2) |

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
    VerificationAlgorithm,
};
use std::fmt;

/// A number of the registry "DNS Security Algorithm Numbers".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Algorithm(pub u8);

impl Algorithm {
    /// Of a CDS record that wants the DS deleted (RFC 8078 section 4).
    pub const DELETE: Self = Self(0);
    /// RSA with SHA-1 (RFC 3110).
    pub const RSASHA1: Self = Self(5);
    /// The same, for zones with NSEC3 (RFC 5155 section 2).
    pub const RSASHA1_NSEC3_SHA1: Self = Self(7);
    /// RSA with SHA-256 (RFC 5702).
    pub const RSASHA256: Self = Self(8);
    /// RSA with SHA-512 (RFC 5702).
    pub const RSASHA512: Self = Self(10);
    /// ECDSA on P-256 with SHA-256 (RFC 6605).
    pub const ECDSAP256SHA256: Self = Self(13);
    /// ECDSA on P-384 with SHA-384 (RFC 6605).
    pub const ECDSAP384SHA384: Self = Self(14);
    /// EdDSA on curve 25519 (RFC 8080).
    pub const ED25519: Self = Self(15);

    const NAMES: [(Self, &str); 8] = [
        (Self::DELETE, "DELETE"),
        (Self::RSASHA1, "RSASHA1"),
        (Self::RSASHA1_NSEC3_SHA1, "RSASHA1-NSEC3-SHA1"),
        (Self::RSASHA256, "RSASHA256"),
        (Self::RSASHA512, "RSASHA512"),
        (Self::ECDSAP256SHA256, "ECDSAP256SHA256"),
        (Self::ECDSAP384SHA384, "ECDSAP384SHA384"),
        (Self::ED25519, "ED25519"),
    ];

    /// From the registry's mnemonic, in any case, or a number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let known = Self::NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(algorithm, _)| *algorithm);
        known.or_else(|| text.parse().ok().map(Self))
    }

    /// True if signatures by it are verified and believed.
    #[must_use]
    pub fn is_supported(self) -> bool {
        //= RFC 9905 section 2
        //# Operators of validating resolvers MUST treat DNSSEC signing algorithms RSASHA1 and RSASHA1-NSEC3-SHA1 as unsupported, rendering
        //# responses insecure if they cannot be validated by other supported signing algorithms.
        matches!(self, Self::RSASHA256 | Self::RSASHA512 | Self::ECDSAP256SHA256 | Self::ECDSAP384SHA384 | Self::ED25519)
    }

    /// Verifies a signature with a key in the form of a DNSKEY record's last field. False as well for keys and algorithms that cannot be used.
    ///
    /// Cost: 20 to 200 us, the key is parsed each time.
    #[must_use]
    pub fn verify(self, public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::RSASHA256 => rsa(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, public_key, message, signature),
            Self::RSASHA512 => rsa(&RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, public_key, message, signature),
            Self::ECDSAP256SHA256 => ecdsa(&ECDSA_P256_SHA256_FIXED, public_key, message, signature),
            Self::ECDSAP384SHA384 => ecdsa(&ECDSA_P384_SHA384_FIXED, public_key, message, signature),
            Self::ED25519 => UnparsedPublicKey::new(&ED25519, public_key).verify(message, signature).is_ok(),
            _ => false,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(algorithm, _)| algorithm == self) {
            Some((_, name)) => f.pad(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// The key of RFC 6605 section 4 is the point's two coordinates; X9.62 wants the octet 4 in front, "uncompressed".
fn ecdsa(algorithm: &'static dyn VerificationAlgorithm, public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let mut point = [4; 97];
    let Some(place) = point.get_mut(1..=public_key.len()) else { return false };
    place.copy_from_slice(public_key);
    let Some(point) = point.get(..=public_key.len()) else { return false };
    UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
}

fn rsa(parameters: &'static RsaParameters, public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Some((exponent, modulus)) = rsa_parts(public_key) else { return false };
    RsaPublicKeyComponents { n: modulus, e: exponent }.verify(parameters, message, signature).is_ok()
}

/// Exponent and modulus of RFC 3110 section 2, without leading zeros: the exponent's length in one octet, or in two behind a zero.
fn rsa_parts(public_key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match public_key {
        [0, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        [length, rest @ ..] => (usize::from(*length), rest),
        [] => return None,
    };
    let (exponent, modulus) = rest.split_at_checked(length)?;
    let strip = |mut number: &'_ [u8]| -> usize {
        let whole = number.len();
        while let [0, rest @ ..] = number {
            number = rest;
        }
        whole - number.len()
    };
    Some((exponent.get(strip(exponent)..)?, modulus.get(strip(modulus)..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_numbers() {
        for (text, algorithm) in [("ed25519", Algorithm::ED25519), ("13", Algorithm::ECDSAP256SHA256), ("200", Algorithm(200))] {
            assert_eq!(Algorithm::parse(text), Some(algorithm));
        }
        assert_eq!((Algorithm::parse("256"), Algorithm(16).to_string()), (None, "16".to_owned()));
        assert!(!Algorithm::RSASHA1.is_supported() && !Algorithm(16).is_supported() && Algorithm::RSASHA256.is_supported());
    }

    #[test]
    fn rsa_keys_are_read_as_rfc_3110_says() {
        assert_eq!(rsa_parts(b"\x03\x01\x00\x01\x00\xab\xcd"), Some((&b"\x01\x00\x01"[..], &b"\xab\xcd"[..])));
        assert_eq!(rsa_parts(b"\x00\x00\x01\x03\xab"), Some((&b"\x03"[..], &b"\xab"[..])));
        assert_eq!(rsa_parts(b"\x04\x01"), None);
        assert_eq!(rsa_parts(b""), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(key in proptest::collection::vec(any::<u8>(), 0..300), signature in proptest::collection::vec(any::<u8>(), 0..130)) {
            for algorithm in 0..20 {
                prop_assert!(!Algorithm(algorithm).verify(&key, b"message", &signature));
            }
        }
    }
}
