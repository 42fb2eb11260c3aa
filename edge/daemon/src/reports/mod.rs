//! Aggregate reports of DMARC: what is noted of each message, kept in files, and sent once a day.
//!
//! ```text
//!   shards ─ rows, counted, every ten seconds ─> writer (a thread) ─> current ─ midnight (UTC) ─> BEGIN-END.rows
//!   daily (a thread) ─ a report for each domain ─> a shard: may it be sent there? ─> queue, durable ─> daily: BEGIN-END.sent
//! ```
//! The files are in `data/senders/dmarc`. Until a row is in one, a crash of this process loses it: ten seconds of counts. A report is sent again only
//! if the machine fails between the queue's receipt and the note of it; its id is the same then.
//!
//! - `rows`: what a shard notes
//! - `files`: the writer's files
//! - `daily`: when, and for whom
//! - `outgoing`: one report on its way to the queue
//! - `letter`: the message it comes in

mod daily;
mod files;
mod letter;
mod outgoing;
mod rows;

pub(crate) use daily::Daily;
pub(crate) use files::{Message, Writer};
pub(crate) use outgoing::{Outgoing, OutgoingAnswer, send};
pub(crate) use rows::{Rows, noted};
