//! What is too long for a message: bytes in memory of their own, sealed, whose descriptor goes beside it.

use rustix::fs::{MemfdFlags, SealFlags};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// Most bytes: certificates and keys of ten thousand names take a quarter of it.
pub const SEALED_BYTES_MAX: usize = 256 << 20;

/// Puts bytes into a memfd nobody can change any more.
///
/// # Errors
/// More than [`SEALED_BYTES_MAX`], or the operating system's.
pub fn seal(bytes: &[u8]) -> io::Result<OwnedFd> {
    if bytes.len() > SEALED_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more than fits into one piece of sealed memory"));
    }
    let fd = rustix::fs::memfd_create("postring-sealed", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    let fd = OwnedFd::from(file);
    rustix::fs::fcntl_add_seals(&fd, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

/// Reads them, as often as one likes.
///
/// # Errors
/// `InvalidData` for what [`seal`] has not made, or the operating system's.
pub fn read_sealed(fd: impl AsFd) -> io::Result<Vec<u8>> {
    let size = usize::try_from(rustix::fs::fstat(&fd)?.st_size).unwrap_or(usize::MAX);
    let seals = rustix::fs::fcntl_get_seals(&fd)?;
    if size > SEALED_BYTES_MAX || !seals.contains(SealFlags::WRITE | SealFlags::SHRINK) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not sealed memory"));
    }
    let mut bytes = vec![0; size];
    File::from(fd.as_fd().try_clone_to_owned()?).read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_read_again_and_nothing_else_is() {
        let fd = seal(b"certificates").unwrap();
        for _ in 0..2 {
            assert_eq!(read_sealed(&fd).unwrap(), b"certificates");
        }
        assert!(File::from(fd).write_all(b"x").is_err());
        let open = rustix::fs::memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        assert_eq!(read_sealed(&open).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
