//! The ring's protocol over any words: head, tail, sleep word, and their memory ordering.
//!
//! Generic over [`Words`] so that loom can permute it (tests/loom.rs) and a plain queue can be its oracle; [`crate::Link`]
//! is the same over mapped pages.
//!
//! Each side owns a page of words. Indices only grow (64 bits do not wrap in practice); the place is index modulo entries.
//!
//! ```text
//!   own page:   HEAD   how many descriptors we have published        (written by us, release)
//!               TAIL   how many of the peer's we have taken          (written by us, release)
//!               SLEEP  odd: we sleep, or are about to                (written by us, then a full fence)
//!               entries, then payloads
//! ```
//! Sleeping: set SLEEP odd, full fence, look once more, sleep. Publishing: store HEAD, full fence, look at the peer's SLEEP.
//! The two fences make sure that one of the two sees the other (Dekker), so no wake-up is lost. The publisher remembers the
//! value it has rung for: a peer that has not come round yet is not rung for again.

use crate::descriptor::{DESCRIPTOR_WORDS, Descriptor};
use std::sync::atomic::Ordering;

/// Word index of the head.
pub const HEAD: usize = 8;
/// Word index of the tail.
pub const TAIL: usize = 16;
/// Word index of the sleep word.
pub const SLEEP: usize = 24;
/// Word index of the first descriptor.
pub const ENTRIES: usize = 32;

/// A page of 64-bit words that one side writes and the other reads.
pub trait Words {
    /// Reads a word; an index out of bounds reads 0.
    fn load(&self, index: usize, order: Ordering) -> u64;
    /// Writes a word; an index out of bounds writes nothing.
    fn store(&self, index: usize, value: u64, order: Ordering);
    /// A sequentially consistent fence.
    fn fence();
}

/// The peer has published what no honest peer can: replace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Its head is behind our tail or too far ahead.
    Head,
    /// Its tail is ahead of our head or too far behind.
    Tail,
    /// A descriptor names a slot, a range or a payload that cannot be.
    Range,
    /// A descriptor names a generation its slot does not have.
    Generation,
}

impl std::fmt::Display for Lie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Head => "its head is out of bounds",
            Self::Tail => "its tail is out of bounds",
            Self::Range => "a descriptor names a range out of bounds",
            Self::Generation => "a descriptor names a slot that was used again",
        })
    }
}

impl std::error::Error for Lie {}

/// Why nothing was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// As many descriptors as the ring has entries are not taken yet: back-pressure.
    Full,
    /// The payload is longer than the ring allows.
    PayloadTooLong,
    /// The peer lies.
    Lie(Lie),
}

/// Words a page of `entries` descriptors with `payload_bytes` each needs.
#[must_use]
pub fn page_words(entries: u32, payload_bytes: u32) -> usize {
    ENTRIES + entries as usize * (DESCRIPTOR_WORDS + payload_words(payload_bytes))
}

/// A payload's words: one for its length, then the bytes.
fn payload_words(payload_bytes: u32) -> usize {
    if payload_bytes == 0 { 0 } else { 1 + (payload_bytes as usize).div_ceil(8) }
}

/// One side of a pair of rings.
pub struct Endpoint<O: Words, P: Words> {
    own: O,
    peer: P,
    entries: u64,
    own_payload_bytes: u32,
    peer_payload_bytes: u32,
    head: u64,
    tail: u64,
    sleep: u64,
    rung_for: u64,
}

impl<O: Words, P: Words> Endpoint<O, P> {
    /// Over two fresh (zeroed) pages. `entries` must be a power of two.
    pub fn new(own: O, peer: P, entries: u32, own_payload_bytes: u32, peer_payload_bytes: u32) -> Self {
        debug_assert!(entries.is_power_of_two());
        Self {
            own,
            peer,
            entries: entries.into(),
            own_payload_bytes,
            peer_payload_bytes,
            head: 0,
            tail: 0,
            sleep: 0,
            rung_for: 0,
        }
    }

    fn entry(&self, index: u64, payload_bytes: u32) -> usize {
        #[allow(clippy::cast_possible_truncation)] // below entries, which came from a u32
        let place = (index & (self.entries - 1)) as usize;
        ENTRIES + place * (DESCRIPTOR_WORDS + payload_words(payload_bytes))
    }

    /// Publishes a descriptor with its payload. Costs five stores and one for each eight bytes of payload.
    ///
    /// # Errors
    /// See [`PushError`]; nothing is published.
    pub fn push(&mut self, descriptor: &Descriptor, payload: &[u8]) -> Result<(), PushError> {
        let taken = self.peer.load(TAIL, Ordering::Acquire);
        let waiting = self.head.wrapping_sub(taken);
        if waiting > self.entries {
            return Err(PushError::Lie(Lie::Tail));
        }
        if waiting == self.entries {
            return Err(PushError::Full);
        }
        if payload.len() > self.own_payload_bytes as usize {
            return Err(PushError::PayloadTooLong);
        }
        let entry = self.entry(self.head, self.own_payload_bytes);
        for (place, word) in (entry..).zip(descriptor.to_words()) {
            self.own.store(place, word, Ordering::Relaxed);
        }
        if self.own_payload_bytes > 0 {
            let start = entry + DESCRIPTOR_WORDS;
            self.own.store(start, payload.len() as u64, Ordering::Relaxed);
            for (place, chunk) in (start + 1..).zip(payload.chunks(8)) {
                let mut word = [0; 8];
                for (to, from) in word.iter_mut().zip(chunk) {
                    *to = *from;
                }
                self.own.store(place, u64::from_le_bytes(word), Ordering::Relaxed);
            }
        }
        self.head = self.head.wrapping_add(1);
        self.own.store(HEAD, self.head, Ordering::Release);
        Ok(())
    }

