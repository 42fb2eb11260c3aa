//! What all shards remember of senders, over a restart: `data/senders/greylist` and `data/senders/reputation`, written every few minutes and at
//! the end. A file that is lost costs some messages a delay; none is synced.

use postring_policy::PolicyConfig;
use postring_policy::memory::{Rates, Table};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time between two writings.
const WRITE_INTERVAL: Duration = Duration::from_secs(300);
/// Keys whose rates are known at a time: 512 KiB.
const RATES: usize = 65_536;
/// Octets of the longest file that is read: that of the largest table.
const FILE_BYTES_MAX: u64 = (128 << 20) + 64;

/// The tables.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Who has tried, and who was let through.
    pub(crate) greylist: Table,
    /// Good and bad messages.
    pub(crate) reputation: Table,
    /// How often somebody may; forgotten with the process.
    pub(crate) rates: Rates,
}

/// Writes the tables from time to time until it is ended.
pub(crate) struct Keeper {
    memory: Arc<Memory>,
    folder: PathBuf,
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Memory {
    fn open(folder: &Path, policy: &PolicyConfig) -> Result<Self, String> {
        if let Err(error) = fs::create_dir_all(folder) {
            tracing::warn!("{}: {error}; what is known of senders is forgotten with each restart", folder.display());
        }
        Ok(Self {
            greylist: table(&folder.join("greylist"), policy.greylist.entries)?,
            reputation: table(&folder.join("reputation"), policy.reputation.entries)?,
            rates: Rates::new(RATES),
        })
    }

    fn write(&self, folder: &Path) {
        write(&folder.join("greylist"), &self.greylist);
        write(&folder.join("reputation"), &self.reputation);
    }
}

impl Keeper {
    /// Reads what the last run has left, and begins to write, on a thread of its own.
    pub(crate) fn begin(data: &Path, policy: &PolicyConfig) -> Result<Self, String> {
        let folder = data.join("senders");
        let memory = Arc::new(Memory::open(&folder, policy)?);
        let (end, ended) = mpsc::channel();
        let (kept, place) = (Arc::clone(&memory), folder.clone());
        let write = move || {
            while ended.recv_timeout(WRITE_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                kept.write(&place);
            }
        };
        let thread =
            std::thread::Builder::new().name("senders".to_owned()).spawn(write).map_err(|error| format!("edge: {error}"))?;
        Ok(Self { memory, folder, end, thread })
    }

    /// The tables.
    pub(crate) fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.memory)
    }

    /// Writes for the last time; the shards have ended.
    pub(crate) fn end(self) {
        drop(self.end);
        if self.thread.join().is_err() {
            tracing::error!("the thread that keeps what is known of senders has panicked");
        }
        self.memory.write(&self.folder);
    }
}

fn table(path: &Path, entries: usize) -> Result<Table, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let found = read(path).map_err(|error| error.to_string()).and_then(|octets| match octets {
        Some(octets) => Table::from_octets(&octets, entries, now).map(Some).map_err(|error| error.to_string()),
        None => Ok(None),
    });
    match found {
        Ok(Some(table)) => return Ok(table),
        Ok(None) => {}
        Err(error) => tracing::warn!("{} is not used, and begins anew: {error}", path.display()),
    }
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| format!("no randomness from the system: {error}"))?;
    let (low, high) = key.split_at(8);
    let number = |octets: &[u8]| octets.try_into().map(u64::from_le_bytes).unwrap_or_default();
    Ok(Table::new(entries, [number(low), number(high)], now))
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut octets = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(FILE_BYTES_MAX).read_to_end(&mut octets).map(|_| Some(octets)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, table: &Table) {
    let new = path.with_extension("new");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
    if let Err(error) = file.and_then(|mut file| file.write_all(&table.to_octets())).and_then(|()| fs::rename(&new, path)) {
        tracing::warn!("{}: {error}; what is known of senders since the last writing is lost with a restart", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postring_policy::memory::Entry;

    #[test]
    fn what_is_remembered_outlives_a_restart_and_a_broken_file_does_not_hinder_one() {
        let data = tempfile::tempdir().unwrap();
        let policy = PolicyConfig::default();
        let keeper = Keeper::begin(data.path(), &policy).unwrap();
        keeper.memory().greylist.put(&[b"a"], Entry { data: 1, minute: 1 });
        keeper.end();
        let keeper = Keeper::begin(data.path(), &policy).unwrap();
        assert_eq!(keeper.memory().greylist.get(&[b"a"]), Some(Entry { data: 1, minute: 1 }));
        assert!(keeper.memory().reputation.is_empty());
        keeper.end();
        fs::write(data.path().join("senders/greylist"), "PRSENDR1").unwrap();
        let keeper = Keeper::begin(data.path(), &policy).unwrap();
        assert!(keeper.memory().greylist.is_empty());
        keeper.end();
    }
}
