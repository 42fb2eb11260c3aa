//! A question on the stack: the client's, or one for the address of a name server or for the root's own.

use crate::name::{Name, labels};
use crate::record::Record;
use crate::resolver::delegation::Delegation;
use crate::responder::Transport;
use crate::types::Rtype;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::rc::Rc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Client,
    /// The address of a name server.
    Address,
    /// The root's own name servers.
    Priming,
}

/// A question on the stack.
#[derive(Debug)]
pub(super) struct Question {
    /// Lower-case; the last target of the aliases.
    pub(super) name: Name,
    pub(super) rtype: Rtype,
    pub(super) purpose: Purpose,
    /// As it was asked, for what is learned of it.
    pub(super) origin: Name,
    /// Aliases so far.
    pub(super) records: Vec<Record>,
    pub(super) authority: Vec<Record>,
    pub(super) ttl: u32,
    pub(super) aliases: usize,
    /// Whose servers are asked now.
    pub(super) at: Option<Rc<Delegation>>,
    /// Labels shown to the servers of `at`, and questions with a part of the name.
    pub(super) shown: usize,
    pub(super) minimised: usize,
    /// A server did not like a part of the name: all of it from now on.
    pub(super) whole: bool,
    /// Queries to each server of `at`; [`TRIES_MAX`]: given up.
    pub(super) tries: SmallVec<[(SocketAddr, u64); 4]>,
    pub(super) zone_tries: u8,
    pub(super) glueless: u8,
    /// The same server once more: over TCP, or without EDNS.
    pub(super) again: Option<(SocketAddr, Transport)>,
}

impl Question {
    pub(super) fn new(name: Name, rtype: Rtype, purpose: Purpose) -> Self {
        Self {
            origin: name.clone(),
            name,
            rtype,
            purpose,
            records: Vec::new(),
            authority: Vec::new(),
            ttl: u32::MAX,
            aliases: 0,
            at: None,
            shown: 0,
            minimised: 0,
            whole: false,
            tries: SmallVec::new(),
            zone_tries: 0,
            glueless: 0,
            again: None,
        }
    }

    pub(super) fn go_to(&mut self, at: Option<Rc<Delegation>>) {
        self.shown = at.as_ref().map_or(0, |at| labels(at.zone.wire()).count());
        self.at = at;
        self.start_over();
        self.glueless = 0;
    }

    /// The same servers, another part of the name.
    pub(super) fn start_over(&mut self) {
        self.tries.clear();
        self.zone_tries = 0;
        self.again = None;
    }

    pub(super) fn give_up(&mut self, server: SocketAddr, tries: u64) {
        match self.tries.iter_mut().find(|(tried, _)| *tried == server) {
            Some((_, count)) => *count += tries,
            None => self.tries.push((server, tries)),
        }
    }
}
