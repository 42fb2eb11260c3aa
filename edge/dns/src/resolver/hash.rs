//! The keyed hash of a question: what cannot be guessed from outside cannot be made to collide from outside (SipHash-1-3, as in the
//! standard library's maps; a name of 20 octets costs about 15 ns).

use crate::types::Rtype;
use siphasher::sip::SipHasher13;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The key of a hash; whoever shares a table or reads its snapshot needs the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey([u64; 2]);

impl HashKey {
    /// A key of 16 octets nobody else may know.
    #[must_use]
    pub fn new(words: [u64; 2]) -> Self {
        Self(words)
    }

    /// A key from the seed the standard library has for its maps.
    #[must_use]
    pub fn random() -> Self {
        Self([RandomState::new().hash_one(0_u8), RandomState::new().hash_one(1_u8)])
    }

    pub(super) fn words(self) -> [u64; 2] {
        self.0
    }

    /// The hash of a question; `key` is the name in lower case.
    #[must_use]
    pub fn hash(self, key: &[u8], rtype: Rtype) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0[0], self.0[1]);
        hasher.write(key);
        hasher.write_u16(rtype.0);
        hasher.finish()
    }
}
