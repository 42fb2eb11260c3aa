//! `postring auth spf`: what a domain says of a client.

use super::arguments::SpfQuestion;
use super::lookup::{authserv_id, check, now};
use crate::config::Config;
use crate::dns::{print_json, servers};
use postring_auth::results::{AuthenticationResults, received_spf};
use postring_auth::spf::{self, Session, SpfResult};
use serde_json::json;

pub fn run(question: &SpfQuestion, load: impl FnOnce() -> Result<Config, String>) -> Result<(), String> {
    let config = load();
    let hostname = authserv_id(&config);
    let config = servers(question.resolver, || config);
    let session = Session {
        client: question.ip,
        helo: &question.helo,
        mail_from: &question.mail_from,
        receiver: &hostname,
        unix_seconds: now(),
    };
    let found = check(&config, async |lookup| spf::check(lookup, session).await)?;
    let mut fields = Vec::new();
    let mut field = AuthenticationResults::begin(&hostname, &mut fields);
    field.spf(&found, &session);
    field.finish();
    received_spf(&hostname, &found, &session, &mut fields);
    let fields = String::from_utf8_lossy(&fields).replace("\r\n", "\n");
    if question.json {
        print_json(&json!({
            "result": found.result.name(),
            "domain": found.domain,
            "reason": found.reason,
            "explanation": found.explanation,
            "questions": found.questions,
            "fields": fields,
        }))?;
    } else {
        print!("{fields}");
        println!("{} questions of the DNS", found.questions);
        if let Some(explanation) = &found.explanation {
            println!("{} explains: {explanation}", found.domain);
        }
    }
    match found.result {
        SpfResult::Fail | SpfResult::SoftFail | SpfResult::PermError | SpfResult::TempError => {
            Err(format!("{}: {}", found.result, found.reason))
        }
        SpfResult::Pass | SpfResult::Neutral | SpfResult::None => Ok(()),
    }
}
