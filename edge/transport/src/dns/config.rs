//! What an administrator can set of DNS. The doc comment of a field is its manual.

use super::trust::add_anchor;
use super::ttl::{self, TtlConfig};
use ipnet::IpNet;
use postring_dns::Name;
use postring_dns::dnssec::validate::Trust;
use postring_dns::rate_limit::RateSettings;
use postring_dns::resolver::{HashKey, InfrastructureConfig, NegativeStore, TtlRules, do_not_query_default, parse_hints};
use postring_zones::ZonesConfig;
use postring_zones::config::{BlockListConfig, KeyConfig, ZoneConfig};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Longest name of this server: it takes room in each answer that asks for it.
const NSID_BYTES_MAX: usize = 128;

/// Block lists with many names and no zones below: each label would be asked alone, for nothing.
const PUBLIC_LISTS: [&str; 8] =
    ["spamhaus.org", "spamhaus.net", "spamcop.net", "barracudacentral.org", "surbl.org", "uribl.com", "dnswl.org", "abusix.zone"];

/// A GiB; the store has no places for more.
const NEGATIVE_ENTRIES_MAX: usize = 1 << 27;
/// Octets of one.
const NEGATIVE_ENTRY_BYTES: usize = 8;

/// More is a delay somebody would look for in the network.
const GATHER_US_MAX: u64 = 5_000;

