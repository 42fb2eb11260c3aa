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
//! JUSTIFICATION of `unsafe`: no safe crate here has the two calls; under load they take a seventh of the CPU of an answer away, with pairs a fifth
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
type Control = [u64; CONTROL_WORDS];
/// Octets of them that are received into.
const CONTROL_RECEIVED_BYTES: usize = 40;
/// Octets that say a segment size: header and 16 bits.
const SEGMENT_CONTROL_BYTES: u64 = 18;
/// Answers in one message; older kernels take no more (UDP_MAX_SEGMENTS).
const SEGMENTS_MAX: usize = 64;
/// Octets in one message: what IPv4 allows with its headers, and some room.
const SEGMENTED_BYTES_MAX: usize = 65_000;
/// Batches without a pair until pairs are looked for again.
const JOINING_RETRIED: u32 = 32;
/// Batches after the kernel has refused a pair.
const JOINING_REFUSED: u32 = 10_000;
// The control part is written by words of 64 bits.
const _: () = assert!(size_of::<usize>() == 8);
/// Octets between two packets, besides their own: buffers that begin at the same place of a page would share few cache lines.
const SKEW_BYTES: usize = 192;

/// Who sent a datagram, and which address of ours it came to: all that is needed to answer it later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    address: [u32; ADDRESS_WORDS],
    address_bytes: u32,
    control: Control,
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

    /// Orders what can go together side by side: by client, the longest answer first.
    fn run_key(&self, answer_bytes: usize) -> u64 {
        let [first, second, .., last, _] = self.address;
        let length = u64::try_from(answer_bytes).unwrap_or(u64::MAX) & 0xffff;
        // Of IPv6 the last word differs most, and `second` is the flow, which is 0.
        (u64::from(first.rotate_right(16)) << 48) | (u64::from(second ^ last) << 16) | (0xffff - length)
    }

    fn is_same(&self, other: &Self) -> bool {
        let words = self.control_bytes / 8;
        self.address == other.address
            && self.control_bytes == other.control_bytes
            && self.control.get(..words) == other.control.get(..words)
    }

    /// The control part with one that says where to cut; gives its length.
    fn with_segment_size(&self, bytes: usize, control: &mut Control) -> usize {
        *control = self.control;
        let ([a, b, c, d], [e, f, g, h]) = (libc::SOL_UDP.to_ne_bytes(), libc::UDP_SEGMENT.to_ne_bytes());
        let [low, high] = u16::try_from(bytes).unwrap_or(u16::MAX).to_ne_bytes();
        let size = u64::from_ne_bytes([low, high, 0, 0, 0, 0, 0, 0]);
        let words = [SEGMENT_CONTROL_BYTES, u64::from_ne_bytes([a, b, c, d, e, f, g, h]), size];
        let begin = self.control_bytes.div_ceil(8);
        control.iter_mut().skip(begin).zip(words).for_each(|(place, word)| *place = word);
        (begin + words.len()) * 8
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
///
/// Answers of equal length to one client, and a shorter one behind them, are one message to the kernel (UDP generic segmentation offload): it
/// goes its way through the kernel, or to the network card, once. That helps where many questions come from one port: forwarders, load
/// generators. Most resolvers have a port for each question, so after batches without a pair it is tried less often.
pub(super) struct Outgoing {
    answers: Box<[Vec<u8>]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    controls: Box<[Control]>,
    /// What is sent, those that may go together side by side: (client and length, slot).
    order: Vec<(u64, usize)>,
    /// Of each header, its first place in `order`, and how many.
    runs: Vec<(usize, usize)>,
    joining: Joining,
}

/// Whether looking for pairs pays.
#[derive(Default)]
struct Joining {
    /// Batches to go before it is tried again.
    rest: u32,
}

impl Outgoing {
    /// One answer for each of `slots`, of `answer_bytes` without an allocation.
    pub(super) fn new(slots: usize, answer_bytes: usize) -> Self {
        Self {
            answers: (0..slots).map(|_| Vec::with_capacity(answer_bytes)).collect(),
            vectors: vec![NO_VECTOR; slots].into_boxed_slice(),
            headers: vec![no_header(); slots].into_boxed_slice(),
            controls: vec![[0; CONTROL_WORDS]; slots].into_boxed_slice(),
            order: Vec::with_capacity(slots),
            runs: Vec::with_capacity(slots),
            joining: Joining::default(),
        }
    }

    /// The place of the answer to the datagram in `slot`; empty: none is sent.
    pub(super) fn answer(&mut self, slot: usize) -> Option<&mut Vec<u8>> {
        self.answers.get_mut(slot)
    }

    /// Sends the answers to the batch's datagrams; gives how many the kernel took. What does not go now is dropped: a client asks again, and
    /// waiting would let one slow interface stop a shard.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, batch: &Batch) -> usize {
        self.order.clear();
        self.runs.clear();
        let answers = self.answers.iter().zip(&batch.origins).take(batch.received).enumerate();
        let outgoing = answers.filter(|(_, (answer, _))| !answer.is_empty());
        self.order.extend(outgoing.map(|(slot, (answer, origin))| (origin.run_key(answer.len()), slot)));
        if self.joining.begin(self.order.len()) {
            self.order.sort_unstable();
            self.run_together(batch);
            self.joining.end(self.order.len() > self.runs.len());
        } else {
            self.runs.extend((0..self.order.len()).map(|place| (place, 1)));
        }
        self.point(batch);
        let sent = self.send_runs(socket, batch);
        self.answers.iter_mut().take(batch.received).for_each(Vec::clear);
        sent
    }

    /// Finds what can be one message.
    fn run_together(&mut self, batch: &Batch) {
        let part = |place: usize| {
            let slot = self.order.get(place)?.1;
            Some((batch.origins.get(slot)?, self.answers.get(slot)?.len()))
        };
        let mut begin = 0;
        while let Some((origin, length)) = part(begin) {
            let mut end = begin + 1;
            while end - begin < SEGMENTS_MAX
                && (end + 1 - begin) * length <= SEGMENTED_BYTES_MAX
                && part(end - 1).is_some_and(|(_, last)| last == length)
                && part(end).is_some_and(|(other, next)| next <= length && other.is_same(origin))
            {
                end += 1;
            }
            self.runs.push((begin, end - begin));
            begin = end;
        }
    }

    /// Points headers at the answers.
    fn point(&mut self, batch: &Batch) {
        for (vector, (_, slot)) in self.vectors.iter_mut().zip(&self.order) {
            if let Some(answer) = self.answers.get_mut(*slot) {
                *vector = libc::iovec { iov_base: answer.as_mut_ptr().cast(), iov_len: answer.len() };
            }
        }
        for ((header, control), &(begin, count)) in self.headers.iter_mut().zip(self.controls.iter_mut()).zip(&self.runs) {
            let vectors = self.vectors.get_mut(begin..begin + count).unwrap_or_default();
            let origin = self.order.get(begin).and_then(|(_, slot)| batch.origins.get(*slot)).unwrap_or(&Origin::EMPTY);
            let length = vectors.first().map_or(0, |vector| vector.iov_len);
            let header = &mut header.msg_hdr;
            fill(header, origin, vectors);
            if count > 1 {
                header.msg_controllen = origin.with_segment_size(length, control) as _;
                header.msg_control = control.as_mut_ptr().cast();
            }
        }
    }

    #[allow(unsafe_code)] // see JUSTIFICATION above
    fn send_runs(&mut self, socket: BorrowedFd<'_>, batch: &Batch) -> usize {
        let (mut begun, mut sent) = (0, 0);
        // Every turn sends or skips one at least.
        while let Some(headers) = self.headers.get_mut(begun..self.runs.len()).filter(|headers| !headers.is_empty()) {
            let count = libc::c_uint::try_from(headers.len()).unwrap_or(0);
            // SAFETY: `point` has pointed each of these headers at answers, an address and a control part of the length beside it, in boxes
            // that are borrowed until this returns and were not touched since; the kernel only reads what is sent.
            let taken = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
            let runs = self.runs.get(begun..).unwrap_or_default();
            match usize::try_from(taken) {
                Ok(taken) => {
                    sent += runs.iter().take(taken).map(|run| run.1).sum::<usize>();
                    begun += taken.max(1);
                }
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() == io::ErrorKind::WouldBlock {
                        break;
                    }
                    // The error is of the first one alone, or of an earlier answer whose client is gone.
                    if let Some(&(begin, count)) = runs.first().filter(|run| run.1 > 1) {
                        // An interface that cannot, or a path narrower than an answer.
                        tracing::debug!("answers could not be sent together: {error}");
                        self.joining.rest = JOINING_REFUSED;
                        let each = self.order.iter().skip(begin).take(count);
                        let each = each.filter_map(|(_, slot)| batch.origins.get(*slot).zip(self.answers.get(*slot)));
                        sent += each.filter(|(origin, answer)| send_one(socket, origin, answer).is_ok()).count();
                    }
                    begun += 1;
                }
            }
        }
        sent
    }
}

