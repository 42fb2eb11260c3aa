//! The chain of trust: from an anchor down to the zone a set belongs to, one label at a time.
//!
//! ```text
//!   anchor ── DNSKEY fits its DS ──> Secure(keys)
//!     next label N:  DS of N ─┬─ set, verified with the zone's keys, supported ── DNSKEY of N fits ─> Secure(keys of N), go on below N
//!                             ├─ set, verified, nothing in it supported ─────────> Insecure
//!                             ├─ proof: none, and N is a delegation; opt-out ────> Insecure
//!                             ├─ proof: none, and N is no delegation; a CNAME ───> NotCut, go on in the same zone; configured: Insecure
//!                             └─ anything else ──────────────────────────────────> Bogus
//! ```

use super::denial::{Denial, Denials, iterations};
use super::keys::{KeyCache, Status, ZoneKeys};
use super::reason::Reason;
use super::sets::{Place, Set, Sets};
use super::trust::Start;
use super::{Stop, Validator};
use crate::dnssec::digest::Ds;
use crate::dnssec::key::{Dnskey, FLAG_ZONE};
use crate::name::{Name, is_within, suffixes};
use crate::record::Rdata;
use crate::types::{ExtendedError, Rtype};
use std::rc::Rc;

/// Records of one DS set that are looked at.
const DS_MAX: usize = 12;
/// Records of one DNSKEY set; a larger one is refused: it would be hashed again for each signature.
const KEYS_MAX: usize = 32;
/// Keys of one DNSKEY set that fit a DS and are tried for its signature.
const VOUCHED_MAX: usize = 4;

/// The zone of a set.
pub(super) enum Zone {
    Secure(Rc<ZoneKeys>),
    Insecure(Option<Reason>),
}

impl Validator {
    /// Finds the zone of a set of `name` and its keys. `signer` is who says to have signed it.
    pub(super) fn zone_of(
        &mut self,
        name: &Name,
        rtype: Rtype,
        signer: Option<Name>,
        cache: &mut KeyCache,
    ) -> Result<Zone, Stop> {
        let anchor = match self.trust.start(name, rtype) {
            Start::Insecure => return Ok(Zone::Insecure(None)),
            Start::Anchor(anchor) => anchor,
        };
        // A signature by a zone above the anchor is as good as none.
        let signer = signer.filter(|signer| is_within(signer.wire(), anchor.wire()));
        // How far down the chain is looked up: to who signed, or to the cut that the resolver crossed.
        let sure = match &signer {
            Some(signer) => {
                self.crossed(name, rtype).filter(|cut| is_within(cut.wire(), signer.wire())).unwrap_or(signer).clone()
            }
            None if rtype == Rtype::DS => above(name),
            None => name.clone(),
        };
        // The DS set is the parent's, and the denial at a cut may be.
        let last = if matches!(rtype, Rtype::DS | Rtype::NSEC) && *name != sure { above(name) } else { name.clone() };
        let mut keys = match self.status_of_anchor(&anchor, cache)? {
            Status::Secure(keys) => keys,
            Status::Insecure(reason) => return Ok(Zone::Insecure(reason)),
            Status::Bogus(reason) => return Err(Stop::Bogus(reason)),
            Status::NotCut => return Err(self.bogus(ExtendedError::BOGUS, &anchor, "the trust anchor is no zone")),
        };
        let mut path: Vec<Name> = suffixes(last.wire())
            .take_while(|suffix| suffix.len() > anchor.wire().len())
            .filter_map(|suffix| Name::from_wire(suffix).ok())
            .collect();
        while let Some(next) = path.pop() {
            if next.wire().len() > sure.wire().len() {
                // Not worth a look-up for each label of each name, but what is known counts.
                if let Some(Status::Secure(below)) = self.known(&next, cache) {
                    keys = below;
                }
                continue;
            }
            match self.status(&next, &keys, cache)? {
                Status::Secure(below) => keys = below,
                Status::NotCut if self.trust.is_cut(&next) => return Ok(Zone::Insecure(None)),
                Status::NotCut => {}
                Status::Insecure(reason) => return Ok(Zone::Insecure(reason)),
                Status::Bogus(reason) => return Err(Stop::Bogus(reason)),
            }
        }
        match signer {
            Some(signer) if signer == keys.zone => Ok(Zone::Secure(keys)),
            //= RFC 4035 section 5.3.1
            //# The RRSIG RR's Signer's Name field MUST be the name of the zone that contains the RRset.
            Some(signer) if is_within(keys.zone.wire(), signer.wire()) => {
                Err(self.bogus(ExtendedError::RRSIGS_MISSING, name, "signed by a zone above its own"))
            }
            Some(signer) => Err(self.bogus(ExtendedError::BOGUS, &signer, "who signed is no zone")),
            None => Err(self.bogus(ExtendedError::RRSIGS_MISSING, name, "the zone is signed, the answer is not")),
        }
    }

