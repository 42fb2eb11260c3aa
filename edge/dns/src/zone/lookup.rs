//! The answer of one zone to one question (RFC 1034 section 4.3.2, RFC 4592, RFC 6672).

use super::{Node, Zone, depth, wildcard_of};
use crate::name::{Name, is_within, labels, suffixes};
use crate::record::RecordSet;
use crate::types::{Rcode, Rtype};
use smallvec::SmallVec;
use std::borrow::Cow;

/// A record set where it stands in an answer.
#[derive(Clone, Debug)]
pub struct Placed<'z> {
    /// The owner: the set's own, or the name asked for where a wildcard answers.
    pub owner: Name,
    /// The set.
    pub set: Cow<'z, RecordSet>,
}

/// What a zone says.
#[derive(Clone, Debug)]
pub struct ZoneAnswer<'z> {
    /// NOERROR or NXDOMAIN.
    pub rcode: Rcode,
    /// False for a referral.
    pub authoritative: bool,
    /// What was asked for, aliases first.
    pub answer: SmallVec<[Placed<'z>; 2]>,
    /// SOA of a negative answer, NS of a referral.
    pub authority: SmallVec<[Placed<'z>; 1]>,
    /// Addresses of the names in the other sections.
    pub additional: SmallVec<[Placed<'z>; 4]>,
    /// The last alias leads out of the zone: whoever answers may look there.
    pub leads_to: Option<Name>,
}

impl ZoneAnswer<'_> {
    /// One without records.
    pub(crate) fn new(rcode: Rcode, authoritative: bool) -> Self {
        Self {
            rcode,
            authoritative,
            answer: SmallVec::new(),
            authority: SmallVec::new(),
            additional: SmallVec::new(),
            leads_to: None,
        }
    }
}

/// Aliases followed within a zone.
const ALIASES_MAX: usize = 8;
/// The owner's letters of a name that is being looked up are kept by the message, which repeats the question.
type Key<'k> = &'k [u8];

impl Zone {
    /// Answers a question for a name of this zone.
    ///
    /// Cost: one table look-up for each label between name and apex, and one for the wildcard if there is no such name.
    #[must_use]
    pub fn answer(&self, name: &Name, rtype: Rtype) -> ZoneAnswer<'_> {
        let mut answer = ZoneAnswer::new(Rcode::NOERROR, true);
        let mut owner = name.clone();
        for _ in 0..ALIASES_MAX {
            let key = owner.to_key();
            match self.step(&owner, key.wire(), rtype, &mut answer) {
                // An alias that leads back would only be said again.
                Some(target) if answer.answer.iter().any(|placed| placed.owner == target) => break,
                Some(target) if is_within(target.to_key().wire(), self.origin.wire()) => owner = target,
                Some(target) => {
                    answer.leads_to = Some(target);
                    break;
                }
                None => break,
            }
        }
        self.add_addresses(&mut answer);
        answer
    }

    /// Looks at one name; the target if it is an alias.
    fn step<'z>(&'z self, owner: &Name, key: Key<'_>, rtype: Rtype, answer: &mut ZoneAnswer<'z>) -> Option<Name> {
        if let Some(cut) = self.cut(key, rtype) {
            self.refer(cut, answer);
            return None;
        }
        if self.has_dname
            && let Some(redirected) = self.redirect(owner, key, rtype, answer)
        {
            return redirected;
        }
        let node = match self.node(key) {
            Some(node) => Some(node),
            None => {
                let encloser =
                    suffixes(key).skip(1).find(|suffix| self.nodes.contains_key(*suffix)).unwrap_or(self.origin.wire());
                self.node(&wildcard_of(encloser))
            }
        };
        let Some(node) = node else {
            // After an alias the code is that of the last name (RFC 6604 section 2).
            answer.rcode = Rcode::NXDOMAIN;
            self.deny(answer);
            return None;
        };
        if let Some(alias) = node.set(Rtype::CNAME).filter(|_| rtype != Rtype::CNAME && rtype != Rtype::ANY) {
            answer.answer.push(Placed { owner: owner.clone(), set: Cow::Borrowed(alias) });
            return Name::from_wire(alias.rdata.first()?).ok();
        }
        let found = match rtype {
            //= RFC 8482 section 4.1
            //# A DNS responder that receives an ANY query MAY decline to provide a conventional ANY response or MAY instead send a
            //# response with a single RRset
            Rtype::ANY => node.sets.first(),
            rtype => node.set(rtype),
        };
        match found {
            Some(set) => answer.answer.push(Placed { owner: owner.clone(), set: Cow::Borrowed(set) }),
            None => self.deny(answer),
        }
        None
    }

    /// The highest delegation at or above the name.
    fn cut(&self, key: Key<'_>, rtype: Rtype) -> Option<&Node> {
        let mut cut = None;
        for suffix in suffixes(key).take_while(|suffix| suffix.len() > self.origin.wire().len()) {
            // The parent answers for the DS (RFC 4035 section 3.1.4.1).
            let own = suffix.len() == key.len() && rtype == Rtype::DS;
            if let Some(node) = self.node(suffix).filter(|node| !own && node.set(Rtype::NS).is_some()) {
                cut = Some(node);
            }
        }
        cut
    }

    fn refer<'z>(&'z self, cut: &'z Node, answer: &mut ZoneAnswer<'z>) {
        // Behind an alias the first part stays our word.
        answer.authoritative = !answer.answer.is_empty();
        if let Some(servers) = cut.set(Rtype::NS) {
            answer.authority.push(Placed { owner: cut.name.clone(), set: Cow::Borrowed(servers) });
        }
    }

    /// `Some` if a DNAME above the name redirects it (RFC 6672 section 3.2), with its new name unless that became too long.
    fn redirect<'z>(&'z self, owner: &Name, key: Key<'_>, rtype: Rtype, answer: &mut ZoneAnswer<'z>) -> Option<Option<Name>> {
        let above = suffixes(key).skip(1).take_while(|suffix| suffix.len() >= self.origin.wire().len());
        let (node, set) = above.filter_map(|suffix| self.node(suffix)).find_map(|node| Some((node, node.set(Rtype::DNAME)?)))?;
        answer.answer.push(Placed { owner: node.name.clone(), set: Cow::Borrowed(set) });
        let target = set.rdata.first()?;
        let kept = depth(key) - depth(node.name.wire());
        let mut wire: SmallVec<[u8; 64]> = SmallVec::new();
        for label in labels(owner.wire()).take(kept) {
            wire.push(u8::try_from(label.len()).unwrap_or(0));
            wire.extend_from_slice(label);
        }
        wire.extend_from_slice(target);
        let Ok(redirected) = Name::from_wire(&wire) else {
            //= RFC 6672 section 2.2
            //# If the target domain name is too long, the server returns YXDOMAIN
            answer.rcode = Rcode(6);
            return Some(None);
        };
        let alias = RecordSet { rtype: Rtype::CNAME, ttl: set.ttl, rdata: vec![redirected.wire().into()] };
        answer.answer.push(Placed { owner: owner.clone(), set: Cow::Owned(alias) });
        Some((rtype != Rtype::CNAME).then_some(redirected))
    }

    fn deny<'z>(&'z self, answer: &mut ZoneAnswer<'z>) {
        let owner = self.node(self.origin.wire()).map_or_else(|| self.origin.clone(), |node| node.name.clone());
        answer.authority.push(Placed { owner, set: Cow::Borrowed(&self.negative_soa) });
    }

    /// Glue of a referral, addresses of exchanges and servers: a question saved.
    fn add_addresses<'z>(&'z self, answer: &mut ZoneAnswer<'z>) {
        let mut targets: SmallVec<[Name; 8]> = SmallVec::new();
        for placed in answer.answer.iter().chain(&answer.authority) {
            let skip = match placed.set.rtype {
                Rtype::NS => 0,
                Rtype::MX => 2,
                Rtype::SRV => 6,
                _ => continue,
            };
            let names = placed.set.rdata.iter().filter_map(|rdata| Name::from_wire(rdata.get(skip..)?).ok());
            targets.extend(names.take(16));
        }
        for target in targets {
            let Some(node) = self.node(target.to_key().wire()) else { continue };
            for rtype in [Rtype::A, Rtype::AAAA] {
                let placed = |placed: &Placed<'_>| placed.owner == target && placed.set.rtype == rtype;
                if let Some(set) = node.set(rtype).filter(|_| !answer.additional.iter().any(placed)) {
                    answer.additional.push(Placed { owner: target.clone(), set: Cow::Borrowed(set) });
                }
            }
        }
    }
}
