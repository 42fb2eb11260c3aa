//! Everything this server is in charge of: zones and block lists by their apex.

use crate::key::NameKey;
use crate::list::BlockList;
use crate::name::Name;
use crate::types::{Rcode, Rtype};
use crate::writer::{Full, Section};
use crate::zone::{After, NameBuffer, Outcome, Question, Sink, Step, Zone, ZoneAnswer};
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::sync::Arc;

/// Aliases followed for one question, through all zones.
const ALIASES_MAX: usize = 16;

/// What answers for an apex.
#[derive(Debug)]
pub enum Service {
    /// A zone of a master file or of another server.
    Zone(Zone),
    /// A block list.
    List(BlockList),
    /// Its file could not be read when the server started, it has not been transferred yet, or it has expired: SERVFAIL, so that others ask
    /// the zone's other servers.
    Broken,
}

#[derive(Clone, Debug)]
struct Entry {
    /// Lower-case.
    origin: Arc<[u8]>,
    service: Arc<Service>,
}

/// Parts of the table, each shared until it changes: with 20,000 zones some 80 are copied to replace one, and none of the shards that lets go
/// of the old table has to count down for all of them.
const PARTS: usize = 256;

/// All services; immutable once it is served. One is replaced in a copy of the table, which shares the others.
#[derive(Clone, Debug)]
pub struct Hosted {
    /// By eight bits of the hash that the table of a part does not begin with.
    parts: Box<[Arc<HashTable<Entry>>]>,
    services: usize,
    /// The lowest bit for the root, the next for apexes of one label, and so on: a look-up tries no other endings.
    depths: u128,
}

impl Default for Hosted {
    fn default() -> Self {
        let empty = Arc::new(HashTable::new());
        Self { parts: std::iter::repeat_n(empty, PARTS).collect(), services: 0, depths: 0 }
    }
}

fn part_of(hash: u64) -> usize {
    usize::try_from(hash >> 48 & 255).unwrap_or(0)
}

fn hash_of(entry: &Entry) -> u64 {
    NameKey::of(&entry.origin).map_or(0, |key| key.hash(key.labels()))
}

/// A service with what the way to it has computed.
#[derive(Clone, Copy)]
struct Found<'h> {
    service: &'h Service,
    /// Hash of its apex.
    apex_hash: u64,
    /// Hash of the whole name.
    hash: u64,
}

impl Hosted {
    /// Adds a service.
    ///
    /// # Errors
    /// The apex is taken.
    pub fn add(&mut self, origin: &Name, service: Service) -> Result<(), String> {
        if self.get(origin).is_some() {
            return Err(format!("{origin} is served twice; a name can be one zone or one block list"));
        }
        self.put(origin, Some(Arc::new(service)));
        Ok(())
    }

    /// The same services but for the one of `origin`: another, or none. Costs a copy of a part of the table.
    #[must_use]
    pub fn replace(&self, origin: &Name, service: Option<Arc<Service>>) -> Self {
        let mut changed = self.clone();
        changed.put(origin, service);
        changed
    }

    /// Sets or takes away the service of an apex.
    pub fn put(&mut self, origin: &Name, service: Option<Arc<Service>>) {
        let Some(key) = NameKey::of(origin.wire()) else { return };
        let hash = key.hash(key.labels());
        let Some(part) = self.parts.get_mut(part_of(hash)) else { return };
        let table = Arc::make_mut(part);
        let found = table.find_entry(hash, |entry| *entry.origin == *key.wire());
        match (found, service) {
            (Ok(mut entry), Some(service)) => entry.get_mut().service = service,
            (Ok(entry), None) => {
                entry.remove();
                self.services -= 1;
                self.depths = self.iter().fold(0, |depths, (origin, _)| depths | depth_bit(crate::name::labels(origin).count()));
            }
            (Err(_), Some(service)) => {
                let entry = Entry { origin: key.wire().into(), service };
                self.depths |= depth_bit(key.labels());
                self.services += 1;
                table.insert_unique(hash, entry, hash_of);
            }
            (Err(_), None) => {}
        }
    }

    /// Number of services.
    #[must_use]
    pub fn len(&self) -> usize {
        self.services
    }

