//! What the store keeps in its journal for a message: where it goes under which name, then the message itself.
//!
//! ```text
//!   u64 message id   u16+bytes file name   u16 places   places times: u8 folder (0 inbox, 1 Junk)   u16+bytes mailbox folder
//!   then to the record's end: the message in wire form
//! ```
//! The names are final: a replay makes the same files, however often it runs, and needs no directory for it.

use postring_maildir::{Folder, Place};

/// The record's kind in the journal.
pub(crate) const DELIVERY: u16 = 1;

/// Writes the head; false if it does not fit the format (nothing usable is left in `out`).
pub(crate) fn write_head(message_id: u64, name: &str, places: &[Place<'_>], out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(&message_id.to_le_bytes());
    let mut whole = text(name, out);
    whole &= u16::try_from(places.len()).map(|count| out.extend_from_slice(&count.to_le_bytes())).is_ok();
    for place in places {
        out.push(u8::from(place.folder == Folder::Junk));
        whole &= text(place.mailbox, out);
    }
    whole
}

fn text(text: &str, out: &mut Vec<u8>) -> bool {
    let Ok(length) = u16::try_from(text.len()) else { return false };
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    true
}

/// A record, read back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Delivery<'a> {
    pub message_id: u64,
    pub name: &'a str,
    pub places: Vec<Place<'a>>,
    pub message: &'a [u8],
}

/// Reads a record; `None` if it is of another version or broken beyond its checksum.
pub(crate) fn read(body: &[u8]) -> Option<Delivery<'_>> {
    let (id, mut rest) = body.split_first_chunk::<8>()?;
    let name = take_text(&mut rest)?;
    let count = u16::from_le_bytes(take(&mut rest)?);
    let mut places = Vec::with_capacity(usize::from(count).min(1024));
    for _ in 0..count {
        let folder = match take::<1>(&mut rest)? {
            [0] => Folder::Inbox,
            [1] => Folder::Junk,
            _ => return None,
        };
        places.push(Place { mailbox: take_text(&mut rest)?, folder });
    }
    Some(Delivery { message_id: u64::from_le_bytes(*id), name, places, message: rest })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*bytes)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = u16::from_le_bytes(take(rest)?);
    let (text, behind) = rest.split_at_checked(length.into())?;
    *rest = behind;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let places = [Place { mailbox: "d/a", folder: Folder::Inbox }, Place { mailbox: "d/b", folder: Folder::Junk }];
        let mut body = Vec::new();
        assert!(write_head(7, "name", &places, &mut body));
        body.extend_from_slice(b"message");
        let delivery = read(&body).unwrap();
        assert_eq!(delivery, Delivery { message_id: 7, name: "name", places: places.to_vec(), message: b"message" });
        for cut in 0..body.len() - b"message".len() {
            assert_eq!(read(&body[..cut]), None);
        }
    }
}
