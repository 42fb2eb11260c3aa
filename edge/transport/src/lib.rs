//! Sockets to cores: TCP with TLS, DNS sockets and doorbells on glommio.
//!
//! The protocol cores do no I/O; the daemons do no socket calls. Between them stands this crate, the narrow seam that is
//! replaced where a measurement says that something beneath glommio pays.

pub mod dns;
pub mod doorbell;
mod hangup;
mod listener;
pub mod stream;
pub mod tls;

pub use doorbell::Doorbell;
pub use hangup::{Hangups, Registered};
pub use listener::{Listener, NEWCOMERS_MAX, Newcomer};
pub use stream::Stream;
