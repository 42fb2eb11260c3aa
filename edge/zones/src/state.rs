//! What is kept in the data folder, below `dns/`, by the process that serves.
//!
//! ```text
//!   zones/NAME.zone      a secondary's copy, a master file; its time of change is when it was last known to be the newest
//!   zones/NAME.journal   changes by dynamic update, on top of the configured file (postring_dns::transfer::journal)
//!   zones/changed        touched after each change of a zone: others look at it alone (crate::reader)
//!   keys/NAME/           DNSSEC keys in BIND's files, and `state`
//!   cookie.secrets       the secrets of DNS cookies (of role edge)
//!   blocks.journal       entries of all lists set by `postring block` (postring_dns::list)
//! ```
//! Others read `zones`, where the rights of the folder let them; the rest is the keeper's own.
//! Files are replaced whole, by a synced file of another name; journals grow by synced appends, and a torn end is cut off.

use postring_dns::Name;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Mode of what is in `zones`: who may pass through the folder may read it, whatever the umask.
pub const ZONE_MODE: u32 = 0o644;

/// The folder.
#[derive(Clone, Debug)]
pub struct State {
    folder: PathBuf,
}

/// A name as a file's: what no file may have, or somebody would stumble over, is written `%XX`.
fn file_name(name: &Name) -> String {
    let text = name.to_key().to_string();
    let mut out = String::with_capacity(text.len());
    for byte in text.trim_end_matches('.').bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    if out.is_empty() { "%root".to_owned() } else { out }
}

impl State {
    /// The folder `dns` of a data folder.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { folder: data.join("dns") }
    }

    /// A secondary's copy.
    #[must_use]
    pub fn zone_file(&self, origin: &Name) -> PathBuf {
        self.folder.join("zones").join(format!("{}.zone", file_name(origin)))
    }

    /// A primary's changes.
    #[must_use]
    pub fn zone_journal(&self, origin: &Name) -> PathBuf {
        self.folder.join("zones").join(format!("{}.journal", file_name(origin)))
    }

    /// The file whose time of change says when a zone was changed last.
    #[must_use]
    pub fn marker(&self) -> PathBuf {
        self.folder.join("zones").join("changed")
    }

    /// Says to others that a zone has changed; its files are written.
    ///
    /// # Errors
    /// The path, and what the system says.
    pub fn mark(&self) -> Result<(), String> {
        use std::os::unix::fs::PermissionsExt;
        let marker = self.marker();
        let wrong = with_path(&marker);
        fs::create_dir_all(self.folder.join("zones")).map_err(&wrong)?;
        let open = OpenOptions::new().write(true).create(true).truncate(false).open(&marker);
        let marked = open.and_then(|file| {
            file.set_permissions(fs::Permissions::from_mode(ZONE_MODE))?;
            // The clock may not have moved on since the last change; the length does. Nothing is lost with a crash: all is read at start.
            file.set_len(u64::from(file.metadata()?.len() == 0))
        });
        marked.map_err(wrong)
    }

    /// A zone's keys.
    #[must_use]
    pub fn key_folder(&self, origin: &Name) -> PathBuf {
        self.folder.join("keys").join(file_name(origin))
    }

    /// Entries of lists set by command.
    #[must_use]
    pub fn block_journal(&self) -> PathBuf {
        self.folder.join("blocks.journal")
    }
}

fn with_path(path: &Path) -> impl Fn(io::Error) -> String {
    let path = path.display().to_string();
    move |error| format!("{path}: {error}")
}

/// Replaces a file by one of this mode, durably; its folder is made.
///
/// # Errors
/// The path, and what the system says.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let wrong = with_path(path);
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(&wrong)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary).and_then(|mut file| {
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&temporary, path)).and_then(|()| File::open(folder)?.sync_all()).map_err(wrong)
}

/// Appends to a journal of this mode, durably. What could not be written whole is cut off again.
///
/// # Errors
/// The path, and what the system says; nothing was appended.
pub fn append(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let wrong = with_path(path);
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(&wrong)?;
    let is_new = !path.exists();
    let mut file = OpenOptions::new().append(true).create(true).mode(mode).open(path).map_err(&wrong)?;
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(&wrong)?;
    let length = file.metadata().map_err(&wrong)?.len();
    let written = file.write_all(bytes).and_then(|()| file.sync_data());
    if written.is_err() {
        // The reader would cut it off as well.
        let _ = file.set_len(length);
    } else if is_new {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(&wrong)?;
    }
    written.map_err(wrong)
}

/// Reads a journal; one that is not there is empty.
///
/// # Errors
/// The path, and what the system says.
pub fn read_journal(path: &Path) -> Result<Vec<u8>, String> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(with_path(path)(error)),
    }
}

/// Cuts the torn end off a journal.
///
/// # Errors
/// The path, and what the system says.
pub fn cut(path: &Path, length: usize) -> Result<(), String> {
    let wrong = with_path(path);
    let file = OpenOptions::new().write(true).open(path).map_err(&wrong)?;
    file.set_len(u64::try_from(length).unwrap_or(u64::MAX)).and_then(|()| file.sync_all()).map_err(wrong)
}

/// Sets a file's time of change to now.
pub fn touch(path: &Path) {
    // The time only says how old a copy is; without it the copy counts as older, which is safe.
    if let Ok(file) = OpenOptions::new().write(true).open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_files() {
        for (name, expected) in [("Example.ORG", "example.org"), (".", "%root"), ("a/b.x", "a%2Fb.x"), ("..%", "")] {
            if let Ok(name) = Name::absolute(name) {
                assert_eq!(file_name(&name), expected);
            }
        }
        assert_eq!(file_name(&Name::absolute("\\.\\.").unwrap()), "%5C.%5C");
    }

    #[test]
    fn files_are_replaced_and_journals_grow() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path());
        let name = Name::absolute("example.org").unwrap();
        let path = state.zone_file(&name);
        replace(&path, b"one", 0o644).unwrap();
        replace(&path, b"two", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let journal = state.zone_journal(&name);
        assert_eq!(read_journal(&journal).unwrap(), b"");
        append(&journal, b"ab", 0o600).unwrap();
        append(&journal, b"cd", 0o600).unwrap();
        cut(&journal, 3).unwrap();
        assert_eq!(read_journal(&journal).unwrap(), b"abc");
    }
}