/// `[dns]`: what is served, and where to ask for the rest. All but `cache_mib` and `negative_entries` is taken by a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsConfig {
    /// Where the answers for what is not ours come from: `forward` (other resolvers are asked) or `iterate` (the servers of the zones
    /// themselves are, from the root down). Default `forward`: what this machine's other programs resolve with works here as well, and not
    /// every network lets port 53 out. A mail server with traffic should say `iterate`: most public block lists refuse the resolvers of large
    /// providers.
    pub resolver: ResolverMode,
    /// Resolvers that are asked with `forward`, with port. Default: those of /etc/resolv.conf.
    pub forwarders: Option<Vec<SocketAddr>>,
    /// Root servers to begin with, with `iterate`, with port. Default: those of the Internet, built in.
    pub root_hints: Vec<SocketAddr>,
    /// The same from a file in the form of IANA's `named.root` (relative to this file), in place of the built-in ones.
    pub root_hints_file: Option<PathBuf>,
    /// Zones whose own servers are known, each a table: `[[dns.stub]]` with `name` and `servers` (with port). They may be on private addresses.
    pub stub: Vec<ServersConfig>,
    /// Zones that other resolvers are asked about, each a table: `[[dns.forward]]` with `name` and `servers` (with port).
    pub forward: Vec<ServersConfig>,
    /// Networks no delegation may lead to. Default: loopback, private, link-local, multicast and reserved ones; a stranger's zone must not make
    /// us ask what is behind the firewall.
    pub do_not_query: Vec<IpNet>,
    /// Validate answers (DNSSEC), which DANE needs. Default: with `iterate`; a forwarder may leave out what validation needs, and validate itself.
    pub validate: Option<bool>,
    /// Keys that validation begins with, as `NAME DS ...` or `NAME DNSKEY ...`. Default: those of the root, built in.
    pub trust_anchors: Vec<String>,
    /// Names at and below which nothing is validated: zones that somebody broke, or that are signed and of which the world outside knows another
    /// key. A zone of `dns.stub` or `dns.forward` that the world outside proves to be unsigned, or knows nothing of, need not be named.
    pub insecure: Vec<String>,
    /// Show each server only as much of a name as it must know (RFC 9156). Default true.
    pub qname_minimisation: bool,
    /// Zones whose names are shown whole: block lists, where a name has a label for each part of an address and no zones between. Default: the
    /// large public ones.
    pub not_minimised: Vec<String>,
    /// Random letters in the questions of `iterate`, one more thing to guess for who forges answers. Default true; a server that does not keep
    /// them is asked over TCP, once an hour.
    pub case_randomisation: bool,
    /// Ask servers over IPv6 as well. Default: if this machine has a way to the Internet of IPv6.
    pub ipv6: Option<bool>,
    /// The port of servers found by delegation. Default 53; another one is for tests.
    pub upstream_port: u16,
    /// What clients that want to know which of several servers they have reached are told (NSID, RFC 5001). Default: this host's name; "" tells
    /// nothing.
    pub nsid: Option<String>,
    /// How many answers a network is sent over UDP, where its address may be forged: a table `[dns.rate_limit]`, see below.
    pub rate_limit: RateLimitConfig,
    /// Networks whose clients may ask for any name. Default: this machine alone; a resolver open to all is a weapon.
    pub recursion: Vec<IpNet>,
    /// MiB of answers kept, a shard. Default 32. They outlive a restart (`data/dns/cache-*.snapshot`); for an hour after it what was left is held
    /// besides.
    pub cache_mib: usize,
    /// Answers of the lists in `[[policy.dnsbl]]` that an address or name is not listed, which are most: kept apart, 8 bytes each, once for all
    /// shards; when it is full those go that end first. Default 131072, 1 MiB: with 5 lists and 300 seconds each, 87 new clients a second. 0: they
    /// take some 200 bytes each of `cache_mib` instead, and each shard asks for itself.
    pub negative_entries: usize,
    /// How long answers are kept, by zone and purpose, each a table `[[dns.ttl]]`, see below.
    pub ttl: Vec<TtlConfig>,
    /// Microseconds a datagram may wait, at most, to be answered with others by one wake-up, while several come in that time; 0: none ever waits.
    /// Default 400. More saves CPU under load, less answers sooner.
    pub gather_us: u64,
    /// Answer for `localhost`, private reverse trees and the like ourselves (RFC 6303, RFC 6761) instead of asking outside. Default true;
    /// false if your own servers know the names of your private addresses.
    pub local_zones: bool,
    /// Zones this server is in charge of, each a table `[[dns.zone]]`, see below.
    pub zone: Vec<ZoneConfig>,
    /// Secrets shared with other servers (TSIG), each a table `[[dns.key]]`, see below.
    pub key: Vec<KeyConfig>,
    /// Block lists in rbldnsd's format, each a table `[[dns.block_list]]`, see below.
    pub block_list: Vec<BlockListConfig>,
    /// Serve a zone for each hosted domain (`postring domain add`) that has no `[[dns.zone]]` of its own: MX, SPF, DKIM, DMARC, MTA-STS, TLS-RPT
    /// and what mail programs look for. Default true; false if other servers are in charge of your domains.
    pub domain_zones: bool,
    /// The template of these zones, relative to this file. Default: a built-in one, which `postring domain template` prints.
    pub domain_template: Option<PathBuf>,
    /// Names of the servers in the NS records of these zones. Default: this host.
    pub name_servers: Vec<String>,
    /// Names only this server knows, each a table: `[[dns.host]]` with `name` and `address`.
    pub host: Vec<HostConfig>,
}

/// `[dns.rate_limit]`: answers to one network over UDP. Clients with a cookie of ours (RFC 7873) have no limit: they are who they say. Rates are
/// those of all shards together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimitConfig {
    /// Equal answers a second to one network (/24, /56 of IPv6); 0: no limit. Default 200, as NSD's: what honest resolvers ask for is far below.
    pub responses_per_second: u32,
    /// Answers of all kinds a second to one network; 0: no limit. Default 2000: a resolver that looks up all names of a provider asks for none
    /// of them twice.
    pub all_per_second: u32,
    /// Of the answers that are too many, 1 of so many is sent as truncated, so that an honest client comes back over TCP; 0: none. Default 2.
    pub slip: u32,
    /// Seconds for which a network that went on asking stays limited after it stops, at most. Default 15.
    pub window_seconds: u32,
    /// Networks without a limit. Default: those of `dns.recursion`.
    pub exempt: Option<Vec<IpNet>>,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        let RateSettings { responses_per_second, all_per_second, slip, window_seconds, .. } = RateSettings::default();
        Self { responses_per_second, all_per_second, slip, window_seconds, exempt: None }
    }
}

