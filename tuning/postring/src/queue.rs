//! `postring queue`: asks the sending machine, and shows what it says.

use crate::cli::QueueAction;
use crate::config::Config;
use crate::supervisor;
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

pub fn run(config: &Config, action: &QueueAction) -> Result<(), String> {
    let words: &[&str] = match action {
        QueueAction::List { .. } => &["queue", "list"],
        QueueAction::Retry { which } => &["queue", "retry", which],
        QueueAction::Drop { which } => &["queue", "drop", which],
    };
    let Some(answer) = supervisor::ask(&config.server.data, words)? else {
        return Err(format!("nothing runs on {}; start it with `postring up`", config.server.data.display()));
    };
    match action {
        QueueAction::List { json: true } => {
            println!("{}", serde_json::to_string_pretty(&answer).map_err(|error| error.to_string())?);
        }
        QueueAction::List { json: false } => list(&answer),
        QueueAction::Retry { which } => changed(&answer, "will be tried now", which)?,
        QueueAction::Drop { which } => changed(&answer, "dropped", which)?,
    }
    Ok(())
}

fn changed(answer: &Value, what: &str, which: &str) -> Result<(), String> {
    match answer.as_u64().unwrap_or(0) {
        0 => Err(format!("no queued message is \"{which}\"; `postring queue list` shows what there is")),
        1 => {
            println!("1 message {what}.");
            Ok(())
        }
        count => {
            println!("{count} messages {what}.");
            Ok(())
        }
    }
}

fn list(answer: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let now_us = u64::try_from(now_us).unwrap_or(u64::MAX);
    let messages = answer["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    for message in messages {
        let from = Some(text(&message["from"])).filter(|from| !from.is_empty()).unwrap_or_else(|| "<>".to_owned());
        let age = now_us.saturating_sub(message["received_us"].as_u64().unwrap_or(now_us));
        let next = message["next_attempt_us"].as_u64().unwrap_or(0).saturating_sub(now_us);
        let state = match (message["under_way"].as_bool(), next) {
            (Some(true), _) => "under way now".to_owned(),
            (_, 0) => "due now".to_owned(),
            (_, next) => format!("next attempt in {}", span(next)),
        };
        println!(
            "{}  {:>8}  {from}  {} old, {} attempts, {state}",
            text(&message["id"]),
            indicatif::HumanBytes(message["size"].as_u64().unwrap_or(0)).to_string(),
            span(age),
            message["attempts"],
        );
        for recipient in message["recipients"].as_array().into_iter().flatten() {
            println!("    {:<10} {}  {}", text(&recipient["status"]), text(&recipient["address"]), text(&recipient["reply"]));
        }
        if let Some(more @ 1..) = message["more_recipients"].as_u64() {
            println!("    and {more} more");
        }
    }
    match (answer["total"].as_u64().unwrap_or(0), messages.len() as u64) {
        (0, _) => println!("The queue is empty."),
        (total, shown) if total > shown => println!("{total} messages, the oldest {shown} shown."),
        (total, _) => println!("{total} messages."),
    }
}

/// Like `5m` or `2d 3h`.
fn span(microseconds: u64) -> String {
    let seconds = microseconds / 1_000_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn spans() {
        assert_eq!([super::span(5_000_000), super::span(3_700_000_000), super::span(190_000_000_000)], ["5s", "1h 1m", "2d 4h"]);
    }
}
