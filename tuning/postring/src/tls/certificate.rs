//! One certificate with its key: what it says of itself, and whether it may take the place of another.

use postring_transport::tls::names::is_pattern;
use postring_transport::tls::{Pair, certified, public_key};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

const DAY_SECONDS: i64 = 86_400;
/// Octets of a file: a chain is a few thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// From so many days on the log says how many are left.
pub const WARN_DAYS: i64 = 14;

/// A certificate that has its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Both as they are read.
    pub pair: Pair,
    /// Its DNS names.
    pub names: Vec<String>,
    /// The first and the last second it is valid in, since 1970.
    pub valid: (i64, i64),
    /// Somebody else has signed it, and the chain ends with it.
    pub is_alone: bool,
    /// Nobody else has signed it.
    pub is_self_signed: bool,
    /// Of its SubjectPublicKeyInfo: what a TLSA record 3 1 1 holds (RFC 6698 section 2.1).
    pub key_sha256: [u8; 32],
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("names", &self.names).field("valid", &self.valid).finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads two files.
    ///
    /// # Errors
    /// One line: the file, what is wrong with it, what would be right.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, String> {
        let pair = Pair { certificate_pem: read_text(certificate)?, key_pem: read_text(key)? };
        Self::new(pair).map_err(|error| format!("tls: {}: {error}", certificate.display()))
    }

    /// Looks into a pair.
    ///
    /// # Errors
    /// One line: what is wrong.
    pub fn new(pair: Pair) -> Result<Self, String> {
        let certified = certified(&pair)?;
        let leaf = certified.cert.first().ok_or("there is no certificate")?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let names = match parsed.subject_alternative_name() {
            Ok(Some(names)) => names.value.general_names.iter().filter_map(dns_name).map(str::to_owned).collect(),
            Ok(None) => Vec::new(),
            Err(error) => return Err(format!("the names of the certificate cannot be read: {error}")),
        };
        let validity = parsed.validity();
        Ok(Self {
            names,
            valid: (validity.not_before.timestamp(), validity.not_after.timestamp()),
            is_self_signed: parsed.issuer() == parsed.subject(),
            is_alone: certified.cert.len() == 1 && parsed.issuer() != parsed.subject(),
            key_sha256: sha256(parsed.public_key().raw),
            pair,
        })
    }

    /// Whole days until it expires; negative: since.
    pub fn days_left(&self, now: i64) -> i64 {
        self.valid.1.saturating_sub(now).div_euclid(DAY_SECONDS)
    }

    /// Why nobody who looks should believe it now.
    pub fn invalid(&self, now: i64) -> Option<String> {
        let date = |seconds: i64| postring_mail::date::day(u64::try_from(seconds).unwrap_or(0));
        if now > self.valid.1 {
            return Some(format!("the certificate has expired on {}: get a new one", date(self.valid.1)));
        }
        (now < self.valid.0)
            .then(|| format!("the certificate is valid from {} on only: is this host's clock right?", date(self.valid.0)))
    }
}

fn dns_name<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    match name {
        GeneralName::DNSName(name) if is_pattern(name) => Some(name),
        _ => None,
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    hash
}

/// What a TLSA record 3 1 1 of a private key holds.
///
/// # Errors
/// One line: the file, and what is wrong with it.
pub fn key_sha256(path: &Path) -> Result<[u8; 32], String> {
    public_key(&read_text(path)?).map(|key| sha256(&key)).map_err(|error| format!("tls: {}: {error}", path.display()))
}

fn read_text(path: &Path) -> Result<String, String> {
    let wrong = |error: std::io::Error| format!("tls: {}: {error}", path.display());
    let mut text = String::new();
    File::open(path).map_err(wrong)?.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(wrong)?;
    Ok(text)
}

/// Whether a pair that was read takes the place of the one in force.
///
/// # Errors
/// Why the one in force stays.
pub fn judge(in_force: Option<&Certificate>, read: Result<Certificate, String>, now: i64) -> Result<Certificate, String> {
    let newer = read?;
    match newer.invalid(now) {
        // One that nobody believes is still better than none, and no worse than another such.
        Some(why) if in_force.is_some_and(|in_force| in_force.invalid(now).is_none()) => Err(why),
        _ => Ok(newer),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Valid in these seconds since 1970.
    pub fn pair(name: &str, valid: (i64, i64)) -> Pair {
        let mut parameters = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let time = |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds.unsigned_abs());
        (parameters.not_before, parameters.not_after) = (time(valid.0), time(valid.1));
        let key = rcgen::KeyPair::generate().unwrap();
        Pair { certificate_pem: parameters.self_signed(&key).unwrap().pem(), key_pem: key.serialize_pem() }
    }

    const YEAR: i64 = 365 * DAY_SECONDS;
    const NOW: i64 = 56 * YEAR;

    fn certificate(valid: (i64, i64)) -> Certificate {
        Certificate::new(pair("mx.example.org", valid)).unwrap()
    }

    #[test]
    fn it_says_what_it_is() {
        let made = pair("*.example.org", (NOW, NOW + 10 * DAY_SECONDS));
        let certificate = Certificate::new(made.clone()).unwrap();
        assert_eq!(certificate.names, ["*.example.org"]);
        assert_eq!(certificate.days_left(NOW), 10);
        assert_eq!(certificate.days_left(NOW + 1), 9);
        assert_eq!(certificate.days_left(NOW + 11 * DAY_SECONDS), -1);
        assert_eq!(certificate.invalid(NOW), None);
        assert!(certificate.invalid(NOW - 1).unwrap().contains("valid from 2025-12-"));
        assert!(certificate.invalid(NOW + YEAR).unwrap().contains("has expired on 2025-12-28: get a new one"));
        // The hash of the certificate's key is that of the private key's public half.
        assert_eq!(certificate.key_sha256, sha256(&public_key(&made.key_pem).unwrap()));
    }

    #[test]
    fn a_chain_that_ends_too_early_is_seen() {
        let authority =
            rcgen::Issuer::new(rcgen::CertificateParams::new(Vec::new()).unwrap(), rcgen::KeyPair::generate().unwrap());
        let mut parameters = rcgen::CertificateParams::new(["mx.example.org".to_owned()]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "mx.example.org");
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = parameters.signed_by(&key, &authority).unwrap().pem();
        let is_alone =
            |chain: String| Certificate::new(Pair { certificate_pem: chain, key_pem: key.serialize_pem() }).unwrap().is_alone;
        assert!(is_alone(leaf.clone()));
        assert!(!is_alone(leaf.clone() + &leaf));
        assert!(!certificate((0, NOW)).is_alone, "self-signed");
    }

    #[test]
    fn what_takes_the_place_of_what() {
        let good = certificate((NOW - YEAR, NOW + YEAR));
        let expired = certificate((NOW - YEAR, NOW - 1));
        let early = certificate((NOW + 1, NOW + YEAR));
        for (in_force, read, taken) in [
            (None, &good, true),
            (None, &expired, true),
            (Some(&good), &good, true),
            (Some(&good), &expired, false),
            (Some(&good), &early, false),
            (Some(&expired), &good, true),
            (Some(&expired), &early, true),
            (Some(&expired), &expired, true),
        ] {
            assert_eq!(judge(in_force, Ok(read.clone()), NOW).is_ok(), taken, "{in_force:?} {read:?}");
        }
        assert_eq!(judge(Some(&good), Err("broken".to_owned()), NOW), Err("broken".to_owned()));
        assert_eq!(judge(None, Err("broken".to_owned()), NOW), Err("broken".to_owned()));
    }
}
