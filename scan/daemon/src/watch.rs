//! Watches rules and tokens, and makes new ones ready beside the worker.

use crate::config::ScanConfig;
use postring_engine::bayes::TokenStore;
use postring_engine::yara;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::{Duration, SystemTime};

/// How often the folder and the file are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// What is ready.
pub(crate) enum Fresh {
    Rules(Box<yara_x::Rules>),
    Tokens(Box<TokenStore>),
}

/// Looks until the worker has gone. A rule or a store that cannot be used is told once, and the old one stays.
pub(crate) fn watch(config: &ScanConfig, fresh: &Sender<Fresh>, wake: impl Fn()) {
    let mut rules_seen = yara::fingerprint(&config.rules);
    let mut tokens_seen = modified(&config.tokens);
    loop {
        std::thread::sleep(LOOK_EVERY);
        let rules_now = yara::fingerprint(&config.rules);
        if config.yara && rules_now != rules_seen {
            rules_seen = rules_now;
            match yara::compile(&config.rules) {
                Ok(rules) => {
                    tracing::info!("new rules from {}", config.rules.display());
                    if fresh.send(Fresh::Rules(Box::new(rules))).is_err() {
                        return;
                    }
                    wake();
                }
                Err(error) => tracing::error!("{error}; the rules before stay in force"),
            }
        }
        let tokens_now = modified(&config.tokens);
        if config.bayes && tokens_now != tokens_seen {
            tokens_seen = tokens_now;
            match TokenStore::open(&config.tokens) {
                Ok(store) => {
                    if fresh.send(Fresh::Tokens(Box::new(store))).is_err() {
                        return;
                    }
                    wake();
                }
                Err(error) => tracing::error!("{error}; what was learned before stays in use"),
            }
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}
