//! A message's name: unique for ever, with its sizes, so that a reader need not open it.
//!
//! ```text
//!   1795467845.M123456P0001ABCDQ7.mx.example,S=9814,W=10012
//!   seconds    microseconds, message id, host   S: bytes on disk   W: bytes with CRLF (Maildir++, Dovecot)
//! ```

use memchr::memchr_iter;

/// Line ends of a message in wire form.
#[must_use]
pub fn line_end_count(message: &[u8]) -> usize {
    memchr_iter(b'\n', message).count()
}

/// What a name is made of.
#[derive(Clone, Copy, Debug)]
pub struct BaseName<'a> {
    /// When it was received, microseconds since 1970.
    pub received_us: u64,
    /// Unique on this host.
    pub message_id: u64,
    /// The host.
    pub host: &'a str,
    /// Bytes on disk.
    pub size: usize,
    /// Bytes with CRLF line ends.
    pub virtual_size: usize,
}

impl std::fmt::Display for BaseName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.M{}P{:016X}.", self.received_us / 1_000_000, self.received_us % 1_000_000, self.message_id)?;
        // As the maildir specification asks: \057 and \072 for what has a meaning in file names; a comma would begin a size.
        for character in self.host.chars() {
            match character {
                '/' => f.write_str("\\057")?,
                ':' => f.write_str("\\072")?,
                ',' => f.write_str("\\054")?,
                other => std::fmt::Write::write_char(f, other)?,
            }
        }
        write!(f, ",S={},W={}", self.size, self.virtual_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let name =
            BaseName { received_us: 1_795_467_845_000_042, message_id: 0x1AB, host: "mx.ex/a:m", size: 10, virtual_size: 12 };
        assert_eq!(name.to_string(), "1795467845.M42P00000000000001AB.mx.ex\\057a\\072m,S=10,W=12");
    }
}
