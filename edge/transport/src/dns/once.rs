//! Questions of an operator, on an executor of their own.

use super::{DnsConfig, Resolver, Trace};
use glommio::LocalExecutorBuilder;
use glommio::Placement;
use postring_dns::{Hosted, Name, Rtype};
use std::sync::Arc;

/// Runs work that asks a resolver of its own: it has nothing in its cache, and hosts nothing.
///
/// # Errors
/// The system has no io_uring for us.
pub fn with_resolver<F: Future>(config: &DnsConfig, work: impl FnOnce(Resolver) -> F) -> Result<F::Output, String> {
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make().map_err(|error| {
        format!("no io_uring executor: {error}; raise RLIMIT_MEMLOCK to 8 MiB, check kernel.io_uring_disabled")
    })?;
    Ok(executor.run(async { work(Resolver::new(config, Arc::new(Hosted::default()))).await }))
}

/// Asks the servers the configuration names, whatever is hosted or kept, and tells each step.
///
/// # Errors
/// The system has no io_uring for us.
pub fn ask_once(config: &DnsConfig, name: &Name, rtype: Rtype) -> Result<Trace, String> {
    with_resolver(config, async |resolver| resolver.trace(name, rtype).await)
}
