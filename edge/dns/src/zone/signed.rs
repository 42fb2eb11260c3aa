//! Signed zones: signatures made when they are first asked for and kept, and the proofs that something is not there.
//!
//! ```text
//!   NSEC     names in canonical order, each says which comes next (RFC 4034 section 4):    a name that is not there lies between two of them
//!   NSEC3    hashes of names in order (RFC 5155):                                          the same, and what exists above it is shown by its hash
//! ```
//! A zone that comes signed by others (RRSIG records beside its own) is answered from its records in the same way.

use super::alias::LastMade;
use super::build::canonical_into;
use super::lookup::{Question, WILDCARD_LABEL};
use super::{APEX, CUT, OCCLUDED, RecordRef, Sink, Zone};
use crate::dnssec::{SetSigner, nsec3};
use crate::key::NameKey;
use crate::types::Rtype;
use crate::writer::{Encoded, Full, RECORD_HEAD_BYTES, Section, head};
use smallvec::SmallVec;
use std::sync::{Arc, OnceLock};

/// Octets of an NSEC3 owner before the zone's name: a label of 32 digits with its length.
const HASH_LABEL_BYTES: usize = nsec3::LABEL_BYTES + 1;
/// Proofs of one answer before there is an allocation: one for each alias, three for its end.
const PROOFS_MAX: usize = 24;

/// What makes a zone a signed one.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) source: Source,
    pub(super) denial: Chain,
    /// Of what does not stand in the zone.
    pub(super) last_made: LastMade,
}

/// Where signatures come from.
#[derive(Debug)]
pub(super) enum Source {
    /// Made here: by number of the set, RRSIG records as they stand on the wire behind their owner. Whoever comes first makes them; reading takes
    /// no lock.
    Signer { signer: Arc<dyn SetSigner>, made: Box<[OnceLock<Box<[u8]>>]> },
    /// Among the records of each name, sorted by the type they cover.
    Records,
}

/// The order that proves absence.
#[derive(Debug)]
pub(super) enum Chain {
    /// Nodes with an NSEC set, in canonical order.
    Nsec(Names),
    /// Links in the order of their hashes.
    Nsec3 {
        iterations: u16,
        salt: Box<[u8]>,
        links: Box<[Link]>,
        /// By node: its link; [`NO_LINK`] where there is none.
        of_node: Box<[u32]>,
    },
}

pub(super) const NO_LINK: u32 = u32::MAX;

/// Names in a form in which octet order is canonical order.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) nodes: Vec<u32>,
    /// Where each ends.
    pub(super) ends: Vec<u32>,
    pub(super) octets: Vec<u8>,
}

impl Names {
    fn get(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(at).copied().unwrap_or(start);
        self.octets.get(start as usize..end as usize).unwrap_or_default()
    }

    /// The node of the name itself, or of the last name before it. Costs a binary search, each step one comparison of octets.
    fn at_or_before(&self, canonical: &[u8]) -> u32 {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle) <= canonical { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1).and_then(|at| self.nodes.get(at)).copied().unwrap_or(APEX)
    }
}

/// An NSEC3 record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) hash: [u8; nsec3::HASH_BYTES],
    /// Place of the owner.
    pub(super) name: u32,
    /// Number of its set.
    pub(super) set: u32,
}

/// What is to be shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claim {
    /// The node has nothing of the type.
    NoData(u32),
    /// There is no such name; what exists above it.
    NoName { encloser: u32 },
    /// A wildcard answers because the name itself is not there.
    Wildcard { encloser: u32 },
    /// A wildcard answers, and has nothing of the type.
    WildcardNoData { encloser: u32, wildcard: u32 },
}

