//! DKIM signatures for the load (RFC 6376, relaxed/relaxed; RFC 8463), and what verifying them costs by itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postring_directory::{DkimAlgorithm, DkimKey};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ED25519, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_SHA256, RsaKeyPair,
    UnparsedPublicKey,
};
use std::fmt::Write as _;
use std::time::Instant;

/// Fields that are signed, where they are there.
const SIGNED: [&str; 7] = ["from", "to", "subject", "date", "message-id", "mime-version", "content-type"];

/// A private key and what its record says.
pub struct Signer {
    pair: Pair,
    /// The content of the TXT record.
    pub record: String,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A signature with what it is a signature of.
pub struct Signed {
    pub is_rsa: bool,
    public: Public,
    /// The fields in their canonical form.
    fields: Vec<u8>,
    signature: Vec<u8>,
    /// The body in its canonical form.
    body: Vec<u8>,
}

enum Public {
    Rsa(PublicKeyComponents<Vec<u8>>),
    Ed25519(Vec<u8>),
}

impl Signer {
    /// A new key; one of RSA has 2,048 bits and takes a second or so.
    pub fn new(algorithm: DkimAlgorithm) -> Result<Self, String> {
        let key = DkimKey::generate("bench", algorithm)?;
        let document: String = key.private_key_pem.lines().filter(|line| !line.starts_with('-')).collect();
        let document = STANDARD.decode(document).map_err(|error| error.to_string())?;
        let pair = match algorithm {
            DkimAlgorithm::Rsa => RsaKeyPair::from_pkcs8(&document).map(Pair::Rsa),
            DkimAlgorithm::Ed25519 => Ed25519KeyPair::from_pkcs8(&document).map(Pair::Ed25519),
        };
        Ok(Self { pair: pair.map_err(|error| error.to_string())?, record: key.record })
    }

    /// Signs a message whose lines end with LF: the message with the field before it, and the signature.
    pub fn sign(&self, message: &str, domain: &str, selector: &str, unix_seconds: u64) -> Result<(String, Signed), String> {
        let (header, body) = message.split_once("\n\n").ok_or("a message without a body")?;
        let body = canonical_body(body);
        let (algorithm, is_rsa) = match self.pair {
            Pair::Rsa(_) => ("rsa-sha256", true),
            Pair::Ed25519(_) => ("ed25519-sha256", false),
        };
        let fields = unfolded(header);
        let there: Vec<&str> =
            SIGNED.into_iter().filter(|name| fields.iter().any(|(there, _)| there.eq_ignore_ascii_case(name))).collect();
        let value = format!(
            "v=1; a={algorithm}; c=relaxed/relaxed; d={domain};\n\ts={selector}; t={unix_seconds};\n\th={};\n\tbh={};\n\tb=",
            there.join(":"),
            STANDARD.encode(digest(&SHA256, &body))
        );
        let mut canonical = String::new();
        for name in &there {
            let field = fields.iter().find(|(there, _)| there.eq_ignore_ascii_case(name));
            let _ = write!(canonical, "{name}:{}\r\n", field.map(|(_, value)| relaxed(value)).unwrap_or_default());
        }
        //= RFC 6376 section 3.7
        //# The DKIM-Signature header field [...] MUST be [...] included [...] with the value of the "b=" tag [...] deleted [...]
        //# without a trailing CRLF
        let _ = write!(canonical, "dkim-signature:{}", relaxed(&value.replace('\n', " ")));
        let canonical = canonical.into_bytes();
        let (signature, public) = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &canonical, &mut signature)
                    .map_err(|error| error.to_string())?;
                (signature, Public::Rsa(PublicKeyComponents::from(pair.public())))
            }
            //= RFC 8463 section 3
            //# computes a message hash [...] using SHA-256 as the hash-alg. It signs the hash with the PureEdDSA variant Ed25519
            Pair::Ed25519(pair) => {
                let signature = pair.sign(digest(&SHA256, &canonical).as_ref()).as_ref().to_vec();
                (signature, Public::Ed25519(pair.public_key().as_ref().to_vec()))
            }
        };
        let encoded = STANDARD.encode(&signature);
        let lines: Vec<&str> = encoded.as_bytes().chunks(72).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let message = format!("DKIM-Signature: {value}{}\n{message}", lines.join("\n\t"));
        Ok((message, Signed { is_rsa, public, fields: canonical, signature, body }))
    }
}

