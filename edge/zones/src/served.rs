//! What a shard serves from: all zones and lists, and who may do what with each. Immutable; the keeper publishes a newer one whole.

use postring_dns::transfer::{AccessList, ZoneHistory};
use postring_dns::tsig::KeyRing;
use postring_dns::{Hosted, Name};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// What may be done with one zone, besides asking.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Who may copy it.
    pub transfer: AccessList,
    /// Its last changes, for IXFR.
    pub history: Option<Arc<ZoneHistory>>,
    /// Addresses whose NOTIFY is heard: a secondary's primaries.
    pub notify_from: Vec<IpAddr>,
    /// Some key may change it.
    pub is_dynamic: bool,
}

/// Everything; cheap to clone: tables of shared pointers.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// Zones and lists by their apex.
    pub hosted: Arc<Hosted>,
    /// Keys of TSIG.
    pub keys: KeyRing,
    rules: HashMap<Box<[u8]>, Arc<Rules>>,
}

impl Served {
    /// The rules of an apex.
    #[must_use]
    pub fn rules(&self, origin: &Name) -> Option<&Arc<Rules>> {
        self.rules.get(origin.to_key().wire())
    }

    /// Sets or takes away the rules of an apex.
    pub fn set_rules(&mut self, origin: &Name, rules: Option<Rules>) {
        let key = origin.to_key();
        match rules {
            Some(rules) => self.rules.insert(key.wire().into(), Arc::new(rules)),
            None => self.rules.remove(key.wire()),
        };
    }
}
