//! Proofs that something is not there, whichever way the zone makes them.

use super::hashed::{self, Spans};
use super::keys::ZoneKeys;
use super::nsec;
use super::reason::Reason;
use super::sets::Sets;
use super::work::{Spent, Work};
use crate::dnssec::bitmap::{contains, types};
use crate::name::Name;
use crate::types::{ExtendedError, Rtype};

/// NSEC or NSEC3 sets of one zone in one answer that are verified; a proof needs three at most, each alias from a
/// wildcard one more.
const DENIALS_MAX: usize = 8;

/// "There is no such name" in an NSEC's bit map (RFC 9824 section 3.1).
pub(super) const NXNAME: Rtype = Rtype(128);

/// What is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// Nothing.
    Unproven,
    /// The name is not there, nor a wildcard for it.
    Name,
    /// The name is there, or a wildcard for it, and has none of the type. `delegation`: a zone begins at the name.
    Type { delegation: bool },
    /// The name is not there, but for an unsigned delegation that may be.
    OptOut,
    /// It was not computed: too many iterations.
    Iterations { refused: bool },
}

/// True or false if a bit map at `name` proves that there is none of the type: whether it is that of a delegation. `None`: it proves nothing.
pub(super) fn is_usable_at(bitmap: &[u8], rtype: Rtype, name: &[u8]) -> Option<bool> {
    let (apex, cut) = (contains(bitmap, Rtype::SOA), contains(bitmap, Rtype::NS));
    let delegation = cut && !apex;
    // RFC 6840 section 4.1: the parent's side of a cut knows nothing of the child's types, and RFC 4035 section 5.2 and RFC 6840 section 4.4: the
    // child's side knows nothing of its DS.
    let wrong_side = if rtype == Rtype::DS { apex && name != [0] } else { delegation };
    let there = match rtype {
        // Those of the denial itself are everywhere.
        Rtype::ANY => types(bitmap).any(|rtype| ![Rtype::RRSIG, Rtype::NSEC, NXNAME].contains(&rtype)),
        _ => contains(bitmap, rtype) || contains(bitmap, Rtype::CNAME),
    };
    (!wrong_side && !there).then_some(delegation)
}

/// The verified denials of a zone in an answer.
#[derive(Debug, Default)]
pub(super) struct Denials {
    named: Vec<nsec::Span>,
    hashed: Vec<hashed::Span>,
    /// Why the last of those that could not be verified could not.
    failure: Option<Reason>,
    /// The least of the verified ones.
    pub ttl: u32,
    /// Seconds until the first of their signatures ends.
    pub expires_in: u32,
}

impl Denials {
    /// Verifies them; they stay in the answer.
    pub fn collect(sets: &mut Sets, keys: &ZoneKeys, now: u64, work: &mut Work) -> Self {
        let mut denials = Self { ttl: u32::MAX, expires_in: u32::MAX, ..Self::default() };
        for rtype in [Rtype::NSEC, Rtype::NSEC3] {
            let places: Vec<usize> = sets.denials(rtype, &keys.zone).take(DENIALS_MAX).collect();
            for at in places {
                let Some(set) = sets.sets.get_mut(at) else { continue };
                match set.verify(keys, now, work) {
                    // A denial that itself came from a wildcard proves nothing of the name (RFC 4592 section 4.8).
                    Ok(verified) if verified.expanded_from.is_none() => {
                        set.used = true;
                        denials.ttl = denials.ttl.min(verified.ttl);
                        denials.expires_in = denials.expires_in.min(verified.expires_in);
                        let Some(rdata) = set.rdata.first() else { continue };
                        denials.named.extend(nsec::Span::new(&set.owner, rdata).filter(|_| rtype == Rtype::NSEC));
                        denials.hashed.extend(hashed::Span::new(&set.owner, &keys.zone, rdata).filter(|_| rtype == Rtype::NSEC3));
                    }
                    Ok(_) => {}
                    Err(reason) => denials.failure = Some(reason),
                }
            }
        }
        denials
    }

    /// What they say of a name and type.
    pub fn find(&self, keys: &ZoneKeys, name: &Name, rtype: Rtype, work: &mut Work) -> Result<Denial, Reason> {
        match nsec::find(&self.named, name, rtype) {
            Denial::Unproven => {}
            proven => return Ok(proven),
        }
        let Some(spans) = Spans::of(&keys.zone, &self.hashed) else { return Ok(Denial::Unproven) };
        spans.find(name, rtype, work).map_err(|Spent| spent(name))
    }

    /// What they say of a set that came from the wildcard below the last `from` labels of `owner`: [`Denial::Name`] if it had to.
    pub fn expansion(&self, keys: &ZoneKeys, owner: &Name, from: u8, work: &mut Work) -> Result<Denial, Reason> {
        if nsec::proves_expansion(&self.named, owner, from) {
            return Ok(Denial::Name);
        }
        let Some(spans) = Spans::of(&keys.zone, &self.hashed) else { return Ok(Denial::Unproven) };
        spans.expansion(owner, from, work).map_err(|Spent| spent(owner))
    }

    /// Why nothing was proven.
    pub fn unproven(&self, name: &Name, text: &'static str) -> Reason {
        self.failure.clone().unwrap_or_else(|| Reason::new(ExtendedError::NSEC_MISSING, name, text))
    }
}

fn spent(name: &Name) -> Reason {
    Reason::new(ExtendedError::BOGUS, name, "too many hashes to compute")
}

/// What too many iterations mean.
pub(super) fn iterations(zone: &Name) -> Reason {
    Reason::new(ExtendedError::UNSUPPORTED_NSEC3_ITERATIONS, zone, "too many NSEC3 iterations")
}
