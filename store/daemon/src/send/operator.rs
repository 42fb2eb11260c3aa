//! `postring queue`: what its words mean, and what the queue looks like as JSON.

use postring_queue::{Listed, Queue, Selector, Status};
use serde_json::{Value, json};

/// Bytes of JSON a message in the list takes at least: how many are asked for.
const LISTED_BYTES_MIN: usize = 150;
/// Recipients shown of one message.
const RECIPIENTS_MAX: usize = 20;

/// What the operator wants.
pub(super) enum Request {
    List,
    Retry(Selector),
    Drop(Selector),
}

/// Reads the words of the command.
pub(super) fn parse(words: &[String]) -> Result<Request, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let selector = |text: &str| text.parse::<Selector>().map_err(|error| error.to_string());
    match words.as_slice() {
        ["queue", "list"] => Ok(Request::List),
        ["queue", "retry", which] => Ok(Request::Retry(selector(which)?)),
        ["queue", "drop", which] => Ok(Request::Drop(selector(which)?)),
        _ => Err(format!("send does not know \"{}\"", words.join(" "))),
    }
}

/// The oldest messages, as many as fit into about `bytes_max`, and how many there are.
pub(super) fn list(queue: &Queue, bytes_max: usize) -> Value {
    let (mut messages, mut bytes) = (Vec::new(), 0);
    for listed in queue.list(bytes_max / LISTED_BYTES_MIN) {
        let message = message(&listed);
        bytes += message.to_string().len() + 1;
        if bytes > bytes_max {
            break;
        }
        messages.push(message);
    }
    json!({ "total": queue.len(), "messages": messages })
}

fn message(listed: &Listed<'_>) -> Value {
    let recipients: Vec<Value> = listed
        .recipients
        .iter()
        .take(RECIPIENTS_MAX)
        .map(|(address, status, reply)| json!({ "address": address, "status": status_text(*status), "reply": reply }))
        .collect();
    json!({
        "id": listed.id.to_string(),
        "received_us": listed.received_us,
        "size": listed.size,
        "from": listed.reverse_path,
        "attempts": listed.attempts,
        "next_attempt_us": listed.next_attempt_us,
        "under_way": listed.under_way,
        "recipients": recipients,
        "more_recipients": listed.recipients.len().saturating_sub(RECIPIENTS_MAX),
    })
}

fn status_text(status: Status) -> &'static str {
    match status {
        Status::Pending | Status::Late | Status::PendingLate => "pending",
        Status::Delivered | Status::Relayed => "delivered",
        Status::Failed => "failed",
        Status::Reported => "returned",
    }
}
