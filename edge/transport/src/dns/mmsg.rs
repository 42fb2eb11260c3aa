//! Datagrams by the batch: one `recvmmsg` for what has come, one `sendmmsg` for what is answered, all in memory taken once.
//!
//! ```text
//!   slot i:  packet i (received) | address i (who sent it) | control i (the address of ours it came to: IP_PKTINFO, IPV6_PKTINFO)
//!            answer i > sent to address i, from the address in control i
//!
//!   control: 8 length  4 level  4 type  then  IPv4: 4 interface  4 our address  4 address of the packet
//!                                             IPv6: 16 our address  4 interface
//! ```
//! Only a socket bound to the wildcard asks for the control part: a multihomed machine must answer from the address that was asked, or the
//! client takes the answer for a stranger's.
//!
//! JUSTIFICATION of `unsafe`: no safe crate here has the two calls; they take a third of the CPU per answer away under load
//! (edge/decisions/0004). All pointers the kernel gets are made in this file, from boxes that live as long as the batch.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Words of an address: a `sockaddr_in6` (RFC 3493 section 3.3) is the longest there is.
const ADDRESS_WORDS: usize = 7;
/// The same in octets, as the kernel wants it.
const ADDRESS_BYTES: libc::socklen_t = 28;
/// 64-bit words of a control part: one `in6_pktinfo` with its header is 40 octets, an ICMP error with the address it is from 60.
const CONTROL_WORDS: usize = 8;
/// Octets of them that are received into.
const CONTROL_RECEIVED_BYTES: usize = 40;
/// Octets between two packets, besides their own: buffers that begin at the same place of a page would share few cache lines.
const SKEW_BYTES: usize = 192;

/// Who sent a datagram, and which address of ours it came to: all that is needed to answer it later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    address: [u32; ADDRESS_WORDS],
    address_bytes: u32,
    control: [u64; CONTROL_WORDS],
    control_bytes: usize,
}

impl Origin {
    const EMPTY: Self = Self { address: [0; ADDRESS_WORDS], address_bytes: 0, control: [0; CONTROL_WORDS], control_bytes: 0 };

    fn family_and_port(&self) -> (libc::c_int, u16) {
        let [family @ .., port_high, port_low] = self.address.first().copied().unwrap_or_default().to_ne_bytes();
        (u16::from_ne_bytes(family).into(), u16::from_be_bytes([port_high, port_low]))
    }

    /// The sender's address; `None` for a family that is no Internet's.
    pub(super) fn sender(&self) -> Option<SocketAddr> {
        let [_, second, rest @ ..] = self.address;
        let (family, port) = self.family_and_port();
        match family {
            libc::AF_INET => Some((Ipv4Addr::from(second.to_ne_bytes()), port).into()),
            libc::AF_INET6 => {
                let [a, b, c, d, scope] = rest;
                let mut octets = [0; 16];
                for (place, word) in octets.chunks_exact_mut(4).zip([a, b, c, d]) {
                    place.copy_from_slice(&word.to_ne_bytes());
                }
                Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope).into())
            }
            _ => None,
        }
    }

    /// The interface it came by is not the one the answer must leave by: routes may differ by direction.
    fn forget_interface(&mut self) {
        if self.control_bytes == 0 {
            return;
        }
        // A socket of IPv6 speaks of IPv4 as of mapped addresses.
        if self.family_and_port().0 == libc::AF_INET {
            // Low half of the third word, in memory order: the interface.
            if let Some(word) = self.control.get_mut(2) {
                let [.., a, b, c, d] = word.to_ne_bytes();
                *word = u64::from_ne_bytes([0, 0, 0, 0, a, b, c, d]);
            }
        } else if let Some(word) = self.control.get_mut(4) {
            *word = 0;
        }
    }
}