/// See [`DnsConfig::resolver`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResolverMode {
    /// Other resolvers are asked.
    #[default]
    Forward,
    /// The zones' own servers are asked.
    Iterate,
}

/// Who is asked about a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServersConfig {
    /// The zone.
    pub name: String,
    /// Addresses with port.
    pub servers: Vec<SocketAddr>,
}

/// A static host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Its name.
    pub name: String,
    /// Its address; a name with several stands several times.
    pub address: IpAddr,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            resolver: ResolverMode::default(),
            forwarders: None,
            root_hints: Vec::new(),
            root_hints_file: None,
            stub: Vec::new(),
            forward: Vec::new(),
            do_not_query: do_not_query_default(),
            validate: None,
            trust_anchors: Vec::new(),
            insecure: Vec::new(),
            qname_minimisation: true,
            not_minimised: PUBLIC_LISTS.map(str::to_owned).into(),
            case_randomisation: true,
            ipv6: None,
            upstream_port: 53,
            nsid: None,
            rate_limit: RateLimitConfig::default(),
            recursion: [(IpAddr::from([127, 0, 0, 0]), 8), (std::net::Ipv6Addr::LOCALHOST.into(), 128)]
                .into_iter()
                .filter_map(|(address, length)| IpNet::new(address, length).ok())
                .collect(),
            cache_mib: 32,
            negative_entries: 131_072,
            ttl: Vec::new(),
            gather_us: 400,
            local_zones: true,
            zone: Vec::new(),
            key: Vec::new(),
            block_list: Vec::new(),
            domain_zones: true,
            domain_template: None,
            name_servers: Vec::new(),
            host: Vec::new(),
        }
    }
}

