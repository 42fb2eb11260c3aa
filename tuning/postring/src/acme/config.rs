//! `[tls.acme]`: the doc comment of a field is its manual.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `[tls.acme]`: certificates by themselves, from an authority that speaks ACME (RFC 8555), for the host's own name and for each `[[tls.name]]` with
/// `acme = true`. They are written to the files that are named there, and renewed with the same key when a third of their time is left; keep a key that
/// TLSA records name, and change it by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// True: you agree to the terms of the authority. Nothing is asked for without. Default false.
    pub terms_agreed: bool,
    /// The authority's directory. Default "https://acme-v02.api.letsencrypt.org/directory"; try with its staging directory first, which has no limits.
    pub directory: String,
    /// Address the authority may write to, like hostmaster@example.org. Default: none.
    pub contact: Option<String>,
    /// Get the certificate of the host's own name (`tls.certificate`). Default true.
    pub own: bool,
    /// How it is shown that a name is ours: "http-01", a file the authority fetches from port 80 of the name, or "dns-01", a record in the zone of
    /// the name, which must be one that is served here: of a domain of the directory, or of a file that may be updated (`update_keys`). Default
    /// "http-01".
    pub challenge: Challenge,
    /// Addresses for http-01, port 80 of what the names lead to, like ["192.0.2.1:80"]; nothing else is answered there. Not those of `listen.http`.
    /// Default: none.
    pub http: Vec<SocketAddr>,
    /// Certificates (PEM) that vouch for the authority's own server, for one of your own, like step-ca. Relative to this file. Default: those of the system.
    pub authority_roots: Option<PathBuf>,
}

/// See [`Acme::challenge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Challenge {
    /// By a file.
    #[serde(rename = "http-01")]
    Http,
    /// By a record.
    #[serde(rename = "dns-01")]
    Dns,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            terms_agreed: false,
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            contact: None,
            own: true,
            challenge: Challenge::Http,
            http: Vec::new(),
            authority_roots: None,
        }
    }
}

impl Acme {
    /// Says what cannot be.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if !self.terms_agreed {
            return Err(
                "tls.acme.terms_agreed = false: read the authority's terms and say true, or take the table away".to_owned()
            );
        }
        if !self.directory.starts_with("https://") {
            return Err(format!("tls.acme.directory = \"{}\": give the address of a directory, https://...", self.directory));
        }
        if self.contact.as_ref().is_some_and(|contact| !contact.contains('@') || contact.contains(':')) {
            return Err("tls.acme.contact: give an address, like hostmaster@example.org".to_owned());
        }
        if self.challenge == Challenge::Http && self.http.is_empty() {
            return Err(
                "tls.acme.http: for http-01 give the addresses to answer on, like [\"192.0.2.1:80\"], or use dns-01".to_owned()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_for_without_consent() {
        let good = Acme { terms_agreed: true, challenge: Challenge::Dns, ..Acme::default() };
        assert_eq!(good.check(), Ok(()));
        for (wrong, word) in [
            (Acme::default(), "terms_agreed"),
            (Acme { directory: "http://a".into(), ..good.clone() }, "directory"),
            (Acme { contact: Some("mailto:a@b".into()), ..good.clone() }, "contact"),
            (Acme { challenge: Challenge::Http, ..good }, "tls.acme.http"),
        ] {
            assert!(wrong.check().unwrap_err().contains(word));
        }
    }
}
