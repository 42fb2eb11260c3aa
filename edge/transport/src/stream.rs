//! A TCP connection on a glommio executor, with TLS when asked, that owns no buffer while it is idle.
//!
//! Plain bytes are received straight into the place the caller names at the moment they are there (the shard's scratch or
//! a slot of the arena): one `recv`, no copy. TLS reads ciphertext into one scratch a thread and decrypts from there: one
//! copy more. Cost of an idle plain connection: this struct and one poll entry of the executor's ring.
//!
//! One deadline holds for whole conversations with the socket, however many operations they take: a handshake, a TLS record or a reply
//! that goes byte by byte must not outlive it. glommio's timeouts are for single operations, so each is given what is left.

use crate::tls;
use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

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
    deadline: Option<Instant>,
}

impl Stream {
    /// Wraps a connection that was accepted; that small replies do not wait for an acknowledgement (Nagle) it has from its listener.
    #[must_use]
    pub fn accepted(tcp: TcpStream) -> Self {
        Self { tcp, tls: None, unsent: Vec::new(), deadline: None }
    }

    /// Wraps a connection that was made.
    #[must_use]
    pub fn connected(tcp: TcpStream) -> Self {
        // A socket that does not know the option still works, only slower.
        let _ = tcp.set_nodelay(true);
        Self { tcp, tls: None, unsent: Vec::new(), deadline: None }
    }

    /// All that is received and sent from now on must be done in `wait`, or fails with `TimedOut`; until the next call of this. Without
    /// one there is no deadline.
    ///
    /// Past the deadline nothing is received, and what the socket takes at once is still sent: the last words of a session that timed
    /// out. A receiving or sending that was given up halfway keeps its timer: if the next deadline is earlier, it may be noticed as
    /// late as the old one.
    pub fn set_deadline(&mut self, wait: Duration) {
        self.deadline = Instant::now().checked_add(wait);
    }

