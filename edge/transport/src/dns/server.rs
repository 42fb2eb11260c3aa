//! Port 53 of a shard, over UDP and TCP.
//!
//! Costs on glommio's UdpSocket, which allocates a buffer for every datagram; the next step beneath it is measured in the design notes.

use super::Resolver;
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream, UdpSocket};
use ipnet::IpNet;
use postring_dns::responder::{Response, Transport, respond, respond_resolved};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

/// Octets of a query; longer ones are nobody's.
const QUERY_BYTES_MAX: usize = 4096;
/// TCP connections at once, for one shard.
const CONNECTIONS_MAX: usize = 500;
/// Time a TCP connection may be silent (RFC 7766 section 6.2.3: seconds).
const IDLE_WAIT: Duration = Duration::from_secs(10);
/// UDP clients that wait for the resolver at once; more are not answered and ask again.
const RESOLVING_MAX: usize = 2000;

/// The DNS service of one shard.
pub struct DnsServer {
    resolver: Resolver,
    recursion: RefCell<Vec<IpNet>>,
    queries: Cell<u64>,
    answers: Cell<u64>,
    connections: Cell<usize>,
    resolving: Cell<usize>,
}

impl DnsServer {
    /// Serves what the resolver hosts to all, and the resolver to `recursion`.
    #[must_use]
    pub fn new(resolver: Resolver, recursion: Vec<IpNet>) -> Rc<Self> {
        Rc::new(Self {
            resolver,
            recursion: RefCell::new(recursion),
            queries: Cell::new(0),
            answers: Cell::new(0),
            connections: Cell::new(0),
            resolving: Cell::new(0),
        })
    }

    /// Takes other networks.
    pub fn reload(&self, recursion: Vec<IpNet>) {
        *self.recursion.borrow_mut() = recursion;
    }

    /// Queries received and answers sent so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.queries.get(), self.answers.get())
    }

    fn may_recurse(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.recursion.borrow().iter().any(|network| network.contains(&client))
    }

    fn respond(&self, packet: &[u8], transport: Transport, client: IpAddr, out: &mut Vec<u8>) -> Response {
        self.queries.set(self.queries.get() + 1);
        respond(&self.resolver.hosted(), packet, transport, self.may_recurse(client), out)
    }

    /// Answers datagrams until the executor ends.
    #[allow(unsafe_code)] // glommio takes inherited sockets only as raw descriptors
    pub async fn serve_udp(self: Rc<Self>, socket: OwnedFd) {
        // SAFETY: the descriptor was owned and is given up here, so the socket is its only owner.
        let socket = Rc::new(unsafe { UdpSocket::from_raw_fd(socket.into_raw_fd()) });
        let mut packet = vec![0; QUERY_BYTES_MAX];
        let mut out = Vec::with_capacity(2048);
        loop {
            let (length, client) = match socket.recv_from(&mut packet).await {
                Ok(received) => received,
                Err(error) => {
                    // An ICMP error of an earlier answer most likely.
                    tracing::debug!("a DNS datagram could not be received: {error}");
                    glommio::timer::sleep(Duration::from_millis(1)).await;
                    continue;
                }
            };
            let query = packet.get(..length).unwrap_or_default();
            // A source port of 0 cannot be answered.
            if client.port() == 0 {
                continue;
            }
            match self.respond(query, Transport::Udp, client.ip(), &mut out) {
                Response::Drop => {}
                Response::Ready => self.send(&socket, &out, client).await,
                Response::Resolve(name, rtype) => {
                    if self.resolving.get() >= RESOLVING_MAX {
                        continue;
                    }
                    self.resolving.set(self.resolving.get() + 1);
                    let (server, socket, query) = (Rc::clone(&self), Rc::clone(&socket), query.to_vec());
                    glommio::spawn_local(async move {
                        let resolved = server.resolver.lookup(&name, rtype).await;
                        let mut out = Vec::with_capacity(512);
                        respond_resolved(&query, &resolved, Transport::Udp, &mut out);
                        server.send(&socket, &out, client).await;
                        server.resolving.set(server.resolving.get().saturating_sub(1));
                    })
                    .detach();
                }
            }
        }
    }

    async fn send(&self, socket: &UdpSocket, out: &[u8], client: std::net::SocketAddr) {
        match socket.send_to(out, client).await {
            Ok(_) => self.answers.set(self.answers.get() + 1),
            Err(error) => tracing::debug!(%client, "a DNS answer could not be sent: {error}"),
        }
    }

    /// Accepts TCP clients until the executor ends.
    #[allow(unsafe_code)] // glommio takes inherited sockets only as raw descriptors
    pub async fn serve_tcp(self: Rc<Self>, listener: OwnedFd) {
        // SAFETY: the descriptor was owned and is given up here, so the listener is its only owner.
        let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
        loop {
            match listener.accept().await {
                Ok(stream) if self.connections.get() < CONNECTIONS_MAX => {
                    self.connections.set(self.connections.get() + 1);
                    let server = Rc::clone(&self);
                    glommio::spawn_local(async move {
                        // A client that breaks off has what it wanted.
                        let _ = server.serve_stream(stream).await;
                        server.connections.set(server.connections.get().saturating_sub(1));
                    })
                    .detach();
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!("a DNS connection could not be accepted: {error}");
                    glommio::timer::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve_stream(&self, mut stream: TcpStream) -> io::Result<()> {
        let client = stream.peer_addr()?.ip();
        stream.set_read_timeout(Some(IDLE_WAIT))?;
        stream.set_write_timeout(Some(IDLE_WAIT))?;
        stream.set_nodelay(true)?;
        let mut out = Vec::new();
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length).await?;
            let length = usize::from(u16::from_be_bytes(length));
            if length > QUERY_BYTES_MAX {
                return Ok(());
            }
            let mut query = vec![0; length];
            stream.read_exact(&mut query).await?;
            match self.respond(&query, Transport::Tcp, client, &mut out) {
                Response::Drop => return Ok(()),
                Response::Ready => {}
                Response::Resolve(name, rtype) => {
                    let resolved = self.resolver.lookup(&name, rtype).await;
                    respond_resolved(&query, &resolved, Transport::Tcp, &mut out);
                }
            }
            let length = u16::try_from(out.len()).map_err(io::Error::other)?;
            out.splice(0..0, length.to_be_bytes());
            stream.write_all(&out).await?;
            self.answers.set(self.answers.get() + 1);
        }
    }
}
