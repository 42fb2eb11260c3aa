//! DNS over sockets: what is configured, what is served on port 53, and the resolver the mail checks ask in process.

mod alias;
mod clients;
mod config;
mod connection;
mod exchange;
mod guard;
mod mmsg;
mod once;
mod outside;
mod pace;
mod random;
mod replies;
mod resolver;
mod server;
mod trust;
mod ttl;
mod udp;
mod upstream;
mod waiting;
mod watch;

pub use config::{DnsConfig, HostConfig, RateLimitConfig, ResolverMode, ServersConfig};
pub use once::{ask_once, with_resolver};
pub use outside::Trace;
pub use replies::{Beyond, Replies, Request};
pub use resolver::{Lookup, Resolver, ReverseName, reverse_name};
pub use server::DnsServer;
pub use ttl::TtlConfig;
