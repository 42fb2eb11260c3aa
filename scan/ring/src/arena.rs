//! The arena: a producer's memory for the messages it has under way, in slots of a few sizes.
//!
//! One memfd, written by its owner alone (sealed F_SEAL_FUTURE_WRITE after the owner has mapped it), mapped read-only by who
//! works on the messages. The file is sparse: a slot's pages exist once they have been touched. The seal also forbids punching
//! holes, so touched pages stay; the free lists are stacks, so that they are as few as messages were under way at once.

use crate::descriptor::Descriptor;
use crate::map::Mapping;
use crate::protocol::{Lie, Words};
use rustix::fs::{MemfdFlags, Mode, SealFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

const MAGIC: u64 = u64::from_le_bytes(*b"PARENA\0\x01");
/// Word index of the number of classes; three words for each class follow: slot bytes, slots, offset of the first.
const CLASSES: usize = 1;
const CLASSES_MAX: usize = 8;
/// Word index of the first slot's generation.
const GENERATIONS: usize = 64;
/// Slots of all classes together.
const SLOTS_MAX: u64 = 1 << 20;
const PAGE: u64 = 4096;

/// Slots of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotClass {
    /// Bytes of a slot; rounded up to whole pages.
    pub slot_bytes: u32,
    /// How many.
    pub count: u32,
}

/// The classes of an arena, from small to large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaGeometry {
    /// At most eight.
    pub classes: Vec<SlotClass>,
}

/// A class with its place in the file.
#[derive(Clone, Copy, Debug)]
struct Placed {
    slot_bytes: u64,
    count: u64,
    first_slot: u64,
    offset: u64,
}

/// Places the classes one after the other; the bytes of the whole file.
fn place(classes: &[SlotClass]) -> Option<(Vec<Placed>, u64)> {
    let slots: u64 = classes.iter().map(|class| u64::from(class.count)).sum();
    let fits = !classes.is_empty()
        && classes.len() <= CLASSES_MAX
        && slots <= SLOTS_MAX
        && classes.iter().all(|class| class.count > 0 && class.slot_bytes > 0)
        && classes.is_sorted_by_key(|class| class.slot_bytes);
    if !fits {
        return None;
    }
    let mut offset = ((GENERATIONS as u64 + slots) * 8).next_multiple_of(PAGE);
    let mut first_slot = 0;
    let mut placed = Vec::with_capacity(classes.len());
    for class in classes {
        let slot_bytes = u64::from(class.slot_bytes).next_multiple_of(PAGE);
        placed.push(Placed { slot_bytes, count: class.count.into(), first_slot, offset });
        first_slot += u64::from(class.count);
        offset += slot_bytes * u64::from(class.count);
    }
    Some((placed, offset))
}

/// The classes an arena's header names, and the bytes its file must have; the text of what is wrong.
fn read_geometry(words: &impl Words) -> Result<(Vec<Placed>, u64), &'static str> {
    if words.load(0, Ordering::Acquire) != MAGIC {
        return Err("no arena, or one of another version");
    }
    let count = usize::try_from(words.load(CLASSES, Ordering::Relaxed)).unwrap_or(usize::MAX);
    if count > CLASSES_MAX {
        return Err("an arena with too many classes");
    }
    let mut classes = Vec::with_capacity(count);
    for word in (CLASSES + 1..).step_by(3).take(count) {
        let class = (u32::try_from(words.load(word, Ordering::Relaxed)), u32::try_from(words.load(word + 1, Ordering::Relaxed)));
        let (Ok(slot_bytes), Ok(count)) = class else { return Err("an arena with a class out of bounds") };
        classes.push(SlotClass { slot_bytes, count });
    }
    place(&classes).ok_or("an arena with classes out of bounds")
}

/// Offset and bytes of a slot.
fn find(placed: &[Placed], slot: u32) -> Option<(usize, usize)> {
    let slot = u64::from(slot);
    let class = placed.iter().rfind(|class| class.first_slot <= slot)?;
    let within = slot - class.first_slot;
    if within >= class.count {
        return None;
    }
    Some((usize::try_from(class.offset + within * class.slot_bytes).ok()?, usize::try_from(class.slot_bytes).ok()?))
}

