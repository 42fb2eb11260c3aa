//! The journal: append, one sync for all that waits, replay. Only a journal makes [`Durable`].
//!
//! FORMAT.md draws the bytes. A shard's journal is a folder of segments, filled one after the other and used again once what
//! their records describe is safe elsewhere.
//!
//! - **Group commit**: [`Journal::commit`] takes a batch, writes it with one gather write from where the messages lie, and syncs
//!   once. What arrives during the sync is the next batch; there is no timer.
//! - **Preallocated**: a segment is filled with zeros when it is made, so that a sync writes data and no metadata, and a full disk
//!   is found when a segment is made, never in the middle of a record.
//! - **A failed write or sync is final**: what the kernel did with the pages is unknown (the "fsyncgate" of 2018), so nothing is
//!   acknowledged any more until an operator has looked.

mod journal;
mod record;
mod segment;

pub use journal::{CommitError, Durable, Journal, JournalConfig, OpenError, Record, Replayed};
#[doc(hidden)]
pub use record::{fuzz_record, fuzz_segment};
