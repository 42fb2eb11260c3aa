//! The resolver's questions to other servers over UDP: many at once, over few sockets, none of which lives long.
//!
//! ```text
//!   exchange ──> socket at a random port, one of those open ──> server
//!                   │ waiting: (server, port, id) > who waits
//!   packet <── accept? <── by source and id <── recvmmsg <── server
//!
//!   open ── QUESTIONS_MAX asked, or SOCKET_LIFE over ──> retired ── nobody waits any more ──> closed
//! ```
//! What an attacker who does not see the question must guess (RFC 5452): the port, one of 64,512, which is ours and not the kernel's choice,
//! as the kernel looks in half of that range and tells it by side channels; the id, 16 bits; and the letters of the name (0x20), which `accept`
//! compares. So 32 bits and one for each letter. A port that was found out is worth little: it asks [`QUESTIONS_MAX`] questions at most.
//! Sockets are not connected: one serves questions to many servers, so the source of each packet is compared here.
//!
//! Cost of a question: one system call to send, a share of one to receive, and 1 in 32 sockets; two allocations (the place, the answer). No
//! timer each: one sweep for all.

use super::mmsg::{Batch, ask_for_errors, next_error};
use super::random::Random;
use super::watch::Watch;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sockopt};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Octets of a UDP response: we announce less, but some send more.
const RESPONSE_BYTES_MAX: usize = 4096;
/// Responses received at once.
const BATCH: usize = 16;
/// Batches of one socket before others have their turn.
const BATCHES_MAX: usize = 8;
/// Questions of one socket: fewer cost more sockets, more give who found its port more tries.
const QUESTIONS_MAX: u32 = 32;
/// Time in which a socket takes questions.
const SOCKET_LIFE: Duration = Duration::from_secs(2);
/// Sockets of a family that take questions; one of them is chosen by chance.
const SOCKETS_ASKING: u16 = 8;
/// Sockets open at once, those included that only wait for answers: a thirtieth of [`WAITING_MAX`] would do if all were full.
const SOCKETS_MAX: usize = 512;
/// Questions that wait for their answer at once.
const WAITING_MAX: usize = 4096;
/// Random ports tried before the kernel may choose.
const PORTS_TRIED_MAX: usize = 16;
/// First port that needs no privilege.
const PORT_MIN: u16 = 1024;
/// Packets kept for one question until its task runs; an honest server sends one.
const KEPT_MAX: usize = 4;
/// Packets for one question, from the right address and with the right id, that are not its answer. Who sends more is guessing.
const REJECTED_MAX: usize = 16;
/// How late a time-out may be noticed.
const SWEEP: Duration = Duration::from_millis(10);

/// The sockets of one shard; cheap to clone, all clones are one.
#[derive(Clone)]
pub(super) struct UpstreamPool {
    inner: Rc<Inner>,
}

struct Inner {
    sockets: RefCell<Vec<Open>>,
    batch: RefCell<Batch>,
    random: RefCell<Random>,
    waiting: Cell<usize>,
    sweeping: Cell<bool>,
    strangers: Cell<u64>,
}

/// A socket, and the task that receives for it; dropped, both are gone.
struct Open {
    upstream: Rc<Upstream>,
    _receiver: glommio::Task<()>,
}

struct Upstream {
    socket: OwnedFd,
    is_ipv4: bool,
    opened: Instant,
    asked: Cell<u32>,
    waiting: RefCell<HashMap<Key, Waiting>>,
}

/// By what a response is known: server, its port, id.
type Key = (IpAddr, u16, u16);

struct Waiting {
    deadline: Instant,
    kept: Vec<Vec<u8>>,
    failure: Option<io::ErrorKind>,
    waker: Option<Waker>,
}

impl UpstreamPool {
    /// Without a socket yet. Must be used on one executor.
    pub(super) fn new() -> Self {
        Self {
            inner: Rc::new(Inner {
                sockets: RefCell::default(),
                batch: RefCell::new(Batch::new(BATCH, RESPONSE_BYTES_MAX)),
                random: RefCell::default(),
                waiting: Cell::new(0),
                sweeping: Cell::new(false),
                strangers: Cell::new(0),
            }),
        }
    }

