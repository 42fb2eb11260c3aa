//! Shared memory between processes that distrust each other: an arena of slots and rings of descriptors.
//!
//! - [`Arena`]: the producer's memory for messages. Others map it read-only, and the seal makes sure of it.
//! - [`Link`]: a pair of one-way rings. Each side writes only its own page, so a lying peer can spoil nothing of ours;
//!   every number it publishes is checked.
//! - [`Doorbell`]: wakes a peer that says it sleeps; a busy peer costs no system call.
//!
//! FORMAT.md draws the bytes. This crate depends on nothing of Postring and knows nothing of mail.

mod arena;
mod descriptor;
mod doorbell;
mod link;
mod map;
pub mod protocol;

#[doc(hidden)]
pub use arena::fuzz_arena;
pub use arena::{Arena, ArenaGeometry, ArenaReader, Slot, SlotClass};
pub use descriptor::Descriptor;
pub use doorbell::{Doorbell, DoorbellButton};
pub use link::{Link, LinkGeometry};
#[doc(hidden)]
pub use protocol::fuzz_link;
pub use protocol::{Lie, PushError};
