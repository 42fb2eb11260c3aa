//! Words all of Postring shares: paths, envelope, reply, verdict, limits.
//!
//! This crate depends on no other crate of Postring and does no I/O. What two machines say to each other
//! (the envelope in a slot's head, the verdict in a ring's payload) has its byte format here, in one place,
//! so that writer and reader cannot drift apart.

pub mod clock;
pub mod date;
pub mod dsn;
pub mod envelope;
pub mod limits;
pub mod lines;
pub mod path;
pub mod reply;
pub mod slot;
pub mod verdict;
mod wire;
pub mod work;

pub use clock::Now;
pub use reply::{EnhancedStatus, Reply};
