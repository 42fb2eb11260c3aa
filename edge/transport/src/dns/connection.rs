//! A TCP connection to port 53: queries as they come, answers as they are ready.
//!
//! ```text
//!   socket ──> unread ── a whole query ──> respond ─┬─ ready ─────────────────────> outbox ──> socket
//!                                                   └─ the resolver, a transfer: a task ──^
//! ```
//! One task owns the stream and does all the receiving and sending; the tasks that look something up put their answer into the outbox and wake
//! it. Nothing is read while [`IN_FLIGHT_MAX`] queries are under way or the outbox is full, so a client that asks and does not take costs a
//! fixed amount.

use super::alias::Flattening;
use super::replies::{Replies, Way};
use super::server::DnsServer;
use crate::Stream;
use futures_lite::future;
use postring_dns::responder::{Client, Response, Transport};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Octets of a query; longer ones are nobody's, but an update may be long.
const QUERY_BYTES_MAX: usize = 16 * 1024;
/// Octets received at once.
const SCRATCH_BYTES: usize = 16 * 1024;
/// Queries of one connection under way: as many as a client waits for at once.
const IN_FLIGHT_MAX: usize = 64;
/// Octets of answers not yet sent before the next is waited with: one of the longest fits behind it.
const OUTBOX_BYTES: usize = 64 * 1024;

