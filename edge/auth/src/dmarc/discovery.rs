//! Policy discovery: which record is for an author (RFC 7489 section 6.6.3, RFC 9989 section 4.10.1).

use super::organization::{LABELS_MAX, walk};
use super::zone::{Found, Unanswered, Zone};
use super::{Domain, OrganizationalDomain, PublicSuffix, Record, Settings};
use crate::Lookup;
use postring_dns::Name;
use std::rc::Rc;

/// What discovery comes to.
pub(super) enum Discovery {
    /// The record of this domain.
    Record(Domain, Rc<Record>),
    /// Nobody has published anything for the author.
    Nothing,
    /// This domain has so many records, and discovery ends.
    Several(Domain, usize),
}

/// Names whose TXT records the check of an author will most likely ask for, so that they can be asked for before the message has ended; at most eight.
pub fn likely_questions<'a>(author: &Domain, settings: &Settings<'a>) -> impl Iterator<Item = Name> + use<'a> {
    let mut domains = vec![author.clone()];
    match settings.organizational_domain {
        OrganizationalDomain::PublicSuffixList => domains.push(settings.suffixes.organization(author)),
        OrganizationalDomain::TreeWalk => {
            while let Some(parent) = domains.last().and_then(Domain::parent) {
                domains.push(parent.last_labels(LABELS_MAX));
            }
        }
    }
    domains.dedup();
    domains.into_iter().filter_map(|domain| Name::absolute(&format!("_dmarc.{domain}")).ok())
}

/// Finds the record for an author.
pub(super) async fn discover<L: Lookup>(
    zone: &Zone<'_, L>,
    author: &Domain,
    settings: &Settings<'_>,
) -> Result<Discovery, Unanswered> {
    match settings.organizational_domain {
        OrganizationalDomain::PublicSuffixList => {
            //= RFC 7489 section 6.6.3
            //# If the set is now empty, the Mail Receiver MUST query the DNS for a DMARC TXT record at the DNS domain matching the
            //# Organizational Domain in place of the RFC5322.From domain in the message (if different).
            let mut domain = author.clone();
            let mut found = zone.records(author).await?;
            if matches!(found, Found::Nothing) {
                domain = settings.suffixes.organization(author);
                found = zone.records(&domain).await?;
            }
            //= RFC 7489 section 6.6.3
            //# If the remaining set contains multiple records or no records, policy discovery terminates and DMARC processing is not
            //# applied to this message.
            Ok(match found {
                Found::One(record) => Discovery::Record(domain, record),
                Found::Nothing => Discovery::Nothing,
                Found::Several(count) => Discovery::Several(domain, count),
            })
        }
        OrganizationalDomain::TreeWalk => {
            if let Found::One(record) = zone.records(author).await? {
                return Ok(Discovery::Record(author.clone(), record));
            }
            //= RFC 9989 section 4.10.1
            //# The DMARC Policy Record to be applied to an email message will be the record found at any of the following locations,
            //# listed from highest preference to lowest: [...] The Author Domain [...] The Organizational Domain of the Author Domain
            //# [...] The Public Suffix Domain of the Author Domain
            let walk = walk(zone, author).await?;
            let of_organization = walk.found.iter().find(|(domain, _)| *domain == walk.organization);
            let of_suffix = || walk.found.iter().find(|(_, record)| record.public_suffix == PublicSuffix::Yes);
            Ok(match of_organization.or_else(of_suffix) {
                Some((domain, record)) => Discovery::Record(domain.clone(), record.clone()),
                None => Discovery::Nothing,
            })
        }
    }
}
