//! The zones as a role sees them that resolves names and serves none (`send`): what the keeper has on disk, looked at when it says that
//! something has changed. What is found here needs not be asked over the network.
//!
//! ```text
//!   keeper ── file, journal, copy; then touches zones/changed ──> Reader::poll, a look at one file ──> what changed is read again
//! ```

use crate::config::{ZoneConfig, ZonesConfig};
use crate::source::{self, Stamp};
use crate::state::State;
use postring_dns::transfer::{Secondary, SecondaryStep, Soa};
use postring_dns::zone::Zone;
use postring_dns::{Hosted, Name, Service};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A zone, and the files it was read from as they were then.
#[derive(Debug)]
struct Read {
    config: ZoneConfig,
    paths: Vec<PathBuf>,
    stamp: Stamp,
    service: Arc<Service>,
}

/// All zones of a configuration. Changes nothing on disk.
#[derive(Debug)]
pub struct Reader {
    state: State,
    zones: Vec<ZoneConfig>,
    read: BTreeMap<Name, Read>,
    marker: Stamp,
}

impl Reader {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { state: State::new(data), zones: Vec::new(), read: BTreeMap::new(), marker: Stamp::of([]) }
    }

    /// Takes another configuration; gives the zones, and what is wrong with those that could not be read. Of those, what was read before stays.
    pub fn configure(&mut self, config: &ZonesConfig) -> (Hosted, Vec<String>) {
        self.zones.clone_from(&config.zone);
        // Looked at before the zones are: what changes meanwhile is read again next time.
        self.marker = self.look();
        self.read_all()
    }

    /// The zones, if the keeper has changed one since the last look. Costs a look at one file if not.
    pub fn poll(&mut self) -> Option<(Hosted, Vec<String>)> {
        let marker = self.look();
        if marker == self.marker {
            return None;
        }
        self.marker = marker;
        Some(self.read_all())
    }

    fn look(&self) -> Stamp {
        Stamp::of([self.state.marker().as_path()])
    }

    fn read_all(&mut self) -> (Hosted, Vec<String>) {
        let (mut hosted, mut wrong, mut before) = (Hosted::default(), Vec::new(), std::mem::take(&mut self.read));
        for config in &self.zones {
            let Ok(origin) = Name::absolute(&config.name).map(|name| name.to_key()) else { continue };
            let known = before.remove(&origin);
            let current = known.as_ref().is_some_and(|known| {
                known.config == *config && known.stamp == Stamp::of(known.paths.iter().map(PathBuf::as_path))
            });
            let read = match known {
                Some(known) if current => Some(known),
                known => self.read_one(&origin, config).unwrap_or_else(|error| {
                    wrong.push(error);
                    known
                }),
            };
            if let Some(read) = read {
                hosted.put(&origin, Some(Arc::clone(&read.service)));
                self.read.insert(origin, read);
            }
        }
        (hosted, wrong)
    }

    /// `None`: a secondary's zone that is not here, or too old to be believed.
    fn read_one(&self, origin: &Name, config: &ZoneConfig) -> Result<Option<Read>, String> {
        let mut paths = vec![self.state.zone_journal(origin), self.state.zone_file(origin)];
        let stamp_of = |paths: &[PathBuf]| Stamp::of(paths.iter().map(PathBuf::as_path));
        let mut early = stamp_of(&paths);
        let zone = if config.file.is_some() {
            let kept = paths.len();
            let read = source::read_primary(config, origin, &self.state, &mut |path| paths.push(path.to_owned()))?;
            early.extend(stamp_of(paths.get(kept..).unwrap_or_default()));
            Some(read.zone)
        } else {
            source::secondary(origin, &self.state)?.and_then(|(zone, age)| is_good(config, &zone, age).then_some(zone))
        };
        let read = |zone| Read { config: config.clone(), paths, stamp: early, service: Arc::new(Service::Zone(zone)) };
        Ok(zone.map(read))
    }
}

/// False if the keeper would not serve a copy of this age, in seconds, any more.
fn is_good(config: &ZoneConfig, zone: &Zone, age: u64) -> bool {
    let soa = Soa::parse(zone.soa().rdata).map(|soa| (soa, 0));
    soa.is_some() && Secondary::new(config.primaries.clone(), soa, age).poll(age) != SecondaryStep::Expired
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state;
    use postring_dns::Rtype;
    use postring_dns::transfer::{Difference, journal};

    const ZONE: &str = "$TTL 60\n@ SOA ns h 1 60 60 3600 60\n NS ns\nns A 192.0.2.1\n";

    fn name(text: &str) -> Name {
        Name::absolute(text).unwrap()
    }

    fn zone_config(zone: &str, file: Option<PathBuf>) -> ZoneConfig {
        let config = match file {
            Some(file) => serde_json::json!({ "name": zone, "file": file }),
            None => serde_json::json!({ "name": zone, "primaries": ["192.0.2.1:53"] }),
        };
        serde_json::from_value(config).unwrap()
    }

    fn has(hosted: &Hosted, name: &str) -> bool {
        let answer = hosted.answer(&self::name(name), Rtype::A);
        answer.is_some_and(|answer| !answer.answer.is_empty())
    }

    #[test]
    fn what_the_keeper_has_changed_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.zone");
        std::fs::write(&file, ZONE).unwrap();
        let state = State::new(folder.path());
        let zones = vec![zone_config("own.example", Some(file.clone())), zone_config("far.example", None)];
        let config = ZonesConfig { zone: zones, ..ZonesConfig::default() };
        let mut reader = Reader::new(folder.path());
        let (hosted, wrong) = reader.configure(&config);
        assert!(wrong.is_empty() && has(&hosted, "ns.own.example") && !has(&hosted, "ns.far.example"), "{wrong:?}");
        assert!(reader.poll().is_none());

        // A copy comes, and a change by update.
        let (own, far) = (name("own.example"), name("far.example"));
        let old = source::zone_file(&own, &file, &mut |_| {}).unwrap();
        let text = format!("{ZONE}new A 192.0.2.2\n").replace(" 1 60", " 2 60");
        let new = postring_dns::zone::parse_zone(&own, Path::new("-"), &mut |_| Ok(text.clone())).unwrap();
        let mut entry = Vec::new();
        journal::write(&Difference::between(old.records(), new.records()).unwrap(), &mut entry).unwrap();
        state::append(&state.zone_journal(&own), &entry, state::ZONE_MODE).unwrap();
        let copy = postring_dns::zone::parse_zone(&far, Path::new("-"), &mut |_| Ok(ZONE.to_owned())).unwrap();
        source::keep_secondary(&far, &copy, &state).unwrap();
        assert!(reader.poll().is_none(), "before the keeper says so nobody looks");
        state.mark().unwrap();
        let (hosted, wrong) = reader.poll().unwrap();
        assert!(wrong.is_empty() && has(&hosted, "new.own.example") && has(&hosted, "ns.far.example"), "{wrong:?}");

        // A file that has become unreadable: said, and what was read is gone on with.
        std::fs::write(&file, "$TTL x\n").unwrap();
        state.mark().unwrap();
        let (hosted, wrong) = reader.poll().unwrap();
        assert!(wrong.len() == 1 && has(&hosted, "new.own.example"), "{wrong:?}");

        // Nobody has confirmed the copy for its expire time.
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3601);
        std::fs::File::options().write(true).open(state.zone_file(&far)).unwrap().set_modified(long_ago).unwrap();
        state.mark().unwrap();
        let (hosted, _) = reader.poll().unwrap();
        assert!(!has(&hosted, "ns.far.example"));
    }
}
