//! What a response means, and which of its records may be believed.
//!
//! ```text
//!   answer, authority, AA ─┬─ records of the name ─────────────────────────> Answer
//!                          ├─ CNAME, DNAME out of the zone or unanswered ──> Alias: resolve the target afresh
//!                          ├─ NS below the zone, above the name ───────────> Referral
//!                          ├─ SOA of the zone, or AA and nothing ──────────> Negative
//!                          └─ anything else, NS of the zone or above it ───> Lame
//! ```
//! A server is believed about the zone it was asked as a server of, and nothing else (RFC 2181 section 5.4.1, RFC 5452 section 6): records of
//! other zones in its answer are not even looked at. A forwarder is believed about the whole answer. Owners of what is taken are in lower case:
//! some of their letters are the random ones of our question.

use super::delegation::{Delegation, Kind, is_same};
use crate::message::ResponseView;
use crate::name::{Name, is_within, suffixes};
use crate::record::{Record, negative_ttl};
use crate::types::{Rcode, Rtype};

/// Aliases in one chain, wherever they come from; honest ones have two or three.
pub(crate) const ALIASES_MAX: usize = 12;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Aliases, then the records.
    Answer { records: Vec<Record>, authority: Vec<Record>, ttl: u32 },
    /// Aliases, and the name (lower-case) they lead to; it may be one of them.
    Alias { records: Vec<Record>, authority: Vec<Record>, target: Name },
    /// Aliases, and that there is nothing at their end. `ttl` 0: not to be kept.
    Negative { rcode: Rcode, records: Vec<Record>, authority: Vec<Record>, ttl: u32 },
    /// The zone below, nearer to the name.
    Referral(Delegation),
    /// The server is of no use for this zone, and why.
    Lame(&'static str),
}

/// What was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'q> {
    /// Lower-case.
    pub name: &'q Name,
    pub rtype: Rtype,
    /// Whose servers were asked.
    pub of: &'q Delegation,
    /// Signatures and denials are kept.
    pub dnssec: bool,
    /// Of servers found by delegation.
    pub port: u16,
    pub now_ms: u64,
}

impl Asked<'_> {
    fn believes(&self, key: &Name) -> bool {
        self.of.kind == Kind::Forward || is_within(key.wire(), self.of.zone.wire())
    }
}

/// Reads a response with NOERROR or NXDOMAIN to the question. Costs one pass over its records for each alias.
pub(crate) fn read(view: ResponseView, asked: &Asked<'_>) -> Reading {
    let mut owner = asked.name.clone();
    let mut records: Vec<Record> = Vec::new();
    let mut looped = false;
    for _ in 0..ALIASES_MAX {
        if !asked.believes(&owner) {
            break;
        }
        let wanted = |record: &Record| {
            is_same(&record.name, &owner)
                && (record.rtype == asked.rtype || asked.rtype == Rtype::ANY || (asked.dnssec && signs(record, asked.rtype)))
        };
        let own = view.answer.iter().filter(|record| wanted(record));
        if own.clone().any(|record| record.rtype == asked.rtype || asked.rtype == Rtype::ANY) {
            records.extend(own.map(|record| Record { name: owner.clone(), ..record.clone() }));
            let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
            let authority = if asked.dnssec { denials(&view, asked, false) } else { Vec::new() };
            return Reading::Answer { records, authority, ttl };
        }
        let Some(target) = alias(&view, asked, &owner, &mut records) else { break };
        owner = target;
        // A name that was met before.
        looped = records.iter().any(|record| record.rtype == Rtype::CNAME && record.name == owner);
        if looped {
            break;
        }
    }
    let soa = view.authority.iter().find(|record| {
        record.rtype == Rtype::SOA && {
            let zone = record.name.to_key();
            asked.believes(&zone) && is_within(owner.wire(), zone.wire())
        }
    });
    // The code is about the last name of the chain (RFC 6604 section 2); one that is not this server's is none of its business.
    let denied = asked.believes(&owner) && (soa.is_some() || view.rcode == Rcode::NXDOMAIN);
    if looped || (!records.is_empty() && !denied && asked.of.kind != Kind::Forward) {
        let authority = if asked.dnssec { denials(&view, asked, false) } else { Vec::new() };
        return Reading::Alias { records, authority, target: owner };
    }
    if !denied && asked.of.kind != Kind::Forward {
        if let Some(referral) = referral(&view, asked) {
            return referral;
        }
        if !view.authoritative {
            return Reading::Lame("neither an answer nor a referral");
        }
    }
    if view.rcode == Rcode::NXDOMAIN && soa.is_none() && !view.authoritative && asked.of.kind != Kind::Forward {
        return Reading::Lame("no authority for NXDOMAIN");
    }
    //= RFC 2308 section 5
    //# Negative responses without SOA records SHOULD NOT be cached as there is no way to prevent the negative responses looping forever
    //# between a pair of servers even with a short TTL.
    let ttl = soa.map_or(0, |soa| negative_ttl(soa.ttl, &soa.rdata));
    let ttl = records.iter().map(|record| record.ttl).fold(ttl, u32::min);
    let authority = if asked.dnssec { denials(&view, asked, true) } else { soa.into_iter().cloned().collect() };
    Reading::Negative { rcode: view.rcode, records, authority, ttl }
}

