//! What is done about mail that shows a domain's name and is not from it.

use crate::dmarc_reports::DmarcReportsConfig;
use crate::points;
use postring_mail::verdict::Symbol;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[policy.dmarc]`: whether a message is from the domain its From field shows (RFC 7489, RFC 9989), and what follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DmarcConfig {
    /// Check it on port 25; it needs `policy.spf.check` and `policy.dkim.check`. Default true.
    pub check: bool,
    /// Milliseconds the policy is waited for behind the last dot; it is asked for when the header is there. Then it is a temporary error, which
    /// counts nothing. Default 5000.
    pub wait_ms: u64,
    /// What is done with a message that fails, whose domain asks to reject it: "refuse" it at the last dot (550 5.7.26), "junk", or "none": points
    /// alone. Default "junk": RFC 9989 section 7.4 asks not to refuse for a policy alone, which mailing lists and forwarders break.
    pub reject: Action,
    /// The same if the domain asks to quarantine it. Default "junk".
    pub quarantine: Action,
    /// What is done with a message whose From field shows several domains, stands there twice or cannot be read, so that no policy can be found for
    /// it: "refuse" (550 5.7.26), "junk" or "none". Default "junk".
    pub broken_from: Action,
    /// How the domain that owns another's name is found: by the "list" of public suffixes (RFC 7489) in the program, or by a "walk" through the DNS
    /// (RFC 9989). Default "list": what most records were written for.
    pub organizational_domain: OrganizationalDomain,
    /// A file of the list of public suffixes to read instead, as publicsuffix.org and Debian's package `publicsuffix` have it; read at a start and a
    /// reload. Default: the list in the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suffix_list: Option<PathBuf>,
    /// What domains are told, a table `[policy.dmarc.reports]`, see below.
    pub reports: DmarcReportsConfig,
    /// Domains whose seals are believed (ARC, RFC 8617), like those of mailing lists your users read: if the chain passes and one of them, with none
    /// but them after it, found the message authentic, the domain's policy is not applied. Default: none.
    pub trusted_sealers: Vec<String>,
    /// Points of "pass". Default -0.5.
    pub pass_points: f64,
    /// Points of "fail" if the domain asks for nothing. Default 0.1.
    pub none_points: f64,
    /// Points of "fail" if the domain asks to quarantine. Default 1.5.
    pub quarantine_points: f64,
    /// Points of "fail" if the domain asks to reject. Default 2.
    pub reject_points: f64,
    /// Points of a From field that cannot be judged. Default 2.
    pub broken_from_points: f64,
    /// Only look, write down and count: no points, nothing is refused or put into the Junk folder. Default false.
    pub dry_run: bool,
}

/// See [`DmarcConfig::reject`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Refused at the last dot.
    Refuse,
    /// Into the Junk folder, whatever its score.
    Junk,
    /// Points alone.
    None,
}

/// See [`DmarcConfig::organizational_domain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrganizationalDomain {
    /// By asking the DNS.
    Walk,
    /// By the list.
    List,
}

impl Default for DmarcConfig {
    fn default() -> Self {
        Self {
            check: true,
            wait_ms: 5000,
            reject: Action::Junk,
            quarantine: Action::Junk,
            broken_from: Action::Junk,
            organizational_domain: OrganizationalDomain::List,
            suffix_list: None,
            reports: DmarcReportsConfig::default(),
            trusted_sealers: Vec::new(),
            // As rspamd has them.
            pass_points: -0.5,
            none_points: 0.1,
            quarantine_points: 1.5,
            reject_points: 2.0,
            broken_from_points: 2.0,
            dry_run: false,
        }
    }
}

/// What came of the check of a message, in the words of RFC 7489.
#[derive(Clone, Copy, Debug)]
pub struct DmarcFound<'a> {
    /// `pass`, `fail`, …
    pub result: &'a str,
    /// What the domain wants done with this message: `none`, `quarantine` or `reject`.
    pub disposition: &'a str,
    /// The domain of the From field; empty if there is none.
    pub author: &'a str,
    /// A trusted sealer found it authentic.
    pub vouched: bool,
    /// The From field is there and names no one domain.
    pub broken_from: bool,
}

