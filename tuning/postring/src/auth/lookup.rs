//! How the commands ask the DNS for the checks.

use crate::config::Config;
use postring_auth::Lookup;
use postring_dns::resolver::Resolved;
use postring_dns::{Name, Rtype};
use postring_transport::dns::{DnsConfig, Resolver, with_resolver};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Who has checked (RFC 8601 section 2.5); without a configuration nobody knows a better name.
pub fn authserv_id(config: &Result<Config, String>) -> String {
    config.as_ref().map_or_else(|_| "localhost".to_owned(), |config| config.server.hostname.clone())
}

/// Asks a resolver with nothing in its cache.
pub struct Asking(Resolver);

impl Lookup for Asking {
    async fn lookup(&self, name: &Name, rtype: Rtype) -> Resolved {
        self.0.lookup(name, rtype).await
    }
}

/// Runs a check that asks these servers.
pub fn check<T>(config: &DnsConfig, check: impl AsyncFnOnce(&Asking) -> T) -> Result<T, String> {
    with_resolver(config, async |resolver| check(&Asking(resolver)).await)
}
