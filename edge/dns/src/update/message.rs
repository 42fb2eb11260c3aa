//! An UPDATE message (RFC 2136 section 2).
//!
//! ```text
//!   header (opcode 5)   zone: name, SOA, class   prerequisites   updates   additional data (passed over)
//! ```

use crate::name::Name;
use crate::record::Rdata;
use crate::transfer::read::{Header, Sections, UPDATE};
use crate::transfer::write_transfer_refusal;
use crate::tsig::Signer;
use crate::types::{CLASS_ANY, CLASS_IN, Rcode, Rtype};

/// "None", of prerequisites and deletions (RFC 2136 section 1.3).
const CLASS_NONE: u16 = 254;

/// A record of the prerequisite section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prerequisite {
    pub name: Name,
    /// Lower-case.
    pub key: Name,
    pub rtype: Rtype,
    pub kind: PrerequisiteKind,
}

/// RFC 2136 section 2.4, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PrerequisiteKind {
    SetExists,
    /// All records of its set together are the set.
    SetIs(Rdata),
    SetMissing,
    NameInUse,
    NameFree,
}

/// A record of the update section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub name: Name,
    /// Lower-case.
    pub key: Name,
    pub rtype: Rtype,
    pub kind: ChangeKind,
}

/// RFC 2136 section 2.5, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChangeKind {
    Add(u32, Rdata),
    DeleteSet,
    DeleteName,
    Delete(Rdata),
}

/// An update that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Repeated in the response.
    pub id: u16,
    /// The zone, lower-case.
    pub zone: Name,
    pub(super) prerequisites: Vec<Result<Prerequisite, Rcode>>,
    pub(super) changes: Vec<Result<Change, Rcode>>,
}

/// Types that only a question may have (RFC 2136 section 3.4.1.2: ANY, AXFR, MAILA, MAILB, or any other QUERY metatype).
fn is_meta(rtype: Rtype) -> bool {
    rtype.is_question_only() || rtype.0 == 0
}

impl Update {
    /// An update of our own: these texts, of at most 255 octets each, are all TXT records of a name. No texts: there are none.
    #[must_use]
    pub fn of_texts(zone: &Name, owner: &Name, ttl: u32, texts: &[&str]) -> Self {
        let change = |kind| Ok(Change { key: owner.to_key(), name: owner.clone(), rtype: Rtype::TXT, kind });
        let rdata = |text: &&str| -> Option<Rdata> { Some([&[u8::try_from(text.len()).ok()?], text.as_bytes()].concat().into()) };
        let added = texts.iter().filter_map(rdata).map(|rdata| change(ChangeKind::Add(ttl, rdata)));
        let changes = std::iter::once(change(ChangeKind::DeleteSet)).chain(added).collect();
        Self { id: 0, zone: zone.to_key(), prerequisites: Vec::new(), changes }
    }

    /// Reads a packet. What is wrong with a single record is found out when the update is applied: in the order of RFC 2136 section 3.
    ///
    /// # Errors
    /// The response code to refuse it with; `None`: it is no UPDATE at all.
    pub fn parse(packet: &[u8]) -> Result<Self, Option<Rcode>> {
        let header = Header::read(packet).ok_or(None)?;
        if header.is_response() || header.opcode() != UPDATE {
            return Err(None);
        }
        Self::read(&header, packet).ok_or(Some(Rcode::FORMERR))
    }

    fn read(header: &Header, packet: &[u8]) -> Option<Self> {
        let mut sections = Sections::new(packet);
        //= RFC 2136 section 3.1.1
        //# The Zone Section is checked to see that there is exactly one RR therein and that the RR's ZTYPE is SOA, else signal FORMERR to the requestor.
        let (zone, rtype, class) = sections.question().filter(|_| header.counts[0] == 1)?;
        if rtype != Rtype::SOA || class != CLASS_IN {
            return None;
        }
        let prerequisites = (0..header.counts[1]).map(|_| prerequisite(&mut sections)).collect::<Option<_>>()?;
        let changes = (0..header.counts[2]).map(|_| change(&mut sections)).collect::<Option<_>>()?;
        for _ in 0..header.counts[3] {
            sections.record()?;
        }
        Some(Self { id: header.id, zone: zone.to_key(), prerequisites, changes })
    }
}

fn prerequisite(sections: &mut Sections<'_>) -> Option<Result<Prerequisite, Rcode>> {
    let record = sections.record()?;
    let kind = match (record.class, record.rtype) {
        (CLASS_ANY, Rtype::ANY) if record.length == 0 => Some(PrerequisiteKind::NameInUse),
        (CLASS_ANY, rtype) if record.length == 0 && !is_meta(rtype) => Some(PrerequisiteKind::SetExists),
        (CLASS_NONE, Rtype::ANY) if record.length == 0 => Some(PrerequisiteKind::NameFree),
        (CLASS_NONE, rtype) if record.length == 0 && !is_meta(rtype) => Some(PrerequisiteKind::SetMissing),
        (CLASS_IN, rtype) if !is_meta(rtype) => sections.rdata(&record).map(PrerequisiteKind::SetIs),
        _ => None,
    };
    let kind = kind.filter(|_| record.ttl == 0);
    let made = kind.map(|kind| Prerequisite { key: record.name.to_key(), name: record.name, rtype: record.rtype, kind });
    Some(made.ok_or(Rcode::FORMERR))
}

fn change(sections: &mut Sections<'_>) -> Option<Result<Change, Rcode>> {
    let record = sections.record()?;
    let bare = record.ttl == 0 && record.length == 0;
    let kind = match (record.class, record.rtype) {
        (CLASS_IN, rtype) if !is_meta(rtype) => {
            let ttl = if record.ttl > i32::MAX.unsigned_abs() { 0 } else { record.ttl };
            sections.rdata(&record).map(|rdata| ChangeKind::Add(ttl, rdata))
        }
        (CLASS_ANY, Rtype::ANY) if bare => Some(ChangeKind::DeleteName),
        (CLASS_ANY, rtype) if bare && !is_meta(rtype) => Some(ChangeKind::DeleteSet),
        (CLASS_NONE, rtype) if record.ttl == 0 && !is_meta(rtype) => sections.rdata(&record).map(ChangeKind::Delete),
        _ => None,
    };
    let made = kind.map(|kind| Change { key: record.name.to_key(), name: record.name, rtype: record.rtype, kind });
    Some(made.ok_or(Rcode::FORMERR))
}

/// Answers an update: its header with the code, and its zone if it can be read (RFC 2136 section 3.8 lets the counts be what is repeated).
pub fn write_update_response(packet: &[u8], rcode: Rcode, signer: Option<Signer>, now: u64, out: &mut Vec<u8>) {
    write_transfer_refusal(packet, rcode, signer, now, out);
}
