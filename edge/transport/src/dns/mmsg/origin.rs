//! Who sent a datagram, and which address of ours it came to.

use super::{ADDRESS_WORDS, CONTROL_WORDS, Control};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Octets that say a segment size: header and 16 bits.
const SEGMENT_CONTROL_BYTES: u64 = 18;

/// Who sent a datagram, and which address of ours it came to: all that is needed to answer it later.
#[derive(Clone, Copy, Debug)]
pub(in crate::dns) struct Origin {
    pub(super) address: [u32; ADDRESS_WORDS],
    pub(super) address_bytes: u32,
    pub(super) control: Control,
    pub(super) control_bytes: usize,
}

impl Origin {
    pub(super) const EMPTY: Self =
        Self { address: [0; ADDRESS_WORDS], address_bytes: 0, control: [0; CONTROL_WORDS], control_bytes: 0 };

    fn family_and_port(&self) -> (libc::c_int, u16) {
        let [family @ .., port_high, port_low] = self.address.first().copied().unwrap_or_default().to_ne_bytes();
        (u16::from_ne_bytes(family).into(), u16::from_be_bytes([port_high, port_low]))
    }

    /// The sender's address; `None` for a family that is no Internet's.
    pub(in crate::dns) fn sender(&self) -> Option<SocketAddr> {
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
    pub(super) fn run_key(&self, answer_bytes: usize) -> u64 {
        let [first, second, .., last, _] = self.address;
        let length = u64::try_from(answer_bytes).unwrap_or(u64::MAX) & 0xffff;
        // Of IPv6 the last word differs most, and `second` is the flow, which is 0.
        (u64::from(first.rotate_right(16)) << 48) | (u64::from(second ^ last) << 16) | (0xffff - length)
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        let words = self.control_bytes / 8;
        self.address == other.address
            && self.control_bytes == other.control_bytes
            && self.control.get(..words) == other.control.get(..words)
    }

    /// The control part with one that says where to cut; gives its length.
    pub(super) fn with_segment_size(&self, bytes: usize, control: &mut Control) -> usize {
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
    pub(super) fn forget_interface(&mut self) {
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
