//! One remote delivery: from a destination domain to the hosts that take its mail, in the order to try them.
//!
//! No I/O: DNS answers and what became of each try are arguments. DANE and MTA-STS will join here; the conversation with a host is the
//! client half of `edge/smtp`.

mod route;

pub use route::{Route, RouteConfig, RouteStep, Target};
