//! Which key may update what: a small form of BIND's `update-policy`.

use crate::name::{Name, is_within};
use crate::types::Rtype;

/// The names of a rule; lower-case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Every name of the zone, its SOA and the NS of its apex too.
    All,
    /// This name alone.
    Exactly(Name),
    /// This name and all below it.
    Within(Name),
}

/// One rule: what it says may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateRule {
    /// The key the update is signed with, lower-case.
    pub key: Name,
    /// Where.
    pub names: Names,
    /// Which types; empty: all, but SOA and NS of the apex only with [`Names::All`]. Deleting all sets of a name needs an empty list.
    pub types: Vec<Rtype>,
}

/// The rules of one zone. Without rules nobody may update it, and without a signature nobody ever may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdatePolicy {
    /// One that fits is enough.
    pub rules: Vec<UpdateRule>,
}

impl UpdatePolicy {
    /// One key that may do everything.
    #[must_use]
    pub fn all_of_zone(key: &Name) -> Self {
        Self { rules: vec![UpdateRule { key: key.to_key(), names: Names::All, types: Vec::new() }] }
    }

    /// True if this key may update something: else the update is refused before it is looked at, so that it cannot be used to ask what the
    /// zone holds.
    #[must_use]
    pub fn knows(&self, key: &Name) -> bool {
        self.rules.iter().any(|rule| &rule.key == key)
    }

    /// True if this key may change these records; names lower-case. `rtype` ANY: all sets of the name.
    #[must_use]
    pub fn permits(&self, key: &Name, origin: &Name, owner: &Name, rtype: Rtype) -> bool {
        let is_apex = owner == origin && (rtype == Rtype::SOA || rtype == Rtype::NS);
        self.rules.iter().any(|rule| {
            let named = match &rule.names {
                Names::All => true,
                Names::Exactly(name) => owner == name,
                Names::Within(name) => is_within(owner.wire(), name.wire()),
            };
            let typed = if rule.types.is_empty() { rule.names == Names::All || !is_apex } else { rule.types.contains(&rtype) };
            &rule.key == key && named && typed
        })
    }
}
