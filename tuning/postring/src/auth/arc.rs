//! `postring auth arc`: who handled a message on its way, what they found, and whether that chain is whole.

use super::arguments::ArcQuestion;
use super::lookup::{authserv_id, check, now};
use super::message::message;
use crate::config::Config;
use crate::dns::{print_json, servers};
use postring_auth::arc::{Chain, Set, Status, verify};
use postring_auth::authres::{AuthenticationResults, MethodResult, Property};
use postring_auth::dkim;
use serde_json::{Value, json};

pub fn run(question: &ArcQuestion, load: impl FnOnce() -> Result<Config, String>) -> Result<(), String> {
    let message = message(&question.file)?;
    let config = load();
    let hostname = authserv_id(&config);
    let config = servers(question.resolver, || config);
    let chain = check(&config, async |lookup| verify(lookup, &message, now()).await)?;
    if question.json {
        print_json(&as_json(&chain))?;
    } else {
        println!("Authentication-Results: {hostname}; {chain}\n  {}", chain.reason());
        for set in &chain.sets {
            print_set(&chain, set);
        }
    }
    match chain.status() {
        Status::Pass => Ok(()),
        Status::None => Err("the message has no ARC chain".to_owned()),
        Status::Fail => Err("the ARC chain of the message is broken".to_owned()),
    }
}

fn print_set(chain: &Chain<'_>, set: &Set<'_>) {
    let known = |text: Option<&str>| text.unwrap_or("?").to_owned();
    let cv = set.status.map_or_else(|| "?".to_owned(), |status| status.to_string());
    println!("{}: sealed by {} (selector {}), cv={cv}", set.instance, known(set.domain), known(set.selector));
    println!("  message signature: {}\n  seal: {}", judged(set.message_signature), judged(set.seal));
    match chain.results_of(set.instance) {
        Some(results) => println!("  found by {}", results.to_string().replacen("; ", ": ", 1)),
        None => println!("  what it found cannot be read"),
    }
}

fn judged(judged: Option<Result<(), dkim::Problem>>) -> String {
    match judged {
        Some(Ok(())) => "good".to_owned(),
        Some(Err(problem)) => problem.to_string(),
        None => "not looked at".to_owned(),
    }
}

fn as_json(chain: &Chain<'_>) -> Value {
    let set = |set: &Set<'_>| {
        json!({
            "instance": set.instance,
            "domain": set.domain,
            "selector": set.selector,
            "cv": set.status.map(|status| status.to_string()),
            "message_signature": set.message_signature.map(|_| judged(set.message_signature)),
            "seal": set.seal.map(|_| judged(set.seal)),
            "found": chain.results_of(set.instance).as_ref().map(results_as_json),
        })
    };
    json!({
        "result": chain.status().to_string(),
        "reason": chain.reason(),
        "oldest_pass": chain.oldest_pass,
        "sealer": chain.sealer(),
        "sets": chain.sets.iter().map(set).collect::<Vec<_>>(),
        "authentication_result": chain.to_string(),
    })
}

fn results_as_json(results: &AuthenticationResults<'_>) -> Value {
    let result = |result: &MethodResult<'_>| {
        let property =
            |property: &Property<'_>| json!({ "ptype": property.ptype, "property": property.name, "value": property.value });
        json!({
            "method": result.method,
            "result": result.result,
            "reason": result.reason,
            "properties": result.properties.iter().map(property).collect::<Vec<_>>(),
        })
    };
    json!({ "by": results.authserv_id, "results": results.results.iter().map(result).collect::<Vec<_>>() })
}
