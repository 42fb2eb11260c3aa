//! Port 53 of a shard, over UDP and TCP.

use super::alias::{Flattening, QueryHooks};
use super::clients::{Admission, Clients};
use super::connection;
use super::guard::Guard;
use super::mmsg::{Origin, ask_for_destination, forbid_fragments, send_one};
use super::replies::{Beyond, Replies, Request, Way};
use super::udp::{self, Datagrams};
use super::{Lookup, Resolver};
use crate::listener::make_blocking;
use crate::{Hangups, Stream};
use glommio::net::{TcpListener, TcpStream};
use ipnet::IpNet;
use postring_dns::cookie::CookieSecrets;
use postring_dns::query::write_refusal;
use postring_dns::rate_limit::RateSettings;
use postring_dns::resolver::Resolved;
use postring_dns::responder::{Client, Context, Response, Transport, respond, respond_resolved};
use postring_dns::{Hosted, Name, Rcode, Rtype};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
/// Queries that wait for the resolver at once; more are not answered, and asked again.
const RESOLVING_MAX: usize = 2000;
/// Transfers, updates and the like at once; more are not answered, and tried again.
const BEYOND_MAX: usize = 100;

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
    guard: Guard,
    identity: RefCell<Vec<u8>>,
    beyond: RefCell<Option<Rc<dyn Beyond>>>,
    going_beyond: Cell<usize>,
}

impl DnsServer {
    /// Serves what the resolver hosts to all, and the resolver to `recursion`.
    #[must_use]
    pub fn new(resolver: Resolver, recursion: Vec<IpNet>) -> Rc<Self> {
        Self::with_limits(resolver, recursion, Clients::new(CONNECTIONS_MAX, CLIENT_CONNECTIONS_MAX), WAIT)
    }

    fn with_limits(resolver: Resolver, recursion: Vec<IpNet>, clients: Clients, wait: Duration) -> Rc<Self> {
        let rates = RateSettings { exempt: recursion.clone(), ..RateSettings::default() };
        Rc::new(Self {
            resolver,
            recursion: RefCell::new(recursion),
            queries: Cell::new(0),
            answers: Cell::new(0),
            clients: RefCell::new(clients),
            hangups: Hangups::default(),
            wait,
            resolving: Cell::new(0),
            guard: Guard::new(rates),
            identity: RefCell::default(),
            beyond: RefCell::default(),
            going_beyond: Cell::new(0),
        })
    }

    /// Takes other networks; rates are [`Self::set_rates`]'.
    pub fn reload(&self, recursion: Vec<IpNet>) {
        *self.recursion.borrow_mut() = recursion;
    }

    /// Limits the rate of responses otherwise; the networks that may use the resolver are exempt only if these settings say so.
    pub fn set_rates(&self, settings: RateSettings) {
        self.guard.set_rates(settings);
    }

    /// Uses these secrets instead of one of its own: for servers that share an address.
    pub fn set_cookies(&self, secrets: CookieSecrets) {
        self.guard.set_cookies(secrets);
    }

    /// Tells this name to clients that want to know which of several servers they have reached (RFC 5001).
    pub fn set_identity(&self, identity: Vec<u8>) {
        *self.identity.borrow_mut() = identity;
    }

    /// Has transfers, notifications, updates and signed queries done by `beyond`; without, they are refused.
    pub fn set_beyond(&self, beyond: Rc<dyn Beyond>) {
        *self.beyond.borrow_mut() = Some(beyond);
    }

