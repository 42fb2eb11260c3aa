//! A key that signs: ECDSA P-256 (RFC 6605) or Ed25519 (RFC 8080), the two of RFC 8624 that are small enough for UDP.

use crate::dnssec::algorithm::Algorithm;
use crate::dnssec::digest::{DigestType, ds_rdata};
use crate::dnssec::key::{FLAG_SECURE_ENTRY_POINT, FLAG_ZONE, dnskey_rdata, key_tag};
use crate::record::Rdata;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use std::fmt;

/// Octets of a private key of either algorithm.
pub(super) const PRIVATE_BYTES: usize = 32;
/// Octets of a signature of either algorithm.
pub const SIGNATURE_BYTES: usize = 64;

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Zones are signed with ECDSAP256SHA256 and ED25519 alone.
    Algorithm(Algorithm),
    /// Private and public key do not belong together, or are none of the algorithm's.
    Pair,
    /// The system gave no random octets.
    Random,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Algorithm(algorithm) => {
                write!(f, "zones are signed with ECDSAP256SHA256 (13) or ED25519 (15), not with algorithm {algorithm}")
            }
            Self::Pair => f.write_str("the private and the public key do not belong together"),
            Self::Random => f.write_str("the system gave no random numbers for a key"),
        }
    }
}

impl std::error::Error for KeyError {}

enum Pair {
    P256(Box<EcdsaKeyPair>, SystemRandom),
    Ed25519(Box<Ed25519KeyPair>),
}

/// A private key, ready to sign, with its DNSKEY record. The private octets themselves are not kept where they could be read again.
pub struct SigningKey {
    pair: Pair,
    algorithm: Algorithm,
    dnskey: Rdata,
    tag: u16,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.tag, self.algorithm)
    }
}

/// The octets of a new private key, to be written to its file and forgotten.
pub struct PrivateKey(pub(super) [u8; PRIVATE_BYTES]);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

impl SigningKey {
    /// Makes a new key. `is_entry_point` sets the flag of the keys a parent knows.
    ///
    /// # Errors
    /// [`KeyError::Algorithm`] and [`KeyError::Random`].
    pub fn generate(algorithm: Algorithm, is_entry_point: bool) -> Result<(Self, PrivateKey), KeyError> {
        let random = SystemRandom::new();
        let mut private = [0; PRIVATE_BYTES];
        let public = match algorithm {
            Algorithm::ECDSAP256SHA256 => {
                // ring gives new keys as PKCS#8 (RFC 5958, RFC 5915) and in one layout:
                //   36 octets of DER | private key 32 | 5 octets of DER | 4, the mark of an uncompressed point | public key 64
                let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
                let document = document.map_err(|_| KeyError::Random)?;
                let octets = document.as_ref();
                private.copy_from_slice(octets.get(36..68).ok_or(KeyError::Pair)?);
                octets.last_chunk::<64>().ok_or(KeyError::Pair)?.to_vec()
            }
            Algorithm::ED25519 => {
                ring::rand::SecureRandom::fill(&random, &mut private).map_err(|_| KeyError::Random)?;
                let pair = Ed25519KeyPair::from_seed_unchecked(&private).map_err(|_| KeyError::Pair)?;
                pair.public_key().as_ref().to_vec()
            }
            other => return Err(KeyError::Algorithm(other)),
        };
        // That the two belong together is checked here, should the layout ever be another.
        Ok((Self::new(algorithm, is_entry_point, &private, &public)?, PrivateKey(private)))
    }

