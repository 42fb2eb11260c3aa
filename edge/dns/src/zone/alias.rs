//! ALIAS at the apex: a name whose addresses the apex answers as its own, where a CNAME may not be (RFC 1034 section 3.6.2).
//!
//! ```text
//!   example.org. ALIAS web.cdn.example.      example.org. A?  ─> web.cdn.example. A of our own resolver, as example.org. A
//! ```
//! Nobody outside sees the record: A and AAAA are answered, and listed in NSEC and NSEC3, as if they stood in the zone. Their signatures are made for
//! the addresses of the moment, and the last ones are kept. If the target has no address of one kind, the answer is NODATA, proven by the apex' own
//! NSEC or NSEC3 record without that type.

use super::lookup::{NameBuffer, Outcome, Question, Step};
use super::signed::{Chain, Source};
use super::{APEX, Sink, Zone};
use crate::dnssec::SetSigner;
use crate::dnssec::bitmap::without;
use crate::name::Name;
use crate::record::{Rdata, Record};
use crate::resolver::Resolved;
use crate::types::{Rcode, Rtype};
use crate::wire::Reader;
use crate::writer::{Full, Section};
use smallvec::SmallVec;
use std::sync::{Arc, Mutex};

/// Addresses of one kind that are given on; a message of 1232 octets holds fewer with their signature.
const ADDRESSES_MAX: usize = 64;
/// Sets whose signatures are kept: A and AAAA, each also as they were before, and the proofs that one is missing.
const KEPT_MAX: usize = 8;

/// Signatures made for a set that does not stand in the zone.
type Signatures = Arc<[Box<[u8]>]>;

/// The last signatures made here. Nobody waits for the lock: who does not get it signs.
#[derive(Debug, Default)]
pub(super) struct LastMade(Mutex<Vec<Made>>);

#[derive(Debug)]
struct Made {
    rtype: Rtype,
    /// The data of all records, one behind the other: those of a type that comes here have one length, or are alone.
    data: Box<[u8]>,
    signatures: Signatures,
}

impl LastMade {
    fn get_or_sign(&self, signer: &dyn SetSigner, owner: &[u8], rtype: Rtype, ttl: u32, rdata: &[&[u8]]) -> Signatures {
        let data = rdata.concat();
        if let Ok(made) = self.0.try_lock()
            && let Some(found) = made.iter().find(|made| made.rtype == rtype && *made.data == *data)
        {
            return Arc::clone(&found.signatures);
        }
        let signatures: Signatures = signer.sign(owner, rtype, ttl, rdata).into();
        if let Ok(mut made) = self.0.try_lock() {
            if made.len() >= KEPT_MAX {
                made.remove(0);
            }
            made.push(Made { rtype, data: data.into(), signatures: Arc::clone(&signatures) });
        }
        signatures
    }
}

/// The addresses of the target, as the apex gives them.
struct Addresses<'r> {
    ttl: u32,
    rdata: SmallVec<[&'r [u8]; 8]>,
}

impl Zone {
    /// The name the apex' addresses are those of.
    #[must_use]
    pub fn alias(&self) -> Option<Name> {
        let set = self.set_of(APEX, Rtype::ALIAS)?;
        Name::from_wire(self.encoded(set).rdata().next()?).ok()
    }

    /// True if a node's records of this type are those of an ALIAS.
    pub(super) fn is_aliased(&self, node: u32, rtype: Rtype) -> bool {
        node == APEX && matches!(rtype, Rtype::A | Rtype::AAAA) && self.set_of(APEX, Rtype::ALIAS).is_some()
    }

