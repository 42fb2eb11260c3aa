//! DNS over sockets: what is configured, what is served on port 53, and the resolver the mail checks ask in process.

mod clients;
mod config;
mod exchange;
mod mmsg;
mod outside;
mod random;
mod resolver;
mod server;
mod trust;
mod udp;
mod upstream;
mod waiting;
mod watch;

pub use config::{
    BlockListConfig, DnsConfig, FileKind, HostConfig, ResolverMode, ServersConfig, ZoneConfig, load, load_what_can_be,
};
pub use outside::Trace;
pub use resolver::{Lookup, Resolver, confirmed_name};
pub use server::DnsServer;
