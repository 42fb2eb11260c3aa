//! Asks, and goes through the terms (RFC 7208 sections 4 and 5).

use super::macros::{MacroString, Place, Values};
use super::network::{Prefixes, is_in};
use super::record::{Mechanism, Qualifier, SpfRecord, is_spf, parse};
use super::{Session, Spf, SpfResult};
use crate::Lookup;
use postring_dns::resolver::Resolved;
use postring_dns::{Name, Rcode, Rtype, record};
use std::cell::Cell;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

/// Terms that ask the DNS.
//= RFC 7208 section 4.6.4
//# SPF implementations MUST limit the total number of those terms to 10 during SPF evaluation
const LOOKUPS_MAX: usize = 10;
/// Questions of those terms that may come to nothing.
//= RFC 7208 section 4.6.4
//# SPF implementations SHOULD limit "void lookups" to two.
const VOIDS_MAX: usize = 2;
/// Hosts of one `mx` term, and names of the client that are looked at.
//= RFC 7208 section 4.6.4
//# the evaluation of each "MX" record MUST NOT result in querying more than 10 address records
const HOSTS_MAX: usize = 10;

/// What ends an evaluation before a term has decided.
enum Stop {
    Temporary(String),
    Permanent(String),
}

/// What a record says.
struct Said {
    result: SpfResult,
    reason: String,
    /// The explanation of the record that decided, and its domain.
    explanation: Option<(MacroString, String)>,
}

impl Said {
    fn plainly(result: SpfResult, reason: impl Into<String>) -> Self {
        Self { result, reason: reason.into(), explanation: None }
    }
}

struct Check<'a, L> {
    lookup: &'a L,
    session: Session<'a>,
    local_part: &'a str,
    sender_domain: &'a str,
    lookups: Cell<usize>,
    voids: Cell<usize>,
    questions: Cell<usize>,
}

/// Checks whether the session's client may use its sender's domain; the null sender's domain is what the client calls itself.
///
/// Asks at most some 130 questions, the most of them for an `mx` term with ten hosts; whoever calls it gives it a deadline.
pub async fn check<L: Lookup>(lookup: &L, session: Session<'_>) -> Spf {
    let session = Session { client: session.client.to_canonical(), ..session };
    //= RFC 7208 section 4.3
    //# If the <sender> has no local-part, substitute the string "postmaster" for the local-part.
    let (local_part, sender_domain) = match session.mail_from.rsplit_once('@') {
        _ if session.mail_from.is_empty() => ("postmaster", session.helo),
        Some(("", domain)) => ("postmaster", domain),
        Some((local_part, domain)) => (local_part, domain),
        None => ("postmaster", session.mail_from),
    };
    let check =
        Check { lookup, session, local_part, sender_domain, lookups: Cell::new(0), voids: Cell::new(0), questions: Cell::new(0) };
    let said = match check.said_of(sender_domain).await {
        Ok(said) => said,
        Err(Stop::Temporary(reason)) => Said::plainly(SpfResult::TempError, reason),
        Err(Stop::Permanent(reason)) => Said::plainly(SpfResult::PermError, reason),
    };
    let explanation = match &said.explanation {
        Some((spec, of)) if said.result == SpfResult::Fail => check.explanation(spec, of).await,
        _ => None,
    };
    Spf {
        result: said.result,
        domain: sender_domain.to_owned(),
        reason: said.reason,
        explanation,
        questions: check.questions.get(),
    }
}

/// The name of a domain that may have a record: at least two labels (RFC 7208 section 4.3).
fn sender_name(domain: &str) -> Option<Name> {
    let name = name_of(domain)?;
    let is_literal = domain.starts_with('[');
    (!is_literal && postring_dns::name::labels(name.wire()).filter(|label| !label.is_empty()).count() > 1).then_some(name)
}

/// The name of an expanded text; what is no name cannot be asked for.
fn name_of(text: &str) -> Option<Name> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let mut name = Name::root();
    for label in text.rsplit('.') {
        if label.is_empty() {
            return None;
        }
        name = Name::child(label.as_bytes(), &name).ok()?;
    }
    Some(name)
}

impl<'a, L: Lookup> Check<'a, L> {
    async fn ask(&self, name: &Name, rtype: Rtype) -> Resolved {
        self.questions.set(self.questions.get() + 1);
        self.lookup.lookup(name, rtype).await
    }

    /// Asks for a term; what comes to nothing is counted, and what is no name does not exist.
    async fn ask_for_term(&self, name: Option<&Name>, rtype: Rtype) -> Result<Option<Resolved>, Stop> {
        let Some(name) = name else { return self.void().map(|()| None) };
        let resolved = self.ask(name, rtype).await;
        if resolved.is_failure() {
            return Err(Stop::Temporary(format!("the DNS could not say of {name}")));
        }
        if resolved.rcode() == Rcode::NXDOMAIN || resolved.rdata(rtype).next().is_none() {
            return self.void().map(|()| None);
        }
        Ok(Some(resolved))
    }

