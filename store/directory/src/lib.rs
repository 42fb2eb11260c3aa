//! Domains, accounts and aliases: SQLite for who changes them, an immutable snapshot for who delivers to them.
//!
//! The data path never asks the database. The supervisor turns it into a [`Snapshot`] in a sealed memfd, which every shard of
//! every process maps: a look-up parses nothing, allocates nothing, and goes on while the database is locked or gone.

mod database;
mod dkim;
mod map;
mod newest;
mod password;
mod scores;
mod snapshot;

pub use database::{AccountRow, AliasRow, Directory, DirectoryError, DomainRow};
pub use dkim::{DkimAlgorithm, DkimKey};
pub use newest::Newest;
pub use password::{hash_password, verify_password};
pub use scores::Scores;
#[doc(hidden)]
pub use snapshot::fuzz_snapshot;
pub use snapshot::{AccountView, DomainView, Resolution, Snapshot, SnapshotError, Target, Targets, build, to_memfd};

/// The store shard that owns an account: the one place that says so.
///
/// A multiplicative hash (Fibonacci) spreads ids that count up; `shards` 0 counts as 1.
#[must_use]
pub fn account_shard(account: u64, shards: u32) -> u32 {
    let spread = account.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    u32::try_from(spread % u64::from(shards.max(1))).unwrap_or(0)
}
