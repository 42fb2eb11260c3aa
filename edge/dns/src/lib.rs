//! DNS without I/O: names, messages, zones, block lists, and the resolver's cache and exchanges.
//!
//! ```text
//!   packet ─> query ─> responder ─> hosted ─> zone | list ─> message ─> packet
//!                         └ Resolve ─> resolver: local, cache, flight ─┘
//! ```
//! Packets, answers and time are arguments; sockets, randomness and files are the daemon's. hickory-proto is the oracle of the tests.

mod context;
pub mod dnssec;
pub mod hosted;
pub mod key;
pub mod list;
pub mod message;
pub mod name;
pub mod notify;
pub mod query;
pub mod record;
pub mod resolver;
pub mod responder;
mod test_support;
pub mod transfer;
pub mod tsig;
pub mod types;
pub mod update;
mod wire;
mod writer;
pub mod zone;

pub use hosted::{Hosted, Service};
pub use name::Name;
pub use types::{Rcode, Rtype};
