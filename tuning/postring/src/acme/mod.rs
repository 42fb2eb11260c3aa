//! Certificates from an authority (ACME, RFC 8555): a thread of the supervisor that gets them, writes their files, and nothing more. That files change
//! is seen and judged where those of anybody are (`crate::tls::files`).
//!
//! - [`config`]: what can be set
//! - [`wanted`]: which certificates, and when one is due
//! - [`kept`]: the account, and what failed last, over a restart
//! - [`order`]: one certificate, from the order to its file
//! - [`challenge`]: how the authority is shown that a name is ours
//! - [`client`]: HTTPS to the authority
//! - [`worker`]: the thread

pub mod challenge;
mod client;
pub mod config;
mod kept;
mod order;
pub mod wanted;
mod worker;

pub use config::Acme;
pub use worker::Worker;
