//! What passing time does to keys, and how long each thing takes (RFC 7583); the drawing is in `roll.rs`.

use super::roll::{Change, change, step};
use super::zone_keys::{KeyState, Role, ZoneKey, ZoneKeys};

/// What decides how long caches can hold something, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// TTL of the DNSKEY, CDS and CDNSKEY sets.
    pub dnskey_ttl: u32,
    /// The largest TTL of the zone, the one of negative answers among them.
    pub zone_ttl: u32,
    /// TTL of the DS set at the parent.
    pub ds_ttl: u32,
    /// Until the last secondary serves what was published here.
    pub propagation: u32,
    /// Until the last server of the parent serves what was seen at one of them.
    pub parent_propagation: u32,
}

impl Timing {
    /// For a zone with this largest TTL. DNSKEY: an hour, so that a roll-over takes hours, while validators ask for it rarely enough. DS: a
    /// day, what most top-level domains have (some have an hour; longer only makes the wait safe). Propagation: an hour each, as Knot has it;
    /// with NOTIFY it is seconds, without it the SOA's refresh.
    #[must_use]
    pub fn new(zone_ttl: u32) -> Self {
        Self { dnskey_ttl: 3600, zone_ttl, ds_ttl: 86_400, propagation: 3600, parent_propagation: 3600 }
    }
}

impl ZoneKeys {
    /// Does what is due. To be called at least at [`ZoneKeys::next_change`], and when the zone or its timing changes.
    ///
    /// Cost: some passes over at most [`KEYS_MAX`] keys.
    pub fn advance(&mut self, now: u64, timing: &Timing) -> Vec<Change> {
        self.zone_ttl.observe(timing.zone_ttl, now, timing.propagation);
        self.dnskey_ttl.observe(timing.dnskey_ttl, now, timing.propagation);
        self.ds_ttl.observe(timing.ds_ttl, now, timing.parent_propagation);
        let mut changes = Vec::new();
        if self.leaving_until(timing).is_some_and(|until| until <= now) {
            changes.extend(self.keys.iter().map(|zone_key| change(zone_key, Some(zone_key.state), None)));
            self.keys.clear();
            self.leaving = None;
            return changes;
        }
        let is_due = |zone_key: &ZoneKey| self.due(zone_key, timing).is_some_and(|due| due <= now);
        // Of the entry points none becomes active by time alone.
        let mut new_zsk = false;
        let mut next: Vec<Option<KeyState>> = Vec::with_capacity(self.keys.len());
        for zone_key in &self.keys {
            next.push(match zone_key.state {
                state if !is_due(zone_key) => Some(state),
                KeyState::Introduced => Some(KeyState::Published),
                KeyState::Published if zone_key.role.is_entry_point() => Some(KeyState::Ready),
                KeyState::Published => {
                    new_zsk = true;
                    Some(KeyState::Active)
                }
                KeyState::Ready | KeyState::Active => Some(zone_key.state),
                KeyState::Retired => {
                    let must_sign_on = zone_key.role.signs_zone() && self.farewell(zone_key) == Farewell::WithAlgorithm;
                    must_sign_on.then_some(KeyState::Withdrawn)
                }
                KeyState::Withdrawn => None,
            });
        }
        for (zone_key, next) in self.keys.iter_mut().zip(&mut next) {
            if new_zsk && zone_key.role == Role::Zsk && zone_key.state == KeyState::Active {
                *next = Some(KeyState::Retired);
            }
            match *next {
                Some(state) if state == zone_key.state => {}
                Some(state) => changes.push(step(zone_key, state, now)),
                None => changes.push(change(zone_key, Some(zone_key.state), None)),
            }
        }
        let mut next = next.iter();
        self.keys.retain(|_| next.next().is_some_and(Option::is_some));
        debug_assert_eq!(self.invariants(), Ok(()));
        changes
    }

    /// When [`ZoneKeys::advance`] has something to do next. `None`: nothing happens by time alone.
    #[must_use]
    pub fn next_change(&self, timing: &Timing) -> Option<u64> {
        let keys = self.keys.iter().filter_map(|zone_key| self.due(zone_key, timing));
        keys.chain(self.leaving_until(timing)).min()
    }

    /// When the zone may be served unsigned.
    pub(super) fn leaving_until(&self, timing: &Timing) -> Option<u64> {
        let gone = self.leaving?.ds_gone?;
        Some(gone + self.ds_wait(timing))
    }

    /// When a key leaves its state. `None`: not by time.
    pub(super) fn due(&self, zone_key: &ZoneKey, timing: &Timing) -> Option<u64> {
        let (zone, keys, ds) = (self.zone_wait(timing), self.key_wait(timing), self.ds_wait(timing));
        let wait = match zone_key.state {
            KeyState::Introduced => zone,
            // Nobody knew a key of the zone before: the caches hold sets without signatures, and that there is no DNSKEY set.
            KeyState::Published if zone_key.role.is_entry_point() && !self.has_active_entry_point() => zone.max(keys),
            KeyState::Published | KeyState::Withdrawn => keys,
            KeyState::Ready | KeyState::Active => return None,
            KeyState::Retired => {
                let forgotten = |retired: &ZoneKey| {
                    let wait = match retired.role {
                        Role::Csk => zone.max(ds),
                        Role::Ksk => ds,
                        Role::Zsk => zone,
                    };
                    retired.since.saturating_add(wait)
                };
                return match self.farewell(zone_key) {
                    Farewell::Alone => Some(forgotten(zone_key)),
                    Farewell::NotYet => None,
                    // All keys of the algorithm leave the key set at once.
                    Farewell::WithAlgorithm => {
                        let same = |other: &&ZoneKey| {
                            other.state == KeyState::Retired && other.key.algorithm() == zone_key.key.algorithm()
                        };
                        self.keys.iter().filter(same).map(forgotten).max()
                    }
                };
            }
        };
        Some(zone_key.since.saturating_add(wait))
    }

    fn has_active_entry_point(&self) -> bool {
        self.key_set_signers().any(|zone_key| zone_key.state == KeyState::Active)
    }

    fn farewell(&self, retired: &ZoneKey) -> Farewell {
        let others = || self.keys.iter().filter(|other| other.key.algorithm() == retired.key.algorithm());
        if !others().any(|other| other.state.is_coming_or_here()) {
            return Farewell::WithAlgorithm;
        }
        let active = || others().filter(|other| other.state == KeyState::Active);
        let zone_covered = !retired.role.signs_zone() || active().any(|other| other.role.signs_zone());
        let keys_covered = !retired.role.is_entry_point() || active().any(|other| other.role.is_entry_point());
        if zone_covered && keys_covered { Farewell::Alone } else { Farewell::NotYet }
    }

    fn zone_wait(&self, timing: &Timing) -> u64 {
        u64::from(self.zone_ttl.ttl.max(timing.zone_ttl)) + u64::from(timing.propagation)
    }

    fn key_wait(&self, timing: &Timing) -> u64 {
        u64::from(self.dnskey_ttl.ttl.max(timing.dnskey_ttl)) + u64::from(timing.propagation)
    }

    fn ds_wait(&self, timing: &Timing) -> u64 {
        u64::from(self.ds_ttl.ttl.max(timing.ds_ttl)) + u64::from(timing.parent_propagation)
    }
}

/// How a retired key may go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Farewell {
    /// Others of its algorithm do what it did.
    Alone,
    /// Nobody else does yet.
    NotYet,
    /// Its algorithm goes.
    WithAlgorithm,
}
