//! Zones and block lists at rest and in motion: files, journals, keys and transfers.
//!
//! ```text
//!   postring.toml ─> config ──┐
//!   files ─> source ──────────┼─> keeper (a thread) ─> Served ─> every shard
//!   directory ─> template ────┤      ├─ signing: keys and signatures
//!   data/dns ─> state ────────┘      └─ other servers: SOA, AXFR, IXFR, NOTIFY
//!   files, data/dns ─> reader ─> a role that serves nothing
//! ```
//! The cores without I/O are `postring_dns`'s; this crate gives them files, sockets and time.

pub mod config;
pub mod keeper;
mod memory;
pub mod reader;
pub mod served;
pub mod signing;
pub mod source;
pub mod state;
pub mod template;

pub use config::ZonesConfig;
pub use keeper::{Answer, Handle, check, start};
pub use memory::set_release;
pub use reader::Reader;
pub use served::{Rules, Served};
pub use state::State;
