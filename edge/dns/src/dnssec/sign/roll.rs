//! How keys come and go: roll-over by command and by passing time (RFC 6781 section 4.1, RFC 7583).
//!
//! ```text
//!   ZSK, pre-publication (RFC 7583 section 3.2.1)      KSK and CSK, double KSK (RFC 7583 section 3.3.1)
//!   new:  Published ─key─> Active                      new:  Published ─key─> Ready ─DS seen─> Active
//!   old:  Active ─────────> Retired ─zone─> gone       old:  Active ────────────────────────> Retired ─DS─> gone
//!                                                      (a CSK waits for zone and DS, whichever is longer)
//!   new algorithm, the conservative way (RFC 6781 section 4.1.4)
//!   new:  Introduced ─zone─> Published ...              old:  ... Retired ─DS─> Withdrawn ─key─> gone
//!
//!   key  = TTL of the DNSKEY set        + propagation        zone = largest TTL of the zone + propagation
//!   DS   = TTL of the parent's DS set   + the parent's propagation
//! ```
//! What a key waits for begins when its state changed here, and a state changes when [`ZoneKeys::advance`] is called: late calls make a
//! roll-over longer, never unsafe. The caller publishes the zone anew after each change.

use super::key::SigningKey;
use super::zone_keys::{KEYS_MAX, KeyState, Leaving, Role, ZoneKey, ZoneKeys};
use crate::dnssec::algorithm::Algorithm;
use crate::dnssec::digest::Ds;
use crate::dnssec::key::Dnskey;
use std::fmt;
use std::sync::Arc;

/// A key went from one state to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key's.
    pub algorithm: Algorithm,
    /// The key's.
    pub tag: u16,
    /// The key's.
    pub role: Role,
    /// `None`: it is new.
    pub from: Option<KeyState>,
    /// `None`: it is gone, and its files may go, too.
    pub to: Option<KeyState>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({}): ", self.role, self.tag, self.algorithm)?;
        match (self.from, self.to) {
            (None, Some(to)) => write!(f, "{to}"),
            (Some(from), Some(to)) => write!(f, "{from} > {to}"),
            (_, None) => f.write_str("removed"),
        }
    }
}

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollError {
    /// The zone has keys, and they were to be its first.
    HasKeys,
    /// The zone has no keys yet.
    NoKeys,
    /// This key is still on its way in or out.
    UnderWay(u16, KeyState),
    /// The zone is on its way to be unsigned.
    Leaving,
    /// The keys given do not have what the zone needs: one that the parent knows and one that signs the zone, of one algorithm.
    Duties,
    /// A key with this tag is there.
    TagTaken(u16),
    /// More than [`KEYS_MAX`].
    TooMany,
    /// There is no such key, or it does not wait for its DS.
    NotReady(u16),
    /// The zone is not on its way to be unsigned.
    NotLeaving,
    /// There is no roll-over to give up, or the keys are the zone's first.
    NotRolling,
}

impl fmt::Display for RollError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HasKeys => f.write_str("the zone has keys already; roll them over instead"),
            Self::NoKeys => f.write_str("the zone has no keys yet"),
            Self::UnderWay(tag, state) => write!(f, "a roll-over is under way: key {tag} is {state}; wait for its end"),
            Self::Leaving => f.write_str("the zone is about to become unsigned"),
            Self::Duties => f.write_str(
                "the new keys must do all that the old ones did: give a CSK, or a KSK and a ZSK of one algorithm; a KSK or a ZSK alone can \
                 only replace one of its own kind and algorithm",
            ),
            Self::TagTaken(tag) => write!(f, "the zone has a key with the tag {tag}; make another"),
            Self::TooMany => write!(f, "the zone would have more than {KEYS_MAX} keys"),
            Self::NotReady(tag) => write!(f, "key {tag} does not wait for its DS record"),
            Self::NotLeaving => f.write_str("the zone is not about to become unsigned"),
            Self::NotRolling => f.write_str("there is no roll-over to give up; the first keys of a zone go by making it unsigned"),
        }
    }
}

impl std::error::Error for RollError {}

/// A key with what it is for.
pub type NewKey = (Role, Arc<SigningKey>);

impl ZoneKeys {
    /// Gives an unsigned zone its first keys. The zone is signed from now on; the DS comes to the parent when the caches have forgotten the
    /// unsigned zone.
    ///
    /// # Errors
    /// [`RollError`]
    pub fn start(&mut self, now: u64, keys: Vec<NewKey>) -> Result<Vec<Change>, RollError> {
        self.first(now, keys, |role| if role.is_entry_point() { KeyState::Published } else { KeyState::Active })
    }

    /// Takes over keys that are in use, from another signer: the parent has the DS, and the caches have the DNSKEY records.
    ///
    /// # Errors
    /// [`RollError`]
    pub fn adopt(&mut self, now: u64, keys: Vec<NewKey>) -> Result<Vec<Change>, RollError> {
        self.first(now, keys, |_| KeyState::Active)
    }

