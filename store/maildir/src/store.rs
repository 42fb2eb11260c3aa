//! Delivery into mailboxes below one folder.

use memchr::memchr_iter;
use rustix::fs::{Advice, AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// A place that did not get its copy.
#[derive(Debug)]
pub struct Failure<'a> {
    /// Which.
    pub place: Place<'a>,
    /// Why.
    pub error: io::Error,
}

impl Failure<'_> {
    /// True if it is the volume's or the process's want (of space, of a writable volume, of memory, of descriptors) and will pass: the next
    /// mailbox would hear the same. False: this mailbox alone is broken.
    #[must_use]
    pub fn concerns_all(&self) -> bool {
        let short = [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
        Errno::from_io_error(&self.error).is_some_and(|errno| short.contains(&errno))
    }
}

/// What [`MailStore::restore`] has done.
#[derive(Debug, Default)]
pub struct Restored<'a> {
    /// Files made.
    pub made: usize,
    /// Places that are still without.
    pub failed: Vec<Failure<'a>>,
}

/// What stands in a place of a message.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// The whole message, or its reader has had it.
    Seen,
    /// Nothing, or a broken file in `new/`.
    Missing,
    /// A broken file of this name in `cur/`.
    BrokenInCur(OsString),
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
    open: HashMap<(String, Folder), Arc<Open>>,
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

    /// Puts a message (wire form) into `new/` of every place under the name: written once, hard links for the rest. Four system calls for
    /// one place (open, write, close, rename), one or two more for each further; one copy of the message to turn its line ends. Nothing
    /// is synced.
    ///
    /// Gives the places that did not get it, each with the operating system's reason; one that fails does not keep it from the others. A
    /// file of that name in `new/` is replaced: a place that has its copy must not be named again, its reader may have moved it to `cur/`.
    #[must_use]
    pub fn deliver<'a>(&mut self, places: &[Place<'a>], name: &str, message: &[u8]) -> Vec<Failure<'a>> {
        self.with_content(message, |store, bytes| store.deliver_bytes(places, name, bytes))
    }

    /// As [`deliver`](Self::deliver), but looks first what is there, as one must after a stop: a place that has the whole message in `new/` or,
    /// with whatever flags, in `cur/` is left alone, and so is one whose reader has had it and has moved or deleted it (Dovecot's record of its
    /// UIDs names it). A file that is there and is not the message (a loss of power leaves empty and short ones) is made anew: in `new/`
    /// under its name, in `cur/` under its name with its flags.
    #[must_use]
    pub fn restore<'a>(&mut self, places: &[Place<'a>], name: &str, message: &[u8]) -> Restored<'a> {
        self.with_content(message, |store, bytes| {
            let mut restored = Restored::default();
            let mut missing = Vec::new();
            for place in places {
                let looked = store.clear_unfinished(place, name).and_then(|()| store.look(place, name, bytes));
                let replaced = looked.and_then(|found| match found {
                    Found::Seen => Ok(()),
                    Found::Missing => {
                        missing.push(*place);
                        Ok(())
                    }
                    Found::BrokenInCur(file) => store.replace_in_cur(place, name, &file, bytes).map(|()| restored.made += 1),
                });
                if let Err(error) = replaced {
                    restored.failed.push(Failure { place: *place, error });
                }
            }
            let failed = store.deliver_bytes(&missing, name, bytes);
            restored.made += missing.len() - failed.len();
            restored.failed.extend(failed);
            restored
        })
    }

    /// Lends the message as it is on disk.
    fn with_content<T>(&mut self, message: &[u8], act: impl FnOnce(&mut Self, &[u8]) -> T) -> T {
        let mut content = std::mem::take(&mut self.scratch);
        content.clear();
        let bytes = if self.crlf {
            message
        } else {
            with_lf(message, &mut content);
            content.as_slice()
        };
        let result = act(self, bytes);
        self.scratch = content;
        // A giant message must not keep its memory for ever.
        self.scratch.shrink_to(1 << 20);
        result
    }

    fn deliver_bytes<'a>(&mut self, places: &[Place<'a>], name: &str, bytes: &[u8]) -> Vec<Failure<'a>> {
        let mut failed = Vec::new();
        // The first place that takes it; its file stays in `tmp/` until the others have their links, for once it is in `new/` its reader may
        // move it away.
        let mut source: Option<(Place<'a>, Arc<Open>)> = None;
        for (index, place) in places.iter().enumerate() {
            let put = match &source {
                None => {
                    self.in_folders(place, |open| write_file(&open.tmp, name, bytes)).map(|open| source = Some((*place, open)))
                }
                Some((_, source)) => self.in_folders(place, |open| link(source, open, name, bytes)).map(drop),
            };
            let Err(error) = put else { continue };
            let failure = Failure { place: *place, error };
            let shortage = Errno::from_io_error(&failure.error).filter(|_| failure.concerns_all());
            failed.push(failure);
            if let Some(shortage) = shortage {
                let rest = places.get(index + 1..).unwrap_or_default();
                failed.extend(rest.iter().map(|place| Failure { place: *place, error: shortage.into() }));
                break;
            }
        }
        if let Some((place, open)) = source
            && let Err(error) = self.finish(&place, &open, name, bytes)
        {
            failed.push(Failure { place, error });
        }
        failed
    }

    /// Moves the written file to `new/`.
    fn finish(&mut self, place: &Place<'_>, open: &Open, name: &str, bytes: &[u8]) -> io::Result<()> {
        match into_new(open, name) {
            // The mailbox was removed a moment ago.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.in_folders(place, |open| write_into_new(open, name, bytes)).map(drop)
            }
            other => other,
        }
    }

    /// Does something in the folders of a place; once more if somebody has removed and made the mailbox again while they were open.
    fn in_folders(&mut self, place: &Place<'_>, act: impl Fn(&Open) -> io::Result<()>) -> io::Result<Arc<Open>> {
        let mut open = self.folders(place)?;
        if let Err(error) = act(&open) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            self.open.clear();
            open = self.folders(place)?;
            act(&open)?;
        }
        Ok(open)
    }

    /// The folder of a place.
    fn path(&self, place: &Place<'_>) -> PathBuf {
        self.root.join(place.mailbox).join("Maildir").join(place.folder.suffix())
    }

    fn folders(&mut self, place: &Place<'_>) -> io::Result<Arc<Open>> {
        let key = (place.mailbox.to_owned(), place.folder);
        if let Some(open) = self.open.get(&key) {
            return Ok(Arc::clone(open));
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
        let open = Arc::new(open);
        self.open.insert(key, Arc::clone(&open));
        Ok(open)
    }

    /// What stands in the place of the message whose bytes on disk these are; a mailbox that is not there holds nothing.
    fn look(&self, place: &Place<'_>, name: &str, bytes: &[u8]) -> io::Result<Found> {
        let path = self.path(place);
        let mut broken = match is_whole(&path.join("new").join(name), bytes)? {
            Some(true) => return Ok(Found::Seen),
            Some(false) => Some(Found::Missing),
            None => None,
        };
        match rustix::fs::open(path.join("cur"), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(cur) => {
                for entry in Dir::read_from(&cur)? {
                    let entry = entry?;
                    let file = entry.file_name().to_bytes();
                    if file.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b":")) {
                        let file = OsString::from_vec(file.to_vec());
                        match is_whole(&path.join("cur").join(&file), bytes)? {
                            Some(true) => return Ok(Found::Seen),
                            Some(false) => broken = Some(Found::BrokenInCur(file)),
                            None => {}
                        }
                    }
                }
            }
            Err(Errno::NOENT) => return Ok(Found::Missing),
            Err(error) => return Err(error.into()),
        }
        if let Some(broken) = broken {
            return Ok(broken);
        }
        match std::fs::read(path.join("dovecot-uidlist")) {
            Ok(list) if memchr::memmem::find(&list, name.as_bytes()).is_some() => Ok(Found::Seen),
            Ok(_) => Ok(Found::Missing),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Missing),
            Err(error) => Err(error),
        }
    }

    fn replace_in_cur(&mut self, place: &Place<'_>, name: &str, file: &OsString, bytes: &[u8]) -> io::Result<()> {
        let target = self.path(place).join("cur").join(file);
        let write = |open: &Open| {
            write_file(&open.tmp, name, bytes)?;
            rustix::fs::renameat(&open.tmp, name, CWD, &target).map_err(|error| given_up(open, name, error.into()))
        };
        self.in_folders(place, write).map(drop)
    }

    /// Removes what a crash has left of the message in `tmp/`; nothing there is fine.
    fn clear_unfinished(&self, place: &Place<'_>, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path(place).join("tmp").join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The folder that holds the mailboxes.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

/// The volume a folder is on, to be written out.
///
/// The kernel tells of data it could not write once to each descriptor, and only to those opened before: so one is opened before anything is
/// written (or found written by a replay), and kept.
#[derive(Debug)]
pub struct Volume(OwnedFd);

impl Volume {
    /// The volume of this folder.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Writes everything out, so that the journal may forget it.
    ///
    /// # Errors
    /// The volume has lost something since it was opened: final.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }
}

/// Writes a file of that name anew. Never into one that is there: a link of it may stand in somebody's `new/` already.
fn write_file(folder: &OwnedFd, name: &str, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let create = || rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR);
    let file = match create() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
            create()?
        }
        other => other?,
    };
    write_all(&file, bytes).inspect_err(|_| {
        let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
    })
}