impl DmarcConfig {
    /// Says what cannot be.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if !(100..=30_000).contains(&self.wait_ms) {
            return Err(format!("policy.dmarc.wait_ms = {}: give a number from 100 to 30000", self.wait_ms));
        }
        let is_domain =
            |domain: &String| !domain.is_empty() && domain.bytes().all(|byte| byte.is_ascii_graphic()) && !domain.contains('@');
        if let Some(wrong) = self.trusted_sealers.iter().find(|domain| !is_domain(domain)) {
            return Err(format!(
                "policy.dmarc.trusted_sealers: {wrong:?} is no domain; give it as it stands in the d= of ARC-Seal"
            ));
        }
        self.reports.check()?;
        points::check(
            "policy.dmarc",
            &[self.pass_points, self.none_points, self.quarantine_points, self.reject_points, self.broken_from_points],
        )
    }

    /// True if the seals of this domain are believed.
    #[must_use]
    pub fn trusts(&self, sealer: &str) -> bool {
        self.trusted_sealers.iter().any(|domain| domain.eq_ignore_ascii_case(sealer))
    }

    /// The finding for a result; `None` for one that says nothing.
    #[must_use]
    pub fn symbol<'a>(&self, found: DmarcFound<'a>) -> Option<Symbol<'a>> {
        let (name, points) = match (found.result, found.disposition) {
            _ if self.dry_run => return None,
            _ if found.broken_from => ("FROM_BROKEN", self.broken_from_points),
            ("pass", _) => ("DMARC_POLICY_ALLOW", self.pass_points),
            ("fail", _) if found.vouched => return None,
            ("fail", "reject") => ("DMARC_POLICY_REJECT", self.reject_points),
            ("fail", "quarantine") => ("DMARC_POLICY_QUARANTINE", self.quarantine_points),
            ("fail", _) => ("DMARC_POLICY_SOFTFAIL", self.none_points),
            _ => return None,
        };
        Some(points::symbol(name, points, found.author))
    }

    /// What is done with the message beside its points.
    #[must_use]
    pub fn action(&self, found: DmarcFound<'_>) -> Action {
        match (found.result, found.disposition) {
            _ if self.dry_run => Action::None,
            _ if found.broken_from => self.broken_from,
            _ if found.vouched => Action::None,
            ("fail", "reject") => self.reject,
            ("fail", "quarantine") => self.quarantine,
            _ => Action::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_the_administrators() {
        let config = DmarcConfig { reject: Action::Refuse, ..DmarcConfig::default() };
        assert_eq!(config.check(), Ok(()));
        let found =
            |result, disposition, vouched| DmarcFound { result, disposition, author: "a.example", vouched, broken_from: false };
        for (result, disposition, vouched, action, symbol) in [
            ("pass", "none", false, Action::None, Some("DMARC_POLICY_ALLOW")),
            ("fail", "none", false, Action::None, Some("DMARC_POLICY_SOFTFAIL")),
            ("fail", "quarantine", false, Action::Junk, Some("DMARC_POLICY_QUARANTINE")),
            ("fail", "reject", false, Action::Refuse, Some("DMARC_POLICY_REJECT")),
            ("fail", "reject", true, Action::None, None),
            ("temperror", "none", false, Action::None, None),
        ] {
            let found = found(result, disposition, vouched);
            assert_eq!(config.action(found), action, "{found:?}");
            assert_eq!(config.symbol(found).map(|symbol| symbol.name), symbol, "{found:?}");
            let dry = DmarcConfig { dry_run: true, ..config.clone() };
            assert_eq!((dry.action(found), dry.symbol(found)), (Action::None, None), "{found:?}");
        }
    }

    #[test]
    fn a_from_field_of_two_domains_is_no_way_around() {
        let found = DmarcFound { result: "permerror", disposition: "none", author: "", vouched: false, broken_from: true };
        let config = DmarcConfig::default();
        assert_eq!((config.action(found), config.symbol(found).map(|symbol| symbol.weight_milli)), (Action::Junk, Some(2000)));
        // A record that cannot be read is its domain's business.
        let found = DmarcFound { author: "a.example", broken_from: false, ..found };
        assert_eq!((config.action(found), config.symbol(found)), (Action::None, None));
    }

    #[test]
    fn sealers_are_domains() {
        let config = DmarcConfig { trusted_sealers: vec!["lists.example".into()], ..DmarcConfig::default() };
        assert_eq!(config.check(), Ok(()));
        assert!(config.trusts("Lists.example") && !config.trusts("a.lists.example"));
        assert!(DmarcConfig { trusted_sealers: vec!["a@b".into()], ..config.clone() }.check().is_err());
        assert!(DmarcConfig { wait_ms: 0, ..config }.check().is_err());
    }
}
