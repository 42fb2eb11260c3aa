//! How long answers are kept, as an administrator says it: `[[dns.ttl]]`.

use postring_dns::Name;
use postring_dns::resolver::{TtlPolicy, TtlRules, ZoneTtl};
use serde::{Deserialize, Serialize};

/// A week: nothing is kept longer, not even over a restart. RFC 8767 section 4 advises the same as the cap of a cache.
const TTL_MAX: u32 = 7 * 86_400;
/// Tables; each name that is looked up is compared with theirs.
const RULES_MAX: usize = 1000;

/// `[[dns.ttl]]`: seconds that answers below a zone are kept, for mail (checks and delivery) and for clients of the DNS port. What a table leaves
/// out is as in the one for `.`, the longest zone that fits is taken. Lists of `[[policy.dnsbl]]` have `ttl_min` and `ttl_max` there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TtlConfig {
    /// The zone, and all below it; `.` is all there is.
    pub zone: String,
    /// For mail, an answer with records is kept at least so long, whatever its own time. Default 900: times of 0 to 300 are mostly those of load
    /// balancers, and a host that moves is found by the next attempt; a sender's run of mails falls into a quarter of an hour. Answers that were
    /// validated are never kept longer than they say: DANE counts on it (RFC 7671 section 8.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail_min: Option<u32>,
    /// For mail, an answer with records is kept at most so long. Default 86400: who moves a server plans for a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail_max: Option<u32>,
    /// For mail, that there is no such name or record is kept at most so long. Default 300: who has forgotten an SPF or MX record repairs it and
    /// tries again. It has no minimum: a domain that is being set up must be seen as soon as its zone says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail_negative_max: Option<u32>,
    /// For clients, an answer with records is kept at most so long. Default 86400. There is no minimum: clients were promised the zone's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_max: Option<u32>,
    /// For clients, that there is no such name or record is kept at most so long. Default 900; RFC 2308 section 5 finds one to three hours to work,
    /// but a quarter is enough to keep the servers of others quiet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_negative_max: Option<u32>,
}

impl TtlConfig {
    /// This rule, where it says nothing that of `otherwise`.
    fn or(&self, otherwise: ZoneTtl) -> ZoneTtl {
        let ZoneTtl { mail, client, compact_negatives } = otherwise;
        let mail = TtlPolicy {
            positive_min: self.mail_min.unwrap_or(mail.positive_min),
            positive_max: self.mail_max.unwrap_or(mail.positive_max),
            negative_max: self.mail_negative_max.unwrap_or(mail.negative_max),
        };
        let client = TtlPolicy {
            positive_max: self.client_max.unwrap_or(client.positive_max),
            negative_max: self.client_negative_max.unwrap_or(client.negative_max),
            ..client
        };
        ZoneTtl { mail, client, compact_negatives }
    }

    /// True if this is the rule of a zone itself.
    #[must_use]
    pub fn is_for(&self, zone: &str) -> bool {
        Name::absolute(zone).is_ok_and(|zone| self.name() == Ok(zone.to_key()))
    }

    fn name(&self) -> Result<Name, String> {
        let name = Name::absolute(&self.zone).map_err(|error| format!("dns.ttl: zone = \"{}\": {error}", self.zone))?;
        Ok(name.to_key())
    }
}

/// The rule of all zones without one.
fn default_of(configured: &[TtlConfig]) -> ZoneTtl {
    let root = configured.iter().find(|rule| rule.name() == Ok(Name::root()));
    root.map_or(ZoneTtl::DEFAULT, |rule| rule.or(ZoneTtl::DEFAULT))
}

