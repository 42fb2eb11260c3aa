//! Whether the prerequisites of an update hold (RFC 2136 section 3.2).

use super::message::{Prerequisite, PrerequisiteKind};
use crate::name::Name;
use crate::record::Rdata;
use crate::transfer::{Overlay, comparable};
use crate::types::{Rcode, Rtype};
use std::collections::{BTreeMap, BTreeSet};

/// Checks all; NOERROR if they hold.
pub(super) fn check(prerequisites: &[Result<Prerequisite, Rcode>], zone: &mut Overlay<'_>) -> Rcode {
    let mut sets: BTreeMap<(&Name, Rtype), BTreeSet<Rdata>> = BTreeMap::new();
    for prerequisite in prerequisites {
        let prerequisite = match prerequisite {
            Ok(prerequisite) => prerequisite,
            Err(rcode) => return *rcode,
        };
        if !zone.contains(&prerequisite.key) {
            return Rcode::NOTZONE;
        }
        let rtype = prerequisite.rtype;
        let records = zone.records(&prerequisite.key);
        let has_set = records.iter().any(|record| record.rtype == rtype);
        match &prerequisite.kind {
            PrerequisiteKind::NameInUse if records.is_empty() => return Rcode::NXDOMAIN,
            PrerequisiteKind::NameFree if !records.is_empty() => return Rcode::YXDOMAIN,
            PrerequisiteKind::SetExists if !has_set => return Rcode::NXRRSET,
            PrerequisiteKind::SetMissing if has_set => return Rcode::YXRRSET,
            PrerequisiteKind::SetIs(rdata) => {
                sets.entry((&prerequisite.key, rtype)).or_default().insert(comparable(rtype, rdata).into());
            }
            PrerequisiteKind::NameInUse
            | PrerequisiteKind::NameFree
            | PrerequisiteKind::SetExists
            | PrerequisiteKind::SetMissing => {}
        }
    }
    for ((key, rtype), wanted) in sets {
        let records = zone.records(key).iter().filter(|record| record.rtype == rtype);
        let there: BTreeSet<Rdata> = records.map(|record| comparable(rtype, &record.rdata).into()).collect();
        if there != wanted {
            return Rcode::NXRRSET;
        }
    }
    Rcode::NOERROR
}
