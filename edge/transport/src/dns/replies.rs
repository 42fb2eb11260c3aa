//! What is beyond one question and its answer, and how it is answered: perhaps by many messages, perhaps late.

use super::connection::Outbox;
use super::mmsg::{Origin, send_one};
use postring_dns::responder::{Response, Transport};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;

/// Does transfers (RFC 5936, RFC 1995), NOTIFY (RFC 1996), UPDATE (RFC 2136) and signed queries (RFC 8945). Called on the shard; runs as a task
/// of its own, and may wait.
pub trait Beyond {
    /// Handles a packet that `respond` gave to its caller. Nothing sent is no answer.
    fn handle(&self, request: Request, replies: Replies) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// A packet for [`Beyond`].
#[derive(Clone, Debug)]
pub struct Request {
    /// The whole message.
    pub packet: Vec<u8>,
    /// Who sent it.
    pub client: SocketAddr,
    /// How.
    pub transport: Transport,
    /// What it is: `Notify`, `Update`, `Transfer` or `Signed`.
    pub kind: Response,
}

/// The way back to who asked.
pub struct Replies {
    pub(super) way: Way,
}

pub(super) enum Way {
    Datagram(Rc<OwnedFd>, Origin),
    Connection(Rc<Outbox>),
}

impl Replies {
    /// Sends one message. Over TCP it waits while the client takes nothing, each time at most as long as a client may wait for us.
    ///
    /// # Errors
    /// The client is gone, or the datagram does not fit into the socket's buffer.
    pub async fn send(&self, message: &[u8]) -> io::Result<()> {
        match &self.way {
            Way::Datagram(socket, origin) => send_one(socket.as_fd(), origin, message),
            Way::Connection(outbox) => outbox.send(message).await,
        }
    }
}