    fn first(&mut self, now: u64, keys: Vec<NewKey>, state: fn(Role) -> KeyState) -> Result<Vec<Change>, RollError> {
        if !self.keys.is_empty() {
            return Err(RollError::HasKeys);
        }
        covers_all(&keys).then_some(()).ok_or(RollError::Duties)?;
        self.add(now, keys, state)
    }

    /// Begins to replace keys by new ones: a ZSK or a KSK by one of its algorithm, or all keys by a CSK or by a KSK and a ZSK.
    ///
    /// # Errors
    /// [`RollError`]
    pub fn roll(&mut self, now: u64, keys: Vec<NewKey>) -> Result<Vec<Change>, RollError> {
        if self.leaving.is_some() {
            return Err(RollError::Leaving);
        }
        if self.keys.is_empty() {
            return Err(RollError::NoKeys);
        }
        let concerned = |role: Role| {
            let shares =
                |new: &NewKey| new.0.is_entry_point() && role.is_entry_point() || new.0.signs_zone() && role.signs_zone();
            keys.iter().any(shares)
        };
        let old = || self.keys.iter().filter(|zone_key| concerned(zone_key.role));
        if let Some(busy) = old().find(|zone_key| zone_key.state != KeyState::Active) {
            return Err(RollError::UnderWay(busy.key.tag(), busy.state));
        }
        let is_known = |algorithm: Algorithm| self.key_set().any(|zone_key| zone_key.key.algorithm() == algorithm);
        let of_own_kind = |(role, key): &NewKey| old().all(|old| old.role == *role && old.key.algorithm() == key.algorithm());
        let is_single = matches!(keys.as_slice(), [single] if of_own_kind(single));
        if !is_single {
            covers_all(&keys).then_some(()).ok_or(RollError::Duties)?;
        }
        let is_new_algorithm = keys.first().is_some_and(|(_, key)| !is_known(key.algorithm()));
        self.add(now, keys, if is_new_algorithm { |_| KeyState::Introduced } else { |_| KeyState::Published })
    }

    fn add(&mut self, now: u64, keys: Vec<NewKey>, state: fn(Role) -> KeyState) -> Result<Vec<Change>, RollError> {
        if self.keys.len() + keys.len() > KEYS_MAX {
            return Err(RollError::TooMany);
        }
        for (at, (role, key)) in keys.iter().enumerate() {
            let among_new = keys.iter().skip(at + 1).any(|(_, other)| other.tag() == key.tag());
            if among_new || !self.is_tag_free(key.algorithm(), key.tag()) {
                return Err(RollError::TagTaken(key.tag()));
            }
            if role.is_entry_point() != key.is_entry_point() {
                return Err(RollError::Duties);
            }
        }
        let mut changes = Vec::new();
        for (role, key) in keys {
            let zone_key = ZoneKey { key, role, state: state(role), since: now };
            changes.push(change(&zone_key, None, Some(zone_key.state)));
            self.keys.push(zone_key);
        }
        debug_assert_eq!(self.invariants(), Ok(()));
        Ok(changes)
    }

    /// The administrator says that the parent serves the DS of this key, and of none it replaces.
    ///
    /// # Errors
    /// [`RollError::NotReady`], [`RollError::Leaving`]
    pub fn ds_seen(&mut self, now: u64, tag: u16) -> Result<Vec<Change>, RollError> {
        if self.leaving.is_some() {
            return Err(RollError::Leaving);
        }
        let is_it = |zone_key: &ZoneKey| zone_key.key.tag() == tag && zone_key.state == KeyState::Ready;
        let at = self.keys.iter().position(is_it).ok_or(RollError::NotReady(tag))?;
        let mut changes = Vec::new();
        let new_role = self.keys.get(at).map_or(Role::Csk, |zone_key| zone_key.role);
        for (other, zone_key) in self.keys.iter_mut().enumerate() {
            if other == at {
                changes.push(step(zone_key, KeyState::Active, now));
            } else if zone_key.state == KeyState::Active && (zone_key.role.is_entry_point() || new_role.signs_zone()) {
                changes.push(step(zone_key, KeyState::Retired, now));
            }
        }
        debug_assert_eq!(self.invariants(), Ok(()));
        Ok(changes)
    }

