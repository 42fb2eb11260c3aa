//! `postring dns cache`: what the resolvers of all shards have kept, and forgetting it.

use crate::shard::{Event, OperatorAnswer};
use crate::snapshots::Snapshots;
use postring_control::Shards;
use postring_dns::Name;
use postring_dns::resolver::NegativeStore;
use postring_transport::dns::Resolver;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time for all shards to answer; they need milliseconds.
const WAIT: Duration = Duration::from_secs(5);

/// What the resolvers have kept beside their caches.
pub(crate) struct Kept {
    pub snapshots: Snapshots,
    pub negatives: Option<Arc<NegativeStore>>,
}

impl Kept {
    /// Asks every shard, adds up what they say, and does what is not any one shard's.
    pub(crate) fn ask(&self, words: &[String], shards: &Shards<Event>) -> OperatorAnswer {
        let verb = words.get(2).map(String::as_str);
        if verb == Some("flush") {
            self.snapshots.remove_all();
        }
        let mut sum = ask(words, shards)?;
        if verb == Some("stats") {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let of = |count: &dyn Fn(&NegativeStore) -> usize| self.negatives.as_deref().map_or(0, count);
            sum.insert("negative_entries".to_owned(), json!(of(&|store| store.len(now))));
            sum.insert("negative_bytes".to_owned(), json!(of(&NegativeStore::bytes)));
        }
        Ok(Value::Object(sum))
    }
}

fn ask(words: &[String], shards: &Shards<Event>) -> Result<Map<String, Value>, String> {
    let (answer, answers) = mpsc::sync_channel(shards.len());
    shards.tell_all(|| Event::Cache { words: words.to_vec(), answer: answer.clone() });
    drop(answer);
    let until = Instant::now() + WAIT;
    let mut sum: Map<String, Value> = Map::new();
    for _ in 0..shards.len() {
        let wait = until.saturating_duration_since(Instant::now());
        let one = answers.recv_timeout(wait).map_err(|_| "an edge shard did not answer".to_owned())??;
        for (key, value) in one.as_object().into_iter().flatten() {
            let before = sum.get(key).and_then(Value::as_u64).unwrap_or(0);
            sum.insert(key.clone(), json!(before + value.as_u64().unwrap_or(0)));
        }
    }
    sum.insert("shards".to_owned(), json!(shards.len()));
    Ok(sum)
}

/// One shard's part.
pub(crate) fn command(resolver: &Resolver, words: &[String]) -> OperatorAnswer {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["dns", "cache", "stats"] => {
            let stats = resolver.cache_stats();
            let counters = resolver.counters();
            Ok(json!({
                "entries": stats.entries,
                "bytes": stats.bytes,
                "hits": stats.hits,
                "misses": stats.misses,
                "evictions": stats.evictions,
                "stale_answers": stats.stale,
                "refreshes": stats.refreshes,
                "snapshots": stats.snapshots,
                "snapshot_hits": stats.snapshot_hits,
                "negative_hits": stats.negative_hits,
                "queries_sent": counters.asked,
                "queries_over_tcp": counters.asked_tcp,
                "unanswered": counters.silences,
                "referrals": counters.referrals,
                "lame_servers": counters.lame,
                "budgets_spent": counters.budgets_spent,
            }))
        }
        ["dns", "cache", "flush"] => Ok(json!({ "forgotten": resolver.flush(&Name::root(), true) })),
        ["dns", "cache", "flush", name] => flush(resolver, name, false),
        ["dns", "cache", "flush", name, "below"] => flush(resolver, name, true),
        _ => Err(format!("the cache does not know \"{}\"", words.join(" "))),
    }
}

fn flush(resolver: &Resolver, name: &str, below: bool) -> OperatorAnswer {
    let name = Name::absolute(name).map_err(|error| format!("\"{name}\": {error}"))?;
    Ok(json!({ "forgotten": resolver.flush(&name.to_key(), below) }))
}
