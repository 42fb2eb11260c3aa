//! Who is here, and what is too much.

use crate::shard::Shard;
use postring_control::Counter;
use postring_mail::Reply;
use postring_policy::limits::RateLimit;
use postring_policy::memory::network;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

/// The time a client under stress has for a command.
pub(crate) const STRESS_COMMAND_WAIT_MS: u64 = 10_000;
/// Errors before 421 under stress.
pub(crate) const STRESS_ERRORS_MAX: u32 = 3;

/// What rates are counted for.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Address,
    Network,
    Account,
    Domain,
}

/// The connections of a shard, and where they come from.
#[derive(Default)]
pub(crate) struct Clients {
    open: Cell<usize>,
    addresses: Counts<IpAddr>,
    networks: Counts<[u8; 17]>,
}

/// How many there are of each; who is not there has no entry.
struct Counts<K>(RefCell<HashMap<K, u32>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<K: Eq + Hash> Counts<K> {
    fn add(&self, key: K) {
        *self.0.borrow_mut().entry(key).or_insert(0) += 1;
    }

    fn take(&self, key: &K) {
        let mut counts = self.0.borrow_mut();
        if let Some(count) = counts.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(key);
            }
        }
    }

    fn of(&self, key: &K) -> usize {
        self.0.borrow().get(key).map_or(0, |count| *count as usize)
    }
}

impl Clients {
    /// One more.
    pub(crate) fn enter(&self, address: IpAddr) {
        self.open.set(self.open.get() + 1);
        self.addresses.add(address);
        self.networks.add(network(address, 24));
    }

    /// One less.
    pub(crate) fn leave(&self, address: IpAddr) {
        self.open.set(self.open.get().saturating_sub(1));
        self.addresses.take(&address);
        self.networks.take(&network(address, 24));
    }

    /// A connection counted for one address is another's, whom a proxy speaks for.
    pub(crate) fn recount(&self, from: IpAddr, to: IpAddr) {
        if from != to {
            self.leave(from);
            self.enter(to);
        }
    }

    /// All.
    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }
}

/// The reply to a client that cannot be taken in now.
///
/// Cost: two table look-ups, and one for each rate; no allocation unless it is refused.
pub(crate) fn refusal(shard: &Shard, client: IpAddr) -> Option<Reply> {
    let (config, clients) = (shard.config(), shard.clients());
    if clients.open() > config.edge.connections_max {
        return Some(Reply::fixed(421, 3, 2, "Too many connections, try again later"));
    }
    if config.policy.is_trusted(client) {
        return None;
    }
    if clients.addresses.of(&client) > config.edge.connections_per_address_max {
        return Some(Reply::fixed(421, 7, 0, "Too many connections from your address, try again later"));
    }
    if clients.networks.of(&network(client, 24)) > config.edge.connections_per_network_max {
        return Some(Reply::fixed(421, 7, 0, "Too many connections from your network, try again later"));
    }
    rate_refusal(shard, client)
}

/// The reply to a client that comes too often.
fn rate_refusal(shard: &Shard, client: IpAddr) -> Option<Reply> {
    let config = shard.config();
    let limits = &config.policy.limits;
    let may = take(shard, Kind::Address, &network(client, 32), limits.connections_per_address)
        && take(shard, Kind::Network, &network(client, 24), limits.connections_per_network);
    if may {
        return None;
    }
    shard.stats().add(Counter::RateRefusals, 1);
    Some(Reply::fixed(421, 7, 0, "You connect too often, try again later"))
}

/// The reply to a recipient for whom an account or a domain has had too many.
pub(crate) fn recipient_refusal(shard: &Shard, account: Option<u64>, domain: &str) -> Option<Reply> {
    let config = shard.config();
    let limits = &config.policy.limits;
    let reply = match account {
        Some(id) if !take(shard, Kind::Account, &id.to_le_bytes(), limits.recipients_per_account) => {
            Reply::fixed(450, 7, 1, "You have sent to too many recipients, try again later")
        }
        None if limits.recipients_per_domain.0.is_some() => {
            let may = take(shard, Kind::Domain, domain.to_ascii_lowercase().as_bytes(), limits.recipients_per_domain);
            return (!may).then(|| {
                shard.stats().add(Counter::RateRefusals, 1);
                Reply::fixed(450, 2, 1, "Too much mail comes for this domain now, try again later")
            });
        }
        _ => return None,
    };
    shard.stats().add(Counter::RateRefusals, 1);
    Some(reply)
}

fn take(shard: &Shard, kind: Kind, key: &[u8], RateLimit(rate): RateLimit) -> bool {
    // One clock for all shards.
    let now_ms = shard.now().unix_us / 1000;
    rate.is_none_or(|rate| shard.memory().rates.take(kind as u8, key, rate, now_ms))
}

/// True if a shard has so much to hold that it must hurry its clients.
pub(crate) fn is_stressed(shard: &Shard) -> bool {
    let config = shard.config();
    let percent = config.policy.limits.stress_percent;
    let (slots, edge) = (shard.arena().in_use(), &config.edge);
    let slots_max =
        [edge.slots_small, edge.slots_medium, edge.slots_large].into_iter().map(|count| count as usize).sum::<usize>();
    shard.clients().open() * 100 >= edge.connections_max.saturating_mul(percent)
        || slots * 100 >= slots_max.saturating_mul(percent)
}
