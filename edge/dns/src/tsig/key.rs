//! Keys and their algorithms.

use crate::Name;
use base64::Engine;
use ring::hmac;
use std::fmt;

/// The MACs we know (RFC 8945 section 6). HMAC-MD5 and HMAC-SHA1 are refused like unknown ones, and HMAC-SHA224 is used by nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The one everybody has.
    #[default]
    HmacSha256,
    /// Longer.
    HmacSha384,
    /// The longest.
    HmacSha512,
}

impl Algorithm {
    /// From its name, as in `hmac-sha256`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512].into_iter().find(|one| one.name().eq_ignore_ascii_case(text))
    }

    /// Its name without the dot at the end.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    /// Its name in wire form.
    pub(super) fn wire(self) -> &'static [u8] {
        match self {
            Self::HmacSha256 => b"\x0bhmac-sha256\0",
            Self::HmacSha384 => b"\x0bhmac-sha384\0",
            Self::HmacSha512 => b"\x0bhmac-sha512\0",
        }
    }

    /// Octets of a whole MAC.
    #[must_use]
    pub fn mac_bytes(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::HmacSha256 => hmac::HMAC_SHA256,
            Self::HmacSha384 => hmac::HMAC_SHA384,
            Self::HmacSha512 => hmac::HMAC_SHA512,
        }
    }
}

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The form is `ALGORITHM:NAME:SECRET` or `NAME:SECRET`.
    Form,
    /// Unknown, or too weak to be used.
    Algorithm,
    /// No domain name.
    Name,
    /// No base64.
    Base64,
    /// Less than [`SECRET_BYTES_MIN`].
    ShortSecret,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "a key is written ALGORITHM:NAME:SECRET or NAME:SECRET",
            Self::Algorithm => "the algorithm must be hmac-sha256, hmac-sha384 or hmac-sha512",
            Self::Name => "the name of the key is no domain name",
            Self::Base64 => "the secret is no base64",
            Self::ShortSecret => "the secret is shorter than 16 octets; make one with: openssl rand -base64 32",
        })
    }
}

impl std::error::Error for KeyError {}

/// Octets of the shortest secret: 128 bits cannot be guessed.
pub const SECRET_BYTES_MIN: usize = 16;

/// A secret two servers share. Its `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Key {
    /// Lower-case: the canonical form that is hashed.
    name: Name,
    algorithm: Algorithm,
    hmac: hmac::Key,
}

impl Key {
    /// A key from its secret.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`].
    pub fn new(name: &Name, algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::ShortSecret);
        }
        Ok(Self { name: name.to_key(), algorithm, hmac: hmac::Key::new(algorithm.hmac(), secret) })
    }

    /// From `ALGORITHM:NAME:SECRET`, the secret in base64, as `dig -y` and `nsupdate -y` take it; without an algorithm it is HMAC-SHA256.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let parts: Vec<&str> = text.split(':').collect();
        let (algorithm, name, secret) = match parts.as_slice() {
            [name, secret] => (Algorithm::default(), *name, *secret),
            [algorithm, name, secret] => (Algorithm::parse(algorithm).ok_or(KeyError::Algorithm)?, *name, *secret),
            _ => return Err(KeyError::Form),
        };
        let name = Name::absolute(name).map_err(|_| KeyError::Name)?;
        let secret = base64::engine::general_purpose::STANDARD.decode(secret).map_err(|_| KeyError::Base64)?;
        Self::new(&name, algorithm, &secret)
    }

    /// Lower-case.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// An empty MAC to be filled.
    pub(super) fn context(&self) -> hmac::Context {
        hmac::Context::with_key(&self.hmac)
    }

    /// Octets of the TSIG record of a message that is signed with this key, without other data.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.name.wire().len() + 10 + self.algorithm.wire().len() + 16 + self.algorithm.mac_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let key = Key::parse("hmac-sha512:Key.Example:MDEyMzQ1Njc4OWFiY2RlZg==").unwrap();
        assert_eq!((key.name().to_string(), key.algorithm()), ("key.example.".to_owned(), Algorithm::HmacSha512));
        assert_eq!(Key::parse("k:MDEyMzQ1Njc4OWFiY2RlZg==").unwrap().algorithm(), Algorithm::HmacSha256);
        for (text, error) in [
            ("k", KeyError::Form),
            ("hmac-md5:k:MDEyMzQ1Njc4OWFiY2RlZg==", KeyError::Algorithm),
            ("hmac-sha1:k:MDEyMzQ1Njc4OWFiY2RlZg==", KeyError::Algorithm),
            ("a..b:MDEyMzQ1Njc4OWFiY2RlZg==", KeyError::Name),
            ("k:&", KeyError::Base64),
            ("k:YWJj", KeyError::ShortSecret),
        ] {
            assert_eq!(Key::parse(text).unwrap_err(), error, "{text}");
        }
        assert!(!format!("{key:?}").contains("0123456789"));
    }
}