    /// The deepest cut above a set that the resolver crossed.
    fn crossed(&self, name: &Name, rtype: Rtype) -> Option<&Name> {
        let above =
            |cut: &&Name| is_within(name.wire(), cut.wire()) && (*cut != name || !matches!(rtype, Rtype::DS | Rtype::NSEC));
        self.cuts.iter().filter(above).max_by_key(|cut| cut.wire().len())
    }

    fn known(&self, name: &Name, cache: &mut KeyCache) -> Option<Status> {
        self.statuses.get(name).cloned().or_else(|| cache.get(name, self.now))
    }

    fn keep(&mut self, name: &Name, (status, ttl): (Status, u32), cache: &mut KeyCache) -> Status {
        // What failed for want of work may be another's fault.
        if !matches!(status, Status::Bogus(_)) || !self.work.is_spent() {
            cache.put(name, status.clone(), ttl, self.now);
        }
        self.statuses.insert(name.clone(), status.clone());
        status
    }

    fn status_of_anchor(&mut self, anchor: &Name, cache: &mut KeyCache) -> Result<Status, Stop> {
        // Nobody looks at an anchor from above: names at and below it begin at it, and its DS set belongs to its parent.
        if let Some(status) = self.known(anchor, cache) {
            return Ok(status);
        }
        let ds: Vec<Rdata> = self.trust.ds(anchor).unwrap_or_default().to_vec();
        let found = self.keys_of(anchor, &ds, u32::MAX)?;
        Ok(self.keep(anchor, found, cache))
    }

    /// What is known of `name`, which the zone with these keys is above.
    fn status(&mut self, name: &Name, keys: &Rc<ZoneKeys>, cache: &mut KeyCache) -> Result<Status, Stop> {
        if let Some(status) = self.known(name, cache) {
            return Ok(status);
        }
        let found = match self.delegation(name, keys)? {
            (Delegation::Signed(ds), ttl) => self.keys_of(name, &ds, ttl)?,
            (Delegation::Status(status), ttl) => (status, ttl),
        };
        Ok(self.keep(name, found, cache))
    }

    /// What the zone above says of `name`.
    fn delegation(&mut self, name: &Name, keys: &ZoneKeys) -> Result<(Delegation, u32), Stop> {
        let (now, mut work) = (self.now, self.work);
        let sets = self.fetched(name, Rtype::DS)?;
        let found = read_delegation(sets, name, keys, now, &mut work);
        self.work = work;
        Ok(found.unwrap_or_else(|reason| (Delegation::Status(Status::Bogus(reason)), 0)))
    }

    /// The keys of a zone that a DS set vouches for (RFC 4035 section 5.2).
    fn keys_of(&mut self, zone: &Name, ds: &[Rdata], ttl: u32) -> Result<(Status, u32), Stop> {
        let (now, mut work) = (self.now, self.work);
        let sets = self.fetched(zone, Rtype::DNSKEY)?;
        let set = sets.find(Place::Answer, zone, Rtype::DNSKEY).and_then(|at| sets.sets.get(at));
        let found = match set {
            Some(set) => read_keys(set, zone, ds, now, &mut work),
            None => Err(Reason::new(ExtendedError::DNSKEY_MISSING, zone, "the parent knows keys, the zone has none")),
        };
        self.work = work;
        Ok(match found {
            Ok((keys, keys_ttl)) => (Status::Secure(Rc::new(keys)), ttl.min(keys_ttl)),
            Err(reason) => (Status::Bogus(reason), 0),
        })
    }

    /// The sets of a look-up, which is asked for first.
    fn fetched(&mut self, name: &Name, rtype: Rtype) -> Result<&mut Sets, Stop> {
        let key = (name.clone(), rtype);
        match self.fetched.get(&key) {
            Some(Some(_)) => {}
            Some(None) => {
                return Err(self.bogus(ExtendedError::NO_REACHABLE_AUTHORITY, name, "the look-up of DS or DNSKEY failed"));
            }
            None => return Err(Stop::Need(name.clone(), rtype)),
        }
        match self.fetched.get_mut(&key) {
            Some(Some(sets)) => Ok(sets),
            _ => Err(Stop::Need(name.clone(), rtype)),
        }
    }

    pub(super) fn bogus(&self, code: ExtendedError, name: &Name, text: &'static str) -> Stop {
        Stop::Bogus(Reason::new(code, name, text))
    }
}

enum Delegation {
    /// The supported DS records.
    Signed(Vec<Rdata>),
    Status(Status),
}

fn above(name: &Name) -> Name {
    crate::name::parent(name.wire()).and_then(|parent| Name::from_wire(parent).ok()).unwrap_or_else(Name::root)
}

