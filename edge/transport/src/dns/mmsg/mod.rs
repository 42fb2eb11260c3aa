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

mod batch;
mod options;
mod origin;
mod outgoing;

pub(super) use batch::Batch;
pub(super) use options::{ask_for_destination, ask_for_errors, forbid_fragments, next_error};
pub(super) use origin::Origin;
pub(super) use outgoing::{Outgoing, send_one};

/// Words of an address: a `sockaddr_in6` (RFC 3493 section 3.3) is the longest there is.
const ADDRESS_WORDS: usize = 7;
/// The same in octets, as the kernel wants it.
const ADDRESS_BYTES: libc::socklen_t = 28;
/// 64-bit words of a control part: one `in6_pktinfo` with its header is 40 octets, an ICMP error with the address it is from 60.
const CONTROL_WORDS: usize = 8;
type Control = [u64; CONTROL_WORDS];
// The control part is written by words of 64 bits.
const _: () = assert!(size_of::<usize>() == 8);

const NO_VECTOR: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

#[allow(unsafe_code)] // the structure has private padding on some C libraries
fn no_header() -> libc::mmsghdr {
    // SAFETY: a header of zeros is a valid one: no name, no vectors, no control part.
    unsafe { std::mem::zeroed() }
}
