//! What the supervisor and its children say to each other.
//!
//! Every child is started with one end of a `SOCK_SEQPACKET` unix socket as its standard input. Messages are
//! JSON, one a packet, with file descriptors beside them (SCM_RIGHTS): listening sockets, shared pages,
//! doorbells, the directory's snapshot. Nothing here is on the way of a mail; a child whose supervisor is
//! gone reads the end of the stream and drains.
//!
//! ```text
//!   supervisor                                child
//!     Launch + fds  ------------------------>  becomes its user, maps, binds to its cores
//!     <------------------------ Ready + arenas (a producer's slots)
//!     Attach + pages + doorbell ------------>  a link to another child, made anew whenever either restarts
//!     Tls + certificates and keys ---------->  to the edge; for the connections that come from now on
//!     Directory + snapshot ----------------->  swapped between two messages
//!     Reload, Ask, Drain ------------------->
//!     <------------------------ Answer, Alarm, Fatal, Drained
//! ```

pub mod child;
pub mod confine;
pub mod link;
pub mod message;
pub mod sealed;
pub mod shards;
pub mod socket;
pub mod stats;

pub use child::{Child, ChildSender, ShardResources};
pub use link::{ConsumerEnd, ProducerEnd};
pub use message::{Access, Attach, Endpoint, FromChild, Launch, ListenerName, ListenerSpec, Role, Side, ToChild, User};
pub use sealed::{read_sealed, seal};
pub use shards::{ShardSpeaker, Shards};
pub use stats::{Counter, Gauge, HelperCount, ListCount, RuleCount, StatsPage};
