//! All certificates of the configuration: what is in force, and what is done when a file changes.
//!
//! A pair is two files, which nobody replaces at one moment: it is read when both have looked the same twice in a row. Then it takes the
//! place of the one in force, or that one stays and the log says why ([`judge`]). What is judged here is never judged by the edge again:
//! a pair that got this far works there, too.

use super::certificate::{Certificate, judge, key_sha256};
use super::config::Tls;
use super::entry::{DAY_SECONDS, Entry, Said, Stamp};
use postring_edge::config::TlsLaunch;
use postring_transport::tls::{CertificatesOf, Material};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Pairs looked at in one go: two calls of the system each.
const LOOKS_MAX: usize = 500;

/// All of them, the host's own first.
#[derive(Clone, Debug)]
pub struct Certificates {
    settings: Tls,
    hostname: String,
    entries: Vec<Entry>,
    /// Of `tls.next_key`.
    next_key: Option<[u8; 32]>,
    /// Whose turn it is.
    next: usize,
}

impl Certificates {
    /// Reads all that the configuration names; none: it names none. With some `before` that are in force, those stay where the files are
    /// not good. Without, a pair of `[[tls.name]]` that is not good is left out: it must not keep the others' mail from being taken.
    ///
    /// # Errors
    /// One line: the host's own pair, or one that was not there before, is not good.
    pub fn open(settings: &Tls, hostname: &str, before: Option<&Self>, now: i64) -> Result<(Option<Self>, Vec<Said>), String> {
        let mut said = Vec::new();
        let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else { return Ok((None, said)) };
        let own = (certificate, key, Vec::new());
        let others = settings.name.iter().map(|of| (&of.certificate, &of.key, of.names.clone()));
        let before = before.map(Self::by_files);
        let mut entries = Vec::new();
        for (certificate, key, names) in std::iter::once(own).chain(others) {
            let in_force = before.as_ref().and_then(|before| before.get(&(certificate.as_path(), key.as_path())));
            let in_force = in_force.map(|in_force| Certificate::clone(in_force));
            let mut entry = Entry::of(certificate, key, names);
            // Before they are read: what changes meanwhile is seen.
            entry.stamp = Stamp::of(certificate, key);
            entry.day = now.div_euclid(DAY_SECONDS);
            match judge(in_force.as_ref(), Certificate::read(certificate, key), now) {
                Ok(taken) => entry.in_force = Some(taken),
                Err(why) if in_force.is_none() && (before.is_some() || entries.is_empty()) => return Err(why),
                Err(why) => {
                    entry.in_force = in_force;
                    said.push(entry.refuse(why));
                }
            }
            said.extend(entry.warning(now).into_iter().chain(entry.uncovered()).map(Said::Warning));
            entries.push(entry);
        }
        let next_key = settings.next_key.as_deref().map(key_sha256).transpose();
        let next_key = next_key.unwrap_or_else(|why| {
            said.push(Said::Warning(format!("{why}; no TLSA record is made of it")));
            None
        });
        let all = Self { settings: settings.clone(), hostname: hostname.to_owned(), entries, next_key, next: 0 };
        Ok((Some(all), said))
    }

    /// What is in force, by its two files.
    fn by_files(&self) -> HashMap<(&Path, &Path), &Certificate> {
        let good = self.entries.iter().filter_map(|entry| Some((entry, entry.in_force.as_ref()?)));
        good.map(|(entry, in_force)| ((entry.certificate.as_path(), entry.key.as_path()), in_force)).collect()
    }

    /// Looks at the files of some of them. True: the edge must hear of it.
    pub fn look(&mut self, now: i64) -> (bool, Vec<Said>) {
        let (mut changed, mut said) = (false, Vec::new());
        let (count, host) = (self.entries.len(), self.host());
        for _ in 0..count.min(LOOKS_MAX) {
            self.next = (self.next + 1) % count;
            let Some(entry) = self.entries.get_mut(self.next) else { continue };
            changed |= entry.look(self.next == host, now, &mut said);
        }
        (changed, said)
    }