/// Says what does not fit together: one line with the key, the zone, and what would be right.
pub(super) fn check(configured: &[TtlConfig]) -> Result<(), String> {
    if configured.len() > RULES_MAX {
        return Err(format!("dns.ttl: there are {} tables: give at most {RULES_MAX}", configured.len()));
    }
    let default = default_of(configured);
    let mut seen = std::collections::HashSet::new();
    for rule in configured {
        let zone = &rule.zone;
        if !seen.insert(rule.name()?) {
            return Err(format!("dns.ttl: zone = \"{zone}\" is there twice: put both into one table"));
        }
        for (key, value) in [
            ("mail_min", rule.mail_min),
            ("mail_max", rule.mail_max),
            ("mail_negative_max", rule.mail_negative_max),
            ("client_max", rule.client_max),
            ("client_negative_max", rule.client_negative_max),
        ] {
            if let Some(value) = value.filter(|value| *value > TTL_MAX) {
                return Err(format!("dns.ttl: zone = \"{zone}\": {key} = {value}: give seconds from 0 to {TTL_MAX}, a week"));
            }
        }
        let TtlPolicy { positive_min, positive_max, .. } = rule.or(default).mail;
        if positive_min > positive_max {
            return Err(format!(
                "dns.ttl: zone = \"{zone}\": mail_min is {positive_min} and mail_max {positive_max}: give the smaller as mail_min, the default of either counts"
            ));
        }
    }
    Ok(())
}

/// The rules of a configuration that was checked.
pub(super) fn rules(configured: &[TtlConfig]) -> TtlRules {
    let default = default_of(configured);
    let mut rules = TtlRules::new(default);
    for rule in configured {
        if let Ok(name) = rule.name().map_err(|error| tracing::error!("{error}"))
            && name != Name::root()
        {
            rules.add(&name, rule.or(default));
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(zone: &str) -> TtlConfig {
        TtlConfig {
            zone: zone.to_owned(),
            mail_min: None,
            mail_max: None,
            mail_negative_max: None,
            client_max: None,
            client_negative_max: None,
        }
    }

    #[test]
    fn what_is_left_out_is_as_for_the_root() {
        let configured = [
            TtlConfig { mail_min: Some(0), client_max: Some(1000), ..rule("A.example") },
            TtlConfig { mail_max: Some(7200), mail_negative_max: Some(60), client_negative_max: Some(30), ..rule(".") },
        ];
        assert_eq!(check(&configured), Ok(()));
        let rules = rules(&configured);
        let of = |text: &str| {
            let ZoneTtl { mail, client, compact_negatives } = *rules.of(Name::absolute(text).unwrap().wire());
            assert!(!compact_negatives && client.positive_min == 0);
            [mail.positive_min, mail.positive_max, mail.negative_max, client.positive_max, client.negative_max]
        };
        assert_eq!(of("mx.a.example"), [0, 7200, 60, 1000, 30]);
        assert_eq!(of("b.example"), [900, 7200, 60, 86_400, 30]);
        assert_eq!(check(&[]).map(|()| super::rules(&[]).of(b"\0").mail), Ok(TtlPolicy::MAIL));
    }

    #[test]
    fn errors_name_the_zone_and_what_would_be_right() {
        for (configured, expected) in [
            (vec![rule("a..b")], "dns.ttl: zone = \"a..b\": "),
            (vec![rule("a.b"), rule("A.b.")], "dns.ttl: zone = \"A.b.\" is there twice: put both"),
            (
                vec![TtlConfig { client_max: Some(604_801), ..rule("a.b") }],
                "dns.ttl: zone = \"a.b\": client_max = 604801: give seconds from 0 to 604800",
            ),
            (
                vec![TtlConfig { mail_max: Some(60), ..rule("a.b") }],
                "dns.ttl: zone = \"a.b\": mail_min is 900 and mail_max 60: give",
            ),
            (
                vec![TtlConfig { mail_min: Some(100_000), ..rule("a.b") }, TtlConfig { mail_max: Some(5000), ..rule(".") }],
                "dns.ttl: zone = \"a.b\": mail_min is 100000 and mail_max 5000",
            ),
            (vec![rule("."); 1001], "dns.ttl: there are 1001 tables: give at most 1000"),
        ] {
            let error = check(&configured).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
