//! A link: one side's end of a pair of rings over two memfd pages.

use crate::descriptor::Descriptor;
use crate::map::Mapping;
use crate::protocol::{Endpoint, Lie, PushError, Words, page_words};
use rustix::fs::{MemfdFlags, Mode, SealFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

/// Word 0 of a page, written by its owner when it attaches.
const MAGIC: u64 = u64::from_le_bytes(*b"PRING\0\0\x01");

/// Sizes both sides agree on before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkGeometry {
    /// Descriptors a direction; a power of two up to 65536.
    pub entries: u32,
    /// Bytes of payload beside each of our descriptors.
    pub own_payload_bytes: u32,
    /// Bytes of payload beside each of the peer's.
    pub peer_payload_bytes: u32,
}

fn page_bytes(entries: u32, payload_bytes: u32) -> io::Result<usize> {
    if !entries.is_power_of_two() || entries > 65_536 || payload_bytes > 65_536 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "ring entries must be a power of two up to 65536, payloads up to 65536 bytes",
        ));
    }
    Ok((page_words(entries, payload_bytes) * 8).next_multiple_of(4096))
}

/// One side of a link. See [`crate::protocol`] for the rules.
pub struct Link {
    endpoint: Endpoint<Mapping, Mapping>,
    payload: Vec<u8>,
}

impl Link {
    /// A page for one side: a memfd of the right size, zeroed, its size sealed, writable until its owner attaches.
    ///
    /// # Errors
    /// Sizes out of bounds, or the operating system's error.
    pub fn create_page(entries: u32, payload_bytes: u32) -> io::Result<OwnedFd> {
        let fd = rustix::fs::memfd_create("postring-link", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::ftruncate(&fd, page_bytes(entries, payload_bytes)? as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)?;
        Ok(fd)
    }

    /// Maps both pages; from now on nobody can map the own page for writing any more.
    ///
    /// # Errors
    /// Pages of other sizes than agreed, or the operating system's error.
    pub fn attach(own: impl AsFd, peer: impl AsFd, geometry: LinkGeometry) -> io::Result<Self> {
        let own_bytes = page_bytes(geometry.entries, geometry.own_payload_bytes)?;
        let peer_bytes = page_bytes(geometry.entries, geometry.peer_payload_bytes)?;
        let own_mapping = Mapping::new(&own, own_bytes, true)?;
        rustix::fs::fcntl_add_seals(&own, SealFlags::FUTURE_WRITE | SealFlags::SEAL)?;
        own_mapping.store(0, MAGIC, Ordering::Release);
        let peer_mapping = Mapping::new(&peer, peer_bytes, false)?;
        let endpoint =
            Endpoint::new(own_mapping, peer_mapping, geometry.entries, geometry.own_payload_bytes, geometry.peer_payload_bytes);
        Ok(Self { endpoint, payload: Vec::with_capacity(geometry.peer_payload_bytes as usize) })
    }

    /// Publishes a descriptor; see [`Endpoint::push`].
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn push(&mut self, descriptor: &Descriptor, payload: &[u8]) -> Result<(), PushError> {
        self.endpoint.push(descriptor, payload)
    }

    /// Takes the peer's next descriptor with its payload, which stays readable until the next call.
    ///
    /// # Errors
    /// The peer lies: drop the link, have the peer replaced.
    pub fn pop(&mut self) -> Result<Option<(Descriptor, &[u8])>, Lie> {
        let descriptor = self.endpoint.pop(&mut self.payload)?;
        Ok(descriptor.map(|descriptor| (descriptor, self.payload.as_slice())))
    }

    /// True if something waits to be taken (a lie counts: `pop` will say so).
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.endpoint.available() != Ok(0)
    }

    /// See [`Endpoint::must_ring`].
    pub fn must_ring(&mut self) -> bool {
        self.endpoint.must_ring()
    }

    /// See [`Endpoint::prepare_sleep`].
    pub fn prepare_sleep(&mut self) {
        self.endpoint.prepare_sleep();
    }

    /// See [`Endpoint::awake`].
    pub fn awake(&mut self) {
        self.endpoint.awake();
    }
}