    /// What the edge works with. None: the host's own is not there, which [`open`](Self::open) does not let happen.
    pub fn material(&self) -> Option<Material> {
        let (own, others) = self.entries.split_first()?;
        let default = own.in_force.as_ref()?.pair.clone();
        let mut seen = HashSet::new();
        let mut named = Vec::new();
        // A wildcard of others must not take the host's own name, a table that names it may.
        let hostname = self.hostname.trim_end_matches('.').to_ascii_lowercase();
        if !others.iter().any(|entry| entry.in_force.is_some() && entry.is_written_for(&hostname)) {
            seen.insert(hostname.clone());
            named.push(CertificatesOf { names: vec![hostname], pair: default.clone() });
        }
        // What is written down goes before what a certificate says of itself.
        let (written, unwritten): (Vec<&Entry>, Vec<&Entry>) = others.iter().partition(|entry| !entry.names.is_empty());
        for entry in written.into_iter().chain(unwritten) {
            let Some(in_force) = &entry.in_force else { continue };
            let names: Vec<String> =
                entry.own_names().iter().map(|name| name.to_ascii_lowercase()).filter(|name| seen.insert(name.clone())).collect();
            if !names.is_empty() {
                named.push(CertificatesOf { names, pair: in_force.pair.clone() });
            }
        }
        Some(Material {
            profile: self.settings.profile,
            submission_profile: self.settings.submission_profile.unwrap_or(self.settings.profile),
            client_certificates: self.settings.client_certificates,
            default,
            named,
        })
    }

    /// All the edge gets.
    pub fn launch(&self) -> Option<TlsLaunch> {
        let (tlsa, tlsa_changed) = self.tlsa();
        Some(TlsLaunch { material: self.material()?, tlsa, tlsa_changed })
    }

    /// Which one clients get that ask for the host's own name. A table that names the host and has no pair in force is not it: clients get
    /// the host's own pair then, and its key is the one the TLSA record must tell.
    fn host(&self) -> usize {
        let hostname = self.hostname.trim_end_matches('.');
        self.entries.iter().position(|entry| entry.in_force.is_some() && entry.is_written_for(hostname)).unwrap_or(0)
    }

    /// RDATA of the TLSA records of this host: of the key in force, and of the next; and when one of their files was changed last.
    //= RFC 7672 section 3.1
    //# In summary, we RECOMMEND the use of "DANE-EE(3) SPKI(1) SHA2-256(1)",
    pub fn tlsa(&self) -> (Vec<String>, u64) {
        let Some(entry) = self.entries.get(self.host()) else { return (Vec::new(), 0) };
        let mut keys: Vec<[u8; 32]> = entry.in_force.iter().map(|in_force| in_force.key_sha256).collect();
        keys.extend(self.next_key.filter(|next| !keys.contains(next)));
        let files = [Some(&entry.certificate), Some(&entry.key), self.settings.next_key.as_ref()];
        let changed = files.into_iter().flatten().filter_map(|file| file.metadata().ok()).map(|found| found.ctime()).max();
        (keys.iter().map(rdata).collect(), changed.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0))
    }

    /// For `postring status`.
    pub fn status(&self, now: i64) -> serde_json::Value {
        let one = |entry: &Entry| {
            serde_json::json!({
                "certificate": entry.certificate,
                "names": entry.own_names(),
                "not_after": entry.in_force.as_ref().map(|in_force| in_force.valid.1),
                "days_left": entry.in_force.as_ref().map(|in_force| in_force.days_left(now)),
                "problem": entry.problem,
            })
        };
        self.entries.iter().map(one).collect::<Vec<_>>().into()
    }

    /// For `/metrics`.
    pub fn metrics(&self) -> String {
        let mut text = String::from(
            "# HELP postring_tls_certificate_not_after_seconds When a certificate expires, seconds since 1970.\n# TYPE postring_tls_certificate_not_after_seconds gauge\n",
        );
        let label = |entry: &Entry| {
            entry.certificate.display().to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
        };
        for entry in &self.entries {
            if let Some(in_force) = &entry.in_force {
                let _ = writeln!(
                    text,
                    "postring_tls_certificate_not_after_seconds{{certificate=\"{}\"}} {}",
                    label(entry),
                    in_force.valid.1
                );
            }
        }
        text.push_str("# HELP postring_tls_certificate_refused 1 if the files of a certificate are not in force, as they are not good.\n# TYPE postring_tls_certificate_refused gauge\n");
        for entry in &self.entries {
            let _ = writeln!(
                text,
                "postring_tls_certificate_refused{{certificate=\"{}\"}} {}",
                label(entry),
                u8::from(entry.problem.is_some())
            );
        }
        text
    }
}

/// A TLSA record of a key.
fn rdata(key: &[u8; 32]) -> String {
    key.iter().fold(String::from("3 1 1 "), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
