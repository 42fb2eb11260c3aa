//! All certificates of the configuration: what is in force, and what is done when a file changes.
//!
//! A pair is two files, which nobody replaces at one moment: it is read when both have looked the same twice in a row. Then it takes the
//! place of the one in force, or that one stays and the log says why ([`judge`]). What is judged here is never judged by the edge again:
//! a pair that got this far works there, too.

use super::certificate::{Certificate, WARN_DAYS, judge, key_sha256};
use super::config::Tls;
use postring_edge::config::TlsLaunch;
use postring_mail::date;
use postring_transport::tls::names::covers;
use postring_transport::tls::{CertificatesOf, Material};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Pairs looked at in one go: two calls of the system each.
const LOOKS_MAX: usize = 500;
const DAY_SECONDS: i64 = 86_400;

/// Something for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is as it should be.
    Info(String),
    /// Somebody should do something.
    Warning(String),
}

/// What two files looked like: number, size, last change. None: it is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stamp([Option<(u64, u64, i64, i64)>; 2]);

impl Stamp {
    fn of(certificate: &Path, key: &Path) -> Self {
        let look = |path: &Path| {
            let found = path.metadata().ok()?;
            Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
        };
        Self([look(certificate), look(key)])
    }
}

#[derive(Clone, Debug)]
struct Entry {
    certificate: PathBuf,
    key: PathBuf,
    /// As configured; empty: those of the certificate.
    names: Vec<String>,
    in_force: Option<Certificate>,
    /// Of the files judged last.
    stamp: Stamp,
    /// They looked like this a moment ago, and have not been judged.
    seen: Option<Stamp>,
    /// Why the files are not in force.
    problem: Option<String>,
    /// The day it was last looked at for its end.
    day: i64,
}

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

impl Entry {
    /// True if its `[[tls.name]]` has this name, without the last dot, written down.
    fn is_written_for(&self, hostname: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(hostname))
    }

    /// Nothing is read yet.
    fn of(certificate: &Path, key: &Path, names: Vec<String>) -> Self {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Self { certificate, key, names, in_force: None, stamp: Stamp::default(), seen: None, problem: None, day: 0 }
    }

    fn own_names(&self) -> &[String] {
        match &self.in_force {
            Some(in_force) if self.names.is_empty() => &in_force.names,
            _ => &self.names,
        }
    }

    fn look(&mut self, is_host: bool, now: i64, said: &mut Vec<Said>) -> bool {
        let today = now.div_euclid(DAY_SECONDS);
        if self.day != today {
            self.day = today;
            said.extend(self.warning(now).map(Said::Warning));
            if self.problem.is_some() {
                // What was not valid yet may be now; what is broken still is said once a day.
                self.stamp = Stamp::default();
            }
        }
        let stamp = Stamp::of(&self.certificate, &self.key);
        if stamp == self.stamp {
            self.seen = None;
            return false;
        }
        if self.seen.as_ref() != Some(&stamp) {
            self.seen = Some(stamp);
            return false;
        }
        self.seen = None;
        self.stamp = stamp;
        match judge(self.in_force.as_ref(), Certificate::read(&self.certificate, &self.key), now) {
            Ok(taken) => {
                self.problem = None;
                if self.in_force.as_ref() == Some(&taken) {
                    return false;
                }
                let other_key = is_host && self.in_force.as_ref().is_some_and(|in_force| in_force.key_sha256 != taken.key_sha256);
                said.push(Said::Info(format!(
                    "tls: {}: in force for new connections, valid until {}{}",
                    self.certificate.display(),
                    day(taken.valid.1),
                    if other_key {
                        "; it has another key: see `postring tls tlsa` if its TLSA records are published"
                    } else {
                        ""
                    }
                )));
                self.in_force = Some(taken);
                said.extend(self.warning(now).map(Said::Warning));
                true
            }
            Err(why) => {
                let refused = self.refuse(why);
                said.push(refused);
                false
            }
        }
    }

    /// Says why the files are not in force, and what is instead.
    fn refuse(&mut self, why: String) -> Said {
        let why = if why.starts_with("tls: ") { why } else { format!("tls: {}: {why}", self.certificate.display()) };
        let instead = match &self.in_force {
            Some(in_force) => format!("the certificate before, valid until {}, stays in force", day(in_force.valid.1)),
            None => "clients get the host's own certificate instead".to_owned(),
        };
        self.problem = Some(why.clone());
        Said::Warning(format!("{why}; {instead}. When the files are right they are taken by themselves"))
    }

    /// Its end is near, or behind it.
    fn warning(&self, now: i64) -> Option<String> {
        let in_force = self.in_force.as_ref()?;
        let days = in_force.days_left(now);
        let place = self.certificate.display();
        match in_force.invalid(now) {
            Some(why) => Some(format!("tls: {place}: {why}")),
            None if days <= WARN_DAYS => Some(format!(
                "tls: {place}: the certificate expires on {}, in {days} days: get a new one, it is taken when its files are replaced",
                day(in_force.valid.1)
            )),
            None => None,
        }
    }

    /// Names it is presented for and does not have.
    fn uncovered(&self) -> Vec<String> {
        let Some(in_force) = &self.in_force else { return Vec::new() };
        let own = self.names.iter().map(String::as_str);
        let missing = own.filter(|name| !in_force.names.iter().any(|pattern| covers(pattern, name)));
        missing
            .map(|name| {
                format!(
                    "tls: {}: {name} of its [[tls.name]] is no name of the certificate: clients that look will not believe it",
                    self.certificate.display()
                )
            })
            .collect()
    }
}

