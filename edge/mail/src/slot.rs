//! How a message lies in its slot of the arena.
//!
//! ```text
//!   0                          envelope end        trace start      SLOT_HEAD_BYTES          body end
//!   +--------------------------+- - - - - - - - - -+----------------+------------------------+- - -
//!   | envelope (see envelope)  | free              | trace fields   | body: header + content |
//!   +--------------------------+- - - - - - - - - -+----------------+------------------------+- - -
//!                                                   <---------- the message, one range ------>
//! ```
//!
//! The body is received at [`BODY_OFFSET`](crate::limits::SLOT_HEAD_BYTES), in wire form (CRLF line ends, dots unstuffed). The trace fields are written
//! before it, ending where it begins, so that the finished message is one contiguous range that scanner and
//! journal read where it lies. Fields added later (X-Spam-...) go before the ones already there. A message of which fields were taken out begins later.

use crate::limits::ENVELOPE_BYTES_MAX;

/// Puts header fields before the message that begins at `message_offset`; gives the new beginning.
///
/// `None`, and nothing is changed, if the fields do not fit in what is left of the room for trace fields.
pub fn prepend(slot: &mut [u8], message_offset: usize, fields: &[u8]) -> Option<usize> {
    let start = message_offset.checked_sub(fields.len())?;
    if start < ENVELOPE_BYTES_MAX {
        return None;
    }
    slot.get_mut(start..message_offset)?.copy_from_slice(fields);
    Some(start)
}
