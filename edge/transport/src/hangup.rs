//! Ends connections from outside their tasks: the receiving of all of a shard at once, so that a shard that drains can tell idle clients so,
//! or one whose place another needs.

use crate::Stream;
use rustix::net::Shutdown;
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
    pub fn all(&self) {
        self.open.borrow().iter().for_each(|descriptor| shut_down(*descriptor, Shutdown::Read));
    }

    /// The connection with this descriptor, if it is registered, can neither receive nor send any more.
    pub(crate) fn one(&self, descriptor: RawFd) {
        if self.open.borrow().contains(&descriptor) {
            shut_down(descriptor, Shutdown::Both);
        }
    }
}

#[allow(unsafe_code)] // the streams own their descriptors; here they are only named
fn shut_down(registered: RawFd, how: Shutdown) {
    // SAFETY: a registered connection is taken out before its stream closes the descriptor, on this same thread.
    let descriptor = unsafe { BorrowedFd::borrow_raw(registered) };
    // One that is gone already needs nothing.
    let _ = rustix::net::shutdown(descriptor, how);
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.open.borrow_mut().remove(&self.descriptor);
    }
}
