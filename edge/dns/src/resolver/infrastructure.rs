//! What a shard knows of the servers of the world: delegations, addresses of name servers, how each server behaves, and what is configured.
//!
//! ```text
//!   closest(name) ─> configured stub | forward | learned delegation | root ─> hints
//!   addresses of a delegation: configured, glue, or looked up by name (hosts)
//!   choice among them: not lame, not dead, the fastest; now and then another one
//! ```
//! All tables are bounded and keep what is used ([`Generations`]). Nothing here is an answer for a client: glue is used to ask, never given on
//! (RFC 2181 section 5.4.1).

use super::delegation::{Delegation, Kind};
use super::generations::Generations;
use super::roots::built_in_hints;
use super::server::ServerState;
use crate::name::{Name, is_within, parent, suffixes};
use crate::types::Rtype;
use ipnet::IpNet;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Delegations in a generation; one is about half a kilobyte.
const DELEGATIONS_MAX: usize = 8192;
/// Name servers looked up, in a generation.
const HOSTS_MAX: usize = 8192;
/// Servers in a generation.
const SERVERS_MAX: usize = 16_384;
/// Names known not to be zones, in a generation.
const NO_CUTS_MAX: usize = 8192;
/// Milliseconds until the root is asked again who serves it, after it did not say.
const PRIMING_RETRY_MS: u64 = 60_000;
/// One choice in so many goes to another server than the best, so that one that became fast is noticed.
const EXPLORE: u64 = 32;
/// Octets of randomness fetched at once.
const RANDOM_BYTES: usize = 512;
/// Octets one query needs: a choice, an id, letters.
const RANDOM_BYTES_MIN: usize = 24;

/// Addresses that are private, of this machine, or of nobody: a delegation to one of them is a mistake or an attack on what is behind the
/// firewall. In Internet order: RFC 6890 and RFC 8190, multicast, IPv4 inside of IPv6.
const DO_NOT_QUERY: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "::ffff:0:0/96",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// The networks never to be queried, if nothing else is configured.
#[must_use]
pub fn do_not_query_default() -> Vec<IpNet> {
    DO_NOT_QUERY.iter().filter_map(|text| text.parse().ok()).collect()
}

/// What is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfrastructureConfig {
    /// Addresses of root servers; without any the thirteen that are built in.
    pub root_hints: Vec<SocketAddr>,
    /// Zones whose servers are known, asked without recursion.
    pub stubs: Vec<(Name, Vec<SocketAddr>)>,
    /// Zones that are asked of other resolvers; `.` for all that is not said otherwise.
    pub forwards: Vec<(Name, Vec<SocketAddr>)>,
    /// Networks that a delegation may not lead to. What is configured by address may be in them.
    pub do_not_query: Vec<IpNet>,
    /// Zones whose names are asked whole: block lists, where each label would be a query of its own.
    pub not_minimised: Vec<Name>,
    /// Show each server only the labels it needs (RFC 9156).
    pub minimise: bool,
    /// Random letters in questions, as a further thing to guess.
    pub randomise_case: bool,
    /// This machine reaches the Internet of IPv6.
    pub ipv6: bool,
    /// The port of servers found by delegation; another one than 53 is for tests.
    pub port: u16,
}

impl Default for InfrastructureConfig {
    fn default() -> Self {
        Self {
            root_hints: Vec::new(),
            stubs: Vec::new(),
            forwards: Vec::new(),
            do_not_query: do_not_query_default(),
            not_minimised: Vec::new(),
            minimise: true,
            randomise_case: true,
            ipv6: false,
            port: 53,
        }
    }
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Queries sent.
    pub asked: u64,
    /// Of them over TCP.
    pub asked_tcp: u64,
    /// Queries nobody answered.
    pub silences: u64,
    /// Referrals followed.
    pub referrals: u64,
    /// Servers found to be lame for a zone.
    pub lame: u64,
    /// Questions asked again without EDNS.
    pub plain: u64,
    /// Responses whose letters were not ours.
    pub case_lost: u64,
    /// Packets that were no response to what was asked.
    pub strangers: u64,
    /// Requests that ended because nothing was left of their budget.
    pub budgets_spent: u64,
}

