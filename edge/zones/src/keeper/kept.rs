//! One service as the keeper holds it: where it comes from, what it is, and what is remembered of it.

use super::block::Blocks;
use super::stamp_of_list;
use crate::config::{BlockListConfig, ZoneConfig};
use crate::served::Rules;
use crate::signing::Signing;
use crate::source::{self, Stamp};
use crate::state::State;
use postring_dns::transfer::{AccessList, Difference, Secondary, Soa, ZoneHistory};
use postring_dns::zone::Zone;
use postring_dns::{Name, Service};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Octets of a zone's remembered changes, for IXFR.
const HISTORY_BYTES_MAX: usize = 4 << 20;
/// Records of a signed zone whose versions are compared, for IXFR: that takes all signatures at once, a second or two of the keeper's time. A
/// larger one is given whole.
const COMPARED_RECORDS_MAX: usize = 100_000;

/// What a service is, and how it is configured.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// From a master file.
    Primary(ZoneConfig),
    /// Copied from others.
    Secondary(ZoneConfig),
    /// Of a domain of the directory.
    Domain { serial: u32, dkim: Vec<(String, String)>, tlsa: Vec<String>, challenges: Vec<(String, String)> },
    /// A block list.
    List(BlockListConfig),
}

impl Kind {
    pub(super) fn of_zone(config: ZoneConfig) -> Self {
        if config.file.is_some() { Self::Primary(config) } else { Self::Secondary(config) }
    }

    /// Its apex, lower-case.
    pub(super) fn origin(&self) -> Result<Name, String> {
        let name = match self {
            Self::Primary(config) | Self::Secondary(config) => &config.name,
            Self::List(config) => &config.name,
            Self::Domain { .. } => return Err("a domain's zone has its name from the directory".to_owned()),
        };
        Name::absolute(name).map(|name| name.to_key()).map_err(|error| format!("\"{name}\": {error}"))
    }

    /// Its word in lists.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Primary(_) => "primary",
            Self::Secondary(_) => "secondary",
            Self::Domain { .. } => "domain",
            Self::List(_) => "list",
        }
    }

    pub(super) fn zone_config(&self) -> Option<&ZoneConfig> {
        match self {
            Self::Primary(config) | Self::Secondary(config) => Some(config),
            Self::Domain { .. } | Self::List(_) => None,
        }
    }
}

/// A service.
#[derive(Debug)]
pub(super) struct Kept {
    /// Lower-case.
    pub origin: Name,
    pub kind: Kind,
    /// Files it was read from, as they were then.
    stamp: Option<(Vec<PathBuf>, Stamp)>,
    /// The zone as its source gives it; what is served may be signed.
    pub plain: Option<Arc<Service>>,
    /// What is served.
    pub service: Arc<Service>,
    /// Changes of what is served, signatures included.
    pub history: ZoneHistory,
    pub secondary: Option<Secondary>,
    pub signing: Option<Signing>,
    /// Why it is not served, or not as new as it should be.
    pub error: Option<String>,
}

/// The zone of a service.
pub(super) fn zone_of(service: &Service) -> Option<&Zone> {
    match service {
        Service::Zone(zone) => Some(zone),
        Service::List(_) | Service::Broken => None,
    }
}

/// Reads what a service serves, without its past.
pub(super) fn read(origin: &Name, kind: &Kind, state: &State, blocks: &mut Blocks) -> Result<Service, String> {
    match kind {
        Kind::Primary(config) => source::read_primary(config, origin, state, &mut |_| {}).map(|read| Service::Zone(read.zone)),
        Kind::Secondary(_) => Ok(source::secondary(origin, state)?.map_or(Service::Broken, |(zone, _)| Service::Zone(zone))),
        Kind::List(config) => Ok(Service::List(source::block_list(config, origin)?.with_overlay(blocks.overlay(origin)))),
        Kind::Domain { .. } => Ok(Service::Broken),
    }
}

impl Kept {
    /// One that is there.
    pub(super) fn new(origin: &Name, kind: Kind, service: Arc<Service>) -> Self {
        Self {
            origin: origin.to_key(),
            kind,
            stamp: None,
            plain: zone_of(&service).is_some().then(|| Arc::clone(&service)),
            service,
            history: ZoneHistory::new(HISTORY_BYTES_MAX),
            secondary: None,
            signing: None,
            error: None,
        }
    }

    /// One that could not be loaded.
    pub(super) fn broken(origin: &Name, kind: Kind, error: String) -> Self {
        Self { error: Some(error), ..Self::new(origin, kind, Arc::new(Service::Broken)) }
    }

    /// Reads it from its files. `before`: the one whose place it takes.
    pub(super) fn load(
        origin: &Name,
        kind: &Kind,
        before: Option<&Self>,
        state: &State,
        blocks: &mut Blocks,
        now: u64,
    ) -> Result<Self, String> {
        match kind {
            Kind::Primary(config) => Self::load_primary(origin, config, before, state, now),
            Kind::Secondary(config) => Self::load_secondary(origin, config, state, now),
            Kind::List(config) => {
                let stamp = stamp_of_list(config);
                source::block_list(config, origin).map(|list| {
                    let list = list.with_overlay(blocks.overlay(origin));
                    let mut kept = Self::new(origin, kind.clone(), Arc::new(Service::List(list)));
                    kept.stamp = Some((config.file.paths().to_vec(), stamp));
                    kept
                })
            }
            Kind::Domain { .. } => Err("a domain's zone has no file".to_owned()),
        }
    }

