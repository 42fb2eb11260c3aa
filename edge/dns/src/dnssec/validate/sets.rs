//! The records of an answer as sets with their signatures, each verified at most once.

use super::keys::ZoneKeys;
use super::reason::Reason;
use super::work::{FAILURES_PER_SET_MAX, KEYS_PER_TAG_MAX, Spent, Work};
use crate::dnssec::key::Dnskey;
use crate::dnssec::rrsig::{Rrsig, Validity, is_current};
use crate::name::{Name, is_within};
use crate::record::{Rdata, Record};
use crate::resolver::Answer;
use crate::types::{ExtendedError, Rtype};
use std::collections::HashMap;

/// Sets of one answer that are looked at; a chain of twelve aliases with all its denials has about 60.
const SETS_MAX: usize = 96;
/// Signatures of one set that are looked at: two algorithms, each in a roll-over, have four.
const SIGNATURES_PER_SET_MAX: usize = 8;
/// Seconds our clock and the signer's may differ.
pub const SKEW_SECONDS: u32 = 300;

/// Where a set stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Answer,
    Authority,
}

/// A set.
#[derive(Debug)]
pub(super) struct Set {
    /// Lower-case.
    pub owner: Name,
    pub rtype: Rtype,
    /// The least of its records.
    pub ttl: u32,
    pub rdata: Vec<Rdata>,
    /// TTL and data of RRSIG records.
    signatures: Vec<(u32, Rdata)>,
    state: Option<Result<Verified, Reason>>,
    /// The signature that was verified.
    genuine: Option<usize>,
    /// Part of what was found to be so: it stays in the answer.
    pub used: bool,
}

/// What a signature says, besides that the set is genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verified {
    /// Labels of the name it was signed for, if that was a wildcard above the owner.
    pub expanded_from: Option<u8>,
    /// Seconds the set may be kept (RFC 4035 section 5.3.3).
    pub ttl: u32,
    /// Seconds until the signature ends.
    pub expires_in: u32,
}

/// The sets of an answer.
#[derive(Debug, Default)]
pub(super) struct Sets {
    pub sets: Vec<Set>,
    index: HashMap<(Place, Name, Rtype), usize>,
}

impl Sets {
    pub fn of(answer: &Answer) -> Self {
        let mut sets = Self::default();
        for (place, records) in [(Place::Answer, &answer.records), (Place::Authority, &answer.authority)] {
            for record in records.iter().filter(|record| record.rtype != Rtype::RRSIG) {
                sets.add(place, record);
            }
            // Signatures behind their sets, wherever they stood.
            for record in records.iter().filter(|record| record.rtype == Rtype::RRSIG) {
                sets.add_signature(place, record);
            }
        }
        sets
    }

    fn add(&mut self, place: Place, record: &Record) {
        let owner = record.name.to_key();
        if let Some(at) = self.index.get(&(place, owner.clone(), record.rtype)) {
            if let Some(set) = self.sets.get_mut(*at) {
                set.ttl = set.ttl.min(record.ttl);
                set.rdata.push(record.rdata.clone());
            }
        } else if self.sets.len() < SETS_MAX {
            self.index.insert((place, owner.clone(), record.rtype), self.sets.len());
            let (rtype, ttl, rdata) = (record.rtype, record.ttl, vec![record.rdata.clone()]);
            self.sets.push(Set { owner, rtype, ttl, rdata, signatures: Vec::new(), state: None, genuine: None, used: false });
        }
    }

    fn add_signature(&mut self, place: Place, record: &Record) {
        let Some(rrsig) = Rrsig::parse(&record.rdata) else { return };
        let at = self.index.get(&(place, record.name.to_key(), rrsig.type_covered));
        if let Some(set) = at.and_then(|at| self.sets.get_mut(*at))
            && set.signatures.len() < SIGNATURES_PER_SET_MAX
        {
            set.signatures.push((record.ttl, record.rdata.clone()));
        }
    }

    pub fn find(&self, place: Place, owner: &Name, rtype: Rtype) -> Option<usize> {
        self.index.get(&(place, owner.clone(), rtype)).copied()
    }

    /// Places of the sets that prove denials, at names within `zone`.
    pub fn denials<'s>(&'s self, rtype: Rtype, zone: &'s Name) -> impl Iterator<Item = usize> + 's {
        let own = move |set: &Set| set.rtype == rtype && set.signer().is_some_and(|signer| signer == *zone);
        let authority = move |set: &Set| self.find(Place::Authority, &set.owner, set.rtype);
        self.sets.iter().enumerate().filter(move |(at, set)| own(set) && authority(set) == Some(*at)).map(|(at, _)| at)
    }
}

impl Set {
    /// Who says to have signed it: the nearest zone above, lower-case. `None`: nobody who could.
    pub fn signer(&self) -> Option<Name> {
        let own = self.signatures.iter().filter_map(|(_, rdata)| Rrsig::parse(rdata));
        let might = own.filter(|rrsig| rrsig.algorithm.is_supported()).filter_map(|rrsig| self.possible_signer(&rrsig));
        let nearest = might.max_by_key(|signer| signer.wire().len());
        // Of algorithms that are not supported, too: the zone may be insecure for that.
        nearest.or_else(|| {
            let own = self.signatures.iter().filter_map(|(_, rdata)| Rrsig::parse(rdata));
            own.filter_map(|rrsig| self.possible_signer(&rrsig)).max_by_key(|signer| signer.wire().len())
        })
    }