    /// Responses that were not sent, or truncated, because there were too many alike.
    #[must_use]
    pub fn limited(&self) -> u64 {
        self.guard.limited()
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

    /// Answers what can be answered at once, and says what else must be done.
    pub(super) fn respond(&self, packet: &[u8], transport: Transport, client: IpAddr, out: &mut Vec<u8>) -> Response {
        self.guard.tick();
        self.respond_from(&self.resolver.hosted(), packet, transport, client, out)
    }

    fn respond_from(&self, hosted: &Hosted, packet: &[u8], transport: Transport, client: IpAddr, out: &mut Vec<u8>) -> Response {
        self.queries.set(self.queries.get() + 1);
        let client = Client { address: client, transport };
        let response = self.respond_with(hosted, packet, client, None, out);
        match response {
            Response::Ready | Response::Drop | Response::Resolve(..) | Response::Flatten(..) => response,
            beyond if self.beyond.borrow().is_some() => beyond,
            Response::Notify { .. } | Response::Update { .. } => refuse(packet, Rcode::NOTIMP, out),
            Response::Transfer { .. } | Response::Signed => refuse(packet, Rcode::REFUSED, out),
        }
    }

    fn respond_with(
        &self,
        hosted: &Hosted,
        packet: &[u8],
        client: Client,
        found: Option<&(Name, Rtype, Resolved)>,
        out: &mut Vec<u8>,
    ) -> Response {
        let recursion = self.may_recurse(client.address);
        self.in_context(found, |context| respond(context, hosted, packet, client, recursion, out))
    }

    fn in_context<R>(&self, found: Option<&(Name, Rtype, Resolved)>, then: impl FnOnce(&Context<'_>) -> R) -> R {
        let identity = self.identity.borrow();
        let hooks = QueryHooks { guard: &self.guard, resolver: &self.resolver, found };
        let tenths = u16::try_from(self.wait.as_millis() / 100).unwrap_or(u16::MAX);
        then(&Context {
            identity: &identity,
            hooks: Some(&hooks),
            keepalive: Some(tenths),
            recursion_for_some: !self.recursion.borrow().is_empty(),
            addresses: false,
        })
    }

    /// Answers a query again, now that the addresses of an ALIAS' target are found.
    pub(super) fn respond_flattened(
        &self,
        packet: &[u8],
        transport: Transport,
        address: IpAddr,
        found: &(Name, Rtype, Resolved),
        out: &mut Vec<u8>,
    ) -> Response {
        self.guard.tick();
        self.respond_with(&self.resolver.hosted(), packet, Client { address, transport }, Some(found), out)
    }

    pub(super) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// Answers datagrams until the executor ends.
    pub async fn serve_udp(self: Rc<Self>, socket: OwnedFd) {
        let bound = rustix::net::getsockname(&socket).ok().and_then(|address| SocketAddr::try_from(address).ok());
        if let Some(bound) = bound {
            if let Err(error) = ask_for_destination(socket.as_fd(), bound) {
                tracing::warn!("DNS answers may leave from another address than the one asked: {error}");
            }
            if let Err(error) = forbid_fragments(socket.as_fd(), bound) {
                tracing::debug!("DNS answers may be fragmented: {error}");
            }
        }
        let socket = Rc::new(socket);
        let pace = self.resolver.pace();
        let mut datagrams = Answering { hosted: self.resolver.hosted(), server: self, socket: Rc::clone(&socket) };
        if let Err(error) = udp::serve(&socket, &pace, &mut datagrams).await {
            tracing::error!("a DNS socket is not served: {error}");
        }
    }

    /// Writes what the resolver knows without asking anybody; false: it does not know, see [`Self::resolve_later`].
    pub(super) fn resolve_now(&self, packet: &[u8], client: Client, name: &Name, rtype: Rtype, out: &mut Vec<u8>) -> bool {
        let Some(resolved) = self.resolver.known(name, rtype, Lookup::of_query(packet)) else { return false };
        self.in_context(None, |context| respond_resolved(context, packet, &resolved, client, out));
        true
    }

    /// Hands what the resolver says to `answer`, once it knows.
    pub(super) fn resolve_later(
        self: &Rc<Self>,
        packet: &[u8],
        client: Client,
        name: Name,
        rtype: Rtype,
        answer: impl FnOnce(&[u8]) + 'static,
    ) {
        let query = packet.to_vec();
        self.work(async move |server| {
            let resolved = server.resolver.lookup_with(&name, rtype, Lookup::of_query(&query)).await;
            let mut out = Vec::with_capacity(512);
            // Its cookie is of now.
            server.guard.tick();
            server.in_context(None, |context| respond_resolved(context, &query, &resolved, client, &mut out));
            answer(&out);
        });
    }

    /// Hands the answer to `answer`, once the addresses of an ALIAS' target are known.
    pub(super) fn flatten_later(self: &Rc<Self>, flattening: Flattening, answer: impl FnOnce(&[u8]) + 'static) {
        self.work(async move |server| {
            let out = flattening.finish(&server).await;
            if !out.is_empty() {
                answer(&out);
            }
        });
    }

    /// Does what takes the resolver as a task of its own, if there are not too many.
    fn work(self: &Rc<Self>, work: impl AsyncFnOnce(Rc<Self>) + 'static) {
        if self.resolving.get() >= RESOLVING_MAX {
            return;
        }
        self.resolving.set(self.resolving.get() + 1);
        let server = Rc::clone(self);
        glommio::spawn_local(async move {
            work(Rc::clone(&server)).await;
            server.resolving.set(server.resolving.get().saturating_sub(1));
        })
        .detach();
    }

    /// Has a packet done that is no question. `under_way` is kept until it is.
    pub(super) fn go_beyond(
        self: &Rc<Self>,
        packet: &[u8],
        client: SocketAddr,
        transport: Transport,
        kind: Response,
        replies: Replies,
        under_way: impl Sized + 'static,
    ) {
        let Some(beyond) = self.beyond.borrow().clone() else { return };
        if self.going_beyond.get() >= BEYOND_MAX {
            return;
        }
        self.going_beyond.set(self.going_beyond.get() + 1);
        let request = Request { packet: packet.to_vec(), client, transport, kind };
        let server = Rc::clone(self);
        glommio::spawn_local(async move {
            beyond.handle(request, replies).await;
            drop(under_way);
            server.going_beyond.set(server.going_beyond.get().saturating_sub(1));
        })
        .detach();
    }

    /// A connection waits for its client since then, or does not. False: it has lost its place.
    pub(super) fn client_waits(&self, stream: &Stream, since: Option<Instant>) -> bool {
        self.clients.borrow_mut().wait(stream.descriptor(), since)
    }

    pub(super) fn count_answers(&self, sent: usize) {
        self.answers.set(self.answers.get() + u64::try_from(sent).unwrap_or(0));
    }

    /// Accepts TCP clients until the executor ends.
    #[allow(unsafe_code)] // glommio takes inherited sockets only as raw descriptors
    pub async fn serve_tcp(self: Rc<Self>, listener: OwnedFd) {
        if let Err(error) = make_blocking(&listener) {
            tracing::warn!("the DNS port over TCP: {error}");
        }
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
            let _ = connection::serve(&server, &mut stream, client, server.wait).await;
            // Both before the stream closes the descriptor.
            drop(registered);
            server.clients.borrow_mut().leave(descriptor);
        })
        .detach();
    }
}

