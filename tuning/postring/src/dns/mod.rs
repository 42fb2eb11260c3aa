//! `postring dns` and `postring block`: questions, zones, the cache, cookies, and entries of block lists.

mod block;
mod query;
mod zone;

pub use block::run as block;
pub use query::servers;

use crate::cli::{CacheAction, CookieAction, DnsAction};
use crate::config::Config;
use crate::supervisor;
use serde_json::Value;

/// Runs a command; `config` is loaded by those that need it.
pub fn run(action: DnsAction, load: impl FnOnce() -> Result<Config, String>) -> Result<(), String> {
    match action {
        DnsAction::Query(question) => query::run(&question, load),
        DnsAction::Zone { action } => zone::run(&action, load),
        DnsAction::Cache { action } => cache(&action, &load()?),
        DnsAction::Cookie { action: CookieAction::Roll } => {
            let rolled = ask(&load()?, &["dns", "cookie", "roll"])?;
            println!("Cookies are made with another secret now; {} has it and the one before.", rolled["file"]);
            Ok(())
        }
    }
}

/// Asks the running system.
pub fn ask(config: &Config, words: &[&str]) -> Result<Value, String> {
    supervisor::ask(&config.server.data, words)?
        .ok_or_else(|| format!("nothing runs on {}; start it with `postring up`", config.server.data.display()))
}

/// For machines.
pub fn print_json(value: &Value) -> Result<(), String> {
    println!("{}", serde_json::to_string_pretty(value).map_err(|error| error.to_string())?);
    Ok(())
}

fn cache(action: &CacheAction, config: &Config) -> Result<(), String> {
    match action {
        CacheAction::Stats { json } => {
            let stats = ask(config, &["dns", "cache", "stats"])?;
            if *json {
                return print_json(&stats);
            }
            for (key, value) in stats.as_object().into_iter().flatten() {
                println!("{:<20} {value:>12}", key.replace('_', " "));
            }
            Ok(())
        }
        CacheAction::Flush { name, below } => {
            let mut words = vec!["dns", "cache", "flush"];
            words.extend(name.as_deref());
            words.extend((name.is_some() && *below).then_some("below"));
            println!("{} answers forgotten.", ask(config, &words)?["forgotten"]);
            Ok(())
        }
    }
}
