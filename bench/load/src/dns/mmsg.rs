//! Datagrams by the batch: one `sendmmsg` for questions, one `recvmmsg` for answers, in memory taken once.
//!
//! JUSTIFICATION of `unsafe`: no safe crate here has the two calls, and with a call a datagram one core cannot ask more than a server's core
//! can answer. All pointers the kernel gets are made in this file, to boxes that live as long as the batch.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of a question that can be sent: a name of 255, header, type, class, EDNS.
pub const QUESTION_BYTES_MAX: usize = 320;
/// Bytes of an answer that are looked at: its header. The kernel says how long the rest was and does not copy it.
const ANSWER_BYTES: usize = 12;

/// Slots of one size, sent or received together.
pub struct Batch {
    bytes: Box<[u8]>,
    slot_bytes: usize,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    filled: usize,
}

impl Batch {
    /// For questions.
    pub fn outgoing(slots: usize) -> Self {
        Self::new(slots, QUESTION_BYTES_MAX)
    }

    /// For the heads of answers.
    pub fn incoming(slots: usize) -> Self {
        Self::new(slots, ANSWER_BYTES)
    }

    fn new(slots: usize, slot_bytes: usize) -> Self {
        let mut bytes = vec![0_u8; slots * slot_bytes].into_boxed_slice();
        let vector = |slot: &mut [u8]| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot_bytes };
        let mut vectors: Box<[libc::iovec]> = bytes.chunks_exact_mut(slot_bytes).map(vector).collect();
        let headers = vectors.iter_mut().map(header).collect();
        Self { bytes, slot_bytes, vectors, headers, filled: 0 }
    }

    pub fn slots(&self) -> usize {
        self.headers.len()
    }

    /// Questions to be sent.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Puts a question behind the others; its first two bytes become `id`. False: there is no room for it.
    pub fn push(&mut self, question: &[u8], id: u16) -> bool {
        let start = self.filled * self.slot_bytes;
        let slot = self.bytes.get_mut(start..start + self.slot_bytes).and_then(|slot| slot.get_mut(..question.len()));
        let (Some(slot), Some(vector)) = (slot, self.vectors.get_mut(self.filled)) else { return false };
        slot.copy_from_slice(question);
        if let Some(place) = slot.first_chunk_mut() {
            *place = id.to_be_bytes();
        }
        vector.iov_len = question.len();
        self.filled += 1;
        true
    }

    /// Sends the questions from the `from`th on; gives how many went. Those that did not are still there.
    ///
    /// # Errors
    /// The socket's, the one of an earlier datagram that nobody took among them.
    #[allow(unsafe_code)] // see JUSTIFICATION above
    pub fn send(&mut self, socket: BorrowedFd<'_>, from: usize) -> io::Result<usize> {
        let headers = self.headers.get_mut(from..self.filled).unwrap_or_default();
        let count = libc::c_uint::try_from(headers.len()).unwrap_or(0);
        // SAFETY: every header was pointed by `new` at one vector, every vector at a slot of `bytes`; the boxes have not moved their contents
        // since, `push` keeps each length within its slot, and the batch is borrowed for the call. Neither address nor control part is given.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Receives what has come, without waiting; gives the number of datagrams, 0 if there is none.
    ///
    /// # Errors
    /// The socket's, most likely that nobody took a question.
    #[allow(unsafe_code)] // see JUSTIFICATION above
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let count = libc::c_uint::try_from(self.headers.len()).unwrap_or(0);
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: as in `send`; the vectors of a batch for answers have kept the length of their slots. No timeout is given.
        let received =
            unsafe { libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count, flags, std::ptr::null_mut()) };
        match usize::try_from(received) {
            Ok(received) => Ok(received),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) }
            }
        }
    }

    /// A received datagram: its head, and how long all of it was; `None` if it is too short for DNS.
    pub fn answer(&self, slot: usize) -> Option<(&[u8; ANSWER_BYTES], usize)> {
        let bytes = usize::try_from(self.headers.get(slot)?.msg_len).ok().filter(|bytes| *bytes >= ANSWER_BYTES)?;
        let start = slot * self.slot_bytes;
        Some((self.bytes.get(start..)?.first_chunk()?, bytes))
    }
}

fn header(vector: &mut libc::iovec) -> libc::mmsghdr {
    let msg_hdr = libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: vector,
        msg_iovlen: 1,
        msg_control: std::ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    };
    libc::mmsghdr { msg_hdr, msg_len: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn questions_go_and_heads_of_answers_come() {
        let (here, there) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        here.connect(there.local_addr().unwrap()).unwrap();
        there.connect(here.local_addr().unwrap()).unwrap();
        let mut outgoing = Batch::outgoing(3);
        for id in [1, 2, 3] {
            assert!(outgoing.push(&vec![7; 10 + usize::from(id)], id));
        }
        assert!(!outgoing.push(&[0; 12], 4), "only three places");
        assert_eq!(outgoing.send(here.as_fd(), 1).unwrap(), 2);
        let mut incoming = Batch::incoming(4);
        assert_eq!(incoming.receive(there.as_fd()).unwrap(), 2);
        assert_eq!(incoming.answer(0).map(|(head, bytes)| (head[..3].to_vec(), bytes)), Some((vec![0, 2, 7], 12)));
        assert_eq!(incoming.answer(1).map(|(head, bytes)| (head[..3].to_vec(), bytes)), Some((vec![0, 3, 7], 13)));
        assert_eq!(incoming.receive(there.as_fd()).unwrap(), 0);
        outgoing.clear();
        assert!(!outgoing.push(&[0; QUESTION_BYTES_MAX + 1], 1), "too long for a place");
    }
}
