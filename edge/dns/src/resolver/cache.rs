//! Answers of others, kept for a while; bounded in bytes and entries.
//!
//! Eviction is CLOCK: a hand goes round the entries; one that was used since it last came by stays, one that was not goes. A scan of
//! names nobody asks for twice cannot push out what is in use.

use super::{Answer, Resolved};
use crate::name::Name;
use crate::types::Rtype;
use std::collections::HashMap;
use std::rc::Rc;

/// What a cache may use, and how long it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// Bytes of all entries, as counted by [`weigh`].
    pub bytes_max: usize,
    /// Seconds a positive answer is kept at least, whatever its TTL: mail asks the same again within minutes, and a TTL of 0 is mostly a
    /// load balancer's that does not matter for it.
    pub positive_ttl_min: u32,
    /// Seconds a positive answer is kept at most (RFC 8767 section 4 suggests days).
    pub positive_ttl_max: u32,
    /// Seconds a negative answer is kept at most: a domain that is just being set up must be seen soon (RFC 2308 section 5 allows hours).
    pub negative_ttl_max: u32,
    /// Seconds a failure is kept (RFC 9520 section 3.2: at least 1, at most 300).
    pub failure_ttl: u32,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            bytes_max: 32 * 1024 * 1024,
            positive_ttl_min: 60,
            positive_ttl_max: 86_400,
            negative_ttl_max: 300,
            failure_ttl: 5,
        }
    }
}

#[derive(Debug)]
struct Entry {
    key: (Name, Rtype),
    answer: Rc<Answer>,
    stored_ms: u64,
    expires_ms: u64,
    weight: usize,
    used: bool,
}

/// The cache of one shard.
#[derive(Debug)]
pub struct Cache {
    config: CacheConfig,
    places: HashMap<(Name, Rtype), usize>,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    hand: usize,
    bytes: usize,
}

