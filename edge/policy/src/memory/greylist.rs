//! Greylisting (RFC 6647): who tries again after a while as a mail server does is let through, and remembered.

use super::network;
use super::table::{Entry, Table};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// `[policy.greylist]`: a message that is neither good nor bad enough is put off (451 4.7.1) until its sender has tried again after some minutes;
/// most of those who send spam do not. Never put off: what passes DMARC, senders with a good history, and networks of your own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GreylistConfig {
    /// Do it. Default true.
    pub check: bool,
    /// From this score on. Default 4, as rspamd has it: below it nobody waits.
    pub score: f64,
    /// Minutes after which another try is let through. Default 5.
    pub delay_minutes: u32,
    /// Hours after which a try is a first one again. Default 48: servers try for days.
    pub retry_hours: u32,
    /// Days for which a sender that was let through is not put off again, from its last message on. Default 36: longer than a month, for what comes
    /// monthly.
    pub allow_days: u32,
    /// Senders of a network (of IPv4 a /24, of IPv6 a /64) that were let through until none of it is put off any more. Default 5.
    pub network_passes: u32,
    /// Entries of the table, 8 octets each, for all shards together; a change takes a restart, and empties it. Default 131072, 1 MiB.
    pub entries: usize,
}

impl Default for GreylistConfig {
    fn default() -> Self {
        Self { check: true, score: 4.0, delay_minutes: 5, retry_hours: 48, allow_days: 36, network_passes: 5, entries: 131_072 }
    }
}

impl GreylistConfig {
    /// Says what cannot be.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if !self.score.is_finite() {
            return Err("policy.greylist.score: give a number".to_owned());
        }
        if self.delay_minutes > 1440 || self.retry_hours == 0 || self.delay_minutes >= self.retry_hours.saturating_mul(60) {
            return Err(format!(
                "policy.greylist: delay_minutes = {} and retry_hours = {}: give at most a day, and more hours than that",
                self.delay_minutes, self.retry_hours
            ));
        }
        if self.retry_hours > 24 * 30 || !(1..=365).contains(&self.allow_days) || self.network_passes == 0 {
            return Err(
                "policy.greylist: give retry_hours up to 720, allow_days from 1 to 365, network_passes of 1 and more".to_owned()
            );
        }
        if !(8..=16_777_216).contains(&self.entries) {
            return Err(format!("policy.greylist.entries = {}: give a number from 8 to 16777216", self.entries));
        }
        Ok(())
    }
}

/// What becomes of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// It is the first, or too early after it: so many minutes are left.
    PutOff(u32),
    /// It is let through, for the first time.
    Passed,
    /// It was let through before.
    Known,
}

/// Who has tried, and who was let through.
#[derive(Debug)]
pub struct Greylist<'t> {
    table: &'t Table,
    config: &'t GreylistConfig,
}

/// Of an entry that was let through.
const PASSED: u16 = 1;

impl<'t> Greylist<'t> {
    /// The list in a table.
    #[must_use]
    pub const fn new(table: &'t Table, config: &'t GreylistConfig) -> Self {
        Self { table, config }
    }

