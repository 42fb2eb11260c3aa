//! One question of an operator, on an executor of its own.

use super::{DnsConfig, Resolver, Trace};
use glommio::LocalExecutorBuilder;
use glommio::Placement;
use postring_dns::{Hosted, Name, Rtype};
use std::sync::Arc;

/// Asks the servers the configuration names, whatever is hosted or kept, and tells each step.
///
/// # Errors
/// The system has no io_uring for us.
pub fn ask_once(config: &DnsConfig, name: &Name, rtype: Rtype) -> Result<Trace, String> {
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make().map_err(|error| {
        format!("no io_uring executor: {error}; raise RLIMIT_MEMLOCK to 8 MiB, check kernel.io_uring_disabled")
    })?;
    let resolver_config = config.clone();
    Ok(executor.run(async move { Resolver::new(&resolver_config, Arc::new(Hosted::default())).trace(name, rtype).await }))
}