    /// True without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services == 0
    }

    /// All services with their apexes, lower-case and in wire form, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Arc<Service>)> {
        self.parts.iter().flat_map(|part| part.iter()).map(|entry| (&*entry.origin, &entry.service))
    }

    /// The service of an apex.
    #[must_use]
    pub fn get(&self, origin: &Name) -> Option<&Arc<Service>> {
        let key = NameKey::of(origin.wire())?;
        self.apex(key.hash(key.labels()), key.wire()).map(|entry| &entry.service)
    }

    /// The block list of an apex.
    #[must_use]
    pub fn list(&self, origin: &Name) -> Option<&BlockList> {
        match &**self.get(origin)? {
            Service::List(list) => Some(list),
            Service::Zone(_) | Service::Broken => None,
        }
    }

    /// The zone of an apex.
    #[must_use]
    pub fn zone(&self, origin: &Name) -> Option<&Zone> {
        match &**self.get(origin)? {
            Service::Zone(zone) => Some(zone),
            Service::List(_) | Service::Broken => None,
        }
    }

    #[inline]
    fn apex(&self, hash: u64, wire: &[u8]) -> Option<&Entry> {
        self.parts.get(part_of(hash))?.find(hash, |entry| *entry.origin == *wire)
    }

    /// The service nearest to a name. Costs a hash step for each label, and a look-up for each ending as long as some apex.
    fn find(&self, key: &NameKey, rtype: Rtype) -> Option<Found<'_>> {
        let (mut whole, mut depths) = (0, self.depths);
        let mut found: Option<Found<'_>> = None;
        for (labels, start, hash) in key.endings() {
            whole = hash;
            let possible = depths & 1 != 0;
            depths >>= 1;
            if !possible {
                continue;
            }
            //= RFC 4035 section 3.1.4.1
            //# The DS resource record type is unusual in that it appears only on the parent zone's side of a zone cut.
            // So the apex is asked for its DS only if nobody above it is here.
            let parents = rtype == Rtype::DS && labels == key.labels() && found.is_some();
            if !parents && let Some(entry) = self.apex(hash, key.ending_at(start)) {
                found = Some(Found { service: &entry.service, apex_hash: hash, hash: 0 });
            }
        }
        found.map(|found| Found { hash: whole, ..found })
    }

    /// What answers for a name, with the hash of the whole name.
    pub(crate) fn service(&self, key: &NameKey, rtype: Rtype) -> Option<(&Service, u64)> {
        self.find(key, rtype).map(|found| (found.service, found.hash))
    }

    /// Answers a question from what is hosted, aliases followed from zone to zone; `None` if the name is not ours. `alias` is the name the
    /// last alias leads to, if there is one; with `awaits` the target of an ALIAS whose addresses must be known first.
    ///
    /// # Errors
    /// [`Full`] if the answer does not fit.
    pub(crate) fn answer_into(
        &self,
        name: &[u8],
        rtype: Rtype,
        sink: &mut impl Sink,
        alias: &mut NameBuffer,
    ) -> Result<Option<Outcome>, Full> {
        let mut key = NameKey::default();
        let mut outcome = Outcome::new(Rcode::NOERROR, true);
        // What the name that is looked at leads to.
        let mut target = NameBuffer::new();
        let mut after = After::default();
        let mut seen: SmallVec<[u64; ALIASES_MAX]> = SmallVec::new();
        for aliases in 0..ALIASES_MAX {
            let name = if aliases == 0 { name } else { alias.as_slice() };
            if !key.fill(name) {
                return Ok(None);
            }
            let Some(found) = self.find(&key, rtype) else {
                outcome.leads_out = aliases > 0;
                break;
            };
            // An alias that leads back would only be said again.
            if seen.contains(&found.hash) {
                break;
            }
            seen.push(found.hash);
            let step = match found.service {
                Service::Zone(zone) => {
                    let question = Question { name, key: &key, apex_hash: found.apex_hash, hash: found.hash, rtype };
                    zone.step(question, &mut outcome, sink, &mut after, &mut target)?
                }
                Service::List(list) => {
                    outcome.rcode = list.answer_to(key.wire(), name, rtype, &mut |section, owner, rtype, ttl, rdata| {
                        outcome.answered |= section == Section::Answer;
                        sink.record(section, owner, rtype, ttl, rdata)
                    })?;
                    Step::Done
                }
                Service::Broken => return Ok(Some(Outcome::new(Rcode::SERVFAIL, false))),
            };
            if step == Step::Alias || outcome.awaits {
                std::mem::swap(alias, &mut target);
            }
            if step == Step::Done {
                break;
            }
        }
        after.write_proofs(sink)?;
        //= RFC 9471 section 3.1
        //# If a name server generating a referral cannot include all of the available glue records ... it MUST set the TC flag
        // Other addresses are a courtesy: without them nothing is wrong.
        outcome.truncated = after.write_addresses(sink).is_err() && !outcome.authoritative;
        let ours = !seen.is_empty();
        Ok(ours.then_some(outcome))
    }

    /// Answers a question from what is hosted, aliases followed from zone to zone; `None` if the name is not ours. Collects the answer in
    /// memory of its own; those for the wire are written by [`crate::responder::respond`].
    #[must_use]
    pub fn answer(&self, name: &Name, rtype: Rtype) -> Option<ZoneAnswer<'static>> {
        let mut answer = ZoneAnswer::new(Rcode::NOERROR, true);
        let mut target = NameBuffer::new();
        let outcome = self.answer_into(name.wire(), rtype, &mut answer, &mut target).ok()??;
        if outcome.rcode == Rcode::SERVFAIL {
            return Some(ZoneAnswer::new(Rcode::SERVFAIL, false));
        }
        (answer.rcode, answer.authoritative) = (outcome.rcode, outcome.authoritative);
        answer.leads_to = Name::from_wire(&target).ok().filter(|_| outcome.leads_out || outcome.awaits);
        Some(answer)
    }
}

fn depth_bit(labels: usize) -> u128 {
    u32::try_from(labels).ok().and_then(|labels| 1_u128.checked_shl(labels)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_service_is_replaced_and_the_others_are_shared() {
        let name = |text: &str| Name::absolute(text).unwrap();
        let mut hosted = Hosted::default();
        hosted.add(&name("a.example"), Service::Broken).unwrap();
        hosted.add(&name("B.example"), Service::Broken).unwrap();
        assert!(hosted.add(&name("b.Example"), Service::Broken).unwrap_err().contains("served twice"));
        let changed = hosted.replace(&name("a.example"), Some(Arc::new(Service::Broken)));
        assert!(!Arc::ptr_eq(hosted.get(&name("a.example")).unwrap(), changed.get(&name("a.example")).unwrap()));
        assert!(Arc::ptr_eq(hosted.get(&name("b.example")).unwrap(), changed.get(&name("b.example")).unwrap()));
        let less = changed.replace(&name("a.example"), None).replace(&name("b.example"), None);
        assert_eq!((hosted.len(), changed.iter().count(), less.len(), less.depths), (2, 2, 0, 0));
        assert_eq!(hosted.answer(&name("x.a.example"), Rtype::A).unwrap().rcode, Rcode::SERVFAIL);
        assert!(hosted.answer(&name("c.example"), Rtype::A).is_none());
    }
}