impl Signed {
    /// True if the signature is one.
    pub fn verify(&self) -> bool {
        match &self.public {
            Public::Rsa(key) => {
                key.verify(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, &self.fields, &self.signature).is_ok()
            }
            Public::Ed25519(key) => {
                let hash = digest(&SHA256, &self.fields);
                UnparsedPublicKey::new(&ED25519, key).verify(hash.as_ref(), &self.signature).is_ok()
            }
        }
    }
}

/// Microseconds a message, mean of these.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Verifying the signature: one operation with the public key, and the hash of the fields.
    pub verify_us: f64,
    /// Hashing the body.
    pub body_us: f64,
}

/// What the cryptography of these signatures costs on the core this runs on, each done so many times.
#[allow(clippy::cast_precision_loss)] // counts of a benchmark
pub fn cost<'a>(signed: impl Iterator<Item = &'a Signed>, times: usize) -> Result<Cost, String> {
    let signed: Vec<&Signed> = signed.collect();
    let count = (signed.len() * times).max(1) as f64;
    let begun = Instant::now();
    let all_good = (0..times).all(|_| signed.iter().all(|signed| std::hint::black_box(signed).verify()));
    let verify_us = begun.elapsed().as_secs_f64() * 1e6 / count;
    let begun = Instant::now();
    for signed in signed.iter().cycle().take(signed.len() * times) {
        std::hint::black_box(digest(&SHA256, std::hint::black_box(&signed.body)));
    }
    let body_us = begun.elapsed().as_secs_f64() * 1e6 / count;
    if all_good { Ok(Cost { verify_us, body_us }) } else { Err("a signature of the load is wrong".to_owned()) }
}

/// Fields with their values, folds taken out.
fn unfolded(header: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in header.lines() {
        match (line.starts_with([' ', '\t']), fields.last_mut(), line.split_once(':')) {
            (true, Some((_, value)), _) => value.push_str(line),
            (_, _, Some((name, value))) => fields.push((name.trim_end().to_owned(), value.to_owned())),
            _ => {}
        }
    }
    fields
}

/// A field's value (RFC 6376 section 3.4.2): blanks become one, none at its ends.
fn relaxed(value: &str) -> String {
    value.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A body (RFC 6376 section 3.4.4): no blanks at the end of lines, one between words, no empty lines at its end.
fn canonical_body(body: &str) -> Vec<u8> {
    let mut out = String::with_capacity(body.len() * 21 / 20);
    for line in body.trim_end_matches(['\n', ' ', '\t']).lines() {
        let blank_first = line.starts_with([' ', '\t']) && !line.trim().is_empty();
        let _ = write!(out, "{}{}\r\n", if blank_first { " " } else { "" }, relaxed(line));
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    //= RFC 6376 section 3.4.5
    //= type=test
    #[test]
    fn the_example_of_the_rfc_is_relaxed_as_there() {
        let fields = unfolded("A: X\nB : Y\t\n\tZ  ");
        let text: Vec<String> = fields.iter().map(|(name, value)| format!("{}:{}", name, relaxed(value))).collect();
        assert_eq!(text, ["A:X", "B:Y Z"]);
        assert_eq!(canonical_body(" C \nD \t E\n\n\n"), b" C\r\nD E\r\n");
        assert_eq!(canonical_body(""), b"");
    }

    #[test]
    fn a_signature_is_of_the_fields_it_names() {
        let signer = Signer::new(DkimAlgorithm::Ed25519).unwrap();
        let (message, mut signed) =
            signer.sign("From: <a@a.example>\nX-One: 1\nDate: now\n\nbody\n", "a.example", "s", 1).unwrap();
        assert!(signed.verify() && message.ends_with("\nFrom: <a@a.example>\nX-One: 1\nDate: now\n\nbody\n"));
        assert!(
            signed.fields.starts_with(b"from:<a@a.example>\r\ndate:now\r\ndkim-signature:v=1; ")
                && signed.fields.ends_with(b" b=")
        );
        signed.fields[5] = b'A';
        assert!(!signed.verify());
    }
}
