//! Other software that takes part in the decision about a mail: policy servers and milters.
//!
//! ```text
//!   RCPT ─────> policy servers at "recipient", in their order: accepted, refused, a field for the message
//!   last dot ─> our own checks ─> policy servers at "message" ─> milters, each with what the one before it has changed ─> scan
//! ```
//! All connections are the shard's own, and nothing blocks it. Whoever does not answer costs a mail its timeout at most; one that fails again and again
//! is not asked for a while (`desk`).

mod changes;
mod check;
mod delegate;
mod desk;
mod link;
mod milter;
mod pool;

pub(crate) use changes::EnvelopeChanges;
pub(crate) use check::HelperCheck;

use delegate::Delegate;
use milter::Milter;
use postring_policy::{DelegateConfig, MilterConfig, PolicyConfig};

/// The policy servers and milters of one shard.
pub(crate) struct Helpers {
    delegates: Vec<Delegate>,
    milters: Vec<Milter>,
    configured: (Vec<DelegateConfig>, Vec<MilterConfig>),
}

impl Helpers {
    /// Those of the configuration, which has been checked.
    pub(crate) fn new(config: &PolicyConfig) -> Self {
        let delegates = config.delegate.iter().enumerate().filter_map(|(number, config)| Delegate::new(number, config));
        let numbered = config.milter.iter().zip(config.delegate.len()..);
        let milters = numbered.filter_map(|(config, number)| Milter::new(number, config));
        Self {
            delegates: delegates.collect(),
            milters: milters.collect(),
            configured: (config.delegate.clone(), config.milter.clone()),
        }
    }

    /// True if another configuration has the same: then these stay, with their connections and all they know.
    pub(crate) fn are_those_of(&self, config: &PolicyConfig) -> bool {
        self.configured.0 == config.delegate && self.configured.1 == config.milter
    }

    fn is_empty(&self) -> bool {
        self.delegates.is_empty() && self.milters.is_empty()
    }
}

const _: () = assert!(postring_policy::helpers::HELPERS_MAX <= postring_control::stats::HELPERS_MAX);
