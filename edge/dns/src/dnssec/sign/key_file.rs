//! Keys as files, in BIND's form, which ldns, NSD's and Knot's tools write and read as well, so that keys can move in and out.
//!
//! ```text
//!   Kexample.org.+013+12345.key       ; comments, then the record:  example.org. 3600 IN DNSKEY 257 3 13 BASE64
//!   Kexample.org.+013+12345.private   Private-key-format: v1.3
//!                                     Algorithm: 13 (ECDSAP256SHA256)
//!                                     PrivateKey: BASE64
//!                                     Created: 20261125040000
//! ```
//! Other lines of `.private` (BIND's own times) are passed over: states are in the zone's state file.

use super::key::{KeyError, PRIVATE_BYTES, PrivateKey, SigningKey};
use super::stamp::stamp;
use crate::dnssec::algorithm::Algorithm;
use crate::dnssec::key::{FLAG_REVOKED, FLAG_SECURE_ENTRY_POINT, FLAG_ZONE, PROTOCOL, dnskey_rdata, key_tag};
use crate::name::{Name, labels};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::{self, Write};

/// Octets of either file: a key of BIND's with all its times has a tenth of it.
const FILE_BYTES_MAX: usize = 16 * 1024;

/// Why a key's files give no key. Never says what is in the private one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFileError {
    /// A file is larger than a key's.
    Long,
    /// `.key` has no DNSKEY record, or more than one, or one that is cut.
    NoRecord,
    /// `.key` is of another zone.
    Owner(String),
    /// The flags, or the protocol, are not those of a zone's key.
    Flags(u16),
    /// `.private` lacks this line, or it cannot be read.
    Line(&'static str),
    /// The two files say different algorithms.
    Algorithms(Algorithm, Algorithm),
    /// What they say makes no key.
    Key(KeyError),
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Long => write!(f, "the file is larger than {FILE_BYTES_MAX} octets; a key's is not"),
            Self::NoRecord => f.write_str("the .key file must hold one DNSKEY record"),
            Self::Owner(owner) => write!(f, "the .key file is of the zone {owner}"),
            Self::Flags(flags) if flags & FLAG_REVOKED != 0 => f.write_str("the key is revoked"),
            Self::Flags(flags) => write!(f, "flags {flags}: a zone's key has 256 or 257, and protocol 3"),
            Self::Line(name) => write!(f, "the .private file has no line \"{name}: \", or it cannot be read"),
            Self::Algorithms(public, private) => write!(f, "the .key file says {public}, the .private file {private}"),
            Self::Key(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for KeyFileError {}

/// The name of a key's files, without `.key` and `.private`. Octets that could mean something to a file system are written as BIND does, `%2F`.
#[must_use]
pub fn key_file_stem(origin: &Name, algorithm: Algorithm, tag: u16) -> String {
    let mut stem = String::from("K");
    for label in labels(origin.to_key().wire()) {
        for &byte in label {
            // Writing to a String cannot fail.
            let _ = match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => stem.write_char(char::from(byte)),
                other => write!(stem, "%{other:02X}"),
            };
        }
        stem.push('.');
    }
    if stem.len() == 1 {
        stem.push('.');
    }
    let _ = write!(stem, "+{:03}+{tag:05}", algorithm.0);
    stem
}

/// The text of `.key`.
#[must_use]
pub fn public_text(origin: &Name, key: &SigningKey, created: u64) -> String {
    let kind = if key.is_entry_point() { "key-signing" } else { "zone-signing" };
    let record = dnskey_text(key.dnskey());
    format!(
        "; This is a {kind} key, keyid {}, for {origin}\n; Created: {}\n{origin} IN DNSKEY {record}\n",
        key.tag(),
        stamp(created)
    )
}

/// The text of `.private`: for the eyes of the signing process alone (mode 0600).
#[must_use]
pub fn private_text(key: &SigningKey, private: &PrivateKey, created: u64) -> String {
    let algorithm = key.algorithm();
    let secret = STANDARD.encode(private.0);
    let created = stamp(created);
    format!("Private-key-format: v1.3\nAlgorithm: {} ({algorithm})\nPrivateKey: {secret}\nCreated: {created}\n", algorithm.0)
}

/// The data of a DNSKEY or CDNSKEY record as text (RFC 4034 section 2.2).
#[must_use]
pub fn dnskey_text(rdata: &[u8]) -> String {
    match rdata.split_first_chunk() {
        Some(([high, low, protocol, algorithm], public)) => {
            format!("{} {protocol} {algorithm} {}", u16::from_be_bytes([*high, *low]), STANDARD.encode(public))
        }
        None => String::new(),
    }
}

/// Reads the two files of a key of the zone `origin`.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read_key(origin: &Name, public_file: &str, private_file: &str) -> Result<SigningKey, KeyFileError> {
    if public_file.len().max(private_file.len()) > FILE_BYTES_MAX {
        return Err(KeyFileError::Long);
    }
    let record = read_record(origin, public_file)?;
    let value = |name: &'static str| {
        let value =
            |line: &'_ str| line.split_once(':').filter(|(tag, _)| *tag == name).map(|(_, value)| value.trim().to_owned());
        private_file.lines().find_map(value).ok_or(KeyFileError::Line(name))
    };
    if !value("Private-key-format")?.starts_with("v1.") {
        return Err(KeyFileError::Line("Private-key-format"));
    }
    let algorithm = value("Algorithm")?.split_whitespace().next().and_then(Algorithm::parse);
    let algorithm = algorithm.ok_or(KeyFileError::Line("Algorithm"))?;
    if algorithm != record.algorithm {
        return Err(KeyFileError::Algorithms(record.algorithm, algorithm));
    }
    if !matches!(algorithm, Algorithm::ECDSAP256SHA256 | Algorithm::ED25519) {
        return Err(KeyFileError::Key(KeyError::Algorithm(algorithm)));
    }
    let private = STANDARD.decode(value("PrivateKey")?).map_err(|_| KeyFileError::Line("PrivateKey"))?;
    if private.len() != PRIVATE_BYTES {
        return Err(KeyFileError::Line("PrivateKey"));
    }
    let is_entry_point = record.flags & FLAG_SECURE_ENTRY_POINT != 0;
    SigningKey::new(algorithm, is_entry_point, &private, &record.public).map_err(KeyFileError::Key)
}

