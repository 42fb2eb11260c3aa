//! A connection to a policy server or milter: TCP or a unix socket.

use futures_lite::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpStream, UnixStream};
use postring_policy::helpers::HelperAddress;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

/// Octets received at once.
const RECEIVE_BYTES: usize = 4096;

/// A connection, and what has come over it and is not understood yet.
pub(super) struct Link {
    stream: Stream,
    received: Vec<u8>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Link {
    /// Connects. Give it a deadline.
    pub(super) async fn connect(address: &HelperAddress) -> io::Result<Self> {
        let stream = match address {
            HelperAddress::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                // Questions are small and wait for their answers; a socket without the option is only slower.
                let _ = stream.set_nodelay(true);
                Stream::Tcp(stream)
            }
            HelperAddress::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
        };
        Ok(Self { stream, received: Vec::new() })
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes).await,
            Stream::Unix(stream) => stream.write_all(bytes).await,
        }
    }

    /// What has come. Whoever understands it bounds it.
    pub(super) fn received(&self) -> &[u8] {
        &self.received
    }

    /// Forgets what was understood.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.received.drain(..bytes.min(self.received.len()));
    }

    /// True if nothing has come that nobody has asked for, and the other end is still there.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut octet = [0];
        let cx = &mut Context::from_waker(Waker::noop());
        let read = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut octet),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, &mut octet),
        };
        self.received.is_empty() && read.is_pending()
    }

    /// Waits for more.
    pub(super) async fn receive(&mut self) -> io::Result<()> {
        let before = self.received.len();
        self.received.resize(before + RECEIVE_BYTES, 0);
        let room = self.received.get_mut(before..).unwrap_or_default();
        let result = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(room).await,
            Stream::Unix(stream) => stream.read(room).await,
        };
        self.received.truncate(before + result.as_ref().map_or(0, |length| *length));
        match result? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has closed the connection")),
            _ => Ok(()),
        }
    }
}

/// What is done in time.
pub(super) async fn within<T>(wait: Duration, doing: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    futures_lite::future::or(doing, async {
        glommio::timer::sleep(wait).await;
        Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long"))
    })
    .await
}
