//! SMTP (RFC 5321) and its extensions without I/O: bytes, answers and time go in; replies and steps come out.
//!
//! - [`Session`]: the server's side of one connection; the same for SMTP, submission and LMTP.
//! - [`client`]: the client's side, for one delivery to another server.
//! - [`BodyDecoder`]: dot-unstuffing in place, in the slot where the body is received.
//! - [`trace`]: the header fields the server adds.
//! - [`proxy`]: the header of a proxy that passes on bytes.

pub mod body;
pub mod client;
pub mod command;
pub mod forged;
pub mod header;
mod judge;
pub mod parameters;
pub mod proxy;
pub mod replies;
mod session;
pub mod trace;

pub use body::{BodyDecoder, BodyProgress, Flaw};
#[doc(hidden)]
pub use session::fuzz_session;
pub use session::{
    Account, Answer, Client, Protocol, Question, Receiving, RecipientAnswer, ServerConfig, Session, Step, Target, TlsInfo,
    Transaction, TransactionRecipient,
};
