//! A descriptor: forty bytes that name work, never the work itself.

/// Words of a descriptor in a ring.
pub(crate) const DESCRIPTOR_WORDS: usize = 5;

/// What travels through a ring. Plain numbers; every bit pattern may arrive and is checked by who uses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Slot of the producer's arena.
    pub slot: u32,
    /// The slot's generation when the work was given out: a slot used again has another.
    pub generation: u32,
    /// First byte of the message within the slot.
    pub offset: u32,
    /// Bytes of the message.
    pub length: u32,
    /// What is to be done, or what was done; the users' numbers.
    pub kind: u16,
    /// How it went; the users' numbers.
    pub status: u16,
    /// Bytes of the head at the slot's start that belong to the work.
    pub head_length: u32,
    /// The producer's, given back unchanged in completions.
    pub cookie: u64,
    /// For the users.
    pub aux: u64,
}

impl Descriptor {
    pub(crate) fn to_words(self) -> [u64; DESCRIPTOR_WORDS] {
        [
            u64::from(self.slot) | u64::from(self.generation) << 32,
            u64::from(self.offset) | u64::from(self.length) << 32,
            u64::from(self.kind) | u64::from(self.status) << 16 | u64::from(self.head_length) << 32,
            self.cookie,
            self.aux,
        ]
    }

    #[allow(clippy::cast_possible_truncation)] // takes words apart
    pub(crate) fn from_words(words: [u64; DESCRIPTOR_WORDS]) -> Self {
        let [place, range, work, cookie, aux] = words;
        Self {
            slot: place as u32,
            generation: (place >> 32) as u32,
            offset: range as u32,
            length: (range >> 32) as u32,
            kind: work as u16,
            status: (work >> 16) as u16,
            head_length: (work >> 32) as u32,
            cookie,
            aux,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_and_back(words in any::<[u64; DESCRIPTOR_WORDS]>()) {
            prop_assert_eq!(Descriptor::from_words(words).to_words(), words);
        }
    }
}