    fn load_primary(origin: &Name, config: &ZoneConfig, before: Option<&Self>, state: &State, now: u64) -> Result<Self, String> {
        // Looked at before they are read: what changes meanwhile is read again next time.
        let mut paths: Vec<PathBuf> = Vec::new();
        let mut seen = |path: &Path| paths.push(path.to_owned());
        let (zone, differences) = source::primary(config, origin, state, &mut seen)?;
        let stamp = Stamp::of(paths.iter().map(PathBuf::as_path));
        let mut kept = Self::new(origin, Kind::Primary(config.clone()), Arc::new(Service::Zone(zone)));
        kept.stamp = Some((paths, stamp));
        kept.signing = Signing::open(config, origin, state, now)?;
        match &mut kept.signing {
            None => differences.into_iter().for_each(|difference| kept.history.push(Arc::new(difference))),
            Some(signing) => {
                if let Some(before) = before.filter(|before| before.signing.is_some()) {
                    before.signing.iter().for_each(|before| signing.go_on(before));
                    // As if this had been served up to now: what is signed next is compared with it.
                    kept.service = Arc::clone(&before.service);
                    kept.history.clone_from(&before.history);
                }
                kept.sign(now)?;
            }
        }
        Ok(kept)
    }

    fn load_secondary(origin: &Name, config: &ZoneConfig, state: &State, now: u64) -> Result<Self, String> {
        let copy = source::secondary(origin, state).unwrap_or_else(|error| {
            tracing::warn!("{origin}: its copy is not used and taken anew: {error}");
            None
        });
        let have = copy.as_ref().and_then(|(zone, age)| Some((Soa::parse(zone.soa().rdata)?, now.saturating_sub(*age))));
        let service = copy.map_or(Service::Broken, |(zone, _)| Service::Zone(zone));
        let mut kept = Self::new(origin, Kind::Secondary(config.clone()), Arc::new(service));
        kept.secondary = Some(Secondary::new(config.primaries.clone(), have, now));
        Ok(kept)
    }

    /// True if it is what this configuration and its files give.
    pub(super) fn is_current(&self, kind: &Kind) -> bool {
        let same_files = self.stamp.as_ref().is_none_or(|(paths, stamp)| *stamp == Stamp::of(paths.iter().map(PathBuf::as_path)));
        self.kind == *kind && same_files && (self.error.is_none() || matches!(kind, Kind::Secondary(_)))
    }

    /// Makes the form that is served out of the plain zone.
    pub(super) fn sign(&mut self, now: u64) -> Result<(), String> {
        let Some(plain) = self.plain.clone() else { return Ok(()) };
        let Some(zone) = zone_of(&plain) else { return Ok(()) };
        self.service = match &mut self.signing {
            None => plain,
            Some(signing) => {
                let signed = signing.sign(zone, now)?;
                self.remember(&signed);
                Arc::new(Service::Zone(signed))
            }
        };
        Ok(())
    }

    /// Lets the next signed version go on with the signatures of what is served, and compares the two if somebody may want the difference.
    fn remember(&mut self, next: &Zone) {
        let is_copied = self.kind.zone_config().is_some_and(|config| !config.transfer_to.is_empty());
        let Some(now) = zone_of(&self.service).filter(|now| now.is_signed()) else { return self.history.clear() };
        if !is_copied || now.record_count().max(next.record_count()) > COMPARED_RECORDS_MAX {
            next.take_signatures(now);
            return self.history.clear();
        }
        // Makes every signature that nobody has asked for yet, so that who copies this version later has none that is not known here.
        let old: Vec<_> = now.records_signed().collect();
        next.take_signatures(now);
        match Difference::between(old, next.records_signed()) {
            Some(difference) => self.history.push(Arc::new(difference)),
            None => self.history.clear(),
        }
    }

    /// Takes over what an earlier one of the same name remembers.
    pub(super) fn inherit(&mut self, before: Self) {
        let (Some(old), Some(new)) = (before.plain.as_deref().and_then(zone_of), self.plain.as_deref().and_then(zone_of)) else {
            return;
        };
        // Signed versions were compared when they were signed.
        if self.signing.is_some() || before.signing.is_some() {
            return;
        }
        if self.history.size().0 > 0 || old.serial() == new.serial() {
            if old.serial() == new.serial() && self.history.size().0 == 0 {
                self.history = before.history;
            }
            return;
        }
        self.history = before.history;
        match Difference::between(old.records(), new.records()) {
            Some(difference) => self.history.push(Arc::new(difference)),
            None => self.history.clear(),
        }
    }

    /// What others may do with it.
    pub(super) fn rules(&self) -> Rules {
        let access = |texts: &[String]| AccessList::parse(texts.iter().map(String::as_str)).unwrap_or_default();
        match &self.kind {
            Kind::Primary(config) | Kind::Secondary(config) => Rules {
                transfer: access(&config.transfer_to),
                history: (self.history.size().0 > 0).then(|| Arc::new(self.history.clone())),
                notify_from: config.primaries.iter().map(|primary| primary.ip()).collect(),
                is_dynamic: !config.update_keys.is_empty(),
            },
            Kind::List(config) => Rules { transfer: access(&config.transfer_to), ..Rules::default() },
            Kind::Domain { .. } => Rules::default(),
        }
    }
}
