//! DNS over sockets: what is configured, what is served on port 53, and the resolver the mail checks ask in process.

mod clients;
mod config;
mod exchange;
mod mmsg;
mod random;
mod resolver;
mod server;
mod udp;
mod upstream;
mod watch;

pub use config::{
    BlockListConfig, DnsConfig, FileKind, HostConfig, ResolverMode, ServersConfig, ZoneConfig, load, load_what_can_be,
};
pub use resolver::{Resolver, confirmed_name};
pub use server::DnsServer;
