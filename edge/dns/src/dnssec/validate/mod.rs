//! Validates the answers of the resolver (RFC 4035 section 5), without I/O.
//!
//! ```text
//!   new(question, answer) ─> poll ─┬─> Need(name, DS | DNSKEY) ── handle_answer ──> poll ...
//!                                  └─> Done(Secure | Insecure | Bogus) ──> answer()
//! ```
//! Each poll runs the whole examination again from its beginning and stops where a look-up is missing; what was verified, proven or fetched
//! before is remembered, so that nothing is computed twice. It follows the answer as a reader would: the set of the name, or a DNAME above
//! it, or an alias and then its target; at the end a denial. What is not on that path, or in a denial's proof, does not stay in the answer.

mod chain;
mod denial;
mod fuzz;
mod hashed;
mod keys;
mod nsec;
mod reason;
mod sets;
mod trust;
mod work;

#[doc(hidden)]
pub use fuzz::fuzz_validate;
pub use keys::KeyCache;
pub use reason::Reason;
pub use sets::SKEW_SECONDS;
pub use trust::Trust;
pub use work::{
    FAILURES_MAX, FAILURES_PER_SET_MAX, HASHES_MAX, ITERATIONS_MAX, ITERATIONS_REFUSED, KEYS_PER_TAG_MAX, LOOK_UPS_MAX,
    P384_COST, SIGNATURES_MAX, Work,
};

use super::Security;
use super::rrsig::Rrsig;
use crate::name::{Name, is_within, suffixes};
use crate::record::Record;
use crate::resolver::Answer;
use crate::types::{ExtendedError, Rcode, Rtype};
use chain::Zone;
use denial::{Denial, Denials};
use keys::Status;
use sets::{Place, Sets};
use std::collections::HashMap;
use std::sync::Arc;

/// Aliases in one answer that are followed; the resolver follows no more.
const ALIASES_MAX: usize = 16;
/// Zones of one answer that are remembered: one for each alias, and the last.
const CUTS_MAX: usize = ALIASES_MAX + 1;
/// Seconds a bogus answer is kept as a failure (RFC 9520 section 3.2).
const BOGUS_TTL: u32 = 30;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look this up, without validation and with the DO bit, and hand it to [`Validator::handle_answer`].
    Need {
        /// Lower-case.
        name: Name,
        /// DS or DNSKEY.
        rtype: Rtype,
    },
    /// The end; see [`Validator::answer`].
    Done(Verdict),
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it is proven.
    Secure,
    /// At least a part comes from a zone that is proven to be unsigned, or is signed in a way that is not supported (then there is a reason),
    /// or where no trust is configured.
    Insecure(Option<Reason>),
    /// It is wrong, or could not be proven: it must become a failure.
    Bogus(Reason),
}

/// Where the examination had to stop.
enum Stop {
    Need(Name, Rtype),
    Bogus(Reason),
}

/// One answer under examination. See the module.
#[derive(Debug)]
pub struct Validator {
    name: Name,
    rtype: Rtype,
    answer: Answer,
    sets: Sets,
    trust: Arc<Trust>,
    /// See [`Self::handle_cut`].
    cuts: Vec<Name>,
    now: u64,
    work: Work,
    /// Answers to what was needed; `None`: the look-up failed.
    fetched: HashMap<(Name, Rtype), Option<Sets>>,
    /// What the key cache may have forgotten meanwhile.
    statuses: HashMap<Name, Status>,
    /// What was asked for last.
    needed: Option<(Name, Rtype)>,
    verdict: Option<Verdict>,
    /// What the names prove is another code than the header says.
    rcode: Rcode,
    /// Seconds, from signatures; and until the first of them ends.
    ttl: u32,
    expires_in: u32,
}

impl Validator {
    /// Begins. `now` is in seconds since 1970; `answer` must have its RRSIG, NSEC and NSEC3 records, and come from the network: what is hosted or
    /// local is not validated.
    #[must_use]
    pub fn new(name: &Name, rtype: Rtype, answer: &Answer, trust: Arc<Trust>, now: u64, work: Work) -> Self {
        let name = name.to_key();
        let mut validator = Self {
            sets: Sets::of(answer),
            rcode: answer.rcode,
            answer: answer.clone(),
            trust,
            cuts: Vec::new(),
            now,
            work,
            fetched: HashMap::new(),
            statuses: HashMap::new(),
            needed: None,
            verdict: None,
            ttl: u32::MAX,
            expires_in: u32::MAX,
            name,
            rtype,
        };
        // What was asked for anyway is not looked up again.
        if (rtype == Rtype::DS || rtype == Rtype::DNSKEY) && !answer.is_failure() {
            validator.fetched.insert((validator.name.clone(), rtype), Some(Sets::of(answer)));
        }
        validator
    }

