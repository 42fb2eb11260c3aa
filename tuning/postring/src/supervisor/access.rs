//! Which folders each role keeps open; the kernel closes the rest to it (Landlock).

use super::folders;
use crate::config::Config;
use crate::plan::Plan;
use postring_control::{Access, Role, confine};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A role's part; none: everything stays open.
pub fn of(config: &Config, plan: &Plan, role: Role) -> Option<Access> {
    if !config.users.landlock {
        return None;
    }
    let data = &config.server.data;
    let own = folders::own(data, plan).into_iter().filter(|(_, owner)| *owner == role).map(|(path, _)| path).collect();
    let boot_id = || PathBuf::from("/proc/sys/kernel/random/boot_id");
    // The executor looks there for the cores it may bind to.
    let cores = || PathBuf::from("/sys/devices/system");
    let (read, network) = match role {
        // Policy servers and milters need nothing: TCP is open to this role, and Landlock (as tested) looks at no unix socket with a path.
        Role::Edge => (read_folders(config).into_iter().chain([resolver_folder(), cores()]).collect(), true),
        // Tokens are replaced by a new file: the folder is what stays.
        Role::Scan => (vec![data.join(&config.scan.rules), parent(&data.join(&config.scan.tokens))], false),
        Role::Store => (vec![boot_id()], false),
        Role::Send => {
            let zones = data.join(folders::ZONES);
            (read_folders(config).into_iter().chain([zones, resolver_folder(), cores(), boot_id()]).collect(), true)
        }
    };
    Some(Access { read, write: own, network })
}

/// Says once what the kernel does for us.
pub fn announce(config: &Config) {
    if !config.users.landlock {
        tracing::info!("users.landlock = false: a process may touch whatever its user may");
    } else if confine::has_landlock() {
        tracing::info!("each process may touch its own folders only (Landlock)");
    } else {
        tracing::info!("this kernel has no Landlock as of Linux 6.2: a process may touch whatever its user may");
    }
}

/// What a running process has closed cannot be opened again.
pub fn check_reload(started: &Config, newer: &Config) -> Result<(), String> {
    let open = read_folders(started);
    let closed = read_folders(newer).into_iter().find(|folder| !open.iter().any(|open| folder.starts_with(open)));
    match closed.filter(|_| newer.users.landlock && confine::has_landlock()) {
        Some(folder) => Err(format!(
            "a file in {} takes a restart: Landlock has closed that folder to the running processes",
            folder.display()
        )),
        None => Ok(()),
    }
}

/// Where zones, lists and the like are; their files are replaced, and new ones come beside them.
fn read_folders(config: &Config) -> BTreeSet<PathBuf> {
    let zones = config.dns.zone.iter().filter_map(|zone| zone.file.as_ref());
    let lists = config.dns.block_list.iter().flat_map(|list| list.file.paths());
    let others =
        [&config.dns.domain_template, &config.dns.root_hints_file, &config.policy.dmarc.suffix_list].into_iter().flatten();
    zones.chain(lists).chain(others).map(|file| parent(file)).collect()
}

/// Where the system's resolvers stand, followed to where the file really is.
fn resolver_folder() -> PathBuf {
    parent(&std::fs::canonicalize("/etc/resolv.conf").unwrap_or_else(|_| "/etc/resolv.conf".into()))
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(zone: &str) -> Config {
        toml::from_str(&format!(
            "[server]\nhostname = \"mx.example.org\"\ndata = \"/d\"\n[listen]\n[[dns.zone]]\nname = \"example.org\"\nfile = \"{zone}\"\n"
        ))
        .unwrap()
    }

    #[test]
    fn each_role_has_its_own_folders() {
        let plan = Plan { edge: vec![0], scan: vec![0], store: vec![0, 1], send: vec![0] };
        let mut config = config("/z/a.zone");
        let of = |role| of(&config, &plan, role).unwrap();
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(of(Role::Edge).write, paths(&["/d/quarantine", "/d/senders", "/d/dns"]));
        assert_eq!(of(Role::Edge).read.first(), Some(&PathBuf::from("/z")));
        let scan = of(Role::Scan);
        assert_eq!((scan.read, scan.write, scan.network), (paths(&["/d/rules", "/d"]), Vec::new(), false));
        assert_eq!(of(Role::Store).write, paths(&["/d/mail", "/d/journal/store-0", "/d/journal/store-1"]));
        assert!(of(Role::Send).read.contains(&PathBuf::from("/d/dns/zones")));
        assert_eq!(of(Role::Send).write, paths(&["/d/queue", "/d/journal/send-0"]));
        config.users.landlock = false;
        assert_eq!(super::of(&config, &plan, Role::Edge), None);
    }

    #[test]
    fn a_zone_in_a_closed_folder_takes_a_restart() {
        assert_eq!(check_reload(&config("/z/a.zone"), &config("/z/b/c.zone")), Ok(()));
        if confine::has_landlock() {
            assert!(check_reload(&config("/z/a.zone"), &config("/y/a.zone")).unwrap_err().starts_with("a file in /y takes"));
        }
    }
}
