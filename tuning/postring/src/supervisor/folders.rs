//! Gives each role's folders to its user.
//!
//! | below the data folder | belongs to | others |
//! |---|---|---|
//! | `mail`, `journal/store-*` | store | nothing |
//! | `queue`, `journal/send-*` | send | nothing |
//! | `quarantine`, `senders`, `dns` | edge | nothing, but send reads `dns/zones` |
//! | `run`, `directory.sqlite` | root | nothing |
//! | the rules, the learned words | whoever wrote them | scan reads them |
//!
//! What is below a folder is looked at only if the folder belongs to somebody else, or if the last start was under other users.

use super::users::Users;
use crate::config::Config;
use crate::plan::Plan;
use postring_control::{Role, User, confine};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Zones as the keeper of role edge has them; send reads them, too.
pub const ZONES: &str = "dns/zones";

/// Folders in folders: a mailbox has six.
const DEPTH_MAX: u32 = 64;

/// The folders a role alone may touch.
pub fn own(data: &Path, plan: &Plan) -> Vec<(PathBuf, Role)> {
    let journal =
        |role: Role, shards: usize| (0..shards).map(move |shard| (data.join("journal").join(format!("{role}-{shard}")), role));
    let edge = ["quarantine", "senders", "dns"].map(|name| (name, Role::Edge));
    let whole = [("mail", Role::Store), ("queue", Role::Send)].into_iter().chain(edge);
    let whole = whole.map(|(name, role)| (data.join(name), role));
    whole.chain(journal(Role::Store, plan.store.len())).chain(journal(Role::Send, plan.send.len())).collect()
}

/// Makes the folders, gives them away, and makes sure that every role reaches what it needs.
pub fn prepare(config: &Config, plan: &Plan, users: Option<&Users>) -> Result<(), String> {
    let data = &config.server.data;
    let own = own(data, plan);
    for (path, _) in &own {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let zones = data.join(ZONES);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&zones).map_err(|error| format!("{}: {error}", zones.display()))?;
    let marker = data.join("run/users");
    let Some(users) = users else {
        // What is written from now on belongs to who runs this; a next start with users looks at everything again.
        return match fs::remove_file(&marker) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{}: {error}", marker.display())),
            _ => Ok(()),
        };
    };
    for (name, mode) in [("run", 0o700), ("journal", 0o711)] {
        let path = data.join(name);
        keep_for_root(&path, mode).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    close_directory(data)?;
    let now = serde_json::to_string(users).map_err(|error| error.to_string())?;
    let settled = fs::read_to_string(&marker).is_ok_and(|before| before == now);
    for (path, role) in &own {
        let user = users.of(*role);
        let changed = give(path, user, settled)
            .map_err(|error| format!("{} could not be given to user {} ({role}): {error}", path.display(), user.uid))?;
        if changed > 0 {
            tracing::info!("{}: {changed} files and folders belong to user {} ({role}) now", path.display(), user.uid);
        }
    }
    let lent = lend(&data.join("dns"), &zones, users.of(Role::Edge), users.of(Role::Send));
    lent.map_err(|error| format!("{}: could not be made readable to role send: {error}", zones.display()))?;
    fs::write(&marker, now).map_err(|error| format!("{}: {error}", marker.display()))?;
    check_reach(config, &own, users)?;
    let keys = [&config.tls.key, &config.tls.next_key].into_iter().flatten().chain(config.tls.name.iter().map(|of| &of.key));
    for key in keys.filter(|key| key.metadata().is_ok_and(|metadata| metadata.mode() & 0o007 != 0)) {
        tracing::warn!("tls: anybody may read {}; root alone needs to: chmod 600", key.display());
    }
    Ok(())
}

/// The reader may pass through the folder above, and read in the folder below; nobody else may.
fn lend(above: &Path, below: &Path, owner: User, reader: User) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let above = rustix::fs::open(above, flags, Mode::empty())?;
    let name = below.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let below = rustix::fs::openat(&above, name, flags, Mode::empty())?;
    rustix::fs::fchown(&below, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(reader.gid)))?;
    rustix::fs::fchmod(&below, Mode::from_raw_mode(0o750))?;
    Ok(rustix::fs::fchmod(&above, Mode::from_raw_mode(0o711))?)
}

fn keep_for_root(path: &Path, mode: u32) -> io::Result<()> {
    std::os::unix::fs::chown(path, Some(0), Some(0))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Passwords' hashes are in it. A group the administrator has given it to (Dovecot's) keeps its right.
fn close_directory(data: &Path) -> Result<(), String> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let path = data.join(format!("directory.sqlite{suffix}"));
        let result = path.metadata().and_then(|metadata| {
            fs::set_permissions(&path, fs::Permissions::from_mode(metadata.mode() & 0o770))?;
            std::os::unix::fs::chown(&path, Some(0), None)
        });
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(format!("{}: {error}", path.display())),
            _ => {}
        }
    }
    Ok(())
}

/// Gives away a folder with all below it; gives how many changed hands. The folder itself comes last: a walk that was cut short is done again.
fn give(path: &Path, user: User, settled: bool) -> io::Result<u64> {
    let folder = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let top = rustix::fs::fstat(&folder)?;
    if settled && top.st_uid == user.uid {
        return Ok(0);
    }
    let mut changed = give_below(&folder, user, 0)?;
    if top.st_uid != user.uid {
        rustix::fs::fchown(&folder, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
        changed += 1;
    }
    rustix::fs::fchmod(&folder, Mode::from_raw_mode(top.st_mode & 0o770))?;
    Ok(changed)
}

/// By descriptors, and never through a symbolic link: what a role has put there must not lead root elsewhere.
fn give_below(folder: &OwnedFd, user: User, depth: u32) -> io::Result<u64> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other(format!("there are more than {DEPTH_MAX} folders in one another")));
    }
    let mut changed = 0;
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            changed += give_below(&rustix::fs::openat(folder, name, flags, Mode::empty())?, user, depth + 1)?;
        }
        if found.st_uid != user.uid {
            let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
            rustix::fs::chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            changed += 1;
        }
    }
    Ok(changed)
}

