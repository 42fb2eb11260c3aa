//! Delivery into mailboxes below one folder.

use memchr::memchr_iter;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Mailboxes whose folders are kept open; beyond it all are closed and opened again as needed.
const OPEN_MAX: usize = 512;

/// A folder of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Folder {
    /// The mailbox itself.
    Inbox,
    /// `.Junk` of Maildir++.
    Junk,
}

impl Folder {
    fn suffix(self) -> &'static str {
        match self {
            Self::Inbox => "",
            Self::Junk => ".Junk/",
        }
    }
}

/// One copy's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The mailbox's folder, relative: `domain/local-part`.
    pub mailbox: &'a str,
    /// The folder within.
    pub folder: Folder,
}

#[derive(Debug)]
struct Open {
    tmp: OwnedFd,
    new: OwnedFd,
}

/// The mailboxes of one shard. One thread owns it.
#[derive(Debug)]
pub struct MailStore {
    root: PathBuf,
    crlf: bool,
    open: HashMap<(String, Folder), Open>,
    scratch: Vec<u8>,
}

impl MailStore {
    /// Over the folder that holds `domain/local-part/Maildir`. `crlf`: keep CRLF line ends on disk; LF is what Dovecot, Postfix and
    /// every tool that reads Maildirs write and expect.
    #[must_use]
    pub fn new(root: &Path, crlf: bool) -> Self {
        Self { root: root.to_owned(), crlf, open: HashMap::new(), scratch: Vec::new() }
    }

    /// Bytes the message takes on disk.
    #[must_use]
    pub fn size_on_disk(&self, message: &[u8]) -> usize {
        if self.crlf { message.len() } else { message.len() - crate::line_end_count(message) }
    }

