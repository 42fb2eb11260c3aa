//! The connections of one shard to one policy server or milter: so many at once, and those that are kept for the next question.

use super::link::{Link, within};
use postring_policy::helpers::HelperAddress;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
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
    /// In their order; those who have given up are passed by.
    waiting: RefCell<VecDeque<Rc<Cell<Option<Waker>>>>>,
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
        let mut place = Place { pool: self, waker: None };
        poll_fn(|cx| {
            if let Some(turn) = self.turn_now() {
                // Nobody needs to be woken in its stead, and it needs not be woken.
                if let Some(waker) = place.waker.take() {
                    waker.take();
                }
                return Poll::Ready(turn);
            }
            match &place.waker {
                Some(waker) if waker.take().is_some() => waker.set(Some(cx.waker().clone())),
                // New here, or woken, and somebody else was faster.
                _ => {
                    let waker = Rc::new(Cell::new(Some(cx.waker().clone())));
                    self.waiting.borrow_mut().push_back(Rc::clone(&waker));
                    place.waker = Some(waker);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Wakes the next who still waits: one, or a crowd would wake for every turn.
    fn wake_next(&self) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(next) = waiting.pop_front() {
            if let Some(waker) = next.take() {
                return waker.wake();
            }
        }
    }
}

/// A place in the queue. The waker is taken by whoever wakes it.
struct Place<'a, K> {
    pool: &'a Pool<K>,
    waker: Option<Rc<Cell<Option<Waker>>>>,
}

impl<K> Drop for Place<'_, K> {
    fn drop(&mut self) {
        // One who was woken and gives up lets the next have the turn.
        if self.waker.take().is_some_and(|waker| waker.take().is_none()) {
            self.pool.wake_next();
        }
    }
}

impl<K> Turn<'_, K> {
    /// A connection that was kept, if there is a fresh one. What has come over it meanwhile answers nothing that was asked, and would be taken for the
    /// answer to the next question: such a one is closed.
    pub(super) fn kept(&self) -> Option<(Link, K)> {
        let mut idle = self.pool.idle.borrow_mut();
        idle.retain(|(_, _, since)| since.elapsed() < IDLE_MAX);
        while let Some((mut link, kept, _)) = idle.pop() {
            if link.is_quiet() {
                return Some((link, kept));
            }
        }
        None
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
        self.pool.wake_next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    type Waiting<'a> = Pin<Box<dyn Future<Output = Turn<'a, ()>> + 'a>>;

    /// One who waits, and how often it was woken.
    fn waiter(pool: &Pool<()>) -> (Waiting<'_>, Arc<Woken>) {
        (Box::pin(pool.turn()), Arc::default())
    }

    fn poll<'a>((waiting, woken): &mut (Waiting<'a>, Arc<Woken>)) -> Option<Turn<'a, ()>> {
        match waiting.as_mut().poll(&mut Context::from_waker(&Arc::clone(woken).into())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    fn woken(waiter: &(Waiting<'_>, Arc<Woken>)) -> usize {
        waiter.1.0.load(Ordering::Relaxed)
    }

    #[test]
    fn one_is_woken_for_each_turn() {
        let pool = Pool::new(HelperAddress::Unix("/x".into()), 1);
        let first = pool.turn_now().unwrap();
        assert!(pool.turn_now().is_none());
        let mut all = [waiter(&pool), waiter(&pool), waiter(&pool)];
        assert!(all.iter_mut().all(|one| poll(one).is_none() && poll(one).is_none()));
        drop(first);
        assert_eq!(all.each_ref().map(woken), [1, 0, 0]);
        let second = poll(&mut all[0]).unwrap();
        assert!(poll(&mut all[1]).is_none());
        // The second gives up before it is its turn: the third is woken.
        let [_first, gone, mut last] = all;
        drop(gone);
        drop(second);
        assert_eq!(woken(&last), 1);
        assert!(poll(&mut last).is_some());
        assert!(pool.turn_now().is_some());
    }

    #[test]
    fn who_was_woken_and_gives_up_wakes_the_next() {
        let pool = Pool::new(HelperAddress::Unix("/x".into()), 1);
        let first = pool.turn_now().unwrap();
        let [mut one, mut other] = [waiter(&pool), waiter(&pool)];
        assert!(poll(&mut one).is_none() && poll(&mut other).is_none());
        drop(first);
        assert_eq!((woken(&one), woken(&other)), (1, 0));
        drop(one);
        assert_eq!(woken(&other), 1);
        // Somebody else was faster: it waits again.
        let fast = pool.turn_now().unwrap();
        assert!(poll(&mut other).is_none());
        drop(fast);
        assert_eq!(woken(&other), 2);
        assert!(poll(&mut other).is_some());
    }

    #[test]
    fn who_has_its_turn_unasked_is_not_woken_in_place_of_another() {
        let pool = Pool::new(HelperAddress::Unix("/x".into()), 2);
        let (first, second) = (pool.turn_now().unwrap(), pool.turn_now().unwrap());
        let [mut one, mut other, mut last] = [waiter(&pool), waiter(&pool), waiter(&pool)];
        assert!(poll(&mut one).is_none() && poll(&mut other).is_none() && poll(&mut last).is_none());
        drop(first);
        let faster = poll(&mut other).unwrap();
        drop(second);
        assert_eq!((woken(&one), woken(&other), woken(&last)), (1, 0, 1));
        drop(faster);
        assert!(poll(&mut one).is_some() && poll(&mut last).is_some());
    }
}
