//! Each process as its own user. Needs root, which alone can become somebody else; without it there is nothing to test.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{System, USERS, files, postring, signal};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

const MESSAGE: &[u8] = b"From: <sender@far.example>\nSubject: users\n\nA line.\n";
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: only root can start processes as other users");
    }
    root
}

fn uid(path: &Path) -> u32 {
    path.metadata().unwrap().uid()
}

fn role_uid(child: &str) -> u32 {
    let roles = BTreeMap::from([("edge", 64_001), ("scan", 64_002), ("store", 64_003), ("send", 64_004)]);
    roles[child.split('.').next().unwrap()]
}

/// Every child is its user with all four numbers of each kind, in no other group, without capabilities or a way to new ones.
fn assert_users(system: &System) {
    let pids = system.pids();
    assert!(pids.len() >= 4, "{pids:?}");
    for (child, pid) in pids {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| -> Vec<String> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect()
        };
        let id = role_uid(&child).to_string();
        assert_eq!(field("Uid:"), vec![id.clone(); 4], "{child}");
        assert_eq!(field("Gid:"), vec![id; 4], "{child}");
        assert_eq!(field("Groups:"), Vec::<String>::new(), "{child}");
        assert_eq!(field("NoNewPrivs:"), ["1"], "{child}");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(set), ["0000000000000000"], "{child} {set}");
        }
        // Every thread, not only the first.
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let task = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            assert!(task.contains(&format!("Uid:\t{0}\t{0}\t{0}\t{0}\n", role_uid(&child))), "{child}\n{task}");
        }
    }
}

#[test]
fn every_process_works_as_its_own_user() {
    if !is_root() {
        return;
    }
    let mut other = System::init_domain("other.example");
    other.append_config(USERS);
    other.up();
    let mut system = System::init_domain("test.example");
    let zone = system.folder.path().join("p/dns/far.zone");
    std::fs::write(&zone, "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\n MX 10 mx\nns A 127.0.0.1\nmx A 127.0.0.1\n").unwrap();
    system.append_config(&format!(
        "\n[[dns.zone]]\nname = \"{}\"\nfile = \"dns/far.zone\"\n\n[dns]\nforwarders = []\n\n[send]\nport = {}\nloopback = true\n",
        other.domain,
        other.base + 25
    ));

    // At first all is root's, as before there were users; and a queue waits for a host that is down.
    let plain = std::fs::read_to_string(system.config()).unwrap();
    system.append_config("\n[users]\nmode = \"off\"\n");
    system.up();
    let alias = ["alias", "add", "out@test.example", "alice@other.example", "alice@test.example", "--config", &system.config()];
    assert!(postring(&alias).status.success());
    assert!(system.smtp().send(&["alice@test.example"], MESSAGE).unwrap().starts_with("250"));
    system.wait("the file", || system.inbox("alice").len() == 1);
    assert_eq!(uid(&system.inbox("alice")[0]), 0);
    system.down();

    // The same folder under users.
    std::fs::write(system.config(), format!("{plain}{USERS}")).unwrap();
    system.up();
    assert_users(&system);
    let data = system.data();
    for (name, owner, mode) in [
        ("mail", 64_003, 0o750),
        ("journal", 0, 0o711),
        ("journal/store-0", 64_003, 0o750),
        ("queue", 64_004, 0o700),
        ("journal/send-0", 64_004, 0o750),
        ("quarantine", 64_001, 0o700),
        ("senders", 64_001, 0o700),
        ("dns", 64_001, 0o711),
        ("dns/zones", 64_001, 0o750),
        ("run", 0, 0o700),
        ("directory.sqlite", 0, 0o640),
    ] {
        let metadata = data.join(name).metadata().unwrap();
        // What root's umask was decides what a group may; others may nothing.
        assert_eq!((metadata.uid(), metadata.mode() & 0o777 & !0o050), (owner, mode & !0o050), "{name}");
    }
    assert_eq!(data.join("dns/zones").metadata().unwrap().gid(), 64_004, "send reads the zones as they are kept");
    assert_eq!(uid(&system.inbox("alice")[0]), 64_003, "what was there has changed hands");
    assert!(system.log().contains("belong to user 64003 (store) now"), "{}", system.log());

    // In by SMTP, judged, stored; out to the other server.
    assert!(system.smtp().send(&["out@test.example"], MESSAGE).unwrap().starts_with("250"));
    system.wait("both", || system.inbox("alice").len() == 2 && other.inbox("alice").len() == 1);
    let inboxes = [system.inbox("alice"), other.inbox("alice")].concat();
    assert!(inboxes.iter().all(|file| uid(file) == 64_003));
    let gtube = ["XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"].concat();
    let judged = system.smtp().send(&["alice@test.example"], format!("Subject: x\n\n{gtube}\n").as_bytes()).unwrap();
    assert!(judged.starts_with("550 5.7.1"), "{judged}");

    // What is replaced while running is read: zones, rules, learned words.
    std::fs::write(zone.with_extension("new"), std::fs::read(&zone).unwrap()).unwrap();
    std::fs::rename(zone.with_extension("new"), &zone).unwrap();
    assert!(postring(&["reload", "--config", &system.config()]).status.success());
    std::fs::write(data.join("rules/junk.yar"), "rule Pills { meta: score = 7 strings: $a = \"cheap pills\" condition: $a }")
        .unwrap();
    let ham = system.folder.path().join("ham.eml");
    std::fs::write(&ham, MESSAGE).unwrap();
    for _ in 0..2 {
        let learned = postring(&["learn", "--ham", ham.to_str().unwrap(), "--config", &system.config()]);
        assert!(learned.status.success(), "{learned:?}");
    }
    system.wait("the new rule", || {
        assert!(system.smtp().send(&["bob@test.example"], b"Subject: cheap pills\n\nbuy\n").unwrap().starts_with("250"));
        !files(&system.maildir("bob").join(".Junk/new")).is_empty()
    });

    // A child that dies comes back as its user, and so does the whole.
    for child in ["scan.0", "store", "send", "edge"] {
        let pid = system.pids()[child];
        signal(pid, rustix::process::Signal::KILL);
        system.wait("the child's successor", || system.pids().get(child).is_some_and(|now| *now != pid));
        system.wait_ready();
    }
    assert_users(&system);
    system.wait("an answer to the message", || {
        let reply = common::Smtp::connect(system.base + 25).and_then(|mut smtp| smtp.send(&["out@test.example"], MESSAGE));
        reply.is_ok_and(|reply| reply.starts_with("250"))
    });
    system.wait("both", || system.inbox("alice").len() >= 3 && other.inbox("alice").len() >= 2);
    system.down();
    let changes = system.log().matches("belong to user").count();
    system.up();
    assert_users(&system);
    assert_eq!(system.log().matches("belong to user").count(), changes, "nothing was walked again");
    assert!(system.smtp().send(&["bob@test.example"], MESSAGE).unwrap().starts_with("250"));
    system.wait("the file", || !system.inbox("bob").is_empty());

    // Under no users for a while, then back: what root has written changes hands.
    system.down();
    std::fs::write(system.config(), format!("{plain}\n[users]\nmode = \"off\"\n")).unwrap();
    system.up();
    let before = system.inbox("bob").len();
    assert!(system.smtp().send(&["bob@test.example"], MESSAGE).unwrap().starts_with("250"));
    system.wait("the file", || system.inbox("bob").len() > before);
    assert!(system.inbox("bob").iter().any(|file| uid(file) == 0));
    system.down();
    std::fs::write(system.config(), format!("{plain}{USERS}")).unwrap();
    system.up();
    assert!(system.inbox("bob").iter().all(|file| uid(file) == 64_003));
    let log = system.log();
    assert!(!log.contains("Permission denied"), "{log}");
}

