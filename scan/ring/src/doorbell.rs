//! Wakes a thread that sleeps: a unix socket pair, a byte a ring.
//!
//! A socket rather than an eventfd, because the sleeping end must fit glommio, which waits for sockets; the price is the same.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The receiving end, owned by the thread that sleeps.
#[derive(Debug)]
pub struct Doorbell(OwnedFd);

/// The sending end; as many as there are peers.
#[derive(Debug)]
pub struct DoorbellButton(OwnedFd);

impl Doorbell {
    /// A doorbell and its button.
    ///
    /// # Errors
    /// The operating system's, out of descriptors most likely.
    pub fn pair() -> io::Result<(Self, DoorbellButton)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (receiver, sender) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        Ok((Self(receiver), DoorbellButton(sender)))
    }

    /// Takes over a receiving end that was inherited.
    #[must_use]
    pub fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// The descriptor, to hand it to another process or another poller.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.0
    }

    /// Sleeps until somebody rings or `timeout` is over; `None` sleeps for ever. Empties the bell. True if it rang.
    ///
    /// # Errors
    /// `UnexpectedEof` when nobody is left who could ring, or the operating system's error.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.and_then(|wait| Timespec::try_from(wait).ok());
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(false),
            Ok(_) => self.empty(),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes all rings that are there. True if there was one.
    ///
    /// # Errors
    /// `UnexpectedEof` when nobody is left who could ring, or the operating system's error.
    pub fn empty(&self) -> io::Result<bool> {
        let mut rings = [0; 256];
        match rustix::net::recv(&self.0, &mut rings[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl DoorbellButton {
    /// Takes over a sending end that was inherited.
    #[must_use]
    pub fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Rings. One system call; never waits. A bell that is full has rung already; a sleeper that is gone is the supervisor's matter.
    pub fn ring(&self) {
        let _ = rustix::net::send(&self.0, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

impl AsFd for DoorbellButton {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