fn write_into_new(open: &Open, name: &str, bytes: &[u8]) -> io::Result<()> {
    write_file(&open.tmp, name, bytes)?;
    into_new(open, name)
}

fn into_new(open: &Open, name: &str) -> io::Result<()> {
    rustix::fs::renameat(&open.tmp, name, &open.new, name).map_err(|error| given_up(open, name, error.into()))
}

/// Takes the file in `tmp/` away again; a full disk must not stay full because of us.
fn given_up(open: &Open, name: &str, error: io::Error) -> io::Error {
    let _ = rustix::fs::unlinkat(&open.tmp, name, AtFlags::empty());
    error
}

/// A second link of the file in `tmp/` of the source.
fn link(source: &Open, target: &Open, name: &str, bytes: &[u8]) -> io::Result<()> {
    match rustix::fs::linkat(&source.tmp, name, &target.new, name, AtFlags::empty()) {
        Ok(()) => Ok(()),
        // Another volume, as many links as the file system allows, a broken file in the way, or a source somebody has removed: a copy of its
        // own.
        Err(Errno::XDEV | Errno::MLINK | Errno::EXIST | Errno::NOENT) => write_into_new(target, name, bytes),
        Err(error) => Err(error.into()),
    }
}

/// Whether the file holds these bytes; `None` if there is none. Lengths first.
fn is_whole(path: &Path, bytes: &[u8]) -> io::Result<Option<bool>> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !metadata.is_file() || metadata.len() != bytes.len() as u64 {
        return Ok(Some(false));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => {
            // What the disk holds, not what the kernel still remembers of a write that failed.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
            // What cannot be read is as good as broken: it is written anew.
            Ok(Some(is_equal(file.into(), bytes).unwrap_or(false)))
        }
        Err(Errno::NOENT) => Ok(None),
        // It is its reader's own, and has the right length.
        Err(Errno::ACCESS | Errno::PERM) => Ok(Some(true)),
        Err(Errno::IO) => Ok(Some(false)),
        Err(error) => Err(error.into()),
    }
}