    /// From what a key's two files hold.
    ///
    /// # Errors
    /// [`KeyError::Algorithm`] and [`KeyError::Pair`].
    pub(super) fn new(algorithm: Algorithm, is_entry_point: bool, private: &[u8], public: &[u8]) -> Result<Self, KeyError> {
        let pair = match algorithm {
            Algorithm::ECDSAP256SHA256 => {
                let random = SystemRandom::new();
                let point = [&[4], public].concat();
                let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::from_private_key_and_public_key(signing, private, &point, &random);
                Pair::P256(Box::new(pair.map_err(|_| KeyError::Pair)?), random)
            }
            Algorithm::ED25519 => {
                let pair = Ed25519KeyPair::from_seed_and_public_key(private, public).map_err(|_| KeyError::Pair)?;
                Pair::Ed25519(Box::new(pair))
            }
            other => return Err(KeyError::Algorithm(other)),
        };
        let flags = if is_entry_point { FLAG_ZONE | FLAG_SECURE_ENTRY_POINT } else { FLAG_ZONE };
        let dnskey = dnskey_rdata(flags, algorithm, public);
        let tag = key_tag(&dnskey);
        Ok(Self { pair, algorithm, dnskey: dnskey.into(), tag })
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key tag (RFC 4034 appendix B).
    #[must_use]
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// True if it has the flag of the keys a parent knows.
    #[must_use]
    pub fn is_entry_point(&self) -> bool {
        self.dnskey.get(1).is_some_and(|flags| u16::from(*flags) & FLAG_SECURE_ENTRY_POINT != 0)
    }

    /// The data of its DNSKEY record, and of its CDNSKEY record (RFC 7344 section 3.2).
    #[must_use]
    pub fn dnskey(&self) -> &Rdata {
        &self.dnskey
    }

    /// The data of its DS record, and of its CDS record (RFC 7344 section 3.1), for the zone `origin` in wire form.
    #[must_use]
    pub fn ds(&self, origin: &[u8], digest: DigestType) -> Option<Rdata> {
        ds_rdata(origin, &self.dnskey, digest).map(Into::into)
    }

    /// The signature of a message. `None`: the system gave no random octets, which P-256 needs.
    ///
    /// Cost: see `dnssec/sign/mod.rs`; P-256 asks the kernel for 32 random octets.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Option<[u8; SIGNATURE_BYTES]> {
        let signature = match &self.pair {
            Pair::P256(pair, random) => pair.sign(random, message).ok()?,
            Pair::Ed25519(pair) => pair.sign(message),
        };
        signature.as_ref().try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_keys_sign_what_verifies() {
        for (algorithm, public_bytes) in [(Algorithm::ECDSAP256SHA256, 64), (Algorithm::ED25519, 32)] {
            let (key, private) = SigningKey::generate(algorithm, true).unwrap();
            let public = &key.dnskey()[4..];
            assert_eq!(
                (public.len(), &key.dnskey()[..4], key.is_entry_point()),
                (public_bytes, &[1, 1, 3, algorithm.0][..], true)
            );
            let signature = key.sign(b"message").unwrap();
            assert!(algorithm.verify(public, b"message", &signature) && !algorithm.verify(public, b"massage", &signature));
            let again = SigningKey::new(algorithm, false, &private.0, public).unwrap();
            assert_eq!((&again.dnskey()[..4], again.is_entry_point()), (&[1, 0, 3, algorithm.0][..], false));
            let other = SigningKey::generate(algorithm, true).unwrap().1;
            assert_eq!(SigningKey::new(algorithm, true, &other.0, public).unwrap_err(), KeyError::Pair);
            assert_eq!(SigningKey::new(algorithm, true, &private.0[1..], public).unwrap_err(), KeyError::Pair);
            assert_eq!(SigningKey::new(algorithm, true, &private.0, &public[1..]).unwrap_err(), KeyError::Pair);
        }
        assert_eq!(SigningKey::generate(Algorithm::RSASHA256, true).unwrap_err(), KeyError::Algorithm(Algorithm::RSASHA256));
    }

    #[test]
    fn secrets_are_not_shown() {
        let (key, private) = SigningKey::generate(Algorithm::ED25519, true).unwrap();
        assert_eq!(format!("{key:?} {private:?}"), format!("SigningKey({} ED25519) PrivateKey", key.tag()));
    }

    /// RFC 8080 section 6.1, the first example: the private key, its record, its DS.
    #[test]
    fn the_key_of_rfc_8080() {
        use base64::Engine;
        let octets = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        let private = octets("ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=");
        let public = octets("l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=");
        let key = SigningKey::new(Algorithm::ED25519, true, &private, &public).unwrap();
        let example = crate::Name::absolute("example.com").unwrap();
        let ds = key.ds(example.wire(), DigestType::SHA256).unwrap();
        let text = crate::record::rdata_text(crate::Rtype::DS, &ds);
        assert_eq!(text, "3613 15 2 3AA5AB37EFCE57F737FC1627013FEE07BDF241BD10F3B1964AB55C78E79A304B");
        assert_eq!(key.ds(example.wire(), DigestType::SHA384).unwrap().len(), 4 + 48);
        assert_eq!(key.ds(example.wire(), DigestType::SHA1), None);
    }
}