/// What follows the answer section: proofs, and then addresses.
#[derive(Default)]
pub(crate) struct After<'z> {
    /// The zone with the number of the NSEC node or of the NSEC3 link.
    proofs: SmallVec<[(Option<&'z Zone>, u32); PROOFS_MAX]>,
    /// A set with names whose addresses may be added.
    pub(super) addresses: Option<(&'z Zone, u32)>,
}

impl<'z> After<'z> {
    fn push(&mut self, zone: &'z Zone, number: u32) {
        let known = |(own, other): &(Option<&Zone>, u32)| *other == number && own.is_some_and(|own| std::ptr::eq(own, zone));
        if number != NO_LINK && !self.proofs.iter().any(known) {
            self.proofs.push((Some(zone), number));
        }
    }

    /// Writes the proofs.
    pub(crate) fn write_proofs(&self, sink: &mut impl Sink) -> Result<(), Full> {
        self.proofs.iter().try_for_each(|(zone, number)| zone.map_or(Ok(()), |zone| zone.write_proof(*number, sink)))
    }

    /// Writes the addresses.
    pub(crate) fn write_addresses(&self, sink: &mut impl Sink) -> Result<(), Full> {
        self.addresses.map_or(Ok(()), |(zone, set)| zone.add_addresses(set, sink))
    }
}

impl Zone {
    /// True if it has signatures.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.signed.is_some()
    }

    /// Puts a set of a node where it belongs, its signatures behind it if they are wanted.
    pub(super) fn put(
        &self,
        sink: &mut impl Sink,
        section: Section,
        owner: &[u8],
        (node, set): (u32, u32),
        ttl: Option<u32>,
    ) -> Result<(), Full> {
        sink.set(section, owner, self.encoded(set), ttl)?;
        match &self.signed {
            Some(signed) if sink.dnssec_ok() => match self.signatures(signed, node, set) {
                Some(signatures) => sink.set(section, owner, signatures, ttl),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// The signatures of a set.
    fn signatures<'z>(&'z self, signed: &'z Signed, node: u32, set: u32) -> Option<Encoded<'z>> {
        let encoded = self.encoded(set);
        let flags = self.node(node).flags;
        //= RFC 4035 section 2.2
        //# RRSIG RRs MUST NOT be created for delegation NS RRsets or glue.
        if matches!(encoded.rtype, Rtype::RRSIG | Rtype::ALIAS)
            || flags & OCCLUDED != 0
            || (flags & CUT != 0 && !matches!(encoded.rtype, Rtype::DS | Rtype::NSEC))
        {
            return None;
        }
        let octets = match &signed.source {
            Source::Records => self.covering(node, encoded.rtype),
            Source::Signer { signer, made } => made.get(set as usize)?.get_or_init(|| sign(&**signer, self.name(node), encoded)),
        };
        (!octets.is_empty()).then_some(Encoded { rtype: Rtype::RRSIG, octets })
    }

    fn link_signatures<'z>(&'z self, signed: &'z Signed, link: &Link) -> Option<Encoded<'z>> {
        let encoded = self.encoded(link.set);
        let owner = self.link_name(link);
        let octets = match &signed.source {
            Source::Records => self.covering(self.find_name(owner)?, Rtype::NSEC3),
            Source::Signer { signer, made } => made.get(link.set as usize)?.get_or_init(|| sign(&**signer, owner, encoded)),
        };
        (!octets.is_empty()).then_some(Encoded { rtype: Rtype::RRSIG, octets })
    }

    /// The signatures of a type among a node's records: they stand together.
    fn covering(&self, node: u32, rtype: Rtype) -> &[u8] {
        let Some(all) = self.set_of(node, Rtype::RRSIG).map(|set| self.encoded(set)) else { return &[] };
        let (mut before, mut length) = (0, 0);
        for record in all.records() {
            match record.get(RECORD_HEAD_BYTES..).and_then(<[u8]>::first_chunk) {
                Some(covered) if u16::from_be_bytes(*covered) == rtype.0 => length += record.len(),
                _ if length > 0 => break,
                _ => before += record.len(),
            }
        }
        all.octets.get(before..before + length).unwrap_or_default()
    }

    /// What an RRSIG question gets: the signatures of one set, as for ANY.
    pub(super) fn any_signatures(&self, node: u32) -> Option<Encoded<'_>> {
        let signed = self.signed.as_ref()?;
        self.set_range(node).find_map(|set| self.signatures(signed, node, set))
    }

    pub(super) fn link_name(&self, link: &Link) -> &[u8] {
        let start = link.name as usize;
        self.blob.get(start..start + HASH_LABEL_BYTES + self.origin.wire().len()).unwrap_or_default()
    }

    fn write_proof(&self, number: u32, sink: &mut impl Sink) -> Result<(), Full> {
        let Some(signed) = &self.signed else { return Ok(()) };
        match &signed.denial {
            Chain::Nsec(_) => match self.set_of(number, Rtype::NSEC) {
                Some(set) => self.put(sink, Section::Authority, self.name(number), (number, set), None),
                None => Ok(()),
            },
            Chain::Nsec3 { links, .. } => {
                let Some(link) = links.get(number as usize) else { return Ok(()) };
                sink.set(Section::Authority, self.link_name(link), self.encoded(link.set), None)?;
                match self.link_signatures(signed, link) {
                    Some(signatures) => sink.set(Section::Authority, self.link_name(link), signatures, None),
                    None => Ok(()),
                }
            }
        }
    }

    /// Collects what shows a claim (RFC 4035 section 3.1.3, RFC 5155 section 7.2).
    ///
    /// Cost: a binary search for each name; with NSEC3 one hash for each name that is not there.
    pub(super) fn prove<'z>(&'z self, claim: Claim, key: &NameKey, after: &mut After<'z>) {
        let Some(signed) = &self.signed else { return };
        match &signed.denial {
            Chain::Nsec(names) => {
                let mut canonical = SmallVec::new();
                canonical_into(key.wire(), &mut canonical);
                after.push(self, names.at_or_before(&canonical));
                match claim {
                    Claim::NoData(_) | Claim::Wildcard { .. } => {}
                    Claim::NoName { encloser } => {
                        canonical.clear();
                        canonical_into(self.name(encloser), &mut canonical);
                        canonical.extend_from_slice(b"*\0");
                        after.push(self, names.at_or_before(&canonical));
                    }
                    Claim::WildcardNoData { wildcard, .. } => {
                        canonical.clear();
                        canonical_into(self.name(wildcard), &mut canonical);
                        after.push(self, names.at_or_before(&canonical));
                    }
                }
            }
            Chain::Nsec3 { iterations, salt, links, of_node } => {
                let of_node = |node: u32| of_node.get(node as usize).copied().unwrap_or(NO_LINK);
                let covering = |name: &[u8]| covering_link(links, &nsec3::hash(name, *iterations, salt));
                let next_closer = |encloser: u32| key.ending(usize::from(self.node(encloser).labels) + 1);
                match claim {
                    Claim::NoData(node) => after.push(self, of_node(node)),
                    Claim::NoName { encloser } => {
                        after.push(self, of_node(encloser));
                        after.push(self, covering(next_closer(encloser)));
                        let mut wildcard: SmallVec<[u8; 256]> = SmallVec::from_slice(WILDCARD_LABEL);
                        wildcard.extend_from_slice(self.name(encloser));
                        after.push(self, covering(&wildcard));
                    }
                    Claim::Wildcard { encloser } => after.push(self, covering(next_closer(encloser))),
                    Claim::WildcardNoData { encloser, wildcard } => {
                        after.push(self, of_node(encloser));
                        after.push(self, covering(next_closer(encloser)));
                        after.push(self, of_node(wildcard));
                    }
                }
            }
        }
    }

    /// The DS of a delegation with its signatures, or the proof that there is none (RFC 4035 section 3.1.4).
    pub(super) fn refer_securely<'z>(&'z self, cut: u32, sink: &mut impl Sink, after: &mut After<'z>) -> Result<(), Full> {
        if let Some(ds) = self.set_of(cut, Rtype::DS) {
            return self.put(sink, Section::Authority, self.name(cut), (cut, ds), None);
        }
        if let Some(key) = NameKey::of(self.name(cut)) {
            self.prove(Claim::NoData(cut), &key, after);
        }
        Ok(())
    }

    /// All records, those that signing makes included: for a transfer to a server that does not sign, and for who checks a whole zone. Without
    /// ALIAS, which is nobody else's business: see [`Self::alias_records`]. Makes all signatures there are not yet.
    pub fn records_signed(&self) -> impl Iterator<Item = RecordRef<'_>> {
        let made_here = self.signed.as_ref().filter(|signed| matches!(signed.source, Source::Signer { .. }));
        let of_nodes = self.numbers().flat_map(move |node| {
            let owner = self.name(node);
            let shown = self.set_range(node).filter(|set| self.encoded(*set).rtype != Rtype::ALIAS);
            shown.flat_map(move |set| {
                let signatures = made_here.and_then(|signed| self.signatures(signed, node, set));
                self.records_of(owner, self.encoded(set))
                    .chain(signatures.into_iter().flat_map(move |set| self.records_of(owner, set)))
            })
        });
        let links = made_here.map_or(&[][..], |signed| match &signed.denial {
            Chain::Nsec3 { links, .. } => links,
            Chain::Nsec(_) => &[],
        });
        let of_links = links.iter().flat_map(move |link| {
            let owner = self.link_name(link);
            let signatures = made_here.and_then(|signed| self.link_signatures(signed, link));
            let sets = std::iter::once(self.encoded(link.set)).chain(signatures);
            sets.flat_map(move |set| self.records_of(owner, set))
        });
        of_nodes.chain(of_links)
    }
}

