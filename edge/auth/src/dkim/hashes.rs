//! The hashes of a body, made while it comes.

use super::body::Body;
use super::canonical::Canonicalization;
use super::signature::HASH_BYTES;
use ring::digest::{Context, SHA256};

/// The hash of a body, or of its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyHash {
    /// SHA-256; `None` if the body ended before.
    pub hash: Option<[u8; HASH_BYTES]>,
    /// All octets of the canonical form.
    pub octets: u64,
}

/// Hashes a body in the forms and up to the lengths that signatures ask for.
///
/// Cost: one pass for each of the two forms that is asked for; a length more costs a copy of the hash's state.
#[derive(Debug, Default)]
pub(crate) struct BodyHashes {
    forms: Vec<Form>,
}

/// A body in one form.
#[derive(Debug)]
struct Form {
    form: Canonicalization,
    body: Body,
    hashed: Hashed,
}

struct Hashed {
    context: Context,
    octets: u64,
    /// What is asked for; without a length: all.
    wanted: Vec<(Option<u64>, Option<[u8; HASH_BYTES]>)>,
}

impl std::fmt::Debug for Hashed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashed").field("octets", &self.octets).finish_non_exhaustive()
    }
}

impl BodyHashes {
    /// Asks for a hash, before the first octet of the body: in this form, of so many octets or of all.
    pub fn ask(&mut self, form: Canonicalization, length: Option<u64>) {
        let place = self.forms.iter().position(|known| known.form == form).unwrap_or_else(|| {
            let hashed = Hashed { context: Context::new(&SHA256), octets: 0, wanted: Vec::new() };
            self.forms.push(Form { form, body: Body::new(form), hashed });
            self.forms.len() - 1
        });
        if let Some(form) = self.forms.get_mut(place)
            && !form.hashed.wanted.iter().any(|(known, _)| *known == length)
        {
            form.hashed.wanted.push((length, None));
            form.hashed.keep();
        }
    }

    /// Takes a whole body.
    pub fn put_whole(&mut self, body: &[u8]) {
        self.put(body);
        self.finish();
    }

    /// True if no hash is asked for.
    pub const fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// Takes the next octets of the body.
    pub fn put(&mut self, chunk: &[u8]) {
        for Form { body, hashed, .. } in &mut self.forms {
            body.put(chunk, &mut |run| hashed.take(run));
        }
    }

    /// Ends the body.
    pub fn finish(&mut self) {
        for Form { form, body, hashed } in &mut self.forms {
            std::mem::replace(body, Body::new(*form)).finish(&mut |run| hashed.take(run));
            let whole = hashed.hash();
            for (_, hash) in hashed.wanted.iter_mut().filter(|(length, _)| length.is_none()) {
                *hash = whole;
            }
        }
    }

    /// What was asked for, once the body has ended.
    pub fn get(&self, form: Canonicalization, length: Option<u64>) -> Option<BodyHash> {
        let hashed = &self.forms.iter().find(|known| known.form == form)?.hashed;
        let (_, hash) = hashed.wanted.iter().find(|(known, _)| *known == length)?;
        Some(BodyHash { hash: *hash, octets: hashed.octets })
    }
}

impl Hashed {
    fn take(&mut self, run: &[u8]) {
        let mut rest = run;
        while !rest.is_empty() {
            let next = self.wanted.iter().filter_map(|(length, _)| length.filter(|length| *length > self.octets)).min();
            let left = next.map_or(usize::MAX, |length| usize::try_from(length - self.octets).unwrap_or(usize::MAX));
            let (now, behind) = rest.split_at(left.min(rest.len()));
            self.context.update(now);
            self.octets += now.len() as u64;
            self.keep();
            rest = behind;
        }
    }

    /// Keeps the hash where a length is reached.
    fn keep(&mut self) {
        if self.wanted.iter().any(|(length, _)| *length == Some(self.octets)) {
            let hash = self.hash();
            for (_, kept) in self.wanted.iter_mut().filter(|(length, _)| *length == Some(self.octets)) {
                *kept = hash;
            }
        }
    }

    /// The hash of what was taken.
    fn hash(&self) -> Option<[u8; HASH_BYTES]> {
        self.context.clone().finish().as_ref().try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ring::digest::digest;

    fn sha256(bytes: &[u8]) -> Option<[u8; HASH_BYTES]> {
        digest(&SHA256, bytes).as_ref().try_into().ok()
    }

    proptest! {
        #[test]
        fn each_length_has_its_hash(body in "([a-z ]|\r\n){0,60}", size in 1..20_usize, lengths in proptest::collection::vec(0..80_u64, 0..5)) {
            let mut hashes = BodyHashes::default();
            let forms = [Canonicalization::Simple, Canonicalization::Relaxed];
            for form in forms {
                hashes.ask(form, None);
                lengths.iter().for_each(|length| hashes.ask(form, Some(*length)));
            }
            body.as_bytes().chunks(size).for_each(|chunk| hashes.put(chunk));
            hashes.finish();
            for form in forms {
                let mut canonical = Vec::new();
                let mut whole = Body::new(form);
                whole.put(body.as_bytes(), &mut |run| canonical.extend_from_slice(run));
                whole.finish(&mut |run| canonical.extend_from_slice(run));
                let all = hashes.get(form, None).unwrap();
                prop_assert_eq!((all.hash, all.octets), (sha256(&canonical), canonical.len() as u64));
                for length in &lengths {
                    let hash = usize::try_from(*length).ok().and_then(|length| canonical.get(..length)).and_then(sha256);
                    prop_assert_eq!(hashes.get(form, Some(*length)).unwrap().hash, hash);
                }
            }
            prop_assert!(hashes.get(Canonicalization::Simple, Some(1000)).is_none());
        }
    }
}
