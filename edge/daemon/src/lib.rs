//! Role `edge`: shards that hold the connections, speak SMTP, and see a message from its first byte to its `250`.
//!
//! Each shard is one pinned thread with a glommio executor, its own listeners, its own arena of slots and its own links to
//! the scan workers and the store and send shards,
//! and answers DNS from memory: to itself in process, to others on port 53. Nothing is shared between shards but read-only snapshots.
//!
//! - [`config`]: what can be set
//! - `role`: the process, its control thread
//! - `shard`: one thread, what its tasks share, and those that are not a client's
//! - `limits`: who is here, and what is too much
//! - `connection`: one client, from accept to close; its content, and what becomes of it
//! - `proxied`: who is behind a load balancer
//! - `reverse`: the client's name by DNS
//! - `dnsbl`: what block lists of others say of the client
//! - `binary`: content that is no lines
//! - `budget`: what all checks of a message together may ask
//! - `last_dot`: what a message waits for before it is judged
//! - `dmarc`: whether a message is from the domain it shows
//! - `rules`: what the rules say of client and sender
//! - `sender`: what the sender's domain says of the client
//! - `content`: what a message's signatures are worth
//! - `history`: what its senders have brought before; `memory`: where that is kept
//! - `explain`: what a client would be told
//! - `helpers`: policy servers and milters that are asked
//! - `found`: what a task finds for a connection
//! - `message`: from the last dot to the reply
//! - `recipients`: the verdict for each recipient
//! - `own_mail`: messages of our own
//! - `reports`: what domains are told of mail in their names
//! - `delivered`: the report to a sender who wants to hear of success
//! - `zones`: transfers, notifications, updates and signed queries
//! - `cookies`: the secrets of DNS cookies
//! - `cache`: the operator's questions about the resolver
//! - `snapshots`: what the resolvers have learned, over a restart

mod binary;
mod budget;
mod cache;
pub mod config;
mod connection;
mod content;
mod cookies;
mod delivered;
mod dmarc;
mod dnsbl;
mod explain;
mod found;
mod helpers;
mod history;
mod last_dot;
mod limits;
mod memory;
mod message;
mod own_mail;
mod proxied;
mod questions;
mod recipients;
mod reports;
mod reverse;
mod role;
mod rules;
mod sender;
mod shard;
mod snapshots;
mod zones;

pub use dmarc::read_suffixes;
pub use role::run;