    /// Takes the peer's next descriptor; its payload is copied into `payload` (cleared first), once, so that what is checked
    /// is what is used.
    ///
    /// # Errors
    /// The peer lies.
    pub fn pop(&mut self, payload: &mut Vec<u8>) -> Result<Option<Descriptor>, Lie> {
        payload.clear();
        if self.available()? == 0 {
            return Ok(None);
        }
        let entry = self.entry(self.tail, self.peer_payload_bytes);
        let mut words = [0; DESCRIPTOR_WORDS];
        for (place, word) in (entry..).zip(&mut words) {
            *word = self.peer.load(place, Ordering::Relaxed);
        }
        if self.peer_payload_bytes > 0 {
            let start = entry + DESCRIPTOR_WORDS;
            let length = self.peer.load(start, Ordering::Relaxed);
            if length > u64::from(self.peer_payload_bytes) {
                return Err(Lie::Range);
            }
            #[allow(clippy::cast_possible_truncation)] // at most payload_bytes
            let length = length as usize;
            for place in (start + 1..).take(length.div_ceil(8)) {
                payload.extend_from_slice(&self.peer.load(place, Ordering::Relaxed).to_le_bytes());
            }
            payload.truncate(length);
        }
        self.tail = self.tail.wrapping_add(1);
        self.own.store(TAIL, self.tail, Ordering::Release);
        Ok(Some(Descriptor::from_words(words)))
    }

    /// How many descriptors wait to be taken.
    ///
    /// # Errors
    /// The peer lies.
    pub fn available(&self) -> Result<u64, Lie> {
        let available = self.peer.load(HEAD, Ordering::Acquire).wrapping_sub(self.tail);
        if available > self.entries { Err(Lie::Head) } else { Ok(available) }
    }

    /// After pushing: true if the peer sleeps and has not been rung for since it fell asleep.
    pub fn must_ring(&mut self) -> bool {
        O::fence();
        let sleep = self.peer.load(SLEEP, Ordering::Relaxed);
        if sleep & 1 == 1 && sleep != self.rung_for {
            self.rung_for = sleep;
            return true;
        }
        false
    }

    /// Before sleeping: tells the peer to ring. Look at [`available`](Self::available) once more after it, then sleep.
    pub fn prepare_sleep(&mut self) {
        if self.sleep & 1 == 0 {
            self.sleep = self.sleep.wrapping_add(1);
            self.own.store(SLEEP, self.sleep, Ordering::Relaxed);
        }
        O::fence();
    }

    /// After sleeping: the peer need not ring.
    pub fn awake(&mut self) {
        if self.sleep & 1 == 1 {
            self.sleep = self.sleep.wrapping_add(1);
            self.own.store(SLEEP, self.sleep, Ordering::Relaxed);
        }
    }
}

/// A page of this process, for the fuzz entries.
pub(crate) struct Page(std::cell::RefCell<Vec<u64>>);

impl Page {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect::<Vec<u64>>().into())
    }
}

impl Words for &Page {
    fn load(&self, index: usize, _: Ordering) -> u64 {
        self.0.borrow().get(index).copied().unwrap_or(0)
    }

    fn store(&self, index: usize, value: u64, _: Ordering) {
        if let Some(word) = self.0.borrow_mut().get_mut(index) {
            *word = value;
        }
    }

    fn fence() {}
}

/// For the fuzzer and the replay of its inputs: the first byte says how long payloads are, the rest is the page of a peer; must not panic,
/// and nothing is taken twice.
#[doc(hidden)]
pub fn fuzz_link(data: &[u8]) {
    const ENTRIES_OF_A_LINK: u32 = 4;
    let Some((&sizes, page)) = data.split_first() else { return };
    let (own_payload, peer_payload) = (u32::from(sizes & 15) * 3, u32::from(sizes >> 4) * 5);
    let own = Page::new(&vec![0; page_words(ENTRIES_OF_A_LINK, own_payload) * 8]);
    let peer = Page::new(page);
    let mut endpoint = Endpoint::new(&own, &peer, ENTRIES_OF_A_LINK, own_payload, peer_payload);
    let mut payload = Vec::new();
    for taken in 0..=u64::from(ENTRIES_OF_A_LINK) {
        let available = endpoint.available();
        match endpoint.pop(&mut payload) {
            Ok(Some(_)) => assert!(available == Ok((&peer).load(HEAD, Ordering::Relaxed) - taken)),
            Ok(None) => assert_eq!(available, Ok(0)),
            Err(lie) => assert!(matches!(lie, Lie::Head | Lie::Range)),
        }
        assert!(payload.len() <= peer_payload as usize);
    }
    for pushed in 0..u64::from(ENTRIES_OF_A_LINK) {
        let result = endpoint.push(&Descriptor::default(), &[7; 45]);
        let waiting = pushed.wrapping_sub((&peer).load(TAIL, Ordering::Relaxed));
        let expected = match waiting {
            0..4 if own_payload < 45 => Err(PushError::PayloadTooLong),
            0..4 => Ok(()),
            4 => Err(PushError::Full),
            _ => Err(PushError::Lie(Lie::Tail)),
        };
        assert_eq!(result, expected);
        if result.is_err() {
            break;
        }
    }
    endpoint.prepare_sleep();
    assert!(!(endpoint.must_ring() && endpoint.must_ring()));
    endpoint.awake();
}
