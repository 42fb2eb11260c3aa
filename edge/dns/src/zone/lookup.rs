//! The answer of one zone to one question (RFC 1034 section 4.3.2, RFC 4592, RFC 6672).

use super::signed::{After, Claim};
use super::{APEX, CUT, DNAME, Extra, OCCLUDED, Sink, WILDCARD, Zone, ZoneAnswer};
use crate::key::{NameKey, wildcard_hash};
use crate::name::{NAME_BYTES_MAX, Name};
use crate::types::{Rcode, Rtype};
use crate::wire::Reader;
use crate::writer::{Full, Section};
use smallvec::SmallVec;

/// The first label of a wildcard with its length.
pub(super) const WILDCARD_LABEL: &[u8] = b"\x01*";
/// Room for the name an alias leads to.
pub(crate) type NameBuffer = SmallVec<[u8; 256]>;
/// Servers and exchanges of one answer whose addresses are added.
const TARGETS_MAX: usize = 16;
/// The name became too long (RFC 6672 section 2.2).
const YXDOMAIN: Rcode = Rcode(6);

/// One name to be looked at.
#[derive(Clone, Copy)]
pub(crate) struct Question<'q> {
    /// Letters as the client or the alias writes it.
    pub(crate) name: &'q [u8],
    /// The same name.
    pub(crate) key: &'q NameKey,
    /// Hash of the zone's apex.
    pub(crate) apex_hash: u64,
    /// Hash of the name.
    pub(crate) hash: u64,
    pub(crate) rtype: Rtype,
}

/// What has come of a question so far, its records apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) rcode: Rcode,
    /// False for a referral.
    pub(crate) authoritative: bool,
    /// The last alias leads out of what is hosted.
    pub(crate) leads_out: bool,
    /// The addresses of an ALIAS' target must be known first.
    pub(crate) awaits: bool,
    /// There is something in the answer section.
    pub(crate) answered: bool,
    /// Glue is missing.
    pub(crate) truncated: bool,
}

impl Outcome {
    pub(crate) fn new(rcode: Rcode, authoritative: bool) -> Self {
        Self { rcode, authoritative, leads_out: false, awaits: false, answered: false, truncated: false }
    }
}

/// How to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All is said.
    Done,
    /// The name is an alias; its target is in the buffer.
    Alias,
}