/// A slot taken from the arena. Not copyable: who has it may write it, and must give it back.
#[derive(Debug, PartialEq, Eq)]
pub struct Slot {
    index: u32,
    generation: u32,
    class: u32,
}

impl Slot {
    /// Its number, for descriptors.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its generation, for descriptors.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }
}

/// The owner's side.
pub struct Arena {
    mapping: Mapping,
    fd: OwnedFd,
    placed: Vec<Placed>,
    free: Vec<Vec<u32>>,
    in_use: usize,
}

impl Arena {
    /// Makes the memory, maps it, and seals it: from now on nobody else can map it for writing.
    ///
    /// # Errors
    /// A geometry out of bounds, or the operating system's error.
    pub fn create(geometry: &ArenaGeometry) -> io::Result<Self> {
        let (placed, length) = place(&geometry.classes).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "an arena has one to eight classes of slots, from small to large, 2^20 slots at most",
            )
        })?;
        let fd = rustix::fs::memfd_create("postring-arena", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::ftruncate(&fd, length)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)?;
        let bytes = usize::try_from(length).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "arena too large"))?;
        let mapping = Mapping::new(&fd, bytes, true)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::FUTURE_WRITE | SealFlags::SEAL)?;
        for (word, class) in (CLASSES + 1..).step_by(3).zip(&placed) {
            mapping.store(word, class.slot_bytes, Ordering::Relaxed);
            mapping.store(word + 1, class.count, Ordering::Relaxed);
            mapping.store(word + 2, class.offset, Ordering::Relaxed);
        }
        mapping.store(CLASSES, placed.len() as u64, Ordering::Relaxed);
        mapping.store(0, MAGIC, Ordering::Release);
        // Stacks with the lowest slot on top, so that the same warm pages are used again and again.
        let mut next = 0;
        let mut free = Vec::with_capacity(geometry.classes.len());
        for class in &geometry.classes {
            free.push((next..next + class.count).rev().collect());
            next += class.count;
        }
        Ok(Self { mapping, fd, placed, free, in_use: 0 })
    }

    /// A slot of at least `bytes`, of the smallest class that has one free; `None`: back-pressure.
    pub fn acquire(&mut self, bytes: usize) -> Option<Slot> {
        for (class, placed) in (0..).zip(&self.placed) {
            if placed.slot_bytes < bytes as u64 {
                continue;
            }
            if let Some(index) = self.free.get_mut(class as usize).and_then(Vec::pop) {
                self.in_use += 1;
                return Some(Slot { index, generation: self.generation(index), class });
            }
        }
        None
    }

    /// Gives a slot back. Descriptors that still name it are stale from now on.
    pub fn release(&mut self, slot: Slot) {
        debug_assert_eq!(self.generation(slot.index), slot.generation);
        self.mapping.store(GENERATIONS + slot.index as usize, slot.generation.wrapping_add(1).into(), Ordering::Release);
        if let Some(free) = self.free.get_mut(slot.class as usize) {
            free.push(slot.index);
            self.in_use -= 1;
        }
    }

    /// A larger slot with the first `used` bytes of `slot`, which is released. `Err` gives the slot back if no larger one is free.
    /// The one copy a message may need whose size was not announced: at most twice its bytes in all, by the classes' growth.
    ///
    /// # Errors
    /// No larger slot is free now.
    pub fn promote(&mut self, slot: Slot, used: usize) -> Result<Slot, Slot> {
        let Some(larger) = self.capacity(&slot).checked_add(1).and_then(|bytes| self.acquire(bytes)) else { return Err(slot) };
        let (from, to) = (find(&self.placed, slot.index), find(&self.placed, larger.index));
        if let (Some((from, _)), Some((to, _))) = (from, to) {
            // Copied in blocks through the stack: both ranges lie in one mapping, whose borrow is exclusive.
            let mut block = [0; 4096];
            let mut done = 0;
            while done < used {
                let part = block.len().min(used - done);
                if let (Some(block), Some(source)) = (block.get_mut(..part), self.mapping.bytes(from + done, part)) {
                    block.copy_from_slice(source);
                }
                if let (Some(block), Some(target)) = (block.get(..part), self.mapping.bytes_mut(to + done, part)) {
                    target.copy_from_slice(block);
                }
                done += part;
            }
        }
        self.release(slot);
        Ok(larger)
    }

    /// Bytes of a slot.
    #[must_use]
    pub fn capacity(&self, slot: &Slot) -> usize {
        find(&self.placed, slot.index).map_or(0, |(_, bytes)| bytes)
    }

    /// The slot's memory.
    pub fn bytes_mut(&mut self, slot: &Slot) -> &mut [u8] {
        find(&self.placed, slot.index).and_then(|(offset, bytes)| self.mapping.bytes_mut(offset, bytes)).unwrap_or_default()
    }

    /// The slot's memory, to read.
    #[must_use]
    pub fn bytes(&self, slot: &Slot) -> &[u8] {
        find(&self.placed, slot.index).and_then(|(offset, bytes)| self.mapping.bytes(offset, bytes)).unwrap_or_default()
    }

    /// Slots taken and not given back.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    fn generation(&self, index: u32) -> u32 {
        #[allow(clippy::cast_possible_truncation)] // only u32 are stored
        let generation = self.mapping.load(GENERATIONS + index as usize, Ordering::Relaxed) as u32;
        generation
    }
}