/// Addresses of a name server, looked up.
#[derive(Clone, Debug)]
struct Host {
    addresses: SmallVec<[IpAddr; 2]>,
    expires_ms: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Infrastructure {
    pub(crate) config: InfrastructureConfig,
    configured: HashMap<Box<[u8]>, Rc<Delegation>>,
    hints: Rc<Delegation>,
    not_minimised: Vec<Name>,
    delegations: Generations<Box<[u8]>, Rc<Delegation>>,
    hosts: Generations<Box<[u8]>, Host>,
    servers: Generations<SocketAddr, ServerState>,
    no_cuts: Generations<Box<[u8]>, ()>,
    prime_after_ms: u64,
    hasher: RandomState,
    fill: fn(&mut [u8]) -> bool,
    random: Vec<u8>,
    pub(crate) counters: Counters,
}

impl Infrastructure {
    /// Knows nothing yet. `fill` must give randomness nobody can guess, for ids and letters, or false if there is none: then nothing is asked.
    #[must_use]
    pub fn new(config: InfrastructureConfig, fill: fn(&mut [u8]) -> bool) -> Self {
        let mut new = Self {
            config: InfrastructureConfig::default(),
            configured: HashMap::new(),
            hints: Rc::new(Delegation::configured(&Name::root(), Kind::Hints, &[])),
            not_minimised: Vec::new(),
            delegations: Generations::new(DELEGATIONS_MAX),
            hosts: Generations::new(HOSTS_MAX),
            servers: Generations::new(SERVERS_MAX),
            no_cuts: Generations::new(NO_CUTS_MAX),
            prime_after_ms: 0,
            hasher: RandomState::new(),
            fill,
            random: Vec::new(),
            counters: Counters::default(),
        };
        new.configure(config);
        new
    }

