//! What the kernel is told of a datagram socket, and the errors it keeps for it.

use super::origin::Origin;
use super::{ADDRESS_BYTES, no_header};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Has what is sent go whole or not at all (RFC 9715): our answers fit every path, and who can forge the second fragment of an answer has forged
/// the answer. What ICMP says of a path's width is not believed. It also saves the kernel a number for each packet (RFC 6864).
///
/// # Errors
/// The socket's.
pub(in crate::dns) fn forbid_fragments(socket: BorrowedFd<'_>, bound: SocketAddr) -> io::Result<()> {
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
pub(in crate::dns) fn ask_for_destination(socket: BorrowedFd<'_>, bound: SocketAddr) -> io::Result<()> {
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
pub(in crate::dns) fn ask_for_errors(socket: BorrowedFd<'_>, family: IpAddr) -> io::Result<()> {
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
pub(in crate::dns) fn next_error(
    socket: BorrowedFd<'_>,
    quoted: &mut [u8],
) -> io::Result<(Option<SocketAddr>, usize, io::ErrorKind)> {
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
