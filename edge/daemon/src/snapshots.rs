//! What the resolvers have learned, over a restart: `data/dns/cache-N.snapshot`, a file for each shard, written when it has ended, read before
//! it begins. No shard waits for a file.
//!
//! ```text
//!   stop:   executor ended ─> shard's thread ─> cache-N.snapshot.new ─> cache-N.snapshot
//!   start:  reader's thread, beside the zones ─> all files ─> each shard, before its first question (or, if they are large, soon after)
//! ```
//! Nothing is lost with a file but questions to other servers, so none is synced: a power cut may leave one that is cut off, and that is noticed.

use crate::shard::Event;
use postring_control::Shards;
use postring_dns::resolver::Snapshot;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Files read: one for each shard there can be.
const FILES_MAX: usize = 64;
/// Time in which the files are read before the shards begin without them; a disk gives some 100 MB in it at least.
const READ_WAIT: Duration = Duration::from_secs(1);

/// What was read, for all shards.
pub(crate) type Found = Vec<Arc<Snapshot>>;

/// The files of a data folder.
#[derive(Clone)]
pub(crate) struct Snapshots {
    folder: PathBuf,
    /// Octets of the longest file that is read: what a cache of this size writes, with the index.
    bytes_max: u64,
}

/// Files that are being read.
pub(crate) struct Reading {
    found: Receiver<Found>,
}

impl Snapshots {
    /// Those of a data folder; `cache_mib` is the size of one shard's cache.
    pub(crate) fn new(data: &Path, cache_mib: usize) -> Self {
        let bytes_max = u64::try_from(cache_mib).unwrap_or(u64::MAX).saturating_mul(2 << 20);
        Self { folder: data.join("dns"), bytes_max }
    }

    /// Begins to read, on a thread of its own.
    pub(crate) fn read(&self) -> Result<Reading, String> {
        let (sender, found) = mpsc::channel();
        let snapshots = self.clone();
        let read = move || {
            // Nobody waits any more: the process ends already.
            let _ = sender.send(snapshots.read_all());
        };
        std::thread::Builder::new().name("dns-snapshots".to_owned()).spawn(read).map_err(|error| format!("edge: {error}"))?;
        Ok(Reading { found })
    }

    fn read_all(&self) -> Found {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut found = Vec::new();
        for path in self.paths() {
            let snapshot = self
                .read_one(&path)
                .map_err(|error| error.to_string())
                .and_then(|bytes| Snapshot::open(Arc::new(bytes), now).map_err(|error| error.to_string()));
            match snapshot {
                Ok(snapshot) => found.push(Arc::new(snapshot)),
                Err(error) => tracing::warn!("{} is not used, its names are asked for again: {error}", path.display()),
            }
        }
        if !found.is_empty() {
            let entries: usize = found.iter().map(|snapshot| snapshot.len()).sum();
            tracing::info!("the resolver's cache goes on with {entries} answers of the last run");
        }
        found
    }

    fn read_one(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        if length > self.bytes_max {
            return Err(io::Error::other(format!("it has {length} octets, dns.cache_mib allows {}", self.bytes_max)));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.take(self.bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn path(&self, shard: u32) -> PathBuf {
        self.folder.join(format!("cache-{shard}.snapshot"))
    }

    /// All files there are.
    fn paths(&self) -> Vec<PathBuf> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!("{}: {error}; the resolver's cache begins empty", self.folder.display());
                return Vec::new();
            }
        };
        let numbered = |path: &PathBuf| number(path).is_some();
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(numbered).collect();
        paths.sort();
        paths.truncate(FILES_MAX);
        paths
    }

    /// Keeps what a shard leaves, in place of what it left before.
    pub(crate) fn write(&self, shard: u32, bytes: Option<&[u8]>) {
        let path = self.path(shard);
        let Some(bytes) = bytes else { return remove(&path) };
        let new = path.with_extension("snapshot.new");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
        if let Err(error) = file.and_then(|mut file| file.write_all(bytes)).and_then(|()| fs::rename(&new, &path)) {
            tracing::warn!("{}: {error}; the resolver's cache begins empty with the next start", path.display());
            remove(&new);
            remove(&path);
        }
    }

