//! Denial by hashes in order (RFC 5155 section 8, RFC 9276 section 3.2).

use super::denial::{Denial, is_usable_at};
use super::nsec::wildcard;
use super::work::{ITERATIONS_MAX, ITERATIONS_REFUSED, Spent, Work};
use crate::dnssec::bitmap::contains;
use crate::dnssec::canonical::last_labels;
use crate::dnssec::nsec3::{FLAG_OPT_OUT, HASH_BYTES, Nsec3, Nsec3Param, parse_label};
use crate::name::{Name, is_within, labels, parent, suffixes};
use crate::record::Rdata;
use crate::types::Rtype;

/// A verified NSEC3 record.
#[derive(Clone, Debug)]
pub(super) struct Span {
    owner: [u8; HASH_BYTES],
    rdata: Rdata,
}

/// The verified NSEC3 records of a zone that hash alike.
#[derive(Debug)]
pub(super) struct Spans<'s> {
    zone: &'s Name,
    spans: Vec<([u8; HASH_BYTES], Nsec3<'s>)>,
    param: Nsec3Param<'s>,
}

impl Span {
    /// `None`: not directly below the zone, of an unknown hash, or with unknown flags.
    pub fn new(owner: &Name, zone: &Name, rdata: &[u8]) -> Option<Self> {
        let nsec3 = Nsec3::parse(rdata)?;
        //= RFC 5155 section 8.2
        //# A validator MUST ignore NSEC3 RRs with a Flag fields value other than zero or one.
        if parent(owner.wire()) != Some(zone.wire()) || nsec3.param.flags > FLAG_OPT_OUT {
            return None;
        }
        Some(Self { owner: parse_label(labels(owner.wire()).next()?)?, rdata: rdata.into() })
    }
}

impl<'s> Spans<'s> {
    /// Those that hash as the first does. `None`: there are none.
    pub fn of(zone: &'s Name, spans: &'s [Span]) -> Option<Self> {
        let read: Vec<_> = spans.iter().filter_map(|span| Some((span.owner, Nsec3::parse(&span.rdata)?))).collect();
        let (_, first) = read.first()?;
        let param = first.param;
        let alike = |other: &Nsec3Param<'_>| other.iterations == param.iterations && other.salt == param.salt;
        Some(Self { zone, spans: read.into_iter().filter(|(_, nsec3)| alike(&nsec3.param)).collect(), param })
    }

    /// What the iterations forbid, if anything.
    fn excess(&self) -> Option<Denial> {
        let iterations = self.param.iterations;
        (iterations > ITERATIONS_MAX).then_some(Denial::Iterations { refused: iterations > ITERATIONS_REFUSED })
    }

    fn matching(&self, hash: &[u8; HASH_BYTES]) -> Option<&Nsec3<'s>> {
        self.spans.iter().find(|(owner, _)| owner == hash).map(|(_, nsec3)| nsec3)
    }

    fn covering(&self, hash: &[u8; HASH_BYTES]) -> Option<&Nsec3<'s>> {
        let covers = |owner: &[u8; HASH_BYTES], next: &[u8; HASH_BYTES]| {
            if owner < next { owner < hash && hash < next } else { hash > owner || hash < next }
        };
        self.spans.iter().find(|(owner, nsec3)| owner != hash && covers(owner, &nsec3.next)).map(|(_, nsec3)| nsec3)
    }

    /// What is said of a name and type.
    ///
    /// Cost: a hash for each label between the name and its closest encloser, and two more.
    pub fn find(&self, name: &Name, rtype: Rtype, work: &mut Work) -> Result<Denial, Spent> {
        if let Some(excess) = self.excess() {
            return Ok(excess);
        }
        // The closest encloser (RFC 5155 section 8.3): the first name upwards that is there; the one before it is the next closer name.
        let mut next_closer: Option<[u8; HASH_BYTES]> = None;
        for suffix in suffixes(name.wire()).take_while(|suffix| is_within(suffix, self.zone.wire())) {
            let hash = work.nsec3_hash(&self.param, suffix)?;
            let Some(nsec3) = self.matching(&hash) else {
                next_closer = Some(hash);
                continue;
            };
            let Some(next_closer) = next_closer else {
                let usable = is_usable_at(nsec3.bitmap, rtype, name.wire());
                return Ok(usable.map_or(Denial::Unproven, |delegation| Denial::Type { delegation }));
            };
            return self.below(suffix, nsec3, &next_closer, rtype, work);
        }
        Ok(Denial::Unproven)
    }

    /// The name is not there; `encloser` is.
    fn below(
        &self,
        encloser: &[u8],
        at: &Nsec3<'_>,
        next_closer: &[u8; HASH_BYTES],
        rtype: Rtype,
        work: &mut Work,
    ) -> Result<Denial, Spent> {
        // Below a delegation or a DNAME this zone says nothing (RFC 5155 section 8.3).
        let cut = contains(at.bitmap, Rtype::NS) && !contains(at.bitmap, Rtype::SOA);
        let Some(cover) = self.covering(next_closer).filter(|_| !cut && !contains(at.bitmap, Rtype::DNAME)) else {
            return Ok(Denial::Unproven);
        };
        // An unsigned delegation may be hidden there (RFC 5155 section 6), for the name or for one below it: all that follows is insecure.
        if cover.is_opt_out() {
            return Ok(Denial::OptOut);
        }
        let Some(wildcard) = wildcard(encloser) else { return Ok(Denial::Unproven) };
        let hash = work.nsec3_hash(&self.param, &wildcard)?;
        Ok(match self.matching(&hash) {
            Some(nsec3) if is_usable_at(nsec3.bitmap, rtype, &wildcard).is_some() => Denial::Type { delegation: false },
            Some(_) => Denial::Unproven,
            None if self.covering(&hash).is_some() => Denial::Name,
            None => Denial::Unproven,
        })
    }

    /// What is said of a set of `owner` that came from the wildcard below the last `from` labels (RFC 5155 section 8.8): [`Denial::Name`] if it
    /// had to.
    pub fn expansion(&self, owner: &Name, from: u8, work: &mut Work) -> Result<Denial, Spent> {
        if let Some(excess) = self.excess() {
            return Ok(excess);
        }
        let Some(next_closer) = last_labels(owner.wire(), usize::from(from) + 1) else { return Ok(Denial::Unproven) };
        let hash = work.nsec3_hash(&self.param, next_closer)?;
        Ok(self.covering(&hash).map_or(Denial::Unproven, |cover| if cover.is_opt_out() { Denial::OptOut } else { Denial::Name }))
    }
}
