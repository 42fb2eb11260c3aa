//! Certificates and keys: read from their files by the supervisor, judged, watched, and handed to the edge, which may read none of them.
//!
//! - [`config`]: what can be set
//! - [`certificate`]: one certificate with its key
//! - [`entry`]: one pair of files, and what is done when they change
//! - [`files`]: all of them, and what the edge gets
//! - [`check`]: what `postring check` says of them
//! - [`published`]: whether our own zones agree with them
//! - [`command`]: `postring tls`

pub mod certificate;
pub mod check;
pub mod command;
pub mod config;
pub mod entry;
pub mod files;
pub mod published;

pub use config::Tls;
pub use files::Certificates;
