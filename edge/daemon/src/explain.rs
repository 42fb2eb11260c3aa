//! `postring smtp explain`: what a client would be told, and why, asked of the running shard with all it knows.

use crate::budget::Lookups;
use crate::dnsbl::Check;
use crate::reverse::ReverseName;
use crate::rules::{self, Asked};
use crate::shard::{OperatorAnswer, Shard};
use crate::{history, limits, questions};
use postring_auth::spf::{self, Session as SpfSession};
use postring_mail::path::{Characters, parse_path};
use postring_policy::memory::SenderReputation;
use postring_smtp::{Answer, RecipientAnswer};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

/// Time for all checks; the operator waits a little longer.
const WAIT: Duration = Duration::from_secs(8);

/// A client that is not there.
pub(crate) struct Hypothetical {
    address: IpAddr,
    helo: String,
    mail_from: String,
    recipient: String,
}

impl Hypothetical {
    /// The words behind `smtp explain`.
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let [address, helo, mail_from, recipient] = words else {
            return Err("give an address, a name for EHLO, a sender (may be empty) and a recipient".to_owned());
        };
        let address = address.parse().map_err(|_| format!("\"{address}\" is no address"))?;
        for path in [mail_from, recipient].into_iter().filter(|path| !path.is_empty()) {
            parse_path(&format!("<{path}>"), Characters::Utf8).map_err(|error| format!("\"{path}\": {}", error.text()))?;
        }
        Ok(Self { address, helo: helo.clone(), mail_from: mail_from.clone(), recipient: recipient.clone() })
    }
}

/// What each check says.
#[derive(Default)]
struct Steps {
    steps: Vec<Value>,
    /// The first reply that refuses.
    refused: Option<String>,
    points: f64,
    /// It is for the postmaster.
    postmaster: bool,
}

impl Steps {
    fn say(&mut self, check: &str, found: impl Into<String>) {
        self.steps.push(json!({ "check": check, "found": found.into() }));
    }

    fn count(&mut self, check: &str, found: &str, points: f64) {
        self.points += points;
        self.steps.push(json!({ "check": check, "found": found, "points": points }));
    }

    fn refuse(&mut self, check: &str, reply: &str) {
        if self.postmaster && check != "recipient" && check != "own block lists" {
            return self.say(check, format!("would be refused, but the postmaster's mail is not: {reply}"));
        }
        self.refused.get_or_insert_with(|| reply.to_owned());
        self.steps.push(json!({ "check": check, "found": "refused", "reply": reply }));
    }
}

/// Walks the policy up to the answer to RCPT. Rules and lists count it as one more client.
pub(crate) async fn explain(shard: Rc<Shard>, client: Hypothetical) -> OperatorAnswer {
    let late = async {
        glommio::timer::sleep(WAIT).await;
        Err("the DNS took too long; ask again, the answers are kept".to_owned())
    };
    futures_lite::future::or(walk(&shard, &client), late).await
}

async fn walk(shard: &Rc<Shard>, client: &Hypothetical) -> OperatorAnswer {
    let config = shard.config();
    let policy = &config.policy;
    let mut steps = Steps { postmaster: questions::is_postmaster(&client.recipient), ..Steps::default() };
    let trusted = policy.is_trusted(client.address);
    if let Some(reply) = questions::blocked(shard, client.address) {
        steps.refuse("own block lists", &reply.to_string());
    } else {
        steps.say("own block lists", "not listed");
    }
    if trusted {
        steps.say("trusted networks", "the client is in one: of its sender nothing more is checked");
    } else {
        of_client(shard, client, &mut steps).await;
    }
    match questions::resolve(shard, false, &client.recipient) {
        Answer::Recipient(RecipientAnswer::Accept(targets)) => {
            steps.say("recipient", format!("accepted, goes to {} places", targets.len()));
        }
        Answer::Recipient(answer) => {
            let reply = match answer {
                RecipientAnswer::NotHosted => "550 5.7.1, the domain is not hosted here",
                RecipientAnswer::Disabled => "550 5.2.1, the mailbox is disabled",
                _ => "550 5.1.1, there is no such mailbox",
            };
            steps.refuse("recipient", reply);
        }
        _ => steps.say("recipient", "451: the directory is not known yet"),
    }
    let points = (steps.points * 1000.0).round() / 1000.0;
    let behind = json!([
        "DKIM, ARC and DMARC, which need the message",
        "the content: rules and the classifier",
        format!("greylisting, if the score is {} or more and the message is not authentic by DMARC", policy.greylist.score),
    ]);
    Ok(json!({
        "steps": steps.steps,
        "reply": steps.refused.unwrap_or_else(|| "250 2.1.5 Recipient ok".to_owned()),
        "points": points,
        "mark_score": policy.mark_score, "junk_score": policy.junk_score, "reject_score": policy.reject_score,
        "at_the_last_dot": behind,
    }))
}