/// Bytes an entry is counted as: its data and, for maps and headers, a generous constant.
fn weigh(answer: &Answer) -> usize {
    let records = answer.records.iter().chain(&answer.authority);
    320 + records.map(|record| 96 + record.name.wire().len() + record.rdata.len()).sum::<usize>()
}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new(config: CacheConfig) -> Self {
        Self { config, places: HashMap::new(), entries: Vec::new(), free: Vec::new(), hand: 0, bytes: 0 }
    }

    /// Looks a name up, lower-case. Costs one table look-up; no allocation but for names over 32 octets.
    pub fn get(&mut self, key: &Name, rtype: Rtype, now_ms: u64) -> Option<Resolved> {
        let place = *self.places.get(&(key.clone(), rtype))?;
        let entry = self.entries.get_mut(place)?.as_mut()?;
        if entry.expires_ms <= now_ms {
            self.remove(place);
            return None;
        }
        entry.used = true;
        let age = now_ms.saturating_sub(entry.stored_ms) / 1000;
        Some(Resolved { answer: Rc::clone(&entry.answer), age_seconds: u32::try_from(age).unwrap_or(u32::MAX) })
    }

    /// Keeps an answer for the time its TTL and the configuration allow; gives it back with the TTLs that came of it.
    pub fn put(&mut self, key: &Name, rtype: Rtype, mut answer: Answer, now_ms: u64) -> Resolved {
        let config = self.config;
        let seconds = if answer.is_failure() {
            config.failure_ttl
        } else if answer.records.iter().any(|record| record.rtype == rtype) {
            let seconds = answer.ttl.clamp(config.positive_ttl_min, config.positive_ttl_max);
            // What we give on must not be older than what we keep.
            answer
                .records
                .iter_mut()
                .for_each(|record| record.ttl = record.ttl.clamp(config.positive_ttl_min, config.positive_ttl_max));
            seconds
        } else {
            answer.ttl.min(config.negative_ttl_max)
        };
        answer.ttl = seconds;
        let weight = weigh(&answer);
        let answer = Rc::new(answer);
        if let Some(place) = self.places.get(&(key.clone(), rtype)).copied() {
            self.remove(place);
        }
        if seconds > 0 && weight <= config.bytes_max {
            while self.bytes + weight > config.bytes_max {
                self.evict();
            }
            let expires_ms = now_ms.saturating_add(u64::from(seconds) * 1000);
            let key = (key.clone(), rtype);
            let entry =
                Entry { key: key.clone(), answer: Rc::clone(&answer), stored_ms: now_ms, expires_ms, weight, used: false };
            let place = self.free.pop().unwrap_or_else(|| {
                self.entries.push(None);
                self.entries.len() - 1
            });
            if let Some(free) = self.entries.get_mut(place) {
                *free = Some(entry);
                self.places.insert(key, place);
                self.bytes += weight;
            }
        }
        Resolved { answer, age_seconds: 0 }
    }

    /// Entries now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes they count as.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::new(self.config);
    }

    fn remove(&mut self, place: usize) {
        if let Some(entry) = self.entries.get_mut(place).and_then(Option::take) {
            self.bytes -= entry.weight;
            self.places.remove(&entry.key);
            self.free.push(place);
        }
    }

    /// Moves the hand until one entry has gone. Two rounds are enough: the first takes the marks away.
    fn evict(&mut self) {
        for _ in 0..=2 * self.entries.len() {
            self.hand = if self.hand + 1 < self.entries.len() { self.hand + 1 } else { 0 };
            match self.entries.get_mut(self.hand).and_then(Option::as_mut) {
                Some(entry) if entry.used => entry.used = false,
                Some(_) => return self.remove(self.hand),
                None => {}
            }
        }
        // Nothing was left to go: what is counted is nothing.
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dnssec::Security;
    use crate::record::Record;
    use crate::types::Rcode;

    fn name(text: &str) -> Name {
        Name::absolute(text).unwrap()
    }

    fn positive(text: &str, ttl: u32) -> Answer {
        let record = Record { name: name(text), rtype: Rtype::A, ttl, rdata: [192, 0, 2, 1].into() };
        Answer { rcode: Rcode::NOERROR, records: vec![record], authority: Vec::new(), ttl, security: Security::Unchecked }
    }

    #[test]
    fn times() {
        let mut cache = Cache::new(CacheConfig::default());
        cache.put(&name("a"), Rtype::A, positive("a", 100), 0);
        cache.put(&name("b"), Rtype::A, positive("b", 0), 0);
        cache.put(&name("c"), Rtype::A, Answer { rcode: Rcode::NXDOMAIN, ttl: 9999, ..Answer::failure(0) }, 0);
        cache.put(&name("d"), Rtype::A, Answer::failure(0), 0);
        cache.put(&name("e"), Rtype::A, Answer { rcode: Rcode::NXDOMAIN, ttl: 0, ..Answer::failure(0) }, 0);
        let mut ages = |now_ms| {
            ["a", "b", "c", "d", "e"].map(|text| cache.get(&name(text), Rtype::A, now_ms).map(|found| found.age_seconds))
        };
        assert_eq!(ages(4_000), [Some(4), Some(4), Some(4), Some(4), None]);
        assert_eq!(ages(59_999), [Some(59), Some(59), Some(59), None, None]);
        assert_eq!(ages(60_000), [Some(60), None, Some(60), None, None]);
        assert_eq!(ages(100_000), [None, None, Some(100), None, None]);
        assert_eq!(ages(300_000), [None; 5]);
        assert!(cache.is_empty() && cache.bytes() == 0);
    }

    #[test]
    fn a_scan_does_not_push_out_what_is_used() {
        let weight = weigh(&positive("n0", 100));
        let mut cache = Cache::new(CacheConfig { bytes_max: weight * 10, ..CacheConfig::default() });
        cache.put(&name("kept"), Rtype::A, positive("kept", 100), 0);
        for number in 0..1000 {
            assert!(cache.get(&name("kept"), Rtype::A, 1).is_some(), "gone at {number}");
            let scanned = format!("n{number}");
            cache.put(&name(&scanned), Rtype::A, positive(&scanned, 100), 1);
            assert!(cache.bytes() <= weight * 10 && cache.len() <= 10);
        }
    }
}
