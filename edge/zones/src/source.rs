//! Reads zones and lists from their files.

use crate::config::{BlockListConfig, ZoneConfig};
use crate::state::{self, State};
use postring_dns::Name;
use postring_dns::list::BlockList;
use postring_dns::record::rdata_text;
use postring_dns::transfer::serial::is_newer;
use postring_dns::transfer::{Difference, RecordRef, apply, build_zone, changed_records, journal};
use postring_dns::zone::{Zone, parse_zone};
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::SystemTime;

/// Octets of a zone file; more is somebody's mistake.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What a file looked like when it was read: one that still looks so is not read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(Vec<Option<(SystemTime, u64)>>);

impl Stamp {
    /// Of all files of a service.
    #[must_use]
    pub fn of<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        let look = |path: &Path| fs::metadata(path).and_then(|metadata| Ok((metadata.modified()?, metadata.len()))).ok();
        Self(paths.into_iter().map(look).collect())
    }

    /// Adds what others looked like, behind these.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// A zone from a master file; every file that was read is given to `seen` (`$INCLUDE`).
///
/// # Errors
/// The first thing that is wrong, with file and line.
pub fn zone_file(origin: &Name, path: &Path, seen: &mut dyn FnMut(&Path)) -> Result<Zone, String> {
    let mut read = |path: &Path| {
        seen(path);
        read_text(path)
    };
    parse_zone(origin, path, &mut read).map_err(|error| error.to_string())
}

/// A primary's zone as its files have it.
#[derive(Debug)]
pub struct Primary {
    /// The file, and the changes on top of it.
    pub zone: Zone,
    /// The changes, for IXFR.
    pub steps: Vec<Difference>,
    /// Whole entries of the journal end here, and what follows is torn; `None`: nothing is torn.
    pub torn_at: Option<usize>,
    /// The file is newer than all changes in the journal: they are in it, or are gone.
    pub is_newer_than_journal: bool,
}

/// Reads a primary's zone: its file, and what was changed by dynamic update since. Changes nothing.
///
/// # Errors
/// The file is wrong, or the changes do not go together with it.
pub fn read_primary(config: &ZoneConfig, origin: &Name, state: &State, seen: &mut dyn FnMut(&Path)) -> Result<Primary, String> {
    let Some(path) = &config.file else { return Err(format!("{origin}: no file is configured")) };
    let zone = zone_file(origin, path, seen)?;
    let journal_path = state.zone_journal(origin);
    let bytes = state::read_journal(&journal_path)?;
    let (differences, good) = journal::read(&bytes);
    let torn_at = (good < bytes.len()).then_some(good);
    let serial = zone.serial();
    let Some(last) = differences.last().map(Difference::to_serial) else {
        return Ok(Primary { zone, steps: differences, torn_at, is_newer_than_journal: false });
    };
    if let Some(from) = differences.iter().position(|difference| difference.from_serial() == serial) {
        let steps = differences.get(from..).unwrap_or_default();
        let whole = apply(&zone, steps).map_err(|error| {
            format!(
                "{}: the changes made by update do not fit {} any more ({error}); raise its serial above {last} to begin anew with the file",
                journal_path.display(),
                path.display()
            )
        })?;
        let changed = build_zone(origin, changed_records(zone.records(), &whole))?;
        return Ok(Primary { zone: changed, steps: steps.to_vec(), torn_at, is_newer_than_journal: false });
    }
    if serial != last && !is_newer(serial, last) {
        return Err(format!(
            "{}: its serial {serial} is older than {last}, to which updates have brought the zone; raise it above {last}",
            path.display()
        ));
    }
    Ok(Primary { zone, steps: Vec::new(), torn_at, is_newer_than_journal: true })
}

/// The same for the one process that keeps the journal: a torn end is cut off, and a journal that is in the file is put aside. Gives the
/// changes as well, for IXFR.
///
/// # Errors
/// As [`read_primary`], and that the journal cannot be put right.
pub fn primary(
    config: &ZoneConfig,
    origin: &Name,
    state: &State,
    seen: &mut dyn FnMut(&Path),
) -> Result<(Zone, Vec<Difference>), String> {
    let read = read_primary(config, origin, state, seen)?;
    let journal_path = state.zone_journal(origin);
    if let Some(good) = read.torn_at {
        tracing::warn!("{}: its end is torn and was cut off, to {good} octets", journal_path.display());
        state::cut(&journal_path, good)?;
    }
    if read.is_newer_than_journal {
        let serial = read.zone.serial();
        tracing::warn!(
            "{origin}: the file's serial {serial} is newer than the changes made by update; they are in it or are gone"
        );
        let mut old = journal_path.as_os_str().to_owned();
        old.push(".old");
        fs::rename(&journal_path, &old).map_err(|error| format!("{}: {error}", journal_path.display()))?;
    }
    Ok((read.zone, read.steps))
}

/// A secondary's copy, and seconds since it was last known to be the newest; `None` if there is none.
///
/// # Errors
/// It cannot be read.
pub fn secondary(origin: &Name, state: &State) -> Result<Option<(Zone, u64)>, String> {
    let path = state.zone_file(origin);
    if !path.exists() {
        return Ok(None);
    }
    let age = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
    let zone = zone_file(origin, &path, &mut |_| {})?;
    Ok(Some((zone, age.unwrap_or_default().as_secs())))
}

/// Keeps a secondary's copy.
///
/// # Errors
/// The path, and what the system says.
pub fn keep_secondary(origin: &Name, zone: &Zone, state: &State) -> Result<(), String> {
    state::replace(&state.zone_file(origin), master_file(origin, zone.records()).as_bytes(), state::ZONE_MODE)
}

/// Records as a master file.
#[must_use]
pub fn master_file<'z>(origin: &Name, records: impl IntoIterator<Item = RecordRef<'z>>) -> String {
    let mut text = format!("; {origin}, written by postring\n");
    for record in records {
        // Writing to a String cannot fail.
        let _ = postring_dns::name::write_text(record.owner, &mut text);
        let _ = writeln!(text, "\t{}\tIN\t{}\t{}", record.ttl, record.rtype, rdata_text(record.rtype, record.rdata));
    }
    text
}

/// A block list from its files.
///
/// # Errors
/// The first thing that is wrong, with file and line.
pub fn block_list(config: &BlockListConfig, origin: &Name) -> Result<BlockList, String> {
    let mut builder = postring_dns::list::ListBuilder::new(origin, config.kind.kind());
    for path in config.file.paths() {
        let file = File::open(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        let modified = file.metadata().and_then(|metadata| metadata.modified()).ok();
        let modified =
            modified.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).map_or(0, |time| time.as_secs());
        builder.modified(modified);
        builder.read(path, &mut BufReader::with_capacity(1 << 20, file)).map_err(|error| error.to_string())?;
    }
    builder.finish().map_err(|error| error.to_string())
}
