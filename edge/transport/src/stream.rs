//! A TCP connection on a glommio executor, with TLS when asked, that owns no buffer while it is idle.
//!
//! Plain bytes are received straight into the place the caller names at the moment they are there (the shard's scratch or
//! a slot of the arena): one `recv`, no copy. TLS reads ciphertext into one scratch a thread and decrypts from there: one
//! copy more. Cost of an idle plain connection: this struct and one poll entry of the executor's ring.

use crate::tls;
use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A TLS record's largest size with its header (RFC 8446 section 5.2), so that one read can take a whole record.
const CIPHERTEXT_BYTES: usize = 16 * 1024 + 256 + 5;

thread_local! {
    /// Ciphertext of the one connection that is being polled.
    static CIPHERTEXT: RefCell<Box<[u8]>> = RefCell::new(vec![0; CIPHERTEXT_BYTES].into_boxed_slice());
    /// Ciphertext on its way out, of the one connection that is being polled.
    static OUTGOING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A connection, plain or over TLS.
pub struct Stream {
    tcp: TcpStream,
    tls: Option<Box<rustls::Connection>>,
    /// Ciphertext the socket did not take at once.
    unsent: Vec<u8>,
}

impl Stream {
    /// Wraps a connection that was accepted; that small replies do not wait for an acknowledgement (Nagle) it has from its listener.
    #[must_use]
    pub fn accepted(tcp: TcpStream) -> Self {
        Self { tcp, tls: None, unsent: Vec::new() }
    }

    /// Wraps a connection that was made.
    #[must_use]
    pub fn connected(tcp: TcpStream) -> Self {
        // A socket that does not know the option still works, only slower.
        let _ = tcp.set_nodelay(true);
        Self { tcp, tls: None, unsent: Vec::new() }
    }

    /// Time the next receiving or sending may take before it fails with `TimedOut`.
    pub fn set_deadline(&self, wait: Duration) {
        let wait = Some(wait.max(Duration::from_millis(1)));
        // Only a zero duration is refused.
        let _ = self.tcp.set_read_timeout(wait);
        let _ = self.tcp.set_write_timeout(wait);
    }

    /// The socket's number, as long as the stream lives.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.tcp.as_raw_fd()
    }

    /// True once TLS is established.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Receives once something is there. `with_place` is called whenever that may be so, and gives the buffer to the function it
    /// is handed; between the calls no buffer is held. 0 bytes: the peer has closed.
    ///
    /// # Errors
    /// `TimedOut` at the deadline, `InvalidData` for broken TLS, or the socket's error.
    pub async fn receive(
        &mut self,
        mut with_place: impl FnMut(&mut dyn FnMut(&mut [u8]) -> Poll<io::Result<usize>>) -> Poll<io::Result<usize>>,
    ) -> io::Result<usize> {
        poll_fn(|cx| with_place(&mut |place| self.poll_receive(cx, place))).await
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, place: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.tls.is_none() {
            return Pin::new(&mut self.tcp).poll_read(cx, place);
        }
        loop {
            if let Some(tls) = self.tls.as_mut() {
                match tls.reader().read(place) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // Without close_notify the end may be an attacker's (RFC 8446 section 6.1); SMTP says QUIT, so it is just an end.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
                    other => return Poll::Ready(other),
                }
            }
            match self.poll_records(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(0)),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes ciphertext from the socket into the TLS machine and sends what the machine wants to say.
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let received = CIPHERTEXT.with_borrow_mut(|ciphertext| {
            let received = std::task::ready!(Pin::new(&mut self.tcp).poll_read(cx, ciphertext))?;
            let mut rest = ciphertext.get(..received).unwrap_or_default();
            let Some(tls) = self.tls.as_mut() else { return Poll::Ready(Ok(received)) };
            while !rest.is_empty() {
                if tls.read_tls(&mut rest)? == 0 {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "TLS buffer full")));
                }
                if let Err(error) = tls.process_new_packets() {
                    // The alert is worth a try; the connection ends either way.
                    let _ = self.poll_flush_records(cx);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
            }
            Poll::Ready(Ok(received))
        });
        if let Poll::Ready(Ok(_)) = received {
            // What does not go out now goes out with the next sending; a handshake waits for it in `handshake`.
            if let Poll::Ready(Err(error)) = self.poll_flush_records(cx) {
                return Poll::Ready(Err(error));
            }
        }
        received
    }

    /// Sends what the TLS machine wants to say.
    fn poll_flush_records(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.unsent.is_empty() {
                let sent = std::task::ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.unsent))?;
                self.unsent.drain(..sent);
                continue;
            }
            let Some(tls) = self.tls.as_mut() else { return Poll::Ready(Ok(())) };
            if !tls.wants_write() {
                return Poll::Ready(Ok(()));
            }
            let rest = OUTGOING.with_borrow_mut(|outgoing| {
                outgoing.clear();
                while tls.wants_write() {
                    tls.write_tls(outgoing)?;
                }
                let sent = match Pin::new(&mut self.tcp).poll_write(cx, outgoing) {
                    Poll::Ready(sent) => sent?,
                    Poll::Pending => 0,
                };
                io::Result::Ok(outgoing.get(sent..).unwrap_or_default().to_vec())
            })?;
            self.unsent = rest;
            if self.unsent.is_empty() {
                self.unsent = Vec::new();
            }
        }
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// `TimedOut` at the deadline, or the socket's error.
    pub async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = poll_fn(|cx| self.poll_send(cx, bytes)).await?;
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        poll_fn(|cx| self.poll_flush_records(cx)).await
    }

    /// Takes as many bytes as socket or TLS machine will have now.
    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.tls.is_none() {
            return Pin::new(&mut self.tcp).poll_write(cx, bytes);
        }
        std::task::ready!(self.poll_flush_records(cx))?;
        let Some(tls) = self.tls.as_mut() else { return Poll::Ready(Ok(0)) };
        let taken = tls.writer().write(bytes)?;
        match self.poll_flush_records(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    /// Becomes TLS as a server. Every plain byte still in the socket is taken for TLS: what was pipelined behind STARTTLS
    /// must have been refused by the caller before.
    ///
    /// # Errors
    /// The handshake failed or passed the deadline.
    pub async fn accept_tls(&mut self, config: &std::sync::Arc<rustls::ServerConfig>) -> io::Result<()> {
        let connection = rustls::ServerConnection::new(std::sync::Arc::clone(config)).map_err(io::Error::other)?;
        self.handshake(connection.into()).await
    }

    /// Becomes TLS as a client of `name`.
    ///
    /// # Errors
    /// `name` is none TLS can use, the handshake failed or passed the deadline.
    pub async fn connect_tls(&mut self, config: &std::sync::Arc<rustls::ClientConfig>, name: &str) -> io::Result<()> {
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connection = rustls::ClientConnection::new(std::sync::Arc::clone(config), name).map_err(io::Error::other)?;
        self.handshake(connection.into()).await
    }

    async fn handshake(&mut self, connection: rustls::Connection) -> io::Result<()> {
        self.tls = Some(Box::new(connection));
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            poll_fn(|cx| self.poll_flush_records(cx)).await?;
            if !self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
                break;
            }
            if poll_fn(|cx| self.poll_records(cx)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        poll_fn(|cx| self.poll_flush_records(cx)).await
    }

    /// Protocol version and cipher suite, for the Received field; empty without TLS.
    #[must_use]
    pub fn tls_description(&self) -> (&'static str, &'static str) {
        self.tls.as_ref().map_or(("", ""), |tls| tls::describe(tls))
    }

    /// Says goodbye: TLS's close_notify, then the end of the stream. What cannot be sent is not waited for.
    ///
    /// `all_read`: the peer has sent nothing that is unread, so the end of the socket says all; otherwise the kernel would answer what
    /// comes with a reset, which can overtake our last words.
    pub async fn close(&mut self, all_read: bool) {
        if let Some(tls) = self.tls.as_mut() {
            tls.send_close_notify();
            let _ = poll_fn(|cx| Poll::Ready(self.poll_flush_records(cx))).await;
        }
        if !all_read {
            let _ = self.tcp.shutdown(std::net::Shutdown::Write).await;
        }
    }
}
