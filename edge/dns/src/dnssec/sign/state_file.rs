//! A zone's signing state as text, kept in one small file beside its keys.
//!
//! ```text
//!   # signing state of example.org.
//!   version 1
//!   serial 2026112402                                     last given out
//!   ttl zone 86400 20261125040000 3600                    largest TTL that caches may know, when the zone last had it, what it has now
//!   leaving 20261125040000 [20261125050000]               on the way to be unsigned; since when the parent has no DS
//!   key 13 60975 csk active 20261125040000                algorithm, key tag, role, state, since when
//! ```

use super::key::SigningKey;
use super::stamp::{parse_stamp, stamp};
use super::zone_keys::{HighWater, KEYS_MAX, KeyState, Leaving, Role, ZoneKey, ZoneKeys};
use crate::dnssec::algorithm::Algorithm;
use crate::name::Name;
use std::fmt::{self, Write};
use std::sync::Arc;

/// Lines of a state file; more is none of ours.
const LINES_MAX: usize = 100;

/// Where a state file is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFileError {
    /// From 1; 0 is the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for StateFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.text),
            line => write!(f, "line {line}: {}", self.text),
        }
    }
}

impl std::error::Error for StateFileError {}

impl ZoneKeys {
    /// The text of the state file.
    #[must_use]
    pub fn state_text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_state(&mut out);
        out
    }

    fn write_state(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "# signing state of {}; written by Postring, do not change it while it runs\nversion 1", self.origin)?;
        if let Some(serial) = self.serial_last {
            writeln!(out, "serial {serial}")?;
        }
        for (name, HighWater { ttl, at, current }) in [("zone", self.zone_ttl), ("dnskey", self.dnskey_ttl), ("ds", self.ds_ttl)]
        {
            writeln!(out, "ttl {name} {ttl} {} {current}", stamp(at))?;
        }
        if let Some(Leaving { since, ds_gone }) = self.leaving {
            let gone = ds_gone.map(|gone| format!(" {}", stamp(gone))).unwrap_or_default();
            writeln!(out, "leaving {}{gone}", stamp(since))?;
        }
        for ZoneKey { key, role, state, since } in &self.keys {
            writeln!(out, "key {} {} {role} {state} {}", key.algorithm().0, key.tag(), stamp(*since))?;
        }
        Ok(())
    }

    /// Reads a state file. `load` gives the key of an algorithm and tag, from its own files.
    ///
    /// # Errors
    /// The first line that is wrong, or what is wrong with all of them together.
    pub fn parse_state(
        origin: &Name,
        text: &str,
        load: &mut dyn FnMut(Algorithm, u16) -> Result<Arc<SigningKey>, String>,
    ) -> Result<Self, StateFileError> {
        let mut keys = Self::new(origin);
        let mut version = false;
        for (at, line) in text.lines().enumerate() {
            let wrong = |text: String| StateFileError { line: at + 1, text };
            if at >= LINES_MAX {
                return Err(wrong(format!("a state file has no more than {LINES_MAX} lines")));
            }
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            match words.as_slice() {
                [] => {}
                ["version", "1"] => version = true,
                ["version", other] => return Err(wrong(format!("version {other} is not known here"))),
                _ if !version => return Err(wrong("the file must begin with \"version 1\"".to_owned())),
                words => keys.parse_line(words, load).map_err(wrong)?,
            }
        }
        if !version {
            return Err(StateFileError { line: 0, text: "the file must begin with \"version 1\"".to_owned() });
        }
        keys.invariants().map_err(|text| StateFileError { line: 0, text })?;
        Ok(keys)
    }

    fn parse_line(
        &mut self,
        words: &[&str],
        load: &mut dyn FnMut(Algorithm, u16) -> Result<Arc<SigningKey>, String>,
    ) -> Result<(), String> {
        match *words {
            ["serial", serial] => self.serial_last = Some(number(serial)?),
            ["ttl", name, ttl, at, current] => {
                let ttl = HighWater { ttl: number(ttl)?, at: time(at)?, current: number(current)? };
                match name {
                    "zone" => self.zone_ttl = ttl,
                    "dnskey" => self.dnskey_ttl = ttl,
                    "ds" => self.ds_ttl = ttl,
                    other => return Err(format!("\"{other}\": the TTLs are those of zone, dnskey and ds")),
                }
            }
            ["leaving", since] => self.leaving = Some(Leaving { since: time(since)?, ds_gone: None }),
            ["leaving", since, gone] => self.leaving = Some(Leaving { since: time(since)?, ds_gone: Some(time(gone)?) }),
            ["key", algorithm, tag, role, state, since] => {
                let (algorithm, tag) = (Algorithm(number(algorithm)?), number(tag)?);
                let role = Role::parse(role).ok_or_else(|| format!("\"{role}\" is no role: csk, ksk, zsk"))?;
                let state = KeyState::parse(state).ok_or_else(|| format!("\"{state}\" is no state of a key"))?;
                let since = time(since)?;
                if self.keys.len() >= KEYS_MAX || !self.is_tag_free(algorithm, tag) {
                    return Err(format!("key {tag} stands here twice, or there are more than {KEYS_MAX} keys"));
                }
                let key = load(algorithm, tag)?;
                if (key.algorithm(), key.tag()) != (algorithm, tag) {
                    return Err(format!("the files of key {tag} hold key {} of algorithm {}", key.tag(), key.algorithm()));
                }
                self.keys.push(ZoneKey { key, role, state, since });
            }
            [first, ..] => return Err(format!("\"{first}\" with {} words is nothing that stands here", words.len() - 1)),
            [] => {}
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("\"{text}\" is no number, or too large a one"))
}