    /// The socket's number, as long as the stream lives.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.tcp.as_raw_fd()
    }

    /// Our end's address; costs a system call.
    #[must_use]
    pub fn local_address(&self) -> Option<IpAddr> {
        self.local_socket().map(|socket| socket.ip())
    }

    /// The same with its port.
    #[must_use]
    pub fn local_socket(&self) -> Option<SocketAddr> {
        self.tcp.local_addr().ok()
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

    /// Receives until `place` is full.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), and `UnexpectedEof` if the peer closes before.
    pub async fn receive_exact(&mut self, place: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < place.len() {
            match self.receive(|read| read(place.get_mut(filled..).unwrap_or_default())).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                received => filled += received,
            }
        }
        Ok(())
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, place: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.tls.is_none() {
            return poll_read(&mut self.tcp, cx, place, self.deadline);
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
            let received = std::task::ready!(poll_read(&mut self.tcp, cx, ciphertext, self.deadline))?;
            let mut rest = ciphertext.get(..received).unwrap_or_default();
            let Some(tls) = self.tls.as_mut() else { return Poll::Ready(Ok(received)) };
            while !rest.is_empty() {
                if tls.read_tls(&mut rest)? == 0 {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "TLS buffer full")));
                }
                if let Err(error) = tls.process_new_packets() {
                    // The alert is worth a try; the connection ends either way.
                    let _ = self.poll_flush_records(cx, None);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
            }
            Poll::Ready(Ok(received))
        });
        if let Poll::Ready(Ok(_)) = received {
            // What does not go out now goes out with the next sending, which has the deadline; a handshake waits for it in `handshake`.
            if let Poll::Ready(Err(error)) = self.poll_flush_records(cx, None) {
                return Poll::Ready(Err(error));
            }
        }
        received
    }

    /// Sends what the TLS machine wants to say. Without a deadline no timer is left behind if the socket does not take it now.
    fn poll_flush_records(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<io::Result<()>> {
        loop {
            if !self.unsent.is_empty() {
                let sent = std::task::ready!(poll_write(&mut self.tcp, cx, &self.unsent, deadline))?;
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
                let sent = match poll_write(&mut self.tcp, cx, outgoing, deadline) {
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
        poll_fn(|cx| self.poll_flush_records(cx, self.deadline)).await
    }

    /// Sends what the socket takes without waiting, and forgets the rest: a last word to somebody nobody waits for. Nothing over TLS.
    pub fn send_now(&mut self, bytes: &[u8]) {
        if self.tls.is_none() {
            let _ = self.poll_send(&mut Context::from_waker(Waker::noop()), bytes);
        }
    }

    /// Takes as many bytes as socket or TLS machine will have now.
    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.tls.is_none() {
            return poll_write(&mut self.tcp, cx, bytes, self.deadline);
        }
        std::task::ready!(self.poll_flush_records(cx, self.deadline))?;
        let Some(tls) = self.tls.as_mut() else { return Poll::Ready(Ok(0)) };
        let taken = tls.writer().write(bytes)?;
        match self.poll_flush_records(cx, self.deadline) {
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
            poll_fn(|cx| self.poll_flush_records(cx, self.deadline)).await?;
            if !self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
                break;
            }
            if poll_fn(|cx| self.poll_records(cx)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        poll_fn(|cx| self.poll_flush_records(cx, self.deadline)).await
    }

    /// Protocol version and cipher suite, for the Received field; empty without TLS.
    #[must_use]
    pub fn tls_description(&self) -> (&'static str, &'static str) {
        self.tls.as_ref().map_or(("", ""), |tls| tls::describe(tls))
    }

    /// True if the handshake went on with a session from before.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed))
    }

    /// The certificate the peer has shown and has the key of, DER; a resumed session has the one from before.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.peer_certificates()?.first().map(AsRef::as_ref)
    }

    /// Says goodbye: TLS's close_notify, then the end of the stream. What cannot be sent is not waited for.
    ///
    /// `all_read`: the peer has sent nothing that is unread, so the end of the socket says all; otherwise the kernel would answer what
    /// comes with a reset, which can overtake our last words.
    pub async fn close(&mut self, all_read: bool) {
        if let Some(tls) = self.tls.as_mut() {
            tls.send_close_notify();
            let _ = poll_fn(|cx| Poll::Ready(self.poll_flush_records(cx, None))).await;
        }
        if !all_read {
            let _ = self.tcp.shutdown(std::net::Shutdown::Write).await;
        }
    }
}

/// What is left until `deadline`; nothing without one.
fn left(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

/// glommio's own timer has fired (the kernel's ETIMEDOUT is the end of the connection).
fn is_timer(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none()
}

/// Reads, and is woken at `deadline`. Costs one look at the clock (no system call) more than glommio's reading.
///
/// glommio starts a timer when an operation first has to wait, keeps it until bytes have come or it has fired, and takes no notice of a
/// timeout set in between. So a timer that fires early belongs to an operation that was given up, and the next is started with what is left.
fn poll_read(tcp: &mut TcpStream, cx: &mut Context<'_>, place: &mut [u8], deadline: Option<Instant>) -> Poll<io::Result<usize>> {
    loop {
        let left = left(deadline);
        if left == Some(Duration::ZERO) {
            // glommio forgets a timer that has fired only when it is polled; nothing is taken from the socket.
            let _ = tcp.set_read_timeout(None);
            let _ = Pin::new(&mut *tcp).poll_read(cx, &mut []);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        // Only a zero duration is refused.
        let _ = tcp.set_read_timeout(left);
        match std::task::ready!(Pin::new(&mut *tcp).poll_read(cx, place)) {
            Err(error) if is_timer(&error) => {}
            received => return Poll::Ready(received),
        }
    }
}

/// Writes, and is woken at `deadline`; past it, only what the socket takes at once. For the rest see [`poll_read`].
fn poll_write(tcp: &mut TcpStream, cx: &mut Context<'_>, bytes: &[u8], deadline: Option<Instant>) -> Poll<io::Result<usize>> {
    loop {
        let left = left(deadline);
        let is_past = left == Some(Duration::ZERO);
        let _ = tcp.set_write_timeout(left.filter(|_| !is_past));
        match Pin::new(&mut *tcp).poll_write(cx, bytes) {
            Poll::Pending if is_past => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Ready(Err(error)) if is_timer(&error) && !is_past => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glommio::net::TcpListener;
    use std::future::Future;
    use std::net::TcpStream as Peer;
    use std::thread::JoinHandle;

    const DEADLINE: Duration = Duration::from_millis(300);
    const TRICKLE: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    /// Runs `ours` with a stream whose other end `peer` has, on a thread; gives what both say.
    fn converse<T: Send + 'static, F: Future>(
        peer: impl FnOnce(Peer) -> T + Send + 'static,
        ours: impl FnOnce(Stream) -> F,
    ) -> (T, F::Output) {
        glommio::LocalExecutor::default().run(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address: SocketAddr = listener.local_addr().unwrap();
            let peer: JoinHandle<T> = std::thread::spawn(move || peer(Peer::connect(address).unwrap()));
            let result = ours(Stream::accepted(listener.accept().await.unwrap())).await;
            (peer.join().unwrap(), result)
        })
    }

    /// Sends byte by byte; gives how many were not sent before the connection broke.
    fn trickle(peer: &mut Peer, bytes: &[u8]) -> usize {
        peer.set_nodelay(true).unwrap();
        for (sent, byte) in bytes.iter().enumerate() {
            if peer.write_all(&[*byte]).is_err() {
                return bytes.len() - sent;
            }
            std::thread::sleep(TRICKLE);
        }
        0
    }

    fn is_timed_out<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| is_timer(&error))
    }

    fn client() -> rustls::ClientConnection {
        let name = rustls::pki_types::ServerName::try_from("mx.example").unwrap();
        rustls::ClientConnection::new(tls::opportunistic_client_config().unwrap(), name).unwrap()
    }

    fn server() -> std::sync::Arc<rustls::ServerConfig> {
        let material = tls::server::tests::material(tls::server::tests::self_signed("mx.example"));
        tls::Servers::new(&material, &tls::Tickets::new().unwrap()).unwrap().smtp
    }

    #[test]
    fn a_trickled_handshake_ends_at_the_deadline() {
        let peer = |mut peer: Peer| {
            let mut hello = Vec::new();
            client().write_tls(&mut hello).unwrap();
            trickle(&mut peer, &hello)
        };
        let (unsent, result) = converse(peer, |mut stream| async move {
            stream.set_deadline(DEADLINE);
            stream.accept_tls(&server()).await
        });
        assert!(is_timed_out(result));
        assert!(unsent > 0);
    }

    #[test]
    fn a_trickled_record_ends_at_the_deadline() {
        let peer = |mut peer: Peer| {
            let mut tls = client();
            tls.complete_io(&mut peer).unwrap();
            tls.writer().write_all(&[b'x'; 1000]).unwrap();
            let mut record = Vec::new();
            tls.write_tls(&mut record).unwrap();
            trickle(&mut peer, &record)
        };
        let (unsent, result) = converse(peer, |mut stream| async move {
            stream.set_deadline(LONG);
            stream.accept_tls(&server()).await.unwrap();
            stream.set_deadline(DEADLINE);
            let mut place = [0; 2000];
            stream.receive(|read| read(&mut place)).await
        });
        assert!(is_timed_out(result));
        assert!(unsent > 0);
    }

    /// Takes a little at a time until the connection ends or all of `bytes` are there; gives what is missing.
    fn sip(mut peer: impl Read, bytes: usize) -> usize {
        let (mut taken, mut place) = (0, [0; 32 * 1024]);
        while taken < bytes {
            match peer.read(&mut place) {
                Ok(0) | Err(_) => break,
                Ok(length) => taken += length,
            }
            std::thread::sleep(TRICKLE / 4);
        }
        bytes - taken
    }

    /// More than the two sockets keep.
    const MANY_BYTES: usize = 64 << 20;

    #[test]
    fn a_peer_that_takes_little_at_a_time_is_left_at_the_deadline() {
        let (missing, result) = converse(
            |peer| sip(peer, MANY_BYTES),
            |mut stream| async move {
                stream.set_deadline(DEADLINE);
                let result = stream.send(&vec![b'x'; MANY_BYTES]).await;
                // What the kernel still has is not for the peer to take its time with.
                stream.tcp.shutdown(std::net::Shutdown::Both).await.unwrap();
                result
            },
        );
        assert!(is_timed_out(result));
        assert!(missing > 0);
    }

    #[test]
    fn a_peer_that_takes_little_at_a_time_is_left_under_tls_too() {
        let peer = |mut peer: Peer| {
            let mut tls = client();
            tls.complete_io(&mut peer).unwrap();
            sip(rustls::StreamOwned::new(tls, peer), MANY_BYTES)
        };
        let (missing, result) = converse(peer, |mut stream| async move {
            stream.set_deadline(LONG);
            stream.accept_tls(&server()).await.unwrap();
            stream.set_deadline(DEADLINE);
            let result = stream.send(&vec![b'x'; MANY_BYTES]).await;
            stream.tcp.shutdown(std::net::Shutdown::Both).await.unwrap();
            result
        });
        assert!(is_timed_out(result));
        assert!(missing > 0);
    }

    #[test]
    fn past_the_deadline_last_words_are_sent_and_nothing_is_received() {
        let peer = |mut peer: Peer| {
            peer.write_all(b"QUIT\r\n").unwrap();
            let mut reply = String::new();
            peer.read_to_string(&mut reply).unwrap();
            reply
        };
        let (reply, ()) = converse(peer, |mut stream| async move {
            let mut place = [0; 1];
            stream.set_deadline(LONG);
            stream.receive_exact(&mut place).await.unwrap();
            stream.set_deadline(Duration::ZERO);
            assert!(is_timed_out(stream.receive(|read| read(&mut place)).await));
            stream.send(b"421 4.4.2 Bye\r\n").await.unwrap();
            // Nothing was taken from the socket either.
            stream.set_deadline(LONG);
            let mut rest = [0; 5];
            stream.receive_exact(&mut rest).await.unwrap();
            assert_eq!(&rest, b"UIT\r\n");
        });
        assert_eq!(reply, "421 4.4.2 Bye\r\n");
    }

    #[test]
    fn the_deadline_of_a_receiving_that_was_given_up_is_not_the_next_ones() {
        let peer = |mut peer: Peer| {
            std::thread::sleep(DEADLINE);
            peer.write_all(b"x").unwrap();
        };
        let ((), result) = converse(peer, |mut stream| async move {
            let mut place = [0; 1];
            stream.set_deadline(DEADLINE / 3);
            let given_up = async {
                glommio::timer::sleep(DEADLINE / 10).await;
                Ok(())
            };
            futures_lite::future::or(stream.receive_exact(&mut place), given_up).await.unwrap();
            stream.set_deadline(LONG);
            stream.receive_exact(&mut place).await
        });
        result.unwrap();
    }
}