fn is_equal(mut file: std::fs::File, mut bytes: &[u8]) -> io::Result<bool> {
    let mut part = vec![0; bytes.len().min(1 << 16)];
    while !bytes.is_empty() {
        let (now, later) = bytes.split_at(bytes.len().min(part.len()));
        let read = part.get_mut(..now.len()).unwrap_or_default();
        file.read_exact(read)?;
        if read != now {
            return Ok(false);
        }
        bytes = later;
    }
    Ok(true)
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
        assert!(store.deliver(&[A, JUNK], "1.M1P1.h,S=18,W=21", message).is_empty());
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
        assert!(store.deliver(&[A, JUNK], "1.M1P1.h,S=18,W=21", message).is_empty());
        assert_eq!(std::fs::read_dir(root.path().join("d.example/a/Maildir/new")).unwrap().count(), 1);
    }

    /// A store with one message in mailbox A, and that mailbox's folder.
    fn with_one(root: &Path) -> (MailStore, PathBuf) {
        let mut store = MailStore::new(root, false);
        assert!(store.deliver(&[A], NAME, MESSAGE).is_empty());
        (store, root.join("d.example/a/Maildir"))
    }

    const NAME: &str = "n,S=4,W=6";
    const MESSAGE: &[u8] = b"a\r\nb\r\n";
    const ON_DISK: &[u8] = b"a\nb\n";

    fn made(store: &mut MailStore) -> usize {
        let restored = store.restore(&[A], NAME, MESSAGE);
        assert!(restored.failed.is_empty(), "{:?}", restored.failed);
        restored.made
    }

    fn count(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn what_the_reader_has_had_does_not_come_back() {
        let root = tempfile::tempdir().unwrap();
        let (mut store, maildir) = with_one(root.path());
        let inode = maildir.join("new").join(NAME).metadata().unwrap().ino();
        assert_eq!(made(&mut store), 0);
        assert_eq!(maildir.join("new").join(NAME).metadata().unwrap().ino(), inode, "a whole file is left alone");
        let moved = maildir.join("cur").join(format!("{NAME}:2,S"));
        std::fs::rename(maildir.join("new").join(NAME), &moved).unwrap();
        assert_eq!(made(&mut store), 0);
        assert_eq!(moved.metadata().unwrap().ino(), inode);
        // Removed by its reader, who has a record of it; without the record it is lost and made again.
        std::fs::remove_file(&moved).unwrap();
        let list = maildir.join("dovecot-uidlist");
        std::fs::write(&list, format!("3 V1 N2 Gx\n1 :{NAME}\n")).unwrap();
        assert_eq!((made(&mut store), count(&maildir.join("new"))), (0, 0));
        std::fs::remove_file(&list).unwrap();
        assert_eq!((made(&mut store), count(&maildir.join("new"))), (1, 1));
    }

    #[test]
    fn what_a_loss_of_power_has_broken_is_made_anew() {
        let root = tempfile::tempdir().unwrap();
        let (mut store, maildir) = with_one(root.path());
        let file = maildir.join("new").join(NAME);
        // The record of UIDs does not count where a file is there and broken.
        std::fs::write(maildir.join("dovecot-uidlist"), format!("3 V1 N2 Gx\n1 :{NAME}\n")).unwrap();
        for broken in [&b""[..], b"a\n", b"a\n\0\0"] {
            std::fs::write(&file, broken).unwrap();
            assert_eq!(made(&mut store), 1);
            assert_eq!(std::fs::read(&file).unwrap(), ON_DISK);
        }
        let seen = maildir.join("cur").join(format!("{NAME}:2,FS"));
        std::fs::remove_file(&file).unwrap();
        for broken in [&b""[..], b"a\n\0\0"] {
            std::fs::write(&seen, broken).unwrap();
            assert_eq!(made(&mut store), 1);
            assert_eq!(std::fs::read(&seen).unwrap(), ON_DISK, "in its place, with its flags");
        }
        assert_eq!(["new", "cur", "tmp"].map(|folder| count(&maildir.join(folder))), [0, 1, 0]);
        // A broken file with links in several mailboxes: each gets the whole.
        let mut other = MailStore::new(root.path(), false);
        assert!(other.deliver(&[A, JUNK], "m", MESSAGE).is_empty());
        std::fs::write(maildir.join("new/m"), b"").unwrap();
        assert_eq!(store.restore(&[A, JUNK], "m", MESSAGE).made, 2);
        for place in [A, JUNK] {
            assert_eq!(std::fs::read(store.path(&place).join("new/m")).unwrap(), ON_DISK);
        }
    }

    #[test]
    fn a_copy_that_is_out_is_never_written_into() {
        let root = tempfile::tempdir().unwrap();
        let (mut store, maildir) = with_one(root.path());
        let theirs = store.path(&JUNK).join("new/x");
        assert!(store.deliver(&[JUNK], "x", MESSAGE).is_empty());
        // As a full disk leaves it: the link is made, the file still in tmp/.
        std::fs::hard_link(&theirs, maildir.join("tmp/x")).unwrap();
        let inode = theirs.metadata().unwrap().ino();
        assert!(store.deliver(&[A], "x", MESSAGE).is_empty());
        assert_eq!((std::fs::read(&theirs).unwrap().as_slice(), theirs.metadata().unwrap().ino()), (ON_DISK, inode));
        assert_ne!(maildir.join("new/x").metadata().unwrap().ino(), inode);
        assert_eq!(count(&maildir.join("tmp")), 0);
    }

    #[test]
    fn a_broken_mailbox_does_not_keep_it_from_the_others() {
        const FIRST: Place = Place { mailbox: "d.example/broken", folder: Folder::Inbox };
        let root = tempfile::tempdir().unwrap();
        let mut store = MailStore::new(root.path(), false);
        std::fs::create_dir_all(root.path().join("d.example/broken")).unwrap();
        std::fs::write(root.path().join("d.example/broken/Maildir"), "").unwrap();
        for restore in [false, true] {
            let places = [FIRST, A, JUNK];
            let failed = if restore { store.restore(&places, "y", MESSAGE).failed } else { store.deliver(&places, "x", MESSAGE) };
            assert_eq!(failed.iter().map(|failure| failure.place).collect::<Vec<_>>(), [FIRST]);
            assert!(failed.iter().all(|failure| !failure.concerns_all()), "{failed:?}");
            let name = if restore { "y" } else { "x" };
            assert!([A, JUNK].iter().all(|place| store.path(place).join("new").join(name).exists()));
        }
        let full = Failure { place: A, error: Errno::NOSPC.into() };
        assert!(full.concerns_all());
    }

    #[test]
    fn a_volume_is_written_out() {
        let root = tempfile::tempdir().unwrap();
        Volume::open(root.path()).unwrap().sync().unwrap();
        assert!(Volume::open(&root.path().join("none")).is_err());
    }

    #[test]
    fn a_mailbox_that_was_removed_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let mut store = MailStore::new(root.path(), true);
        assert!(store.deliver(&[A], "1", b"a\r\n").is_empty());
        std::fs::remove_dir_all(root.path().join("d.example")).unwrap();
        assert!(store.deliver(&[A], "2", b"a\r\n").is_empty());
        assert_eq!(std::fs::read(root.path().join("d.example/a/Maildir/new/2")).unwrap(), b"a\r\n");
        assert_eq!(store.deliver(&[Place { mailbox: "../x", folder: Folder::Inbox }], "3", b"").len(), 1);
        // The one the others link from goes away between two deliveries, too.
        std::fs::remove_dir_all(root.path().join("d.example")).unwrap();
        assert!(store.deliver(&[A, JUNK], "4", b"a\r\n").is_empty());
        assert!(root.path().join("d.example/a/Maildir/new/4").exists());
        assert!(root.path().join("d.example/b/Maildir/.Junk/new/4").exists());
    }
}
