//! The shards of a role's process, as its control thread sees them.

use crate::child::ChildSender;
use crate::message::{FromChild, Role};
use postring_ring::DoorbellButton;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

/// One shard: a thread with a channel and a doorbell.
struct Shard<E> {
    number: u32,
    events: Sender<E>,
    button: DoorbellButton,
    thread: JoinHandle<()>,
}

/// Speaks to one shard from another thread than the control thread.
pub struct ShardSpeaker<E> {
    events: Sender<E>,
    button: DoorbellButton,
}

impl<E> ShardSpeaker<E> {
    /// Tells the shard.
    pub fn tell(&self, event: E) {
        // A shard that has ended needs no events.
        let _ = self.events.send(event);
        self.button.ring();
    }
}

/// All shards of the process. `E` is what the control thread tells them.
pub struct Shards<E> {
    role: Role,
    all: Vec<Shard<E>>,
}

impl<E> Shards<E> {
    /// None yet.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self { role, all: Vec::new() }
    }

    /// A shard that runs now.
    pub fn add(&mut self, number: u32, events: Sender<E>, button: DoorbellButton, thread: JoinHandle<()>) {
        self.all.push(Shard { number, events, button, thread });
    }

    /// Number of shards.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// True without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Tells one shard; a number that is none of ours is told to nobody.
    pub fn tell(&self, number: u32, event: E) {
        if let Some(shard) = self.all.iter().find(|shard| shard.number == number) {
            shard.tell(event);
        }
    }

    /// Tells every shard.
    pub fn tell_all(&self, event: impl Fn() -> E) {
        self.all.iter().for_each(|shard| shard.tell(event()));
    }

    /// Speakers to all shards, for other threads.
    ///
    /// # Errors
    /// No more descriptors.
    pub fn speakers(&self) -> io::Result<Vec<ShardSpeaker<E>>> {
        let speaker = |shard: &Shard<E>| {
            let button = DoorbellButton::from_descriptor(shard.button.as_fd().try_clone_to_owned()?);
            Ok(ShardSpeaker { events: shard.events.clone(), button })
        };
        self.all.iter().map(speaker).collect()
    }

    /// Tells every shard to drain, waits for their ends, and says so to the supervisor.
    pub fn drain(self, event: impl Fn() -> E, supervisor: &ChildSender) {
        self.tell_all(event);
        for shard in self.all {
            if shard.thread.join().is_err() {
                tracing::error!("{}.{} ended by a panic", self.role, shard.number);
            }
        }
        // Nobody may be left to hear it.
        let _ = supervisor.send(&FromChild::Drained, &[]);
    }
}

impl<E> Shard<E> {
    fn tell(&self, event: E) {
        // A shard that has ended needs no events.
        let _ = self.events.send(event);
        self.button.ring();
    }
}
