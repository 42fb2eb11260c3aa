//! DNS over sockets: what is configured, what is served on port 53, and the resolver the mail checks ask in process.

mod clients;
mod config;
mod exchange;
mod mmsg;
#[cfg_attr(not(test), allow(dead_code))]
mod random;
mod resolver;
mod server;
mod udp;
// Until the resolver asks through it.
#[cfg_attr(not(test), allow(dead_code))]
mod upstream;
mod watch;

pub use config::{BlockListConfig, DnsConfig, FileKind, HostConfig, ZoneConfig, load, load_what_can_be};
pub use resolver::{Resolver, confirmed_name};
pub use server::DnsServer;
