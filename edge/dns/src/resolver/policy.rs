//! How long answers are kept: by what they are for, by zone, by what they say.
//!
//! Two purposes ask for different things. A mail check wants an answer now, and asks the same for every message of a sender, minutes apart;
//! an hour-old MX is as good as a new one. A client of port 53 was promised the TTL by whoever runs the zone, and never gets more than that.

use super::Answer;
use crate::dnssec::Security;
use crate::name::{Name, suffixes};
use crate::types::Rtype;
use std::collections::HashMap;

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A check or the delivery of a mail, in this process.
    Mail,
    /// A client of port 53, and the resolver's own way to the servers of a zone.
    Client,
}

/// Seconds answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlPolicy {
    /// A positive answer at least, whatever its TTL. It does not raise answers that were validated: their TTL is signed (RFC 4035 section
    /// 5.3.3), and roll-overs of TLSA records count on it (RFC 7671 section 8.1).
    pub positive_min: u32,
    /// A positive answer at most.
    pub positive_max: u32,
    /// A negative answer at most. It has no floor: a domain that is being set up must be seen as soon as its zone says.
    pub negative_max: u32,
}

impl TtlPolicy {
    /// For mail. At least 15 minutes: TTLs of 0 to 300 are mostly those of load balancers, and a host that moves is found again by the next
    /// attempt; a listed sender's run of mails, and the second attempt after greylisting, fall in that time. At most a day, as Unbound and BIND
    /// (a week) cap for resolvers with no say in it. Negative at most 5 minutes: who has forgotten an SPF or MX record repairs it and tries again.
    pub const MAIL: Self = Self { positive_min: 900, positive_max: 86_400, negative_max: 300 };
    /// For clients: what the zone says, at most a day; negative at most 15 minutes, where RFC 2308 section 5 finds one to three hours to work.
    pub const CLIENT: Self = Self { positive_min: 0, positive_max: 86_400, negative_max: 900 };
    /// For block lists, as a rule of a zone. A listing that is lifted must let mail in soon, so it is kept a minute at least (a burst of
    /// connections) and half an hour at most; one that is made may come five minutes late.
    pub const BLOCK_LIST: Self = Self { positive_min: 60, positive_max: 1800, negative_max: 300 };

    fn seconds(&self, says: Says, ttl: u32) -> u32 {
        match says {
            Says::Validated => ttl.min(self.positive_max),
            Says::Positive => ttl.clamp(self.positive_min.min(self.positive_max), self.positive_max),
            Says::Negative => ttl.min(self.negative_max),
        }
    }
}

/// What of an answer decides about its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    Positive,
    Validated,
    Negative,
}

impl Says {
    pub(super) fn of(rtype: Rtype, answer: &Answer) -> Self {
        let positive = answer.records.iter().any(|record| record.rtype == rtype || rtype == Rtype::ANY);
        match (positive, answer.security) {
            (true, Security::Secure) => Self::Validated,
            (true, Security::Unchecked | Security::Insecure) => Self::Positive,
            (false, _) => Self::Negative,
        }
    }
}

/// What is different below a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneTtl {
    /// For mail.
    pub mail: TtlPolicy,
    /// For clients.
    pub client: TtlPolicy,
    /// Negative answers for mail are kept in the [`super::NegativeStore`] only, 8 octets each, and believed from there. For zones in which a wrong
    /// negative does no more than let one mail pass one check: block lists.
    pub compact_negatives: bool,
}

impl ZoneTtl {
    /// Of all zones without a rule.
    pub const DEFAULT: Self = Self { mail: TtlPolicy::MAIL, client: TtlPolicy::CLIENT, compact_negatives: false };
    /// Of a remote block list.
    pub const BLOCK_LIST: Self = Self { mail: TtlPolicy::BLOCK_LIST, client: TtlPolicy::CLIENT, compact_negatives: true };
}

/// The rules of a resolver.
#[derive(Clone, Debug)]
pub struct TtlRules {
    default: ZoneTtl,
    zones: HashMap<Box<[u8]>, ZoneTtl>,
}

impl Default for TtlRules {
    fn default() -> Self {
        Self::new(ZoneTtl::DEFAULT)
    }
}

impl TtlRules {
    /// The same for all zones.
    #[must_use]
    pub fn new(default: ZoneTtl) -> Self {
        Self { default, zones: HashMap::new() }
    }

    /// Another rule for a name and all below it; the longest name that fits is taken.
    pub fn add(&mut self, zone: &Name, rule: ZoneTtl) {
        self.zones.insert(zone.to_key().wire().into(), rule);
    }

    /// The rule for a name, lower-case. Costs a look-up a label if there are rules for zones, nothing without.
    #[must_use]
    pub fn of(&self, key: &[u8]) -> &ZoneTtl {
        if self.zones.is_empty() {
            return &self.default;
        }
        suffixes(key).find_map(|suffix| self.zones.get(suffix)).unwrap_or(&self.default)
    }
}

impl ZoneTtl {
    fn of(&self, purpose: Purpose) -> &TtlPolicy {
        match purpose {
            Purpose::Mail => &self.mail,
            Purpose::Client => &self.client,
        }
    }

    pub(super) fn seconds(&self, purpose: Purpose, says: Says, ttl: u32) -> u32 {
        self.of(purpose).seconds(says, ttl)
    }
}

/// Seconds the first failure is kept (RFC 9520 section 3.2 wants one at least).
pub const FAILURE_TTL_MIN: u32 = 5;
/// Seconds a failure is kept at most, which a fault that lasts comes to by doubling (RFC 9520 section 3.2 allows no more).
pub const FAILURE_TTL_MAX: u32 = 300;

/// Seconds a failure is kept after so many before it.
pub(super) fn failure_ttl(before: u8) -> u32 {
    FAILURE_TTL_MIN.checked_shl(before.into()).unwrap_or(FAILURE_TTL_MAX).clamp(FAILURE_TTL_MIN, FAILURE_TTL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_zone_rules() {
        let name = |text: &str| Name::absolute(text).unwrap();
        let mut rules = TtlRules::default();
        rules.add(&name("Example"), ZoneTtl::BLOCK_LIST);
        rules.add(&name("b.example"), ZoneTtl::DEFAULT);
        for (text, compact) in [("example", true), ("a.example", true), ("x.b.example", false), ("other", false), (".", false)] {
            assert_eq!(rules.of(name(text).wire()).compact_negatives, compact, "{text}");
        }
    }

    #[test]
    fn times() {
        let seconds = |says, ttl| [Purpose::Mail, Purpose::Client].map(|purpose| ZoneTtl::DEFAULT.seconds(purpose, says, ttl));
        assert_eq!(seconds(Says::Positive, 60), [900, 60]);
        assert_eq!(seconds(Says::Positive, 1_000_000), [86_400, 86_400]);
        assert_eq!(seconds(Says::Validated, 60), [60, 60]);
        assert_eq!(seconds(Says::Negative, 600), [300, 600]);
        assert_eq!(seconds(Says::Negative, 0), [0, 0]);
        assert_eq!([0, 1, 5, 6, 31, 32, 255].map(failure_ttl), [5, 10, 160, 300, 300, 300, 300]);
    }
}