    /// Tells of a zone whose servers were asked for a name of the answer: the resolver was referred to it, so there should be a cut, which is
    /// looked up where who signed is above it. Without being told, only cuts between the two that are known from earlier are seen: asking for a
    /// DS set at each label of each name would double the queries, to find what its own parent signed.
    pub fn handle_cut(&mut self, zone: &Name) {
        let zone = zone.to_key();
        if self.cuts.len() < CUTS_MAX && !self.cuts.contains(&zone) {
            self.cuts.push(zone);
        }
    }

    /// What to do now. [`Step::Need`] comes again until it is answered.
    pub fn poll(&mut self, cache: &mut KeyCache) -> Step {
        if let Some(verdict) = &self.verdict {
            return Step::Done(verdict.clone());
        }
        let verdict = match self.examine(cache) {
            Ok(verdict) => verdict,
            Err(Stop::Need(name, rtype)) => {
                let again = self.needed.as_ref().is_some_and(|(asked, of)| *asked == name && *of == rtype);
                if again || self.work.take_look_up().is_ok() {
                    self.needed = Some((name.clone(), rtype));
                    return Step::Need { name, rtype };
                }
                Verdict::Bogus(Reason::new(ExtendedError::BOGUS, &name, "too many look-ups"))
            }
            Err(Stop::Bogus(reason)) => Verdict::Bogus(reason),
        };
        self.verdict = Some(verdict.clone());
        Step::Done(verdict)
    }

    /// The answer to a [`Step::Need`]; a failure if there is none.
    pub fn handle_answer(&mut self, name: &Name, rtype: Rtype, answer: &Answer) {
        let sets = (!answer.is_failure()).then(|| Sets::of(answer));
        self.fetched.entry((name.to_key(), rtype)).or_insert(sets);
    }

    /// What is left of the work that was allowed.
    #[must_use]
    pub fn work(&self) -> Work {
        self.work
    }

    /// Seconds until the first signature ends; the answer must not be kept as secure for longer, whatever the policy for TTLs.
    #[must_use]
    pub fn expires_in(&self) -> u32 {
        self.expires_in
    }

    fn examine(&mut self, cache: &mut KeyCache) -> Result<Verdict, Stop> {
        if self.answer.is_failure() {
            let name = self.name.clone();
            return Err(self.bogus(ExtendedError::NO_REACHABLE_AUTHORITY, &name, "there is no answer"));
        }
        // Signatures are not signed (RFC 4035 section 2.2).
        if self.rtype == Rtype::RRSIG {
            return Ok(Verdict::Insecure(None));
        }
        let mut verdict = Verdict::Secure;
        let mut owner = self.name.clone();
        for _ in 0..ALIASES_MAX {
            let wanted = self.wanted(&owner);
            if !wanted.is_empty() {
                for at in wanted {
                    let one = self.examine_set(at, cache)?;
                    worsen(&mut verdict, one);
                }
                return Ok(verdict);
            }
            let (at, target) = match self.alias(&owner)? {
                Some(alias) => alias,
                None => {
                    let one = self.examine_denial(&owner, cache)?;
                    worsen(&mut verdict, one);
                    return Ok(verdict);
                }
            };
            let one = self.examine_set(at, cache)?;
            worsen(&mut verdict, one);
            // The alias that a DNAME makes has no signature of its own.
            if let Some(at) = self.sets.find(Place::Answer, &owner, Rtype::CNAME)
                && let Some(set) = self.sets.sets.get_mut(at)
            {
                set.used = true;
            }
            owner = target;
        }
        Err(self.bogus(ExtendedError::BOGUS, &owner, "too many aliases"))
    }

    /// The sets that answer the question at the end of the aliases.
    fn wanted(&self, owner: &Name) -> Vec<usize> {
        if self.rtype != Rtype::ANY {
            return self.sets.find(Place::Answer, owner, self.rtype).into_iter().collect();
        }
        let own = self.sets.sets.iter().enumerate().filter(|(_, set)| set.owner == *owner);
        own.filter(|(at, set)| self.sets.find(Place::Answer, owner, set.rtype) == Some(*at)).map(|(at, _)| at).collect()
    }