    fn possible_signer(&self, rrsig: &Rrsig<'_>) -> Option<Name> {
        let signer = Name::from_wire(rrsig.signer).ok()?.to_key();
        // The DS set is the parent's (RFC 4035 section 2.4).
        let above = self.rtype != Rtype::DS || signer != self.owner;
        (above && is_within(self.owner.wire(), signer.wire())).then_some(signer)
    }

    /// Verifies the set with a key of its zone; the second time it is remembered.
    ///
    /// Cost: one verification for an honest set, at most [`FAILURES_PER_SET_MAX`] in vain.
    pub fn verify(&mut self, keys: &ZoneKeys, now: u64, work: &mut Work) -> Result<Verified, Reason> {
        if let Some(state) = &self.state {
            return state.clone();
        }
        let state = self.verify_with(keys, now, work);
        self.genuine = state.as_ref().ok().map(|(_, at)| *at);
        let state = state.map(|(verified, _)| verified);
        self.state = Some(state.clone());
        state
    }

    /// The second is the place of the signature.
    fn verify_with(&self, keys: &ZoneKeys, now: u64, work: &mut Work) -> Result<(Verified, usize), Reason> {
        let reason = |code, text| Reason::new(code, &self.owner, text);
        let mut best = reason(ExtendedError::RRSIGS_MISSING, "the zone is signed, the set is not");
        let mut failures = 0;
        let mut message = Vec::new();
        for (at, (signature_ttl, rdata)) in self.signatures.iter().enumerate() {
            let Some(rrsig) = Rrsig::parse(rdata) else { continue };
            //= RFC 4035 section 5.3.1
            //# The RRSIG RR's Signer's Name field MUST be the name of the zone that contains the RRset.
            if !rrsig.signer.eq_ignore_ascii_case(keys.zone.wire()) || !rrsig.algorithm.is_supported() {
                continue;
            }
            let now_serial = u32::try_from(now & u64::from(u32::MAX)).unwrap_or(0);
            match is_current(&rrsig, now_serial, SKEW_SECONDS) {
                Validity::Current => {}
                Validity::NotYet => {
                    best = reason(ExtendedError::SIGNATURE_NOT_YET_VALID, "the signature is not valid yet");
                    continue;
                }
                Validity::Expired => {
                    best = reason(ExtendedError::SIGNATURE_EXPIRED, "the signature has expired");
                    continue;
                }
            }
            message.clear();
            if !rrsig.signed_bytes(self.owner.wire(), self.rdata.iter().map(|rdata| &**rdata), &mut message) {
                best = reason(ExtendedError::BOGUS, "the signature is for a name with more labels");
                continue;
            }
            let own = keys.keys.iter().filter_map(|rdata| Dnskey::parse(rdata));
            let own = own.filter(|key| key.algorithm == rrsig.algorithm && key.is_usable() && key.key_tag() == rrsig.key_tag);
            let mut any = false;
            for key in own.take(KEYS_PER_TAG_MAX) {
                any = true;
                work.take_signature(rrsig.algorithm)
                    .map_err(|Spent| reason(ExtendedError::BOGUS, "too many signatures to verify"))?;
                if rrsig.algorithm.verify(key.public_key, &message, rrsig.signature) {
                    return Ok((self.verified(&rrsig, *signature_ttl, now_serial), at));
                }
                work.take_failure();
                failures += 1;
                best = reason(ExtendedError::BOGUS, "the signature does not fit");
                if failures >= FAILURES_PER_SET_MAX {
                    return Err(best);
                }
            }
            if !any {
                best = reason(ExtendedError::DNSKEY_MISSING, "no key of the zone made the signature");
            }
        }
        Err(best)
    }

    fn verified(&self, rrsig: &Rrsig<'_>, signature_ttl: u32, now: u32) -> Verified {
        let left = rrsig.expiration.wrapping_sub(now);
        // Within the skew: over already.
        let expires_in = if left > i32::MAX.unsigned_abs() { 0 } else { left };
        //= RFC 4035 section 5.3.3
        //# If the resolver accepts the RRset as authentic, the validator MUST set the TTL of the RRSIG RR and each RR in the authenticated RRset
        //# to a value no greater than the minimum of:
        let ttl = self.ttl.min(signature_ttl).min(rrsig.original_ttl).min(expires_in);
        let expanded_from = rrsig.is_expanded(self.owner.wire()).then_some(rrsig.labels);
        Verified { expanded_from, ttl, expires_in }
    }

    /// Verifies a DNSKEY set with some of its own keys: those the parent or an anchor vouches for.
    pub fn verify_keys(&self, zone: &Name, vouched: Vec<Rdata>, now: u64, work: &mut Work) -> Result<Verified, Reason> {
        let keys = ZoneKeys { zone: zone.clone(), keys: vouched };
        self.verify_with(&keys, now, work).map(|(verified, _)| verified)
    }

    /// True if this is the data of the signature that was verified; of a set without, any is.
    pub fn is_genuine(&self, signature: &[u8]) -> bool {
        self.genuine.and_then(|at| self.signatures.get(at)).is_none_or(|(_, rdata)| **rdata == *signature)
    }

    /// What verification said, if it was successful.
    pub fn state(&self) -> Option<Verified> {
        self.state.as_ref().and_then(|state| state.as_ref().ok().copied())
    }
}
