//! DKIM keys of hosted domains (RFC 6376 section 3.6.1, RFC 8301, RFC 8463): made here, published by the zone, used by the sending machine.

use base64::Engine;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};

/// Bits of an RSA key: RFC 8301 section 3.2 asks for 2048 of signers; more does not fit one answer without TCP.
const RSA_BITS: usize = 2048;

/// A key's algorithm, named as in the `k=` tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DkimAlgorithm {
    /// What every verifier knows.
    Rsa,
    /// Short and fast; a verifier that does not know it takes the other signature (RFC 8463 section 3).
    Ed25519,
}

impl DkimAlgorithm {
    /// The word of the `k=` tag.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// A new key pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DkimKey {
    /// The label below `_domainkey`.
    pub selector: String,
    /// Its algorithm.
    pub algorithm: DkimAlgorithm,
    /// PKCS#8, PEM.
    pub private_key_pem: String,
    /// The content of the TXT record.
    pub record: String,
}

impl DkimKey {
    /// Makes a key; an RSA key takes a second or so.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate(selector: &str, algorithm: DkimAlgorithm) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("no {} key could be made: {error}", algorithm.name());
        let (private_key_pem, public) = match algorithm {
            DkimAlgorithm::Rsa => {
                let key = rsa::PrivateKey::new(&mut getrandom::SysRng, RSA_BITS).map_err(|error| wrong(&error))?;
                let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|error| wrong(&error))?;
                let public = key.to_public_key().to_public_key_der().map_err(|error| wrong(&error))?;
                (pem.to_string(), public.as_bytes().to_vec())
            }
            DkimAlgorithm::Ed25519 => {
                let random = ring::rand::SystemRandom::new();
                let document = Ed25519KeyPair::generate_pkcs8(&random).map_err(|error| wrong(&error))?;
                let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|error| wrong(&error))?;
                (pem(document.as_ref()), pair.public_key().as_ref().to_vec())
            }
        };
        let public = base64::engine::general_purpose::STANDARD.encode(public);
        let record = format!("v=DKIM1; k={}; p={public}", algorithm.name());
        Ok(Self { selector: selector.to_owned(), algorithm, private_key_pem, record })
    }
}

fn pem(document: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(document);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_its_record_belong_together() {
        let key = DkimKey::generate("a1", DkimAlgorithm::Ed25519).unwrap();
        let body: String = key.private_key_pem.lines().filter(|line| !line.starts_with('-')).collect();
        let document = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(&document).unwrap();
        let public = base64::engine::general_purpose::STANDARD.encode(pair.public_key());
        assert_eq!(key.record, format!("v=DKIM1; k=ed25519; p={public}"));
    }
}