    /// The set that leads on from `owner`, and where to.
    fn alias(&self, owner: &Name) -> Result<Option<(usize, Name)>, Stop> {
        let target_of = |at: usize| {
            let set = self.sets.sets.get(at)?;
            // Two of them are not one (RFC 2181 section 10.1).
            let [target] = set.rdata.as_slice() else { return None };
            Name::from_wire(target).ok().map(|target| target.to_key())
        };
        let alias = self.sets.find(Place::Answer, owner, Rtype::CNAME);
        for suffix in suffixes(owner.wire()).skip(1) {
            let Some(zone) = Name::from_wire(suffix).ok() else { continue };
            let Some(at) = self.sets.find(Place::Answer, &zone, Rtype::DNAME) else { continue };
            let head = owner.wire().get(..owner.wire().len().saturating_sub(suffix.len())).unwrap_or_default();
            let made = target_of(at).and_then(|target| Name::from_wire(&[head, target.wire()].concat()).ok());
            let told = alias.and_then(target_of);
            //= RFC 6672 section 5.3.1
            //# A validating resolver MUST check that the CNAME was properly synthesized.
            return match made {
                Some(made) if told.is_none() || told.as_ref() == Some(&made) => Ok(Some((at, made))),
                _ => Err(self.bogus(ExtendedError::BOGUS, owner, "the alias is not what the DNAME makes of the name")),
            };
        }
        let Some(at) = alias else { return Ok(None) };
        match target_of(at) {
            Some(target) => Ok(Some((at, target))),
            None => Err(self.bogus(ExtendedError::BOGUS, owner, "the alias is broken")),
        }
    }

    /// A set of the answer section.
    fn examine_set(&mut self, at: usize, cache: &mut KeyCache) -> Result<Verdict, Stop> {
        let Some(set) = self.sets.sets.get(at) else { return Ok(Verdict::Secure) };
        let (owner, rtype, signer) = (set.owner.clone(), set.rtype, set.signer());
        let keys = match self.zone_of(&owner, rtype, signer, cache)? {
            Zone::Secure(keys) => keys,
            Zone::Insecure(reason) => {
                if let Some(set) = self.sets.sets.get_mut(at) {
                    set.used = true;
                }
                return Ok(Verdict::Insecure(reason));
            }
        };
        let Some(set) = self.sets.sets.get_mut(at) else { return Ok(Verdict::Secure) };
        let verified = set.verify(&keys, self.now, &mut self.work).map_err(Stop::Bogus)?;
        set.used = true;
        self.limit(verified.ttl, verified.expires_in);
        let Some(from) = verified.expanded_from else { return Ok(Verdict::Secure) };
        //= RFC 4035 section 5.3.4
        //# Note that the response received by the resolver should include all NSEC RRs needed to authenticate the response
        let denials = Denials::collect(&mut self.sets, &keys, self.now, &mut self.work);
        self.limit(denials.ttl, denials.expires_in);
        match denials.expansion(&keys, &owner, from, &mut self.work).map_err(Stop::Bogus)? {
            Denial::Name => Ok(Verdict::Secure),
            Denial::OptOut => Ok(Verdict::Insecure(None)),
            Denial::Iterations { refused: false } => Ok(Verdict::Insecure(Some(denial::iterations(&keys.zone)))),
            Denial::Iterations { refused: true } => Err(Stop::Bogus(denial::iterations(&keys.zone))),
            Denial::Type { .. } | Denial::Unproven => {
                Err(Stop::Bogus(denials.unproven(&owner, "no proof that the wildcard had to answer")))
            }
        }
    }

