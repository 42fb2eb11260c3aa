//! `postring auth dmarc`: what the author's domain wants done with a message.

use super::arguments::DmarcQuestion;
use super::lookup::{authserv_id, check, now};
use super::message::message;
use crate::config::Config;
use crate::dns::{print_json, servers};
use postring_auth::dkim::{self, Verification};
use postring_auth::dmarc::{self, Dmarc, DmarcResult, Override, Settings};
use postring_auth::spf::{self, Session, Spf};
use serde_json::{Value, json};

pub fn run(question: &DmarcQuestion, load: impl FnOnce() -> Result<Config, String>) -> Result<(), String> {
    let message = message(&question.file)?;
    let (organizational_domain, suffixes) = question.organization.read()?;
    let config = load();
    let hostname = authserv_id(&config);
    let config = servers(question.resolver, || config);
    let now = now();
    let session = Session {
        client: question.ip,
        helo: &question.helo,
        mail_from: &question.mail_from,
        receiver: &hostname,
        unix_seconds: now,
    };
    let settings = Settings { organizational_domain, suffixes: &suffixes, sample: question.sample, doubt_spares: true };
    let (spf, signatures, dmarc) = check(&config, async |lookup| {
        let spf = spf::check(lookup, session).await;
        let signatures = dkim::verify(lookup, &message, now).await;
        let dmarc = dmarc::check(lookup, dmarc::author(&message), Some(&spf), &signatures, &settings).await;
        (spf, signatures, dmarc)
    })?;
    if question.json {
        print_json(&as_json(&spf, &signatures, &dmarc))?;
    } else {
        println!("Authentication-Results: {hostname}; {dmarc}");
        println!("  {}", disposition(&dmarc));
        println!("  {}", dmarc.reason);
        println!("  spf={} of {}: {}", spf.result, spf.domain, spf.reason);
        for signature in &signatures {
            println!("  {signature}");
        }
    }
    if dmarc.result == DmarcResult::Fail { Err(format!("fail: {}", dmarc.reason)) } else { Ok(()) }
}

/// What the domain wants done, and by which words of whose record.
fn disposition(dmarc: &Dmarc) -> String {
    let Some(published) = &dmarc.published else { return format!("disposition {}", dmarc.disposition) };
    let but = match dmarc.overridden {
        Some(Override::Testing) => ", which it tests (t=y)".to_owned(),
        Some(Override::SampledOut) => format!(", of which this message is spared (pct={})", published.record.percent),
        None => String::new(),
    };
    let (tag, policy, domain) = (published.tag.name(), published.policy, &published.domain);
    format!("disposition {}: {domain} has {tag}={policy} for it{but}", dmarc.disposition)
}

fn as_json(spf: &Spf, signatures: &[Verification], dmarc: &Dmarc) -> Value {
    let published = dmarc.published.as_ref().map(|published| {
        json!({
            "domain": published.domain.as_str(),
            "discovery": published.discovery.name(),
            "tag": published.tag.name(),
            "policy": published.policy.name(),
            "testing": published.record.testing,
            "percent": published.record.percent,
        })
    });
    let identifiers: Vec<Value> = dmarc
        .identifiers
        .iter()
        .map(|found| json!({ "what": found.to_string(), "passed": found.passed, "aligned": found.aligned }))
        .collect();
    json!({
        "result": dmarc.result.name(),
        "reason": dmarc.reason,
        "disposition": dmarc.disposition.name(),
        "author": dmarc.author.as_ref().map(dmarc::Domain::as_str),
        "published": published,
        "identifiers": identifiers,
        "spf": { "result": spf.result.name(), "domain": spf.domain, "reason": spf.reason },
        "dkim": signatures.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "questions": dmarc.questions,
        "authentication_result": dmarc.to_string(),
    })
}