async fn of_client(shard: &Rc<Shard>, client: &Hypothetical, steps: &mut Steps) {
    let config = shard.config();
    let policy = &config.policy;
    let check = Check::begin(shard, client.address);
    let reverse = ReverseName::look_up(shard, client.address);
    if limits::is_stressed(shard) {
        steps.say("stress", "this shard hurries its clients now");
    }
    let waits = if policy.greeting_wait_ms == 0 || history::is_good_client(shard, client.address) {
        "not waited for"
    } else {
        "the client waits for it, and must not speak before"
    };
    steps.say("greeting", waits);
    match check.reputation().await {
        None => steps.say("lists of others", "not listed"),
        Some(reputation) => {
            for symbol in reputation.symbols() {
                steps.count("lists of others", symbol.name, f64::from(symbol.weight_milli) / 1000.0);
            }
            if let Some(reply) = reputation.refusal(policy, client.address) {
                steps.refuse("lists of others", &reply.to_string());
            }
        }
    }
    let own_address = || None;
    let lookups = Lookups::new(shard);
    let asked = Asked {
        address: client.address,
        helo: &client.helo,
        reverse_path: &client.mail_from,
        reverse: &reverse,
        early_talk: false,
        own_address: &own_address,
        lookups: &lookups,
    };
    let hits = rules::look(shard, &asked).await;
    if hits.is_empty() {
        steps.say("rules", "none hits");
    }
    for rule in hits {
        let points = policy.rules.symbol(rule).map_or(0.0, |symbol| f64::from(symbol.weight_milli) / 1000.0);
        steps.count(&format!("rule {}", rule.name()), "hits", points);
        if let Some(reply) = policy.rule_refusal(rule) {
            steps.refuse(&format!("rule {}", rule.name()), &reply.to_string());
        }
    }
    let now = shard.now().unix_seconds();
    if policy.spf.check {
        let session = SpfSession {
            client: client.address,
            helo: &client.helo,
            mail_from: &client.mail_from,
            receiver: shard.hostname(),
            unix_seconds: now,
        };
        let spf = spf::check(&lookups, session).await;
        let points =
            policy.spf.symbol(spf.result.name(), &spf.domain).map_or(0.0, |symbol| f64::from(symbol.weight_milli) / 1000.0);
        steps.count("spf", &format!("{}: {}", spf.result.name(), spf.reason), points);
        if let Some(reply) = policy.spf_refusal(spf.result.name(), &spf.domain, spf.explanation.as_deref()) {
            steps.say("spf", format!("at the last dot {reply}"));
        }
    }
    if policy.reputation.check {
        let reputation = SenderReputation::new(&shard.memory().reputation, &policy.reputation);
        let record = reputation.address(client.address, now);
        let found = format!("{} good and {} bad messages of the address", record.good, record.bad);
        let points = reputation.symbol("", record, "").map_or(0.0, |symbol| f64::from(symbol.weight_milli) / 1000.0);
        steps.count("history", &found, points);
    }
}