impl AsFd for Arena {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The side of those who work on the messages.
pub struct ArenaReader {
    mapping: Mapping,
    placed: Vec<Placed>,
}

impl ArenaReader {
    /// Maps an arena read-only and checks its header.
    ///
    /// # Errors
    /// No arena, one that is not sealed, or the operating system's error.
    pub fn map(fd: impl AsFd) -> io::Result<Self> {
        let broken = |text| io::Error::new(io::ErrorKind::InvalidData, text);
        let seals = rustix::fs::fcntl_get_seals(&fd)?;
        if !seals.contains(SealFlags::SHRINK | SealFlags::FUTURE_WRITE) {
            return Err(broken("the arena is not sealed by its owner"));
        }
        let size = rustix::fs::fstat(&fd)?.st_size;
        let length = usize::try_from(size).map_err(|_| broken("the arena has no size"))?;
        let mapping = Mapping::new(fd, length, false)?;
        let (placed, bytes) = read_geometry(&mapping).map_err(broken)?;
        if usize::try_from(bytes) != Ok(length) {
            return Err(broken("an arena whose header does not fit its size"));
        }
        Ok(Self { mapping, placed })
    }

    /// The work a descriptor names: the head of its slot, and the message.
    ///
    /// # Errors
    /// The descriptor names what cannot be: its sender lies.
    pub fn view(&self, descriptor: &Descriptor) -> Result<(&[u8], &[u8]), Lie> {
        let (offset, bytes) = find(&self.placed, descriptor.slot).ok_or(Lie::Range)?;
        let (start, length, head) = (descriptor.offset as usize, descriptor.length as usize, descriptor.head_length as usize);
        let fits = start.checked_add(length).is_some_and(|end| end <= bytes) && head <= start;
        if !fits {
            return Err(Lie::Range);
        }
        if !self.is_current(descriptor) {
            return Err(Lie::Generation);
        }
        let head = self.mapping.bytes(offset, head).ok_or(Lie::Range)?;
        let message = self.mapping.bytes(offset + start, length).ok_or(Lie::Range)?;
        Ok((head, message))
    }

