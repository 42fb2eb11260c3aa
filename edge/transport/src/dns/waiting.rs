//! What several tasks wait for, and one finds out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::Hash;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// See the module.
pub(super) struct Waiting<T> {
    result: RefCell<Option<T>>,
    wakers: RefCell<Vec<Waker>>,
}

impl<T: Clone> Waiting<T> {
    fn new() -> Rc<Self> {
        Rc::new(Self { result: RefCell::new(None), wakers: RefCell::default() })
    }

    /// The result, when it is there.
    pub(super) async fn result(&self) -> T {
        poll_fn(|cx| match &*self.result.borrow() {
            Some(result) => Poll::Ready(result.clone()),
            None => {
                let mut wakers = self.wakers.borrow_mut();
                if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    wakers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        })
        .await
    }
}

/// Who waits for what; equal questions are asked once.
pub(super) struct Flights<K, T> {
    under_way: RefCell<HashMap<K, Rc<Waiting<T>>>>,
    max: usize,
}

/// A place among the flights.
pub(super) enum Place<T> {
    /// Somebody asks already.
    Joined(Rc<Waiting<T>>),
    /// Ask, and then call [`Flights::land`].
    New(Rc<Waiting<T>>),
    /// There are too many.
    Full,
}

impl<K: Eq + Hash + Clone, T: Clone> Flights<K, T> {
    pub(super) fn new(max: usize) -> Self {
        Self { under_way: RefCell::default(), max }
    }

    pub(super) fn join(&self, key: &K) -> Place<T> {
        let mut under_way = self.under_way.borrow_mut();
        if let Some(waiting) = under_way.get(key) {
            return Place::Joined(Rc::clone(waiting));
        }
        if under_way.len() >= self.max {
            return Place::Full;
        }
        let waiting = Waiting::new();
        under_way.insert(key.clone(), Rc::clone(&waiting));
        Place::New(waiting)
    }

    /// Wakes all who wait for it.
    pub(super) fn land(&self, key: &K, result: T) {
        let Some(waiting) = self.under_way.borrow_mut().remove(key) else { return };
        *waiting.result.borrow_mut() = Some(result);
        waiting.wakers.borrow_mut().drain(..).for_each(Waker::wake);
    }
}