/// A UDP socket's queries, answered from what was hosted when their batch came.
struct Answering {
    server: Rc<DnsServer>,
    socket: Rc<OwnedFd>,
    hosted: Arc<Hosted>,
}

impl Answering {
    /// The way of an answer that does not leave with its batch.
    fn late(&self, origin: Origin) -> impl FnOnce(&[u8]) + 'static {
        let (server, socket) = (Rc::clone(&self.server), Rc::clone(&self.socket));
        move |answer: &[u8]| match send_one(socket.as_fd(), &origin, answer) {
            Ok(()) => server.count_answers(1),
            Err(error) => tracing::debug!(client = ?origin.sender(), "a DNS answer could not be sent: {error}"),
        }
    }
}

impl Datagrams for Answering {
    fn begin(&mut self) {
        self.server.guard.tick();
        self.hosted = self.server.resolver.hosted();
    }

    fn answer(&mut self, packet: &[u8], client: SocketAddr, origin: &Origin, out: &mut Vec<u8>) {
        let asking = Client { address: client.ip(), transport: Transport::Udp };
        match self.server.respond_from(&self.hosted, packet, Transport::Udp, client.ip(), out) {
            Response::Ready => {}
            Response::Drop => out.clear(),
            // What is known goes with the batch.
            Response::Resolve(name, rtype) if self.server.resolve_now(packet, asking, &name, rtype, out) => {}
            Response::Resolve(name, rtype) => {
                out.clear();
                self.server.resolve_later(packet, asking, name, rtype, self.late(*origin));
            }
            Response::Flatten(target, rtype) => {
                out.clear();
                let (packet, client) = (packet.to_vec(), client.ip());
                let flattening = Flattening { packet, transport: Transport::Udp, client, target, rtype };
                self.server.flatten_later(flattening, self.late(*origin));
            }
            kind => {
                out.clear();
                let way = Way::Datagram(Rc::clone(&self.socket), *origin);
                self.server.go_beyond(packet, client, Transport::Udp, kind, Replies { way }, ());
            }
        }
    }

    fn sent(&mut self, count: usize) {
        self.server.count_answers(count);
    }
}