impl Zone {
    /// Looks at one name. `target` is filled if it is an alias.
    ///
    /// Cost: one look-up for a name that exists; for another one for each of its labels that exists, and one or two more.
    pub(crate) fn step<'z>(
        &'z self,
        question: Question<'_>,
        outcome: &mut Outcome,
        sink: &mut impl Sink,
        after: &mut After<'z>,
        target: &mut NameBuffer,
    ) -> Result<Step, Full> {
        let Question { name, key, rtype, .. } = question;
        let exact = if key.labels() == self.labels() { Some(APEX) } else { self.find(question.hash, key.wire()) };
        let (node, encloser_hash) = exact.map_or_else(|| self.encloser(question), |node| (node, 0));
        let flags = self.node(node).flags;
        let barrier = if exact.is_some() { CUT | OCCLUDED } else { CUT | OCCLUDED | DNAME };
        if flags & barrier != 0 {
            let top = self.top(node);
            let own = exact == Some(top);
            if self.node(top).flags & CUT != 0 {
                //= RFC 4035 section 3.1.4.1
                //# The DS resource record type is unusual in that it appears only on the parent zone's side of a zone cut.
                if !(own && rtype == Rtype::DS) {
                    return self.refer(top, outcome, sink, after).map(|()| Step::Done);
                }
            } else if !own {
                return self.redirect(top, question, outcome, sink, target);
            }
        }
        let source = match exact {
            Some(node) => Some(node),
            None if flags & WILDCARD != 0 => self.wildcard(encloser_hash, self.name(node)),
            None => None,
        };
        let Some(source) = source else {
            // After an alias the code is that of the last name (RFC 6604 section 2).
            outcome.rcode = Rcode::NXDOMAIN;
            question.prove(self, Claim::NoName { encloser: node }, sink, after);
            return self.deny(sink).map(|()| Step::Done);
        };
        if rtype == Rtype::RRSIG
            && let Some(signatures) = self.any_signatures(source)
        {
            outcome.answered = true;
            return sink.set(Section::Answer, name, signatures, None).map(|()| Step::Done);
        }
        let found = match rtype {
            //= RFC 8482 section 4.1
            //# A DNS responder that receives an ANY query MAY decline to provide a conventional ANY response or MAY instead send a
            //# response with a single RRset
            Rtype::ANY => Some(self.set_range(source).start).filter(|set| self.set_range(source).contains(set)),
            rtype => self.set_of(source, rtype).or_else(|| self.set_of(source, Rtype::CNAME)),
        };
        if self.is_aliased(source, rtype) {
            return self.answer_alias(question, outcome, sink, target);
        }
        let found = found.filter(|set| self.encoded(*set).rtype != Rtype::ALIAS);
        let Some(number) = found else {
            let claim = match exact {
                Some(node) => Claim::NoData(node),
                None => Claim::WildcardNoData { encloser: node, wildcard: source },
            };
            question.prove(self, claim, sink, after);
            return self.deny(sink).map(|()| Step::Done);
        };
        self.put(sink, Section::Answer, name, (source, number), None)?;
        outcome.answered = true;
        if exact.is_none() {
            question.prove(self, Claim::Wildcard { encloser: node }, sink, after);
        }
        let set = self.encoded(number);
        if set.rtype == Rtype::CNAME && rtype != Rtype::CNAME && rtype != Rtype::ANY {
            target.clear();
            target.extend_from_slice(set.rdata().next().unwrap_or(&[0]));
            return Ok(Step::Alias);
        }
        if sink.extra() == Extra::Addresses {
            after.addresses = Some((self, number));
        }
        Ok(Step::Done)
    }

    pub(crate) fn labels(&self) -> usize {
        self.node(APEX).labels.into()
    }

    /// The longest ending of the name that exists, and its hash (RFC 4592 section 3.3.1).
    fn encloser(&self, question: Question<'_>) -> (u32, u64) {
        let (mut node, mut hash) = (APEX, question.apex_hash);
        for labels in self.labels()..question.key.labels() {
            let next = question.key.step(hash, labels);
            match self.find(next, question.key.ending(labels + 1)) {
                Some(found) => (node, hash) = (found, next),
                None => break,
            }
        }
        (node, hash)
    }

    fn wildcard(&self, encloser_hash: u64, encloser: &[u8]) -> Option<u32> {
        let is_it = |number: &u32| {
            let own = self.name(*number).strip_prefix(WILDCARD_LABEL);
            own.is_some_and(|own| own.eq_ignore_ascii_case(encloser))
        };
        self.table.find(wildcard_hash(encloser_hash), is_it).copied()
    }

    /// The delegation or DNAME furthest up; the node itself if there is none above.
    fn top(&self, node: u32) -> u32 {
        let mut top = node;
        // At most as many as labels: parents have smaller numbers.
        while self.node(top).flags & OCCLUDED != 0 {
            top = self.node(top).parent;
        }
        top
    }

    fn refer<'z>(&'z self, cut: u32, outcome: &mut Outcome, sink: &mut impl Sink, after: &mut After<'z>) -> Result<(), Full> {
        // Behind an alias the first part stays our word.
        outcome.authoritative = outcome.answered;
        let Some(servers) = self.set_of(cut, Rtype::NS) else { return Ok(()) };
        sink.set(Section::Authority, self.name(cut), self.encoded(servers), None)?;
        if sink.extra() != Extra::None {
            after.addresses = Some((self, servers));
        }
        if sink.dnssec_ok() && self.is_signed() { self.refer_securely(cut, sink, after) } else { Ok(()) }
    }

    /// A DNAME above the name redirects it (RFC 6672 section 3.2).
    fn redirect(
        &self,
        top: u32,
        question: Question<'_>,
        outcome: &mut Outcome,
        sink: &mut impl Sink,
        target: &mut NameBuffer,
    ) -> Result<Step, Full> {
        let Some(set) = self.set_of(top, Rtype::DNAME) else { return Ok(Step::Done) };
        self.put(sink, Section::Answer, self.name(top), (top, set), None)?;
        outcome.answered = true;
        let set = self.encoded(set);
        let kept = question.key.start(self.node(top).labels.into());
        let new_end = set.rdata().next().unwrap_or(&[0]);
        if kept + new_end.len() > NAME_BYTES_MAX {
            //= RFC 6672 section 2.2
            //# If the target domain name is too long, the server returns YXDOMAIN
            outcome.rcode = YXDOMAIN;
            return Ok(Step::Done);
        }
        target.clear();
        target.extend_from_slice(question.name.get(..kept).unwrap_or_default());
        target.extend_from_slice(new_end);
        sink.record(Section::Answer, question.name, Rtype::CNAME, set.ttl(), target)?;
        Ok(if question.rtype == Rtype::CNAME { Step::Done } else { Step::Alias })
    }

    pub(super) fn deny(&self, sink: &mut impl Sink) -> Result<(), Full> {
        match self.set_of(APEX, Rtype::SOA) {
            Some(soa) => self.put(sink, Section::Authority, self.name(APEX), (APEX, soa), Some(self.negative_ttl)),
            None => Ok(()),
        }
    }

    /// Glue of a referral, addresses of exchanges and servers: a question saved.
    pub(super) fn add_addresses(&self, set: u32, sink: &mut impl Sink) -> Result<(), Full> {
        let set = self.encoded(set);
        let skip = match set.rtype {
            Rtype::NS => 0,
            Rtype::MX => 2,
            Rtype::SRV => 6,
            _ => return Ok(()),
        };
        let mut done: SmallVec<[u32; TARGETS_MAX]> = SmallVec::new();
        for rdata in set.rdata().take(TARGETS_MAX) {
            let Some(target) = rdata.get(skip..).and_then(|rest| Reader::new(rest, 0).plain_name()) else { continue };
            let Some(node) = self.find_name(target).filter(|node| !done.contains(node)) else { continue };
            done.push(node);
            for rtype in [Rtype::A, Rtype::AAAA] {
                if let Some(set) = self.set_of(node, rtype) {
                    self.put(sink, Section::Additional, target, (node, set), None)?;
                }
            }
        }
        Ok(())
    }

    /// Answers a question for a name of this zone, aliases not followed; for tests and tools.
    #[must_use]
    pub fn answer(&self, name: &Name, rtype: Rtype) -> ZoneAnswer<'static> {
        let mut answer = ZoneAnswer::new(Rcode::NOERROR, true);
        let mut outcome = Outcome::new(Rcode::NOERROR, true);
        let (mut target, mut after) = (NameBuffer::new(), After::default());
        if let Some(key) = NameKey::of(name.wire()) {
            let (apex_hash, hash) = (key.hash(self.labels()), key.hash(key.labels()));
            let question = Question { name: name.wire(), key: &key, apex_hash, hash, rtype };
            if self.step(question, &mut outcome, &mut answer, &mut after, &mut target) == Ok(Step::Alias) {
                answer.leads_to = Name::from_wire(&target).ok();
            }
        }
        (answer.rcode, answer.authoritative) = (outcome.rcode, outcome.authoritative);
        answer
    }
}
