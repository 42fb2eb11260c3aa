//! Whether domains are told of the mail that shows their names.

use postring_mail::path::{Characters, parse_mailbox};
use serde::{Deserialize, Serialize};

/// `[policy.dmarc.reports]`: aggregate reports (RFC 7489 section 7.2), sent once a day to the domains that ask for them with `rua=`.
///
/// Off until there is an address to send them from: they tell others who sends mail to your users, and answers to them must find a reader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DmarcReportsConfig {
    /// Their sender, like dmarc-reports@example.org: an address with a mailbox here, whose domain lets this host send. Default empty: nothing is collected,
    /// and nothing sent.
    pub from: String,
    /// Name of your organization in the reports. Default empty: the name of this host.
    pub organization: String,
    /// Domains that are never told. Default: none.
    pub never: Vec<String>,
}

impl DmarcReportsConfig {
    /// True if reports are sent.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.from.is_empty()
    }

    /// True if this domain is to be told nothing.
    #[must_use]
    pub fn is_never(&self, domain: &str) -> bool {
        self.never.iter().any(|never| never.eq_ignore_ascii_case(domain))
    }

    /// Says what cannot be.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if self.is_on() && parse_mailbox(&self.from, Characters::Ascii).is_err() {
            return Err(format!(
                "policy.dmarc.reports.from = \"{}\": give an address, like dmarc-reports@example.org",
                self.from
            ));
        }
        if self.organization.chars().any(char::is_control) || self.organization.len() > 200 {
            return Err("policy.dmarc.reports.organization: give at most 200 octets without control characters".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_turns_them_on() {
        let config = DmarcReportsConfig::default();
        assert!(!config.is_on() && config.check().is_ok());
        let config = DmarcReportsConfig { from: "a@b.example".into(), never: vec!["X.example".into()], ..config };
        assert!(config.is_on() && config.check().is_ok() && config.is_never("x.example") && !config.is_never("a.x.example"));
        assert!(
            DmarcReportsConfig { from: "a b".into(), ..config.clone() }.check().unwrap_err().contains("reports.from = \"a b\"")
        );
        assert!(DmarcReportsConfig { organization: "a\nb".into(), ..config }.check().is_err());
    }
}
