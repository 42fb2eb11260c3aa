//! The resolver without I/O: answers, where they are kept, and the conversations with other servers that get them.
//!
//! Whoever drives it asks in this order: what is hosted, what is local ([`LocalZones`]), the [`Cache`], and then runs a [`Resolution`], which
//! knows the servers of the world by the shard's [`Infrastructure`].

mod ask;
mod budget;
mod cache;
mod delegation;
mod generations;
mod hash;
mod infrastructure;
mod local;
mod negative;
mod own;
mod packed;
mod policy;
mod reading;
mod resolution;
mod resolved;
mod roots;
mod server;
mod sieve;
mod snapshot;

pub use budget::Budget;
pub use cache::{Cache, CacheConfig, CacheStats, Found, STALE_ANSWER_WAIT_MS, TTL_STALE};
pub use hash::HashKey;
pub use infrastructure::{Counters, Infrastructure, InfrastructureConfig, do_not_query_default};
pub use local::LocalZones;
pub use negative::{Negative, NegativeStore};
pub use own::{Own, OwnAnswers};
pub use packed::RecordView;
pub use policy::{FAILURE_TTL_MAX, FAILURE_TTL_MIN, Purpose, TtlPolicy, TtlRules, ZoneTtl};
pub use resolution::{Ask, Failure, Resolution, Step, TraceEntry, fuzz_resolution};
pub use resolved::Resolved;
pub use roots::{built_in_hints, parse_hints};
pub use snapshot::{Snapshot, SnapshotError, fuzz_snapshot};

use crate::dnssec::Security;
use crate::record::Record;
use crate::types::{ExtendedError, Rcode, Rtype};

/// What is known of a name and type, as it is put together. It is kept and given on as [`Resolved`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// NOERROR (without records: the name has none of the type), NXDOMAIN, or a failure.
    pub rcode: Rcode,
    /// Aliases first, then the records of the type.
    pub records: Vec<Record>,
    /// SOA of a negative answer, and with DNSSEC what proves it.
    pub authority: Vec<Record>,
    /// Seconds it may be kept.
    pub ttl: u32,
    /// What validation said.
    pub security: Security,
    /// Why it is a failure, or not secure, where that is known.
    pub extended_error: Option<ExtendedError>,
}

impl Answer {
    /// Nobody could say: a temporary failure of whatever asked.
    #[must_use]
    pub fn failure(ttl: u32) -> Self {
        Self {
            rcode: Rcode::SERVFAIL,
            records: Vec::new(),
            authority: Vec::new(),
            ttl,
            security: Security::Unchecked,
            extended_error: None,
        }
    }

    /// The same, with what a client may be told of why.
    #[must_use]
    pub fn because(self, code: ExtendedError) -> Self {
        Self { extended_error: Some(code), ..self }
    }

    /// True if it says nothing about the name.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.rcode != Rcode::NOERROR && self.rcode != Rcode::NXDOMAIN
    }

    /// The data of the records of a type.
    pub fn rdata(&self, rtype: Rtype) -> impl Iterator<Item = &[u8]> {
        self.records.iter().filter(move |record| record.rtype == rtype).map(|record| &*record.rdata)
    }
}
