//! A full disk: 452, nothing half-written, and it recovers by itself. Needs root for a small loop-mounted volume; elsewhere there is
//! nothing to test and it says so.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{System, behind_trace, postring};
use std::process::Command;

#[test]
fn a_full_disk_puts_mail_off_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let (image, mount) = (folder.path().join("image"), folder.path().join("mount"));
    std::fs::create_dir(&mount).unwrap();
    let shell = |command: String| Command::new("sh").args(["-c", &command]).output().unwrap().status.success();
    let made = shell(format!(
        "truncate -s 200M {0} && /sbin/mkfs.ext4 -q -F {0} && mount -o loop {0} {1}",
        image.display(),
        mount.display()
    ));
    if !made {
        eprintln!("no loop-mounted volume here (root is needed): not tested");
        return;
    }
    let mut system = System::init();
    // The data folder goes onto the small volume.
    let data = system.data();
    assert!(shell(format!("cp -a {0}/. {1}/ && rm -r {0} && ln -s {1} {0}", data.display(), mount.display())));
    system.append_config("\n[store]\njournal_segment_mib = 48\n");
    system.up();
    let message = [b"Subject: x\n\n".as_slice(), "A line of text.\n".repeat(20_000).as_bytes()].concat();
    let mut kept = 0;
    let mut put_off = false;
    for _ in 0..1000 {
        let reply = system.smtp().send(&["alice@test.example"], &message).unwrap();
        if reply.starts_with("452 4.3.1") {
            put_off = true;
            break;
        }
        assert!(reply.starts_with("250"), "{reply}");
        kept += 1;
    }
    assert!(put_off && kept > 50, "{kept} kept and no 452");
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
    drop(system);
    assert!(shell(format!("umount {}", mount.display())));
}
