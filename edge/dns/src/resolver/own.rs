//! What our own zones say, as the checks and the delivery of mail are told it: packed once for each version of the zones, then lent.
//!
//! ```text
//!   name ─> whose? ── nobody hosted here: None
//!             ├ a block list: asked each time, for its entries change without a new version
//!             └ a zone ─> place by the name's hash ── there: a comparison and a count of a shared pointer, no allocation
//!                                                    └ else: asked, packed, and kept in that place
//! ```
//! Few names are asked for, and again and again (those of our domains and hosts), so a place for each hash is enough; names that share one take
//! turns. Port 53 is answered from the zones without this.

use super::{Answer, Resolved};
use crate::dnssec::Security;
use crate::hosted::{Hosted, Service};
use crate::key::NameKey;
use crate::name::Name;
use crate::record::Record;
use crate::types::{Rcode, Rtype};
use std::sync::Arc;

/// Places; a power of two.
const PLACES: usize = 1024;
/// Octets of an answer that is kept: with [`PLACES`] 4 MiB at most, and some 200 KiB where all are addresses.
const KEPT_BYTES_MAX: usize = 4096;

/// What is hosted, and the answers given of it. One per shard.
#[derive(Debug, Default)]
pub struct OwnAnswers {
    hosted: Arc<Hosted>,
    /// Empty until the first answer.
    places: Box<[Option<Resolved>]>,
}

/// An answer of our own.
#[derive(Debug)]
pub enum Own {
    /// All there is to say.
    Done(Resolved),
    /// An alias leads out of our zones, to a name that remains to be looked up.
    Alias(Answer, Name),
}

impl OwnAnswers {
    /// Answers of these zones and lists from now on.
    pub fn host(&mut self, hosted: Arc<Hosted>) {
        if !Arc::ptr_eq(&self.hosted, &hosted) {
            *self = Self { hosted, places: Box::default() };
        }
    }

    /// What is hosted.
    #[must_use]
    pub fn hosted(&self) -> &Arc<Hosted> {
        &self.hosted
    }

    /// The answer, if the name is ours; `key` is that of `name`. A hit costs the way to the zone and a comparison; no allocation
    /// (`tests/allocations_own.rs`).
    pub fn answer(&mut self, key: &NameKey, name: &Name, rtype: Rtype) -> Option<Own> {
        let (service, hash) = self.hosted.service(key, rtype)?;
        let is_zone = matches!(service, Service::Zone(_));
        let place = place(hash, rtype);
        if is_zone
            && let Some(Some(kept)) = self.places.get(place)
            && kept.is_for(key.wire(), rtype)
        {
            return Some(Own::Done(kept.clone()));
        }
        let (answer, leads_to) = answer_of_hosted(&self.hosted, name, rtype)?;
        if let Some(target) = leads_to {
            return Some(Own::Alias(answer, target));
        }
        let resolved = Resolved::new(name, rtype, &answer);
        // An alias may lead to a block list.
        let is_plain = !answer.records.iter().any(|record| matches!(record.rtype, Rtype::CNAME | Rtype::DNAME));
        if is_zone && is_plain && !answer.is_failure() && resolved.packed.bytes().len() <= KEPT_BYTES_MAX {
            if self.places.is_empty() {
                self.places = std::iter::repeat_with(|| None).take(PLACES).collect();
            }
            if let Some(place) = self.places.get_mut(place) {
                *place = Some(resolved.clone());
            }
        }
        Some(Own::Done(resolved))
    }
}

fn place(hash: u64, rtype: Rtype) -> usize {
    // Types of one name must not share a place: mail asks for several.
    let mixed = (hash ^ u64::from(rtype.0)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    usize::try_from(mixed).unwrap_or(0) & (PLACES - 1)
}

/// What our own zones say, in the resolver's form. The name of an alias that leads out of them comes with it: it remains to be looked up.
fn answer_of_hosted(hosted: &Hosted, name: &Name, rtype: Rtype) -> Option<(Answer, Option<Name>)> {
    let found = hosted.answer(name, rtype)?;
    // A delegated part of a hosted zone is somebody else's.
    if !found.authoritative && found.rcode == Rcode::NOERROR {
        return None;
    }
    let flatten = |placed: &crate::zone::Placed<'_>| -> Vec<Record> {
        let set = &placed.set;
        let record = |rdata: &crate::record::Rdata| Record {
            name: placed.owner.clone(),
            rtype: set.rtype,
            ttl: set.ttl,
            rdata: rdata.clone(),
        };
        set.rdata.iter().map(record).collect()
    };
    let records: Vec<Record> = found.answer.iter().flat_map(flatten).collect();
    let authority: Vec<Record> = found.authority.iter().flat_map(flatten).collect();
    let ttl = records.iter().chain(&authority).map(|record| record.ttl).min().unwrap_or(0);
    Some((
        Answer { rcode: found.rcode, records, authority, ttl, security: Security::Unchecked, extended_error: None },
        found.leads_to,
    ))
}
