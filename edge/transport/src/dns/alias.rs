//! Questions that lead to an ALIAS: answered with what our resolver knows of its target, or once it has asked.

use super::guard::Guard;
use super::{DnsServer, Lookup, Resolver};
use postring_dns::resolver::{Purpose, Resolved};
use postring_dns::responder::{Admission, Client, CookieVerdict, Hooks, Response, Said, Transport};
use postring_dns::{Name, Rtype};
use std::net::IpAddr;
use std::rc::Rc;

/// What a target's addresses are looked up for: the TTLs its zone gives, as the client of a CNAME would see them.
const LOOKUP: Lookup = Lookup { purpose: Purpose::Client, checking_disabled: false };

/// The hooks of one query: the shard's, and what is known of targets.
pub(super) struct QueryHooks<'s> {
    pub(super) guard: &'s Guard,
    pub(super) resolver: &'s Resolver,
    /// What has just been looked up; it need not be in the cache.
    pub(super) found: Option<&'s (Name, Rtype, Resolved)>,
}

impl Hooks for QueryHooks<'_> {
    fn cookie(&self, client: Client, option: &[u8]) -> CookieVerdict {
        self.guard.cookie(client, option)
    }

    fn admit(&self, client: Client, said: &Said<'_>) -> Admission {
        self.guard.admit(client, said)
    }

    fn addresses_of(&self, target: &Name, rtype: Rtype) -> Option<Resolved> {
        let found = self.found.filter(|(name, found_rtype, _)| name == target && *found_rtype == rtype);
        found.map(|(.., resolved)| resolved.clone()).or_else(|| self.resolver.known(target, rtype, LOOKUP))
    }
}

/// A query on its way to the resolver and back.
pub(super) struct Flattening {
    pub(super) packet: Vec<u8>,
    pub(super) transport: Transport,
    pub(super) client: IpAddr,
    pub(super) target: Name,
    pub(super) rtype: Rtype,
}

impl Flattening {
    /// Asks for the target's addresses, and answers the query with them. What nobody could say is SERVFAIL, unless an older answer is kept: the
    /// resolver gives it for a day (RFC 8767). Empty: no answer.
    pub(super) async fn finish(self, server: &Rc<DnsServer>) -> Vec<u8> {
        let resolved = server.resolver().lookup_with(&self.target, self.rtype, LOOKUP).await;
        let found = (self.target, self.rtype, resolved);
        let mut out = Vec::with_capacity(512);
        match server.respond_flattened(&self.packet, self.transport, self.client, &found, &mut out) {
            Response::Ready => {}
            // Another zone has come meanwhile; the client asks again.
            _ => out.clear(),
        }
        out
    }
}
