//! How the pool's sockets notice what has come: each waited for, or all looked at together.
//!
//! ```text
//!   watched: a task for each socket waits for it ── packets come fast ──> looked at
//!   looked at: one task receives from every socket somebody waits at, at set times (pace.rs) ── few come ──> watched
//! ```

use super::socket::Upstream;
use super::{Inner, Open};
use crate::dns::mmsg::Batch;
use crate::dns::pace::{Load, Pace};
use crate::dns::watch::Watch;
use std::cell::{Cell, RefCell};
use std::os::fd::AsFd;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

/// Octets of a UDP response: we announce less, but some send more.
const RESPONSE_BYTES_MAX: usize = 4096;
/// Responses received at once.
const BATCH: usize = 16;
/// Batches of one socket before others have their turn.
const BATCHES_MAX: usize = 8;

/// What the receiving tasks of a pool share.
pub(super) struct Receiving {
    batch: RefCell<Batch>,
    load: RefCell<Load>,
    /// The sockets are looked at, not watched.
    looking: Cell<bool>,
    strangers: Cell<u64>,
}

impl Receiving {
    pub(super) fn new(pace: &Pace) -> Self {
        Self {
            batch: RefCell::new(Batch::new(BATCH, RESPONSE_BYTES_MAX)),
            load: RefCell::new(Load::new(pace.clone())),
            looking: Cell::new(false),
            strangers: Cell::new(0),
        }
    }

    /// Packets nobody waited for.
    pub(super) fn strangers(&self) -> u64 {
        self.strangers.get()
    }

    /// Hands out what has come to a socket; gives how many packets that were.
    fn take(&self, upstream: &Upstream) -> usize {
        let mut batch = self.batch.borrow_mut();
        let mut taken = 0;
        for _ in 0..BATCHES_MAX {
            let Ok(received) = batch.receive(upstream.socket.as_fd()) else {
                upstream.take_errors();
                continue;
            };
            taken += received;
            for (packet, sender) in (0..received).filter_map(|slot| batch.packet(slot)) {
                if !upstream.hand_out(packet, sender) {
                    self.strangers.set(self.strangers.get() + 1);
                }
            }
            if received < batch.capacity() {
                break;
            }
        }
        taken
    }
}

/// Begins to watch a socket, if sockets are watched at present.
pub(super) fn watch(pool: &Rc<Inner>, open: &mut Open) {
    if !pool.receiving.looking.get() && !open.upstream.watched.replace(true) {
        open.watching = Some(glommio::spawn_local(receive(Rc::downgrade(pool), Rc::clone(&open.upstream))));
    }
}

/// Receives for a socket as it is watched; ends when all are looked at, and with the pool.
async fn receive(pool: Weak<Inner>, upstream: Rc<Upstream>) {
    let mut watched = None;
    loop {
        let ready = match &mut watched {
            Some(watch) => Watch::readable(watch, &upstream.socket).await,
            None => Watch::new(&upstream.socket).map(|watch| watched = Some(watch)),
        };
        let Some(pool) = pool.upgrade() else { return };
        let taken = pool.receiving.take(&upstream);
        if ready.is_err() {
            upstream.take_errors();
        }
        if pool.receiving.looking.get() {
            break;
        }
        if pool.receiving.load.borrow_mut().is_busy(taken, Instant::now()) {
            pool.receiving.looking.set(true);
            glommio::spawn_local(look(Rc::downgrade(&pool), pool.pace.clone())).detach();
            break;
        }
        drop(pool);
        if ready.is_err() {
            // It is one of ICMP most likely, and taken; if not, it must not become a busy loop.
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        glommio::yield_if_needed().await;
    }
    upstream.watched.set(false);
}

/// Receives for all sockets as long as packets come fast.
async fn look(pool: Weak<Inner>, pace: Pace) {
    loop {
        pace.next_look().await;
        let Some(pool) = pool.upgrade() else { return };
        let receiving = &pool.receiving;
        let mut sockets = pool.sockets.borrow_mut();
        let asking = sockets.iter().map(|open| &open.upstream).filter(|upstream| !upstream.waiting.borrow().is_empty());
        let taken = asking.map(|upstream| receiving.take(upstream)).sum();
        if !receiving.load.borrow_mut().is_busy(taken, Instant::now()) {
            receiving.looking.set(false);
            sockets.iter_mut().for_each(|open| watch(&pool, open));
            return;
        }
    }
}
