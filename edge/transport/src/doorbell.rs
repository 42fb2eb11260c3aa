//! A shard's doorbell on its executor: the one thing a shard sleeps on besides its sockets.

use futures_lite::io::AsyncReadExt;
use glommio::net::UnixStream;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

/// The receiving end of a doorbell (a stream socket; every ring is a byte) as a future.
pub struct Doorbell {
    stream: UnixStream,
}

impl Doorbell {
    /// Takes the receiving end over. Must be called on the executor that will wait for it.
    #[must_use]
    #[allow(unsafe_code)] // glommio takes inherited sockets only as raw descriptors
    pub fn new(receiver: OwnedFd) -> Self {
        // SAFETY: the descriptor was owned and is given up here, so the stream is its only owner.
        let stream = unsafe { UnixStream::from_raw_fd(receiver.into_raw_fd()) };
        Self { stream }
    }

    /// Waits until somebody has rung since the last wait; many rings are one.
    ///
    /// # Errors
    /// `UnexpectedEof` when nobody is left who could ring.
    pub async fn wait(&mut self) -> io::Result<()> {
        let mut rings = [0; 256];
        match self.stream.read(&mut rings).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