/// Places for as many datagrams as are received at once, and for their answers.
///
/// Cost of a batch: one system call to receive, one to send, no allocation, no copy but the kernel's.
pub(super) struct Batch {
    packets: Box<[u8]>,
    packet_bytes: usize,
    origins: Box<[Origin]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// Slots the last call may have written to.
    used: usize,
    received: usize,
}

impl Batch {
    /// `slots` datagrams of at most `packet_bytes`.
    pub(super) fn new(slots: usize, packet_bytes: usize) -> Self {
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
    pub(super) fn capacity(&self) -> usize {
        self.origins.len()
    }

    /// Receives what has come, without waiting; gives the number of datagrams, 0 if there is none.
    ///
    /// # Errors
    /// The socket's, most likely that of an earlier answer whose client is gone.
    #[allow(unsafe_code)] // see JUSTIFICATION above
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
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
    pub(super) fn packet(&self, slot: usize) -> Option<(&[u8], SocketAddr)> {
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
    pub(super) fn origin(&self, slot: usize) -> Option<&Origin> {
        self.origins.get(..self.received)?.get(slot)
    }
}

/// What goes out together.
pub(super) struct Outgoing {
    answers: Box<[Vec<u8>]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// Slots in the order they are sent in.
    order: Vec<usize>,
}

impl Outgoing {
    /// One answer for each of `slots`, of `answer_bytes` without an allocation.
    pub(super) fn new(slots: usize, answer_bytes: usize) -> Self {
        Self {
            answers: (0..slots).map(|_| Vec::with_capacity(answer_bytes)).collect(),
            vectors: vec![NO_VECTOR; slots].into_boxed_slice(),
            headers: vec![no_header(); slots].into_boxed_slice(),
            order: Vec::with_capacity(slots),
        }
    }

    /// The place of the answer to the datagram in `slot`; empty: none is sent.
    pub(super) fn answer(&mut self, slot: usize) -> Option<&mut Vec<u8>> {
        self.answers.get_mut(slot)
    }

    /// Sends the answers to the batch's datagrams; gives how many the kernel took. What does not go now is dropped: a client asks again, and
    /// waiting would let one slow interface stop a shard.
    #[allow(unsafe_code)] // see JUSTIFICATION above
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, batch: &Batch) -> usize {
        self.order.clear();
        let answers = self.answers.iter_mut().zip(&batch.origins).take(batch.received).enumerate();
        let outgoing = answers.filter(|(_, (answer, _))| !answer.is_empty());
        for ((vector, header), (slot, (answer, origin))) in self.vectors.iter_mut().zip(self.headers.iter_mut()).zip(outgoing) {
            *vector = libc::iovec { iov_base: answer.as_mut_ptr().cast(), iov_len: answer.len() };
            fill(&mut header.msg_hdr, origin, vector);
            self.order.push(slot);
        }
        let (mut begun, mut sent) = (0, 0);
        // Every turn sends or skips one at least.
        while begun < self.order.len() {
            let Some(rest) = self.headers.get_mut(begun..self.order.len()) else { break };
            let count = libc::c_uint::try_from(rest.len()).unwrap_or(0);
            // SAFETY: the loop above has pointed each of these headers at an answer, an address and a control part of the length beside it,
            // in boxes that are borrowed for the call.
            let taken = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
            match usize::try_from(taken) {
                Ok(taken) => {
                    begun += taken.max(1);
                    sent += taken;
                }
                Err(_) => match io::Error::last_os_error().kind() {
                    io::ErrorKind::WouldBlock => break,
                    // The error is of the first one alone, or of an earlier answer whose client is gone.
                    _ => begun += 1,
                },
            }
        }
        self.answers.iter_mut().take(batch.received).for_each(Vec::clear);
        sent
    }
}

/// Sends one answer, as [`Outgoing::send`] does.
///
/// # Errors
/// The socket's; `WouldBlock` if its buffer is full.
#[allow(unsafe_code)] // see JUSTIFICATION above
pub(super) fn send_one(socket: BorrowedFd<'_>, origin: &Origin, answer: &[u8]) -> io::Result<()> {
    let mut vector = libc::iovec { iov_base: answer.as_ptr().cast_mut().cast(), iov_len: answer.len() };
    let mut header = no_header().msg_hdr;
    fill(&mut header, origin, &mut vector);
    // SAFETY: the header points at the answer, and at an address and a control part that are borrowed for the call; the kernel only reads
    // what is sent.
    match unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// For sending: the kernel only reads what the header points at.
fn fill(header: &mut libc::msghdr, origin: &Origin, vector: &mut libc::iovec) {
    header.msg_name = origin.address.as_ptr().cast_mut().cast();
    header.msg_namelen = origin.address_bytes;
    header.msg_iov = vector;
    header.msg_iovlen = 1;
    let control = origin.control_bytes;
    header.msg_control = if control == 0 { std::ptr::null_mut() } else { origin.control.as_ptr().cast_mut().cast() };
    header.msg_controllen = control as _;
    header.msg_flags = 0;
}

const NO_VECTOR: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

#[allow(unsafe_code)] // the structure has private padding on some C libraries
fn no_header() -> libc::mmsghdr {
    // SAFETY: a header of zeros is a valid one: no name, no vectors, no control part.
    unsafe { std::mem::zeroed() }
}

/// Asks the kernel to say which address of ours each datagram came to, if the socket listens on all.
///
/// # Errors
/// The socket's.
#[allow(unsafe_code)] // see JUSTIFICATION above; rustix and socket2 do not have the options
pub(super) fn ask_for_destination(socket: BorrowedFd<'_>, bound: SocketAddr) -> io::Result<()> {
    if !bound.ip().is_unspecified() {
        return Ok(());
    }
    let (level, option) = match bound {
        SocketAddr::V4(_) => (libc::SOL_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_RECVPKTINFO),
    };
    set_flag(socket, level, option)
}

/// Asks the kernel to keep the ICMP errors of what this socket sends, with the address they are about (ip(7), `IP_RECVERR`).
///
/// # Errors
/// The socket's.
pub(super) fn ask_for_errors(socket: BorrowedFd<'_>, family: IpAddr) -> io::Result<()> {
    match family {
        IpAddr::V4(_) => set_flag(socket, libc::SOL_IP, libc::IP_RECVERR),
        IpAddr::V6(_) => set_flag(socket, libc::SOL_IPV6, libc::IPV6_RECVERR),
    }
}

#[allow(unsafe_code)] // see JUSTIFICATION above
fn set_flag(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(0);
    // SAFETY: the option's value is an int, which lives until after the call.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The next datagram of ours that an ICMP error was about: the server it went to, the length of what is quoted of it, what is wrong.
///
/// # Errors
/// `WouldBlock`: there is no more.
#[allow(unsafe_code)] // see JUSTIFICATION above
pub(super) fn next_error(socket: BorrowedFd<'_>, quoted: &mut [u8]) -> io::Result<(Option<SocketAddr>, usize, io::ErrorKind)> {
    let mut origin = Origin::EMPTY;
    let mut vector = libc::iovec { iov_base: quoted.as_mut_ptr().cast(), iov_len: quoted.len() };
    let mut header = no_header().msg_hdr;
    header.msg_name = origin.address.as_mut_ptr().cast();
    header.msg_namelen = ADDRESS_BYTES;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = origin.control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&origin.control) as _;
    // SAFETY: the header points at `quoted`, and at an address and a control part on the stack, each with its length beside it.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE) };
    match usize::try_from(received) {
        Ok(received) => {
            // sock_extended_err begins with the error.
            let [a, b, c, d, ..] = origin.control.get(2).copied().unwrap_or_default().to_ne_bytes();
            let kind = io::Error::from_raw_os_error(i32::from_ne_bytes([a, b, c, d])).kind();
            Ok((origin.sender(), received.min(quoted.len()), kind))
        }
        Err(_) => Err(io::Error::last_os_error()),
    }
}
