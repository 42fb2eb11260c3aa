//! Role `edge`: shards that hold the connections, speak SMTP and DNS, and see a message from its first byte to its `250`.
//!
//! Each shard is one pinned thread with a glommio executor, its own listeners, its own arena of slots and its own links to
//! the scan workers and the store and send shards. Nothing is shared between shards but read-only snapshots.

pub mod config;
