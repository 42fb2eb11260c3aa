//! What signatures of a message are made of: canonical fields, and hashes of the body, which are made once for all of them.

use super::canonical::{Canonicalization, write_field};
use super::fields::{Field, Index, Message};
use super::hashes::{BodyHash, BodyHashes};
use super::signature::Signature;
use super::tags::trim;
use super::{Key, Problem};
use std::cell::Cell;

/// The message, and the hashes of its body.
pub(crate) struct Signed<'a> {
    message: &'a Message<'a>,
    index: Index,
    hashes: &'a BodyHashes,
    /// Octets of the header that may be hashed yet.
    left: Cell<usize>,
}

/// Octets of the header that are hashed for all signatures and keys of a message together: some milliseconds on the thread that serves others.
const SIGNED_BYTES_MAX: usize = 8 * 1024 * 1024;

impl<'a> Signed<'a> {
    /// Looks at each field once. The hashes are those of the message's body, which has ended.
    pub fn new(message: &'a Message<'a>, hashes: &'a BodyHashes) -> Self {
        Self { message, index: Index::new(&message.fields), hashes, left: Cell::new(SIGNED_BYTES_MAX) }
    }

    /// True if a key verifies the signed octets.
    ///
    /// # Errors
    /// [`Problem::TooMuch`]: the message has had its share.
    pub fn is_verified_by(&self, key: &Key, octets: &[u8], signature: &[u8]) -> Result<bool, Problem> {
        let left = self.left.get().checked_sub(octets.len()).ok_or(Problem::TooMuch)?;
        self.left.set(left);
        Ok(key.verifies(octets, signature))
    }

    /// Compares the body's hash; the octets of the body that are not signed.
    pub fn check_body(&self, signature: &Signature<'_>) -> Result<u64, Problem> {
        let body = self.hashed(signature.body, signature.length)?;
        let length = signature.length.unwrap_or(body.octets);
        //= RFC 6376 section 3.5, l=
        //# This value MUST NOT be larger than the actual number of octets in the canonicalized message body.
        let unsigned = body.octets.checked_sub(length).ok_or(Problem::BodyShorter)?;
        if body.hash == Some(signature.body_hash) { Ok(unsigned) } else { Err(Problem::Body) }
    }

    /// The hash of the body in a form, of so many octets or of all, if it was asked for.
    pub fn hashed(&self, form: Canonicalization, length: Option<u64>) -> Result<BodyHash, Problem> {
        self.hashes.get(form, length).ok_or(Problem::Body)
    }

    /// The canonical fields that are signed, and the signature, the field at `place`, without its `b=` behind them (RFC 6376 section 3.7).
    pub fn fields(&self, signature: &Signature<'_>, place: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        for place in self.index.select(&signature.fields, place) {
            self.write_field(signature.header, place, &mut out);
        }
        self.write_unsigned(signature.header, place, &mut out);
        out
    }

    /// Appends a field in its canonical form with its line end.
    pub fn write_field(&self, form: Canonicalization, place: usize, out: &mut Vec<u8>) {
        if let Some(Field { name, value }) = self.message.fields.get(place) {
            write_field(form, name, value, out);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Appends a signature as it stands at the end of what it signs.
    pub fn write_unsigned(&self, form: Canonicalization, place: usize, out: &mut Vec<u8>) {
        //= RFC 6376 section 3.7
        //# The DKIM-Signature header field [...] with the value of the "b=" tag (including all surrounding whitespace) deleted
        if let Some(Field { name, value }) = self.message.fields.get(place) {
            write_field(form, name, &without_signature(value), out);
        }
    }
}

/// The field's value with nothing between the `=` of its `b` and the semicolon behind.
fn without_signature(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for (place, spec) in value.split(|byte| *byte == b';').enumerate() {
        if place > 0 {
            out.push(b';');
        }
        let name = memchr::memchr(b'=', spec).and_then(|equals| spec.split_at_checked(equals + 1));
        match name {
            Some((name, _)) if name.split_last().is_some_and(|(_, name)| trim(name) == b"b") => out.extend_from_slice(name),
            _ => out.extend_from_slice(spec),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_share_of_hashing() {
        let message = Message::parse(b"A: b\r\n\r\n").unwrap();
        let hashes = BodyHashes::default();
        let signed = Signed::new(&message, &hashes);
        let key = Key::parse(b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=").unwrap();
        let quarter = vec![b'x'; SIGNED_BYTES_MAX / 4];
        assert!((0..4).all(|_| signed.is_verified_by(&key, &quarter, b"none") == Ok(false)));
        assert_eq!(signed.is_verified_by(&key, b"x", b"none"), Err(Problem::TooMuch));
    }
}
