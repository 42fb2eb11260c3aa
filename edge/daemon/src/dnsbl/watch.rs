//! Whether the lists are well: probed by one shard, heard of by all.

use super::Lists;
use super::check::{addresses, within};
use crate::shard::Shard;
use postring_policy::dnsbl::Probe;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Between two looks at what is due.
const LOOK: Duration = Duration::from_millis(250);
/// Time for the answer to a probe; longer than clients wait, as nobody waits here.
const PROBE_WAIT: Duration = Duration::from_secs(10);

/// What all shards of the process know of the lists.
pub(crate) struct Health {
    lists: Vec<ListHealth>,
}

#[derive(Default)]
struct ListHealth {
    zone: String,
    /// Some shard wants a probe.
    wanted: AtomicBool,
    /// One is under way.
    under_way: AtomicBool,
    /// Said in the log.
    aside: AtomicBool,
    /// Probes done; what the last one found. Taken after another number is seen here, so a shard locks once a probe.
    done: AtomicU64,
    found: Mutex<Probed>,
}

/// The codes of both test entries; `None`: no answer.
#[derive(Clone, Default)]
struct Probed {
    listed: Option<Vec<Ipv4Addr>>,
    not_listed: Option<Vec<Ipv4Addr>>,
}

impl Health {
    /// Nothing is known of these zones.
    pub(crate) fn new(zones: impl Iterator<Item = String>) -> Self {
        Self { lists: zones.map(|zone| ListHealth { zone, ..ListHealth::default() }).collect() }
    }

    /// Says once that a list is not asked any more.
    pub(super) fn put_aside(&self, list: usize, trouble: &str) {
        let Some(list) = self.lists.get(list) else { return };
        if !list.aside.swap(true, Ordering::Relaxed) {
            tracing::warn!("policy.dnsbl: {} is put aside: {trouble}; it is tried again by itself", list.zone);
        }
    }
}

/// Takes what probes have found, and says when one is due, until the shard ends; the shard that is the `prober` makes them.
pub(crate) async fn watch(shard: Rc<Shard>, prober: bool) {
    let mut lists = shard.lists();
    let mut seen: Vec<u64> = Vec::new();
    while !shard.is_draining() {
        let newest = shard.lists();
        if !Rc::ptr_eq(&lists, &newest) {
            lists = newest;
            seen.clear();
        }
        seen.resize(lists.lists.len(), 0);
        for (at, (health, seen)) in lists.health.lists.iter().zip(&mut seen).enumerate() {
            look(&shard, &lists, at, health, seen);
            if prober && health.wanted.swap(false, Ordering::Relaxed) && !health.under_way.swap(true, Ordering::Relaxed) {
                glommio::spawn_local(probe(Rc::clone(&shard), Rc::clone(&lists), at)).detach();
            }
        }
        lists.export(shard.stats());
        glommio::timer::sleep(LOOK).await;
    }
}

/// One shard's look at one list.
fn look(shard: &Shard, lists: &Lists, at: usize, health: &ListHealth, seen: &mut u64) {
    let Some(mut policy) = lists.policy(at) else { return };
    let now = shard.now().unix_seconds();
    let done = health.done.load(Ordering::Acquire);
    if done != *seen {
        *seen = done;
        let found = health.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        policy.handle_probe(found.listed.as_deref(), found.not_listed.as_deref(), now);
        match policy.trouble() {
            Some(trouble) => lists.health.put_aside(at, trouble),
            None if health.aside.swap(false, Ordering::Relaxed) => {
                tracing::info!("policy.dnsbl: {} is asked again", health.zone);
            }
            None => {}
        }
    }
    if policy.poll_probe(now) && !health.under_way.load(Ordering::Relaxed) {
        health.wanted.store(true, Ordering::Relaxed);
    }
}

/// Asks for both test entries, of which nothing is kept for longer than the shortest time between two probes: see `ttl_rules`.
async fn probe(shard: Rc<Shard>, lists: Rc<Lists>, at: usize) {
    let mut codes = [Probe::Listed, Probe::NotListed].map(|probe| (probe, None));
    for (probe, codes) in &mut codes {
        let name = lists.policy(at).and_then(|list| list.question(probe.address().into()));
        let Some(name) = name else { continue };
        let resolved = within(PROBE_WAIT, shard.resolver(), &name).await;
        let answered = resolved.filter(|resolved| !resolved.is_failure() && !resolved.is_stale());
        *codes = answered.map(|resolved| addresses(Some(&resolved)).collect());
    }
    let Some(health) = lists.health.lists.get(at) else { return };
    let [(_, listed), (_, not_listed)] = codes;
    *health.found.lock().unwrap_or_else(PoisonError::into_inner) = Probed { listed, not_listed };
    health.done.fetch_add(1, Ordering::Release);
    health.under_way.store(false, Ordering::Relaxed);
}
