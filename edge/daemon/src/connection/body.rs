//! The content of a message on its way into the slot: from the socket, or from what the client had sent ahead.

use super::{BODY_BYTES_MAX, Connection, FIRST_BYTES, ROOM_MIN, lookups};
use crate::content::ContentCheck;
use postring_mail::limits::SLOT_HEAD_BYTES;
use postring_smtp::{BodyProgress, Receiving, replies};
use std::io;
use std::rc::Rc;

impl Connection {
    pub(super) fn open_body(&mut self, size_declared: Option<u64>) {
        let declared = size_declared.and_then(|size| usize::try_from(size).ok()).unwrap_or(FIRST_BYTES);
        // A little more than declared: many count without the dots and line ends.
        let bytes = SLOT_HEAD_BYTES + declared.saturating_add(declared / 32 + ROOM_MIN).clamp(FIRST_BYTES, BODY_BYTES_MAX);
        let now = self.shard.now();
        // Chunks of a message that RSET has ended.
        if let Some(slot) = self.slot.take() {
            self.shard.release(slot);
        }
        self.slot = self.shard.arena().acquire(bytes);
        self.decoded = 0;
        if self.slot.is_some() {
            self.content = ContentCheck::new(&self.shard, &self.session);
            self.session.body_opened(now, &mut self.out);
        } else {
            self.session.body_refused(&replies::NO_SLOT, &mut self.out);
        }
    }

    /// Another chunk: what is there already is moved to a larger slot at most once, if this one does not hold both.
    pub(super) fn continue_body(&mut self, bytes: u64) {
        let wanted = usize::try_from(bytes).unwrap_or(BODY_BYTES_MAX).clamp(ROOM_MIN, BODY_BYTES_MAX);
        let (has_room, now) = (self.grow(wanted), self.shard.now());
        if has_room {
            self.session.body_opened(now, &mut self.out);
        } else {
            self.session.body_refused(&replies::NO_SLOT, &mut self.out);
        }
    }

    /// Sees that there is a slot with room for `wanted` bytes more, or, where no class is that large, for a good part of them. False, and
    /// there is no slot any more, if none is free.
    pub(super) fn grow(&mut self, wanted: usize) -> bool {
        let Some(mut slot) = self.slot.take() else { return false };
        let mut arena = self.shard.arena();
        let used = SLOT_HEAD_BYTES + self.decoded;
        if arena.capacity(&slot) - used < wanted {
            slot = match arena.promote(slot, used) {
                Ok(larger) => larger,
                Err(slot) if arena.capacity(&slot) - used >= ROOM_MIN => slot,
                Err(slot) => {
                    arena.release(slot);
                    return false;
                }
            };
        }
        self.slot = Some(slot);
        true
    }

    /// Gives the session what the client had sent before it could be taken.
    pub(super) fn take_ahead(&mut self) {
        let (mut ahead, at) = (std::mem::take(&mut self.ahead), std::mem::take(&mut self.ahead_at));
        let now = self.shard.now();
        let bytes = ahead.get_mut(at..).unwrap_or_default();
        let taken = match self.session.receiving() {
            Receiving::Commands => self.session.handle_bytes(bytes, now, &mut self.out),
            Receiving::Body => {
                let length = {
                    let mut arena = self.shard.arena();
                    let memory = self.slot.as_ref().map(|slot| arena.bytes_mut(slot)).unwrap_or_default();
                    let room = memory.get_mut(SLOT_HEAD_BYTES + self.decoded..).unwrap_or_default();
                    let length = room.len().min(bytes.len()).min(self.session.content_left());
                    if let (Some(room), Some(bytes)) = (room.get_mut(..length), bytes.get(..length)) {
                        room.copy_from_slice(bytes);
                    }
                    length
                };
                length - self.take_body(length)
            }
            Receiving::Discard => {
                let length = bytes.len();
                match self.session.handle_body(bytes, 0, length, now, &mut self.out) {
                    BodyProgress::More { .. } => length,
                    BodyProgress::End { rest, .. } => rest,
                }
            }
            Receiving::Nothing => 0,
        };
        if at + taken < ahead.len() {
            (self.ahead, self.ahead_at) = (ahead, at + taken);
        }
    }

