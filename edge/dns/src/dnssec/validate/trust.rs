//! Where trust begins, and where none is wanted.

use crate::dnssec::digest::{DigestType, Ds, ds_rdata};
use crate::name::{Name, parent, suffixes};
use crate::record::Rdata;
use crate::types::Rtype;
use std::collections::{HashMap, HashSet};

/// The root's key-signing keys as IANA publishes them (root-anchors.xml): tags 20326 (2017) and 38696 (2024), RSASHA256, SHA-256.
const ROOT: [(u16, [u8; 32]); 2] = [
    (
        20326,
        [
            0xe0, 0x6d, 0x44, 0xb8, 0x0b, 0x8f, 0x1d, 0x39, 0xa9, 0x5c, 0x0b, 0x0d, 0x7c, 0x65, 0xd0, 0x84, 0x58, 0xe8, 0x80,
            0x40, 0x9b, 0xbc, 0x68, 0x34, 0x57, 0x10, 0x42, 0x37, 0xc7, 0xf8, 0xec, 0x8d,
        ],
    ),
    (
        38696,
        [
            0x68, 0x3d, 0x2d, 0x0a, 0xcb, 0x8c, 0x9b, 0x71, 0x2a, 0x19, 0x48, 0xb2, 0x7f, 0x74, 0x12, 0x19, 0x29, 0x8d, 0x0a,
            0x45, 0x0d, 0x61, 0x2c, 0x48, 0x3a, 0xf4, 0x44, 0xa4, 0xc0, 0xfb, 0x2b, 0x16,
        ],
    ),
];

/// Trust anchors (RFC 4033 section 2), and names below which nothing is validated (RFC 7646). One for all shards, replaced as a whole.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Zone, lower-case, to the data of DS records.
    anchors: HashMap<Name, Vec<Rdata>>,
    insecure: HashSet<Name>,
    /// See [`Trust::add_cut`].
    cuts: HashSet<Name>,
}

/// What the configuration says of a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The nearest anchor above.
    Anchor(Name),
    /// No anchor, or validation is off there.
    Insecure,
}

impl Trust {
    /// The root's anchors.
    #[must_use]
    pub fn root() -> Self {
        let mut trust = Self::default();
        for (tag, digest) in ROOT {
            let [high, low] = tag.to_be_bytes();
            trust.add_ds(&Name::root(), &[&[high, low, 8, DigestType::SHA256.0], &digest[..]].concat());
        }
        trust
    }

    /// Adds an anchor in the form of a DS record's data. False: it is broken, or of an algorithm that is not supported, and would make
    /// everything below it insecure.
    pub fn add_ds(&mut self, zone: &Name, rdata: &[u8]) -> bool {
        let supported = Ds::parse(rdata).is_some_and(|ds| ds.is_supported());
        if supported {
            self.anchors.entry(zone.to_key()).or_default().push(rdata.into());
        }
        supported
    }

    /// Adds an anchor in the form of a DNSKEY record's data. False: as with [`Self::add_ds`].
    pub fn add_dnskey(&mut self, zone: &Name, rdata: &[u8]) -> bool {
        ds_rdata(zone.wire(), rdata, DigestType::SHA256).is_some_and(|ds| self.add_ds(zone, &ds))
    }

    /// Turns validation off at a name and below it, until a deeper anchor.
    pub fn add_insecure(&mut self, name: &Name) {
        self.insecure.insert(name.to_key());
    }

    /// Says that a zone begins at a name, whatever its parent knows of it: one whose servers are configured. Where the parent proves that it has no
    /// DS record there, for want of a delegation or of the whole name, the zone is unsigned, and nothing else need say so.
    pub fn add_cut(&mut self, zone: &Name) {
        self.cuts.insert(zone.to_key());
    }

    pub(super) fn is_cut(&self, name: &Name) -> bool {
        self.cuts.contains(name)
    }

    /// True if nothing is validated, ever.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    pub(super) fn ds(&self, zone: &Name) -> Option<&[Rdata]> {
        self.anchors.get(zone).map(Vec::as_slice)
    }

    /// What applies to a set of `name` (lower-case); a DS set is its parent zone's.
    pub(super) fn start(&self, name: &Name, rtype: Rtype) -> Start {
        let from = if rtype == Rtype::DS { parent(name.wire()).unwrap_or(name.wire()) } else { name.wire() };
        for suffix in suffixes(from) {
            let Ok(suffix) = Name::from_wire(suffix) else { break };
            if self.insecure.contains(&suffix) {
                return Start::Insecure;
            }
            if self.anchors.contains_key(&suffix) {
                return Start::Anchor(suffix);
            }
        }
        Start::Insecure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dnssec::algorithm::Algorithm;
    use crate::dnssec::key::dnskey_rdata;
    use hickory_proto::dnssec::{PublicKey, TrustAnchors};

    fn name(text: &str) -> Name {
        Name::absolute(text).unwrap()
    }

    #[test]
    fn the_root_is_hickorys() {
        let theirs = TrustAnchors::default();
        assert_eq!(theirs.len(), ROOT.len());
        for at in 0..theirs.len() {
            let key = theirs.get(at).unwrap();
            let mut trust = Trust::default();
            assert!(trust.add_dnskey(&Name::root(), &dnskey_rdata(257, Algorithm::RSASHA256, key.public_bytes())));
            let ds = &trust.ds(&Name::root()).unwrap()[0];
            assert!(Trust::root().ds(&Name::root()).unwrap().contains(ds));
        }
    }

    #[test]
    fn the_nearest_decides() {
        let mut trust = Trust::root();
        trust.add_insecure(&name("Lab.example"));
        let ds = [0, 1, 13, 2, 9];
        assert!(trust.add_ds(&name("deep.lab.example"), &ds));
        assert!(!trust.add_ds(&name("old.example"), &[0, 1, 5, 1, 9]) && !trust.add_ds(&name("old.example"), &[0]));
        for (text, rtype, expected) in [
            ("example", Rtype::A, Start::Anchor(Name::root())),
            (".", Rtype::DNSKEY, Start::Anchor(Name::root())),
            ("a.lab.example", Rtype::A, Start::Insecure),
            ("lab.example", Rtype::DS, Start::Anchor(Name::root())),
            ("a.deep.lab.example", Rtype::A, Start::Anchor(name("deep.lab.example"))),
            ("deep.lab.example", Rtype::DS, Start::Insecure),
        ] {
            assert_eq!(trust.start(&name(text), rtype), expected, "{text}");
        }
        assert_eq!(Trust::default().start(&name("a"), Rtype::A), Start::Insecure);
    }
}
