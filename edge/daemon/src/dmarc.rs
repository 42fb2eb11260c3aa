//! Whether a message is from the domain its From field shows: the policy is asked for when the header is there, and applied at the last dot.

use crate::budget::Lookups;
use crate::content::Signatures;
use crate::last_dot::LastDot;
use crate::shard::{Shard, Suffixes};
use postring_auth::arc::{self, Chain};
use postring_auth::dmarc::{
    self, AuthorProblem, Dmarc, DmarcResult, Domain, OrganizationalDomain, Policy, PublicSuffixes, Settings,
};
use postring_auth::spf::Spf;
use postring_control::Counter;
use postring_dns::Rtype;
use postring_policy::dmarc::OrganizationalDomain as Method;
use postring_policy::{DmarcConfig, DmarcFound};
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

/// Asks for the policy of an author, so that it is there when the message has ended.
pub(crate) fn prefetch(shard: &Shard, author: &Domain) {
    for name in dmarc::likely_questions(author, &settings(&shard.config().policy.dmarc, &shard.suffixes(), 0)) {
        shard.resolver().prefetch(&name, Rtype::TXT);
    }
}

/// Checks a message with what SPF and DKIM have said of it; `None` if one of them was not asked, or nobody wants to know. Waits for what is not
/// there yet, at most `policy.dmarc.wait_ms`.
pub(crate) async fn check(
    shard: &Shard,
    dot: &LastDot<'_>,
    lookups: &Lookups,
    signatures: &Signatures,
    spf: Option<&Spf>,
) -> Option<Dmarc> {
    let config = shard.config();
    let config = &config.policy.dmarc;
    let (author, spf) = (signatures.author.clone()?, spf?);
    if !config.check {
        return None;
    }
    #[allow(clippy::cast_possible_truncation)] // a remainder of 100
    let sample = (shard.now().unix_us % 100) as u8;
    let late = async {
        glommio::timer::sleep(dot.left(Duration::from_millis(config.wait_ms))).await;
        too_late(&author)
    };
    let suffixes = shard.suffixes();
    let settings = Settings { doubt_spares: !lookups.is_spent(), ..settings(config, &suffixes, sample) };
    let lookups = &lookups.beyond();
    let checked = dmarc::check(lookups, author.clone(), Some(spf), &signatures.dkim, &settings);
    let dmarc = dot.wait(dot.answer(futures_lite::future::or(checked, late))).await;
    shard.stats().add(counter(dmarc.result), 1);
    Some(dmarc)
}

fn too_late(author: &Result<Domain, AuthorProblem>) -> Dmarc {
    Dmarc {
        result: DmarcResult::TempError,
        author: author.as_ref().ok().cloned(),
        published: None,
        identifiers: Vec::new(),
        disposition: Policy::None,
        overridden: None,
        reason: "the DNS took too long".to_owned(),
        questions: 0,
    }
}

/// Reads a list of public suffixes.
///
/// # Errors
/// One line with the file's name.
pub fn read_suffixes(file: &Path) -> Result<PublicSuffixes, String> {
    let wrong = |error: &dyn Display| {
        format!(
            "{}: {error}; the list of public suffixes is at publicsuffix.org and in Debian's package publicsuffix",
            file.display()
        )
    };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    PublicSuffixes::parse(&text).map_err(|error| wrong(&error))
}

pub(crate) fn settings<'a>(config: &DmarcConfig, suffixes: &'a Suffixes, sample: u8) -> Settings<'a> {
    let organizational_domain = match config.organizational_domain {
        Method::List => OrganizationalDomain::PublicSuffixList,
        Method::Walk => OrganizationalDomain::TreeWalk,
    };
    Settings {
        organizational_domain,
        suffixes: suffixes.as_deref().unwrap_or(PublicSuffixes::built_in()),
        sample,
        doubt_spares: true,
    }
}

/// True if the chain passes, and a trusted sealer, with none but trusted ones after it, found the message to be its author's.
pub(crate) fn is_vouched(config: &DmarcConfig, chain: &Chain<'_>, author: &Domain) -> bool {
    if chain.status() != arc::Status::Pass {
        return false;
    }
    let trusted = chain.sets.iter().rev().take_while(|set| set.domain.is_some_and(|sealer| config.trusts(sealer)));
    trusted.filter_map(|set| chain.results_of(set.instance)).any(|results| {
        let is_author = |from: Option<&str>| from.and_then(Domain::new).as_ref() == Some(author);
        results.of("dmarc").any(|dmarc| dmarc.is("pass") && is_author(dmarc.property("header", "from")))
    })
}

/// What policy is told of it.
pub(crate) fn found<'a>(dmarc: &'a Dmarc, signatures: &Signatures) -> DmarcFound<'a> {
    DmarcFound {
        result: dmarc.result.name(),
        disposition: dmarc.disposition.name(),
        author: dmarc.author.as_ref().map_or("", Domain::as_str),
        vouched: signatures.vouched,
        broken_from: matches!(&signatures.author, Some(Err(problem)) if !problem.is_legal() && *problem != AuthorProblem::NoField),
    }
}

fn counter(result: DmarcResult) -> Counter {
    match result {
        DmarcResult::Pass => Counter::DmarcPass,
        DmarcResult::Fail => Counter::DmarcFail,
        DmarcResult::None => Counter::DmarcNone,
        DmarcResult::TempError => Counter::DmarcTempError,
        DmarcResult::PermError => Counter::DmarcPermError,
    }
}
