//! A full disk: 452, nothing half-written, and it recovers by itself. Needs root for a small loop-mounted volume; elsewhere there is
//! nothing to test and it says so.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{System, behind_trace, postring};
use std::path::PathBuf;
use std::process::Command;

/// A system whose data folder is a small volume of its own; unmounted at the end. `None` where loop mounts are not allowed.
struct SmallDisk {
    system: Option<System>,
    mount: PathBuf,
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn make() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (image, mount) = (folder.path().join("image"), folder.path().join("mount"));
        std::fs::create_dir(&mount).unwrap();
        let made = shell(&format!(
            "truncate -s 400M {0} && /sbin/mkfs.ext4 -q -F {0} && mount -o loop {0} {1}",
            image.display(),
            mount.display()
        ));
        if !made {
            eprintln!("no loop-mounted volume here (root is needed): not tested");
            return None;
        }
        let system = System::init();
        // The data folder goes onto the small volume.
        let data = system.data();
        assert!(shell(&format!("cp -a {0}/. {1}/ && rm -r {0} && ln -s {1} {0}", data.display(), mount.display())));
        system.append_config("\n[store]\njournal_segment_mib = 48\n");
        Some(Self { system: Some(system), mount, folder })
    }

    fn system(&mut self) -> &mut System {
        self.system.as_mut().unwrap()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.system.take());
        let unmounted = shell(&format!("umount {}", self.mount.display()));
        assert!(unmounted || std::thread::panicking(), "{} is still in use", self.folder.path().display());
    }
}

fn shell(command: &str) -> bool {
    Command::new("sh").args(["-c", command]).output().unwrap().status.success()
}

fn message() -> Vec<u8> {
    [b"Subject: x\n\n".as_slice(), "A line of text.\n".repeat(20_000).as_bytes()].concat()
}

/// Sends until 452; how many were taken.
fn fill(system: &System, recipient: &str) -> usize {
    for kept in 0..1000 {
        let reply = system.smtp().send(&[recipient], &message()).unwrap();
        if reply.starts_with("452 4.3.1") {
            assert!(kept > 50, "{kept} kept");
            return kept;
        }
        assert!(reply.starts_with("250"), "{reply}");
    }
    panic!("the disk does not fill");
}

#[test]
fn a_full_disk_puts_mail_off_and_recovers() {
    let Some(mut disk) = SmallDisk::make() else { return };
    disk.system().up();
    let system = disk.system();
    let mut kept = fill(system, "alice@test.example");
    let message = message();
    // Whatever stands in new/ is whole.
    for path in system.inbox("alice") {
        assert_eq!(behind_trace(&std::fs::read(path).unwrap()), message);
    }
    // Space returns: the user deletes half.
    let inbox = system.inbox("alice");
    let deleted = inbox.len() / 2;
    for path in inbox.into_iter().take(deleted) {
        std::fs::remove_file(path).unwrap();
    }
    system.wait("mail to be taken again", || {
        let taken = system.smtp().send(&["alice@test.example"], &message).unwrap().starts_with("250");
        kept += usize::from(taken);
        taken
    });
    system.wait("every acknowledged message", || system.inbox("alice").len() == kept - deleted);
    for path in system.inbox("alice") {
        assert_eq!(behind_trace(&std::fs::read(path).unwrap()), message);
    }
    assert!(postring(&["status", "--config", &system.config()]).status.success());
    system.down();
}

#[test]
fn a_full_disk_puts_mail_for_elsewhere_off_and_recovers() {
    let Some(mut disk) = SmallDisk::make() else { return };
    disk.system()
        .append_config("\n[send]\nport = 9\nloopback = true\n\n[[dns.host]]\nname = \"far.example\"\naddress = \"127.0.0.1\"\n");
    disk.system().up();
    let system = disk.system();
    let config = system.config();
    assert!(postring(&["alias", "add", "out@test.example", "x@far.example", "--config", &config]).status.success());
    let kept = fill(system, "out@test.example");
    let queued = || -> usize {
        let output = postring(&["queue", "list", "--json", "--config", &config]);
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        answer["total"].as_u64().unwrap_or(0).try_into().unwrap()
    };
    // The operator makes room, a mail at a time.
    let output = postring(&["queue", "list", "--json", "--config", &config]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for message in answer["messages"].as_array().unwrap().iter().take(20) {
        assert!(postring(&["queue", "drop", message["id"].as_str().unwrap(), "--config", &config]).status.success());
    }
    system.wait("every other acknowledged message in the queue", || queued() == kept - 20);
    system.wait("mail to be taken again", || system.smtp().send(&["out@test.example"], &message()).unwrap().starts_with("250"));
    // What is queued is whole, also for the next process.
    system.down();
    system.up();
    system.wait("the queue", || queued() == kept - 20 + 1);
    for path in common::files(&system.data().join("queue/send-0")) {
        if path.extension().is_none() {
            let file = std::fs::read(&path).unwrap();
            assert!(file.ends_with(&common::wire(&message())[..common::wire(&message()).len() - 3]), "{}", path.display());
        }
    }
    system.down();
}