/// Key tag and algorithm the `.key` file speaks of, to find out which key a file is before its private half is opened.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read_public(origin: &Name, public_file: &str) -> Result<(Algorithm, u16), KeyFileError> {
    if public_file.len() > FILE_BYTES_MAX {
        return Err(KeyFileError::Long);
    }
    let record = read_record(origin, public_file)?;
    Ok((record.algorithm, key_tag(&dnskey_rdata(record.flags, record.algorithm, &record.public))))
}

struct Record {
    flags: u16,
    algorithm: Algorithm,
    public: Vec<u8>,
}

fn read_record(origin: &Name, file: &str) -> Result<Record, KeyFileError> {
    // Comments off; parentheses only join lines.
    let code = file.lines().map(|line| line.split(';').next().unwrap_or_default());
    let words: Vec<&str> =
        code.flat_map(|line| line.split([' ', '\t', '(', ')', '\r'])).filter(|word| !word.is_empty()).collect();
    let is_type = |word: &&str| word.eq_ignore_ascii_case("DNSKEY");
    let at = words.iter().position(is_type).filter(|at| *at > 0).ok_or(KeyFileError::NoRecord)?;
    let owner = words.first().copied().unwrap_or_default();
    if !Name::absolute(owner).is_ok_and(|owner| owner.to_key() == origin.to_key()) {
        return Err(KeyFileError::Owner(owner.to_owned()));
    }
    let [flags, protocol, algorithm, public @ ..] = words.get(at + 1..).unwrap_or_default() else {
        return Err(KeyFileError::NoRecord);
    };
    let flags: u16 = flags.parse().map_err(|_| KeyFileError::NoRecord)?;
    if flags & !FLAG_SECURE_ENTRY_POINT != FLAG_ZONE || protocol.parse() != Ok(PROTOCOL) {
        return Err(KeyFileError::Flags(flags));
    }
    let algorithm = Algorithm::parse(algorithm).ok_or(KeyFileError::NoRecord)?;
    let public = STANDARD.decode(public.concat()).map_err(|_| KeyFileError::NoRecord)?;
    Ok(Record { flags, algorithm, public })
}

