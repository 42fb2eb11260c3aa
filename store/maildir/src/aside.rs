//! Where a message goes whose mailbox cannot take it: kept for the operator, so that one broken mailbox stops nothing else.
//!
//! ```text
//!   ROOT/.undeliverable/00000000000001AB-0.eml    the message in wire form
//!   ROOT/.undeliverable/00000000000001AB-0.txt    a line for each place: domain/local-part, folder, the reason
//! ```
//! Message id and shard: of a message with recipients in several shards each keeps its own. No domain begins with a dot, so no mailbox is
//! there. Both files are synced: the journal will forget the message.

use crate::store::{Failure, Folder, MailStore};
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

impl MailStore {
    /// Keeps the message for the operator, and gives the file. Once more for the same message: the same files, new places are added.
    ///
    /// # Errors
    /// The operating system's; it may be in part there, and calling again finishes.
    pub fn set_aside(&self, shard: u32, message_id: u64, failures: &[Failure<'_>], message: &[u8]) -> io::Result<PathBuf> {
        let folder = self.root().join(".undeliverable");
        if !folder.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            File::open(self.root())?.sync_all()?;
        }
        let file = folder.join(format!("{message_id:016X}-{shard}.eml"));
        write_synced(&file, message)?;
        let list = file.with_extension("txt");
        let mut lines = match std::fs::read(&list) {
            Ok(lines) => String::from_utf8_lossy(&lines).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        for Failure { place, error } in failures {
            let kind = if place.folder == Folder::Junk { "Junk" } else { "INBOX" };
            let line = format!("{} {kind}: {error}", place.mailbox);
            if !lines.lines().any(|known| known == line) {
                lines.push_str(&line);
                lines.push('\n');
            }
        }
        write_synced(&list, lines.as_bytes())?;
        File::open(&folder)?.sync_all()?;
        Ok(file)
    }
}

/// Puts a whole file under this name, or leaves what was there.
fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_added_extension("part");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&unfinished, path)).inspect_err(|_| {
        let _ = std::fs::remove_file(&unfinished);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Place;

    #[test]
    fn a_message_is_kept_with_its_places() {
        let root = tempfile::tempdir().unwrap();
        let store = MailStore::new(root.path(), false);
        let failure =
            |mailbox| Failure { place: Place { mailbox, folder: Folder::Inbox }, error: io::ErrorKind::PermissionDenied.into() };
        let file = store.set_aside(0, 0x1AB, &[failure("d/a")], b"a\r\n").unwrap();
        assert_eq!(file, root.path().join(".undeliverable/00000000000001AB-0.eml"));
        // A replay, then another place.
        store.set_aside(0, 0x1AB, &[failure("d/a")], b"a\r\n").unwrap();
        store.set_aside(0, 0x1AB, &[failure("d/b")], b"a\r\n").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"a\r\n");
        let list = std::fs::read_to_string(file.with_extension("txt")).unwrap();
        assert_eq!(list, "d/a INBOX: permission denied\nd/b INBOX: permission denied\n");
        assert_eq!(std::fs::read_dir(root.path().join(".undeliverable")).unwrap().count(), 2);
        // Another shard's recipients of the same message.
        assert_ne!(store.set_aside(1, 0x1AB, &[failure("d/c")], b"a\r\n").unwrap(), file);
        // Not even that: the caller hears it.
        let broken = MailStore::new(&root.path().join("d"), false);
        std::fs::write(root.path().join("d"), "").unwrap();
        assert!(broken.set_aside(0, 1, &[failure("d/a")], b"").is_err());
    }
}
