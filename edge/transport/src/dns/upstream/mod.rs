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
//! Sockets are not connected: one serves questions to many servers, so the source of each packet is compared (socket.rs). How packets are
//! noticed is in receive.rs.
//!
//! Cost of a question: one system call to send, a share of one to receive, and 1 in 32 sockets; two allocations (the place, the answer). No
//! timer each: one sweep for all.

mod receive;
mod socket;

use super::mmsg::ask_for_errors;
use super::pace::Pace;
use super::random::Random;
use receive::Receiving;
use rustix::net::SendFlags;
use socket::{Key, Upstream, Waiting, bind};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Sockets of a family that take questions; one of them is chosen by chance.
const SOCKETS_ASKING: u16 = 8;
/// Sockets open at once, those included that only wait for answers: a thirtieth of [`WAITING_MAX`] would do if all were full.
const SOCKETS_MAX: usize = 512;
/// Questions that wait for their answer at once.
const WAITING_MAX: usize = 4096;
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
    receiving: Receiving,
    pace: Pace,
    random: RefCell<Random>,
    waiting: Cell<usize>,
    sweeping: Cell<bool>,
}

/// A socket, and the task that watches it; dropped, both are gone.
struct Open {
    upstream: Rc<Upstream>,
    watching: Option<glommio::Task<()>>,
}

impl UpstreamPool {
    /// Without a socket yet. Must be used on one executor.
    pub(super) fn new() -> Self {
        let pace = Pace::new();
        Self {
            inner: Rc::new(Inner {
                sockets: RefCell::default(),
                receiving: Receiving::new(&pace),
                pace,
                random: RefCell::default(),
                waiting: Cell::new(0),
                sweeping: Cell::new(false),
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

    /// The times at which busy sockets are looked at.
    pub(super) fn pace(&self) -> &Pace {
        &self.inner.pace
    }

    /// Packets nobody waited for: late answers, and strangers'.
    pub(super) fn strangers(&self) -> u64 {
        self.inner.receiving.strangers()
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
        let upstream = Rc::new(Upstream::new(socket, server.is_ipv4(), now));
        let mut open = Open { upstream: Rc::clone(&upstream), watching: None };
        receive::watch(pool, &mut open);
        pool.sockets.borrow_mut().push(open);
        Ok(upstream)
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
            // Errors make no noise of their own once a datagram has been received.
            open.upstream.take_errors();
            open.upstream.waiting.borrow_mut().values_mut().filter(|waiting| waiting.deadline <= now).for_each(Waiting::wake);
        }
        sockets.retain(|open| !open.upstream.is_retired(now) || !open.upstream.waiting.borrow().is_empty());
        !sockets.is_empty()
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

#[cfg(test)]
mod tests;
