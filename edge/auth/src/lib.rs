//! Who sent a mail, as far as the sender's domain says so: a module for each RFC.
//!
//! ```text
//!   client, HELO, MAIL FROM ─> spf   ─┬─> dmarc ─┐
//!   the message itself ──────> dkim  ─┤          ├─> Authentication-Results
//!   who handled it before ───> arc   ─┴──────────┘
//! ```
//! No I/O: what a check must know of others it asks of a [`Lookup`], which is the shard's resolver in the running program and a scenario file
//! in tests. Every check is bounded by its RFC's limits, in questions and in octets, and all it reads is what strangers wrote.

pub mod arc;
pub mod authres;
pub mod dkim;
pub mod dmarc;
mod lookup;
pub mod results;
pub mod signatures;
pub mod spf;
mod together;

pub use lookup::Lookup;
pub use together::together;
