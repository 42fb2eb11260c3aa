//! Which certificates are to be got, and when.

use crate::tls::Tls;
use crate::tls::certificate::Certificate;
use postring_transport::tls::names::covers;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A certificate is due when this part of its time is left: what authorities ask for.
const PART_LEFT: i64 = 3;

/// A certificate that comes from the authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its names, the host's or as `[[tls.name]]` has them.
    pub names: Vec<String>,
    /// The chain's file.
    pub certificate: PathBuf,
    /// Its key's, which stays.
    pub key: PathBuf,
}

impl Wanted {
    /// All of a configuration.
    pub fn all(tls: &Tls, hostname: &str) -> Vec<Self> {
        let Some(acme) = &tls.acme else { return Vec::new() };
        let own = tls.certificate.iter().zip(&tls.key).filter(|_| acme.own).map(|(certificate, key)| Self {
            names: vec![hostname.trim_end_matches('.').to_ascii_lowercase()],
            certificate: certificate.clone(),
            key: key.clone(),
        });
        let others = tls.name.iter().filter(|of| of.acme).map(|of| Self {
            names: of.names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            certificate: of.certificate.clone(),
            key: of.key.clone(),
        });
        own.chain(others).collect()
    }

    /// When the certificate in the files is to be replaced, seconds since 1970: 0 if it is none, or none of an authority, or not for these names.
    pub fn due(&self) -> i64 {
        let Ok(found) = Certificate::read(&self.certificate, &self.key) else { return 0 };
        let has = |name: &String| found.names.iter().any(|pattern| pattern.eq_ignore_ascii_case(name) || covers(pattern, name));
        if found.is_self_signed || !self.names.iter().all(has) {
            return 0;
        }
        let (first, last) = found.valid;
        last - (last - first) / PART_LEFT
    }

    /// Makes what is not there: a key, and a certificate of our own, so that there is TLS until the authority's comes.
    ///
    /// # Errors
    /// One line: the file, and what is wrong with it.
    pub fn prepare(&self) -> Result<(), String> {
        let wrong = |error: rcgen::Error| format!("tls: {}: {error}", self.key.display());
        if !self.key.exists() {
            for folder in [&self.key, &self.certificate].into_iter().filter_map(|file| file.parent()) {
                fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            }
            let key = rcgen::KeyPair::generate().map_err(wrong)?;
            replace(&self.key, &key.serialize_pem(), 0o600)?;
        }
        if !self.certificate.exists() {
            let made = rcgen::CertificateParams::new(self.names.clone())
                .and_then(|parameters| parameters.self_signed(&self.key_pair()?));
            replace(&self.certificate, &made.map_err(wrong)?.pem(), 0o644)?;
        }
        Ok(())
    }

    fn key_pair(&self) -> Result<rcgen::KeyPair, rcgen::Error> {
        let text = fs::read_to_string(&self.key).map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
        rcgen::KeyPair::from_pem(&text)
    }

    /// The request for a certificate, DER.
    ///
    /// # Errors
    /// One line: the key's file, and what is wrong with it.
    pub fn request(&self) -> Result<Vec<u8>, String> {
        let key = self.key_pair().map_err(|error| {
            format!("{}: {error}; the key must be PKCS#8: openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW", self.key.display())
        })?;
        let mut parameters = rcgen::CertificateParams::new(self.names.clone()).map_err(|error| error.to_string())?;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        Ok(parameters.serialize_request(&key).map_err(|error| error.to_string())?.der().to_vec())
    }

    /// Takes the chain the authority has sent, if it fits the key.
    ///
    /// # Errors
    /// One line.
    pub fn take(&self, chain: &str) -> Result<(), String> {
        let key_pem = fs::read_to_string(&self.key).map_err(|error| format!("{}: {error}", self.key.display()))?;
        Certificate::new(postring_transport::tls::Pair { certificate_pem: chain.to_owned(), key_pem })?;
        replace(&self.certificate, chain, 0o644)
    }
}

/// Writes a file anew, whole or not at all, and lastingly: a key that is gone takes its TLSA records along.
pub(super) fn replace(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let wrong = |error: io::Error| format!("{}: {error}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Its own name: `mx.pem` and `mx.key` must not meet in one file. Made anew: one that was left behind keeps the mode it had.
    let new = path.with_added_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(error)),
        _ => {}
    }
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new);
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path))
        .and_then(|()| fs::File::open(folder)?.sync_all())
        .map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::certificate::tests::pair;

    #[test]
    fn what_is_not_there_is_made_and_is_due() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join("new").join(name);
        let wanted = Wanted { names: vec!["mx.example.org".into()], certificate: path("c.pem"), key: path("k.pem") };
        wanted.prepare().unwrap();
        let key = fs::read_to_string(path("k.pem")).unwrap();
        assert!(Certificate::read(&wanted.certificate, &wanted.key).unwrap().is_self_signed);
        assert_eq!(wanted.due(), 0);
        // The key stays, whatever happens to the certificate.
        fs::remove_file(path("c.pem")).unwrap();
        wanted.prepare().unwrap();
        assert_eq!(fs::read_to_string(path("k.pem")).unwrap(), key);
        assert!(!wanted.request().unwrap().is_empty());
        // Another's chain is not taken.
        assert!(wanted.take(&pair("mx.example.org", (0, 100)).certificate_pem).is_err());
    }

    #[test]
    fn a_key_is_private_whatever_was_left_behind() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        for left in ["k.new", "k.key.new"] {
            fs::write(folder.path().join(left), "left").unwrap();
            fs::set_permissions(folder.path().join(left), PermissionsExt::from_mode(0o644)).unwrap();
        }
        let key = folder.path().join("k.key");
        replace(&key, "secret", 0o600).unwrap();
        assert_eq!(fs::read_to_string(&key).unwrap(), "secret");
        assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!folder.path().join("k.key.new").exists());
    }

    #[test]
    fn a_certificate_is_due_with_a_third_of_its_time_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(["*.example.org".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2026, 4, 1);
        fs::write(path("c.pem"), parameters.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        fs::write(path("k.pem"), key.serialize_pem()).unwrap();
        let of = |name: &str| Wanted { names: vec![name.into()], certificate: path("c.pem"), key: path("k.pem") }.due();
        // 2026-03-02, 90 days less 30.
        assert_eq!([of("mx.example.org"), of("*.example.org"), of("mx.example.net")], [1_772_409_600, 1_772_409_600, 0]);
    }
}
