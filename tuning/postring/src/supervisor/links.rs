//! Makes a link between two children: fresh pages, each handed to its owner for writing and to the other for reading.

use postring_control::{Attach, Endpoint, Role, Side, ToChild, socket};
use postring_mail::limits::VERDICT_BYTES_MAX;
use postring_ring::{DoorbellButton, Link};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Descriptors a direction. What is under way beyond them waits with its producer; a store or queue answers a message twice, so half as many
/// are under way there, which are the slots of a shard by default. A scan's answers are large.
const ENTRIES: u32 = 4096;
const SCAN_ENTRIES: u32 = 1024;

/// One side of a link.
pub struct End<'a> {
    pub socket: &'a OwnedFd,
    pub button: &'a DoorbellButton,
}

/// Tells both sides.
pub fn make(producer: Endpoint, consumer: Endpoint, giver: &End<'_>, taker: &End<'_>, arena: &OwnedFd) -> io::Result<()> {
    let verdict_bytes = u32::try_from(VERDICT_BYTES_MAX).unwrap_or(u32::MAX);
    let entries = if consumer.role == Role::Scan { SCAN_ENTRIES } else { ENTRIES };
    let attach = Attach {
        producer,
        consumer,
        side: Side::Producer,
        entries,
        producer_payload_bytes: 0,
        consumer_payload_bytes: if consumer.role == Role::Scan { verdict_bytes } else { 0 },
    };
    let giver_page = Link::create_page(entries, attach.producer_payload_bytes)?;
    let taker_page = Link::create_page(entries, attach.consumer_payload_bytes)?;
    let to_giver = ToChild::Attach(attach.clone());
    socket::send(giver.socket, &to_giver, &[giver_page.as_fd(), read_only(&taker_page)?.as_fd(), taker.button.as_fd()])?;
    let to_taker = ToChild::Attach(Attach { side: Side::Consumer, ..attach });
    let (giver_page, arena) = (read_only(&giver_page)?, read_only(arena)?);
    let descriptors = [taker_page.as_fd(), giver_page.as_fd(), giver.button.as_fd(), arena.as_fd()];
    socket::send(taker.socket, &to_taker, &descriptors)
}

/// The same memory through a descriptor that cannot be mapped for writing, even before its owner has sealed it.
fn read_only(fd: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(File::open(format!("/proc/self/fd/{}", fd.as_raw_fd()))?.into())
}