    /// True while the slot has not been used again; to be asked once more after the work, before its result counts.
    #[must_use]
    pub fn is_current(&self, descriptor: &Descriptor) -> bool {
        self.mapping.load(GENERATIONS + descriptor.slot as usize, Ordering::Acquire) == u64::from(descriptor.generation)
    }
}

/// For the fuzzer and the replay of its inputs: reads anything as an arena's header, must not panic; slots lie within the file, apart.
#[doc(hidden)]
pub fn fuzz_arena(data: &[u8]) {
    let page = crate::protocol::Page::new(data);
    let Ok((placed, bytes)) = read_geometry(&&page) else { return };
    let mut end = (GENERATIONS as u64 + placed.iter().map(|class| class.count).sum::<u64>()) * 8;
    let slots = placed.iter().flat_map(|class| [class.first_slot, class.first_slot + class.count - 1]);
    let mut last = None;
    for slot in slots.filter_map(|slot| u32::try_from(slot).ok()).filter(|slot| last.replace(*slot) != Some(*slot)) {
        let found = find(&placed, slot).map(|(offset, length)| (offset as u64, length as u64));
        assert!(found.is_some_and(|(offset, length)| offset >= end && length > 0 && offset + length <= bytes));
        end = found.map_or(end, |(offset, length)| offset + length);
    }
    assert!(last.is_some_and(|last| find(&placed, last + 1).is_none()) && find(&placed, u32::MAX).is_none());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry() -> ArenaGeometry {
        ArenaGeometry { classes: vec![SlotClass { slot_bytes: 4096, count: 2 }, SlotClass { slot_bytes: 16_384, count: 1 }] }
    }

    fn descriptor(slot: &Slot, offset: u32, length: u32) -> Descriptor {
        Descriptor { slot: slot.index(), generation: slot.generation(), offset, length, head_length: 4, ..Descriptor::default() }
    }

    #[test]
    fn the_reader_sees_what_the_owner_wrote() {
        let mut arena = Arena::create(&geometry()).unwrap();
        let reader = ArenaReader::map(&arena).unwrap();
        let slot = arena.acquire(100).unwrap();
        arena.bytes_mut(&slot)[..9].copy_from_slice(b"headworld");
        let work = descriptor(&slot, 4, 5);
        assert_eq!(reader.view(&work).unwrap(), (&b"head"[..], &b"world"[..]));
        assert_eq!(reader.view(&Descriptor { length: 4093, ..work }), Err(Lie::Range));
        assert_eq!(reader.view(&Descriptor { length: u32::MAX, offset: u32::MAX, ..work }), Err(Lie::Range));
        assert_eq!(reader.view(&Descriptor { head_length: 5, ..work }), Err(Lie::Range));
        assert_eq!(reader.view(&Descriptor { slot: 3, ..work }), Err(Lie::Range));
        arena.release(slot);
        assert_eq!(reader.view(&work), Err(Lie::Generation));
    }

    #[test]
    fn slots_run_out_and_come_back() {
        let mut arena = Arena::create(&geometry()).unwrap();
        let (a, b, c) = (arena.acquire(1).unwrap(), arena.acquire(1).unwrap(), arena.acquire(1).unwrap());
        assert_eq!(arena.capacity(&c), 16_384);
        assert!(arena.acquire(1).is_none());
        arena.release(b);
        assert!(arena.acquire(5000).is_none());
        arena.release(c);
        arena.bytes_mut(&a)[..5].copy_from_slice(b"hello");
        let larger = arena.promote(a, 5).unwrap();
        assert_eq!(&arena.bytes(&larger)[..5], b"hello");
        assert_eq!(arena.in_use(), 1);
        let larger = arena.promote(larger, 5).unwrap_err();
        assert_eq!(arena.capacity(&larger), 16_384);
    }

    #[test]
    fn nobody_else_can_map_it_for_writing() {
        let arena = Arena::create(&geometry()).unwrap();
        let bytes = usize::try_from(rustix::fs::fstat(&arena).unwrap().st_size).unwrap();
        assert!(Mapping::new(&arena, bytes, true).is_err());
        assert!(Mapping::new(&arena, bytes, false).is_ok());
    }
}
