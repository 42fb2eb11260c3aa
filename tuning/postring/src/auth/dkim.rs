//! `postring auth dkim`: what a message's signatures are worth.

use super::arguments::DkimQuestion;
use super::lookup::{authserv_id, check, now};
use super::message::message;
use crate::config::Config;
use crate::dns::{print_json, servers};
use postring_auth::dkim::{Status, Verification, verify};
use serde_json::{Value, json};

pub fn run(question: &DkimQuestion, load: impl FnOnce() -> Result<Config, String>) -> Result<(), String> {
    let message = message(&question.file)?;
    let config = load();
    let hostname = authserv_id(&config);
    let config = servers(question.resolver, || config);
    let now = now();
    let results = check(&config, async |lookup| verify(lookup, &message, now).await)?;
    if question.json {
        print_json(&Value::Array(results.iter().map(as_json).collect()))?;
    } else {
        for result in &results {
            println!("Authentication-Results: {hostname}; {result}\n  {}", result.reason());
        }
    }
    if results.iter().any(|result| result.status() == Status::Pass) {
        Ok(())
    } else {
        Err("the message has no good signature".to_owned())
    }
}

fn as_json(result: &Verification) -> Value {
    json!({
        "result": result.status().to_string(),
        "reason": result.reason(),
        "testing": result.testing,
        "domain": result.domain,
        "selector": result.selector,
        "identity": result.identity,
        "algorithm": result.algorithm.map(|algorithm| algorithm.to_string()),
        "signature": result.signature,
        "authentication_result": result.to_string(),
    })
}