/// The link whose span holds the hash: the last one not behind it, or the last of all.
fn covering_link(links: &[Link], hash: &[u8; nsec3::HASH_BYTES]) -> u32 {
    let behind = links.partition_point(|link| link.hash <= *hash);
    let at = behind.checked_sub(1).or_else(|| links.len().checked_sub(1));
    at.and_then(|at| u32::try_from(at).ok()).unwrap_or(NO_LINK)
}

/// The RRSIG records of a set as they stand on the wire behind their owner.
fn sign(signer: &dyn SetSigner, owner: &[u8], set: Encoded<'_>) -> Box<[u8]> {
    let rdata: SmallVec<[&[u8]; 16]> = set.rdata().collect();
    let mut octets = Vec::new();
    for signature in signer.sign(&owner.to_ascii_lowercase(), set.rtype, set.ttl(), &rdata) {
        if let Ok(length) = u16::try_from(signature.len()) {
            octets.extend_from_slice(&head(Rtype::RRSIG, set.ttl(), length));
            octets.extend_from_slice(&signature);
        }
    }
    octets.into()
}

/// A question's key is enough to prove by.
impl Question<'_> {
    pub(super) fn prove<'z>(&self, zone: &'z Zone, claim: Claim, sink: &impl Sink, after: &mut After<'z>) {
        if sink.dnssec_ok() && zone.is_signed() {
            zone.prove(claim, self.key, after);
        }
    }
}
