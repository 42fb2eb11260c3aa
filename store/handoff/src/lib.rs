//! Messages given out over the links: to scan workers, to the shards that own mailboxes, to the queue; and what came back.
//!
//! Used by whoever has an arena: the edge for what arrives, the sending machine for what it reports to local senders.

mod jobs;

pub use jobs::{JobId, Jobs, Receipt, Scanned, Trouble};
