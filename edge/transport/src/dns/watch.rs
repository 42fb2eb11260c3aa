//! Waits for a datagram socket with glommio, and leaves what has come where it is.
//!
//! glommio 0.9 waits for nothing without receiving. Looking at one octet (MSG_PEEK) comes nearest. Of its sockets only the stream looks
//! without having a peer and without a submission of its own; so a second descriptor of the socket is dressed up as a stream, which is used
//! for nothing else.

use glommio::net::TcpStream;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

/// The waiting end of a socket.
pub(super) struct Watch {
    stream: TcpStream,
}

impl Watch {
    /// Must be called on the executor that will wait.
    ///
    /// # Errors
    /// No descriptor is left.
    #[allow(unsafe_code)] // glommio takes foreign sockets only as raw descriptors
    pub(super) fn new(socket: &OwnedFd) -> io::Result<Self> {
        let second = socket.try_clone()?;
        // SAFETY: the descriptor was owned and is given up here, so the stream is its only owner.
        Ok(Self { stream: unsafe { TcpStream::from_raw_fd(second.into_raw_fd()) } })
    }

    /// Waits until a datagram or an error is there. Costs two system calls, one of them shared with whatever else the executor waits for.
    ///
    /// # Errors
    /// The socket's, after which it may be waited for again.
    pub(super) async fn readable(&mut self, socket: &OwnedFd) -> io::Result<()> {
        if self.stream.peek(&mut [0]).await? == 0 {
            // An empty datagram; the stream takes it for its end and would never wait again.
            *self = Self::new(socket)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::poll_once;
    use std::net::UdpSocket;

    #[test]
    fn an_empty_datagram_is_seen_once() {
        glommio::LocalExecutor::default().run(async {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            let own = OwnedFd::from(socket.try_clone().unwrap());
            let mut watch = Watch::new(&own).unwrap();
            for _ in 0..3 {
                assert!(poll_once(watch.readable(&own)).await.is_none());
                client.send_to(b"", address).unwrap();
                watch.readable(&own).await.unwrap();
                assert_eq!(socket.recv(&mut [0]).unwrap(), 0);
            }
        });
    }
}
