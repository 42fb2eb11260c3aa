//! Names that must not leave the machine: static hosts, `localhost`, and the zones of RFC 6303 and RFC 6761.

use super::Answer;
use crate::dnssec::Security;
use crate::name::{Name, reverse, suffixes};
use crate::record::{Rdata, Record};
use crate::types::{Rcode, Rtype};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reverse trees of private, loopback, link-local, documentation and benchmark addresses (RFC 6303 section 4; RFC 6598), and names that
/// exist nowhere (RFC 6761, RFC 7686).
const EMPTY: &[&str] = &[
    "10.in-addr.arpa",
    "168.192.in-addr.arpa",
    "0.in-addr.arpa",
    "127.in-addr.arpa",
    "254.169.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    "d.f.ip6.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
    "8.b.d.0.1.0.0.2.ip6.arpa",
    "localhost",
    "invalid",
    "onion",
];
/// Seconds of what is local.
const TTL: u32 = 3600;

/// What the resolver knows by itself.
#[derive(Debug, Default)]
pub struct LocalZones {
    hosts: HashMap<Box<[u8]>, Vec<(Rtype, Rdata)>>,
    empty: HashSet<Box<[u8]>>,
}

impl LocalZones {
    /// Static hosts, and with `special` the zones nobody outside should be asked about. A network that has servers for its private reverse trees
    /// leaves `special` off.
    #[must_use]
    pub fn new(hosts: &[(Name, IpAddr)], special: bool) -> Self {
        let mut zones = Self::default();
        for (name, address) in hosts {
            zones.add_host(name, *address);
        }
        if special {
            let localhost = Name::absolute("localhost");
            if let Ok(localhost) = &localhost {
                zones.add_host(localhost, Ipv4Addr::LOCALHOST.into());
                zones.add_host(localhost, Ipv6Addr::LOCALHOST.into());
            }
            let private = (16..32).map(|octet| format!("{octet}.172.in-addr.arpa"));
            let shared = (64..128).map(|octet| format!("{octet}.100.in-addr.arpa"));
            let names = EMPTY.iter().map(|name| (*name).to_owned()).chain(private).chain(shared);
            zones.empty = names.filter_map(|name| Some(Name::absolute(&name).ok()?.wire().into())).collect();
        }
        zones
    }

    fn add_host(&mut self, name: &Name, address: IpAddr) {
        let (rtype, rdata): (_, Rdata) = match address {
            IpAddr::V4(address) => (Rtype::A, address.octets().into()),
            IpAddr::V6(address) => (Rtype::AAAA, address.octets().into()),
        };
        self.hosts.entry(name.to_key().wire().into()).or_default().push((rtype, rdata));
        self.hosts.entry(reverse(address).wire().into()).or_default().push((Rtype::PTR, name.wire().into()));
    }

    /// The answer, if the name is local; `key` in lower case and wire form.
    #[must_use]
    pub fn answer(&self, key: &[u8], rtype: Rtype) -> Option<Answer> {
        let answer = |rcode, records| Answer {
            rcode,
            records,
            authority: Vec::new(),
            ttl: TTL,
            security: Security::Unchecked,
            extended_error: None,
        };
        if let Some(sets) = self.hosts.get(key) {
            let name = Name::from_wire(key).ok()?;
            let own = sets.iter().filter(|(own, _)| *own == rtype);
            let records = own.map(|(rtype, rdata)| Record { name: name.clone(), rtype: *rtype, ttl: TTL, rdata: rdata.clone() });
            return Some(answer(Rcode::NOERROR, records.collect()));
        }
        suffixes(key).any(|suffix| self.empty.contains(suffix)).then(|| answer(Rcode::NXDOMAIN, Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_empty_zones() {
        let name = |text: &str| Name::absolute(text).unwrap();
        let zones = LocalZones::new(&[(name("Relay.example"), [10, 0, 0, 1].into())], true);
        let ask = |text: &str, rtype| {
            let answer = zones.answer(name(text).wire(), rtype)?;
            Some((answer.rcode, answer.records.first().map(|record| crate::record::rdata_text(rtype, &record.rdata))))
        };
        assert_eq!(ask("relay.example", Rtype::A), Some((Rcode::NOERROR, Some("10.0.0.1".into()))));
        assert_eq!(ask("relay.example", Rtype::MX), Some((Rcode::NOERROR, None)));
        assert_eq!(ask("1.0.0.10.in-addr.arpa", Rtype::PTR), Some((Rcode::NOERROR, Some("Relay.example.".into()))));
        assert_eq!(ask("2.0.0.10.in-addr.arpa", Rtype::PTR), Some((Rcode::NXDOMAIN, None)));
        assert_eq!(ask("1.0.0.127.in-addr.arpa", Rtype::PTR), Some((Rcode::NOERROR, Some("localhost.".into()))));
        assert_eq!(ask("x.31.172.in-addr.arpa", Rtype::PTR), Some((Rcode::NXDOMAIN, None)));
        assert_eq!(ask("32.172.in-addr.arpa", Rtype::PTR), None);
        assert_eq!(ask("example.org", Rtype::A), None);
        assert!(LocalZones::new(&[], false).answer(name("localhost").wire(), Rtype::A).is_none());
    }
}
