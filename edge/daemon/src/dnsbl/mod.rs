//! Block lists asked by DNS about every client: which of them are well, what they say of one client, and how long that is waited for.
//!
//! ```text
//!   connect ─> check: what the resolver knows, at once; the rest in one task, all lists at the same time
//!   RCPT ───> the check's end is waited for, at most what is left of the lists' timeouts since the connect
//!   watch:   one shard probes each list (RFC 5782 section 5), all take what it found
//! ```
//! Of the policy itself, which is `postring_policy::dnsbl`, each shard has its own; what a probe finds is shared.

mod check;
mod watch;

pub(crate) use check::Check;
pub(crate) use watch::{Health, watch};

use crate::config::EdgeLaunch;
use postring_control::{ListCount, StatsPage};
use postring_dns::Name;
use postring_dns::resolver::TtlRules;
use postring_policy::Dnsbl;
use postring_policy::dnsbl::{Counts, DnsblConfig};
use std::cell::{RefCell, RefMut};
use std::sync::Arc;

/// The lists of one shard. Borrows never last over an await.
pub(crate) struct Lists {
    configured: Vec<DnsblConfig>,
    lists: Vec<List>,
    health: Arc<Health>,
}

struct List {
    zone: Arc<str>,
    policy: RefCell<Dnsbl>,
}

impl Lists {
    /// Those of the configuration, which has been checked.
    pub(crate) fn new(launch: &EdgeLaunch, shards: u32, health: Arc<Health>) -> Self {
        let configured = launch.policy.dnsbl.clone();
        let list = |config: &DnsblConfig| {
            let policy = Dnsbl::new(config.clone(), shards).ok()?;
            Some(List { zone: config.zone.trim_end_matches('.').into(), policy: RefCell::new(policy) })
        };
        Self { lists: configured.iter().filter_map(list).collect(), configured, health }
    }

    /// True if another configuration has the same lists: then these stay, with all they know.
    pub(crate) fn are_those_of(&self, launch: &EdgeLaunch) -> bool {
        self.configured == launch.policy.dnsbl
    }

    fn policy(&self, list: usize) -> Option<RefMut<'_, Dnsbl>> {
        self.lists.get(list).map(|list| list.policy.borrow_mut())
    }

    /// Tells the page of counts.
    fn export(&self, stats: &StatsPage) {
        for (at, list) in self.lists.iter().enumerate() {
            let Counts { asked, listed, late, failed, refused, skipped } = list.policy.borrow().counts();
            for (count, value) in [
                (ListCount::Asked, asked),
                (ListCount::Listed, listed),
                (ListCount::Late, late),
                (ListCount::Failed, failed),
                (ListCount::Refused, refused),
                (ListCount::Skipped, skipped),
            ] {
                stats.set_list(at, count, value);
            }
        }
    }
}

/// How long the resolver keeps answers, with what lists say: they have their own settings.
pub(crate) fn ttl_rules(launch: &EdgeLaunch) -> TtlRules {
    let mut rules = launch.dns.ttl_rules();
    for list in &launch.policy.dnsbl {
        if let Ok(zone) = Name::absolute(&list.zone) {
            rules.add(&zone, list.ttl());
        }
        for name in list.test_names() {
            rules.add(&name, DnsblConfig::TEST_TTL);
        }
    }
    rules
}

/// Below the zone of a list there is a label for each part of an address and no zone: shown step by step, each would be a question.
pub(crate) fn show_whole_names(launch: &mut EdgeLaunch) {
    let zones = launch.policy.dnsbl.iter().map(|list| list.zone.clone());
    launch.dns.not_minimised.extend(zones);
}

const _: () = assert!(postring_policy::dnsbl::LISTS_MAX <= postring_control::stats::LISTS_MAX);
