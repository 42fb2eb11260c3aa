//! What a task finds out, and the one connection that waits for it.

use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A value that is set once. One waits for it at a time.
pub(crate) struct Found<T> {
    value: OnceCell<T>,
    waker: Cell<Option<Waker>>,
}

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self { value: OnceCell::new(), waker: Cell::default() }
    }
}

impl<T> Found<T> {
    /// Sets it and wakes who waits; a second value is dropped.
    pub(crate) fn set(&self, value: T) {
        let _ = self.value.set(value);
        self.waker.take().into_iter().for_each(Waker::wake);
    }

    /// The value, if it is there.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value, once it is there. Whoever waits has a deadline, or the task that sets it has.
    pub(crate) async fn wait(&self) -> Option<&T> {
        poll_fn(|cx| {
            if self.value.get().is_some() {
                return Poll::Ready(());
            }
            self.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        self.value.get()
    }
}
