//! The Organizational Domain: the highest domain that belongs to the same people (RFC 7489 section 3.2, RFC 9989 section 4.10).

use super::zone::{Found, Unanswered, Zone};
use super::{Domain, PublicSuffix, PublicSuffixes, Record};
use crate::Lookup;
use std::fmt;
use std::rc::Rc;

/// How the Organizational Domain is found. Why which is the default: `edge/decisions/0010-the-organization-by-the-list.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrganizationalDomain {
    /// One label more than the public suffix list has (RFC 7489).
    #[default]
    PublicSuffixList,
    /// By the records on the way up to the top-level domain (RFC 9989): at most eight questions a domain.
    TreeWalk,
}

impl OrganizationalDomain {
    /// As aggregate reports have it (RFC 9990, `discovery_method`).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PublicSuffixList => "psl",
            Self::TreeWalk => "treewalk",
        }
    }
}

impl fmt::Display for OrganizationalDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The domains a walk looks at below the one where it starts.
//= RFC 9989 section 4.10
//# If x < 8, remove the left-most (highest-numbered) label from the subject domain. If x >= 8, remove the left-most (highest-numbered)
//# labels from the subject domain until 7 labels remain.
pub(super) const LABELS_MAX: usize = 7;

/// What a walk has found.
#[derive(Debug)]
pub(super) struct Walk {
    /// The domains that have one record, from the longest to the shortest.
    pub found: Vec<(Domain, Rc<Record>)>,
    pub organization: Domain,
}

/// Walks up from a domain.
///
/// Cost: at most eight questions, one after the other, without those this check has asked before.
pub(super) async fn walk<L: Lookup>(zone: &Zone<'_, L>, start: &Domain) -> Result<Walk, Unanswered> {
    let mut found = Vec::new();
    let mut next = Some(start.clone());
    while let Some(domain) = next {
        //= RFC 9989 section 4.10
        //# If multiple DMARC Policy Records are returned, they are all discarded. If a single record remains and it contains either a
        //# "psd=y" tag or a "psd=n" tag, stop.
        if let Found::One(record) = zone.records(&domain).await? {
            let stop = record.public_suffix != PublicSuffix::Unknown;
            found.push((domain.clone(), record));
            if stop {
                break;
            }
        }
        next = domain.parent().map(|parent| parent.last_labels(LABELS_MAX));
    }
    let organization = select(start, &found);
    Ok(Walk { found, organization })
}

/// Which of the domains is the Organizational Domain (RFC 9989 section 4.10.2).
fn select(start: &Domain, found: &[(Domain, Rc<Record>)]) -> Domain {
    for (domain, record) in found {
        match record.public_suffix {
            PublicSuffix::No => return domain.clone(),
            PublicSuffix::Yes if domain != start => return start.last_labels(domain.label_count() + 1),
            _ => {}
        }
    }
    // A top-level domain whose record says nothing of psd= would make one organization of all that is below; it has to say psd=n.
    let top = |domain: &Domain| domain.parent().is_none() && domain != start;
    found.iter().rev().map(|(domain, _)| domain).find(|domain| !top(domain)).unwrap_or(start).clone()
}

/// The Organizational Domain of a domain; `None` if the DNS cannot say.
pub async fn organization(
    lookup: &impl Lookup,
    domain: &Domain,
    method: OrganizationalDomain,
    suffixes: &PublicSuffixes,
) -> Option<Domain> {
    match method {
        OrganizationalDomain::PublicSuffixList => Some(suffixes.organization(domain)),
        OrganizationalDomain::TreeWalk => walk(&Zone::new(lookup), domain).await.ok().map(|walk| walk.organization),
    }
}
