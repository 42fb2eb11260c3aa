//! Rules about a client and a sender: what is looked at, what it counts, and whether it refuses.
//!
//! A rule that hits adds its points to the message's score; with `refuse` the recipients are refused with a reply of its own, but for the postmaster;
//! with `dry_run` it only counts in the metrics. Nothing that could not be found out hits.

mod helo;

pub use helo::helo_rules;

use crate::points;
use postring_mail::Reply;
use postring_mail::verdict::Symbol;
use serde::{Deserialize, Serialize};

/// What an administrator sets of one rule; what is not given is the rule's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleConfig {
    /// Points for the message's score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points: Option<f64>,
    /// Refuse the recipients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuse: Option<bool>,
    /// Only count it.
    pub dry_run: bool,
}

/// The defaults of a rule.
struct Defaults {
    points: f64,
    refuse: bool,
    reply: Reply,
}

macro_rules! rules {
    (
        $(#[$doc:meta])*
        pub struct RulesConfig {
            $($(#[doc = $help:literal])+ pub $key:ident: $rule:ident $symbol:literal = $points:literal, $refuse:literal, $code:literal $subject:literal $detail:literal $text:literal;)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct RulesConfig {
            $($(#[doc = $help])+ pub $key: RuleConfig,)+
        }

        /// One rule; what it says stands at the field of its name in [`RulesConfig`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Rule { $($(#[doc = $help])+ $rule,)+ }

        impl Rule {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$rule,)+];

            /// Its key in `[policy.rules]`, and its name in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$rule => stringify!($key),)+ } }

            /// What it is called in X-Spam-Symbols.
            #[must_use]
            pub const fn symbol(self) -> &'static str { match self { $(Self::$rule => $symbol,)+ } }

            fn defaults(self) -> Defaults {
                match self {
                    $(Self::$rule => Defaults { points: $points, refuse: $refuse, reply: Reply::fixed($code, $subject, $detail, $text) },)+
                }
            }
        }

        impl RulesConfig {
            fn of(&self, rule: Rule) -> RuleConfig { match rule { $(Rule::$rule => self.$key,)+ } }
        }
    };
}

rules! {
    /// `[policy.rules]`: each rule is a table of `points`, `refuse` and `dry_run`, like `helo_unknown = { points = 1.0, refuse = true }`. They hold
    /// for clients of port 25 that are not in `policy.trusted_networks`, and are looked at when the first recipient of a message is accepted.
    pub struct RulesConfig {
        /// The client calls itself by our name or address. Default: refuse.
        pub helo_own_name: HeloOwnName "HELO_OWN_NAME" = 0.0, true, 550 7 1 "You said EHLO with our name; say your own";
        /// It gives an address without brackets, or one that is not its own. Default: 3 points.
        pub helo_address: HeloAddress "HELO_ADDRESS" = 3.0, false, 550 7 1 "You said EHLO with an address; give your host's name (RFC 5321 section 4.1.1.1)";
        /// It gives a name without a dot, or what is no name. Default: 2 points.
        pub helo_not_qualified: HeloNotQualified "HELO_NOT_QUALIFIED" = 2.0, false, 550 7 1 "You said EHLO with what is no full name; give your host's name (RFC 5321 section 4.1.1.1)";
        /// The name it gives has neither address nor MX in the DNS. Default: 2 points.
        pub helo_unknown: HeloUnknown "HELO_UNKNOWN" = 2.0, false, 550 7 1 "The name you gave with EHLO is not in the DNS";
        /// Its address has no name in the DNS (PTR). Default: 2 points.
        pub reverse_name_missing: ReverseNameMissing "REVERSE_NAME_MISSING" = 2.0, false, 550 7 25 "Your address has no name in the DNS; give it a PTR record";
        /// The name of its address does not lead back to it. Default: 1 point.
        pub reverse_name_unconfirmed: ReverseNameUnconfirmed "REVERSE_NAME_UNCONFIRMED" = 1.0, false, 550 7 25 "The name of your address does not lead back to it; give it an address record";
        /// The sender's domain has neither MX nor address. Default: 3 points.
        pub sender_domain_unknown: SenderDomainUnknown "SENDER_DOMAIN_UNKNOWN" = 3.0, false, 550 1 8 "The domain of the sender address cannot be answered: it has no MX and no address";
        /// The sender's domain says that it takes no mail (null MX, RFC 7505). Default: 3 points.
        pub sender_null_mx: SenderNullMx "SENDER_NULL_MX" = 3.0, false, 550 7 27 "The domain of the sender address says that it takes no mail (null MX)";
        /// It spoke before the greeting (`policy.greeting_wait_ms`). Default: refuse.
        pub early_talk: EarlyTalk "EARLY_TALK" = 0.0, true, 554 5 1 "You spoke before the greeting (RFC 5321 section 4.3.1)";
    }
}

impl Rule {
    /// Its place among all, for metrics.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl RulesConfig {
    /// Says what cannot be.
    ///
    /// # Errors
    /// One line that names the rule.
    pub fn check(&self) -> Result<(), String> {
        Rule::ALL.iter().try_for_each(|rule| points::check(&format!("policy.rules.{}", rule.name()), &[self.points(*rule)]))
    }

    /// Points of a rule, whether it is only counted or not.
    fn points(&self, rule: Rule) -> f64 {
        self.of(rule).points.unwrap_or(rule.defaults().points)
    }

    /// The finding for a rule that has hit; `None` if it counts nothing.
    #[must_use]
    pub fn symbol(&self, rule: Rule) -> Option<Symbol<'static>> {
        let points = self.points(rule);
        (!self.of(rule).dry_run && points != 0.0).then(|| points::symbol(rule.symbol(), points, ""))
    }

    /// The reply of a rule that has hit, if it refuses.
    #[must_use]
    pub fn refusal(&self, rule: Rule) -> Option<Reply> {
        let (set, defaults) = (self.of(rule), rule.defaults());
        (set.refuse.unwrap_or(defaults.refuse) && !set.dry_run).then_some(defaults.reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_keeps_what_is_not_set() {
        let text = r#"{ "helo_unknown": { "refuse": true }, "helo_own_name": { "dry_run": true, "points": 4.0 }, "early_talk": { "points": -1.5 } }"#;
        let config: RulesConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(
            config.symbol(Rule::HeloUnknown).map(|symbol| (symbol.name, symbol.weight_milli)),
            Some(("HELO_UNKNOWN", 2000))
        );
        assert_eq!(
            config.refusal(Rule::HeloUnknown).unwrap().to_string(),
            "550 5.7.1 The name you gave with EHLO is not in the DNS"
        );
        assert_eq!((config.symbol(Rule::HeloOwnName), config.refusal(Rule::HeloOwnName)), (None, None));
        assert_eq!(config.symbol(Rule::EarlyTalk).map(|symbol| symbol.weight_milli), Some(-1500));
        assert!(config.refusal(Rule::EarlyTalk).is_some() && config.refusal(Rule::HeloAddress).is_none());
        assert!(serde_json::from_str::<RulesConfig>(r#"{ "helo": {} }"#).is_err());
        let bad: RulesConfig = serde_json::from_str(r#"{ "helo_unknown": { "points": 1e9 } }"#).unwrap();
        assert!(bad.check().unwrap_err().starts_with("policy.rules.helo_unknown: "));
    }

    #[test]
    fn names_and_symbols_agree() {
        for (place, rule) in Rule::ALL.iter().enumerate() {
            assert_eq!((rule.index(), rule.symbol()), (place, rule.name().to_ascii_uppercase().as_str()));
            assert!(rule.defaults().reply.to_string().len() < 200);
        }
    }
}