/// Answers a query by its header alone.
fn refuse(packet: &[u8], rcode: Rcode, out: &mut Vec<u8>) -> Response {
    let Some([id_high, id_low, high, low]) = packet.first_chunk() else { return Response::Drop };
    write_refusal(u16::from_be_bytes([*id_high, *id_low]), u16::from_be_bytes([*high, *low]), rcode, out);
    Response::Ready
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{DnsConfig, HostConfig};
    use std::io::{self, Read, Write};
    use std::net::TcpStream as Socket;
    use std::thread::sleep;

    const WAIT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(60);
    const TRICKLE: Duration = Duration::from_millis(50);
    /// `mx.example. A`, with id 7 and its length before it.
    const QUERY: &[u8] = b"\0\x1c\0\x07\x01\0\0\x01\0\0\0\0\0\0\x02mx\x07example\0\0\x01\0\x01";

    /// Serves on a port of its own what `clients` ask, on a thread.
    fn serve(connections_max: usize, wait: Duration, clients: impl FnOnce(SocketAddr) + Send + 'static) {
        serve_with(DnsConfig::default(), connections_max, wait, |_| (), clients);
    }

    fn serve_with(
        config: DnsConfig,
        connections_max: usize,
        wait: Duration,
        prepare: impl FnOnce(&DnsServer),
        clients: impl FnOnce(SocketAddr) + Send + 'static,
    ) {
        glommio::LocalExecutor::default().run(async {
            let host = HostConfig { name: "mx.example".to_owned(), address: IpAddr::from([192, 0, 2, 1]) };
            let forwarders = config.forwarders.clone().or(Some(Vec::new()));
            let config = DnsConfig { forwarders, host: vec![host], ..config };
            let mut hosted = Hosted::default();
            let origin = Name::absolute("zone.example").unwrap();
            let mut read = |_: &std::path::Path| Ok("@ 300 SOA ns hostmaster 1 3600 600 86400 300\n@ 300 NS ns\n".to_owned());
            let zone = postring_dns::zone::parse_zone(&origin, std::path::Path::new("zone"), &mut read).unwrap();
            hosted.add(&origin, postring_dns::Service::Zone(zone)).unwrap();
            let resolver = Resolver::new(&config, Arc::new(hosted));
            let server = DnsServer::with_limits(resolver, config.recursion, Clients::new(connections_max, connections_max), wait);
            prepare(&server);
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let datagrams = std::net::UdpSocket::bind(address).unwrap();
            let tasks = [
                glommio::spawn_local(Rc::clone(&server).serve_tcp(listener.into())),
                glommio::spawn_local(server.serve_udp(datagrams.into())),
            ];
            let clients = std::thread::spawn(move || clients(address));
            while !clients.is_finished() {
                glommio::timer::sleep(TRICKLE).await;
            }
            for task in tasks {
                task.cancel().await;
            }
            clients.join().unwrap();
        });
    }

    fn connect(server: SocketAddr) -> Socket {
        let client = Socket::connect(server).unwrap();
        client.set_nodelay(true).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client
    }

    /// The answer's last four octets: the address.
    fn answer(client: &mut Socket) -> io::Result<[u8; 4]> {
        let mut length = [0; 2];
        client.read_exact(&mut length)?;
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        client.read_exact(&mut answer)?;
        Ok(*answer.last_chunk().unwrap())
    }

    fn ask(client: &mut Socket) -> io::Result<[u8; 4]> {
        client.write_all(QUERY)?;
        answer(client)
    }

    fn is_closed(client: &mut Socket) -> bool {
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
            let mut waiting: Vec<Socket> = (0..3).map(|_| connect(server)).collect();
            for client in &mut waiting {
                assert_eq!(ask(client).unwrap(), [192, 0, 2, 1]);
            }
            assert_eq!(ask(&mut connect(server)).unwrap(), [192, 0, 2, 1]);
            assert!(is_closed(waiting.first_mut().unwrap()));
            assert_eq!(ask(waiting.last_mut().unwrap()).unwrap(), [192, 0, 2, 1]);
        });
    }

    /// A question with its id, framed.
    fn query(id: u16, name: &str, rtype: Rtype) -> Vec<u8> {
        let mut packet = Vec::new();
        postring_dns::query::write_query(id, Name::absolute(name).unwrap().wire(), rtype, true, &mut packet);
        [&u16::try_from(packet.len()).unwrap().to_be_bytes()[..], &packet].concat()
    }

    fn message(client: &mut Socket) -> Vec<u8> {
        let mut length = [0; 2];
        client.read_exact(&mut length).unwrap();
        let mut message = vec![0; u16::from_be_bytes(length).into()];
        client.read_exact(&mut message).unwrap();
        message
    }

    fn id(message: &[u8]) -> u16 {
        u16::from_be_bytes(*message.first_chunk().unwrap())
    }

    #[test]
    fn what_is_ready_does_not_wait_for_what_is_not_and_a_client_that_has_said_all_gets_all() {
        let forwarder = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let config = DnsConfig { forwarders: Some(vec![forwarder.local_addr().unwrap()]), ..DnsConfig::default() };
        serve_with(
            config,
            10,
            LONG,
            |_| (),
            move |server| {
                let mut client = connect(server);
                client.write_all(&[query(1, "slow.test.net", Rtype::A), query(2, "mx.example", Rtype::A)].concat()).unwrap();
                client.shutdown(std::net::Shutdown::Write).unwrap();
                assert_eq!(id(&message(&mut client)), 2);
                let mut packet = [0; 512];
                let (length, resolver) = forwarder.recv_from(&mut packet).unwrap();
                // No such name.
                packet[2..4].copy_from_slice(&[0x81, 0x83]);
                forwarder.send_to(&packet[..length], resolver).unwrap();
                let late = message(&mut client);
                assert_eq!((id(&late), late[3] & 15), (1, 3));
                assert!(is_closed(&mut client));
            },
        );
    }

    #[test]
    fn a_transfer_is_many_messages_and_other_answers_may_come_between() {
        struct Transfers;
        impl Beyond for Transfers {
            fn handle(&self, request: Request, replies: Replies) -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
                Box::pin(async move {
                    assert!(matches!(request.kind, Response::Transfer { .. }));
                    for number in 0..50_u8 {
                        let message = [&request.packet[..2], &[number], &vec![0; 20_000]].concat();
                        replies.send(&message).await.unwrap();
                    }
                })
            }
        }
        serve_with(
            DnsConfig::default(),
            10,
            LONG,
            |server| server.set_beyond(Rc::new(Transfers)),
            |server| {
                let mut client = connect(server);
                client.write_all(&[query(1, "zone.example", Rtype::AXFR), query(2, "mx.example", Rtype::A)].concat()).unwrap();
                let messages: Vec<Vec<u8>> = (0..51).map(|_| message(&mut client)).collect();
                let transferred: Vec<u8> = messages.iter().filter(|message| id(message) == 1).map(|message| message[2]).collect();
                assert_eq!(transferred, (0..50).collect::<Vec<u8>>());
                assert_eq!(messages.iter().filter(|message| id(message) == 2).count(), 1);
            },
        );
    }

    #[test]
    fn without_a_hand_for_it_a_transfer_is_refused() {
        serve(10, LONG, |server| {
            let mut client = connect(server);
            client.write_all(&query(1, "zone.example", Rtype::AXFR)).unwrap();
            assert_eq!(message(&mut client)[3] & 15, 5);
        });
    }

    #[test]
    fn more_equal_responses_than_the_rate_are_for_clients_with_a_cookie() {
        let rates = RateSettings { responses_per_second: 5, ..RateSettings::default() };
        serve_with(
            DnsConfig::default(),
            10,
            LONG,
            move |server| server.set_rates(rates),
            |server| {
                let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                client.connect(server).unwrap();
                client.set_read_timeout(Some(WAIT)).unwrap();
                let plain = query(7, "zone.example", Rtype::SOA)[2..].to_vec();
                let with_cookie = |cookie: &[u8]| {
                    // The OPT record is the last, its length the last two octets.
                    let length = u16::try_from(cookie.len() + 4).unwrap().to_be_bytes();
                    let option = [&[0, 10][..], &u16::try_from(cookie.len()).unwrap().to_be_bytes(), cookie].concat();
                    [&plain[..plain.len() - 2], &length, &option].concat()
                };
                let ask = |packet: &[u8]| {
                    client.send(packet).unwrap();
                    let mut response = [0; 1500];
                    client.recv(&mut response).ok().map(|length| response[..length].to_vec())
                };
                let first = ask(&with_cookie(&[3; 8])).unwrap();
                let cookie = first.last_chunk::<24>().unwrap();
                assert_eq!(cookie[..8], [3; 8]);
                for _ in 0..50 {
                    client.send(&plain).unwrap();
                }
                let mut counts = (0, 0);
                let mut response = [0; 1500];
                while let Ok(length) = client.recv(&mut response) {
                    if response[..length][2] & 2 == 0 { counts.0 += 1 } else { counts.1 += 1 }
                }
                assert!(counts.0 <= 5 && counts.1 >= 20, "{counts:?}");
                for _ in 0..50 {
                    assert_eq!(ask(&with_cookie(cookie)).unwrap()[2] & 2, 0);
                }
            },
        );
    }
}
