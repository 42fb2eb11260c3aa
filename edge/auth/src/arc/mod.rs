//! ARC: who handled a message on its way says what it found, and seals that (RFC 8617).
//!
//! ```text
//!   message ─> sets of three fields, 1..N ─> structure ─> questions ─> keys ─┬─> newest message signature: the message as it is
//!                                                                           ├─> older ones: how far back it is as it was (oldest-pass)
//!                                                                           └─> all seals, N..1: the sets as they were made
//! ```
//! What a message can cost is bounded: 50 sets, a question for each key name, 128 operations with public keys, the body read once for each of two
//! forms. A chain that passes proves only who sealed what: anybody can make one that says anything, so its results are for those to use who trust
//! the sealers.

mod chain;
mod problem;
mod seal;
mod sets;
mod verify;

pub use chain::{Chain, Set, Status};
pub use problem::{Kind, Problem};
pub use sets::fuzz_sets;
pub(crate) use verify::Draft;
pub use verify::verify;
