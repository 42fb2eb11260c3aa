//! The check of a message: author, policy, alignment, result (RFC 7489 section 6.6.2, RFC 9989 section 5.3).

use super::discovery::{Discovery, discover};
use super::organization::walk;
use super::zone::{Unanswered, Zone};
use super::{
    Alignment, AuthorProblem, Dmarc, DmarcResult, Domain, Identifier, Mechanism, OrganizationalDomain, Override, Policy,
    PublicSuffixes, Published, Record, Tag,
};
use crate::Lookup;
use crate::dkim::{Status, Verification};
use crate::spf::{Spf, SpfResult};

/// Domains that are compared with the author's; the checks before have fewer.
const IDENTIFIERS_MAX: usize = 16;

/// What the administrator has chosen, and chance.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// How the Organizational Domain is found.
    pub organizational_domain: OrganizationalDomain,
    /// The list for [`OrganizationalDomain::PublicSuffixList`].
    pub suffixes: &'a PublicSuffixes,
    /// A random number from 0 to 99: the policy of a record with `pct=` is applied if it is below.
    pub sample: u8,
    /// That the DNS could not say whether an aligned domain is authentic spares the message the policy (RFC 7489 section 6.6.2). False where the
    /// sender has brought it about: by that anybody could be spared the policy of others.
    pub doubt_spares: bool,
}

impl Default for Settings<'_> {
    /// The list the program was built with; every message is one of the sample.
    fn default() -> Self {
        Self {
            organizational_domain: OrganizationalDomain::default(),
            suffixes: PublicSuffixes::built_in(),
            sample: 0,
            doubt_spares: true,
        }
    }
}

/// Checks a message by the policy of its author, which [`author`](super::author()) has found, with what SPF and DKIM have said of it.
///
/// Cost: by the list at most three questions; by the walk at most eight for the author and eight for each domain that passed within the author's
/// organization, one after the other, no name twice. Whoever calls it gives it a deadline.
pub async fn check<L: Lookup>(
    lookup: &L,
    author: Result<Domain, AuthorProblem>,
    spf: Option<&Spf>,
    dkim: &[Verification],
    settings: &Settings<'_>,
) -> Dmarc {
    let mut dmarc = Dmarc {
        result: DmarcResult::None,
        author: None,
        published: None,
        identifiers: Vec::new(),
        disposition: Policy::None,
        overridden: None,
        reason: String::new(),
        questions: 0,
    };
    let author = match author {
        Ok(author) => author,
        Err(problem) => {
            dmarc.result = if problem.is_legal() { DmarcResult::None } else { DmarcResult::PermError };
            dmarc.reason = problem.to_string();
            return dmarc;
        }
    };
    dmarc.author = Some(author.clone());
    let zone = Zone::new(lookup);
    let check = Check { zone: &zone, settings, author: &author };
    //= RFC 9989 section 5.3.6
    //# If one or more DNS queries required to perform DMARC validation on the message do not complete due to temporary or permanent DNS
    //# errors, the message cannot be considered to pass or fail the DMARC mechanism check.
    if let Err(Unanswered(domain)) = check.run(spf, dkim, &mut dmarc).await {
        dmarc.result = DmarcResult::TempError;
        dmarc.reason = format!("the DNS could not say of {domain}");
    }
    dmarc.questions = zone.questions.get();
    dmarc
}

struct Check<'a, L> {
    zone: &'a Zone<'a, L>,
    settings: &'a Settings<'a>,
    author: &'a Domain,
}

impl<L: Lookup> Check<'_, L> {
    async fn run(&self, spf: Option<&Spf>, dkim: &[Verification], dmarc: &mut Dmarc) -> Result<(), Unanswered> {
        let (domain, record) = match discover(self.zone, self.author, self.settings).await? {
            Discovery::Record(domain, record) => (domain, record),
            Discovery::Nothing => {
                dmarc.reason = format!("nobody has published a policy for {}", self.author);
                return Ok(());
            }
            Discovery::Several(domain, count) => {
                dmarc.result = DmarcResult::PermError;
                dmarc.reason = format!("{domain} has {count} records, of which none counts");
                return Ok(());
            }
        };
        let Some(record) = record.applicable() else {
            dmarc.result = DmarcResult::PermError;
            dmarc.reason = format!("the record of {domain} has no policy that could be applied");
            return Ok(());
        };
        dmarc.identifiers = self.aligned(identifiers(spf, dkim), &record).await;
        let (tag, policy) = select(&record, &domain, self.author, true);
        let published =
            dmarc.published.insert(Published { domain, record, discovery: self.settings.organizational_domain, tag, policy });

        if let Some(authentic) = dmarc.identifiers.iter().find(|identifier| identifier.is_authentic()) {
            dmarc.result = DmarcResult::Pass;
            dmarc.reason = format!("{authentic} passed and is aligned with {}", self.author);
            return Ok(());
        }
        //= RFC 7489 section 6.6.2
        //# If neither passes and one or both of them fail due to a temporary error, the Receiver evaluating the message is unable to
        //# conclude that the DMARC mechanism had a permanent failure; they therefore cannot apply the advertised DMARC policy.
        // An error of a domain that is not the author's changes nothing: else whoever lets his own DNS fail would be spared the policy of others.
        let is_open = |identifier: &&Identifier| self.settings.doubt_spares && identifier.aligned != Some(false);
        if let Some(open) = dmarc.identifiers.iter().find(is_open) {
            dmarc.result = DmarcResult::TempError;
            dmarc.reason = format!("the DNS could not say whether {open} is good for {}", self.author);
            return Ok(());
        }
        let exists = published.domain == *self.author
            || published.record.nonexistent_policy.is_none()
            || self.zone.exists(self.author).await?;
        (published.tag, published.policy) = select(&published.record, &published.domain, self.author, exists);
        dmarc.result = DmarcResult::Fail;
        dmarc.reason = failure(self.author, &dmarc.identifiers);
        (dmarc.disposition, dmarc.overridden) = disposition(&published.record, published.policy, self.settings.sample);
        Ok(())
    }

    /// Says of each domain whether it is aligned with the author's.
    async fn aligned(&self, mut identifiers: Vec<Identifier>, record: &Record) -> Vec<Identifier> {
        for identifier in &mut identifiers {
            let alignment = match identifier.mechanism {
                Mechanism::Spf => record.spf_alignment,
                Mechanism::Dkim(_) => record.dkim_alignment,
            };
            identifier.aligned = match alignment {
                _ if identifier.domain == *self.author => Some(true),
                Alignment::Strict => Some(false),
                Alignment::Relaxed => self.is_same_organization(&identifier.domain).await.ok(),
            };
        }
        identifiers
    }

    async fn is_same_organization(&self, domain: &Domain) -> Result<bool, Unanswered> {
        match self.settings.organizational_domain {
            OrganizationalDomain::PublicSuffixList => {
                Ok(self.settings.suffixes.organization(domain) == self.settings.suffixes.organization(self.author))
            }
            OrganizationalDomain::TreeWalk => {
                // An organization is an end of each of its domains. What shares none with the author is not asked for: the DNS of strangers is
                // asked nothing, and its silence does not count.
                if domain.last_labels(1) != self.author.last_labels(1) {
                    return Ok(false);
                }
                let organization = walk(self.zone, self.author).await?.organization;
                Ok(domain.is_within(&organization) && walk(self.zone, domain).await?.organization == organization)
            }
        }
    }
}

