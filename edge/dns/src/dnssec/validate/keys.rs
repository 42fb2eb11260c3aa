//! What is known of zones, for all requests of a shard: validated keys, proven insecurity, and names that are no cuts.
//!
//! Two generations: when the young one is full it becomes the old one, and what is asked for in the old one comes back into the young. So
//! zones that nobody asks for again leave after one generation, without a list to keep.

use super::reason::Reason;
use crate::name::Name;
use crate::record::Rdata;
use std::collections::HashMap;
use std::rc::Rc;

/// Names in one generation; about 1 KiB each, so that both are at most 16 MiB.
const NAMES_MAX: usize = 8192;
/// Seconds a validated key set or a proven insecurity is believed at most: a withdrawn DS is seen within an hour.
const SECONDS_MAX: u32 = 3600;
/// Seconds a failure is believed: RFC 4035 section 4.7 wants it kept, RFC 9520 section 3.2 wants between 1 and 300.
const FAILURE_SECONDS: u32 = 30;

/// The keys of a zone that may sign.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ZoneKeys {
    /// Lower-case.
    pub zone: Name,
    /// Data of DNSKEY records: usable ones of supported algorithms.
    pub keys: Vec<Rdata>,
}

/// What is known of a name, seen from the zone above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// A signed zone.
    Secure(Rc<ZoneKeys>),
    /// Proven: an unsigned zone, or one signed in a way that is not supported, begins here.
    Insecure(Option<Reason>),
    /// Proven: no zone begins here.
    NotCut,
    /// It could not be found out.
    Bogus(Reason),
}

/// See the module. One per shard; times are seconds since 1970.
#[derive(Debug, Default)]
pub struct KeyCache {
    young: HashMap<Name, (Status, u64)>,
    old: HashMap<Name, (Status, u64)>,
}

impl KeyCache {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// True if it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything: after a change of the trust anchors, or by command.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    pub(super) fn get(&mut self, name: &Name, now: u64) -> Option<Status> {
        if let Some((status, until)) = self.young.get(name) {
            return (now < *until).then(|| status.clone());
        }
        let (status, until) = self.old.remove(name)?;
        if now >= until {
            return None;
        }
        self.insert(name.clone(), (status.clone(), until));
        Some(status)
    }

    pub(super) fn put(&mut self, name: &Name, status: Status, ttl: u32, now: u64) {
        let seconds = if matches!(status, Status::Bogus(_)) { FAILURE_SECONDS } else { ttl.min(SECONDS_MAX) };
        self.old.remove(name);
        self.insert(name.clone(), (status, now.saturating_add(seconds.into())));
    }

    fn insert(&mut self, name: Name, entry: (Status, u64)) {
        if self.young.len() >= NAMES_MAX && !self.young.contains_key(&name) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_generations() {
        let mut cache = KeyCache::new();
        let name = |number: usize| Name::absolute(&format!("n{number}.example")).unwrap();
        cache.put(&name(0), Status::NotCut, 10, 100);
        assert_eq!(cache.get(&name(0), 109), Some(Status::NotCut));
        assert_eq!(cache.get(&name(0), 110), None);
        cache.put(&name(0), Status::NotCut, u32::MAX, 100);
        assert_eq!(cache.get(&name(0), 100 + 3600), None, "not longer than an hour");
        for number in 1..=3 * NAMES_MAX {
            cache.put(&name(number), Status::Insecure(None), 1000, 100);
            if number % 1000 == 0 {
                assert!(cache.get(&name(1), 101).is_some(), "what is asked for stays");
            }
        }
        assert!(cache.len() <= 2 * NAMES_MAX && cache.get(&name(2), 101).is_none());
        cache.clear();
        assert!(cache.is_empty());
    }
}
