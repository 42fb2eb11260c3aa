//! DNS over sockets: what is configured, what is served on port 53, and the resolver the mail checks ask in process.

mod clients;
mod config;
mod exchange;
mod resolver;
mod server;

pub use config::{BlockListConfig, DnsConfig, FileKind, HostConfig, ZoneConfig, load, load_what_can_be};
pub use resolver::{Resolver, confirmed_name};
pub use server::DnsServer;
