//! One socket of the pool: the questions asked by it, and who waits for which.

use crate::dns::mmsg::next_error;
use crate::dns::random::Random;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::task::Waker;
use std::time::{Duration, Instant};

/// Questions of one socket: fewer cost more sockets, more give who found its port more tries.
pub(super) const QUESTIONS_MAX: u32 = 32;
/// Time in which a socket takes questions.
pub(super) const SOCKET_LIFE: Duration = Duration::from_secs(2);
/// Random ports tried before the kernel may choose.
const PORTS_TRIED_MAX: usize = 16;
/// First port that needs no privilege.
pub(super) const PORT_MIN: u16 = 1024;
/// Packets kept for one question until its task runs; an honest server sends one.
const KEPT_MAX: usize = 4;

pub(super) struct Upstream {
    pub(super) socket: OwnedFd,
    pub(super) is_ipv4: bool,
    pub(super) opened: Instant,
    pub(super) asked: Cell<u32>,
    /// A task waits for it.
    pub(super) watched: Cell<bool>,
    pub(super) waiting: RefCell<HashMap<Key, Waiting>>,
}

/// By what a response is known: server, its port, id.
pub(super) type Key = (IpAddr, u16, u16);

pub(super) struct Waiting {
    pub(super) deadline: Instant,
    pub(super) kept: Vec<Vec<u8>>,
    pub(super) failure: Option<io::ErrorKind>,
    pub(super) waker: Option<Waker>,
}

impl Upstream {
    pub(super) fn new(socket: OwnedFd, is_ipv4: bool, opened: Instant) -> Self {
        Self { socket, is_ipv4, opened, asked: Cell::new(0), watched: Cell::new(false), waiting: RefCell::default() }
    }

    pub(super) fn is_retired(&self, now: Instant) -> bool {
        self.asked.get() >= QUESTIONS_MAX || now.saturating_duration_since(self.opened) >= SOCKET_LIFE
    }

    /// False: nobody waits for it.
    pub(super) fn hand_out(&self, packet: &[u8], sender: SocketAddr) -> bool {
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
    pub(super) fn take_errors(&self) {
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
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A socket at a random port of all addresses.
//= RFC 5452 section 9.2
//# Use an unpredictable source port for outgoing queries from the range of available ports (53, or 1024 and above) that is as large as possible
//# and practicable
pub(super) fn bind(ipv4: bool, random: &mut Random) -> io::Result<OwnedFd> {
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