    /// Forgets what shards have left that there are no more.
    pub(crate) fn remove_beyond(&self, shards: u32) {
        self.paths().iter().filter(|path| number(path).is_some_and(|number| number >= shards)).for_each(|path| remove(path));
    }

    /// Forgets all: what an operator had forgotten must not come back should this process end without a word.
    pub(crate) fn remove_all(&self) {
        self.remove_beyond(0);
    }
}

impl Reading {
    /// What was read, if that is soon.
    pub(crate) fn wait(&self) -> Option<Found> {
        self.found.recv_timeout(READ_WAIT).ok()
    }

    /// Gives the shards what comes later.
    pub(crate) fn tell(self, shards: &Shards<Event>) -> Result<(), String> {
        let wrong = |error: io::Error| format!("edge: {error}");
        let speakers = shards.speakers().map_err(wrong)?;
        let tell = move || {
            if let Ok(found) = self.found.recv() {
                speakers.iter().for_each(|shard| shard.tell(Event::Snapshots(found.clone())));
            }
        };
        std::thread::Builder::new().name("dns-snapshots".to_owned()).spawn(tell).map(drop).map_err(wrong)
    }
}

/// The shard a file is of; `None`: it is none of ours.
fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("cache-")?.strip_suffix(".snapshot")?.parse().ok()
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!("{}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postring_dns::dnssec::Security;
    use postring_dns::record::Record;
    use postring_dns::resolver::{Answer, Cache, CacheConfig, Purpose};
    use postring_dns::{Name, Rcode, Rtype};

    /// What a cache with one answer leaves.
    fn left() -> Vec<u8> {
        let unix_at_zero = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut cache = Cache::new(CacheConfig { unix_at_zero, ..CacheConfig::default() });
        let name = Name::absolute("a.example").unwrap();
        let record = Record { name: name.clone(), rtype: Rtype::A, ttl: 60, rdata: [192, 0, 2, 1].into() };
        let answer = Answer {
            rcode: Rcode::NOERROR,
            records: vec![record],
            authority: Vec::new(),
            ttl: 60,
            security: Security::Unchecked,
            extended_error: None,
        };
        cache.put(&name, Rtype::A, &answer, Purpose::Mail, 0);
        cache.snapshot((0, 1), 0).unwrap()
    }

    #[test]
    fn files_that_do_not_fit_are_not_used() {
        let data = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::new(data.path(), 1);
        assert!(snapshots.read_all().is_empty(), "without a folder");
        fs::create_dir(data.path().join("dns")).unwrap();
        let good = left();
        snapshots.write(0, Some(&good));
        for (number, bytes) in [(1, &b""[..]), (2, b"PRDNSNAP"), (3, &good[..good.len() - 1]), (4, &vec![0; (2 << 20) + 1])] {
            snapshots.write(number, Some(bytes));
        }
        for other in ["cookie.secrets", "cache-x.snapshot", "cache-7.snapshot.new"] {
            fs::write(data.path().join("dns").join(other), &good).unwrap();
        }
        fs::create_dir(data.path().join("dns/cache-9.snapshot")).unwrap();
        let found = snapshots.read().unwrap().wait().unwrap();
        assert_eq!(found.iter().map(|snapshot| snapshot.len()).collect::<Vec<_>>(), [1]);
        assert_eq!(snapshots.paths().len(), 6);
        fs::remove_dir(data.path().join("dns/cache-9.snapshot")).unwrap();
        // Two shards are left of them, and one of these has nothing to leave.
        snapshots.remove_beyond(2);
        snapshots.write(1, None);
        assert_eq!(snapshots.paths(), [data.path().join("dns/cache-0.snapshot")]);
        snapshots.remove_all();
        assert!(snapshots.paths().is_empty() && data.path().join("dns/cookie.secrets").exists());
    }
}