    /// Sends a question and gives the first response that `accept` takes: it must compare the question with its letters, the source and the
    /// id have been compared. May be dropped at any time.
    ///
    /// # Errors
    /// `TimedOut` at the deadline; `ConnectionRefused`, `HostUnreachable` and the like when an ICMP message about this question says so;
    /// `InvalidData` after [`REJECTED_MAX`] packets that were not accepted; `ResourceBusy` with too many questions waiting; the
    /// socket's.
    pub(super) async fn exchange(
        &self,
        server: SocketAddr,
        packet: &[u8],
        deadline: Instant,
        mut accept: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<Vec<u8>> {
        let place = Inner::ask(&self.inner, server, packet, deadline)?;
        let mut rejected = 0;
        poll_fn(|cx| place.poll(cx, &mut rejected, &mut accept)).await
    }

    /// Questions that wait, and sockets open.
    pub(super) fn in_use(&self) -> (usize, usize) {
        (self.inner.waiting.get(), self.inner.sockets.borrow().len())
    }

    /// Packets nobody waited for: late answers, and strangers'.
    pub(super) fn strangers(&self) -> u64 {
        self.inner.strangers.get()
    }
}

impl Inner {
    fn ask(pool: &Rc<Self>, server: SocketAddr, packet: &[u8], deadline: Instant) -> io::Result<Place> {
        let server = SocketAddr::new(server.ip().to_canonical(), server.port());
        let id = packet.first_chunk().map(|id| u16::from_be_bytes(*id)).ok_or(io::ErrorKind::InvalidInput)?;
        if pool.waiting.get() >= WAITING_MAX {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let key = (server.ip(), server.port(), id);
        let upstream = Self::choose(pool, &key)?;
        upstream.asked.set(upstream.asked.get() + 1);
        let waiting = Waiting { deadline, kept: Vec::new(), failure: None, waker: None };
        upstream.waiting.borrow_mut().insert(key, waiting);
        pool.waiting.set(pool.waiting.get() + 1);
        let place = Place { pool: Rc::clone(pool), upstream, key };
        let send = || rustix::net::sendto(place.upstream.socket.as_fd(), packet, SendFlags::DONTWAIT, &server);
        // The first error may be of somebody else's question, told by ICMP.
        send().or_else(|_| {
            place.upstream.take_errors();
            send()
        })?;
        Self::sweep_from_now_on(pool);
        Ok(place)
    }

    //= RFC 5452 section 9.2
    //# Use multiple different source ports simultaneously in case of multiple outstanding queries
    fn choose(pool: &Rc<Self>, key: &Key) -> io::Result<Rc<Upstream>> {
        let now = Instant::now();
        let usable = |upstream: &Upstream| {
            upstream.is_ipv4 == key.0.is_ipv4() && !upstream.is_retired(now) && !upstream.waiting.borrow().contains_key(key)
        };
        let chosen = usize::from(pool.random.borrow_mut().next()? % SOCKETS_ASKING);
        // A place without a socket is one to open.
        let known =
            pool.sockets.borrow().iter().map(|open| &open.upstream).filter(|upstream| usable(upstream)).nth(chosen).cloned();
        match known {
            Some(upstream) => Ok(upstream),
            None => Self::open(pool, key.0, now),
        }
    }

    fn open(pool: &Rc<Self>, server: IpAddr, now: Instant) -> io::Result<Rc<Upstream>> {
        if pool.sockets.borrow().len() >= SOCKETS_MAX {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let socket = bind(server.is_ipv4(), &mut pool.random.borrow_mut())?;
        // Without it an unreachable server is one that does not answer in time.
        let _ = ask_for_errors(socket.as_fd(), server);
        let watch = Watch::new(&socket)?;
        let upstream = Rc::new(Upstream {
            socket,
            is_ipv4: server.is_ipv4(),
            opened: now,
            asked: Cell::new(0),
            waiting: RefCell::default(),
        });
        let receiver = glommio::spawn_local(receive(Rc::downgrade(pool), Rc::clone(&upstream), watch));
        pool.sockets.borrow_mut().push(Open { upstream: Rc::clone(&upstream), _receiver: receiver });
        Ok(upstream)
    }

    /// Hands out what has come to a socket.
    fn take(&self, upstream: &Upstream) {
        let mut batch = self.batch.borrow_mut();
        for _ in 0..BATCHES_MAX {
            let received = match batch.receive(upstream.socket.as_fd()) {
                Ok(received) => received,
                Err(_) => {
                    upstream.take_errors();
                    continue;
                }
            };
            for (packet, sender) in (0..received).filter_map(|slot| batch.packet(slot)) {
                if !upstream.hand_out(packet, sender) {
                    self.strangers.set(self.strangers.get() + 1);
                }
            }
            if received < batch.capacity() {
                break;
            }
        }
        // They make no noise of their own once a datagram has been received.
        upstream.take_errors();
    }

    fn sweep_from_now_on(pool: &Rc<Self>) {
        if pool.sweeping.replace(true) {
            return;
        }
        let pool = Rc::downgrade(pool);
        glommio::spawn_local(async move {
            loop {
                glommio::timer::sleep(SWEEP).await;
                let Some(pool) = pool.upgrade() else { return };
                if !pool.sweep(Instant::now()) {
                    return pool.sweeping.set(false);
                }
            }
        })
        .detach();
    }

    /// Wakes those whose time is over, and closes what is no longer needed. False when nothing is open.
    fn sweep(&self, now: Instant) -> bool {
        let mut sockets = self.sockets.borrow_mut();
        for open in sockets.iter() {
            open.upstream.waiting.borrow_mut().values_mut().filter(|waiting| waiting.deadline <= now).for_each(Waiting::wake);
        }
        sockets.retain(|open| !open.upstream.is_retired(now) || !open.upstream.waiting.borrow().is_empty());
        !sockets.is_empty()
    }
}

impl Upstream {
    fn is_retired(&self, now: Instant) -> bool {
        self.asked.get() >= QUESTIONS_MAX || now.saturating_duration_since(self.opened) >= SOCKET_LIFE
    }

    /// False: nobody waits for it.
    fn hand_out(&self, packet: &[u8], sender: SocketAddr) -> bool {
        let Some(id) = packet.first_chunk().map(|id| u16::from_be_bytes(*id)) else { return false };
        let mut waiting = self.waiting.borrow_mut();
        let Some(waiting) = waiting.get_mut(&(sender.ip(), sender.port(), id)) else { return false };
        if waiting.kept.len() < KEPT_MAX {
            waiting.kept.push(packet.to_vec());
        }
        waiting.wake();
        true
    }

    /// Fails the questions that ICMP says did not arrive. Only those it quotes with their id: anybody can send ICMP.
    fn take_errors(&self) {
        let mut quoted = [0; 2];
        for _ in 0..QUESTIONS_MAX {
            match next_error(self.socket.as_fd(), &mut quoted) {
                Ok((Some(server), 2, kind)) => {
                    let key = (server.ip(), server.port(), u16::from_be_bytes(quoted));
                    if let Some(waiting) = self.waiting.borrow_mut().get_mut(&key) {
                        waiting.failure = Some(kind);
                        waiting.wake();
                    }
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

impl Waiting {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A question's place at its socket; dropped, the place is free.
struct Place {
    pool: Rc<Inner>,
    upstream: Rc<Upstream>,
    key: Key,
}

impl Place {
    fn poll(&self, cx: &Context<'_>, rejected: &mut usize, accept: &mut impl FnMut(&[u8]) -> bool) -> Poll<io::Result<Vec<u8>>> {
        let (kept, failure, deadline) = {
            let mut all = self.upstream.waiting.borrow_mut();
            let Some(waiting) = all.get_mut(&self.key) else { return Poll::Ready(Err(io::ErrorKind::NotFound.into())) };
            waiting.waker = Some(cx.waker().clone());
            (std::mem::take(&mut waiting.kept), waiting.failure, waiting.deadline)
        };
        for packet in kept {
            if accept(&packet) {
                return Poll::Ready(Ok(packet));
            }
            *rejected += 1;
        }
        if *rejected >= REJECTED_MAX {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        match failure {
            Some(kind) => Poll::Ready(Err(kind.into())),
            None if deadline <= Instant::now() => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            None => Poll::Pending,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.upstream.waiting.borrow_mut().remove(&self.key).is_some() {
            self.pool.waiting.set(self.pool.waiting.get().saturating_sub(1));
        }
    }
}

async fn receive(pool: Weak<Inner>, upstream: Rc<Upstream>, mut watch: Watch) {
    loop {
        let ready = watch.readable(&upstream.socket).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.take(&upstream);
        drop(pool);
        if ready.is_err() {
            // It is one of ICMP most likely, and taken; if not, it must not become a busy loop.
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        glommio::yield_if_needed().await;
    }
}

/// A socket at a random port of all addresses.
//= RFC 5452 section 9.2
//# Use an unpredictable source port for outgoing queries from the range of available ports (53, or 1024 and above) that is as large as possible
//# and practicable
fn bind(ipv4: bool, random: &mut Random) -> io::Result<OwnedFd> {
    let (family, any) = match ipv4 {
        true => (AddressFamily::INET, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        false => (AddressFamily::INET6, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
    };
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if !ipv4 {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    for _ in 0..PORTS_TRIED_MAX {
        match rustix::net::bind(&socket, &SocketAddr::new(any, random.at_least(PORT_MIN)?)) {
            Ok(()) => return Ok(socket),
            Err(rustix::io::Errno::ADDRINUSE) => {}
            Err(error) => return Err(error.into()),
        }
    }
    rustix::net::bind(&socket, &SocketAddr::new(any, 0))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::net::UdpSocket as Server;

    const LONG: Duration = Duration::from_secs(20);
    const TICK: Duration = Duration::from_millis(5);
    const SHORT: Duration = Duration::from_millis(80);

    fn question(id: u16) -> Vec<u8> {
        [&id.to_be_bytes()[..], b"question"].concat()
    }

    fn server() -> (Server, SocketAddr) {
        let server = Server::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(LONG)).unwrap();
        let address = server.local_addr().unwrap();
        (server, address)
    }

    /// Asks all ids at once.
    async fn ask_all(pool: &UpstreamPool, server: SocketAddr, ids: std::ops::Range<u16>) -> Vec<io::Result<Vec<u8>>> {
        let tasks: Vec<_> = ids
            .map(|id| {
                let pool = pool.clone();
                glommio::spawn_local(async move {
                    pool.exchange(server, &question(id), Instant::now() + LONG, |packet| packet.starts_with(&id.to_be_bytes()))
                        .await
                })
            })
            .collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await);
        }
        answers
    }

    #[test]
    fn many_wait_at_few_ports_and_each_gets_its_own_answer() {
        const COUNT: u16 = 300;
        let (server, address) = server();
        let answering = std::thread::spawn(move || {
            let mut asked = Vec::new();
            let mut packet = [0; 64];
            for _ in 0..COUNT {
                let (length, client) = server.recv_from(&mut packet).unwrap();
                asked.push((packet[..length].to_vec(), client));
            }
            for (packet, client) in asked.iter().rev() {
                server.send_to(packet, client).unwrap();
            }
            asked.into_iter().map(|(_, client)| client.port()).collect::<Vec<_>>()
        });
        let (answers, in_use) = glommio::LocalExecutor::default().run(async {
            let pool = UpstreamPool::new();
            let answers = ask_all(&pool, address, 0..COUNT).await;
            let all: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
            let in_use = pool.in_use();
            // When their time is over, all are closed, without another question.
            glommio::timer::sleep(SOCKET_LIFE + 3 * SWEEP).await;
            assert_eq!(pool.in_use(), (0, 0));
            (all, in_use)
        });
        assert_eq!(answers, (0..COUNT).map(question).collect::<Vec<_>>());
        let ports = answering.join().unwrap();
        let distinct: HashSet<u16> = ports.iter().copied().collect();
        assert_eq!(in_use.0, 0);
        assert!(distinct.len() >= usize::from(COUNT).div_ceil(QUESTIONS_MAX.try_into().unwrap()), "{distinct:?}");
        assert!(distinct.len() < usize::from(COUNT) / 4, "{distinct:?}");
        for port in &distinct {
            assert!(*port >= PORT_MIN);
            assert!(ports.iter().filter(|other| *other == port).count() <= QUESTIONS_MAX.try_into().unwrap());
        }
    }

    #[test]
    fn strangers_packets_and_wrong_ids_are_not_answers_and_do_not_make_the_wait_longer() {
        let (server, address) = server();
        let (stranger, _) = self::server();
        let lying = std::thread::spawn(move || {
            let (_, client) = server.recv_from(&mut [0; 64]).unwrap();
            stranger.send_to(&question(7), client).unwrap();
            server.send_to(&question(8), client).unwrap();
            server.send_to(b"\0", client).unwrap();
        });
        glommio::LocalExecutor::default().run(async {
            let pool = UpstreamPool::new();
            let result = pool.exchange(address, &question(7), Instant::now() + SHORT, |_| panic!("it is not an answer")).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!((pool.in_use().0, pool.strangers()), (0, 3));
        });
        lying.join().unwrap();
    }

    #[test]
    fn what_is_not_accepted_is_waited_past_and_not_for_ever() {
        let (server, address) = server();
        let guessing = std::thread::spawn(move || {
            for tries in [1, 2 * REJECTED_MAX] {
                let (_, client) = server.recv_from(&mut [0; 64]).unwrap();
                for _ in 0..tries {
                    server.send_to(&[&question(7)[..], b"forged"].concat(), client).unwrap();
                    std::thread::sleep(Duration::from_millis(2));
                }
                server.send_to(&question(7), client).unwrap();
            }
        });
        glommio::LocalExecutor::default().run(async {
            let pool = UpstreamPool::new();
            let asked = question(7);
            let ask = || pool.exchange(address, &asked, Instant::now() + LONG, |packet| packet == question(7));
            assert_eq!(ask().await.unwrap(), question(7));
            assert_eq!(ask().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        });
        guessing.join().unwrap();
    }

    #[test]
    fn a_question_that_is_dropped_frees_its_place() {
        let (_server, address) = server();
        glommio::LocalExecutor::default().run(async {
            let pool = UpstreamPool::new();
            let asked = {
                let pool = pool.clone();
                glommio::spawn_local(async move { pool.exchange(address, &question(7), Instant::now() + LONG, |_| true).await })
            };
            glommio::timer::sleep(TICK).await;
            assert_eq!(pool.in_use(), (1, 1));
            asked.cancel().await;
            assert_eq!(pool.in_use(), (0, 1));
        });
    }

    #[test]
    fn a_closed_port_is_known_at_once() {
        let (server, address) = server();
        drop(server);
        glommio::LocalExecutor::default().run(async {
            let pool = UpstreamPool::new();
            for result in ask_all(&pool, address, 0..40).await {
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            }
            // The others that share its sockets are not harmed.
            let (server, address) = self::server();
            let answering = std::thread::spawn(move || {
                let mut packet = [0; 64];
                let (length, client) = server.recv_from(&mut packet).unwrap();
                server.send_to(&packet[..length], client).unwrap();
            });
            assert_eq!(ask_all(&pool, address, 0..1).await.pop().unwrap().unwrap(), question(0));
            answering.join().unwrap();
        });
    }

    #[test]
    fn a_server_of_ipv6_is_asked_from_an_address_of_ipv6() {
        let Ok(server) = Server::bind("[::1]:0") else { return };
        let address = server.local_addr().unwrap();
        let answering = std::thread::spawn(move || {
            let mut packet = [0; 64];
            let (length, client) = server.recv_from(&mut packet).unwrap();
            server.send_to(&packet[..length], client).unwrap();
        });
        glommio::LocalExecutor::default().run(async {
            assert_eq!(ask_all(&UpstreamPool::new(), address, 5..6).await.pop().unwrap().unwrap(), question(5));
        });
        answering.join().unwrap();
    }
}
