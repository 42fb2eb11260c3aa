//! Role `store`: shards that own mailboxes. A message is in the journal before it is acknowledged, and in its Maildirs at once after.
//!
//! ARCHITECTURE.md in `store/` lists every state a message may have on disk, what a crash leaves of it, and who cleans it up.

pub mod config;
mod intake;
mod ledger;
mod record;
mod role;
mod send;
mod shard;

pub use config::{SendConfig, SendLaunch, StoreConfig};
pub use role::run_store;
pub use send::run_send;
