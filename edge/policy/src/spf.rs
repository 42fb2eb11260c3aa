//! What a result of SPF is worth.

use crate::points;
use postring_mail::verdict::Symbol;
use serde::{Deserialize, Serialize};

/// `[policy.spf]`: whether the sender's domain allows the client (RFC 7208), and what follows.
///
/// By itself it refuses nobody: a forwarder sends with addresses of others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpfConfig {
    /// Check it on port 25. Default true.
    pub check: bool,
    /// Milliseconds a check may take, from the first recipient on; then it is a temporary error, which counts nothing. Default 5000.
    pub wait_ms: u64,
    /// Check the name in EHLO as well, beside the sender's domain. Default true.
    pub check_helo: bool,
    /// Refuse at the last dot what the domain says is not its own ("fail") with 550 5.7.23 and the explanation of the domain, if it has one.
    /// Default false: DMARC asks the same and lets a signed mail pass.
    pub reject_fail: bool,
    /// Points of "fail". Default 1.
    pub fail_points: f64,
    /// Points of "fail" of the name in EHLO: somebody uses a name whose owner says that he may not. Default 1.
    pub helo_fail_points: f64,
    /// Points of "softfail". Default 0.
    pub softfail_points: f64,
    /// Points of "pass". Default -0.2.
    pub pass_points: f64,
    /// Points of a record that is wrong ("permerror"). Default 0.
    pub permerror_points: f64,
    /// Only look, write down and count: no points, no refusal. Default false.
    pub dry_run: bool,
}

impl Default for SpfConfig {
    fn default() -> Self {
        Self {
            check: true,
            wait_ms: 5000,
            check_helo: true,
            reject_fail: false,
            helo_fail_points: 1.0,
            // These four as rspamd has them.
            fail_points: 1.0,
            softfail_points: 0.0,
            pass_points: -0.2,
            permerror_points: 0.0,
            dry_run: false,
        }
    }
}

impl SpfConfig {
    /// Says what cannot be.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if !(100..=30_000).contains(&self.wait_ms) {
            return Err(format!("policy.spf.wait_ms = {}: give a number from 100 to 30000", self.wait_ms));
        }
        let points = [self.fail_points, self.helo_fail_points, self.softfail_points, self.pass_points, self.permerror_points];
        points::check("policy.spf", &points)
    }

    /// The finding for a result of the name in EHLO; none but "fail" says anything.
    #[must_use]
    pub fn symbol_of_helo<'d>(&self, result: &str, name: &'d str) -> Option<Symbol<'d>> {
        (result == "fail" && !self.dry_run).then(|| points::symbol("R_SPF_HELO_FAIL", self.helo_fail_points, name))
    }

    /// The finding for a result by its name in RFC 7208 section 2.6; `None` for one that says nothing.
    #[must_use]
    pub fn symbol<'d>(&self, result: &str, domain: &'d str) -> Option<Symbol<'d>> {
        let (name, points) = match result {
            _ if self.dry_run => return None,
            "pass" => ("R_SPF_ALLOW", self.pass_points),
            "fail" => ("R_SPF_FAIL", self.fail_points),
            "softfail" => ("R_SPF_SOFTFAIL", self.softfail_points),
            "permerror" => ("R_SPF_PERMFAIL", self.permerror_points),
            _ => return None,
        };
        Some(points::symbol(name, points, domain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_symbols() {
        let config = SpfConfig::default();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(
            config.symbol("fail", "a.example"),
            Some(Symbol { name: "R_SPF_FAIL", weight_milli: 1000, detail: "a.example" })
        );
        assert_eq!(config.symbol("pass", "a.example").map(|symbol| symbol.weight_milli), Some(-200));
        assert_eq!(config.symbol("neutral", "a.example").or(config.symbol("none", "")).or(config.symbol("temperror", "")), None);
        assert_eq!(config.symbol_of_helo("fail", "mx").map(|symbol| symbol.weight_milli), Some(1000));
        assert_eq!(config.symbol_of_helo("softfail", "mx"), None);
        assert_eq!(SpfConfig { dry_run: true, ..config.clone() }.symbol("fail", "a.example"), None);
        assert!(SpfConfig { wait_ms: 0, ..config.clone() }.check().is_err());
        assert!(SpfConfig { fail_points: f64::NAN, ..config }.check().is_err());
    }
}
