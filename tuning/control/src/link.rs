//! A link's two ends, opened from what came with [`Attach`].

use crate::message::{Attach, Endpoint};
use postring_ring::{ArenaReader, DoorbellButton, Link, LinkGeometry};
use std::io;
use std::os::fd::OwnedFd;

/// The end that gives work.
pub struct ProducerEnd {
    /// Who does it.
    pub consumer: Endpoint,
    /// The rings.
    pub link: Link,
    /// Wakes the consumer.
    pub bell: DoorbellButton,
    /// Descriptors a direction.
    pub entries: u32,
}

/// The end that does work.
pub struct ConsumerEnd {
    /// Who gives it.
    pub producer: Endpoint,
    /// The rings.
    pub link: Link,
    /// The producer's slots, to read.
    pub arena: ArenaReader,
    /// Wakes the producer.
    pub bell: DoorbellButton,
}

impl Attach {
    /// Opens the producer's end.
    ///
    /// # Errors
    /// Descriptors that are not what the message says.
    pub fn open_producer(&self, descriptors: Vec<OwnedFd>) -> io::Result<ProducerEnd> {
        let [own, peer, button] = take(descriptors)?;
        let link = Link::attach(own, peer, self.geometry(self.producer_payload_bytes, self.consumer_payload_bytes))?;
        Ok(ProducerEnd { consumer: self.consumer, link, bell: DoorbellButton::from_descriptor(button), entries: self.entries })
    }

    /// Opens the consumer's end.
    ///
    /// # Errors
    /// Descriptors that are not what the message says.
    pub fn open_consumer(&self, descriptors: Vec<OwnedFd>) -> io::Result<ConsumerEnd> {
        let [own, peer, button, arena] = take(descriptors)?;
        let link = Link::attach(own, peer, self.geometry(self.consumer_payload_bytes, self.producer_payload_bytes))?;
        let arena = ArenaReader::map(arena)?;
        Ok(ConsumerEnd { producer: self.producer, link, arena, bell: DoorbellButton::from_descriptor(button) })
    }

    fn geometry(&self, own_payload_bytes: u32, peer_payload_bytes: u32) -> LinkGeometry {
        LinkGeometry { entries: self.entries, own_payload_bytes, peer_payload_bytes }
    }
}

fn take<const N: usize>(descriptors: Vec<OwnedFd>) -> io::Result<[OwnedFd; N]> {
    <[OwnedFd; N]>::try_from(descriptors)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a link came without all its descriptors"))
}
