//! The keys of one zone: their roles, their states, and what follows from both. How states change is in `roll.rs`.
//!
//! ```text
//!   state        DNSKEY  signs DNSKEY, CDS, CDNSKEY  signs all else  CDS, CDNSKEY
//!   Introduced   no      no                          yes             no             a new algorithm: first its signatures, then its key
//!   Published    yes     KSK, CSK                    if needed       no
//!   Ready        yes     KSK, CSK                    if needed       yes            waits for its DS at the parent; KSK, CSK
//!   Active       yes     KSK, CSK                    yes             if none is Ready
//!   Retired      yes     KSK, CSK                    if needed       no
//!   Withdrawn    no      no                          yes             no             an algorithm that leaves: first its key, then its signatures
//! ```
//! "Signs all else" is the duty of ZSK and CSK alone. "If needed": no Active key of its algorithm does, for
//!
//! RFC 4035 section 2.2: each algorithm of the DNSKEY set must have signed each set.

use super::key::SigningKey;
use crate::dnssec::algorithm::Algorithm;
use crate::dnssec::digest::DigestType;
use crate::name::Name;
use crate::record::Rdata;
use std::fmt;
use std::sync::Arc;

/// Keys of a zone at a time. Two of each role and algorithm in a roll-over of everything, and one algorithm leaving, are eight.
pub const KEYS_MAX: usize = 8;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Both: the parent knows it, and it signs the zone (RFC 6781 section 3.1, "Single-Type Signing Scheme").
    Csk,
    /// Key-signing key: the parent knows it, and it signs the keys.
    Ksk,
    /// Zone-signing key: signs all but the keys.
    Zsk,
}

impl Role {
    pub(super) const ALL: [(Self, &'static str); 3] = [(Self::Csk, "csk"), (Self::Ksk, "ksk"), (Self::Zsk, "zsk")];

    /// True if the parent's DS is of this key, and it signs the DNSKEY set.
    #[must_use]
    pub fn is_entry_point(self) -> bool {
        matches!(self, Self::Csk | Self::Ksk)
    }

    /// True if it signs what is not about keys.
    #[must_use]
    pub fn signs_zone(self) -> bool {
        matches!(self, Self::Csk | Self::Zsk)
    }

    /// From `csk`, `ksk` or `zsk`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(role, _)| *role)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Csk => "csk",
            Self::Ksk => "ksk",
            Self::Zsk => "zsk",
        })
    }
}

/// Where a key is on its way; the table above says what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Its signatures spread into the caches, of an algorithm the zone had not.
    Introduced,
    /// Its DNSKEY record spreads into the caches.
    Published,
    /// The caches have it; its DS is to come to the parent.
    Ready,
    /// In use.
    Active,
    /// Its successor is in use; caches still hold what needs it.
    Retired,
    /// Its DNSKEY record leaves the caches; until then its algorithm must sign.
    Withdrawn,
}

impl KeyState {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Introduced, "introduced"),
        (Self::Published, "published"),
        (Self::Ready, "ready"),
        (Self::Active, "active"),
        (Self::Retired, "retired"),
        (Self::Withdrawn, "withdrawn"),
    ];

    /// True if its DNSKEY record is in the zone.
    #[must_use]
    pub fn is_in_key_set(self) -> bool {
        match self {
            Self::Published | Self::Ready | Self::Active | Self::Retired => true,
            Self::Introduced | Self::Withdrawn => false,
        }
    }

    /// True if it is to stay, or to become active.
    #[must_use]
    pub fn is_coming_or_here(self) -> bool {
        match self {
            Self::Introduced | Self::Published | Self::Ready | Self::Active => true,
            Self::Retired | Self::Withdrawn => false,
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(state, _)| *state)
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL.iter().find(|(state, _)| state == self).map_or("", |(_, name)| name))
    }
}

/// One key of a zone.
#[derive(Clone, Debug)]
pub struct ZoneKey {
    /// The key.
    pub key: Arc<SigningKey>,
    /// What it is for.
    pub role: Role,
    /// Where it is on its way.
    pub state: KeyState,
    /// Since when, in seconds since 1970.
    pub since: u64,
}

/// The largest TTL by which caches may still hold something, although the zone may have a smaller one now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HighWater {
    /// Seconds, what counts.
    pub ttl: u32,
    /// When the zone last had it, or later: so that nothing is cached for longer than `ttl` from here.
    pub at: u64,
    /// Seconds, what the zone has now.
    pub current: u32,
}

impl HighWater {
    /// Takes note of the TTL the zone has from now on; the larger one counts until it has run out everywhere.
    pub(super) fn observe(&mut self, ttl: u32, now: u64, propagation: u32) {
        let end = self.at.saturating_add(self.ttl.into());
        let (high, at) = if now >= end.saturating_add(propagation.into()) {
            (self.current, now)
        } else {
            // What it had until now may outlast the larger one of long ago.
            let last = now.saturating_add(self.current.into()).saturating_sub(self.ttl.into());
            (self.ttl, self.at.max(last))
        };
        let (high, at) = if ttl >= high { (ttl, now) } else { (high, at) };
        *self = Self { ttl: high, at, current: ttl };
    }
}

/// The zone is on its way to be unsigned (RFC 8078 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    pub since: u64,
    /// When the parent was seen to have no DS any more.
    pub ds_gone: Option<u64>,
}