impl DnsConfig {
    /// Says what does not fit together.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=65_536).contains(&self.cache_mib) {
            return Err(format!("dns.cache_mib = {}: give a number from 1 to 65536", self.cache_mib));
        }
        if self.negative_entries > NEGATIVE_ENTRIES_MAX {
            return Err(format!(
                "dns.negative_entries = {}: give a number from 0 to {NEGATIVE_ENTRIES_MAX}",
                self.negative_entries
            ));
        }
        ttl::check(&self.ttl)?;
        if self.gather_us > GATHER_US_MAX {
            return Err(format!("dns.gather_us = {}: give a number from 0 to {GATHER_US_MAX}", self.gather_us));
        }
        if self.forwarders.as_ref().is_some_and(|forwarders| forwarders.len() > 16) {
            return Err("dns.forwarders: give at most 16".to_owned());
        }
        if self.upstream_port == 0 {
            return Err("dns.upstream_port = 0: give a number from 1 to 65535".to_owned());
        }
        if self.nsid.as_ref().is_some_and(|nsid| nsid.len() > NSID_BYTES_MAX || !nsid.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(format!(
                "dns.nsid: give at most {NSID_BYTES_MAX} ASCII characters without spaces, or \"\" to tell nothing"
            ));
        }
        if self.rate_limit.window_seconds > 3600 || self.rate_limit.slip > 100 {
            return Err("dns.rate_limit: give window_seconds of at most 3600 and slip of at most 100".to_owned());
        }
        if !self.root_hints.is_empty() && self.root_hints_file.is_some() {
            return Err("dns.root_hints and dns.root_hints_file: give one of them".to_owned());
        }
        let stubs = self.stub.iter().map(|zone| ("dns.stub", zone));
        let mut seen = Vec::new();
        for (key, zone) in stubs.chain(self.forward.iter().map(|zone| ("dns.forward", zone))) {
            let name = &zone.name;
            let key_name = Name::absolute(name).map_err(|error| format!("{key}: name = \"{name}\": {error}"))?.to_key();
            if !(1..=16).contains(&zone.servers.len()) {
                return Err(format!("{key}: \"{name}\" has {} servers: give 1 to 16", zone.servers.len()));
            }
            if seen.contains(&key_name) {
                return Err(format!("{key}: \"{name}\" is there twice; a zone can be one stub or one forward"));
            }
            seen.push(key_name);
        }
        let names = self.not_minimised.iter().map(|name| ("dns.not_minimised", name));
        for (key, name) in names.chain(self.insecure.iter().map(|name| ("dns.insecure", name))) {
            Name::absolute(name).map_err(|error| format!("{key}: \"{name}\": {error}"))?;
        }
        for anchor in &self.trust_anchors {
            add_anchor(&mut Trust::default(), anchor).map_err(|error| format!("dns.trust_anchors: \"{anchor}\": {error}"))?;
        }
        postring_zones::config::check(&self.zone, &self.key, &self.block_list)?;
        for server in &self.name_servers {
            Name::absolute(server).map_err(|error| format!("dns.name_servers: \"{server}\": {error}"))?;
        }
        let hosts = self.host.iter().map(|host| ("dns.host", &host.name));
        for (key, name) in hosts {
            Name::absolute(name).map_err(|error| format!("{key}: name = \"{name}\": {error}"))?;
        }
        Ok(())
    }

    /// Paths become those of `folder`.
    pub fn make_absolute(&mut self, folder: &Path) {
        postring_zones::config::make_absolute(&mut self.zone, &mut self.block_list, folder);
        if let Some(template) = &mut self.domain_template {
            *template = folder.join(&*template);
        }
    }

    /// The forwarders: configured, or the system's.
    #[must_use]
    pub fn forwarders(&self) -> Vec<SocketAddr> {
        match &self.forwarders {
            Some(forwarders) => forwarders.clone(),
            None => system_forwarders(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()),
        }
    }

    /// Reads the files that are not zones or lists.
    ///
    /// # Errors
    /// File, line and what is wrong.
    pub fn check_files(&self) -> Result<(), String> {
        self.root_hints().map(|_| ())
    }

    /// The root servers that are configured; none: those built in.
    ///
    /// # Errors
    /// File, line and what is wrong.
    fn root_hints(&self) -> Result<Vec<SocketAddr>, String> {
        let Some(path) = &self.root_hints_file else { return Ok(self.root_hints.clone()) };
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        parse_hints(&text).map_err(|(line, wrong)| format!("{}:{line}: {wrong}", path.display()))
    }

    /// Whom the resolver asks. A hints file that cannot be read is one of a running system that has changed: the root servers are known without.
    #[must_use]
    pub fn infrastructure(&self) -> InfrastructureConfig {
        let root_hints = self.root_hints().unwrap_or_else(|error| {
            tracing::error!("the root servers built in are used instead of the configured: {error}");
            Vec::new()
        });
        let zones = |zones: &[ServersConfig]| -> Vec<(Name, Vec<SocketAddr>)> {
            zones.iter().filter_map(|zone| Some((Name::absolute(&zone.name).ok()?, zone.servers.clone()))).collect()
        };
        let mut forwards = zones(&self.forward);
        if self.resolver == ResolverMode::Forward && !forwards.iter().any(|(zone, _)| *zone == Name::root()) {
            forwards.push((Name::root(), self.forwarders()));
        }
        InfrastructureConfig {
            root_hints,
            stubs: zones(&self.stub),
            forwards,
            do_not_query: self.do_not_query.clone(),
            not_minimised: self.not_minimised.iter().filter_map(|name| Name::absolute(name).ok()).collect(),
            minimise: self.qname_minimisation,
            randomise_case: self.case_randomisation,
            ipv6: self.ipv6.unwrap_or_else(has_ipv6),
            port: self.upstream_port,
        }
    }

    /// What the keeper of zones must know; `hostname` is this host's.
    #[must_use]
    pub fn zones(&self, hostname: &str) -> ZonesConfig {
        ZonesConfig {
            hostname: hostname.to_owned(),
            zone: self.zone.clone(),
            key: self.key.clone(),
            block_list: self.block_list.clone(),
            domain_zones: self.domain_zones,
            domain_template: self.domain_template.clone(),
            name_servers: self.name_servers.clone(),
        }
    }

    /// What validation begins with; empty: nothing is validated.
    pub(super) fn trust(&self) -> Trust {
        if !self.validate.unwrap_or(self.resolver == ResolverMode::Iterate) {
            return Trust::default();
        }
        let mut trust = if self.trust_anchors.is_empty() { Trust::root() } else { Trust::default() };
        for anchor in &self.trust_anchors {
            if let Err(error) = add_anchor(&mut trust, anchor) {
                tracing::error!("dns.trust_anchors: \"{anchor}\": {error}");
            }
        }
        self.insecure.iter().filter_map(|name| Name::absolute(name).ok()).for_each(|name| trust.add_insecure(&name));
        let configured = self.stub.iter().chain(&self.forward).filter_map(|zone| Name::absolute(&zone.name).ok());
        configured.for_each(|zone| trust.add_cut(&zone));
        trust
    }

    /// What this server calls itself (RFC 5001); empty: nothing.
    #[must_use]
    pub fn identity(&self, hostname: &str) -> Vec<u8> {
        self.nsid.as_deref().unwrap_or(hostname).into()
    }

    /// The limits of one of so many shards: the kernel spreads a network's ports evenly over them.
    #[must_use]
    pub fn rates(&self, shards: u32) -> RateSettings {
        let RateLimitConfig { responses_per_second, all_per_second, slip, window_seconds, exempt } = &self.rate_limit;
        let part = |rate: u32| rate.div_ceil(shards.max(1));
        RateSettings {
            responses_per_second: part(*responses_per_second),
            all_per_second: part(*all_per_second),
            slip: *slip,
            window_seconds: *window_seconds,
            exempt: exempt.clone().unwrap_or_else(|| self.recursion.clone()),
            ..RateSettings::default()
        }
    }

    /// An empty store of negative answers, for all shards of a process.
    #[must_use]
    pub fn negatives(&self) -> Option<Arc<NegativeStore>> {
        let bytes = self.negative_entries.saturating_mul(NEGATIVE_ENTRY_BYTES);
        (bytes > 0).then(|| Arc::new(NegativeStore::new(bytes, HashKey::random(), unix_now())))
    }

    /// How long answers are kept.
    #[must_use]
    pub fn ttl_rules(&self) -> TtlRules {
        ttl::rules(&self.ttl)
    }

    /// The block lists that refuse clients.
    #[must_use]
    pub fn refusing_lists(&self) -> Vec<Name> {
        let refusing = self.block_list.iter().filter(|list| list.refuse && list.kind.lists_addresses());
        refusing.filter_map(|list| Name::absolute(&list.name).ok()).collect()
    }

    /// The static hosts.
    #[must_use]
    pub fn hosts(&self) -> Vec<(Name, IpAddr)> {
        self.host.iter().filter_map(|host| Some((Name::absolute(&host.name).ok()?, host.address))).collect()
    }
}

/// Unix time in seconds.
pub(super) fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// True if there is a way to an address of the Internet of IPv6 (a root server's). No packet is sent.
fn has_ipv6() -> bool {
    let server = std::net::SocketAddrV6::new(std::net::Ipv6Addr::new(0x2001, 0x7fd, 0, 0, 0, 0, 0, 1), 53, 0, 0);
    std::net::UdpSocket::bind((std::net::Ipv6Addr::UNSPECIFIED, 0)).and_then(|socket| socket.connect(server)).is_ok()
}

/// `nameserver` lines (resolv.conf(5): three are used).
fn system_forwarders(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.parse::<IpAddr>().ok()
    };
    text.lines().filter_map(address).take(3).map(|address| SocketAddr::new(address, 53)).collect()
}

#[cfg(test)]
mod tests;