    /// Takes another configuration. What was learned below other hints is forgotten if they are others now; how servers behave stays.
    pub fn configure(&mut self, config: InfrastructureConfig) {
        let hints = if config.root_hints.is_empty() { built_in_hints() } else { config.root_hints.clone() };
        self.hints = Rc::new(Delegation::configured(&Name::root(), Kind::Hints, &hints));
        let stubs = config.stubs.iter().map(|(zone, servers)| Delegation::configured(zone, Kind::Stub, servers));
        let forwards = config.forwards.iter().map(|(zone, servers)| Delegation::configured(zone, Kind::Forward, servers));
        self.configured = stubs.chain(forwards).map(|delegation| (delegation.zone.wire().into(), Rc::new(delegation))).collect();
        self.not_minimised = config.not_minimised.iter().map(Name::to_key).collect();
        if config != self.config {
            self.delegations.clear();
            self.hosts.clear();
            self.prime_after_ms = 0;
        }
        self.config = config;
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Delegations, looked up name servers, and servers known now.
    #[must_use]
    pub fn sizes(&self) -> [usize; 3] {
        [self.delegations.len(), self.hosts.len(), self.servers.len()]
    }

    /// Forgets what was learned.
    pub fn clear(&mut self) {
        self.delegations.clear();
        self.hosts.clear();
        self.servers.clear();
        self.no_cuts.clear();
        self.prime_after_ms = 0;
    }

    /// Who is to be asked: the nearest zone above the name (lower-case) that something is known of. A DS is on the parent's side of the cut
    /// (RFC 4035 section 3.1.4.1).
    pub(crate) fn closest(&mut self, key: &Name, rtype: Rtype, now_ms: u64) -> Rc<Delegation> {
        let wire = key.wire();
        let start = if rtype == Rtype::DS { parent(wire).unwrap_or(wire) } else { wire };
        for suffix in suffixes(start) {
            if let Some(configured) = self.configured.get(suffix) {
                return Rc::clone(configured);
            }
            if let Some(learned) = self.delegations.get(suffix).filter(|learned| now_ms < learned.expires_ms) {
                return Rc::clone(learned);
            }
        }
        Rc::clone(&self.hints)
    }

    /// The nearest zone above the name (lower-case) that other servers referred to; none where nothing is known, or it is configured who is asked.
    pub fn referred_to(&mut self, key: &Name, rtype: Rtype, now_ms: u64) -> Option<Name> {
        let closest = self.closest(key, rtype, now_ms);
        (closest.kind == Kind::Learned).then(|| closest.zone.clone())
    }

    /// True if the root shall be asked first who serves it (RFC 9609): now and then, and not if hints are on ports of their own, which the root
    /// cannot know.
    pub(crate) fn must_prime(&mut self, now_ms: u64) -> bool {
        let default = |address: &SocketAddr| address.port() == self.config.port;
        let plain = self.hints.servers.iter().all(|server| server.addresses.iter().all(default));
        if !plain || now_ms < self.prime_after_ms {
            return false;
        }
        self.prime_after_ms = now_ms.saturating_add(PRIMING_RETRY_MS);
        true
    }

    pub(crate) fn learn(&mut self, delegation: Delegation) -> Rc<Delegation> {
        let delegation = Rc::new(delegation);
        self.delegations.insert(delegation.zone.wire().into(), Rc::clone(&delegation));
        delegation
    }

    /// Forgets a delegation nobody answered for: it may have moved.
    pub(crate) fn forget(&mut self, zone: &Name) {
        self.delegations.remove(zone.wire());
    }

    /// Keeps the addresses of a name server, or that it has none.
    pub(crate) fn learn_host(&mut self, key: &Name, addresses: SmallVec<[IpAddr; 2]>, seconds: u32, now_ms: u64) {
        let expires_ms = now_ms.saturating_add(u64::from(seconds) * 1000);
        self.hosts.insert(key.wire().into(), Host { addresses, expires_ms });
    }

    /// What was looked up of a name server; `None`: nothing, or too long ago.
    pub(crate) fn host(&self, key: &Name, now_ms: u64) -> Option<&[IpAddr]> {
        let host = self.hosts.peek(key.wire())?;
        (now_ms < host.expires_ms).then_some(host.addresses.as_slice())
    }

    /// Remembers that there is no zone of this name: it need not be asked alone again. Should one be made, its parent says so when it is asked
    /// for what is below.
    pub(crate) fn learn_no_cut(&mut self, key: &Name) {
        self.no_cuts.insert(key.wire().into(), ());
    }

    /// True if it is known that there is no zone of this name.
    pub(crate) fn is_no_cut(&mut self, name: &[u8]) -> bool {
        self.no_cuts.get(name).is_some()
    }

    fn may_query(&self, address: IpAddr) -> bool {
        (address.is_ipv4() || self.config.ipv6) && !self.config.do_not_query.iter().any(|network| network.contains(&address))
    }

    /// The addresses of a delegation that may be asked: at most some dozens.
    pub(crate) fn candidates(&self, delegation: &Delegation, now_ms: u64) -> SmallVec<[SocketAddr; 16]> {
        let mut candidates = SmallVec::new();
        for server in &delegation.servers {
            for address in &server.addresses {
                let reachable = address.is_ipv4() || self.config.ipv6 || matches!(delegation.kind, Kind::Stub | Kind::Forward);
                if reachable && (delegation.is_configured() || self.may_query(address.ip())) {
                    candidates.push(*address);
                }
            }
            if server.addresses.is_empty() {
                let known = self.host(&server.name, now_ms).unwrap_or_default();
                let known = known.iter().filter(|address| self.may_query(**address));
                candidates.extend(known.map(|address| SocketAddr::new(*address, self.config.port)));
            }
        }
        candidates
    }

    /// The server to ask: not tried too often, neither dead nor lame for the zone if there is another, and the fastest; one never heard of
    /// counts as fast. Costs one table look-up a candidate.
    pub(crate) fn choose(
        &mut self,
        candidates: &[SocketAddr],
        zone: &Name,
        tries: impl Fn(&SocketAddr) -> Option<u64>,
        now_ms: u64,
    ) -> Option<SocketAddr> {
        let zone = self.zone_hash(zone);
        let mut dice = self.random();
        let explore = candidates.len() > 1 && dice.is_multiple_of(EXPLORE);
        let mut best: Option<(u64, SocketAddr)> = None;
        for candidate in candidates {
            // `None`: given up.
            let Some(tries) = tries(candidate) else { continue };
            // A little of chance, so that equals share the load.
            dice = dice.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let chance = dice >> 60;
            let state = self.servers.peek(candidate);
            // The last resort, once: else nobody would notice that they are well again.
            let is_poor = state.is_some_and(|state| state.is_dead(now_ms) || state.is_lame(zone, now_ms));
            if is_poor && tries > 0 {
                continue;
            }
            let poor = if is_poor { 1 << 32 } else { 0 };
            let speed = match state.and_then(ServerState::score) {
                _ if explore => 16 * chance,
                Some(score) => score,
                None => 16,
            };
            let score = speed + chance / 4 + (tries << 20) + poor;
            if best.is_none_or(|(lowest, _)| score < lowest) {
                best = Some((score, *candidate));
            }
        }
        best.map(|(_, server)| server)
    }

    pub(crate) fn zone_hash(&self, zone: &Name) -> u64 {
        self.hasher.hash_one(zone.wire())
    }

    pub(crate) fn server(&mut self, address: SocketAddr) -> &mut ServerState {
        self.servers.get_or_insert_default(address)
    }

    /// True if names in this zone are asked whole.
    pub(crate) fn asks_whole(&self, key: &Name) -> bool {
        !self.config.minimise || self.not_minimised.iter().any(|zone| is_within(key.wire(), zone.wire()))
    }

    /// Makes sure that there is randomness for one query. False: the system has none.
    pub(crate) fn has_random(&mut self) -> bool {
        if self.random.len() < RANDOM_BYTES_MIN {
            self.random.resize(RANDOM_BYTES, 0);
            if !(self.fill)(&mut self.random) {
                self.random.clear();
            }
        }
        !self.random.is_empty()
    }

    pub(crate) fn random(&mut self) -> u64 {
        let at = self.random.len().saturating_sub(8);
        let word = self.random.get(at..).and_then(|tail| tail.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word));
        self.random.truncate(at);
        word
    }
}