fn read_delegation(
    sets: &mut Sets,
    name: &Name,
    keys: &ZoneKeys,
    now: u64,
    work: &mut super::work::Work,
) -> Result<(Delegation, u32), Reason> {
    if let Some(set) = sets.find(Place::Answer, name, Rtype::DS).and_then(|at| sets.sets.get_mut(at)) {
        let verified = set.verify(keys, now, work)?;
        if verified.expanded_from.is_some() {
            return Err(Reason::new(ExtendedError::BOGUS, name, "a DS set from a wildcard"));
        }
        return Ok((supported_ds(set, name), verified.ttl));
    }
    // An alias, and so no delegation (RFC 2181 section 10.1).
    let alias = sets.find(Place::Answer, name, Rtype::CNAME).and_then(|at| sets.sets.get_mut(at));
    let alias = alias.map(|set| set.verify(keys, now, work)).transpose()?;
    let denials = Denials::collect(sets, keys, now, work);
    let (denial, ttl) = match alias {
        Some(verified) => match verified.expanded_from {
            None => return Ok((Delegation::Status(Status::NotCut), verified.ttl)),
            Some(from) => (denials.expansion(keys, name, from, work)?, verified.ttl.min(denials.ttl)),
        },
        None => (denials.find(keys, name, Rtype::DS, work)?, denials.ttl),
    };
    let status = match denial {
        Denial::Type { delegation: true } => Status::Insecure(None),
        //= RFC 5155 section 8.9
        //# If there is an NSEC3 RR that "matches" the delegation name, then that NSEC3 RR is used.
        Denial::OptOut => Status::Insecure(None),
        // Nothing begins there. That there should be something below it is found out by whoever asks.
        Denial::Type { delegation: false } | Denial::Name => Status::NotCut,
        Denial::Iterations { refused: false } => Status::Insecure(Some(iterations(&keys.zone))),
        Denial::Iterations { refused: true } => return Err(iterations(&keys.zone)),
        Denial::Unproven => return Err(denials.unproven(name, "no proof that the delegation is not signed")),
    };
    Ok((Delegation::Status(status), ttl))
}

/// The records of a verified DS set that may be used; without any the zone is as if unsigned (RFC 4035 section 5.2).
fn supported_ds(set: &Set, name: &Name) -> Delegation {
    let read = || set.rdata.iter().filter_map(|rdata| Some((rdata, Ds::parse(rdata)?))).take(DS_MAX);
    let supported: Vec<Rdata> = read().filter(|(_, ds)| ds.is_supported()).map(|(rdata, _)| rdata.clone()).collect();
    if !supported.is_empty() {
        return Delegation::Signed(supported);
    }
    let reason = if read().any(|(_, ds)| ds.algorithm.is_supported()) {
        Reason::new(ExtendedError::UNSUPPORTED_DS_DIGEST, name, "no DS record has a supported digest")
    } else {
        Reason::new(ExtendedError::UNSUPPORTED_DNSKEY_ALGORITHM, name, "no DS record has a supported algorithm")
    };
    Delegation::Status(Status::Insecure(Some(reason)))
}

fn read_keys(set: &Set, zone: &Name, ds: &[Rdata], now: u64, work: &mut super::work::Work) -> Result<(ZoneKeys, u32), Reason> {
    if set.rdata.len() > KEYS_MAX {
        return Err(Reason::new(ExtendedError::BOGUS, zone, "too many keys"));
    }
    let mut vouched: Vec<Rdata> = Vec::new();
    for ds in ds.iter().take(DS_MAX).filter_map(|rdata| Ds::parse(rdata)) {
        for rdata in &set.rdata {
            let Some(key) = Dnskey::parse(rdata).filter(|key| key.algorithm == ds.algorithm && key.key_tag() == ds.key_tag)
            else {
                continue;
            };
            work.take_hash().map_err(|_| Reason::new(ExtendedError::BOGUS, zone, "too many digests to compute"))?;
            if vouched.len() < VOUCHED_MAX && ds.matches(zone.wire(), &key) && !vouched.contains(rdata) {
                vouched.push(rdata.clone());
            }
        }
    }
    if vouched.is_empty() {
        return Err(Reason::new(ExtendedError::DNSKEY_MISSING, zone, "no key is one that the parent or the trust anchor knows"));
    }
    if !vouched.iter().filter_map(|rdata| Dnskey::parse(rdata)).any(|key| key.flags & FLAG_ZONE != 0) {
        return Err(Reason::new(ExtendedError::NO_ZONE_KEY_BIT, zone, "the key that the parent knows is no zone key"));
    }
    let verified = set.verify_keys(zone, vouched, now, work)?;
    let usable = |rdata: &&Rdata| Dnskey::parse(rdata).is_some_and(|key| key.is_usable() && key.algorithm.is_supported());
    let keys: Vec<Rdata> = set.rdata.iter().filter(usable).cloned().collect();
    Ok((ZoneKeys { zone: zone.clone(), keys }, verified.ttl))
}
