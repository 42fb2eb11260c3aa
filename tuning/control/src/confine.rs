//! A child gives up what it does not need, first thing after its launch: another user, no rights of root, a few folders.
//!
//! It begins as root where the supervisor is root. The order below is the only one that works: groups while we still may, the user last;
//! then it is proved that there is no way back; Landlock last, since it closes what was used before.

use crate::child::Child;
use crate::message::{Access, User};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};
use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Gid, Uid};
use rustix::thread::CapabilitySet;
use std::io;

/// What must be there: before it (Linux 6.2) a rename between two folders, or a file cut short, could not be allowed or not be forbidden.
const ABI_MIN: ABI = ABI::V3;
/// What was tested. Newer kernels know more; what they would forbid has to be tried first.
const ABI_TESTED: ABI = ABI::V7;

impl Child {
    /// Becomes what the launch says. To be called once, before anything else is done with the launch and before any thread is started.
    ///
    /// # Errors
    /// It cannot be done, or could be undone. The process must end: it has rights it should not have.
    pub fn confine(&mut self) -> io::Result<()> {
        // User, no_new_privs and Landlock are each thread's own; threads started later inherit them, earlier ones would keep root.
        if std::fs::read_dir("/proc/self/task")?.count() != 1 {
            return Err(io::Error::other("a thread was started before the process had given up its rights"));
        }
        if let Some(user) = self.launch.user {
            switch(user)?;
            prove(user)?;
            // Two processes of one user could otherwise read each other's memory, and a core file would hold mail.
            rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
            rustix::process::umask(Mode::RWXG | Mode::RWXO);
            rustix::process::chdir("/")?;
        }
        rustix::thread::set_no_new_privs(true)?;
        if let Some(access) = &self.launch.access {
            self.kept_open = close_the_rest(access).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// The calling thread, and it alone, becomes the user; root's rights go.
///
/// # Errors
/// Not root, or (in a container) the user is not known to the kernel there.
pub fn switch(user: User) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    // The kernel has done so, unless the securebits we were started with say otherwise.
    let none = CapabilitySet::empty();
    let nothing = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(rustix::thread::set_capabilities(None, nothing)?)
}

/// Fails unless we are the user, nothing else, and cannot become root again.
fn prove(user: User) -> io::Result<()> {
    let is_user = rustix::process::getuid().as_raw() == user.uid
        && rustix::process::geteuid().as_raw() == user.uid
        && rustix::process::getgid().as_raw() == user.gid
        && rustix::process::getegid().as_raw() == user.gid
        && rustix::process::getgroups()?.is_empty();
    let can_return = rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok()
        || rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).is_ok();
    let capabilities = rustix::thread::capabilities(None)?;
    if !is_user || can_return || !(capabilities.effective | capabilities.permitted | capabilities.inheritable).is_empty() {
        return Err(io::Error::other(format!("the rights of root could not be given up for user {}", user.uid)));
    }
    Ok(())
}

/// True if the kernel has the Landlock we need.
#[must_use]
pub fn has_landlock() -> bool {
    ruleset(false).is_ok()
}

fn ruleset(network: bool) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI_MIN))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI_TESTED))?
        .scope(Scope::from_all(ABI_TESTED))?;
    if !network {
        ruleset = ruleset.handle_access(AccessNet::from_all(ABI_TESTED))?;
    }
    ruleset.create()
}

/// Closes the file system but for what is named. Gives what must stay open: procfs makes a new inode for a file nobody holds, and a rule is
/// one for an inode. What is not there now cannot be allowed.
fn close_the_rest(access: &Access) -> Result<Vec<PathFd>, RulesetError> {
    // The supervisor has said that this kernel has none.
    let Ok(mut ruleset) = ruleset(access.network) else { return Ok(Vec::new()) };
    let reading: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let writing = reading | make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer});
    let reads = access.read.iter().map(|path| (path, reading));
    let writes = access.write.iter().map(|path| (path, writing));
    let mut kept_open = Vec::new();
    for (path, rights) in reads.chain(writes) {
        let Ok(fd) = PathFd::new(path) else {
            tracing::debug!("{} is not there, and stays closed to this process", path.display());
            continue;
        };
        let rights = if path.is_dir() { rights } else { rights & AccessFs::from_file(ABI_TESTED) };
        ruleset = ruleset.add_rule(PathBeneath::new(&fd, rights))?;
        kept_open.push(fd);
    }
    ruleset.restrict_self()?;
    Ok(kept_open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    /// Landlock is a thread's own: a test may close its own thread in.
    #[test]
    fn only_what_is_named_stays_open() {
        if !has_landlock() {
            println!("skipped: this kernel has no Landlock");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["read", "write", "other"] {
            std::fs::create_dir(path(name)).unwrap();
            std::fs::write(path(name).join("f"), name).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _by_path = UnixListener::bind(path("other/socket")).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                rustix::thread::set_no_new_privs(true).unwrap();
                let boot_id = "/proc/sys/kernel/random/boot_id";
                let access = Access {
                    read: vec![path("read"), boot_id.into(), path("missing")],
                    write: vec![path("write")],
                    network: false,
                };
                let kept_open = close_the_rest(&access).unwrap();
                assert_eq!(std::fs::read(path("read/f")).unwrap(), b"read");
                assert!(!std::fs::read(boot_id).unwrap().is_empty());
                std::fs::create_dir(path("write/new")).unwrap();
                std::fs::rename(path("write/f"), path("write/new/g")).unwrap();
                std::fs::hard_link(path("write/new/g"), path("write/h")).unwrap();
                std::fs::File::create(path("write/h")).unwrap();
                std::fs::remove_file(path("write/h")).unwrap();
                for (closed, result) in [
                    ("reading elsewhere", std::fs::read(path("other/f")).map(drop)),
                    ("writing what is to be read", std::fs::write(path("read/f"), b"x")),
                    ("making files", std::fs::write(path("new"), b"x")),
                    ("moving out", std::fs::rename(path("write/new/g"), path("other/g"))),
                    ("running programs", std::process::Command::new("/bin/true").status().map(drop)),
                    ("connecting", TcpStream::connect(address).map(drop)),
                ] {
                    assert!(result.is_err(), "{closed}");
                }
                // Sockets in the file system are no files to Landlock as it was tested: their own modes have to do.
                UnixStream::connect(path("other/socket")).unwrap();
                drop(kept_open);
            });
        });
        std::fs::read(path("other/f")).unwrap();
    }

    #[test]
    fn a_process_with_threads_is_not_confined() {
        let (ours, theirs) = crate::socket::pair().unwrap();
        let launch = crate::message::Launch {
            role: crate::message::Role::Scan,
            first_shard: 0,
            cores: Vec::new(),
            generation: 0,
            data: "/".into(),
            hostname: "h".to_owned(),
            store_shards: 1,
            config: serde_json::Value::Null,
            user: Some(User { uid: 64_001, gid: 64_001 }),
            access: None,
            listeners: Vec::new(),
        };
        crate::socket::send(&ours, &crate::message::ToChild::Launch(Box::new(launch)), &[]).unwrap();
        // The test runner has threads.
        assert!(Child::from_socket(theirs).unwrap().confine().is_err());
    }
}
