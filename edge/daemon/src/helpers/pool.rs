//! The connections of one shard to one policy server or milter: so many at once, and those that are kept for the next question.

use super::link::{Link, within};
use postring_policy::helpers::HelperAddress;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// A connection nobody has used for so long is not used any more: the other end may be about to close it.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// See the module. `K` is what was agreed over a connection and holds as long as it does.
pub(super) struct Pool<K> {
    address: HelperAddress,
    connections_max: usize,
    in_use: Cell<usize>,
    idle: RefCell<Vec<(Link, K, Instant)>>,
    waiting: RefCell<Vec<Waker>>,
}

/// The right to one connection; dropped, somebody else has it.
pub(super) struct Turn<'a, K> {
    pool: &'a Pool<K>,
}

impl<K> Pool<K> {
    pub(super) fn new(address: HelperAddress, connections_max: usize) -> Self {
        Self { address, connections_max, in_use: Cell::new(0), idle: RefCell::default(), waiting: RefCell::default() }
    }

    /// The right to a connection, if there is one to be had.
    pub(super) fn turn_now(&self) -> Option<Turn<'_, K>> {
        (self.in_use.get() < self.connections_max).then(|| {
            self.in_use.set(self.in_use.get() + 1);
            Turn { pool: self }
        })
    }

    /// The same, once there is one. Give it a deadline.
    pub(super) async fn turn(&self) -> Turn<'_, K> {
        poll_fn(|cx| {
            if let Some(turn) = self.turn_now() {
                return Poll::Ready(turn);
            }
            // As many as there are clients; one that has given up is woken in vain.
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl<K> Turn<'_, K> {
    /// A connection that was kept, if there is a fresh one.
    pub(super) fn kept(&self) -> Option<(Link, K)> {
        let mut idle = self.pool.idle.borrow_mut();
        idle.retain(|(_, _, since)| since.elapsed() < IDLE_MAX);
        idle.pop().map(|(link, kept, _)| (link, kept))
    }

    /// A new connection.
    pub(super) async fn connect(&self, wait: Duration) -> io::Result<Link> {
        within(wait, Link::connect(&self.pool.address)).await
    }

    /// Keeps a connection for the next question; one over which more has come than was asked for is closed.
    pub(super) fn keep(&self, link: Link, kept: K) {
        if link.received().is_empty() {
            self.pool.idle.borrow_mut().push((link, kept, Instant::now()));
        }
    }
}

impl<K> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        self.pool.in_use.set(self.pool.in_use.get().saturating_sub(1));
        self.pool.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }
}
