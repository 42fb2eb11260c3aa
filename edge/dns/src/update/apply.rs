//! Applies an update (RFC 2136 section 3).

use super::message::{Change, ChangeKind, Update};
use super::{Outcome, UpdatePolicy, prerequisite};
use crate::name::Name;
use crate::record::{Rdata, Record};
use crate::transfer::serial::{is_newer, next};
use crate::transfer::{Overlay, Soa, ZoneView, is_same_data};
use crate::types::{Rcode, Rtype};

/// Records of one set: a message of 64 KiB holds no more.
const SET_RECORDS_MAX: usize = 5461;
/// Obsolete; RFC 2136 gives it rules of its own.
const WKS: Rtype = Rtype(11);
/// Types that are not to be updated: what the server makes itself when it signs a zone, and WKS.
const OURS: [Rtype; 5] = [Rtype::RRSIG, Rtype::NSEC, Rtype::NSEC3, Rtype::NSEC3PARAM, WKS];

impl Update {
    /// Applies the update to a zone. `key`: what it was signed with, lower-case; without one it is refused.
    ///
    /// The zone of the outcome must still be built, and may be found not to go together (an NS that names an alias): answer SERVFAIL then.
    /// Cost: each name the update touches is copied once; each change is compared with the records of its name.
    #[must_use]
    pub fn apply(&self, zone: &dyn ZoneView, key: Option<&Name>, policy: &UpdatePolicy) -> Outcome {
        let mut overlay = Overlay::new(zone);
        if &self.zone != zone.origin() {
            return Outcome::refused(Rcode::NOTAUTH);
        }
        let Some(key) = key.filter(|key| policy.knows(key)) else { return Outcome::refused(Rcode::REFUSED) };
        let rcode = match prerequisite::check(&self.prerequisites, &mut overlay) {
            Rcode::NOERROR => self.prescan(&overlay, key, policy),
            rcode => rcode,
        };
        if rcode != Rcode::NOERROR {
            return Outcome::refused(rcode);
        }
        let before = overlay.soa();
        for change in self.changes.iter().flatten() {
            if !apply_change(change, &mut overlay) {
                return Outcome::refused(Rcode::REFUSED);
            }
        }
        let changed = overlay.is_changed();
        if changed && overlay.soa() == before {
            //= RFC 2136 section 3.6
            //# If the zone's SOA's SERIAL is not changed as a result of an update operation, then the server shall increment it automatically
            let soa = overlay.records(zone.origin()).iter_mut().find(|record| record.rtype == Rtype::SOA);
            let Some((soa, serial)) = soa.and_then(|soa| Soa::parse(&soa.rdata).map(|numbers| (soa, numbers.serial))) else {
                return Outcome::refused(Rcode::SERVFAIL);
            };
            soa.rdata = Soa::with_serial(&soa.rdata, next(serial));
        }
        Outcome { rcode: Rcode::NOERROR, difference: if changed { overlay.into_difference() } else { None } }
    }

    /// RFC 2136 section 3.4.1, and permission for each change: all before the first is made.
    fn prescan(&self, zone: &Overlay<'_>, key: &Name, policy: &UpdatePolicy) -> Rcode {
        let mut rcode = Rcode::NOERROR;
        for change in &self.changes {
            let change = match change {
                Ok(change) => change,
                Err(rcode) => return *rcode,
            };
            //= RFC 2136 section 3.4.1
            //# each RR's NAME must be in the zone specified by the Zone Section, else signal NOTZONE to the requestor.
            if !zone.contains(&change.key) {
                return Rcode::NOTZONE;
            }
            if OURS.contains(&change.rtype) || !policy.permits(key, zone.origin(), &change.key, change.rtype) {
                rcode = Rcode::REFUSED;
            }
        }
        rcode
    }
}

/// Makes one change (RFC 2136 section 3.4.2.7); false: the set would be too large.
fn apply_change(change: &Change, zone: &mut Overlay<'_>) -> bool {
    let rtype = change.rtype;
    let is_apex = &change.key == zone.origin();
    let records = zone.records(&change.key);
    match &change.kind {
        ChangeKind::Add(ttl, rdata) => return add(records, &change.name, rtype, *ttl, rdata),
        //= RFC 2136 section 3.4.2.3
        //# all Zone RRs with the same NAME are deleted, unless the NAME is the same as ZNAME in which case only those RRs whose TYPE is other than SOA or NS are deleted.
        ChangeKind::DeleteName => records.retain(|record| is_apex && matches!(record.rtype, Rtype::SOA | Rtype::NS)),
        ChangeKind::DeleteSet if is_apex && matches!(rtype, Rtype::SOA | Rtype::NS) => {}
        ChangeKind::DeleteSet => records.retain(|record| record.rtype != rtype),
        ChangeKind::Delete(_) if rtype == Rtype::SOA => {}
        ChangeKind::Delete(rdata) => {
            let servers = records.iter().filter(|record| record.rtype == Rtype::NS).count();
            // The last NS of the zone stays (RFC 2136 section 3.4.2.4).
            if !(is_apex && rtype == Rtype::NS && servers == 1) {
                records.retain(|record| record.rtype != rtype || !is_same_data(rtype, &record.rdata, rdata));
            }
        }
    }
    true
}

fn add(records: &mut Vec<Record>, name: &Name, rtype: Rtype, ttl: u32, rdata: &Rdata) -> bool {
    //= RFC 2136 section 3.4.2.2
    //# In the case of a CNAME Update RR and a non-CNAME Zone RRset or vice versa, ignore the CNAME Update RR, otherwise replace the CNAME Zone RR with the CNAME Update RR.
    // And the other way round, as the pseudocode of section 3.4.2.7 has it.
    if records.iter().any(|record| (record.rtype == Rtype::CNAME) != (rtype == Rtype::CNAME)) {
        return true;
    }
    let serial = |rdata: &[u8]| Soa::parse(rdata).map(|soa| soa.serial);
    if rtype == Rtype::SOA {
        let ours = records.iter().find(|record| record.rtype == Rtype::SOA).and_then(|record| serial(&record.rdata));
        // Never 0 (RFC 2136 section 4.2), never back.
        let newer = ours.zip(serial(rdata)).is_some_and(|(ours, theirs)| theirs != 0 && is_newer(theirs, ours));
        if !newer {
            return true;
        }
    }
    let is_single = matches!(rtype, Rtype::SOA | Rtype::CNAME | Rtype::DNAME);
    let same = |record: &&mut Record| record.rtype == rtype && (is_single || is_same_data(rtype, &record.rdata, rdata));
    if let Some(record) = records.iter_mut().find(same) {
        record.rdata = rdata.clone();
    } else if records.iter().filter(|record| record.rtype == rtype).count() >= SET_RECORDS_MAX {
        return false;
    } else {
        // The letters of a name that is there already stay: all its records have one owner.
        let name = records.first().map_or_else(|| name.clone(), |record| record.name.clone());
        records.push(Record { name, rtype, ttl, rdata: rdata.clone() });
    }
    // A set has one TTL (RFC 2181 section 5.2): the last that was said.
    records.iter_mut().filter(|record| record.rtype == rtype).for_each(|record| record.ttl = ttl);
    true
}
