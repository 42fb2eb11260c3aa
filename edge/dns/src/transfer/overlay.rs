//! Changes laid over a zone that itself stays as it is: only the names they touch are copied.

use super::serial::is_newer;
use super::{Difference, RecordRef, Soa, ZoneView, is_same_data};
use crate::name::{Name, is_within};
use crate::record::Record;
use crate::types::Rtype;
use std::collections::{BTreeMap, HashSet};

/// Records of one name that changes are laid over; more would make one change after the other slow, and no message could hold them.
const NAME_RECORDS_MAX: usize = 16_384;

/// Why differences do not fit the zone: the secondary's copy is not what the primary believes, and only a whole transfer helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// The first does not begin at the zone's serial, or one does not begin where the last ended.
    Serial,
    /// Removes what is not there.
    NotThere(Name, Rtype),
    /// Adds what is there already.
    AlreadyThere(Name, Rtype),
    /// Not a name of the zone.
    ForeignName(Name),
    /// A name has more records than can be handled.
    TooMany(Name),
}

impl std::fmt::Display for ApplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Serial => f.write_str("the differences do not follow each other from the zone's serial"),
            Self::NotThere(name, rtype) => write!(f, "a {rtype} of {name} is removed that is not there"),
            Self::AlreadyThere(name, rtype) => write!(f, "a {rtype} of {name} is added that is there already"),
            Self::ForeignName(name) => write!(f, "{name} is not within the zone"),
            Self::TooMany(name) => write!(f, "{name} has more than {NAME_RECORDS_MAX} records"),
        }
    }
}

impl std::error::Error for ApplyError {}

#[derive(Debug, Default)]
struct Touched {
    before: Vec<Record>,
    now: Vec<Record>,
}

/// A zone with changes over it.
pub struct Overlay<'v> {
    zone: &'v dyn ZoneView,
    names: BTreeMap<Name, Touched>,
}

impl<'v> Overlay<'v> {
    /// Without changes.
    #[must_use]
    pub fn new(zone: &'v dyn ZoneView) -> Self {
        Self { zone, names: BTreeMap::new() }
    }

    /// The zone's apex.
    #[must_use]
    pub fn origin(&self) -> &'v Name {
        self.zone.origin()
    }

    /// True for names of the zone; lower-case.
    #[must_use]
    pub fn contains(&self, key: &Name) -> bool {
        is_within(key.wire(), self.zone.origin().wire())
    }

    /// The records of a name as they are now, to be changed.
    pub fn records(&mut self, key: &Name) -> &mut Vec<Record> {
        let zone = self.zone;
        let load = || {
            let mut before = Vec::new();
            zone.records_at(key.wire(), &mut |record| before.extend(record.to_record()));
            Touched { now: before.clone(), before }
        };
        &mut self.names.entry(key.clone()).or_insert_with(load).now
    }

    /// The SOA as it is now.
    pub fn soa(&mut self) -> Option<Record> {
        let origin = self.origin();
        self.records(origin).iter().find(|record| record.rtype == Rtype::SOA).cloned()
    }

    /// Adds a record that must not be there.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn add(&mut self, record: &Record) -> Result<(), ApplyError> {
        let key = record.name.to_key();
        if !self.contains(&key) {
            return Err(ApplyError::ForeignName(record.name.clone()));
        }
        let records = self.records(&key);
        if records.len() >= NAME_RECORDS_MAX {
            return Err(ApplyError::TooMany(record.name.clone()));
        }
        if records.iter().any(|other| other.rtype == record.rtype && other.rdata == record.rdata) {
            return Err(ApplyError::AlreadyThere(record.name.clone(), record.rtype));
        }
        records.push(record.clone());
        Ok(())
    }

    /// Removes a record that must be there; its TTL does not matter, nor the letters of its names if there is none with these.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn remove(&mut self, record: &Record) -> Result<(), ApplyError> {
        let records = self.records(&record.name.to_key());
        let exactly = records.iter().position(|other| other.rtype == record.rtype && other.rdata == record.rdata);
        let at = exactly.or_else(|| records.iter().position(|other| is_same(other, record)));
        let at = at.ok_or_else(|| ApplyError::NotThere(record.name.clone(), record.rtype))?;
        records.swap_remove(at);
        Ok(())
    }

    /// True if a record went or came.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        let same = |touched: &Touched| {
            touched.before.len() == touched.now.len() && {
                let before: HashSet<RecordRef<'_>> = touched.before.iter().map(RecordRef::from).collect();
                touched.now.iter().all(|record| before.contains(&record.into()))
            }
        };
        !self.names.values().all(same)
    }

    /// What all changes together did; `None` if the SOA stayed, or went.
    #[must_use]
    pub fn into_difference(mut self) -> Option<Difference> {
        let to = self.soa()?;
        let mut from = None;
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        for touched in self.names.into_values() {
            let (before, now): (HashSet<RecordRef<'_>>, HashSet<RecordRef<'_>>) =
                (touched.before.iter().map(RecordRef::from).collect(), touched.now.iter().map(RecordRef::from).collect());
            let copies = |these: &HashSet<RecordRef<'_>>, those: &HashSet<RecordRef<'_>>| {
                let only = these.difference(those).filter(|record| record.rtype != Rtype::SOA);
                only.filter_map(|record| record.to_record()).collect::<Vec<_>>()
            };
            removed.extend(copies(&before, &now));
            added.extend(copies(&now, &before));
            from = from.or_else(|| touched.before.iter().find(|record| record.rtype == Rtype::SOA).cloned());
        }
        removed.sort_unstable_by(|left: &Record, right| RecordRef::from(left).cmp(&right.into()));
        added.sort_unstable_by(|left: &Record, right| RecordRef::from(left).cmp(&right.into()));
        let from = from?;
        (from != to).then_some(Difference { from, to, removed, added })
    }
}

fn is_same(one: &Record, other: &Record) -> bool {
    one.rtype == other.rtype && is_same_data(one.rtype, &one.rdata, &other.rdata)
}

/// Applies differences to a zone, one after the other, and gives back what they do together.
///
/// # Errors
/// See [`ApplyError`]; the zone must then be taken whole.
pub fn apply<'d>(zone: &dyn ZoneView, differences: impl IntoIterator<Item = &'d Difference>) -> Result<Difference, ApplyError> {
    let mut overlay = Overlay::new(zone);
    for difference in differences {
        let current = overlay.soa().and_then(|soa| Soa::parse(&soa.rdata)).ok_or(ApplyError::Serial)?;
        if difference.from_serial() != current.serial || !is_newer(difference.to_serial(), current.serial) {
            return Err(ApplyError::Serial);
        }
        overlay.remove(&difference.from)?;
        difference.removed.iter().try_for_each(|record| overlay.remove(record))?;
        overlay.add(&difference.to)?;
        difference.added.iter().try_for_each(|record| overlay.add(record))?;
    }
    overlay.into_difference().ok_or(ApplyError::Serial)
}
