//! What surrounds a query: who asks, what this server calls itself, and what its caller decides about cookies (RFC 7873) and rates.

use crate::name::Name;
use crate::resolver::Resolved;
use crate::types::{Rcode, Rtype};
use crate::writer::COOKIE_BYTES_MAX;
use smallvec::SmallVec;
use std::net::IpAddr;

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram each way.
    Udp,
    /// A stream: no limit but the length's 16 bits.
    Tcp,
}

/// Who asks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The source address.
    pub address: IpAddr,
    /// How the packet came.
    pub transport: Transport,
}

/// What is to be said about a client's COOKIE option (RFC 7873 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CookieVerdict {
    /// The option has a length it must not have: FORMERR.
    Malformed,
    /// The client is who it says; the cookie to give back (client's and server's).
    Valid(SmallVec<[u8; COOKIE_BYTES_MAX]>),
    /// No server cookie, or not a valid one: answered as without, with a cookie to come back with.
    Unproven(SmallVec<[u8; COOKIE_BYTES_MAX]>),
    /// The same, but nothing but the cookie and BADCOOKIE is said.
    Demanded(SmallVec<[u8; COOKIE_BYTES_MAX]>),
}

/// What becomes of a response over UDP whose client is not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is sent.
    Answer,
    /// Header, question and TC are sent: an honest client comes back over TCP.
    Slip,
    /// Nothing is sent.
    Drop,
}

/// What a response says, as far as its rate is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    /// The code.
    pub rcode: Rcode,
    /// From a zone of ours, records or their absence; false for referrals and errors.
    pub authoritative: bool,
    /// The name asked for, letters as they came.
    pub name: &'a [u8],
    /// The apex it was found in, lower-case; empty if it is not ours. Names that do not exist are counted together by it.
    pub zone: &'a [u8],
    /// Octets of the response.
    pub bytes: usize,
}

/// What the caller decides: cookies and rates. Called on the hot path, must not allocate nor wait.
pub trait Hooks {
    /// A COOKIE option came.
    fn cookie(&self, client: Client, option: &[u8]) -> CookieVerdict;

    /// What is known of the addresses of an ALIAS' target; `None`: nothing, they must be looked for.
    fn addresses_of(&self, _target: &Name, _rtype: Rtype) -> Option<Resolved> {
        None
    }

    /// A response to a client over UDP without a valid cookie is ready.
    fn admit(&self, client: Client, said: &Said<'_>) -> Admission;
}

/// What holds for all queries.
#[derive(Clone, Copy, Default)]
pub struct Context<'c> {
    /// The NSID of this server; empty: it is not told (RFC 5001).
    pub identity: &'c [u8],
    /// Cookies and rates.
    pub hooks: Option<&'c dyn Hooks>,
    /// What a client over TCP that asks for it is told of how long it may be idle, in units of 100 ms; `None`: nothing (RFC 7828).
    pub keepalive: Option<u16>,
    /// There are clients that may use the resolver: one that may not is told that it is its address (RFC 8914 section 4.19).
    pub recursion_for_some: bool,
    /// Adds the addresses of mail exchanges and servers where they fit. False is what NSD's and Knot's minimal responses do: extra records
    /// for referrals only.
    pub addresses: bool,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("identity", &self.identity).field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
