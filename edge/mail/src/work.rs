//! What descriptors in the rings mean: the kinds of work and of completions, in one place for every role.
//!
//! A descriptor carries these numbers in its `kind` and `status`; `cookie` is the producer's and comes back
//! unchanged. In work, `offset` and `length` are the message's range within the slot and `head_length` is the
//! envelope's length at the slot's start; `aux` is the message id.
//!
//! ```text
//!   producer                       consumer
//!     Scan     ------------------->  scan worker
//!     <----------------- Verdict    payload: the verdict (status 0), or Refused
//!     Deliver  ------------------->  store shard   (it takes the recipients whose `shard` is its own)
//!     Queue    ------------------->  send shard    (it takes the recipients whose `account` is 0)
//!     <----------------- Durable    or Refused: nothing was kept, the slot may be reused
//!     <----------------- Released   after Durable: the slot will not be read any more
//! ```

/// The kind of a descriptor. Numbers are part of the format between processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// Judge the message.
    Scan = 1,
    /// Put it into mailboxes.
    Deliver = 2,
    /// Put it into the outbound queue.
    Queue = 3,
    /// The verdict is in the payload; the slot will not be read any more.
    Verdict = 16,
    /// On disk.
    Durable = 17,
    /// Will not be read any more.
    Released = 18,
    /// Not taken, `status` says why ([`Refusal`]); the slot will not be read any more.
    Refused = 19,
}

impl Kind {
    /// Reads the number of a descriptor.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        [Self::Scan, Self::Deliver, Self::Queue, Self::Verdict, Self::Durable, Self::Released, Self::Refused]
            .into_iter()
            .find(|kind| *kind as u16 == number)
    }
}

/// Why work was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Refusal {
    /// The disk or a bounded store is full; recovers by itself: 452 4.3.1.
    Full = 1,
    /// The volume failed an fsync or a write; an operator must act: 451 4.3.0.
    Failed = 2,
    /// Every recipient's mailbox is over its quota: 452 4.2.2.
    OverQuota = 3,
    /// Descriptor, envelope or message broke the rules between the processes: 451 4.3.0 and an alarm.
    Broken = 4,
    /// The consumer is draining: 451 4.3.2.
    Draining = 5,
}

impl Refusal {
    /// Reads the status of a descriptor; an unknown number counts as [`Refusal::Broken`].
    #[must_use]
    pub fn from_number(number: u16) -> Self {
        [Self::Full, Self::Failed, Self::OverQuota, Self::Draining]
            .into_iter()
            .find(|refusal| *refusal as u16 == number)
            .unwrap_or(Self::Broken)
    }

    /// What the client hears at the last dot.
    #[must_use]
    pub fn reply(self) -> crate::Reply {
        match self {
            Self::Full => crate::Reply::fixed(452, 3, 1, "Insufficient system storage, try again later"),
            Self::OverQuota => crate::Reply::fixed(452, 2, 2, "The mailbox is full, try again later"),
            Self::Failed | Self::Broken => {
                crate::Reply::fixed(451, 3, 0, "Local error, the message was not kept, try again later")
            }
            Self::Draining => crate::Reply::fixed(451, 3, 2, "Shutting down, try again later"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in 0..100 {
            if let Some(kind) = Kind::from_number(number) {
                assert_eq!(kind as u16, number);
            }
        }
        assert_eq!(Refusal::from_number(1), Refusal::Full);
        assert_eq!(Refusal::from_number(999), Refusal::Broken);
        assert!(Refusal::Full.reply().is_transient());
    }
}
