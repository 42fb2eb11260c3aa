//! The messages, and which file descriptors travel with each.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A role of the one binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Network in: SMTP and DNS.
    Edge,
    /// Judges mail; no network, no mail files.
    Scan,
    /// Owns mailboxes.
    Store,
    /// Owns the outbound queue; network out.
    Send,
}

impl Role {
    /// The role's word in commands, logs and user names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Scan => "scan",
            Self::Store => "store",
            Self::Send => "send",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One pinned thread of the system: a role and its shard (for `scan`: the worker's number).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// The role.
    pub role: Role,
    /// Shard or worker number within the role, over all its processes.
    pub shard: u32,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.role, self.shard)
    }
}

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerName {
    /// Mail from other servers, port 25.
    Smtp,
    /// Mail from our users with STARTTLS, port 587 (RFC 6409).
    Submission,
    /// Mail from our users over TLS, port 465 (RFC 8314).
    Submissions,
    /// Local delivery from another MTA, port 24 (RFC 2033).
    Lmtp,
    /// DNS over UDP, port 53.
    DnsUdp,
    /// DNS over TCP, port 53.
    DnsTcp,
}

/// One inherited socket: a listener for TCP, a bound socket for UDP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerSpec {
    /// Its use.
    pub name: ListenerName,
    /// The shard that serves it (each shard has its own, SO_REUSEPORT).
    pub shard: u32,
    /// Where it is bound.
    pub address: SocketAddr,
}

/// The user a process works as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// Its one group.
    pub gid: u32,
}

/// What a process may reach; everything else is closed to it where the kernel has Landlock. A folder stands for all below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Folders and files to read.
    pub read: Vec<PathBuf>,
    /// Folders to read, write, make and remove files and folders in.
    pub write: Vec<PathBuf>,
    /// May make TCP connections.
    pub network: bool,
}

/// The first message to a child.
///
/// Descriptors with it, in this order: one for each of `listeners`; then for each shard its doorbell's receiving
/// end, its doorbell's sending end (for the child's own control thread), and its statistics page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// What to be.
    pub role: Role,
    /// Number of the first shard of this process (a scan worker process has one shard: its number).
    pub first_shard: u32,
    /// The core of each shard of this process; its length is the number of shards.
    pub cores: Vec<usize>,
    /// How often this child has been started, from 0; grows with each restart.
    pub generation: u64,
    /// The data folder (absolute).
    pub data: PathBuf,
    /// The host's name in greetings, Received fields and file names.
    pub hostname: String,
    /// Number of store shards in all: a recipient's shard is a hash over it.
    pub store_shards: u32,
    /// The role's own part of the configuration, in the form of its `config.rs`.
    pub config: serde_json::Value,
    /// The user to become; none: stay who started us.
    pub user: Option<User>,
    /// What to keep open; none: everything.
    pub access: Option<Access>,
    /// The inherited sockets.
    pub listeners: Vec<ListenerSpec>,
}

/// Which end of a link the receiver of [`Attach`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Owns the arena, gives work.
    Producer,
    /// Reads the arena, does the work.
    Consumer,
}

/// A link to another child. Replaces any earlier link between the same two endpoints; work under way on the
/// earlier one is lost with it and must be given out again (the producer still owns its slots).
///
/// Descriptors with it, in this order: own page, the other's page, the sending end of the other's doorbell and,
/// for the consumer, the producer's arena.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Gives work.
    pub producer: Endpoint,
    /// Does work.
    pub consumer: Endpoint,
    /// Which of the two the receiver is.
    pub side: Side,
    /// Descriptors a direction; a power of two.
    pub entries: u32,
    /// Bytes of payload beside each of the producer's descriptors.
    pub producer_payload_bytes: u32,
    /// Bytes of payload beside each of the consumer's descriptors.
    pub consumer_payload_bytes: u32,
}

impl Attach {
    /// The receiver's own endpoint.
    #[must_use]
    pub fn own(&self) -> Endpoint {
        match self.side {
            Side::Producer => self.producer,
            Side::Consumer => self.consumer,
        }
    }

    /// The endpoint at the other end.
    #[must_use]
    pub fn peer(&self) -> Endpoint {
        match self.side {
            Side::Producer => self.consumer,
            Side::Consumer => self.producer,
        }
    }
}

/// From the supervisor to a child.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToChild {
    /// Always the first.
    Launch(Box<Launch>),
    /// A link, see there.
    Attach(Attach),
    /// A new snapshot of the directory; its sealed memfd is the one descriptor.
    Directory {
        /// The change it is of; grows.
        sequence: u64,
    },
    /// Certificates and keys, to the edge: before its first directory, and when they have changed. A piece of [sealed](crate::sealed) memory
    /// with their JSON is the one descriptor.
    Tls,
    /// The role's configuration has changed; take what can be changed while running, refuse the rest as a whole.
    Reload {
        /// As in [`Launch`].
        config: serde_json::Value,
    },
    /// An operator's question (`queue list`, `dns reload`, ...); answered by [`FromChild::Answer`] with the same id.
    Ask {
        /// Given back in the answer.
        id: u64,
        /// The words of the command.
        words: Vec<String>,
    },
    /// Finish what was begun, take nothing new, say Drained, exit.
    Drain,
}

/// From a child to the supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FromChild {
    /// Initialised; descriptors: the arena of each shard, if the role is a producer (edge, send).
    Ready,
    /// To [`ToChild::Ask`] and (id 0) [`ToChild::Reload`].
    Answer {
        /// Of the question.
        id: u64,
        /// What was found (JSON), or a clear text of what went wrong.
        result: Result<serde_json::Value, String>,
    },
    /// Something an operator must know now; the child goes on.
    Alarm {
        /// One line that says what to do.
        text: String,
    },
    /// The peer at the other end broke the ring's rules: replace it.
    PeerLied {
        /// The liar.
        peer: Endpoint,
        /// What it did.
        text: String,
    },
    /// Work given to the peer is not done within its deadline: replace it.
    PeerHangs {
        /// The one that does not answer.
        peer: Endpoint,
        /// What was waited for.
        text: String,
    },
    /// Cannot go on; the process exits next. A restart will not help unless somebody acts.
    Fatal {
        /// One line that says what to do.
        text: String,
    },
    /// Nothing is under way any more; the process exits next.
    Drained,
}
