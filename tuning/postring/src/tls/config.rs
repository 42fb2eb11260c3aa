//! `[tls]` and `[[tls.name]]`: the doc comment of a field is its manual.

use crate::acme::Acme;
use crate::acme::config::Challenge;
use postring_transport::tls::names::is_pattern;
use postring_transport::tls::{ClientCertificates, Profile};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Certificates of one configuration.
const NAMED_MAX: usize = 10_000;
/// Names of one certificate: what authorities give at most, and more.
const NAMES_MAX: usize = 200;

/// `[tls]`: the certificates of SMTP. Their files are looked at every two seconds, 500 at a time: what has changed holds for new connections, what is
/// broken changes nothing. Keys stay readable to root alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain of this host, PEM, its own certificate first. Relative to this file. Clients that ask for no name, or for one
    /// that has none of its own, get it. Without it STARTTLS is not offered and users cannot log in.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// The private key the next certificate of this host will have, PEM: `postring tls tlsa` prints its record as well, to be published
    /// before the change (RFC 7671 section 8.1). Default: none.
    pub next_key: Option<PathBuf>,
    /// "intermediate": TLS 1.2 with forward secrecy and AEAD, and TLS 1.3. "modern": TLS 1.3 alone; on port 25 a server that cannot do
    /// it sends in clear text instead, so it protects nobody there. Default "intermediate".
    pub profile: Profile,
    /// The same for the ports of users (submission, submissions). Default: as `profile`.
    pub submission_profile: Option<Profile>,
    /// "ask": ask clients of port 25 for a certificate; who has none is as welcome, who shows one must have its key. Costs a few hundred bytes a
    /// handshake, and some old senders stumble over it. Default "off".
    pub client_certificates: ClientCertificates,
    /// Certificates from an authority, a table `[tls.acme]`, see below. Default: none; the files are somebody else's to write.
    pub acme: Option<Acme>,
    /// Certificates for other names of this host.
    pub name: Vec<NameConfig>,
}

/// `[[tls.name]]`: a certificate for clients that ask for one of its names (SNI).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameConfig {
    /// The names: "mail.example.org", or "*.example.org" for those with one label in its place. A name goes before a wildcard. Default: all
    /// DNS names of the certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The certificate chain, PEM. Relative to this file.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// True: it comes from the authority of `[tls.acme]`, for `names`; the files are made. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acme: bool,
}

impl Tls {
    /// Says what does not fit together; no file is read.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if self.certificate.is_some() != self.key.is_some() {
            return Err("tls.certificate and tls.key: give both or none".to_owned());
        }
        if self.certificate.is_none() && !self.name.is_empty() {
            return Err(
                "tls.name: without tls.certificate and tls.key there is nothing for clients that ask for no name".to_owned()
            );
        }
        if self.name.len() > NAMED_MAX {
            return Err(format!("tls.name: {} tables; {NAMED_MAX} are the most", self.name.len()));
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some(acme) = &self.acme {
            acme.check()?;
            if self.certificate.is_none() {
                return Err("tls.acme: give tls.certificate and tls.key as well: the files that are made".to_owned());
            }
        }
        for of in &self.name {
            if of.acme {
                self.check_acme(of)?;
            }
            if of.names.len() > NAMES_MAX {
                return Err(format!("tls.name: certificate = \"{}\": {NAMES_MAX} names are the most", of.certificate.display()));
            }
            for name in &of.names {
                if !is_pattern(name) {
                    return Err(format!("tls.name: names = \"{name}\": give a name like mail.example.org or *.example.org"));
                }
                if !seen.insert(name.to_ascii_lowercase()) {
                    return Err(format!("tls.name: names = \"{name}\": it stands in two tables"));
                }
            }
        }
        Ok(())
    }

    /// What an authority can be asked for.
    fn check_acme(&self, of: &NameConfig) -> Result<(), String> {
        let wrong = |text: &str| Err(format!("tls.name: certificate = \"{}\": {text}", of.certificate.display()));
        let Some(acme) = &self.acme else { return wrong("acme = true takes a table [tls.acme]") };
        if of.names.is_empty() {
            return wrong("acme = true takes names: what the authority is asked for");
        }
        if acme.challenge == Challenge::Http && of.names.iter().any(|name| name.starts_with('*')) {
            return wrong("a wildcard takes tls.acme.challenge = \"dns-01\"");
        }
        Ok(())
    }

    /// Paths become those of `folder`.
    pub fn make_absolute(&mut self, folder: &Path) {
        let own = [&mut self.certificate, &mut self.key, &mut self.next_key].into_iter().flatten();
        let own = own.chain(self.acme.iter_mut().filter_map(|acme| acme.authority_roots.as_mut()));
        for file in own.chain(self.name.iter_mut().flat_map(|of| [&mut of.certificate, &mut of.key])) {
            *file = folder.join(&*file);
        }
    }
}
