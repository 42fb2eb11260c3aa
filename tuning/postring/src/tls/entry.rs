//! One pair of files: what of it is in force, and what is done when the files change.

use super::certificate::{Certificate, WARN_DAYS, judge};
use postring_mail::date;
use postring_transport::tls::names::covers;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(super) const DAY_SECONDS: i64 = 86_400;

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
pub(super) struct Stamp([Option<(u64, u64, i64, i64)>; 2]);

impl Stamp {
    pub(super) fn of(certificate: &Path, key: &Path) -> Self {
        let look = |path: &Path| {
            let found = path.metadata().ok()?;
            Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
        };
        Self([look(certificate), look(key)])
    }
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// As configured; empty: those of the certificate.
    pub(super) names: Vec<String>,
    pub(super) in_force: Option<Certificate>,
    /// Of the files judged last.
    pub(super) stamp: Stamp,
    /// They looked like this a moment ago, and have not been judged.
    pub(super) seen: Option<Stamp>,
    /// Why the files are not in force.
    pub(super) problem: Option<String>,
    /// The day it was last looked at for its end.
    pub(super) day: i64,
}

impl Entry {
    /// True if its `[[tls.name]]` has this name, without the last dot, written down.
    pub(super) fn is_written_for(&self, hostname: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(hostname))
    }

    /// Nothing is read yet.
    pub(super) fn of(certificate: &Path, key: &Path, names: Vec<String>) -> Self {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Self { certificate, key, names, in_force: None, stamp: Stamp::default(), seen: None, problem: None, day: 0 }
    }

    pub(super) fn own_names(&self) -> &[String] {
        match &self.in_force {
            Some(in_force) if self.names.is_empty() => &in_force.names,
            _ => &self.names,
        }
    }

    pub(super) fn look(&mut self, is_host: bool, now: i64, said: &mut Vec<Said>) -> bool {
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
    pub(super) fn refuse(&mut self, why: String) -> Said {
        let why = if why.starts_with("tls: ") { why } else { format!("tls: {}: {why}", self.certificate.display()) };
        let instead = match &self.in_force {
            Some(in_force) => format!("the certificate before, valid until {}, stays in force", day(in_force.valid.1)),
            None => "clients get the host's own certificate instead".to_owned(),
        };
        self.problem = Some(why.clone());
        Said::Warning(format!("{why}; {instead}. When the files are right they are taken by themselves"))
    }

    /// Its end is near, or behind it.
    pub(super) fn warning(&self, now: i64) -> Option<String> {
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
    pub(super) fn uncovered(&self) -> Vec<String> {
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

fn day(seconds: i64) -> String {
    date::day(u64::try_from(seconds).unwrap_or(0))
}
