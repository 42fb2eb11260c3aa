//! The outbound queue: what is tried when, what is kept of it, what the sender is told. No I/O; time is an argument.
//!
//! ```text
//!   intake, disk --add--> waiting --due--> round: a group for each destination --poll_attempt--> attempts under way
//!                            ^                                                                          |
//!                            |                                               handle_attempt, until all groups have ended
//!                            |                                                                          v
//!                            +---- some recipients are pending, none failed ----------------------------+
//!                            |                                                                          v
//!                            +---- handle_reported <---- the report is handed over <---- poll_report: some failed
//!                                        |                                                              |
//!                                        +------- nothing is left to do: Change::Ended <----------------+
//! ```
//! Times are microseconds since 1970-01-01 00:00:00 UTC, not of a monotonic clock: retries survive restarts.
//!
//! The caller keeps what the queue says: the message itself ([`record::MESSAGE`]), after every end of an attempt the whole state
//! ([`record::PROGRESS`], the last one wins), and the end ([`record::DONE`]). A state that was lost in a crash means that an attempt
//! is made again, never that one is left out.
//!
//! One turn of the caller's loop: `poll_settled` until nothing, `poll_attempt` until nothing, `poll_report` until nothing, then wait
//! for the end of an attempt, a new message, or [`Queue::poll_timeout`].

mod config;
mod lanes;
pub mod record;
pub mod report;
pub mod schedule;
mod selector;

pub use config::QueueConfig;
pub use record::{MessageHead, Progress, RecipientProgress, Status};
pub use report::{Action, RecipientReport, Report, write_report};
pub use schedule::{Attempt, Change, Listed, Outcome, Queue, RecipientOutcome};
pub use selector::{Selector, SelectorError};
