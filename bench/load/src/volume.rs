//! A fresh ext4 on a loop device, so that no run works on what another has left.

use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Volume {
    folder: tempfile::TempDir,
}

pub fn shell(command: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-c", command]).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim())) }
}

impl Volume {
    pub fn make(mebibytes: u64) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let image = folder.path().join("image");
        let mount = folder.path().join("mount");
        std::fs::create_dir(&mount).map_err(|error| error.to_string())?;
        shell(&format!(
            "chmod 755 {0} && truncate -s {mebibytes}M {1} && mkfs.ext4 -q -F {1} && mount -o loop {1} {2} && chmod 755 {2}",
            folder.path().display(),
            image.display(),
            mount.display()
        ))
        .map_err(|error| format!("a loop-mounted ext4 needs root: {error}"))?;
        Ok(Self { folder })
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Err(error) = shell(&format!("umount {}", self.path().display())) {
            eprintln!("{error}");
        }
    }
}

/// Files below `new/` folders.
pub fn delivered(path: &Path) -> usize {
    let output = Command::new("find").arg(path).args(["-path", "*/new/*", "-type", "f"]).output();
    output.map_or(0, |output| output.stdout.iter().filter(|byte| **byte == b'\n').count())
}