    fn addresses<'r>(&self, rtype: Rtype, resolved: &'r Resolved) -> Addresses<'r> {
        let alias = self.set_of(APEX, Rtype::ALIAS).map_or(0, |set| self.encoded(set).ttl());
        // The aliases on the way are part of the answer.
        let answers = resolved.records().filter(|record| record.section == Section::Answer);
        let ttl = answers.map(|record| record.ttl).min().unwrap_or(0).min(alias);
        let mut rdata: SmallVec<[&[u8]; 8]> = resolved.rdata(rtype).take(ADDRESSES_MAX).collect();
        rdata.sort_unstable();
        rdata.dedup();
        Addresses { ttl, rdata }
    }

    /// The signatures of a set of the apex that does not stand in the zone; none if the zone is not signed here.
    fn sign_for_apex(&self, rtype: Rtype, ttl: u32, rdata: &[&[u8]]) -> Option<Signatures> {
        let signed = self.signed.as_ref()?;
        let Source::Signer { signer, .. } = &signed.source else { return None };
        Some(signed.last_made.get_or_sign(&**signer, self.origin.wire(), rtype, ttl, rdata))
    }

    /// Answers with the target's addresses. If they are not known, `target` is the name they are wanted of.
    pub(super) fn answer_alias(
        &self,
        question: Question<'_>,
        outcome: &mut Outcome,
        sink: &mut impl Sink,
        target: &mut NameBuffer,
    ) -> Result<Step, Full> {
        let Question { name, rtype, .. } = question;
        let Some(alias) = self.alias() else { return Ok(Step::Done) };
        let Some(resolved) = sink.addresses_of(&alias, rtype) else {
            outcome.awaits = true;
            target.clear();
            target.extend_from_slice(alias.wire());
            return Ok(Step::Done);
        };
        if resolved.is_failure() {
            outcome.rcode = Rcode::SERVFAIL;
            return Ok(Step::Done);
        }
        let addresses = self.addresses(rtype, &resolved);
        if addresses.rdata.is_empty() {
            self.deny(sink)?;
            return if sink.dnssec_ok() { self.prove_missing(rtype, sink) } else { Ok(()) }.map(|()| Step::Done);
        }
        outcome.answered = true;
        for rdata in &addresses.rdata {
            sink.record(Section::Answer, name, rtype, addresses.ttl, rdata)?;
        }
        if sink.dnssec_ok() {
            for signature in self.sign_alias(rtype, &addresses).iter().flat_map(|signatures| signatures.iter()) {
                sink.record(Section::Answer, name, Rtype::RRSIG, addresses.ttl, signature)?;
            }
        }
        Ok(Step::Done)
    }

    /// Signed with the ALIAS' own TTL, which is never exceeded: the addresses' falls while they are kept, and their signature stays.
    fn sign_alias(&self, rtype: Rtype, addresses: &Addresses<'_>) -> Option<Signatures> {
        let ttl = self.set_of(APEX, Rtype::ALIAS).map_or(0, |set| self.encoded(set).ttl());
        self.sign_for_apex(rtype, ttl, &addresses.rdata)
    }

    /// The apex' NSEC or NSEC3 record without a type that is listed for the ALIAS.
    fn prove_missing(&self, rtype: Rtype, sink: &mut impl Sink) -> Result<(), Full> {
        let Some(signed) = &self.signed else { return Ok(()) };
        let (owner, set, proof) = match &signed.denial {
            Chain::Nsec(_) => (self.name(APEX), self.set_of(APEX, Rtype::NSEC), Rtype::NSEC),
            Chain::Nsec3 { links, of_node, .. } => {
                let link = of_node.first().and_then(|link| links.get(*link as usize));
                let Some(link) = link else { return Ok(()) };
                (self.link_name(link), Some(link.set), Rtype::NSEC3)
            }
        };
        let Some(set) = set.map(|set| self.encoded(set)) else { return Ok(()) };
        let Some(rdata) = set.rdata().next().and_then(|rdata| without_type(proof, rdata, rtype)) else { return Ok(()) };
        sink.record(Section::Authority, owner, proof, set.ttl(), &rdata)?;
        let Source::Signer { signer, .. } = &signed.source else { return Ok(()) };
        let lower = owner.to_ascii_lowercase();
        let signatures = signed.last_made.get_or_sign(&**signer, &lower, proof, set.ttl(), &[&rdata]);
        signatures.iter().try_for_each(|signature| sink.record(Section::Authority, owner, Rtype::RRSIG, set.ttl(), signature))
    }

    /// The target's addresses as records of the apex, with their signatures: what a secondary is given in place of the ALIAS.
    #[must_use]
    pub fn alias_records(&self, rtype: Rtype, resolved: &Resolved) -> Vec<Record> {
        let addresses = self.addresses(rtype, resolved);
        if addresses.rdata.is_empty() || resolved.is_failure() {
            return Vec::new();
        }
        // A secondary keeps them until the next version of the zone, whatever time they had left.
        let ttl = self.set_of(APEX, Rtype::ALIAS).map_or(0, |set| self.encoded(set).ttl());
        let record = |rtype, rdata: &[u8]| Record { name: self.origin.clone(), rtype, ttl, rdata: Rdata::from(rdata) };
        let signatures = self.sign_alias(rtype, &addresses);
        let signatures = signatures.iter().flat_map(|signatures| signatures.iter()).map(|rdata| record(Rtype::RRSIG, rdata));
        let own = addresses.rdata.iter().map(|rdata| record(rtype, rdata));
        own.chain(signatures).collect()
    }
}

/// The data of an NSEC or NSEC3 record without a type in its bit map.
fn without_type(proof: Rtype, rdata: &[u8], rtype: Rtype) -> Option<Vec<u8>> {
    let bitmap_at = if proof == Rtype::NSEC {
        Reader::new(rdata, 0).plain_name()?.len()
    } else {
        // Four octets, the salt and the next hash with their lengths (RFC 5155 section 3.2).
        let salt = usize::from(*rdata.get(4)?);
        6 + salt + usize::from(*rdata.get(5 + salt)?)
    };
    let (head, bitmap) = rdata.split_at_checked(bitmap_at)?;
    let mut out = head.to_vec();
    without(bitmap, rtype, &mut out);
    Some(out)
}

#[cfg(test)]
mod tests;
