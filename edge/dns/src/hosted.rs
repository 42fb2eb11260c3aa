//! Everything this server is in charge of: zones and block lists by their apex.

use crate::list::BlockList;
use crate::name::{Name, suffixes};
use crate::types::{Rcode, Rtype};
use crate::zone::{Zone, ZoneAnswer};
use std::collections::HashMap;

/// Aliases followed from zone to zone.
const ZONES_MAX: usize = 8;

/// What answers for an apex.
#[derive(Debug)]
pub enum Service {
    /// A zone of a master file.
    Zone(Zone),
    /// A block list.
    List(BlockList),
    /// Its file could not be read when the server started: SERVFAIL, so that others ask the zone's other servers.
    Broken,
}

/// All services; immutable, replaced as a whole.
#[derive(Debug, Default)]
pub struct Hosted {
    services: HashMap<Box<[u8]>, Service>,
}

impl Hosted {
    /// Adds a service.
    ///
    /// # Errors
    /// The apex is taken.
    pub fn add(&mut self, origin: &Name, service: Service) -> Result<(), String> {
        match self.services.insert(origin.to_key().wire().into(), service) {
            None => Ok(()),
            Some(_) => Err(format!("{origin} is served twice; a name can be one zone or one block list")),
        }
    }

    /// Number of services.
    #[must_use]
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// True without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// The service nearest to a name, lower-case. Costs one table look-up a label.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<&Service> {
        suffixes(key).find_map(|suffix| self.services.get(suffix))
    }

    /// The block list of an apex.
    #[must_use]
    pub fn list(&self, origin: &Name) -> Option<&BlockList> {
        match self.services.get(origin.to_key().wire()) {
            Some(Service::List(list)) => Some(list),
            Some(Service::Zone(_) | Service::Broken) | None => None,
        }
    }

    /// Answers a question from what is hosted, aliases followed from zone to zone; `None` if the name is not ours.
    #[must_use]
    pub fn answer(&self, name: &Name, rtype: Rtype) -> Option<ZoneAnswer<'_>> {
        let mut whole: Option<ZoneAnswer<'_>> = None;
        let mut next = name.clone();
        for _ in 0..ZONES_MAX {
            let Some(service) = self.find(next.to_key().wire()) else { break };
            let mut answer = match service {
                // The DS of an apex is the parent's, and that is not ours (RFC 4035 section 3.1.4.1): the apex denies it.
                Service::Zone(zone) => zone.answer(&next, rtype),
                Service::List(list) => list.answer(&next, rtype),
                Service::Broken => return Some(ZoneAnswer::new(Rcode::SERVFAIL, false)),
            };
            let leads_to = answer.leads_to.take();
            whole = Some(match whole {
                None => answer,
                Some(mut before) => {
                    before.rcode = answer.rcode;
                    before.leads_to = None;
                    before.answer.append(&mut answer.answer);
                    before.authority = answer.authority;
                    before.additional.append(&mut answer.additional);
                    before
                }
            });
            let Some(target) = leads_to else { return whole };
            if let Some(whole) = whole.as_mut() {
                whole.leads_to = Some(target.clone());
            }
            next = target;
        }
        whole
    }
}
