//! How the commands ask the DNS for the checks.

use postring_auth::Lookup;
use postring_dns::resolver::Resolved;
use postring_dns::{Name, Rtype};
use postring_transport::dns::{DnsConfig, Resolver, with_resolver};

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
