//! Hashes of names that grow from the root: one pass gives the hash of the name and of each of its parents.

use crate::name::labels;
use smallvec::SmallVec;
use std::hash::{BuildHasher, RandomState};

/// Labels of the longest name: one octet each, with its length.
pub(super) const LABELS_MAX: usize = 128;

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// A seed whoever writes names cannot know: names that fall together on purpose would make look-ups long.
pub(super) fn seed() -> u64 {
    RandomState::new().hash_one(0_u8)
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let bytes = product.to_le_bytes();
    let half = |from: usize| bytes.get(from..).and_then(|half| half.first_chunk()).map_or(0, |half| u64::from_le_bytes(*half));
    half(0) ^ half(8)
}

/// The hash of the name that is `label` below the name with the hash `parent`.
pub(super) fn child(parent: u64, label: &[u8]) -> u64 {
    let mut hash = parent ^ label.len() as u64;
    let (chunks, rest) = label.as_chunks::<8>();
    for chunk in chunks {
        hash = fold(hash ^ u64::from_le_bytes(*chunk), MULTIPLIER);
    }
    let mut last = [0; 8];
    if let Some(place) = last.get_mut(..rest.len()) {
        place.copy_from_slice(rest);
    }
    fold(hash ^ u64::from_le_bytes(last), MULTIPLIER)
}

/// Where each label of a name begins.
pub(super) fn label_places(wire: &[u8]) -> SmallVec<[u8; LABELS_MAX]> {
    let mut at = 0;
    let mut places = SmallVec::new();
    for label in labels(wire).take(LABELS_MAX) {
        places.push(u8::try_from(at).unwrap_or(u8::MAX));
        at += label.len() + 1;
    }
    places
}

/// The label that begins at a place of a name.
pub(super) fn label_at(wire: &[u8], place: usize) -> &[u8] {
    let length = wire.get(place).copied().unwrap_or(0);
    wire.get(place + 1..place + 1 + usize::from(length)).unwrap_or_default()
}
