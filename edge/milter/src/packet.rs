//! Packets of the milter protocol.
//!
//! ```text
//!   +----------------+---------+----------------- - - -
//!   | length, u32 BE | command | data, length - 1 octets
//!   +----------------+---------+----------------- - - -
//! ```

use crate::problem::Problem;

/// Octets of the length.
pub const LENGTH_BYTES: usize = 4;
/// Longest packet a milter may send to us, its command included: as libmilter has it (`MILTER_MAX_DATA_SIZE`), a header field of full length.
pub const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// Octets of a body chunk (`MILTER_CHUNK_SIZE`).
pub const CHUNK_BYTES: usize = 65_535;

/// Commands, from us to the milter (SMFIC).
pub mod command {
    #![allow(missing_docs)] // the protocol's own names
    pub const ABORT: u8 = b'A';
    pub const BODY: u8 = b'B';
    pub const CONNECT: u8 = b'C';
    pub const MACRO: u8 = b'D';
    pub const BODY_END: u8 = b'E';
    pub const HELO: u8 = b'H';
    pub const QUIT_NEW_CONNECTION: u8 = b'K';
    pub const HEADER: u8 = b'L';
    pub const MAIL: u8 = b'M';
    pub const HEADER_END: u8 = b'N';
    pub const NEGOTIATE: u8 = b'O';
    pub const QUIT: u8 = b'Q';
    pub const RECIPIENT: u8 = b'R';
    pub const DATA: u8 = b'T';
}

/// A packet that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it says.
    pub command: u8,
    /// About what.
    pub data: &'a [u8],
}

/// Appends a packet whose data is the pieces one after the other; at most a body chunk of it is sent.
pub fn write(out: &mut Vec<u8>, command: u8, pieces: &[&[u8]]) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.push(command);
    for piece in pieces {
        let room = (start + LENGTH_BYTES + 1 + CHUNK_BYTES).saturating_sub(out.len());
        out.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
    }
    let length = u32::try_from(out.len() - start - LENGTH_BYTES).unwrap_or_default();
    if let Some(place) = out.get_mut(start..start + LENGTH_BYTES) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// The first packet of what has come, and the octets it takes; `None` if it is not whole yet.
///
/// # Errors
/// It is none, or longer than [`RESPONSE_BYTES_MAX`].
pub fn split(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, Problem> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length);
    let octets = usize::try_from(length).ok().filter(|octets| *octets <= RESPONSE_BYTES_MAX);
    let octets = octets.ok_or(Problem::PacketTooLong(length))?;
    if octets == 0 {
        return Err(Problem::PacketEmpty);
    }
    let Some((command, data)) = rest.get(..octets).and_then(|packet| packet.split_first()) else { return Ok(None) };
    Ok(Some((Packet { command: *command, data }, LENGTH_BYTES + octets)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_they_are_written_so_they_are_read() {
        let mut out = Vec::new();
        write(&mut out, command::HELO, &[b"mail.example", b"\0"]);
        assert_eq!(out, b"\0\0\0\x0eHmail.example\0");
        write(&mut out, command::HEADER_END, &[]);
        let (packet, taken) = split(&out).unwrap().unwrap();
        assert_eq!((packet, taken), (Packet { command: b'H', data: b"mail.example\0" }, 18));
        assert_eq!(split(&out[18..]).unwrap().unwrap(), (Packet { command: b'N', data: b"" }, 5));
        for cut in 0..18 {
            assert_eq!(split(&out[..cut]), Ok(None));
        }
    }

    #[test]
    fn lengths_have_bounds() {
        assert_eq!(split(b"\0\0\0\0"), Err(Problem::PacketEmpty));
        assert_eq!(split(b"\0\x01\0\x01c"), Err(Problem::PacketTooLong(65_537)));
        assert_eq!(split(b"\xff\xff\xff\xffc"), Err(Problem::PacketTooLong(u32::MAX)));
        assert_eq!(split(b"\0\x01\0\0c"), Ok(None));
        let mut out = Vec::new();
        write(&mut out, command::BODY, &[&[b'x'; CHUNK_BYTES], b"more"]);
        assert_eq!((out.len(), &out[..5]), (LENGTH_BYTES + 1 + CHUNK_BYTES, &b"\0\x01\0\0B"[..]));
    }
}
