//! Reads the parts of a message, every bound checked (RFC 1035 section 4.1).

use crate::name::{LABEL_BYTES_MAX, NAME_BYTES_MAX, Name};
use smallvec::SmallVec;

/// Pointers followed in one name; each must point backwards, so that no loop is possible, and honest senders need very few.
const POINTERS_MAX: usize = 32;

/// A place in a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a [u8], at: usize) -> Self {
        Self { message, at }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.message.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.bytes(2)?.first_chunk().map(|word| u16::from_be_bytes(*word))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.bytes(4)?.first_chunk().map(|word| u32::from_be_bytes(*word))
    }

    /// A name without pointers, borrowed.
    pub(crate) fn plain_name(&mut self) -> Option<&'a [u8]> {
        let mut at = self.at;
        loop {
            let length = usize::from(*self.message.get(at)?);
            at += 1;
            if length > LABEL_BYTES_MAX || at - self.at > NAME_BYTES_MAX {
                return None;
            }
            if length == 0 {
                let name = self.message.get(self.at..at);
                self.at = at;
                return name;
            }
            at += length;
        }
    }

    /// The octet that comes next.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.message.get(self.at).copied()
    }

    /// Passes a name by, pointers not followed.
    pub(crate) fn skip_name(&mut self) -> Option<()> {
        for _ in 0..NAME_BYTES_MAX {
            match *self.bytes(1)?.first()? {
                0 => return Some(()),
                length @ 1..=63 => self.bytes(length.into())?,
                64..=191 => return None,
                192..=255 => return self.bytes(1).map(|_| ()),
            };
        }
        None
    }

    /// A name, its pointers followed (RFC 1035 section 4.1.4).
    pub(crate) fn name(&mut self) -> Option<Name> {
        let mut wire: SmallVec<[u8; 256]> = SmallVec::new();
        let mut reader = *self;
        let mut behind = None;
        let mut pointers = 0;
        loop {
            let here = reader.at;
            let length = *reader.bytes(1)?.first()?;
            match length {
                0 => {
                    wire.push(0);
                    self.at = behind.unwrap_or(reader.at);
                    return Name::from_wire(&wire).ok();
                }
                1..=63 => {
                    let label = reader.bytes(length.into())?;
                    if wire.len() + label.len() + 2 > NAME_BYTES_MAX {
                        return None;
                    }
                    wire.push(length);
                    wire.extend_from_slice(label);
                }
                64..=191 => return None,
                192..=255 => {
                    let low = *reader.bytes(1)?.first()?;
                    let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    pointers += 1;
                    if target >= here || pointers > POINTERS_MAX {
                        return None;
                    }
                    behind.get_or_insert(reader.at);
                    reader.at = target;
                }
            }
        }
    }
}
