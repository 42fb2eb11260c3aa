//! What a message's signatures are worth.

use crate::points;
use postring_mail::verdict::Symbol;
use serde::{Deserialize, Serialize};

/// `[policy.dkim]`: whether a domain has signed the message (RFC 6376), and what follows. By itself it refuses nobody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DkimConfig {
    /// Verify signatures on port 25. Default true.
    pub check: bool,
    /// Milliseconds the keys are waited for behind the last dot; they are asked for when the header is there. Then it is a temporary error, which
    /// counts nothing. Default 5000.
    pub wait_ms: u64,
    /// Points if at least one signature is good. Default -0.2.
    pub pass_points: f64,
    /// Points if there are signatures and none is good. Default 0: RFC 6376 section 6.1 asks to treat such a message as one without; mailing
    /// lists break signatures every day.
    pub fail_points: f64,
}

impl Default for DkimConfig {
    fn default() -> Self {
        Self { check: true, wait_ms: 5000, pass_points: -0.2, fail_points: 0.0 }
    }
}

impl DkimConfig {
    /// Says what cannot be.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if !(100..=30_000).contains(&self.wait_ms) {
            return Err(format!("policy.dkim.wait_ms = {}: give a number from 100 to 30000", self.wait_ms));
        }
        points::check("policy.dkim", &[self.pass_points, self.fail_points])
    }

    /// The finding for the results of a message's signatures, each by its name in RFC 8601 section 2.7.1 with its domain; `None` if they say nothing.
    #[must_use]
    pub fn symbol<'d>(&self, results: impl Iterator<Item = (&'static str, &'d str)>) -> Option<Symbol<'d>> {
        let mut failed = None;
        for (result, domain) in results {
            match result {
                "pass" => return Some(points::symbol("R_DKIM_ALLOW", self.pass_points, domain)),
                "fail" | "permerror" => failed = failed.or(Some(domain)),
                _ => {}
            }
        }
        failed.map(|domain| points::symbol("R_DKIM_REJECT", self.fail_points, domain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_good_signature_is_enough() {
        let config = DkimConfig { fail_points: 1.0, ..DkimConfig::default() };
        assert_eq!(config.check(), Ok(()));
        let symbol = |results: &[(&'static str, &'static str)]| {
            config.symbol(results.iter().copied()).map(|symbol| (symbol.name, symbol.weight_milli, symbol.detail))
        };
        assert_eq!(symbol(&[("fail", "a.example"), ("pass", "b.example")]), Some(("R_DKIM_ALLOW", -200, "b.example")));
        assert_eq!(
            symbol(&[("neutral", ""), ("permerror", "a.example"), ("fail", "b.example")]),
            Some(("R_DKIM_REJECT", 1000, "a.example"))
        );
        assert_eq!(symbol(&[("none", ""), ("temperror", "a.example"), ("policy", "a.example")]), None);
        assert!(DkimConfig { wait_ms: 1, ..config.clone() }.check().is_err());
        assert!(DkimConfig { pass_points: f64::INFINITY, ..config }.check().is_err());
    }
}
