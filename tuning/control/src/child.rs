//! The child's end: takes the launch apart, then hears and speaks.

use crate::message::{FromChild, Launch, ListenerSpec, ToChild};
use crate::socket;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

/// The descriptor number a child finds its control socket at: its standard input, which it has no other use for and which a parent
/// can set without unsafe code.
pub const CONTROL_DESCRIPTOR: i32 = 0;

/// What one pinned shard of this process is given.
#[derive(Debug)]
pub struct ShardResources {
    /// The shard's number within its role.
    pub shard: u32,
    /// Its core.
    pub core: usize,
    /// Others ring here; the shard sleeps on it.
    pub doorbell: OwnedFd,
    /// The doorbell's button: the control thread pushes it after it has put something into the shard's channel.
    pub doorbell_button: OwnedFd,
    /// The statistics page this shard alone writes; see [`crate::StatsPage::map`].
    pub stats: OwnedFd,
}

/// A child after its launch.
#[derive(Debug)]
pub struct Child {
    /// What to be.
    pub launch: Launch,
    /// The inherited sockets, in the order of `launch.listeners`.
    pub listeners: Vec<(ListenerSpec, OwnedFd)>,
    /// One for each core of the launch.
    pub shards: Vec<ShardResources>,
    /// See [`Child::confine`].
    pub(crate) kept_open: Vec<landlock::PathFd>,
    socket: Arc<OwnedFd>,
}

/// Speaks to the supervisor; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct ChildSender {
    socket: Arc<OwnedFd>,
}

impl ChildSender {
    /// Says something to the supervisor.
    ///
    /// # Errors
    /// The supervisor is gone: drain and exit.
    pub fn send(&self, message: &FromChild, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        socket::send(&*self.socket, message, descriptors)
    }

    /// The answer to [`ToChild::Ask`], or with id 0 to [`ToChild::Reload`].
    pub fn answer(&self, id: u64, result: Result<serde_json::Value, String>) {
        if let Err(error) = self.send(&FromChild::Answer { id, result }, &[]) {
            tracing::warn!("an answer could not be given to the supervisor: {error}");
        }
    }

    /// An alarm, also logged here; a supervisor that is gone cannot be told.
    pub fn alarm(&self, text: &str) {
        tracing::error!("{text}");
        if self.send(&FromChild::Alarm { text: text.to_owned() }, &[]).is_err() {
            tracing::error!("the supervisor is gone, the alarm could not be passed on");
        }
    }
}

impl Child {
    /// Takes over the control socket and waits for the launch. To be called once, first thing in a child process.
    ///
    /// # Errors
    /// Not started by `postring up`, or a supervisor of another version.
    #[allow(unsafe_code)] // taking over an inherited descriptor has no safe form
    pub fn take_over() -> io::Result<Self> {
        // SAFETY: the descriptor is ours by the agreement of this crate: the supervisor puts the control socket there before
        // exec, and nothing in this process has opened or taken a descriptor yet. If it is not open, the first use fails.
        let socket = unsafe { OwnedFd::from_raw_fd(CONTROL_DESCRIPTOR) };
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        Self::from_socket(socket)
    }

    /// The same from a given socket; for tests within one process.
    ///
    /// # Errors
    /// The first message is no launch, or its descriptors are not as many as it needs.
    pub fn from_socket(socket: OwnedFd) -> io::Result<Self> {
        let (message, descriptors) = socket::receive::<ToChild>(&socket)?;
        let ToChild::Launch(launch) = message else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the first control message is no launch"));
        };
        let mut descriptors = descriptors.into_iter();
        let mut next =
            || descriptors.next().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "launch lacks descriptors"));
        let mut listeners = Vec::with_capacity(launch.listeners.len());
        for spec in &launch.listeners {
            listeners.push((spec.clone(), next()?));
        }
        let mut shards = Vec::with_capacity(launch.cores.len());
        for (shard, &core) in (launch.first_shard..).zip(&launch.cores) {
            shards.push(ShardResources { shard, core, doorbell: next()?, doorbell_button: next()?, stats: next()? });
        }
        Ok(Self { launch: *launch, listeners, shards, kept_open: Vec::new(), socket: Arc::new(socket) })
    }

    /// A way to speak to the supervisor.
    #[must_use]
    pub fn sender(&self) -> ChildSender {
        ChildSender { socket: Arc::clone(&self.socket) }
    }

    /// Waits for the next message. A supervisor that is gone is a `Drain`: finish what was begun, then exit.
    ///
    /// # Errors
    /// What arrived is no message: the supervisor is of another version; drain.
    pub fn receive(&self) -> io::Result<(ToChild, Vec<OwnedFd>)> {
        match socket::receive(self.socket.as_fd()) {
            Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                Ok((ToChild::Drain, Vec::new()))
            }
            other => other,
        }
    }
}
