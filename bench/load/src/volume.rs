//! A fresh file system for a server, so that no run works on what another has left.

use crate::machine::file_system;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Volume {
    folder: tempfile::TempDir,
    /// Why it is a plain folder, where it is.
    plain: Option<String>,
}

pub fn shell(command: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-c", command]).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim())) }
}

impl Volume {
    /// An ext4 of its own on a loop device; a plain folder where that is not possible, unless it must be.
    pub fn make(mebibytes: u64, plain_will_do: bool) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (image, mount) = (folder.path().join("image"), folder.path().join("mount"));
        std::fs::create_dir(&mount).map_err(|error| error.to_string())?;
        let (folder_text, image, mount) = (folder.path().display(), image.display(), mount.display());
        shell(&format!("chmod 755 {folder_text} {mount}"))?;
        let made = shell(&format!(
            "truncate -s {mebibytes}M {image} && mkfs.ext4 -q -F {image} && mount -o loop {image} {mount} && chmod 755 {mount}"
        ));
        match made {
            Ok(()) => Ok(Self { folder, plain: None }),
            Err(error) if plain_will_do => Ok(Self { folder, plain: Some(error) }),
            Err(error) => Err(format!("a loop-mounted ext4 needs root and e2fsprogs: {error}")),
        }
    }

    /// A folder where it lies: for servers that only read.
    pub fn plain() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mount = folder.path().join("mount");
        std::fs::create_dir(&mount).map_err(|error| error.to_string())?;
        shell(&format!("chmod 755 {} {}", folder.path().display(), mount.display()))?;
        Ok(Self { folder, plain: Some("nothing is stored".to_owned()) })
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// For the head of a result.
    pub fn text(&self) -> String {
        let below = file_system(self.folder.path());
        match &self.plain {
            None => format!("ext4 on a loop device on {below}"),
            Some(reason) => format!("a plain folder on {below}, because a loop mount was not possible ({reason})"),
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.plain.is_some() {
            return;
        }
        // A process that has just ended may still hold it for a moment.
        let unmount = || shell(&format!("umount {}", self.path().display()));
        let retry = |_| {
            std::thread::sleep(std::time::Duration::from_millis(500));
            unmount()
        };
        if let Err(error) = unmount().or_else(retry) {
            eprintln!("{error}");
        }
    }
}

/// Files in `new/` folders below a path.
pub fn delivered(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let is_new = folder.file_name().is_some_and(|name| name == "new");
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() && is_new => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_in_new_are_delivered() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/Maildir/new", "a/Maildir/tmp", "b/Maildir/new"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join("1"), "x").unwrap();
        }
        assert_eq!(delivered(folder.path()).len(), 2);
    }
}
