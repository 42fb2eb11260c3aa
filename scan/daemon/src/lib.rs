//! Role `scan`: a worker that judges messages where they lie. It has no network, no mail files, and maps the arenas read-only: one
//! taken over by a mail can lie about its verdict, and do nothing else.
//!
//! One process, one thread that works, no async runtime. Rules are compiled and tokens read by a second thread, which looks for
//! changes every few seconds.

pub mod config;
mod role;
mod watch;
mod worker;

pub use config::ScanConfig;
pub use role::run_scan;
