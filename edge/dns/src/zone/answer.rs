//! Where an answer goes, set by set: into a message, or collected for whoever asks in the process.

use crate::name::Name;
use crate::record::RecordSet;
use crate::resolver::Resolved;
use crate::types::{Rcode, Rtype};
use crate::writer::{Encoded, Full, Section};
use smallvec::SmallVec;
use std::borrow::Cow;

/// Which addresses are added that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    /// None, nor glue: the asker is in the process.
    None,
    /// The glue of a referral (NSD's minimal responses).
    Glue,
    /// Those of mail exchanges and servers, too, if they fit.
    Addresses,
}

/// Takes an answer: sections in their order, a set whole or not at all.
pub(crate) trait Sink {
    /// DNSSEC records are wanted.
    fn dnssec_ok(&self) -> bool;

    /// What may be added.
    fn extra(&self) -> Extra;

    /// The addresses of this kind that the target of an ALIAS has; `None`: they are not known, and must be looked for first.
    fn addresses_of(&self, _target: &Name, _rtype: Rtype) -> Option<Resolved> {
        None
    }

    /// A set of a zone. `ttl` instead of its own.
    fn set(&mut self, section: Section, owner: &[u8], set: Encoded<'_>, ttl: Option<u32>) -> Result<(), Full>;

    /// A record made for the answer.
    fn record(&mut self, section: Section, owner: &[u8], rtype: Rtype, ttl: u32, rdata: &[u8]) -> Result<(), Full>;
}

/// A record set where it stands in an answer.
#[derive(Clone, Debug)]
pub struct Placed<'z> {
    /// The owner: the set's own, or the name asked for where a wildcard answers.
    pub owner: Name,
    /// The set.
    pub set: Cow<'z, RecordSet>,
}

/// What a zone or a list says, collected. Answers on the wire are written without this.
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
    /// The last alias leads out of what is hosted: whoever answers may look there.
    pub leads_to: Option<Name>,
}

impl ZoneAnswer<'_> {
    /// One without records.
    pub(crate) fn new(rcode: Rcode, authoritative: bool) -> Self {
        Self { rcode, authoritative, answer: SmallVec::new(), authority: SmallVec::new(), leads_to: None }
    }
}

impl Sink for ZoneAnswer<'_> {
    fn dnssec_ok(&self) -> bool {
        false
    }

    fn extra(&self) -> Extra {
        Extra::None
    }

    fn set(&mut self, section: Section, owner: &[u8], set: Encoded<'_>, ttl: Option<u32>) -> Result<(), Full> {
        let placed = Placed {
            owner: Name::from_wire(owner).map_err(|_| Full)?,
            set: Cow::Owned(RecordSet {
                rtype: set.rtype,
                ttl: ttl.unwrap_or(set.ttl()),
                rdata: set.rdata().map(Into::into).collect(),
            }),
        };
        match section {
            Section::Answer => self.answer.push(placed),
            Section::Authority => self.authority.push(placed),
            Section::Additional => {}
        }
        Ok(())
    }

    fn record(&mut self, section: Section, owner: &[u8], rtype: Rtype, ttl: u32, rdata: &[u8]) -> Result<(), Full> {
        let length = u16::try_from(rdata.len()).map_err(|_| Full)?;
        let octets = [&crate::writer::head(rtype, ttl, length), rdata].concat();
        self.set(section, owner, Encoded { rtype, octets: &octets }, None)
    }
}
