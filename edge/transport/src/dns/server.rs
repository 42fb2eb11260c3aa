//! Port 53 of a shard, over UDP and TCP.

use super::clients::{Admission, Clients};
use super::mmsg::{Origin, ask_for_destination, send_one};
use super::udp;
use super::{Lookup, Resolver};
use crate::{Hangups, Stream};
use glommio::net::{TcpListener, TcpStream};
use ipnet::IpNet;
use postring_dns::responder::{Response, Transport, respond, respond_resolved};
use postring_dns::{Name, Rtype};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Octets of a query; longer ones are nobody's.
const QUERY_BYTES_MAX: usize = 4096;
/// TCP connections at once, for one shard.
const CONNECTIONS_MAX: usize = 500;
/// Of them, of one client. RFC 7766 section 6.2.2 wants clients to get by with about one; behind an address there may be several clients.
/// The same for this machine's own.
const CLIENT_CONNECTIONS_MAX: usize = 20;
/// Connections that have lost their place and are not closed yet, before the next is accepted.
const LEAVING_MAX: usize = 100;
/// Time a TCP client may take for a whole query, waiting for its first octet included, and for taking the whole answer.
//= RFC 7766 section 6.2.3
//# A timeout of at least a few seconds is advisable for normal operations
const WAIT: Duration = Duration::from_secs(10);
/// UDP clients that wait for the resolver at once; more are not answered and ask again.
const RESOLVING_MAX: usize = 2000;

/// The DNS service of one shard.
pub struct DnsServer {
    resolver: Resolver,
    recursion: RefCell<Vec<IpNet>>,
    queries: Cell<u64>,
    answers: Cell<u64>,
    clients: RefCell<Clients>,
    hangups: Hangups,
    wait: Duration,
    resolving: Cell<usize>,
}

impl DnsServer {
    /// Serves what the resolver hosts to all, and the resolver to `recursion`.
    #[must_use]
    pub fn new(resolver: Resolver, recursion: Vec<IpNet>) -> Rc<Self> {
        Self::with_limits(resolver, recursion, Clients::new(CONNECTIONS_MAX, CLIENT_CONNECTIONS_MAX), WAIT)
    }

