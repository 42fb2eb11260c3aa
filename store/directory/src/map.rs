//! A read-only mapping of a sealed memfd: the crate's only unsafe code.
//!
//! JUSTIFICATION: a million accounts are some hundred megabytes, once a machine instead of once a shard.

#![allow(unsafe_code)]

use rustix::fs::SealFlags;
use rustix::mm::{MapFlags, ProtFlags};
use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

/// The whole of a memfd that nobody can write or resize any more.
#[derive(Debug)]
pub(crate) struct Sealed {
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: immutable memory; the seals are checked before it is mapped.
unsafe impl Send for Sealed {}
// SAFETY: as above.
unsafe impl Sync for Sealed {}

impl Sealed {
    pub(crate) fn map(fd: impl AsFd) -> io::Result<Self> {
        if !rustix::fs::fcntl_get_seals(&fd)?.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the snapshot is not sealed"));
        }
        let size = rustix::fs::fstat(&fd)?.st_size;
        let length = usize::try_from(size).ok().filter(|length| *length > 0);
        let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the snapshot is empty"))?;
        // SAFETY: a new read-only mapping at an address of the kernel's choice; sealed, so it can neither change nor shrink.
        let address = unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, fd, 0)? };
        let address = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mmap gave null"))?;
        Ok(Self { address, length })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for `length` bytes as long as self lives, immutable by the seals.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.length) }
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, whose only owner ends here.
        let unmapped = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok());
    }
}