/// The keys of one zone.
#[derive(Clone, Debug)]
pub struct ZoneKeys {
    pub(super) origin: Name,
    pub(super) keys: Vec<ZoneKey>,
    pub(super) leaving: Option<Leaving>,
    pub(super) zone_ttl: HighWater,
    pub(super) dnskey_ttl: HighWater,
    pub(super) ds_ttl: HighWater,
    /// The SOA serial last given out with signatures; see [`SerialPolicy`](super::serial::SerialPolicy).
    pub serial_last: Option<u32>,
}

impl ZoneKeys {
    /// A zone without keys.
    #[must_use]
    pub fn new(origin: &Name) -> Self {
        let none = HighWater::default();
        let keys = Vec::new();
        Self { origin: origin.to_key(), keys, leaving: None, zone_ttl: none, dnskey_ttl: none, ds_ttl: none, serial_last: None }
    }

    /// The zone, lower-case.
    #[must_use]
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// All keys, the oldest first.
    #[must_use]
    pub fn keys(&self) -> &[ZoneKey] {
        &self.keys
    }

    /// True if there is nothing to sign with: the zone is served unsigned.
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        self.keys.is_empty()
    }

    /// True if the zone is on its way to be unsigned.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// True if no key has this algorithm and tag: validators would have to try both.
    #[must_use]
    pub fn is_tag_free(&self, algorithm: Algorithm, tag: u16) -> bool {
        !self.keys.iter().any(|zone_key| (zone_key.key.algorithm(), zone_key.key.tag()) == (algorithm, tag))
    }

    /// The keys of the DNSKEY set.
    pub fn key_set(&self) -> impl Iterator<Item = &ZoneKey> {
        self.keys.iter().filter(|zone_key| zone_key.state.is_in_key_set())
    }

    /// The keys that sign the sets DNSKEY, CDS and CDNSKEY.
    pub fn key_set_signers(&self) -> impl Iterator<Item = &ZoneKey> {
        self.key_set().filter(|zone_key| zone_key.role.is_entry_point())
    }

    /// The keys that sign all other sets.
    pub fn zone_signers(&self) -> impl Iterator<Item = &ZoneKey> {
        let is_signed_by_active = |algorithm: Algorithm| {
            let active = |zone_key: &&ZoneKey| zone_key.state == KeyState::Active && zone_key.role.signs_zone();
            self.keys.iter().filter(active).any(|zone_key| zone_key.key.algorithm() == algorithm)
        };
        self.keys.iter().filter(move |zone_key| {
            zone_key.role.signs_zone()
                && match zone_key.state {
                    KeyState::Introduced | KeyState::Active | KeyState::Withdrawn => true,
                    //= RFC 4035 section 2.2
                    //# There MUST be an RRSIG for each RRset using at least one DNSKEY of each algorithm in the zone apex DNSKEY RRset.
                    KeyState::Published | KeyState::Ready | KeyState::Retired => !is_signed_by_active(zone_key.key.algorithm()),
                }
        })
    }

    /// The keys the parent should know: their CDS and CDNSKEY records stand in the zone.
    pub fn wanted_at_parent(&self) -> impl Iterator<Item = &ZoneKey> {
        let entry = || self.keys.iter().filter(|zone_key| zone_key.role.is_entry_point());
        let is_ready = entry().any(|zone_key| zone_key.state == KeyState::Ready);
        let wanted = if is_ready { KeyState::Ready } else { KeyState::Active };
        entry().filter(move |zone_key| zone_key.state == wanted && self.leaving.is_none())
    }

    /// The data of the DS set the parent should have.
    #[must_use]
    pub fn ds_wanted(&self, digest: DigestType) -> Vec<Rdata> {
        self.wanted_at_parent().filter_map(|zone_key| zone_key.key.ds(self.origin.wire(), digest)).collect()
    }

    /// What must hold at all times; what does not, in words.
    pub(super) fn invariants(&self) -> Result<(), String> {
        if self.keys.len() > KEYS_MAX {
            return Err(format!("there are more than {KEYS_MAX} keys"));
        }
        for ZoneKey { key, role, state, .. } in &self.keys {
            if role.is_entry_point() != key.is_entry_point() {
                return Err(format!("key {} cannot be a {role} with the flags of its DNSKEY record", key.tag()));
            }
            if *state == KeyState::Ready && !role.is_entry_point() {
                return Err(format!("key {} is a {role}; it has no DS to wait for", key.tag()));
            }
        }
        for ZoneKey { key, .. } in self.key_set() {
            let same = |other: &ZoneKey| other.key.algorithm() == key.algorithm();
            if !self.key_set_signers().any(same) || !self.zone_signers().any(same) {
                return Err(format!("{} of key {} does not sign both the keys and the zone", key.algorithm(), key.tag()));
            }
        }
        if !self.keys.is_empty() && self.key_set().next().is_none() {
            return Err("no key is in the DNSKEY set".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_ttl_counts_until_it_has_run_out() {
        let mut water = HighWater::default();
        let day = 86_400;
        for (ttl, now, counts) in [
            (7 * day, 0, 7 * day),
            // Seen six days later: until now it was seven days.
            (300, 6 * day, 7 * day),
            (day, 12 * day, 7 * day),
            // The seven days are over, but a record of one day may have been fetched just now.
            (300, 13 * day - 1, 7 * day),
            (300, 13 * day + 3600, 7 * day),
            (300, 14 * day + 3600, 300),
            (600, 15 * day, 600),
        ] {
            water.observe(ttl, now.into(), 3600);
            assert_eq!(water.ttl, counts, "at {now}");
        }
    }
}
