//! Who is in charge of a zone: from a referral, from the configuration, or the root's own word.
//!
//! Only the delegating side is believed about a delegation, and never for longer than it was itself delegated: what a child says of its own
//! name servers may be right, but a child that was taken away from somebody ("ghost", "phoenix domains") would say it for ever.

use crate::name::{Name, is_within};
use crate::record::{Record, address};
use crate::types::Rtype;
use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};

/// Name servers of a delegation that are remembered: the root and the largest zones have thirteen.
pub(crate) const NAME_SERVERS_MAX: usize = 13;
/// Addresses of one name server that are remembered.
pub(crate) const ADDRESSES_MAX: usize = 6;
/// Seconds a delegation is kept at least, whatever it says: long enough for the question that led to it.
const TTL_MIN: u32 = 5;
/// Seconds at most: one that was moved is noticed within a day.
const TTL_MAX: u32 = 86_400;

/// How the servers are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Learned from its parent: asked without recursion, believed within its zone.
    Learned,
    /// Configured; otherwise the same. Its addresses may be private.
    Stub,
    /// Configured resolvers: asked for recursion, believed for the whole answer.
    Forward,
    /// Configured or built in: the root, until it has said itself who serves it.
    Hints,
}

/// One name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameServer {
    /// Lower-case; the root if its addresses are configured.
    pub name: Name,
    /// Configured, or glue.
    pub addresses: SmallVec<[SocketAddr; 2]>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delegation {
    /// Lower-case.
    pub zone: Name,
    pub kind: Kind,
    pub servers: Vec<NameServer>,
    pub learned_ms: u64,
    pub expires_ms: u64,
}

impl Delegation {
    /// Of configured addresses.
    pub(crate) fn configured(zone: &Name, kind: Kind, addresses: &[SocketAddr]) -> Self {
        let server = |address: &SocketAddr| NameServer { name: Name::root(), addresses: SmallVec::from_slice(&[*address]) };
        Self { zone: zone.to_key(), kind, servers: addresses.iter().map(server).collect(), learned_ms: 0, expires_ms: u64::MAX }
    }

    /// True for what may be on addresses that are never to be queried.
    pub(crate) fn is_configured(&self) -> bool {
        self.kind != Kind::Learned
    }

    /// Of the NS records `records` for `zone` (lower-case), with the addresses of `additional` that `parent`, who says all this, may know:
    /// those whose names are in its own zone (RFC 5452 section 6). `None` without a server.
    pub(crate) fn learn(
        zone: &Name,
        parent: &Self,
        records: &[Record],
        additional: &[Record],
        port: u16,
        now_ms: u64,
    ) -> Option<Self> {
        let mut servers: Vec<NameServer> = Vec::new();
        let mut ttl = TTL_MAX;
        let sets = records.iter().filter(|record| record.rtype == Rtype::NS && is_same(&record.name, zone));
        for record in sets {
            let Ok(name) = Name::from_wire(&record.rdata) else { continue };
            let name = name.to_key();
            ttl = ttl.min(record.ttl);
            // A name server has a name of its own; "." is a way to say that there is none.
            if name == Name::root() || servers.len() == NAME_SERVERS_MAX || servers.iter().any(|server| server.name == name) {
                continue;
            }
            servers.push(NameServer { name, addresses: SmallVec::new() });
        }
        for record in additional {
            let Some(address) = glue(record) else { continue };
            if !servers.iter().any(|server| is_same(&record.name, &server.name)) {
                continue;
            }
            let owner = record.name.to_key();
            if !is_within(owner.wire(), parent.zone.wire()) {
                continue;
            }
            for server in servers.iter_mut().filter(|server| server.name == owner) {
                if server.addresses.len() < ADDRESSES_MAX {
                    server.addresses.push(SocketAddr::new(address, port));
                }
            }
        }
        let expires_ms = now_ms.saturating_add(u64::from(ttl.max(TTL_MIN)) * 1000).min(parent.expires_ms);
        (!servers.is_empty()).then_some(Self { zone: zone.clone(), kind: Kind::Learned, servers, learned_ms: now_ms, expires_ms })
    }
}

fn glue(record: &Record) -> Option<IpAddr> {
    matches!(record.rtype, Rtype::A | Rtype::AAAA).then(|| address(&record.rdata)).flatten()
}

/// True if a name as it came is this one, which is lower-case.
pub(crate) fn is_same(name: &Name, key: &Name) -> bool {
    name.wire().eq_ignore_ascii_case(key.wire())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::absolute(text).unwrap()
    }

    #[test]
    fn glue_of_the_delegating_zone_alone() {
        let mut parent = Delegation::configured(&name("example"), Kind::Learned, &[]);
        parent.expires_ms = 100_000_000;
        let ns = |host: &str, ttl| Record { name: name("Sub.Example"), rtype: Rtype::NS, ttl, rdata: name(host).wire().into() };
        let a = |host: &str, last| Record { name: name(host), rtype: Rtype::A, ttl: 1, rdata: [192, 0, 2, last].into() };
        let records = [ns("NS.sub.example", 90_000), ns("ns.other", 600), ns("ns.sub.example", 600), ns(".", 600)];
        let additional = [a("ns.SUB.example", 1), a("ns.other", 2), a("ns2.sub.example", 3)];
        let zone = name("sub.example");
        let learned = Delegation::learn(&zone, &parent, &records, &additional, 53, 1000).unwrap();
        let addresses: Vec<_> = learned.servers.iter().map(|server| (server.name.to_string(), server.addresses.len())).collect();
        assert_eq!(addresses, [("ns.sub.example.".to_owned(), 1), ("ns.other.".to_owned(), 0)]);
        assert_eq!(learned.expires_ms, 601_000);
        // Never longer than its parent's own.
        parent.expires_ms = 5000;
        assert_eq!(Delegation::learn(&zone, &parent, &records, &additional, 53, 1000).unwrap().expires_ms, 5000);
        assert!(Delegation::learn(&name("b.example"), &parent, &records, &[], 53, 0).is_none());
    }

    #[test]
    fn a_flood_of_name_servers_is_cut() {
        let parent = Delegation::configured(&Name::root(), Kind::Hints, &[]);
        let zone = name("victim.example");
        let records: Vec<Record> = (0..500)
            .map(|number| Record {
                name: zone.clone(),
                rtype: Rtype::NS,
                ttl: 60,
                rdata: name(&format!("n{number}.victim.example")).wire().into(),
            })
            .collect();
        let glue: Vec<Record> = (0..200)
            .map(|number| Record { name: name("n0.victim.example"), rtype: Rtype::A, ttl: 60, rdata: [10, 0, 0, number].into() })
            .collect();
        let learned = Delegation::learn(&zone, &parent, &records, &glue, 53, 0).unwrap();
        assert_eq!((learned.servers.len(), learned.servers[0].addresses.len()), (NAME_SERVERS_MAX, ADDRESSES_MAX));
    }
}