fn time(text: &str) -> Result<u64, String> {
    parse_stamp(text).ok_or_else(|| format!("\"{text}\" is no time of the form YYYYMMDDHHMMSS"))
}

/// For the fuzzer and the replay of its inputs: what can be read is written the same.
#[doc(hidden)]
pub fn fuzz_state_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(origin) = Name::absolute("example.com") else { return };
    let mut none = |_, _| Err("no key".to_owned());
    if let Ok(keys) = ZoneKeys::parse_state(&origin, text, &mut none) {
        let written = keys.state_text();
        let again = ZoneKeys::parse_state(&origin, &written, &mut none);
        assert_eq!(again.map(|again| again.state_text()), Ok(written));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_files() {
        let origin = Name::absolute("example.org").unwrap();
        let csk = Arc::new(SigningKey::generate(Algorithm::ED25519, true).unwrap().0);
        let zsk = Arc::new(SigningKey::generate(Algorithm::ED25519, false).unwrap().0);
        let (one, other) = (csk.tag(), zsk.tag());
        let key = |role: &str, state: &str| format!("version 1\nkey 15 {one} {role} {state} 20261125040000\n");
        let read = |text: &str| {
            let mut load = |_, tag| match tag {
                tag if tag == one => Ok(Arc::clone(&csk)),
                tag if tag == other => Ok(Arc::clone(&zsk)),
                tag => Err(format!("K...{tag}.key cannot be read")),
            };
            ZoneKeys::parse_state(&origin, text, &mut load).map(|keys| keys.state_text()).map_err(|error| error.to_string())
        };
        let good =
            format!("{}serial 7\nleaving 20261125040000 20261125050000 # so\nttl ds 5 20261125040000 3\n", key("csk", "active"));
        assert_eq!(read(&read(&good).unwrap()), read(&good));
        for (text, error) in [
            (String::new(), "the file must begin with \"version 1\"".to_owned()),
            ("serial 7".to_owned(), "line 1: the file must begin with \"version 1\"".to_owned()),
            ("\nversion 2".to_owned(), "line 2: version 2 is not known here".to_owned()),
            ("version 1\nserial -7".to_owned(), "line 2: \"-7\" is no number, or too large a one".to_owned()),
            (
                "version 1\nttl moon 1 20261125040000 1".to_owned(),
                "line 2: \"moon\": the TTLs are those of zone, dnskey and ds".to_owned(),
            ),
            ("version 1\nleaving now".to_owned(), "line 2: \"now\" is no time of the form YYYYMMDDHHMMSS".to_owned()),
            ("version 1\nkey 15".to_owned(), "line 2: \"key\" with 1 words is nothing that stands here".to_owned()),
            (key("boss", "active"), "line 2: \"boss\" is no role: csk, ksk, zsk".to_owned()),
            (key("csk", "tired"), "line 2: \"tired\" is no state of a key".to_owned()),
            (
                key("csk", "active").replace("15", "13"),
                format!("line 2: the files of key {one} hold key {one} of algorithm ED25519"),
            ),
            (
                key("csk", "active") + &key("csk", "ready"),
                format!("line 4: key {one} stands here twice, or there are more than 8 keys"),
            ),
            (key("zsk", "active"), format!("key {one} cannot be a zsk with the flags of its DNSKEY record")),
            (key("ksk", "active"), format!("ED25519 of key {one} does not sign both the keys and the zone")),
            (key("csk", "withdrawn"), "no key is in the DNSKEY set".to_owned()),
            (
                key("csk", "active") + &format!("key 15 {other} zsk ready 20261125040000"),
                format!("key {other} is a zsk; it has no DS to wait for"),
            ),
            ("version 1\n".repeat(101), "line 101: a state file has no more than 100 lines".to_owned()),
        ] {
            assert_eq!(read(&text), Err(error), "{text}");
        }
        let missing = format!("version 1\nkey 15 {} csk active 20261125040000", one.wrapping_add(1).max(other.wrapping_add(1)));
        assert!(read(&missing).unwrap_err().contains("cannot be read"));
    }
}
