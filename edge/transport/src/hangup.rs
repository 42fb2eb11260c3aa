//! Ends the receiving of all connections of a shard at once, so that a shard that drains can tell idle clients so.

use crate::Stream;
use std::cell::RefCell;
use std::collections::HashSet;
use std::os::fd::{BorrowedFd, RawFd};
use std::rc::Rc;

/// The open connections of a shard. Costs four bytes a connection and no wait.
#[derive(Clone, Debug, Default)]
pub struct Hangups {
    open: Rc<RefCell<HashSet<RawFd>>>,
}

/// A connection that can be hung up. Must be dropped before its stream.
#[derive(Debug)]
pub struct Registered {
    open: Rc<RefCell<HashSet<RawFd>>>,
    descriptor: RawFd,
}

impl Hangups {
    /// Adds a connection.
    #[must_use]
    pub fn register(&self, stream: &Stream) -> Registered {
        let descriptor = stream.descriptor();
        self.open.borrow_mut().insert(descriptor);
        Registered { open: Rc::clone(&self.open), descriptor }
    }

    /// Every connection receives the end of its stream now, and can still send.
    #[allow(unsafe_code)] // the streams own their descriptors; here they are only named
    pub fn all(&self) {
        for descriptor in self.open.borrow().iter() {
            // SAFETY: a registered connection is taken out before its stream closes the descriptor, on this same thread.
            let descriptor = unsafe { BorrowedFd::borrow_raw(*descriptor) };
            // One that is gone already needs nothing.
            let _ = rustix::net::shutdown(descriptor, rustix::net::Shutdown::Read);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.open.borrow_mut().remove(&self.descriptor);
    }
}