/// For the fuzzer and the replay of its inputs: a zone's two key files, a NUL between them; nothing panics, and what is read is written the same.
#[doc(hidden)]
pub fn fuzz_key_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (public, private) = text.split_once('\0').unwrap_or((text, ""));
    let Ok(origin) = Name::absolute("example.com") else { return };
    if let Ok(key) = read_key(&origin, public, private) {
        let again = read_key(&origin, &public_text(&origin, &key, 0), private);
        assert_eq!(again.map(|again| again.dnskey().clone()), Ok(key.dnskey().clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Rtype;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::absolute(text).unwrap()
    }

    #[test]
    fn stems() {
        let stem = |origin| key_file_stem(&name(origin), Algorithm::ECDSAP256SHA256, 77);
        assert_eq!(stem("Example.ORG"), "Kexample.org.+013+00077");
        assert_eq!(stem("0/25.2.0.192.in-addr.arpa"), "K0%2F25.2.0.192.in-addr.arpa.+013+00077");
        assert_eq!(stem("\\.\\.\\000"), "K%2E%2E%00.+013+00077");
        assert_eq!(stem("."), "K.+013+00077");
    }

    /// As ldns-keygen 1.8.3 wrote them.
    const PUBLIC: &str = "example.org.\tIN\tDNSKEY\t257 3 13 AmTmZXK2ip0zrO1M1jsUtz4GSllgiSPgtH8W57MwfF/lOmYaMQT3JvNZ9Sos5vZNR58x6lStUGdvvyiHhas0jg== ;{id = 60975 (ksk), size = 256b}\n";
    const PRIVATE: &str =
        "Private-key-format: v1.2\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: j1XpXKX1373lvxi3pBKan8I1zwjhIeNdvTdUBi2KOkc=\n";

    #[test]
    fn keys_of_ldns() {
        let key = read_key(&name("example.org"), PUBLIC, PRIVATE).unwrap();
        assert_eq!((key.tag(), key.is_entry_point(), key.algorithm()), (60975, true, Algorithm::ECDSAP256SHA256));
        let ds = key.ds(name("example.org").wire(), crate::dnssec::digest::DigestType::SHA256).unwrap();
        let text = crate::record::rdata_text(Rtype::DS, &ds);
        assert_eq!(text.to_lowercase(), "60975 13 2 9fdc6ac0814c7309778c69d8c80631fa6ac4dd8af84eab6b556e4d9f0efa453a");
        assert_eq!(read_public(&name("Example.Org"), PUBLIC), Ok((Algorithm::ECDSAP256SHA256, 60975)));
    }

    #[test]
    fn what_is_written_is_read() {
        let origin = name("example.org");
        for algorithm in [Algorithm::ECDSAP256SHA256, Algorithm::ED25519] {
            for is_entry_point in [true, false] {
                let (key, private) = SigningKey::generate(algorithm, is_entry_point).unwrap();
                let again = read_key(&origin, &public_text(&origin, &key, 7), &private_text(&key, &private, 7)).unwrap();
                assert_eq!((again.dnskey(), again.tag()), (key.dnskey(), key.tag()));
                assert_eq!(again.sign(b"x").unwrap().len(), 64);
            }
        }
    }

    #[test]
    fn wrong_files() {
        let origin = name("example.org");
        let other = "example.org. IN DNSKEY 256 3 15 dgh9upQihMRFxErycZEBqo9M3Vji2v6PwihIYo50dZQ=";
        for (public, private, error) in [
            ("", PRIVATE, KeyFileError::NoRecord),
            ("DNSKEY 257 3 13 AAAA", PRIVATE, KeyFileError::NoRecord),
            ("example.org. IN DNSKEY 257 3", PRIVATE, KeyFileError::NoRecord),
            ("example.org. IN DNSKEY 257 3 13 A$", PRIVATE, KeyFileError::NoRecord),
            ("example.com. IN DNSKEY 257 3 13 AAAA", PRIVATE, KeyFileError::Owner("example.com.".to_owned())),
            ("example.org. IN DNSKEY 385 3 13 AAAA", PRIVATE, KeyFileError::Flags(385)),
            ("example.org. IN DNSKEY 257 2 13 AAAA", PRIVATE, KeyFileError::Flags(257)),
            ("example.org. IN DNSKEY 257 3 13 AAAA", PRIVATE, KeyFileError::Key(KeyError::Pair)),
            (other, PRIVATE, KeyFileError::Algorithms(Algorithm::ED25519, Algorithm::ECDSAP256SHA256)),
            (PUBLIC, "", KeyFileError::Line("Private-key-format")),
            (PUBLIC, "Private-key-format: v2.0\n", KeyFileError::Line("Private-key-format")),
            (PUBLIC, "Private-key-format: v1.3\nAlgorithm: x", KeyFileError::Line("Algorithm")),
            (PUBLIC, "Private-key-format: v1.3\nAlgorithm: 13\n", KeyFileError::Line("PrivateKey")),
            (PUBLIC, "Private-key-format: v1.3\nAlgorithm: 13\nPrivateKey: AAAA\n", KeyFileError::Line("PrivateKey")),
        ] {
            let found = read_key(&origin, public, private).unwrap_err();
            assert_eq!(found, error, "{public}");
            assert!(!found.to_string().is_empty());
        }
        assert_eq!(read_key(&origin, &"x".repeat(20_000), PRIVATE).unwrap_err(), KeyFileError::Long);
    }
    proptest! {
        /// The kept inputs with an octet changed here and there.
        #[test]
        fn damaged_files_are_harmless(changes in proptest::collection::vec((0_usize..300, any::<u8>()), 1..4), state: bool) {
            let mut text = format!("{PUBLIC}\0{PRIVATE}").replace("example.org", "example.com").into_bytes();
            if state {
                text = b"version 1\nserial 7\nttl zone 86400 20261125040000 3600\nleaving 20261125040000 20261125050000\nkey 13 7 csk active 0\n".to_vec();
            }
            for (at, octet) in changes {
                if let Some(place) = text.get_mut(at) {
                    *place = octet;
                }
            }
            fuzz_key_file(&text);
            crate::dnssec::sign::fuzz_state_file(&text);
        }
    }
}