/// True for a signature over a type (RFC 4034 section 3.1).
fn signs(record: &Record, rtype: Rtype) -> bool {
    record.rtype == Rtype::RRSIG && record.rdata.first_chunk().is_some_and(|covered| u16::from_be_bytes(*covered) == rtype.0)
}

/// Takes the alias of `owner` out of the answer: where it leads to, in lower case.
fn alias(view: &ResponseView, asked: &Asked<'_>, owner: &Name, records: &mut Vec<Record>) -> Option<Name> {
    if asked.rtype == Rtype::CNAME || asked.rtype == Rtype::ANY {
        return None;
    }
    let set_and_signatures = |of: &Name, rtype: Rtype| -> Vec<Record> {
        let own = view.answer.iter().filter(|record| is_same(&record.name, of));
        let own = own.filter(|record| record.rtype == rtype || (asked.dnssec && signs(record, rtype)));
        own.map(|record| Record { name: of.clone(), ..record.clone() }).collect()
    };
    // A DNAME first: the CNAME beside it was made from it, and we make our own (RFC 6672 section 3.4: it is not signed).
    for ancestor in suffixes(owner.wire())
        .skip(1)
        .take_while(|suffix| asked.of.kind == Kind::Forward || is_within(suffix, asked.of.zone.wire()))
    {
        let mut sets = view.answer.iter().filter(|record| record.rtype == Rtype::DNAME);
        let Some(dname) = sets.find(|record| record.name.wire().eq_ignore_ascii_case(ancestor)) else { continue };
        let head = owner.wire().get(..owner.wire().len() - ancestor.len())?;
        let target = Name::from_wire(&[head, &dname.rdata].concat()).ok()?;
        records.extend(set_and_signatures(&dname.name.to_key(), Rtype::DNAME));
        records.push(Record { name: owner.clone(), rtype: Rtype::CNAME, ttl: dname.ttl, rdata: target.wire().into() });
        return Some(target.to_key());
    }
    let set = set_and_signatures(owner, Rtype::CNAME);
    let mut aliases = set.iter().filter(|record| record.rtype == Rtype::CNAME);
    let target = Name::from_wire(&aliases.next()?.rdata).ok()?;
    // Two of them are nonsense (RFC 2181 section 10.1): the first is taken.
    let mut one = false;
    records.extend(set.into_iter().filter(|record| record.rtype != Rtype::CNAME || !std::mem::replace(&mut one, true)));
    Some(target.to_key())
}

/// What proves a denial, or a wildcard: NSEC and NSEC3 with their signatures, and with `soa` the SOA.
fn denials(view: &ResponseView, asked: &Asked<'_>, soa: bool) -> Vec<Record> {
    let kept = |rtype: Rtype| matches!(rtype, Rtype::NSEC | NSEC3) || (soa && rtype == Rtype::SOA);
    let covered = |record: &Record| record.rdata.first_chunk().map(|covered| Rtype(u16::from_be_bytes(*covered)));
    let wanted = |record: &&Record| kept(record.rtype) || (record.rtype == Rtype::RRSIG && covered(record).is_some_and(kept));
    view.authority.iter().filter(wanted).filter(|record| asked.believes(&record.name.to_key())).cloned().collect()
}

/// RFC 5155.
const NSEC3: Rtype = Rtype(50);

fn referral(view: &ResponseView, asked: &Asked<'_>) -> Option<Reading> {
    let sets = view.authority.iter().filter(|record| record.rtype == Rtype::NS);
    let mut cut: Option<Name> = None;
    for record in sets {
        let owner = record.name.to_key();
        // Below the zone that was asked, and on the way to the name; the deepest one.
        let below = owner != asked.of.zone && is_within(owner.wire(), asked.of.zone.wire());
        if !below || !is_within(asked.name.wire(), owner.wire()) {
            // Authoritative servers may name the zone's own servers beside "there is nothing".
            if !view.authoritative && cut.is_none() && is_within(asked.of.zone.wire(), owner.wire()) {
                return Some(Reading::Lame("a referral upwards"));
            }
            continue;
        }
        // The child's own servers know nothing of its DS.
        if asked.rtype == Rtype::DS && owner == *asked.name {
            return Some(Reading::Negative { rcode: Rcode::NOERROR, records: Vec::new(), authority: Vec::new(), ttl: 0 });
        }
        if cut.as_ref().is_none_or(|cut| owner.wire().len() > cut.wire().len()) {
            cut = Some(owner);
        }
    }
    let learned = Delegation::learn(&cut?, asked.of, &view.authority, &view.additional, asked.port, asked.now_ms);
    Some(learned.map_or(Reading::Lame("a referral to nobody"), Reading::Referral))
}