    /// Puts a message (wire form) into `new/` of every place under the name, where it is not there yet: written once, hard links for
    /// the rest. Four system calls for one place (open, write, close, rename), one or two more for each further; one copy of the
    /// message to turn its line ends. Nothing is synced.
    ///
    /// # Errors
    /// The operating system's; some places may have it, and calling again finishes.
    pub fn deliver(&mut self, places: &[Place<'_>], name: &str, message: &[u8]) -> io::Result<()> {
        let mut content = std::mem::take(&mut self.scratch);
        content.clear();
        let bytes = if self.crlf {
            message
        } else {
            with_lf(message, &mut content);
            content.as_slice()
        };
        let result = self.deliver_bytes(places, name, bytes);
        self.scratch = content;
        // A giant message must not keep its memory for ever.
        self.scratch.shrink_to(1 << 20);
        result
    }

    fn deliver_bytes(&mut self, places: &[Place<'_>], name: &str, bytes: &[u8]) -> io::Result<()> {
        let Some((first, others)) = places.split_first() else { return Ok(()) };
        if let Err(error) = self.deliver_to(first, others, name, bytes) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            // Somebody has removed and made the mailbox again while its folders were open.
            self.open.clear();
            self.deliver_to(first, others, name, bytes)?;
        }
        Ok(())
    }

    fn deliver_to(&mut self, first: &Place<'_>, others: &[Place<'_>], name: &str, bytes: &[u8]) -> io::Result<()> {
        self.ensure_open(first)?;
        for other in others {
            self.ensure_open(other)?;
        }
        let open = |place: &Place<'_>| self.open.get(&(place.mailbox.to_owned(), place.folder)).ok_or(io::ErrorKind::NotFound);
        let source = open(first)?;
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&source.tmp, name, flags, Mode::RUSR | Mode::WUSR)?;
        if let Err(error) = write_all(&file, bytes) {
            let _ = rustix::fs::unlinkat(&source.tmp, name, AtFlags::empty());
            return Err(error);
        }
        drop(file);
        for place in others {
            let target = open(place)?;
            match rustix::fs::linkat(&source.tmp, name, &target.new, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::EXIST) => {}
                // Another volume, or as many links as the file system allows: a copy of its own.
                Err(Errno::XDEV | Errno::MLINK) => {
                    let file = rustix::fs::openat(&target.tmp, name, flags, Mode::RUSR | Mode::WUSR)?;
                    write_all(&file, bytes)?;
                    rustix::fs::renameat(&target.tmp, name, &target.new, name)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        rustix::fs::renameat(&source.tmp, name, &source.new, name)?;
        Ok(())
    }

    /// The folder of a place.
    fn path(&self, place: &Place<'_>) -> PathBuf {
        self.root.join(place.mailbox).join("Maildir").join(place.folder.suffix())
    }

    fn ensure_open(&mut self, place: &Place<'_>) -> io::Result<()> {
        if self.open.contains_key(&(place.mailbox.to_owned(), place.folder)) {
            return Ok(());
        }
        // The name is the directory's; one that would leave the root is a broken directory, not a path to follow.
        if place.mailbox.split('/').any(|part| part.is_empty() || part == "." || part == "..") || place.mailbox.starts_with('/') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a mailbox's folder leads out of the mail folder"));
        }
        if self.open.len() >= OPEN_MAX {
            self.open.clear();
        }
        let path = self.path(place);
        let open = match open_pair(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(&self.root.join(place.mailbox).join("Maildir"), place.folder)?;
                open_pair(&path)?
            }
            other => other?,
        };
        self.open.insert((place.mailbox.to_owned(), place.folder), open);
        Ok(())
    }

    /// True if the message stands in `new/` or, with whatever flags, in `cur/` of the place; or if Dovecot's record of its UIDs names
    /// it: then the reader has had it and has moved or deleted it, and it must not come back.
    ///
    /// # Errors
    /// The operating system's; a mailbox that is not there holds nothing.
    pub fn has_seen(&self, place: &Place<'_>, name: &str) -> io::Result<bool> {
        let path = self.path(place);
        match std::fs::symlink_metadata(path.join("new").join(name)) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match rustix::fs::open(path.join("cur"), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(cur) => {
                for entry in Dir::read_from(&cur)? {
                    let entry = entry?;
                    let file = entry.file_name().to_bytes();
                    if file.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b":")) {
                        return Ok(true);
                    }
                }
            }
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        match std::fs::read(path.join("dovecot-uidlist")) {
            Ok(list) => Ok(memchr::memmem::find(&list, name.as_bytes()).is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes what a crash has left of the message in `tmp/`.
    ///
    /// # Errors
    /// The operating system's; nothing there is fine.
    pub fn clear_unfinished(&self, place: &Place<'_>, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path(place).join("tmp").join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes out everything below the root, so that the journal may forget it.
    ///
    /// # Errors
    /// The volume has lost something: final.
    pub fn sync(root: &Path) -> io::Result<()> {
        let folder = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::fs::syncfs(folder)?;
        Ok(())
    }
}

fn open_pair(path: &Path) -> io::Result<Open> {
    let open = |name: &str| rustix::fs::open(path.join(name), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    Ok(Open { tmp: open("tmp")?, new: open("new")? })
}

/// Makes a mailbox or a folder of it; only its owner may look in.
fn make(maildir: &Path, folder: Folder) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    let path = maildir.join(folder.suffix());
    for name in ["cur", "new", "tmp"] {
        builder.create(path.join(name))?;
    }
    if folder != Folder::Inbox {
        // Maildir++: says that this is a folder of another maildir.
        std::fs::File::options().create(true).append(true).open(path.join("maildirfolder"))?;
        subscribe(maildir, folder.suffix().trim_matches(['.', '/']))?;
    }
    Ok(())
}

/// Adds the folder to Dovecot's list of subscriptions, so that mail programs show it.
fn subscribe(maildir: &Path, folder: &str) -> io::Result<()> {
    let path = maildir.join("subscriptions");
    let list = match std::fs::read_to_string(&path) {
        Ok(list) => list,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    if !list.lines().any(|line| line == folder) {
        io::Write::write_all(
            &mut std::fs::File::options().create(true).append(true).open(path)?,
            format!("{folder}\n").as_bytes(),
        )?;
    }
    Ok(())
}

fn write_all(file: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&file, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// CRLF becomes LF; a message in wire form has no other line ends. One pass, one copy.
fn with_lf(message: &[u8], content: &mut Vec<u8>) {
    content.reserve(message.len());
    let mut start = 0;
    for end in memchr_iter(b'\n', message) {
        let line = message.get(start..end).unwrap_or_default();
        content.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        content.push(b'\n');
        start = end + 1;
    }
    content.extend_from_slice(message.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const A: Place = Place { mailbox: "d.example/a", folder: Folder::Inbox };
    const JUNK: Place = Place { mailbox: "d.example/b", folder: Folder::Junk };

    #[test]
    fn one_body_many_places() {
        let root = tempfile::tempdir().unwrap();
        let mut store = MailStore::new(root.path(), false);
        let message = b"Subject: x\r\n\r\nhello\r\n";
        store.deliver(&[A, JUNK], "1.M1P1.h,S=18,W=21", message).unwrap();
        let first = root.path().join("d.example/a/Maildir/new/1.M1P1.h,S=18,W=21");
        let second = root.path().join("d.example/b/Maildir/.Junk/new/1.M1P1.h,S=18,W=21");
        assert_eq!(std::fs::read(&first).unwrap(), b"Subject: x\n\nhello\n");
        assert_eq!(store.size_on_disk(message), 18);
        assert_eq!(first.metadata().unwrap().ino(), second.metadata().unwrap().ino());
        assert_eq!(first.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(root.path().join("d.example/a/Maildir/tmp")).unwrap().count(), 0);
        assert!(root.path().join("d.example/b/Maildir/.Junk/maildirfolder").exists());
        assert_eq!(std::fs::read_to_string(root.path().join("d.example/b/Maildir/subscriptions")).unwrap(), "Junk\n");
        // Again, as a replay may do: the same files.
        store.deliver(&[A, JUNK], "1.M1P1.h,S=18,W=21", message).unwrap();
        assert_eq!(std::fs::read_dir(root.path().join("d.example/a/Maildir/new")).unwrap().count(), 1);
    }

    #[test]
    fn what_the_reader_has_had_is_known() {
        let root = tempfile::tempdir().unwrap();
        let mut store = MailStore::new(root.path(), false);
        assert!(!store.has_seen(&A, "n,S=1,W=1").unwrap());
        store.deliver(&[A], "n,S=1,W=1", b"x").unwrap();
        let maildir = root.path().join("d.example/a/Maildir");
        assert!(store.has_seen(&A, "n,S=1,W=1").unwrap());
        std::fs::rename(maildir.join("new/n,S=1,W=1"), maildir.join("cur/n,S=1,W=1:2,S")).unwrap();
        assert!(store.has_seen(&A, "n,S=1,W=1").unwrap());
        std::fs::remove_file(maildir.join("cur/n,S=1,W=1:2,S")).unwrap();
        assert!(!store.has_seen(&A, "n,S=1,W=1").unwrap());
        std::fs::write(maildir.join("dovecot-uidlist"), "3 V1 N2 Gx\n1 :n,S=1,W=1\n").unwrap();
        assert!(store.has_seen(&A, "n,S=1,W=1").unwrap());
    }

    #[test]
    fn a_mailbox_that_was_removed_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let mut store = MailStore::new(root.path(), true);
        store.deliver(&[A], "1", b"a\r\n").unwrap();
        std::fs::remove_dir_all(root.path().join("d.example")).unwrap();
        store.deliver(&[A], "2", b"a\r\n").unwrap();
        assert_eq!(std::fs::read(root.path().join("d.example/a/Maildir/new/2")).unwrap(), b"a\r\n");
        assert!(store.deliver(&[Place { mailbox: "../x", folder: Folder::Inbox }], "3", b"").is_err());
    }
}
