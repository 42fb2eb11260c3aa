//! `postring auth dkim`: what a message's signatures are worth.

use super::arguments::DkimQuestion;
use super::lookup::check;
use crate::config::Config;
use crate::dns::{print_json, servers};
use postring_auth::dkim::{Status, Verification, verify};
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

pub fn run(question: &DkimQuestion, load: impl FnOnce() -> Result<Config, String>) -> Result<(), String> {
    let message = read(&question.file)?;
    let config = load();
    // Without a configuration nobody knows a better name for who has checked (RFC 8601 section 2.5).
    let hostname = config.as_ref().map_or_else(|_| "localhost".to_owned(), |config| config.server.hostname.clone());
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

/// A message of a file, or of standard input.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut message = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut message)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut message))
    };
    read.map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(with_crlf(message))
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The line ends that were signed: a message whose first line ends in a lone LF was stored with such.
fn with_crlf(message: Vec<u8>) -> Vec<u8> {
    let first = message.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if first.ends_with(b"\r") {
        return message;
    }
    let mut out = Vec::with_capacity(message.len() + message.len() / 32);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => {
                out.extend_from_slice(line);
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(line),
        }
    }
    out
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

#[cfg(test)]
mod tests {
    use super::with_crlf;

    #[test]
    fn line_ends() {
        for (stored, signed) in
            [("a: b\n\nc", "a: b\r\n\r\nc"), ("a: b\r\n\r\nc\nd\r\n", "a: b\r\n\r\nc\nd\r\n"), ("", ""), ("a\rb\n", "a\rb\r\n")]
        {
            assert_eq!(with_crlf(stored.as_bytes().to_vec()), signed.as_bytes());
        }
    }
}
