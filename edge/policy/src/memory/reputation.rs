//! What an address and a domain have brought so far: good and bad messages, counted and fading away.

use super::network;
use super::table::{Entry, Table};
use crate::points;
use postring_mail::verdict::Symbol;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// `[policy.reputation]`: what the client's address (of IPv6 its /64) and the domain that authenticated the message have brought before. A message
/// below `mark_score` counts as good, one from `junk_score` on as bad; what goes to Junk or is refused for the policy of its author (SPF, DMARC) says
/// nothing; what the history itself adds does not count, and what lists and rules say of the client is not the domain's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReputationConfig {
    /// Remember it, and let it count. Default true.
    pub check: bool,
    /// Points for an address, and for a domain, that has brought nothing but good. Default -0.5.
    pub good_points: f64,
    /// Points for one that has brought nothing but bad. Default 1.5.
    pub bad_points: f64,
    /// Messages below which a history says nothing. Default 5.
    pub messages_min: u32,
    /// Days without a message after which half of a history is forgotten. Default 14.
    pub half_life_days: u32,
    /// Entries of the table, 8 octets each, for all shards together; a change takes a restart, and empties it. Default 131072, 1 MiB.
    pub entries: usize,
}

impl Default for ReputationConfig {
    fn default() -> Self {
        Self { check: true, good_points: -0.5, bad_points: 1.5, messages_min: 5, half_life_days: 14, entries: 131_072 }
    }
}

impl ReputationConfig {
    /// Says what cannot be.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        points::check("policy.reputation", &[self.good_points, self.bad_points])?;
        if !(1..=COUNT_MAX.into()).contains(&self.messages_min) || !(1..=365).contains(&self.half_life_days) {
            return Err(format!("policy.reputation: give messages_min from 1 to {COUNT_MAX}, half_life_days from 1 to 365"));
        }
        if !(8..=16_777_216).contains(&self.entries) {
            return Err(format!("policy.reputation.entries = {}: give a number from 8 to 16777216", self.entries));
        }
        Ok(())
    }
}

/// The largest count of either kind; beyond it both are halved, so that the newest messages count most.
const COUNT_MAX: u16 = 63;

/// Good and bad messages of one sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// At most 63.
    pub good: u16,
    /// At most 63.
    pub bad: u16,
}

/// The histories in a table.
#[derive(Debug)]
pub struct SenderReputation<'t> {
    table: &'t Table,
    config: &'t ReputationConfig,
}

impl<'t> SenderReputation<'t> {
    /// The histories in a table.
    #[must_use]
    pub const fn new(table: &'t Table, config: &'t ReputationConfig) -> Self {
        Self { table, config }
    }

    /// The history of an address.
    #[must_use]
    pub fn address(&self, client: IpAddr, unix_now: u64) -> Record {
        self.record(&[b"a", &network(client, 32)], unix_now)
    }

    /// The history of a domain.
    #[must_use]
    pub fn domain(&self, domain: &str, unix_now: u64) -> Record {
        self.record(&[b"d", domain.to_ascii_lowercase().as_bytes()], unix_now)
    }

    /// Remembers a message of an address.
    pub fn learn_address(&self, client: IpAddr, is_good: bool, unix_now: u64) {
        self.add(&[b"a", &network(client, 32)], is_good, unix_now);
    }

    /// Remembers a message of a domain.
    pub fn learn_domain(&self, domain: &str, is_good: bool, unix_now: u64) {
        self.add(&[b"d", domain.to_ascii_lowercase().as_bytes()], is_good, unix_now);
    }

    fn record(&self, key: &[&[u8]], unix_now: u64) -> Record {
        let Some(entry) = self.table.get(key) else { return Record::default() };
        let passed = self.table.minute(unix_now).saturating_sub(entry.minute);
        let halvings = passed / self.config.half_life_days.saturating_mul(24 * 60).max(1);
        let faded = |count: u16| count.checked_shr(halvings).unwrap_or(0);
        Record { good: faded(entry.data & COUNT_MAX), bad: faded(entry.data >> 6) }
    }

    fn add(&self, key: &[&[u8]], is_good: bool, unix_now: u64) {
        let mut record = self.record(key, unix_now);
        if is_good {
            record.good += 1;
        } else {
            record.bad += 1;
        }
        if record.good > COUNT_MAX || record.bad > COUNT_MAX {
            record = Record { good: record.good / 2, bad: record.bad / 2 };
        }
        self.table.put(key, Entry { data: record.bad << 6 | record.good, minute: self.table.minute(unix_now) });
    }

    /// The finding for a history; `None` for one that says nothing.
    #[must_use]
    pub fn symbol<'a>(&self, name: &'a str, record: Record, detail: &'a str) -> Option<Symbol<'a>> {
        let (good, bad) = (f64::from(record.good), f64::from(record.bad));
        if good + bad < f64::from(self.config.messages_min) || good == bad {
            return None;
        }
        let share = (bad - good) / (good + bad);
        let points = if share > 0.0 { self.config.bad_points * share } else { -self.config.good_points * share };
        Some(points::symbol(name, points, detail))
    }

    /// True for a sender who need not be put off, nor made wait.
    #[must_use]
    pub fn is_good(&self, record: Record) -> bool {
        u32::from(record.good) >= self.config.messages_min && record.bad.saturating_mul(8) <= record.good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 86_400;

    #[test]
    fn histories_grow_and_fade() {
        let (table, config) = (Table::new(1024, [1, 2], NOW), ReputationConfig::default());
        assert_eq!(config.check(), Ok(()));
        let reputation = SenderReputation::new(&table, &config);
        let client: IpAddr = [192, 0, 2, 1].into();
        for _ in 0..5 {
            reputation.learn_address(client, true, NOW);
            reputation.learn_domain("A.example", true, NOW);
        }
        let record = reputation.domain("a.example", NOW);
        assert_eq!((record, reputation.address(client, NOW)), (Record { good: 5, bad: 0 }, record));
        assert!(reputation.is_good(record));
        assert_eq!(reputation.symbol("X", record, "").unwrap().weight_milli, -500);
        reputation.learn_address(client, false, NOW);
        let record = reputation.address(client, NOW);
        assert_eq!((record.bad, reputation.is_good(record)), (1, false));
        assert_eq!(reputation.symbol("X", record, "").unwrap().weight_milli, -333);
        assert_eq!(reputation.address(client, NOW + 14 * DAY), Record { good: 2, bad: 0 });
        assert_eq!(reputation.symbol("X", Record { good: 2, bad: 2 }, ""), None);
        assert_eq!(reputation.symbol("X", Record { good: 1, bad: 9 }, "").unwrap().weight_milli, 1200);
        assert_eq!(reputation.address([192, 0, 2, 2].into(), NOW), Record::default());
        assert_eq!(reputation.domain("a.example", NOW + 1000 * DAY), Record::default());
    }

    #[test]
    fn the_newest_count_most() {
        let (table, config) = (Table::new(8, [1, 2], NOW), ReputationConfig::default());
        let reputation = SenderReputation::new(&table, &config);
        let client: IpAddr = "2001:db8::1".parse().unwrap();
        (0..1000).for_each(|_| reputation.learn_address(client, true, NOW));
        (0..64).for_each(|_| reputation.learn_address(client, false, NOW));
        let record = reputation.address("2001:db8::2".parse().unwrap(), NOW);
        assert!(record.bad > 30 && record.good < 33, "{record:?}");
    }
}
