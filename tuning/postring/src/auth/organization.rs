//! `postring auth org-domain`: where an organization ends.

use super::arguments::{OrgDomainQuestion, OrganizationArguments};
use super::lookup::check;
use crate::config::Config;
use crate::dns::{print_json, servers};
use postring_auth::dmarc::{Domain, OrganizationalDomain, PublicSuffixes, organization};
use serde_json::json;
use std::borrow::Cow;

pub fn run(question: &OrgDomainQuestion, load: impl FnOnce() -> Result<Config, String>) -> Result<(), String> {
    let text = &question.domain;
    let domain = Domain::new(text.strip_suffix('.').unwrap_or(text)).ok_or_else(|| format!("\"{text}\" is no domain name"))?;
    let (method, suffixes) = question.organization.read()?;
    let found = match method {
        OrganizationalDomain::PublicSuffixList => Some(suffixes.organization(&domain)),
        OrganizationalDomain::TreeWalk => {
            let config = servers(question.resolver, load);
            check(&config, async |lookup| organization(lookup, &domain, method, &suffixes).await)?
        }
    };
    let found = found.ok_or_else(|| format!("the DNS could not say which organization {domain} belongs to"))?;
    if question.json {
        print_json(&json!({
            "domain": domain.as_str(),
            "organizational_domain": found.as_str(),
            "method": method.name(),
        }))
    } else {
        println!("{found}");
        Ok(())
    }
}

impl OrganizationArguments {
    /// The method, and the list for it.
    pub fn read(&self) -> Result<(OrganizationalDomain, Cow<'static, PublicSuffixes>), String> {
        let method = if self.tree_walk { OrganizationalDomain::TreeWalk } else { OrganizationalDomain::PublicSuffixList };
        let Some(file) = &self.psl else { return Ok((method, Cow::Borrowed(PublicSuffixes::built_in()))) };
        Ok((method, Cow::Owned(postring_edge::read_suffixes(file)?)))
    }
}
