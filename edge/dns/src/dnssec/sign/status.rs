//! The state of a zone's keys, for people.

use super::key_file::dnskey_text;
use super::roll::Timing;
use super::stamp::stamp;
use super::zone_keys::{KeyState, ZoneKey, ZoneKeys};
use crate::dnssec::digest::DigestType;
use crate::record::rdata_text;
use crate::types::Rtype;
use std::fmt::{self, Write};

impl ZoneKeys {
    /// A line for each key: what it is, what state it is in, what it waits for; then what the registrar must be given.
    #[must_use]
    pub fn status(&self, now: u64, timing: &Timing) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_status(now, timing, &mut out);
        out
    }

    fn write_status(&self, now: u64, timing: &Timing, out: &mut String) -> fmt::Result {
        if self.is_unsigned() {
            return writeln!(out, "{} is not signed", self.origin);
        }
        writeln!(out, "{} is signed by", self.origin)?;
        for zone_key in &self.keys {
            let ZoneKey { key, role, state, since } = zone_key;
            write!(out, "  {role} {} {}: {state} since {}", key.tag(), key.algorithm(), moment(*since))?;
            match state {
                KeyState::Ready => out.push_str(", waits for its DS at the parent"),
                KeyState::Active => {}
                state => {
                    let what = match state {
                        KeyState::Introduced => "the caches have its signatures",
                        KeyState::Published => "the caches have its key",
                        KeyState::Retired => "the caches have forgotten what needs it",
                        _ => "the caches have forgotten its key",
                    };
                    match self.due(zone_key, timing) {
                        Some(due) => {
                            write!(out, ", until {what}: {}{}", moment(due), if due <= now { " (now due)" } else { "" })?
                        }
                        None => out.push_str(", until another key of its algorithm takes its place or goes, too"),
                    }
                }
            }
            out.push('\n');
        }
        self.write_parent(timing, out)
    }

    fn write_parent(&self, timing: &Timing, out: &mut String) -> fmt::Result {
        if let Some(leaving) = self.leaving {
            write!(out, "to become unsigned since {}: ", moment(leaving.since))?;
            return match self.leaving_until(timing) {
                None => writeln!(out, "the parent must delete all DS records of {}", self.origin),
                Some(until) => writeln!(out, "the parent has no DS any more; signed until {}", moment(until)),
            };
        }
        let ready = self.keys.iter().any(|zone_key| zone_key.state == KeyState::Ready);
        let wanted: Vec<&ZoneKey> = self.wanted_at_parent().collect();
        if wanted.is_empty() {
            return writeln!(out, "nothing for the registrar yet");
        }
        out.push_str(if ready { "give the registrar, in place of all before:\n" } else { "the registrar has:\n" });
        for zone_key in wanted {
            if let Some(ds) = zone_key.key.ds(self.origin.wire(), DigestType::SHA256) {
                writeln!(out, "  {} IN DS {}", self.origin, rdata_text(Rtype::DS, &ds))?;
            }
            writeln!(out, "  {} IN DNSKEY {}", self.origin, dnskey_text(zone_key.key.dnskey()))?;
        }
        Ok(())
    }
}

/// As `2026-11-25 04:00:00 UTC`.
fn moment(time: u64) -> String {
    let stamp = stamp(time);
    let part = |from, to| stamp.get(from..to).unwrap_or_default();
    format!("{}-{}-{} {}:{}:{} UTC", part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 12), part(12, 14))
}