/// A TLSA record of a key.
fn rdata(key: &[u8; 32]) -> String {
    key.iter().fold(String::from("3 1 1 "), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn day(seconds: i64) -> String {
    date::day(u64::try_from(seconds).unwrap_or(0))
}

/// What `postring check` says: what is wrong, and what is only worth knowing.
pub fn check(settings: &Tls, hostname: &str, now: i64) -> (Vec<String>, Vec<String>) {
    let (mut wrong, mut notes) = (Vec::new(), Vec::new());
    let own = settings.certificate.iter().zip(&settings.key).map(|(certificate, key)| (certificate, key, Vec::new()));
    let others = settings.name.iter().map(|of| (&of.certificate, &of.key, of.names.clone()));
    for (at, (certificate, key, names)) in own.chain(others).enumerate() {
        match Certificate::read(certificate, key) {
            Err(why) => wrong.push(why),
            Ok(read) => {
                let place = certificate.display();
                if at == 0 && !read.names.iter().any(|pattern| covers(pattern, hostname)) {
                    notes.push(format!("tls: {place}: the certificate does not have this host's name, {hostname}"));
                }
                if read.is_alone {
                    notes.push(format!(
                        "tls: {place}: the certificate of the authority that signed it is missing: programs that look will not believe it; \
                         give the whole chain (certbot: fullchain.pem)"
                    ));
                }
                let (mut entry, expired) = (Entry::of(certificate, key, names), read.invalid(now).is_some());
                entry.in_force = Some(read);
                wrong.extend(entry.uncovered());
                if expired { &mut wrong } else { &mut notes }.extend(entry.warning(now));
            }
        }
    }
    if let Some(next) = &settings.next_key {
        wrong.extend(key_sha256(next).err());
    }
    (wrong, notes)
}

#[cfg(test)]
mod tests {
    use super::super::certificate::tests::pair;
    use super::super::config::NameConfig;
    use super::*;
    use postring_transport::tls::Pair;
    use std::fs;

    const NOW: i64 = 1_800_000_000;
    const GOOD: (i64, i64) = (NOW - DAY_SECONDS, NOW + 90 * DAY_SECONDS);

    /// Two pairs of files: this host's, and that of another name.
    struct Files {
        folder: tempfile::TempDir,
        settings: Tls,
    }

    impl Files {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            let settings = Tls {
                certificate: Some(path("own.pem")),
                key: Some(path("own.key")),
                name: vec![NameConfig {
                    names: vec!["*.other.example".to_owned()],
                    certificate: path("other.pem"),
                    key: path("other.key"),
                }],
                ..Tls::default()
            };
            let files = Self { folder, settings };
            files.write("own", &pair("mx.example.org", GOOD));
            files.write("other", &pair("*.other.example", GOOD));
            files
        }

        fn write(&self, name: &str, pair: &Pair) {
            self.write_file(&format!("{name}.pem"), &pair.certificate_pem);
            self.write_file(&format!("{name}.key"), &pair.key_pem);
        }

        /// As a program does that renews: another file takes its name.
        fn write_file(&self, name: &str, text: &str) {
            let new = self.folder.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, self.folder.path().join(name)).unwrap();
        }

        fn open(&self, before: Option<&Certificates>) -> Result<(Certificates, Vec<Said>), String> {
            Certificates::open(&self.settings, "mx.example.org", before, NOW).map(|(all, said)| (all.unwrap(), said))
        }
    }

    fn own(all: &Certificates) -> Pair {
        all.material().unwrap().default
    }

    #[test]
    fn a_pair_that_was_replaced_is_taken_once_it_is_still() {
        let files = Files::new();
        let (mut all, said) = files.open(None).unwrap();
        assert_eq!(said, []);
        assert_eq!(all.look(NOW), (false, Vec::new()));
        let newer = pair("mx.example.org", (GOOD.0, GOOD.1 + 1));
        files.write_file("own.pem", &newer.certificate_pem);
        assert_eq!(all.look(NOW), (false, Vec::new()), "the certificate alone is not judged at once");
        files.write_file("own.key", &newer.key_pem);
        assert_eq!(all.look(NOW), (false, Vec::new()), "the key has just changed");
        let (changed, said) = all.look(NOW);
        assert!(changed && own(&all) == newer);
        assert!(
            matches!(said.as_slice(), [Said::Info(text)] if text.contains("in force") && text.contains("another key")),
            "{said:?}"
        );
        assert_eq!(all.look(NOW), (false, Vec::new()));
        // The same content anew is no news.
        files.write("own", &newer);
        assert_eq!([all.look(NOW), all.look(NOW)], [(false, Vec::new()), (false, Vec::new())]);
    }

    #[test]
    fn what_is_not_good_changes_nothing_and_is_said_once() {
        let files = Files::new();
        let good = pair("mx.example.org", GOOD);
        let other = pair("mx.example.org", GOOD);
        let expired = pair("mx.example.org", (0, NOW - 1));
        for (broken, reason) in [
            (Pair { certificate_pem: other.certificate_pem.clone(), ..good.clone() }, "is not that of the first certificate"),
            (Pair { certificate_pem: String::new(), ..good.clone() }, "holds no certificate"),
            (Pair { key_pem: "x".to_owned(), ..good.clone() }, "no PEM private key"),
            (expired, "has expired"),
        ] {
            files.write("own", &good);
            let (mut all, _) = files.open(None).unwrap();
            files.write("own", &broken);
            assert_eq!(all.look(NOW), (false, Vec::new()));
            let (changed, said) = all.look(NOW);
            assert!(!changed && own(&all) == good);
            let [Said::Warning(text)] = said.as_slice() else { panic!("{said:?}") };
            assert!(
                text.contains(reason) && text.contains("own.pem") && text.contains("stays in force") && !text.contains('\n'),
                "{text}"
            );
            assert_eq!([all.look(NOW), all.look(NOW)], [(false, Vec::new()), (false, Vec::new())]);
            assert!(all.status(NOW)[0]["problem"].as_str().unwrap().contains(reason));
            assert!(all.metrics().contains("own.pem\"} 1\n"));
            // A day later it is said again; once it is right it is taken.
            let (changed, said) = all.look(NOW + DAY_SECONDS);
            assert_eq!((changed, said.len()), (false, 0));
            assert_eq!(all.look(NOW + DAY_SECONDS).1.len(), 1);
            files.write("own", &other);
            all.look(NOW + DAY_SECONDS);
            assert!(all.look(NOW + DAY_SECONDS).0 && own(&all) == other);
            assert!(all.status(NOW)[0]["problem"].is_null());
        }
    }

    #[test]
    fn a_file_that_is_gone_is_not_good() {
        let files = Files::new();
        let (mut all, _) = files.open(None).unwrap();
        fs::remove_file(files.folder.path().join("own.key")).unwrap();
        assert_eq!(all.look(NOW), (false, Vec::new()));
        assert!(matches!(all.look(NOW), (false, said) if said.len() == 1));
    }

    #[test]
    fn at_the_start_others_may_be_broken_and_at_a_reload_what_was_there() {
        let files = Files::new();
        let (before, _) = files.open(None).unwrap();
        let good = before.material().unwrap();
        files.write_file("other.key", "");
        let (all, said) = files.open(None).unwrap();
        assert!(
            matches!(said.as_slice(), [Said::Warning(text)] if text.contains("other.pem") && text.contains("host's own")),
            "{said:?}"
        );
        assert_eq!(all.material().unwrap().named.len(), 1, "the host's name alone");
        assert_eq!(files.open(Some(&before)).unwrap().0.material().unwrap(), good);
        // One that was never there.
        assert!(files.open(Some(&all)).unwrap_err().contains("other.pem"));
        files.write_file("own.key", "");
        assert!(files.open(None).unwrap_err().contains("own.pem"));
        assert_eq!(files.open(Some(&before)).unwrap().0.material().unwrap(), good);
        assert_eq!(check(&files.settings, "mx.example.org", NOW).0.len(), 2);
    }

    #[test]
    fn the_end_is_said_from_fourteen_days_on_once_a_day() {
        let files = Files::new();
        let (mut all, _) = files.open(None).unwrap();
        let mut lines = Vec::new();
        for day in 70..95 {
            for _ in 0..3 {
                let (_, said) = all.look(NOW + day * DAY_SECONDS);
                lines.extend(said.into_iter().map(|said| (day, said)));
            }
        }
        // Of two certificates.
        assert_eq!(lines.first().map(|(day, _)| *day), Some(76));
        assert_eq!(lines.len(), 2 * (95 - 76));
        assert!(matches!(&lines[0].1, Said::Warning(text) if text.contains("in 14 days")));
        assert!(matches!(&lines[37].1, Said::Warning(text) if text.contains("has expired")));
    }

    #[test]
    fn a_name_has_one_certificate() {
        let mut files = Files::new();
        let table = |names: &[&str]| NameConfig {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..files.settings.name[0].clone()
        };
        files.settings.name = vec![table(&[]), table(&["*.OTHER.example"]), table(&["*.example.org"])];
        let names = |files: &Files| -> Vec<Vec<String>> {
            files.open(None).unwrap().0.material().unwrap().named.into_iter().map(|of| of.names).collect()
        };
        assert_eq!(names(&files), [["mx.example.org"], ["*.other.example"], ["*.example.org"]]);
        let (wrong, notes) = check(&files.settings, "mx.example.org", NOW);
        assert!(wrong.len() == 1 && wrong[0].contains("*.example.org of its [[tls.name]]"), "{wrong:?}");
        assert_eq!(notes, [""; 0]);
        assert!(check(&files.settings, "mx.example.net", NOW).1[0].contains("does not have this host's name"));
        // A table that names the host is meant.
        files.settings.name[0].names = vec!["MX.example.org".to_owned()];
        assert_eq!(names(&files)[0], ["mx.example.org"]);
        assert_eq!(names(&files).len(), 3);
    }

    #[test]
    fn the_records_are_those_of_this_key_and_the_next() {
        let mut files = Files::new();
        let own = Certificate::new(pair("mx.example.org", GOOD)).unwrap();
        files.write("own", &own.pair);
        assert_eq!(files.open(None).unwrap().0.tlsa().0, [rdata(&own.key_sha256)]);
        assert_eq!(rdata(&[0x0a; 32]), format!("3 1 1 {}", "0a".repeat(32)));
        let next = Certificate::new(pair("mx.example.org", GOOD)).unwrap();
        files.write_file("next.key", &next.pair.key_pem);
        files.settings.next_key = Some(files.folder.path().join("next.key"));
        let (mut all, said) = files.open(None).unwrap();
        assert_eq!((all.tlsa().0, said), (vec![rdata(&own.key_sha256), rdata(&next.key_sha256)], Vec::new()));
        files.write("own", &next.pair);
        assert_eq!([all.look(NOW).0, all.look(NOW).0], [false, true]);
        let (records, changed) = all.tlsa();
        assert_eq!(records, [rdata(&next.key_sha256)]);
        assert!(changed > 1_700_000_000);
        // One that cannot be read is none, and is said.
        files.write_file("next.key", "");
        let (all, said) = files.open(None).unwrap();
        assert_eq!((all.tlsa().0.len(), said.len()), (1, 1));
    }

    #[test]
    fn a_broken_table_that_names_the_host_leaves_it_its_own_pair_and_record() {
        let mut files = Files::new();
        let own_pair = Certificate::new(pair("mx.example.org", GOOD)).unwrap();
        files.write("own", &own_pair.pair);
        // A wildcard must not take the name the broken table leaves free.
        let wildcard = NameConfig { names: vec!["*.example.org".to_owned()], ..files.settings.name[0].clone() };
        let broken = NameConfig {
            names: vec!["mx.example.org".to_owned()],
            certificate: files.folder.path().join("broken.pem"),
            key: files.folder.path().join("broken.key"),
        };
        files.settings.name = vec![broken, wildcard];
        let (mut all, _) = files.open(None).unwrap();
        assert_eq!(all.tlsa().0, [rdata(&own_pair.key_sha256)]);
        let named = all.material().unwrap().named;
        assert_eq!((&named[0].names[..], &named[0].pair), (&["mx.example.org".to_owned()][..], &own_pair.pair));
        // Once it is good it is the host's.
        let its = Certificate::new(pair("mx.example.org", GOOD)).unwrap();
        files.write("broken", &its.pair);
        assert_eq!([all.look(NOW).0, all.look(NOW).0], [false, true]);
        assert_eq!(all.tlsa().0, [rdata(&its.key_sha256)]);
        assert!(all.material().unwrap().named.iter().all(|of| of.pair != own_pair.pair));
    }
}
