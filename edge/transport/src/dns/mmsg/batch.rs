//! What is received at once.

use super::origin::Origin;
use super::{ADDRESS_BYTES, NO_VECTOR, no_header};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Octets of a control part that are received into.
const CONTROL_RECEIVED_BYTES: usize = 40;
/// Octets between two packets, besides their own: buffers that begin at the same place of a page would share few cache lines.
const SKEW_BYTES: usize = 192;

/// Places for as many datagrams as are received at once, and for their answers.
///
/// Cost of a batch: one system call to receive, one to send, no allocation, no copy but the kernel's.
pub(in crate::dns) struct Batch {
    packets: Box<[u8]>,
    packet_bytes: usize,
    pub(super) origins: Box<[Origin]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// Slots the last call may have written to.
    used: usize,
    pub(super) received: usize,
}

impl Batch {
    /// `slots` datagrams of at most `packet_bytes`.
    pub(in crate::dns) fn new(slots: usize, packet_bytes: usize) -> Self {
        let mut batch = Self {
            packets: vec![0; slots * (packet_bytes + SKEW_BYTES)].into_boxed_slice(),
            packet_bytes,
            origins: vec![Origin::EMPTY; slots].into_boxed_slice(),
            vectors: vec![NO_VECTOR; slots].into_boxed_slice(),
            headers: vec![no_header(); slots].into_boxed_slice(),
            used: slots,
            received: 0,
        };
        batch.make_ready();
        batch
    }

    /// Sets up the slots that were used: the kernel has written lengths there.
    fn make_ready(&mut self) {
        let packets = self.packets.chunks_exact_mut(self.packet_bytes + SKEW_BYTES);
        let slots = packets.zip(self.origins.iter_mut()).zip(self.vectors.iter_mut()).zip(self.headers.iter_mut());
        for (((packet, origin), vector), header) in slots.take(self.used) {
            *vector = libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: self.packet_bytes };
            let header = &mut header.msg_hdr;
            header.msg_name = origin.address.as_mut_ptr().cast();
            header.msg_namelen = ADDRESS_BYTES;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = origin.control.as_mut_ptr().cast();
            // The type of the field differs between C libraries.
            header.msg_controllen = CONTROL_RECEIVED_BYTES as _;
            header.msg_flags = 0;
        }
        self.used = 0;
        self.received = 0;
    }

    /// Slots.
    pub(in crate::dns) fn capacity(&self) -> usize {
        self.origins.len()
    }

    /// Receives what has come, without waiting; gives the number of datagrams, 0 if there is none.
    ///
    /// # Errors
    /// The socket's, most likely that of an earlier answer whose client is gone.
    #[allow(unsafe_code)] // see JUSTIFICATION above
    pub(in crate::dns) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.make_ready();
        let slots = libc::c_uint::try_from(self.headers.len()).unwrap_or(0);
        // SAFETY: `make_ready` has pointed every header at a packet of `packet_bytes`, an address, and a control part, each of the length
        // that stands beside it, in boxes of this batch, which is borrowed for the call. No timeout is given.
        let received = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), slots, libc::MSG_DONTWAIT, std::ptr::null_mut())
        };
        let Ok(received) = usize::try_from(received) else {
            self.used = 1;
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        };
        // The kernel may have begun to fill one more.
        self.used = (received + 1).min(self.headers.len());
        self.received = received.min(self.headers.len());
        for (origin, header) in self.origins.iter_mut().zip(&self.headers).take(self.received) {
            origin.address_bytes = header.msg_hdr.msg_namelen.min(ADDRESS_BYTES);
            #[allow(clippy::unnecessary_cast)] // the type of the field differs between C libraries
            let control_bytes = header.msg_hdr.msg_controllen as usize;
            origin.control_bytes = control_bytes.min(CONTROL_RECEIVED_BYTES);
            origin.forget_interface();
        }
        Ok(self.received)
    }

    /// A datagram of the last batch, and its sender; `None` for one that was longer than its place, or cannot be answered.
    pub(in crate::dns) fn packet(&self, slot: usize) -> Option<(&[u8], SocketAddr)> {
        let header = self.headers.get(slot).filter(|_| slot < self.received)?;
        let sender = self.origins.get(slot)?.sender()?;
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 || sender.port() == 0 {
            return None;
        }
        let length = usize::try_from(header.msg_len).ok()?.min(self.packet_bytes);
        let start = slot * (self.packet_bytes + SKEW_BYTES);
        Some((self.packets.get(start..start + length)?, sender))
    }

    /// Where to answer a datagram of the last batch later.
    pub(in crate::dns) fn origin(&self, slot: usize) -> Option<&Origin> {
        self.origins.get(..self.received)?.get(slot)
    }
}