    /// Nothing is at `owner`, the answer says.
    fn examine_denial(&mut self, owner: &Name, cache: &mut KeyCache) -> Result<Verdict, Stop> {
        let proof = |rtype: Rtype| matches!(rtype, Rtype::SOA | Rtype::NSEC | Rtype::NSEC3);
        let signers = self.sets.sets.iter().filter(|set| proof(set.rtype)).filter_map(sets::Set::signer);
        let above = |zone: &Name| {
            let own = self.rtype != Rtype::DS || zone != owner || owner.wire() == [0];
            own && is_within(owner.wire(), zone.wire())
        };
        // An unsigned SOA below who signed: the proofs are about an earlier name of the chain.
        let soas = self.sets.sets.iter().filter(|set| set.rtype == Rtype::SOA && above(&set.owner));
        let soa_bytes = soas.map(|set| set.owner.wire().len()).max().unwrap_or(0);
        let own = signers.filter(|signer| above(signer) && signer.wire().len() >= soa_bytes);
        let signer = own.max_by_key(|signer| signer.wire().len());
        let keys = match self.zone_of(owner, self.rtype, signer, cache)? {
            Zone::Secure(keys) => keys,
            Zone::Insecure(reason) => return Ok(Verdict::Insecure(reason)),
        };
        let soa = self.sets.find(Place::Authority, &keys.zone, Rtype::SOA);
        if let Some(set) = soa.and_then(|at| self.sets.sets.get_mut(at)) {
            let verified = set.verify(&keys, self.now, &mut self.work).map_err(Stop::Bogus)?;
            set.used = true;
            self.limit(verified.ttl, verified.expires_in);
        }
        let denials = Denials::collect(&mut self.sets, &keys, self.now, &mut self.work);
        self.limit(denials.ttl, denials.expires_in);
        let denial = denials.find(&keys, owner, self.rtype, &mut self.work).map_err(Stop::Bogus)?;
        match denial {
            Denial::Name => Ok(Verdict::Secure),
            Denial::Type { .. } => {
                // The code is not signed, the proof is.
                self.rcode = Rcode::NOERROR;
                Ok(Verdict::Secure)
            }
            // RFC 5155 section 9.2: not authentic where a delegation may be hidden.
            Denial::OptOut => Ok(Verdict::Insecure(None)),
            Denial::Iterations { refused: false } => Ok(Verdict::Insecure(Some(denial::iterations(&keys.zone)))),
            Denial::Iterations { refused: true } => Err(Stop::Bogus(denial::iterations(&keys.zone))),
            Denial::Unproven => Err(Stop::Bogus(denials.unproven(owner, "no proof that there is nothing"))),
        }
    }

    fn limit(&mut self, ttl: u32, expires_in: u32) {
        self.ttl = self.ttl.min(ttl);
        self.expires_in = self.expires_in.min(expires_in);
    }

    /// The answer as it may be given on, once [`Step::Done`] was said: a failure if it is bogus; otherwise only what was on the way, with TTLs that
    /// the signatures allow, and marked.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let (security, reason) = match &self.verdict {
            Some(Verdict::Secure) => (Security::Secure, None),
            Some(Verdict::Insecure(reason)) => (Security::Insecure, reason.as_ref()),
            Some(Verdict::Bogus(reason)) => return Answer::failure(BOGUS_TTL).because(reason.code),
            None => return Answer::failure(BOGUS_TTL),
        };
        let everything = self.rtype == Rtype::RRSIG;
        let keep = |place: Place, records: &[Record]| -> Vec<Record> {
            let kept = records.iter().filter_map(|record| {
                let rrsig = Rrsig::parse(&record.rdata).filter(|_| record.rtype == Rtype::RRSIG);
                let covered = rrsig.map_or(record.rtype, |rrsig| rrsig.type_covered);
                let set = self.sets.find(place, &record.name.to_key(), covered).and_then(|at| self.sets.sets.get(at));
                let set = match set {
                    // The denials of an unsigned zone are nobody's proof: its SOA, mostly.
                    Some(set) if set.used || (place == Place::Authority && security == Security::Insecure) => set,
                    _ => return everything.then(|| record.clone()),
                };
                if rrsig.is_some() && !set.is_genuine(&record.rdata) {
                    return None;
                }
                let ttl = set.state().map_or(u32::MAX, |verified| verified.ttl).min(record.ttl);
                Some(Record { ttl, ..record.clone() })
            });
            kept.collect()
        };
        let records = keep(Place::Answer, &self.answer.records);
        let authority = keep(Place::Authority, &self.answer.authority);
        let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(u32::MAX);
        let (ttl, extended_error) = (self.answer.ttl.min(ttl).min(self.ttl), reason.map(|reason| reason.code));
        Answer { rcode: self.rcode, records, authority, ttl, security, extended_error }
    }
}

/// The whole is as good as its worst part.
fn worsen(verdict: &mut Verdict, by: Verdict) {
    if *verdict == Verdict::Secure {
        *verdict = by;
    }
}