thread_local! {
    /// What is being received, of the one connection that is being polled.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// Answers on their way to the socket.
pub(super) struct Outbox {
    /// Messages, each with its length before it.
    framed: RefCell<Vec<u8>>,
    messages: Cell<usize>,
    in_flight: Cell<usize>,
    is_closed: Cell<bool>,
    connection: RefCell<Option<Waker>>,
    senders: RefCell<Vec<Waker>>,
}

impl Outbox {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            framed: RefCell::default(),
            messages: Cell::new(0),
            in_flight: Cell::new(0),
            is_closed: Cell::new(false),
            connection: RefCell::default(),
            senders: RefCell::default(),
        })
    }

    /// Puts a message behind the others.
    fn put(&self, message: &[u8]) -> io::Result<()> {
        let length = u16::try_from(message.len()).map_err(io::Error::other)?;
        let mut framed = self.framed.borrow_mut();
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(message);
        self.messages.set(self.messages.get() + 1);
        self.wake();
        Ok(())
    }

    /// The same, when there is room.
    pub(super) async fn send(&self, message: &[u8]) -> io::Result<()> {
        poll_fn(|cx| {
            if self.is_closed.get() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if self.framed.borrow().len() < OUTBOX_BYTES {
                return Poll::Ready(self.put(message));
            }
            self.senders.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Waits until there is something to send, or a query is no longer under way.
    async fn changed(&self) {
        let before = (self.framed.borrow().len(), self.in_flight.get());
        poll_fn(|cx| {
            if (self.framed.borrow().len(), self.in_flight.get()) != before {
                return Poll::Ready(());
            }
            *self.connection.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn wake(&self) {
        if let Some(waker) = self.connection.borrow_mut().take() {
            waker.wake();
        }
    }

    fn wake_senders(&self) {
        self.senders.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

/// A query under way; dropped, it is no longer.
pub(super) struct InFlight {
    outbox: Rc<Outbox>,
}

impl InFlight {
    fn new(outbox: &Rc<Outbox>) -> Self {
        outbox.in_flight.set(outbox.in_flight.get() + 1);
        Self { outbox: Rc::clone(outbox) }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.outbox.in_flight.set(self.outbox.in_flight.get().saturating_sub(1));
        self.outbox.wake();
    }
}

/// The way of an answer that comes later; the connection stays for it.
fn late(outbox: &Rc<Outbox>) -> impl FnOnce(&[u8]) + 'static {
    let (in_flight, to) = (InFlight::new(outbox), Rc::clone(outbox));
    move |answer: &[u8]| {
        let _under_way = &in_flight;
        // Longer than a length can say it is not.
        let _ = to.put(answer);
    }
}

enum Event {
    Received(io::Result<usize>),
    Changed,
}

/// Serves a connection until its client leaves, is too slow, or loses its place.
pub(super) async fn serve(server: &Rc<DnsServer>, stream: &mut Stream, client: SocketAddr, wait: Duration) -> io::Result<()> {
    let outbox = Outbox::new();
    let mut connection = Connection {
        server,
        stream,
        client,
        wait,
        outbox: Rc::clone(&outbox),
        unread: Vec::new(),
        out: Vec::new(),
        since: Instant::now(),
        is_over: false,
    };
    let result = connection.run().await;
    outbox.is_closed.set(true);
    outbox.wake_senders();
    result
}

struct Connection<'s> {
    server: &'s Rc<DnsServer>,
    stream: &'s mut Stream,
    client: SocketAddr,
    wait: Duration,
    outbox: Rc<Outbox>,
    /// Received and not yet answered; empty, and without memory, while the client is idle.
    unread: Vec<u8>,
    out: Vec<u8>,
    /// Since when the client owes us a whole query.
    since: Instant,
    /// Nothing more is received; what is under way is still answered.
    is_over: bool,
}

impl Connection<'_> {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let room = self.outbox.framed.borrow().len() < OUTBOX_BYTES && self.outbox.in_flight.get() < IN_FLIGHT_MAX;
            if room && self.handle_next() {
                // A connection full of queries is not the only one.
                glommio::yield_if_needed().await;
                continue;
            }
            if !self.outbox.framed.borrow().is_empty() {
                self.send().await?;
                continue;
            }
            let owed = self.outbox.in_flight.get() > 0;
            if self.is_over && !owed {
                return Ok(());
            }
            if !self.server.client_waits(self.stream, (!owed).then_some(self.since)) {
                return Ok(());
            }
            if self.is_over || !room {
                self.outbox.changed().await;
                continue;
            }
            match self.next_event().await {
                Event::Changed => {}
                Event::Received(Ok(0)) => self.is_over = true,
                Event::Received(Ok(_)) => {}
                // It is waiting for us, and silent.
                Event::Received(Err(error)) if error.kind() == io::ErrorKind::TimedOut && owed && self.unread.is_empty() => {
                    self.since = Instant::now();
                }
                Event::Received(Err(_)) if owed => self.is_over = true,
                Event::Received(Err(error)) => return Err(error),
            }
        }
    }

    /// What the client sends, or what is ready for it.
    async fn next_event(&mut self) -> Event {
        self.stream.set_deadline((self.since + self.wait).saturating_duration_since(Instant::now()));
        let Self { stream, unread, outbox, .. } = self;
        let receiving = stream.receive(|receive| {
            SCRATCH.with_borrow_mut(|scratch| {
                let received = receive(scratch);
                if let Poll::Ready(Ok(length)) = received {
                    unread.extend_from_slice(scratch.get(..length).unwrap_or_default());
                }
                received
            })
        });
        // Giving up the receiving loses nothing: what has come is in `unread`.
        future::or(async { Event::Received(receiving.await) }, async {
            outbox.changed().await;
            Event::Changed
        })
        .await
    }

    async fn send(&mut self) -> io::Result<()> {
        //= RFC 7766 section 8
        //# DNS clients and servers SHOULD pass the two-octet length field, and the message described by that length field, to the TCP layer at the
        //# same time
        let framed = self.outbox.framed.take();
        let messages = self.outbox.messages.take();
        let owed = self.outbox.in_flight.get() > 0;
        if !self.server.client_waits(self.stream, (!owed).then(Instant::now)) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.stream.set_deadline(self.wait);
        self.stream.send(&framed).await?;
        self.server.count_answers(messages);
        self.outbox.wake_senders();
        if self.unread.is_empty() {
            self.since = Instant::now();
        }
        Ok(())
    }

    /// Takes the next query if it is there as a whole.
    //= RFC 7766 section 7
    //# Authoritative servers and recursive resolvers are RECOMMENDED to support the preparing of responses in parallel and sending them out of
    //# order, regardless of the transport protocol in use.
    fn handle_next(&mut self) -> bool {
        let Some((length, rest)) = self.unread.split_first_chunk::<2>() else { return false };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > QUERY_BYTES_MAX {
            self.is_over = true;
            self.unread = Vec::new();
            return false;
        }
        let Some(query) = rest.get(..length) else { return false };
        let response = self.server.respond(query, Transport::Tcp, self.client.ip(), &mut self.out);
        let (outbox, client) = (&self.outbox, Client { address: self.client.ip(), transport: Transport::Tcp });
        match response {
            Response::Drop => {
                self.is_over = true;
                self.unread = Vec::new();
                return true;
            }
            Response::Ready => drop(outbox.put(&self.out)),
            Response::Resolve(name, rtype) if self.server.resolve_now(query, client, &name, rtype, &mut self.out) => {
                drop(outbox.put(&self.out));
            }
            Response::Resolve(name, rtype) => {
                self.server.resolve_later(query, client, name, rtype, late(outbox));
            }
            Response::Flatten(target, rtype) => {
                let (packet, client) = (query.to_vec(), self.client.ip());
                let flattening = Flattening { packet, transport: Transport::Tcp, client, target, rtype };
                self.server.flatten_later(flattening, late(outbox));
            }
            kind => {
                let (in_flight, way) = (InFlight::new(outbox), Way::Connection(Rc::clone(outbox)));
                self.server.go_beyond(query, self.client, Transport::Tcp, kind, Replies { way }, in_flight);
            }
        }
        self.since = Instant::now();
        if self.unread.len() == length + 2 {
            self.unread = Vec::new();
        } else {
            self.unread.drain(..length + 2);
        }
        true
    }
}
