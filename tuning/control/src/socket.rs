//! One packet, one message, with descriptors beside it.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Longest message, bytes of JSON. A socket's default send buffer holds it.
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// Descriptors beside one message: the kernel's SCM_MAX_FD is 253.
pub const DESCRIPTORS_MAX: usize = 250;

/// A connected pair, close-on-exec: one end for each side.
///
/// # Errors
/// The operating system's, out of descriptors most likely.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message; waits while the other side's queue is full.
///
/// # Errors
/// A message over [`MESSAGE_BYTES_MAX`], more than [`DESCRIPTORS_MAX`] descriptors, or the operating system's error.
pub fn send<M: Serialize>(socket: impl AsFd, message: &M, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MESSAGE_BYTES_MAX || descriptors.len() > DESCRIPTORS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "control message too large"));
    }
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors in a control message"));
    }
    loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one message; waits for it.
///
/// # Errors
/// `UnexpectedEof` if the other side is gone, `InvalidData` for what is no message, or the operating system's error.
pub fn receive<M: DeserializeOwned>(socket: impl AsFd) -> io::Result<(M, Vec<OwnedFd>)> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptors.extend(fds);
        }
    }
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "control message cut short"));
    }
    let message = serde_json::from_slice(bytes.get(..received.bytes).unwrap_or_default())?;
    Ok((message, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{FromChild, ToChild};
    use std::io::{Read, Write};

    #[test]
    fn messages_and_descriptors_arrive() {
        let (a, b) = pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send(&a, &ToChild::Directory { sequence: 9 }, &[writer.as_fd()]).unwrap();
        drop(writer);
        let (message, fds) = receive::<ToChild>(&b).unwrap();
        assert!(matches!(message, ToChild::Directory { sequence: 9 }));
        let mut passed = io::PipeWriter::from(fds.into_iter().next().unwrap());
        passed.write_all(b"x").unwrap();
        drop(passed);
        let mut got = String::new();
        reader.read_to_string(&mut got).unwrap();
        assert_eq!(got, "x");
    }

    #[test]
    fn a_gone_peer_is_the_end_and_rubbish_an_error() {
        let (a, b) = pair().unwrap();
        rustix::net::send(&a, b"{rubbish", SendFlags::empty()).unwrap();
        assert_eq!(receive::<FromChild>(&b).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(a);
        assert_eq!(receive::<FromChild>(&b).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