    /// Gives up the roll-overs that are under way: the new keys go, the old ones stay. Only while the parent has the DS of old keys alone.
    ///
    /// # Errors
    /// [`RollError::Leaving`], [`RollError::NotRolling`]
    pub fn abandon(&mut self, now: u64) -> Result<Vec<Change>, RollError> {
        if self.leaving.is_some() {
            return Err(RollError::Leaving);
        }
        let is_new = |state: KeyState| matches!(state, KeyState::Introduced | KeyState::Published | KeyState::Ready);
        let entry = self.key_set_signers().find(|zone_key| zone_key.state == KeyState::Active);
        let (algorithm, entry_role) = match entry.map(|zone_key| (zone_key.key.algorithm(), zone_key.role)) {
            Some(entry) if self.keys.iter().any(|zone_key| is_new(zone_key.state)) => entry,
            _ => return Err(RollError::NotRolling),
        };
        let mut changes = Vec::new();
        for zone_key in &mut self.keys {
            // A ZSK may have been ahead of the key-signing key it came with.
            let is_ahead = zone_key.role == Role::Zsk && (entry_role == Role::Csk || zone_key.key.algorithm() != algorithm);
            match zone_key.state {
                KeyState::Published | KeyState::Ready => changes.push(step(zone_key, KeyState::Retired, now)),
                KeyState::Active if is_ahead => changes.push(step(zone_key, KeyState::Retired, now)),
                KeyState::Introduced => changes.push(change(zone_key, Some(zone_key.state), None)),
                KeyState::Active | KeyState::Retired | KeyState::Withdrawn => {}
            }
        }
        // No validator uses what it has no key for.
        self.keys.retain(|zone_key| zone_key.state != KeyState::Introduced);
        // The one it was to replace signs on, if there is no other.
        let is_lacking = !self.keys.iter().any(|zone_key| zone_key.state == KeyState::Active && zone_key.role.signs_zone());
        let retired = |zone_key: &&mut ZoneKey| {
            zone_key.state == KeyState::Retired && zone_key.role == Role::Zsk && zone_key.key.algorithm() == algorithm
        };
        if is_lacking && let Some(zone_key) = self.keys.iter_mut().find(retired) {
            changes.push(step(zone_key, KeyState::Active, now));
        }
        debug_assert_eq!(self.invariants(), Ok(()));
        Ok(changes)
    }

    /// What the caller found when it asked the parent's servers for the DS set: does what [`ZoneKeys::ds_seen`] or [`ZoneKeys::ds_gone`] would.
    /// Not to be called if a server gave no answer, or another one than the rest.
    pub fn parent_seen(&mut self, now: u64, ds_set: &[&[u8]]) -> Vec<Change> {
        if let Some(leaving) = &mut self.leaving {
            if ds_set.is_empty() && leaving.ds_gone.is_none() {
                leaving.ds_gone = Some(now);
            }
            return Vec::new();
        }
        let is_there = |zone_key: &ZoneKey| {
            let ds = |ds: &&[u8]| {
                let key = Dnskey::parse(zone_key.key.dnskey());
                Ds::parse(ds).zip(key).is_some_and(|(ds, key)| ds.matches(self.origin.wire(), &key))
            };
            ds_set.iter().any(ds)
        };
        let ready = self.keys.iter().find(|zone_key| zone_key.state == KeyState::Ready && is_there(zone_key));
        let old = |zone_key: &ZoneKey| zone_key.state == KeyState::Active && zone_key.role.is_entry_point() && is_there(zone_key);
        match ready.map(|zone_key| zone_key.key.tag()) {
            Some(tag) if !self.keys.iter().any(old) => self.ds_seen(now, tag).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// Begins to make the zone unsigned: the parent is asked to delete its DS (RFC 8078 section 4). The zone stays signed until that is done
    /// and the caches know.
    ///
    /// # Errors
    /// [`RollError::NoKeys`], [`RollError::Leaving`]
    pub fn leave(&mut self, now: u64) -> Result<(), RollError> {
        if self.keys.is_empty() {
            return Err(RollError::NoKeys);
        }
        if self.leaving.is_some() {
            return Err(RollError::Leaving);
        }
        self.leaving = Some(Leaving { since: now, ds_gone: None });
        Ok(())
    }

    /// The administrator says that the parent has no DS any more.
    ///
    /// # Errors
    /// [`RollError::NotLeaving`]
    pub fn ds_gone(&mut self, now: u64) -> Result<(), RollError> {
        let leaving = self.leaving.as_mut().ok_or(RollError::NotLeaving)?;
        leaving.ds_gone.get_or_insert(now);
        Ok(())
    }

    /// Takes [`ZoneKeys::leave`] back, as long as the parent has the DS.
    ///
    /// # Errors
    /// [`RollError::NotLeaving`], and [`RollError::Leaving`] if it is too late.
    pub fn stay(&mut self) -> Result<(), RollError> {
        match self.leaving {
            None => Err(RollError::NotLeaving),
            Some(Leaving { ds_gone: Some(_), .. }) => Err(RollError::Leaving),
            Some(Leaving { ds_gone: None, .. }) => {
                self.leaving = None;
                Ok(())
            }
        }
    }
}

fn covers_all(keys: &[NewKey]) -> bool {
    let one_algorithm = keys.iter().zip(keys.iter().skip(1)).all(|(left, right)| left.1.algorithm() == right.1.algorithm());
    let roles: Vec<Role> = keys.iter().map(|(role, _)| *role).collect();
    one_algorithm && matches!(roles.as_slice(), [Role::Csk] | [Role::Ksk, Role::Zsk] | [Role::Zsk, Role::Ksk])
}

pub(super) fn change(zone_key: &ZoneKey, from: Option<KeyState>, to: Option<KeyState>) -> Change {
    Change { algorithm: zone_key.key.algorithm(), tag: zone_key.key.tag(), role: zone_key.role, from, to }
}

pub(super) fn step(zone_key: &mut ZoneKey, to: KeyState, now: u64) -> Change {
    let change = change(zone_key, Some(zone_key.state), Some(to));
    (zone_key.state, zone_key.since) = (to, now);
    change
}
