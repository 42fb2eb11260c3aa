//! How much anybody may do in a time.

use crate::memory::Rate;
use serde::{Deserialize, Serialize};

/// `[policy.limits]`: rates, counted for all shards together; "60/minute" lets 60 through at once and one a second from then on, "off" everything.
/// Networks of your own (`policy.trusted_networks`) have no rates of connections. How many may be there at once stands in `[edge]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Connections from one address to any port of mail; more are answered 421 4.7.0. Default "300/minute": ten times what the largest senders do.
    pub connections_per_address: RateLimit,
    /// The same from one network, of IPv4 a /24, of IPv6 a /64. Default "1500/minute".
    pub connections_per_network: RateLimit,
    /// Recipients of one account's mail, by submission; more are answered 450 4.7.1. Default "1000/hour": a stolen password sends no more than that.
    pub recipients_per_account: RateLimit,
    /// Recipients in one of your domains, on port 25; more are answered 450 4.2.1. Default "off".
    pub recipients_per_domain: RateLimit,
    /// Errors of a client after which each further reply to one is held back for `tarpit_ms`. Default 3.
    pub tarpit_errors: u32,
    /// Milliseconds; 0: no reply is held back. Default 1000.
    pub tarpit_ms: u64,
    /// Percent of `edge.connections_max`, or of the slots for messages, from which a shard is under stress: commands are waited for 10 seconds instead
    /// of 5 minutes, three errors end a connection, nobody waits for the greeting and no reply is held back. Default 80.
    pub stress_percent: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let rate = |count, seconds| RateLimit(Some(Rate { count, seconds }));
        Self {
            connections_per_address: rate(300, 60),
            connections_per_network: rate(1500, 60),
            recipients_per_account: rate(1000, 3600),
            recipients_per_domain: RateLimit(None),
            tarpit_errors: 3,
            tarpit_ms: 1000,
            stress_percent: 80,
        }
    }
}

impl LimitsConfig {
    /// Says what cannot be.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if self.tarpit_ms > 60_000 {
            return Err(format!("policy.limits.tarpit_ms = {}: give a number up to 60000", self.tarpit_ms));
        }
        if !(1..=100).contains(&self.stress_percent) {
            return Err(format!("policy.limits.stress_percent = {}: give a number from 1 to 100", self.stress_percent));
        }
        Ok(())
    }
}

/// A rate, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RateLimit(pub Option<Rate>);

const UNITS: [(&str, u32); 4] = [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400)];

impl TryFrom<String> for RateLimit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let rate = text.split_once('/').and_then(|(count, unit)| {
            let seconds = UNITS.iter().find(|(name, _)| *name == unit)?.1;
            // More than one a millisecond cannot be told from another.
            let count = count.parse().ok().filter(|count| (1..=seconds.saturating_mul(1000)).contains(count))?;
            Some(Rate { count, seconds })
        });
        rate.map(|rate| Self(Some(rate)))
            .ok_or_else(|| format!("{text:?} is no rate: write \"60/minute\" (second, minute, hour, day), or \"off\""))
    }
}

impl From<RateLimit> for String {
    fn from(RateLimit(rate): RateLimit) -> Self {
        let Some(Rate { count, seconds }) = rate else { return "off".to_owned() };
        let unit = UNITS.iter().find(|(_, length)| *length == seconds).map_or("second", |(name, _)| name);
        format!("{count}/{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for text in ["300/minute", "1/second", "86400000/day", "off"] {
            assert_eq!(String::from(RateLimit::try_from(text.to_owned()).unwrap()), text);
        }
        for wrong in ["", "60", "60/", "0/minute", "60/min", "-1/hour", "1/2/day", "99999999/day", "1001/second"] {
            assert!(RateLimit::try_from(wrong.to_owned()).unwrap_err().contains("is no rate"), "{wrong}");
        }
        assert_eq!(LimitsConfig::default().check(), Ok(()));
        assert!(LimitsConfig { stress_percent: 0, ..LimitsConfig::default() }.check().is_err());
    }
}