    fn void(&self) -> Result<(), Stop> {
        self.voids.set(self.voids.get() + 1);
        if self.voids.get() > VOIDS_MAX {
            return Err(Stop::Permanent(format!("more than {VOIDS_MAX} questions of the record come to nothing")));
        }
        Ok(())
    }

    fn count_lookup(&self) -> Result<(), Stop> {
        self.lookups.set(self.lookups.get() + 1);
        if self.lookups.get() > LOOKUPS_MAX {
            return Err(Stop::Permanent(format!("the record takes more than {LOOKUPS_MAX} look-ups")));
        }
        Ok(())
    }

    /// What the record of a domain says.
    async fn said_of(&self, domain: &str) -> Result<Said, Stop> {
        let Some(name) = sender_name(domain) else {
            return Ok(Said::plainly(SpfResult::None, format!("\"{domain}\" is no domain that could have a record")));
        };
        let Some(record) = self.record(&name, domain).await? else {
            return Ok(Said::plainly(SpfResult::None, format!("{domain} has no record")));
        };
        for directive in &record.directives {
            if self.matches(&directive.mechanism, domain).await? {
                let result = match directive.qualifier {
                    Qualifier::Pass => SpfResult::Pass,
                    Qualifier::Fail => SpfResult::Fail,
                    Qualifier::SoftFail => SpfResult::SoftFail,
                    Qualifier::Neutral => SpfResult::Neutral,
                };
                let explanation = record.explanation.map(|spec| (spec, domain.to_owned()));
                return Ok(Said { result, reason: format!("{} of {domain}", directive.text), explanation });
            }
        }
        let Some(redirect) = &record.redirect else {
            return Ok(Said::plainly(SpfResult::Neutral, format!("no term of {domain} matches")));
        };
        self.count_lookup()?;
        let target = self.expand(redirect, domain).await;
        let said = Box::pin(self.said_of(&target)).await?;
        //= RFC 7208 section 6.1
        //# if no SPF record is found, or if the <target-name> is malformed, the result is a "permerror" rather than "none".
        if said.result == SpfResult::None {
            return Err(Stop::Permanent(format!("{domain} redirects to another: {}", said.reason)));
        }
        Ok(said)
    }

    /// The record of a domain.
    async fn record(&self, name: &Name, domain: &str) -> Result<Option<SpfRecord>, Stop> {
        let resolved = self.ask(name, Rtype::TXT).await;
        if resolved.is_failure() {
            return Err(Stop::Temporary(format!("the DNS could not say of {domain}")));
        }
        let mut records = resolved.rdata(Rtype::TXT).map(record::text).filter(|text| is_spf(text));
        let Some(text) = records.next() else { return Ok(None) };
        if records.next().is_some() {
            return Err(Stop::Permanent(format!("{domain} has several records")));
        }
        parse(&text).map(Some).map_err(|why| Stop::Permanent(format!("the record of {domain} is wrong: {why}")))
    }

