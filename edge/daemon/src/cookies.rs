//! The secrets of DNS cookies (RFC 7873, RFC 9018): in `data/dns/cookie.secrets`, made at the first start, the same for all shards.
//!
//! ```text
//!   32 hexadecimal digits    the secret cookies are made with
//!   32 hexadecimal digits    the one before, whose cookies are still taken; not there before the first roll
//! ```
//! Servers that share an address share the file: a reload reads it again. To roll it on all of them, the next secret is first put into the second
//! line on each (RFC 9018 section 5).

use crate::shard::{Event, OperatorAnswer};
use postring_control::Shards;
use postring_dns::cookie::{CookieSecrets, SECRET_BYTES};
use serde_json::json;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

type Secret = [u8; SECRET_BYTES];

/// More octets are no file of ours.
const FILE_BYTES_MAX: u64 = 1024;

/// The file.
pub(crate) struct Cookies {
    path: PathBuf,
}

impl Cookies {
    /// That of a data folder.
    pub(crate) fn new(data: &Path) -> Self {
        Self { path: data.join("dns").join("cookie.secrets") }
    }

    /// The secrets; made if there are none. Without (which is logged) each process has its own until it ends.
    pub(crate) fn open(&self) -> Option<CookieSecrets> {
        let found = self.read().and_then(|found| match found {
            Some(secrets) => Ok(secrets),
            None => {
                let made = (random()?, None);
                self.write(&made)?;
                Ok(made)
            }
        });
        match found {
            Ok(secrets) => Some(usable(&secrets)),
            Err(error) => {
                tracing::error!("{error}; until that is repaired clients lose their DNS cookies with each restart");
                None
            }
        }
    }

    /// Makes another secret; cookies of the one before are still taken.
    pub(crate) fn roll(&self) -> Result<CookieSecrets, String> {
        let before = self.read()?.map(|(current, _)| current);
        let secrets = (random()?, before);
        self.write(&secrets)?;
        Ok(usable(&secrets))
    }

    /// `postring dns cookie ...`.
    pub(crate) fn ask(&self, words: &[String], shards: &Shards<Event>) -> OperatorAnswer {
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["dns", "cookie", "roll"] => {
                let secrets = self.roll()?;
                shards.tell_all(|| Event::Cookies(Box::new(secrets.clone())));
                Ok(json!({ "file": self.path }))
            }
            _ => Err(format!("cookies do not know \"{}\"", words.join(" "))),
        }
    }

    fn read(&self) -> Result<Option<(Secret, Option<Secret>)>, String> {
        let wrong = |error: std::io::Error| format!("{}: {error}", self.path.display());
        let mut text = String::new();
        match fs::File::open(&self.path) {
            Ok(file) => file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(wrong)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error)),
        };
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(parse);
        match (lines.next(), lines.next(), lines.next()) {
            (Some(Some(current)), None, None) => Ok(Some((current, None))),
            (Some(Some(current)), Some(Some(previous)), None) => Ok(Some((current, Some(previous)))),
            _ => Err(format!(
                "{}: give one or two lines of 32 hexadecimal digits, or remove it and a new secret is made",
                self.path.display()
            )),
        }
    }

    fn write(&self, (current, previous): &(Secret, Option<Secret>)) -> Result<(), String> {
        let lines: Vec<String> = std::iter::once(current).chain(previous).map(|secret| text(secret) + "\n").collect();
        postring_zones::state::replace(&self.path, lines.concat().as_bytes(), 0o600)
    }
}

fn usable((current, previous): &(Secret, Option<Secret>)) -> CookieSecrets {
    let secrets = CookieSecrets::new(*current);
    match previous {
        Some(previous) => secrets.with_previous(*previous),
        None => secrets,
    }
}

fn random() -> Result<Secret, String> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(|error| format!("no randomness from the system: {error}"))?;
    Ok(secret)
}

fn text(secret: &Secret) -> String {
    secret.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(line: &str) -> Option<Secret> {
    let is_secret = line.len() == 2 * SECRET_BYTES && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_secret.then(|| u128::from_str_radix(line, 16).ok().map(u128::to_be_bytes)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use postring_dns::cookie::Checked;

    #[test]
    fn cookies_outlive_restarts_and_one_roll() {
        let folder = tempfile::tempdir().unwrap();
        let cookies = Cookies::new(folder.path());
        let client = [192, 0, 2, 1].into();
        let valid = |secrets: &CookieSecrets, cookie: &[u8]| matches!(secrets.check(cookie, client, 100), Checked::Valid(_));
        let Checked::Unproven(cookie) = cookies.open().unwrap().check(&[7; 8], client, 100) else { panic!() };
        assert!(valid(&cookies.open().unwrap(), &cookie));
        assert!(valid(&cookies.roll().unwrap(), &cookie));
        assert!(valid(&cookies.open().unwrap(), &cookie));
        assert!(!valid(&cookies.roll().unwrap(), &cookie));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&cookies.path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_not_ours_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let cookies = Cookies::new(folder.path());
        cookies.roll().unwrap();
        for text in ["", "x\n", "+0000000000000000000000000000000\n", "00\n"] {
            fs::write(&cookies.path, text).unwrap();
            assert!(cookies.open().is_none() && cookies.roll().is_err(), "{text:?}");
            assert_eq!(fs::read_to_string(&cookies.path).unwrap(), text);
        }
    }
}
