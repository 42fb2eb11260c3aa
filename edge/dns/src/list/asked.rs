//! What was asked for, and the text about it: both without an allocation.

use crate::name::write_text;
use std::fmt::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What `$` stands for in a text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked<'a> {
    Ip4(Ipv4Addr),
    Ip6(Ipv6Addr),
    /// A name in wire form: the entry's.
    Name(&'a [u8]),
    Text(&'a [u8]),
}

impl Asked<'_> {
    pub(super) fn write(&self, out: &mut TextBuffer) {
        let start = out.length;
        let _ = match self {
            Self::Ip4(address) => write!(out, "{address}"),
            Self::Ip6(address) => write!(out, "{address}"),
            Self::Name(name) => write_text(name, out),
            Self::Text(text) => {
                out.push(text);
                return;
            }
        };
        // Names are said without the dot at their end; one that was cut has none.
        if matches!(self, Self::Name(_)) && out.length > start + 1 && out.octets.get(out.length) == Some(&b'.') && !out.full {
            out.length -= 1;
        }
    }
}

/// One character-string of a TXT record: its length, then at most 255 octets; more are cut, as rbldnsd does.
#[derive(Debug)]
pub(super) struct TextBuffer {
    octets: [u8; 256],
    length: usize,
    full: bool,
}

impl TextBuffer {
    pub(super) fn new() -> Self {
        Self { octets: [0; 256], length: 0, full: false }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(255 - self.length);
        self.full |= taken < bytes.len();
        if let (Some(place), Some(bytes)) = (self.octets.get_mut(1 + self.length..1 + self.length + taken), bytes.get(..taken)) {
            place.copy_from_slice(bytes);
            self.length += taken;
        }
    }

    /// As record data.
    pub(super) fn rdata(&mut self) -> &[u8] {
        if let (Some(place), Ok(length)) = (self.octets.first_mut(), u8::try_from(self.length)) {
            *place = length;
        }
        self.octets.get(..=self.length).unwrap_or_default()
    }

    /// The octets.
    pub(super) fn text(&self) -> &[u8] {
        self.octets.get(1..=self.length).unwrap_or_default()
    }
}

impl Write for TextBuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}
