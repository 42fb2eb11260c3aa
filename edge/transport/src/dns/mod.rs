//! DNS over sockets: what is configured, what is served on port 53, and the resolver the mail checks ask in process.

mod clients;
mod config;
mod connection;
mod exchange;
mod guard;
mod mmsg;
#[cfg_attr(not(test), allow(dead_code))]
mod random;
mod replies;
mod resolver;
mod server;
mod udp;
// Until the resolver asks through it.
#[cfg_attr(not(test), allow(dead_code))]
mod upstream;
mod watch;

pub use config::{BlockListConfig, DnsConfig, FileKind, HostConfig, ZoneConfig, load, load_what_can_be};
pub use replies::{Beyond, Replies, Request};
pub use resolver::{Resolver, confirmed_name};
pub use server::DnsServer;