impl Joining {
    fn begin(&mut self, answers: usize) -> bool {
        self.rest = self.rest.saturating_sub(1);
        self.rest == 0 && answers > 1
    }

    fn end(&mut self, found: bool) {
        self.rest = if found { 0 } else { JOINING_RETRIED };
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
    fill(&mut header, origin, std::slice::from_mut(&mut vector));
    // SAFETY: the header points at the answer, and at an address and a control part that are borrowed for the call; the kernel only reads
    // what is sent.
    match unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// For sending: the kernel only reads what the header points at.
fn fill(header: &mut libc::msghdr, origin: &Origin, vectors: &mut [libc::iovec]) {
    header.msg_name = origin.address.as_ptr().cast_mut().cast();
    header.msg_namelen = origin.address_bytes;
    header.msg_iov = vectors.as_mut_ptr();
    // The type of the field differs between C libraries.
    header.msg_iovlen = vectors.len() as _;
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

/// Has what is sent go whole or not at all (RFC 9715): our answers fit every path, and who can forge the second fragment of an answer has forged
/// the answer. What ICMP says of a path's width is not believed. It also saves the kernel a number for each packet (RFC 6864).
///
/// # Errors
/// The socket's.
pub(super) fn forbid_fragments(socket: BorrowedFd<'_>, bound: SocketAddr) -> io::Result<()> {
    if bound.is_ipv6() {
        set_option(socket, libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
    }
    // On a socket of IPv6 for the clients of IPv4.
    set_option(socket, libc::SOL_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)
}

/// Asks the kernel to say which address of ours each datagram came to, if the socket listens on all.
///
/// # Errors
/// The socket's.
pub(super) fn ask_for_destination(socket: BorrowedFd<'_>, bound: SocketAddr) -> io::Result<()> {
    if !bound.ip().is_unspecified() {
        return Ok(());
    }
    let (level, option) = match bound {
        SocketAddr::V4(_) => (libc::SOL_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_RECVPKTINFO),
    };
    set_option(socket, level, option, 1)
}

/// Asks the kernel to keep the ICMP errors of what this socket sends, with the address they are about (ip(7), `IP_RECVERR`).
///
/// # Errors
/// The socket's.
pub(super) fn ask_for_errors(socket: BorrowedFd<'_>, family: IpAddr) -> io::Result<()> {
    match family {
        IpAddr::V4(_) => set_option(socket, libc::SOL_IP, libc::IP_RECVERR, 1),
        IpAddr::V6(_) => set_option(socket, libc::SOL_IPV6, libc::IPV6_RECVERR, 1),
    }
}

#[allow(unsafe_code)] // see JUSTIFICATION above; rustix and socket2 do not have the options
fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or(0);
    // SAFETY: the option's value is an int, which lives until after the call.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) } {
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