    fn with_limits(resolver: Resolver, recursion: Vec<IpNet>, clients: Clients, wait: Duration) -> Rc<Self> {
        Rc::new(Self {
            resolver,
            recursion: RefCell::new(recursion),
            queries: Cell::new(0),
            answers: Cell::new(0),
            clients: RefCell::new(clients),
            hangups: Hangups::default(),
            wait,
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
    pub async fn serve_udp(self: Rc<Self>, socket: OwnedFd) {
        let bound = rustix::net::getsockname(&socket).ok().and_then(|address| SocketAddr::try_from(address).ok());
        if let Some(Err(error)) = bound.map(|bound| ask_for_destination(socket.as_fd(), bound)) {
            tracing::warn!("DNS answers may leave from another address than the one asked: {error}");
        }
        let socket = Rc::new(socket);
        let answer = |packet: &[u8], client: SocketAddr, origin: &Origin, out: &mut Vec<u8>| {
            if let Response::Resolve(name, rtype) = self.respond(packet, Transport::Udp, client.ip(), out) {
                out.clear();
                self.resolve(&socket, packet, *origin, name, rtype, out);
            }
        };
        if let Err(error) = udp::serve(&socket, answer, |sent| self.count_answers(sent)).await {
            tracing::error!("a DNS socket is not served: {error}");
        }
    }

    /// Answers at once what the resolver knows, and the rest when it knows it.
    fn resolve(
        self: &Rc<Self>,
        socket: &Rc<OwnedFd>,
        packet: &[u8],
        origin: Origin,
        name: Name,
        rtype: Rtype,
        out: &mut Vec<u8>,
    ) {
        let resolver = self.resolver.clone();
        let how = Lookup::of_query(packet);
        let mut lookup = Box::pin(async move { resolver.lookup_with(&name, rtype, how).await });
        if let Poll::Ready(resolved) = lookup.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return respond_resolved(packet, &resolved, Transport::Udp, out);
        }
        if self.resolving.get() >= RESOLVING_MAX {
            return;
        }
        self.resolving.set(self.resolving.get() + 1);
        let (server, socket, query) = (Rc::clone(self), Rc::clone(socket), packet.to_vec());
        glommio::spawn_local(async move {
            let resolved = lookup.await;
            let mut out = Vec::with_capacity(512);
            respond_resolved(&query, &resolved, Transport::Udp, &mut out);
            match send_one(socket.as_fd(), &origin, &out) {
                Ok(()) => server.count_answers(1),
                Err(error) => tracing::debug!(client = ?origin.sender(), "a DNS answer could not be sent: {error}"),
            }
            server.resolving.set(server.resolving.get().saturating_sub(1));
        })
        .detach();
    }

    fn count_answers(&self, sent: usize) {
        self.answers.set(self.answers.get() + u64::try_from(sent).unwrap_or(0));
    }

    /// Accepts TCP clients until the executor ends.
    #[allow(unsafe_code)] // glommio takes inherited sockets only as raw descriptors
    pub async fn serve_tcp(self: Rc<Self>, listener: OwnedFd) {
        // SAFETY: the descriptor was owned and is given up here, so the listener is its only owner.
        let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
        loop {
            match listener.accept().await {
                Ok(stream) => self.admit(stream),
                Err(error) => {
                    tracing::warn!("a DNS connection could not be accepted: {error}");
                    glommio::timer::sleep(Duration::from_millis(100)).await;
                }
            }
            // While there are more to accept this would go on and on.
            glommio::yield_if_needed().await;
            if self.clients.borrow().leaving() >= LEAVING_MAX {
                // They hear of it from the reactor.
                glommio::timer::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Serves a client that has connected, if there is a place for it.
    //= RFC 7766 section 6.2.3
    //# Servers MAY use zero timeouts when they are experiencing heavy load or are under attack.
    fn admit(self: &Rc<Self>, tcp: TcpStream) {
        // One that is gone again needs no place.
        let Ok(client) = tcp.peer_addr() else { return };
        // A socket that does not know the option still works, only slower.
        let _ = tcp.set_nodelay(true);
        let mut stream = Stream::accepted(tcp);
        let descriptor = stream.descriptor();
        match self.clients.borrow_mut().admit(descriptor, client.ip(), Instant::now()) {
            Admission::Admitted => {}
            Admission::InsteadOf(other) => self.hangups.one(other),
            Admission::Refused => return,
        }
        let server = Rc::clone(self);
        glommio::spawn_local(async move {
            // One that loses its place before this runs finds that itself.
            let registered = server.hangups.register(&stream);
            // A client that breaks off has what it wanted.
            let _ = server.serve_stream(&mut stream, client.ip()).await;
            // Both before the stream closes the descriptor.
            drop(registered);
            server.clients.borrow_mut().leave(descriptor);
        })
        .detach();
    }

    async fn serve_stream(&self, stream: &mut Stream, client: IpAddr) -> io::Result<()> {
        let (descriptor, mut out) = (stream.descriptor(), Vec::new());
        while self.clients.borrow_mut().wait(descriptor, Some(Instant::now())) {
            stream.set_deadline(self.wait);
            let mut length = [0; 2];
            stream.receive_exact(&mut length).await?;
            let length = usize::from(u16::from_be_bytes(length));
            if length > QUERY_BYTES_MAX {
                return Ok(());
            }
            let mut query = vec![0; length];
            stream.receive_exact(&mut query).await?;
            self.clients.borrow_mut().wait(descriptor, None);
            match self.respond(&query, Transport::Tcp, client, &mut out) {
                Response::Drop => return Ok(()),
                Response::Ready => {}
                Response::Resolve(name, rtype) => {
                    let resolved = self.resolver.lookup_with(&name, rtype, Lookup::of_query(&query)).await;
                    respond_resolved(&query, &resolved, Transport::Tcp, &mut out);
                }
            }
            let length = u16::try_from(out.len()).map_err(io::Error::other)?;
            out.splice(0..0, length.to_be_bytes());
            self.clients.borrow_mut().wait(descriptor, Some(Instant::now()));
            stream.set_deadline(self.wait);
            stream.send(&out).await?;
            self.count_answers(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{DnsConfig, HostConfig};
    use postring_dns::Hosted;
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;
    use std::sync::Arc;
    use std::thread::sleep;

    const WAIT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(60);
    const TRICKLE: Duration = Duration::from_millis(50);
    /// `mx.example. A`, with id 7 and its length before it.
    const QUERY: &[u8] = b"\0\x1c\0\x07\x01\0\0\x01\0\0\0\0\0\0\x02mx\x07example\0\0\x01\0\x01";

    /// Serves on a port of its own what `clients` ask, on a thread.
    fn serve(connections_max: usize, wait: Duration, clients: impl FnOnce(SocketAddr) + Send + 'static) {
        glommio::LocalExecutor::default().run(async {
            let host = HostConfig { name: "mx.example".to_owned(), address: IpAddr::from([192, 0, 2, 1]) };
            let config = DnsConfig { forwarders: Some(Vec::new()), host: vec![host], ..DnsConfig::default() };
            let resolver = Resolver::new(&config, Arc::new(Hosted::default()));
            let server = DnsServer::with_limits(resolver, config.recursion, Clients::new(connections_max, connections_max), wait);
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let task = glommio::spawn_local(server.serve_tcp(listener.into()));
            let clients = std::thread::spawn(move || clients(address));
            while !clients.is_finished() {
                glommio::timer::sleep(TRICKLE).await;
            }
            task.cancel().await;
            clients.join().unwrap();
        });
    }

    fn connect(server: SocketAddr) -> Client {
        let client = Client::connect(server).unwrap();
        client.set_nodelay(true).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client
    }

    /// The answer's last four octets: the address.
    fn answer(client: &mut Client) -> io::Result<[u8; 4]> {
        let mut length = [0; 2];
        client.read_exact(&mut length)?;
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        client.read_exact(&mut answer)?;
        Ok(*answer.last_chunk().unwrap())
    }

    fn ask(client: &mut Client) -> io::Result<[u8; 4]> {
        client.write_all(QUERY)?;
        answer(client)
    }

    fn is_closed(client: &mut Client) -> bool {
        // With unread octets of ours it is a reset.
        !matches!(client.read(&mut [0]), Ok(1..))
    }

    #[test]
    fn a_query_that_trickles_is_not_waited_for_and_others_are_answered_meanwhile() {
        serve(10, WAIT, |server| {
            let mut trickling = connect(server);
            let trickler = std::thread::spawn(move || {
                // The first query is answered, and gives no more time to the second.
                assert_eq!(ask(&mut trickling).unwrap(), [192, 0, 2, 1]);
                let sent = QUERY.iter().take_while(|octet| {
                    sleep(TRICKLE);
                    trickling.write_all(&[**octet]).is_ok()
                });
                (sent.count(), is_closed(&mut trickling))
            });
            let mut honest = connect(server);
            assert_eq!(ask(&mut honest).unwrap(), [192, 0, 2, 1]);
            assert_eq!(ask(&mut honest).unwrap(), [192, 0, 2, 1]);
            let (sent, closed) = trickler.join().unwrap();
            assert!(closed);
            assert!(sent < QUERY.len(), "it could send all it had");
        });
    }

    #[test]
    fn queries_sent_together_are_all_answered() {
        serve(10, LONG, |server| {
            let mut client = connect(server);
            client.write_all(&QUERY.repeat(3)).unwrap();
            for _ in 0..3 {
                assert_eq!(answer(&mut client).unwrap(), [192, 0, 2, 1]);
            }
        });
    }

    #[test]
    fn a_new_client_gets_the_place_of_the_one_that_waits_longest() {
        serve(3, LONG, |server| {
            let mut waiting: Vec<Client> = (0..3).map(|_| connect(server)).collect();
            for client in &mut waiting {
                assert_eq!(ask(client).unwrap(), [192, 0, 2, 1]);
            }
            assert_eq!(ask(&mut connect(server)).unwrap(), [192, 0, 2, 1]);
            assert!(is_closed(waiting.first_mut().unwrap()));
            assert_eq!(ask(waiting.last_mut().unwrap()).unwrap(), [192, 0, 2, 1]);
        });
    }
}