    /// Receives commands, or content nobody wants, into the shard's scratch. False: the client has closed.
    pub(super) async fn receive_scratch(&mut self) -> io::Result<bool> {
        let shard = Rc::clone(&self.shard);
        let received = self.stream.receive(|read| read(&mut shard.scratch())).await?;
        // No other task has run since the bytes came: the scratch still holds them.
        let mut scratch = shard.scratch();
        let Some(bytes) = scratch.get_mut(..received).filter(|bytes| !bytes.is_empty()) else { return Ok(false) };
        if self.session.receiving() == Receiving::Discard {
            let progress = self.session.handle_body(bytes, 0, received, shard.now(), &mut self.out);
            if let BodyProgress::End { rest, .. } = progress {
                self.ahead.extend_from_slice(bytes.get(rest..).unwrap_or_default());
            }
        } else {
            let taken = self.session.handle_bytes(bytes, shard.now(), &mut self.out);
            self.ahead.extend_from_slice(bytes.get(taken..).unwrap_or_default());
        }
        Ok(true)
    }

    /// Receives content straight into the slot. False: the client has closed.
    pub(super) async fn receive_body(&mut self) -> io::Result<bool> {
        let shard = Rc::clone(&self.shard);
        let (slot, decoded, left) = (&self.slot, self.decoded, self.session.content_left());
        let received = self
            .stream
            .receive(|read| {
                let mut arena = shard.arena();
                let memory = slot.as_ref().map(|slot| arena.bytes_mut(slot)).unwrap_or_default();
                let room = memory.get_mut(SLOT_HEAD_BYTES + decoded..).unwrap_or_default();
                // Behind a chunk are commands: they are not the slot's.
                let length = room.len().min(left);
                read(room.get_mut(..length).unwrap_or_default())
            })
            .await?;
        if received == 0 {
            return Ok(false);
        }
        let behind = self.take_body(received);
        if behind > 0 {
            let arena = shard.arena();
            let slot = self.slot.as_ref().map(|slot| arena.bytes(slot)).unwrap_or_default();
            let end = SLOT_HEAD_BYTES + decoded + received;
            self.ahead.extend_from_slice(slot.get(end - behind..end).unwrap_or_default());
        }
        Ok(true)
    }

    /// Decodes bytes that lie in the slot behind what is decoded; how many of them, at the end, are no content.
    pub(super) fn take_body(&mut self, fresh: usize) -> usize {
        let now = self.shard.now();
        let shard = Rc::clone(&self.shard);
        let mut arena = shard.arena();
        let Some(slot) = self.slot.as_ref() else { return 0 };
        let content = arena.bytes_mut(slot).get_mut(SLOT_HEAD_BYTES..).unwrap_or_default();
        let end = self.decoded + fresh;
        let behind = match self.session.handle_body(content, self.decoded, fresh, now, &mut self.out) {
            BodyProgress::More { decoded } => {
                self.decoded = decoded;
                0
            }
            BodyProgress::End { decoded, rest } => {
                self.decoded = decoded;
                end.saturating_sub(rest)
            }
        };
        if self.content.is_on() {
            let lookups = lookups(&mut self.lookups, &shard);
            self.content.take(&shard, &lookups, content.get(..self.decoded).unwrap_or_default());
        }
        behind
    }

    /// A message that outgrows its slot gets a larger one; one that was refused, or ended by RSET, gives its slot back.
    pub(super) fn make_room(&mut self) {
        match self.session.receiving() {
            Receiving::Body => {
                if !self.grow(ROOM_MIN) {
                    self.session.body_overflowed(replies::NO_SLOT.clone());
                }
            }
            Receiving::Discard | Receiving::Commands if !self.session.holds_content() => {
                if let Some(slot) = self.slot.take() {
                    self.shard.release(slot);
                }
            }
            // Between chunks, or complete: it waits for more, or to be submitted.
            Receiving::Discard | Receiving::Commands | Receiving::Nothing => {}
        }
    }
}
