//! The state of a zone's keys, for people.

use super::advance::Timing;
use super::key_file::dnskey_text;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Name;
    use crate::dnssec::sign::{Role, read_key};
    use std::sync::Arc;

    /// The keys of RFC 8080 section 6.
    const KEYS: [(&str, &str); 2] = [
        ("l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=", "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI="),
        ("zPnZ/QwEe7S8C5SPz2OfS5RR40ATk2/rYnE9xHIEijs=", "DSSF3o0s0f+ElWzj9E/Osxw8hLpk55chkmx0LYN5WiY="),
    ];

    #[test]
    fn a_roll_over_as_people_read_it() {
        let origin = Name::absolute("example.com").unwrap();
        let [old, new] = KEYS.map(|(public, private)| {
            let public = format!("example.com. IN DNSKEY 257 3 15 {public}");
            let private = format!("Private-key-format: v1.2\nAlgorithm: 15 (ED25519)\nPrivateKey: {private}\n");
            Arc::new(read_key(&origin, &public, &private).unwrap())
        });
        let (mut keys, mut now) = (ZoneKeys::new(&origin), 1_790_000_000);
        let timing = Timing::new(3600);
        assert_eq!(keys.status(now, &timing), "example.com. is not signed\n");
        keys.adopt(now, vec![(Role::Csk, old)]).unwrap();
        keys.roll(now, vec![(Role::Csk, new)]).unwrap();
        let mut told = keys.status(now, &timing);
        now += 7200;
        keys.advance(now, &timing);
        told += &keys.status(now, &timing);
        keys.ds_seen(now, 35217).unwrap();
        told += &keys.status(now + 100_000, &timing);
        keys.leave(now).unwrap();
        told += &keys.status(now, &timing);
        keys.ds_gone(now).unwrap();
        told += &keys.status(now, &timing).lines().skip(3).map(|line| format!("{line}\n")).collect::<String>();
        let expected = "\
example.com. is signed by
  csk 3613 ED25519: active since 2026-09-21 14:13:20 UTC
  csk 35217 ED25519: published since 2026-09-21 14:13:20 UTC, until the caches have its key: 2026-09-21 16:13:20 UTC
the registrar has:
  example.com. IN DS 3613 15 2 3AA5AB37EFCE57F737FC1627013FEE07BDF241BD10F3B1964AB55C78E79A304B
  example.com. IN DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=
example.com. is signed by
  csk 3613 ED25519: active since 2026-09-21 14:13:20 UTC
  csk 35217 ED25519: ready since 2026-09-21 16:13:20 UTC, waits for its DS at the parent
give the registrar, in place of all before:
  example.com. IN DS 35217 15 2 401781B934E392DE492EC77AE2E15D70F6575A1C0BC59C5275C04EBE80C6614C
  example.com. IN DNSKEY 257 3 15 zPnZ/QwEe7S8C5SPz2OfS5RR40ATk2/rYnE9xHIEijs=
example.com. is signed by
  csk 3613 ED25519: retired since 2026-09-21 16:13:20 UTC, until the caches have forgotten what needs it: 2026-09-22 17:13:20 UTC (now due)
  csk 35217 ED25519: active since 2026-09-21 16:13:20 UTC
the registrar has:
  example.com. IN DS 35217 15 2 401781B934E392DE492EC77AE2E15D70F6575A1C0BC59C5275C04EBE80C6614C
  example.com. IN DNSKEY 257 3 15 zPnZ/QwEe7S8C5SPz2OfS5RR40ATk2/rYnE9xHIEijs=
example.com. is signed by
  csk 3613 ED25519: retired since 2026-09-21 16:13:20 UTC, until the caches have forgotten what needs it: 2026-09-22 17:13:20 UTC
  csk 35217 ED25519: active since 2026-09-21 16:13:20 UTC
to become unsigned since 2026-09-21 16:13:20 UTC: the parent must delete all DS records of example.com.
to become unsigned since 2026-09-21 16:13:20 UTC: the parent has no DS any more; signed until 2026-09-22 17:13:20 UTC
";
        assert_eq!(told, expected);
    }
}