/// Every role opens what it will have to open. What is in the data folder for the scanners to read is made readable to them.
fn check_reach(config: &Config, own: &[(PathBuf, Role)], users: &Users) -> Result<(), String> {
    let data = &config.server.data;
    let (rules, tokens) = (data.join(&config.scan.rules), data.join(&config.scan.tokens));
    let mut judged = Vec::new();
    if config.edge.scan && config.scan.yara {
        let files = fs::read_dir(&rules).map_err(|error| format!("scan.rules: {}: {error}", rules.display()))?;
        judged.push(rules.clone());
        judged.extend(files.flatten().map(|file| file.path()));
    }
    if config.edge.scan && config.scan.bayes && tokens.exists() {
        judged.push(tokens);
    }
    let scan = users.of(Role::Scan);
    for (path, _) in closed_to(scan, judged.clone())?.into_iter().filter(|(path, _)| path.starts_with(data)) {
        match let_read(&path, scan) {
            Ok(()) => tracing::info!("{}: user {} (scan) may read it now", path.display(), scan.uid),
            Err(error) => tracing::warn!("{}: {error}", path.display()),
        }
    }
    let zones: Vec<PathBuf> = config.dns.zone.iter().filter_map(|zone| zone.file.clone()).collect();
    let lists: Vec<PathBuf> = config.dns.block_list.iter().flat_map(|list| list.file.paths().to_vec()).collect();
    for role in [Role::Edge, Role::Scan, Role::Store, Role::Send] {
        let mut needed: Vec<PathBuf> = own.iter().filter(|(_, owner)| *owner == role).map(|(path, _)| path.clone()).collect();
        match role {
            Role::Edge => needed.extend(zones.iter().chain(&lists).cloned()),
            Role::Send => needed.extend(zones.iter().cloned().chain([data.join(ZONES)])),
            Role::Scan => needed.append(&mut judged),
            Role::Store => {}
        }
        let user = users.of(role);
        if let Some((path, error)) = closed_to(user, needed)?.into_iter().next() {
            return Err(format!(
                "user {} ({role}) cannot open {}: {error}; `namei -l {}` shows where its way ends: give that to it, or `chmod o+x` the folder",
                user.uid,
                path.display(),
                path.display()
            ));
        }
    }
    Ok(())
}

/// Which of the paths the user cannot open, asked of the kernel by a thread that is the user.
fn closed_to(user: User, paths: Vec<PathBuf>) -> Result<Vec<(PathBuf, io::Error)>, String> {
    let ask = move || -> io::Result<Vec<(PathBuf, io::Error)>> {
        confine::switch(user)?;
        let open = |path: PathBuf| fs::File::open(&path).err().map(|error| (path, error));
        Ok(paths.into_iter().filter_map(open).collect())
    };
    let asked = std::thread::spawn(ask).join().map_err(|_| "the check of the users' rights ended by a panic".to_owned())?;
    asked.map_err(|error| {
        format!(
            "nothing can be done as user {} here: {error}; set users.mode = \"off\" if root has not its full rights",
            user.uid
        )
    })
}

/// A file or folder becomes readable to the user's group.
fn let_read(path: &Path, user: User) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let mode = rustix::fs::fstat(&file)?.st_mode;
    let more = match FileType::from_raw_mode(mode) {
        FileType::Directory => 0o050,
        FileType::RegularFile => 0o040,
        _ => return Err(io::Error::other("is neither a file nor a folder; a link must lead to what scan may read")),
    };
    rustix::fs::fchown(&file, None, Some(Gid::from_raw(user.gid)))?;
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777 | more))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: User = User { uid: 64_003, gid: 64_003 };

    #[test]
    fn a_tree_changes_hands_without_following_links() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can give files away");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (tree, outside) = (folder.path().join("tree"), folder.path().join("outside"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(tree.join("a/b/f"), b"x").unwrap();
        fs::write(outside.join("f"), b"x").unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("a/link")).unwrap();
        fs::set_permissions(&tree, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(give(&tree, USER, false).unwrap(), 5);
        let uid = |path: &Path| path.symlink_metadata().unwrap().uid();
        for name in ["", "a", "a/b", "a/b/f", "a/link"] {
            assert_eq!(uid(&tree.join(name)), USER.uid, "{name}");
        }
        assert_eq!((uid(&outside), uid(&outside.join("f"))), (0, 0));
        assert_eq!(tree.metadata().unwrap().mode() & 0o777, 0o750);
        // What root writes meanwhile is found if the last start was another's, and not looked for otherwise.
        fs::write(tree.join("a/root"), b"x").unwrap();
        assert_eq!((give(&tree, USER, true).unwrap(), uid(&tree.join("a/root"))), (0, 0));
        assert_eq!((give(&tree, USER, false).unwrap(), uid(&tree.join("a/root"))), (1, USER.uid));
    }

    #[test]
    fn the_kernel_says_what_a_user_cannot_open() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can ask for another user");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, b"x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let closed = || closed_to(USER, vec![file.clone(), "/etc/passwd".into()]).unwrap();
        assert_eq!(closed().len(), 1, "the folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(closed().len(), 1, "the file");
        let_read(&file, USER).unwrap();
        assert_eq!(closed().len(), 0);
        assert!(rustix::process::geteuid().is_root(), "the other threads are who they were");
    }
}