    /// A future of its own kind: a term may include a record, which has terms.
    fn matches<'s>(
        &'s self,
        mechanism: &'s Mechanism,
        domain: &'s str,
    ) -> Pin<Box<dyn Future<Output = Result<bool, Stop>> + 's>> {
        Box::pin(async move {
            match mechanism {
                Mechanism::All => Ok(true),
                Mechanism::Ip(network, prefixes) => Ok(is_in(self.session.client, *network, *prefixes)),
                Mechanism::Include(spec) => {
                    self.count_lookup()?;
                    let target = self.expand(spec, domain).await;
                    let said = self.said_of(&target).await?;
                    match said.result {
                        SpfResult::Pass => Ok(true),
                        SpfResult::Fail | SpfResult::SoftFail | SpfResult::Neutral => Ok(false),
                        SpfResult::None | SpfResult::TempError | SpfResult::PermError => {
                            Err(Stop::Permanent(format!("{domain} includes another: {}", said.reason)))
                        }
                    }
                }
                Mechanism::A(spec, prefixes) => {
                    self.count_lookup()?;
                    let target = self.target(spec.as_ref(), domain).await;
                    self.has_client(name_of(&target).as_ref(), *prefixes).await
                }
                Mechanism::Mx(spec, prefixes) => {
                    self.count_lookup()?;
                    let target = self.target(spec.as_ref(), domain).await;
                    let Some(resolved) = self.ask_for_term(name_of(&target).as_ref(), Rtype::MX).await? else { return Ok(false) };
                    let hosts: Vec<Name> =
                        resolved.rdata(Rtype::MX).filter_map(record::mail_exchange).map(|(_, host)| host).collect();
                    if hosts.len() > HOSTS_MAX {
                        return Err(Stop::Permanent(format!("{target} has more than {HOSTS_MAX} mail hosts")));
                    }
                    for host in hosts {
                        if self.has_client(Some(&host), *prefixes).await? {
                            return Ok(true);
                        }
                    }
                    Ok(false)
                }
                Mechanism::Ptr(spec) => {
                    self.count_lookup()?;
                    let target = self.target(spec.as_ref(), domain).await.to_ascii_lowercase();
                    let target = target.strip_suffix('.').unwrap_or(&target);
                    let names = self.validated_names().await;
                    Ok(names.iter().any(|name| is_within(name, target)))
                }
                Mechanism::Exists(spec) => {
                    self.count_lookup()?;
                    let target = self.expand(spec, domain).await;
                    Ok(self.ask_for_term(name_of(&target).as_ref(), Rtype::A).await?.is_some())
                }
            }
        })
    }

    async fn target(&self, spec: Option<&MacroString>, domain: &str) -> String {
        match spec {
            Some(spec) => self.expand(spec, domain).await,
            None => domain.to_owned(),
        }
    }

    fn address_type(&self) -> Rtype {
        if self.session.client.is_ipv4() { Rtype::A } else { Rtype::AAAA }
    }

    /// True if an address of the host is the client's, by the first bits.
    async fn has_client(&self, host: Option<&Name>, prefixes: Prefixes) -> Result<bool, Stop> {
        let rtype = self.address_type();
        let Some(resolved) = self.ask_for_term(host, rtype).await? else { return Ok(false) };
        Ok(resolved.rdata(rtype).filter_map(record::address).any(|address| is_in(self.session.client, address, prefixes)))
    }

    /// Names of the client that lead back to it, in lower case and without the last dot.
    //= RFC 7208 section 5.5
    //# If a DNS error occurs while doing the PTR RR lookup, then this mechanism fails to match. If a DNS error occurs while doing an A RR
    //# lookup, then that domain name is skipped and the search continues.
    async fn validated_names(&self) -> Vec<String> {
        let client = self.session.client;
        let reverse = self.ask(&postring_dns::name::reverse(client), Rtype::PTR).await;
        let names: Vec<Name> =
            reverse.rdata(Rtype::PTR).filter_map(|rdata| Name::from_wire(rdata).ok()).take(HOSTS_MAX).collect();
        let mut validated = Vec::new();
        let rtype = self.address_type();
        for name in names {
            let forward = self.ask(&name, rtype).await;
            let leads_back = |address: IpAddr| address == client;
            if !forward.is_failure() && forward.rdata(rtype).filter_map(record::address).any(leads_back) {
                validated.push(name.to_string().trim_end_matches('.').to_ascii_lowercase());
            }
        }
        validated
    }

    async fn expand(&self, spec: &MacroString, domain: &str) -> String {
        let validated = self.validated_for(spec, domain).await;
        spec.domain(&self.values(domain, &validated))
    }

    /// The name for `%{p}`: the domain's own, or one below it, or any.
    async fn validated_for(&self, spec: &MacroString, domain: &str) -> String {
        if !spec.needs_validated() {
            return String::new();
        }
        let names = self.validated_names().await;
        let domain = domain.to_ascii_lowercase();
        let best = names.iter().find(|name| **name == domain).or_else(|| names.iter().find(|name| is_within(name, &domain)));
        best.or(names.first()).cloned().unwrap_or_else(|| "unknown".to_owned())
    }

    fn values<'v>(&'v self, domain: &'v str, validated: &'v str) -> Values<'v> {
        Values { session: self.session, local_part: self.local_part, sender_domain: self.sender_domain, domain, validated }
    }

    /// What the client may be told, if it can be had (RFC 7208 section 6.2).
    async fn explanation(&self, spec: &MacroString, domain: &str) -> Option<String> {
        let target = self.expand(spec, domain).await;
        let resolved = self.ask(&name_of(&target)?, Rtype::TXT).await;
        if resolved.is_failure() {
            return None;
        }
        let mut texts = resolved.rdata(Rtype::TXT).map(record::text);
        let (text, None) = (texts.next()?, texts.next()) else { return None };
        let text = String::from_utf8(text).ok().filter(|text| text.is_ascii())?;
        let text = MacroString::parse(&text, Place::Explanation).ok()?;
        let validated = self.validated_for(&text, domain).await;
        text.explanation(&self.values(domain, &validated))
    }
}

fn is_within(name: &str, domain: &str) -> bool {
    let Some(rest) = name.strip_suffix(domain) else { return false };
    rest.is_empty() || rest.ends_with('.')
}
