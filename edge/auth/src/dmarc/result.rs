//! What came of the check of a message, with all that a report to the domain's owner will want (RFC 7489 section 7.2).

use super::{Domain, OrganizationalDomain, Policy, Record};
use crate::dkim::write_value;
use std::fmt;

/// The result of a check (RFC 7489 section 11.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmarcResult {
    /// There is no policy for the author, or no author.
    None,
    /// An aligned domain passed.
    Pass,
    /// None did.
    Fail,
    /// The DNS could not say; another time it may.
    TempError,
    /// The From field or the policy record is not as it must be.
    PermError,
}

impl DmarcResult {
    /// As it stands in Authentication-Results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }

    /// True if the message is known to be the author's, or not to be.
    #[must_use]
    pub fn is_decided(self) -> bool {
        matches!(self, Self::Pass | Self::Fail)
    }
}

impl fmt::Display for DmarcResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The tag of the record that is for the author.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// `p=`: for the domain of the record, or for what is below in want of another.
    Policy,
    /// `sp=`: for domains below.
    Subdomain,
    /// `np=`: for domains below that do not exist.
    Nonexistent,
}

impl Tag {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "p",
            Self::Subdomain => "sp",
            Self::Nonexistent => "np",
        }
    }
}

/// The record that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The domain that has published it.
    pub domain: Domain,
    /// What it says, as it is applied.
    pub record: Record,
    /// How it was found.
    pub discovery: OrganizationalDomain,
    /// The tag that is for the author.
    pub tag: Tag,
    /// The policy it asks for.
    pub policy: Policy,
}

/// Why the disposition is gentler than the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    /// The domain tests its policy (`t=y`).
    Testing,
    /// The message is not one of the `pct=` of a hundred.
    SampledOut,
}

/// What has authenticated a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The envelope's sender, or what the client calls itself if there is none.
    Spf,
    /// A signature with this selector.
    Dkim(String),
}

/// A domain that passed, or may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identifier {
    /// What passed.
    pub mechanism: Mechanism,
    /// For which domain.
    pub domain: Domain,
    /// True if it passed; else the DNS could not say.
    pub passed: bool,
    /// True if the domain is aligned with the author's; `None` if the DNS could not say.
    pub aligned: Option<bool>,
}

/// The outcome of a check. Displayed it is the `resinfo` of an Authentication-Results field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dmarc {
    /// The result.
    pub result: DmarcResult,
    /// The Author Domain, if there is one.
    pub author: Option<Domain>,
    /// The record, if there is one that is applied.
    pub published: Option<Published>,
    /// The domains that passed SPF or DKIM, or may have; empty if there is no record.
    pub identifiers: Vec<Identifier>,
    /// What the domain wants done with this message: [`Policy::None`] for all that does not fail. What is done the receiver decides.
    pub disposition: Policy,
    /// Why the disposition is not the policy.
    pub overridden: Option<Override>,
    /// Why, for people. It quotes nothing but domains.
    pub reason: String,
    /// Questions asked of the DNS.
    pub questions: usize,
}

impl Dmarc {
    /// True if SPF passed for an aligned domain: the `spf` of a report's `policy_evaluated`.
    #[must_use]
    pub fn spf_passed(&self) -> bool {
        self.identifiers.iter().any(|identifier| identifier.mechanism == Mechanism::Spf && identifier.is_authentic())
    }

    /// True if a signature of an aligned domain passed: the `dkim` of a report's `policy_evaluated`.
    #[must_use]
    pub fn dkim_passed(&self) -> bool {
        self.identifiers.iter().any(|identifier| identifier.mechanism != Mechanism::Spf && identifier.is_authentic())
    }
}

impl Identifier {
    /// True if it passed and is aligned.
    #[must_use]
    pub fn is_authentic(&self) -> bool {
        self.passed && self.aligned == Some(true)
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mechanism {
            Mechanism::Spf => write!(f, "SPF of {}", self.domain),
            Mechanism::Dkim(_) => write!(f, "the signature of {}", self.domain),
        }
    }
}

impl fmt::Display for Dmarc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dmarc={}", self.result)?;
        if let Some(Published { record, .. }) = &self.published {
            let tags = [("p", record.policy), ("sp", record.subdomain_policy), ("np", record.nonexistent_policy)];
            f.write_str(" (")?;
            for (name, policy) in tags {
                if let Some(policy) = policy {
                    write!(f, "{name}={policy} ")?;
                }
            }
            write!(f, "dis={})", self.disposition)?;
        }
        if self.result != DmarcResult::Pass {
            f.write_str(" reason=")?;
            write_value(&self.reason, f)?;
        }
        // RFC 7489 section 11.1: the property is header.from.
        if let Some(author) = &self.author {
            f.write_str(" header.from=")?;
            write_value(author.as_str(), f)?;
        }
        Ok(())
    }
}
