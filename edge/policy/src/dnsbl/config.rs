//! What an administrator can set of a remote block list. The doc comment of a field is its manual.

use super::{Probe, SUSPENSION_SECONDS, question};
use postring_dns::Name;
use postring_dns::resolver::{TtlPolicy, ZoneTtl};
use postring_mail::limits::SYMBOL_NAME_BYTES_MAX;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// `[[policy.dnsbl]]`: a block list asked by DNS (RFC 5782), or with a negative weight a list of the good. One of our own (`[[dns.block_list]]`)
/// can be named as well: it is asked without a packet, and counts here besides refusing at connect (its `refuse = false` ends that).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsblConfig {
    /// Its zone, like zen.spamhaus.org.
    pub zone: String,
    /// Points a listing adds to the message's score; negative for a list of good senders. Default 3.
    #[serde(default = "weight")]
    pub weight: f64,
    /// What a listing is called in X-Spam-Symbols. Default `DNSBL_` and the zone in capitals, dots as `_`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Points by return code instead of `weight`, with a symbol of its own if it shall have one:
    /// `{ "127.0.0.2" = 4.0, "127.0.0.10-127.0.0.11" = { weight = 2.0, symbol = "DNSBL_DYNAMIC" } }`. With this, codes that are not named
    /// count 0. Default: every code in 127.0.0.0/8 counts `weight`. 127.255.255.0/24 is never a listing: it is how lists say that something is
    /// wrong with us.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub codes: BTreeMap<String, CodeConfig>,
    /// Milliseconds its answer is waited for at most, from the connect on; a later one does not count for this client. Default 2000.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// Seconds a listing is kept at least: lists use short times, and mail asks the same again. Default 60.
    #[serde(default = "ttl_min")]
    pub ttl_min: u32,
    /// Seconds an answer is kept at most. Default 3600: who was taken off a list shall not wait for a day.
    #[serde(default = "ttl_max")]
    pub ttl_max: u32,
    /// Questions a day, of all shards together; then it is not asked until the next (UTC). Answers from memory cost nothing. Default 100000,
    /// what free use of the large lists allows; 0: no limit.
    #[serde(default = "questions_per_day_max")]
    pub questions_per_day_max: u32,
    /// Seconds between two looks at whether it is well: its test entry 127.0.0.2 must be there, and 127.0.0.1 must not. One that fails is put
    /// aside and tried again after a minute, then after two, up to an hour. Default 3600.
    #[serde(default = "probe_interval")]
    pub probe_interval: u32,
    /// Only ask it and count whom it has: no points, no symbol. Default false.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a return code counts: a number, or a table of `weight` and `symbol`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "give a number of points, or { weight = 2.0, symbol = \"NAME\" }")]
pub enum CodeConfig {
    /// Points.
    Weight(f64),
    /// Points and a name.
    Named {
        /// Points.
        weight: f64,
        /// What it is called.
        symbol: String,
    },
}

impl CodeConfig {
    /// Points.
    #[must_use]
    pub fn weight(&self) -> f64 {
        match self {
            Self::Weight(weight) | Self::Named { weight, .. } => *weight,
        }
    }

    /// The name, if it has one of its own.
    #[must_use]
    pub fn symbol(&self) -> Option<&str> {
        match self {
            Self::Weight(_) => None,
            Self::Named { symbol, .. } => Some(symbol),
        }
    }
}

fn weight() -> f64 {
    3.0
}

fn timeout_ms() -> u64 {
    2000
}

fn ttl_min() -> u32 {
    60
}

fn ttl_max() -> u32 {
    3600
}

fn questions_per_day_max() -> u32 {
    100_000
}

fn probe_interval() -> u32 {
    3600
}

impl DnsblConfig {
    /// Says what cannot be.
    ///
    /// # Errors
    /// One line: the list, the key, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |text: String| Err(format!("policy.dnsbl: zone = \"{}\": {text}", self.zone));
        if let Err(error) = Name::absolute(&self.zone) {
            return wrong(error.to_string());
        }
        let weights = std::iter::once(self.weight).chain(self.codes.values().map(CodeConfig::weight));
        if !weights.into_iter().all(|weight| weight.is_finite() && weight.abs() <= 1000.0) {
            return wrong("weights are numbers between -1000 and 1000".to_owned());
        }
        if let Some(code) = self.codes.keys().find(|code| parse_codes(code).is_none()) {
            return wrong(format!("\"{code}\" is no return code; give 127.0.0.2 or 127.0.0.4-127.0.0.7"));
        }
        let mut symbols = self.symbol.as_deref().into_iter().chain(self.codes.values().filter_map(CodeConfig::symbol));
        if let Some(symbol) = symbols.find(|symbol| !is_symbol(symbol)) {
            return wrong(format!(
                "\"{symbol}\" is no symbol; give 1 to {SYMBOL_NAME_BYTES_MAX} letters, digits and _, like DNSBL_DYNAMIC"
            ));
        }
        if !(100..=30_000).contains(&self.timeout_ms) {
            return wrong(format!("timeout_ms = {}: give a number from 100 to 30000", self.timeout_ms));
        }
        if self.ttl_min > self.ttl_max || self.ttl_max > 86_400 {
            return wrong(format!("ttl_min = {} <= ttl_max = {} <= 86400 does not hold", self.ttl_min, self.ttl_max));
        }
        if !(60..=86_400).contains(&self.probe_interval) {
            return wrong(format!("probe_interval = {}: give a number of seconds from 60 to 86400", self.probe_interval));
        }
        Ok(())
    }

    /// How long the resolver keeps its answers for the checks of mail; clients of port 53 get what the list says.
    #[must_use]
    pub fn ttl(&self) -> ZoneTtl {
        let negative_max = self.ttl_max.min(TtlPolicy::BLOCK_LIST.negative_max);
        let mail = TtlPolicy { positive_min: self.ttl_min, positive_max: self.ttl_max, negative_max };
        ZoneTtl { mail, ..ZoneTtl::BLOCK_LIST }
    }

    /// How long answers for its test entries are kept: a list may have got well, or ill, before the next probe.
    pub const TEST_TTL: ZoneTtl = {
        let ttl = TtlPolicy { positive_min: 0, positive_max: SUSPENSION_SECONDS.0, negative_max: SUSPENSION_SECONDS.0 };
        ZoneTtl { mail: ttl, client: TtlPolicy::CLIENT, compact_negatives: false }
    };

    /// The names of its test entries.
    #[must_use]
    pub fn test_names(&self) -> Vec<Name> {
        let name = |probe: Probe| question(probe.address().into(), &Name::absolute(&self.zone).ok()?);
        [Probe::Listed, Probe::NotListed].into_iter().filter_map(name).collect()
    }

    /// What a listing without a name of its own is called.
    pub(super) fn symbol(&self) -> String {
        if let Some(symbol) = &self.symbol {
            return symbol.clone();
        }
        let zone = self.zone.trim_end_matches('.').chars();
        let letters = zone.map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' });
        "DNSBL_".chars().chain(letters).take(SYMBOL_NAME_BYTES_MAX).collect()
    }
}

fn is_symbol(text: &str) -> bool {
    (1..=SYMBOL_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

pub(super) fn parse_codes(text: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (Ipv4Addr, Ipv4Addr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last && first.is_loopback() && last.is_loopback()).then_some((first, last))
}