    /// A try to deliver from this client, of this sender, to this recipient; addresses in any case.
    ///
    /// Cost: two look-ups; a copy of each address in lower case.
    pub fn visit(&self, client: IpAddr, sender: &str, recipient: &str, unix_now: u64) -> Visit {
        if self.table.is_old(unix_now) {
            return Visit::Known;
        }
        let now = self.table.minute(unix_now);
        let network = network(client, 24);
        let (sender, recipient) = (sender.to_ascii_lowercase(), recipient.to_ascii_lowercase());
        let whole = [&network[..], sender.as_bytes(), recipient.as_bytes()];
        let allowed_minutes = self.config.allow_days.saturating_mul(24 * 60);
        let is_fresh = |entry: &Entry, minutes: u32| now.saturating_sub(entry.minute) <= minutes;
        let of_network = self.table.get(&[&network]).filter(|entry| is_fresh(entry, allowed_minutes));
        let passes = of_network.map_or(0, |entry| entry.data);
        if u32::from(passes) >= self.config.network_passes {
            self.table.put(&[&network], Entry { data: passes, minute: now });
            return Visit::Known;
        }
        match self.table.get(&whole) {
            Some(entry) if entry.data == PASSED && is_fresh(&entry, allowed_minutes) => {
                self.table.put(&whole, Entry { data: PASSED, minute: now });
                Visit::Known
            }
            // A clock that was set back makes it a first try.
            Some(entry)
                if entry.data == 0 && entry.minute <= now && is_fresh(&entry, self.config.retry_hours.saturating_mul(60)) =>
            {
                let waited = now.saturating_sub(entry.minute);
                if waited < self.config.delay_minutes {
                    return Visit::PutOff(self.config.delay_minutes - waited);
                }
                self.table.put(&whole, Entry { data: PASSED, minute: now });
                // One sender is one, to however many it writes.
                let of_sender = [&network[..], sender.as_bytes()];
                if !self.table.get(&of_sender).is_some_and(|entry| is_fresh(&entry, allowed_minutes)) {
                    self.table.put(&[&network], Entry { data: passes.saturating_add(1), minute: now });
                }
                self.table.put(&of_sender, Entry { data: PASSED, minute: now });
                Visit::Passed
            }
            _ => {
                self.table.put(&whole, Entry { data: 0, minute: now });
                match self.config.delay_minutes {
                    0 => Visit::Passed,
                    minutes => Visit::PutOff(minutes),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const MINUTE: u64 = 60;
    const DAY: u64 = 24 * 60 * MINUTE;

    #[test]
    fn who_tries_again_is_let_through_and_remembered() {
        let (table, config) = (Table::new(1024, [1, 2], NOW), GreylistConfig::default());
        assert_eq!(config.check(), Ok(()));
        let list = Greylist::new(&table, &config);
        let visit = |client: &str, sender: &str, minutes| {
            list.visit(client.parse().unwrap(), sender, "u@here.example", NOW + minutes * MINUTE)
        };
        assert_eq!(visit("192.0.2.1", "a@b.example", 0), Visit::PutOff(5));
        assert_eq!(visit("192.0.2.1", "a@b.example", 3), Visit::PutOff(2));
        // Another server of the same farm, and another case of the address.
        assert_eq!(visit("192.0.2.9", "A@b.example", 5), Visit::Passed);
        assert_eq!(visit("192.0.2.1", "a@b.example", 6), Visit::Known);
        assert_eq!(visit("192.0.2.1", "c@b.example", 6), Visit::PutOff(5));
        assert_eq!(visit("192.0.3.1", "a@b.example", 6), Visit::PutOff(5));
        // Too late is a first try again; whoever was let through is forgotten after the days.
        assert_eq!(visit("192.0.2.1", "c@b.example", 6 + 48 * 60 + 1), Visit::PutOff(5));
        assert_eq!(visit("192.0.2.1", "a@b.example", 6 + 36 * DAY / MINUTE), Visit::Known);
        assert_eq!(visit("192.0.2.1", "a@b.example", 7 + 2 * 36 * DAY / MINUTE), Visit::PutOff(5));
        assert_eq!(visit("2001:db8::1", "", 0), Visit::PutOff(5));
        assert_eq!(visit("2001:db8::ffff:1", "", 5), Visit::Passed);
    }

    #[test]
    fn a_network_of_mail_servers_is_not_put_off_for_ever() {
        let (table, config) = (Table::new(1024, [1, 2], NOW), GreylistConfig { network_passes: 2, ..GreylistConfig::default() });
        let list = Greylist::new(&table, &config);
        let visit = |sender: &str, minutes| list.visit([192, 0, 2, 1].into(), sender, "u@here.example", NOW + minutes * MINUTE);
        for sender in ["a@b.example", "b@b.example"] {
            assert_eq!(visit(sender, 0), Visit::PutOff(5));
            assert_eq!(visit(sender, 5), Visit::Passed);
        }
        assert_eq!(visit("c@b.example", 6), Visit::Known);
        assert_eq!(visit("d@b.example", 7 + 36 * DAY / MINUTE), Visit::PutOff(5));
    }

    #[test]
    fn one_sender_does_not_free_its_network_and_time_that_runs_out_holds_nobody() {
        let (table, config) = (Table::new(1024, [1, 2], NOW), GreylistConfig { network_passes: 2, ..GreylistConfig::default() });
        let list = Greylist::new(&table, &config);
        let visit = |sender: &str, recipient: &str, at| list.visit([192, 0, 2, 1].into(), sender, recipient, at);
        for recipient in ["a@here.example", "b@here.example", "c@here.example"] {
            assert_eq!(visit("a@b.example", recipient, NOW), Visit::PutOff(5));
            assert_eq!(visit("a@b.example", recipient, NOW + 5 * MINUTE), Visit::Passed);
        }
        assert_eq!(visit("other@b.example", "a@here.example", NOW + 6 * MINUTE), Visit::PutOff(5));
        assert_eq!(visit("other@b.example", "a@here.example", NOW - 60 * MINUTE), Visit::PutOff(5));
        assert_eq!(visit("x@b.example", "a@here.example", NOW + 800 * DAY), Visit::Known);
    }

    #[test]
    fn numbers_that_do_not_fit_are_named() {
        for bad in [
            GreylistConfig { score: f64::NAN, ..GreylistConfig::default() },
            GreylistConfig { delay_minutes: 121, retry_hours: 2, ..GreylistConfig::default() },
            GreylistConfig { allow_days: 0, ..GreylistConfig::default() },
            GreylistConfig { entries: 1, ..GreylistConfig::default() },
        ] {
            assert!(bad.check().unwrap_err().starts_with("policy.greylist"), "{bad:?}");
        }
    }
}