#[test]
fn what_cannot_be_is_said_in_one_line() {
    if !is_root() {
        return;
    }
    let refused = |system: &System| {
        let output = postring(&["up", "--config", &system.config()]);
        assert!(!output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        text.lines().last().unwrap().to_owned()
    };
    // No such user.
    let missing = System::init_domain("test.example");
    missing.append_config("\n[users]\nmode = \"required\"\nedge = \"postring-nobody\"\n");
    let line = refused(&missing);
    assert!(line.starts_with("postring: users.mode = \"required\": no user postring-nobody"), "{line}");
    assert!(line.contains("useradd --system --user-group --no-create-home --shell /usr/sbin/nologin postring-nobody"), "{line}");
    let check = postring(&["check", "--config", &missing.config()]);
    assert!(!check.status.success() && String::from_utf8(check.stderr).unwrap().contains("no user postring-nobody"));
    // A folder on the way that lets nobody through.
    let closed = System::init_domain("test.example");
    closed.append_config(USERS);
    std::fs::set_permissions(closed.folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let line = refused(&closed);
    assert!(line.contains("user 64001 (edge) cannot open ") && line.contains("`namei -l "), "{line}");
    // Not root: as far as this can be shown from here.
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=64001", "--regid=64001", "--clear-groups", env!("CARGO_BIN_EXE_postring"), "check", "--config"])
        .arg(missing.config())
        .output();
    if let Ok(output) = output.as_ref().map(|output| String::from_utf8_lossy(&output.stderr))
        && !output.contains("setpriv: ")
    {
        assert!(output.contains("only root can start each process as its own user"), "{output}");
    }
}
