//! Key records (RFC 6376 section 3.6.1, RFC 8463 section 4) and what they verify.

use super::der::rsa_public_key;
use super::tags::{TagList, base64, items};
use super::{Algorithm, Problem};
use ring::signature::{ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RsaPublicKeyComponents, UnparsedPublicKey};

/// RFC 8301 section 3.2: "Verifiers MUST NOT consider signatures using RSA keys of less than 1024 bits as valid signatures."
const RSA_BITS_MIN: usize = 1024;

/// What a verification with it costs grows with the square; RFC 8301 asks for 4096.
const RSA_BITS_MAX: usize = 8192;

/// A public key and what it may be used for.
#[derive(Debug)]
pub struct Key {
    material: Material,
    /// `t=y`: the domain tests DKIM; what fails is to be treated as if it were not signed.
    pub testing: bool,
    /// `t=s`: the identity's domain must be the signature's, not one below.
    pub strict: bool,
}

#[derive(Debug)]
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Ed25519(Vec<u8>),
}

impl Key {
    /// Reads a record for mail.
    ///
    /// # Errors
    /// The first problem with it.
    pub fn parse(record: &[u8]) -> Result<Self, Problem> {
        let list = TagList::parse(record).map_err(|problem| match problem {
            Problem::TagList(wrong) => Problem::KeyRecord(wrong),
            other => other,
        })?;
        //= RFC 6376 section 3.6.1, v=
        //# If specified, this tag MUST be set to "DKIM1" (without the quotes). This tag MUST be the first tag in the record.
        if let Some(version) = list.get("v")
            && (version != b"DKIM1" || list.first() != Some(b"v"))
        {
            return Err(Problem::KeyRecord("its v= is not DKIM1, or not its first tag"));
        }
        //= RFC 6376 section 3.6.1, s=
        //# Verifiers for a given service type MUST ignore this record if the appropriate type is not listed.
        if !list.get("s").is_none_or(|types| items(types).any(|item| item == b"*" || item.eq_ignore_ascii_case(b"email"))) {
            return Err(Problem::KeyNotFor("mail (s= of its record)"));
        }
        if !list.get("h").is_none_or(|hashes| items(hashes).any(|item| item.eq_ignore_ascii_case(b"sha256"))) {
            return Err(Problem::KeyNotFor("SHA-256 (h= of its record)"));
        }
        let data = list.get("p").ok_or(Problem::KeyRecord("it has no p="))?;
        if data.is_empty() {
            return Err(Problem::Revoked);
        }
        let data = base64(data).ok_or(Problem::KeyRecord("its p= is not base64"))?;
        let kind = list.get("k").unwrap_or(b"rsa");
        let material = if kind.eq_ignore_ascii_case(b"rsa") {
            rsa(&data)?
        } else if kind.eq_ignore_ascii_case(b"ed25519") {
            if data.len() != 32 {
                return Err(Problem::KeyRecord("its p= is not an Ed25519 key of 32 octets"));
            }
            Material::Ed25519(data)
        } else {
            return Err(Problem::KeyNotFor("an algorithm known here (k= of its record)"));
        };
        let flag = |flag: &[u8]| list.get("t").is_some_and(|flags| items(flags).any(|item| item.eq_ignore_ascii_case(flag)));
        Ok(Self { material, testing: flag(b"y"), strict: flag(b"s") })
    }

    /// True if the key is of the algorithm's kind.
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        matches!(
            (&self.material, algorithm),
            (Material::Rsa { .. }, Algorithm::RsaSha256) | (Material::Ed25519(_), Algorithm::Ed25519Sha256)
        )
    }

    /// Verifies a signature of the canonical fields.
    ///
    /// Cost: one operation with the public key, which is most of what DKIM costs a small message, and the hash of the fields.
    #[must_use]
    pub fn verifies(&self, fields: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa { modulus, exponent } => RsaPublicKeyComponents { n: modulus, e: exponent }
                .verify(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, fields, signature)
                .is_ok(),
            //= RFC 8463 section 3
            //# The Ed25519-SHA256 signing algorithm computes a message hash [...] using SHA-256 as the hash-alg. It signs the hash
            //# with the PureEdDSA variant Ed25519
            Material::Ed25519(key) => {
                let hash = ring::digest::digest(&ring::digest::SHA256, fields);
                UnparsedPublicKey::new(&ED25519, key).verify(hash.as_ref(), signature).is_ok()
            }
        }
    }
}

fn rsa(der: &[u8]) -> Result<Material, Problem> {
    let (modulus, exponent) = rsa_public_key(der).ok_or(Problem::KeyRecord("its p= is not an RSA public key"))?;
    let zeros = modulus.first().map_or(0, |first| first.leading_zeros());
    let bits = (modulus.len() * 8).saturating_sub(usize::try_from(zeros).unwrap_or(0));
    if bits < RSA_BITS_MIN {
        return Err(Problem::ShortKey(bits));
    }
    if bits > RSA_BITS_MAX {
        return Err(Problem::KeyRecord("its RSA key has more than 8192 bits"));
    }
    Ok(Material::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() })
}

/// Fuzz entry: any octets are a key record or none, and a key verifies nothing by chance.
///
/// # Panics
/// If it does.
pub fn fuzz_key(data: &[u8]) {
    if let Ok(key) = Key::parse(data) {
        assert!(key.fits(Algorithm::RsaSha256) != key.fits(Algorithm::Ed25519Sha256));
        assert!(!key.verifies(b"fields", b"no signature"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORD: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

    proptest! {
        #[test]
        fn any_octets_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..200)) { fuzz_key(&data); }

        #[test]
        fn a_changed_record_is_harmless(place in 0..RECORD.len(), octet in any::<u8>(), end in 0..RECORD.len()) {
            let mut record = RECORD.as_bytes().to_vec();
            record[place] = octet;
            fuzz_key(&record);
            record.truncate(end);
            fuzz_key(&record);
        }
    }

    #[test]
    fn numbers_of_the_key_are_without_zeros_before() {
        assert!(Key::parse(RECORD.as_bytes()).unwrap().fits(Algorithm::RsaSha256));
        // INTEGER 0 and negative ones are no part of a key.
        for der in
            [&[0x30, 6, 2, 1, 0, 2, 1, 3][..], &[0x30, 6, 2, 1, 0x80, 2, 1, 3], &[0x30, 3, 2, 1, 5], &[0x30, 0x83, 0, 0, 0]]
        {
            assert_eq!(rsa_public_key(der), None);
        }
        assert_eq!(rsa_public_key(&[0x30, 7, 2, 2, 0, 0x81, 2, 1, 3]), Some((&[0x81][..], &[3][..])));
    }
}