/// The domains that passed, or may have another time.
fn identifiers(spf: Option<&Spf>, dkim: &[Verification]) -> Vec<Identifier> {
    //= RFC 7489 section 3.1.2
    //# Note that the RFC5321.HELO identity is not typically used in the context of DMARC (except when required to "fake" an otherwise
    //# null reverse-path)
    let of_spf = spf.into_iter().filter_map(|spf| {
        let passed = match spf.result {
            SpfResult::Pass => true,
            SpfResult::TempError => false,
            SpfResult::None | SpfResult::Neutral | SpfResult::Fail | SpfResult::SoftFail | SpfResult::PermError => return None,
        };
        Some(Identifier { mechanism: Mechanism::Spf, domain: Domain::new(&spf.domain)?, passed, aligned: None })
    });
    let of_dkim = dkim.iter().filter_map(|signature| {
        let passed = match signature.status() {
            Status::Pass => true,
            Status::TempError => false,
            Status::None | Status::Fail | Status::Policy | Status::Neutral | Status::PermError => return None,
        };
        let mechanism = Mechanism::Dkim(signature.selector.clone().unwrap_or_default());
        Some(Identifier { mechanism, domain: Domain::new(signature.domain.as_deref()?)?, passed, aligned: None })
    });
    of_spf.chain(of_dkim).take(IDENTIFIERS_MAX).collect()
}

/// The policy for the author of the record that `domain` has published.
//= RFC 9989 section 4.10.1
//# If the DMARC Policy Record to be applied is that of either the Organizational Domain or the Public Suffix Domain and the Author Domain is
//# a subdomain of that domain, then the Domain Owner Assessment Policy is taken from the "sp" tag (if any) if the Author Domain exists, or
//# the "np" tag (if any) if the Author Domain does not exist. In the absence of applicable "sp" or "np" tags, the "p" tag policy is used for
//# subdomains.
fn select(record: &Record, domain: &Domain, author: &Domain, exists: bool) -> (Tag, Policy) {
    let below = domain != author;
    let of_domain = (Tag::Policy, record.policy.unwrap_or_default());
    let of_subdomain = record.subdomain_policy.map(|policy| (Tag::Subdomain, policy));
    let of_nonexistent = record.nonexistent_policy.filter(|_| !exists).map(|policy| (Tag::Nonexistent, policy));
    if below { of_nonexistent.or(of_subdomain).unwrap_or(of_domain) } else { of_domain }
}

/// What is to be done with a message that fails.
fn disposition(record: &Record, policy: Policy, sample: u8) -> (Policy, Option<Override>) {
    if policy == Policy::None {
        return (policy, None);
    }
    //= RFC 9989 section 4.7
    //# if the policy is "quarantine" and the value of the "t" tag is "y", a policy of "none" will be applied to failing messages; if the
    //# policy is "reject" and the value of the "t" tag is "y", a policy of "quarantine" will be applied to failing messages
    if record.testing {
        return (policy.gentler(), Some(Override::Testing));
    }
    //= RFC 7489 section 6.6.4
    //# If email is subject to the DMARC policy of "reject", the Mail Receiver SHOULD reject the message [...] If the email is not subject
    //# to the "reject" policy (due to the "pct" tag), the Mail Receiver SHOULD treat the email as though the "quarantine" policy applies.
    // RFC 9989 has no pct= any more; the domains that publish it still mean it, and it can make a policy gentler alone.
    if sample >= record.percent {
        return (policy.gentler(), Some(Override::SampledOut));
    }
    (policy, None)
}

fn failure(author: &Domain, identifiers: &[Identifier]) -> String {
    let passed: Vec<String> = identifiers.iter().filter(|identifier| identifier.passed).map(ToString::to_string).collect();
    if passed.is_empty() {
        format!("neither SPF nor a signature passed for {author}")
    } else {
        format!("{} passed, which is not aligned with {author}", passed.join(", "))
    }
}
