//! Record data as the words of a master file.

use super::{ALGORITHMS, Field, Kind, fields, svcb, time};
use crate::name::write_text;
use crate::record::address;
use crate::types::Rtype;
use crate::wire::Reader;
use base64::Engine;
use std::fmt::Write;

/// Data as text, in the form of a master file; types without a form of their own, and what is not as its type wants it, as RFC 3597
/// section 5 says.
#[must_use]
pub fn rdata_text(rtype: Rtype, rdata: &[u8]) -> String {
    let known = fields(rtype).and_then(|fields| known_text(fields, rdata));
    known.unwrap_or_else(|| format!("\\# {} {}", rdata.len(), hex(rdata)).trim_end().to_owned())
}

fn known_text(fields: &[Field], rdata: &[u8]) -> Option<String> {
    let mut out = String::new();
    let mut reader = Reader::new(rdata, 0);
    for (_, kind) in fields {
        if !out.is_empty() && !matches!(kind, Kind::Types | Kind::ServiceParameters) {
            out.push(' ');
        }
        field(*kind, rdata, &mut reader, &mut out)?;
    }
    (reader.position() == rdata.len()).then_some(out)
}

fn field<'r>(kind: Kind, rdata: &'r [u8], reader: &mut Reader<'r>, out: &mut String) -> Option<()> {
    match kind {
        Kind::U8 => write!(out, "{}", reader.u8()?).ok()?,
        Kind::Algorithm => write!(out, "{}", reader.u8()?).ok()?,
        Kind::U16 => write!(out, "{}", reader.u16()?).ok()?,
        Kind::U32 | Kind::Seconds => write!(out, "{}", reader.u32()?).ok()?,
        Kind::Moment => out.push_str(&time::text(reader.u32()?)),
        Kind::Name => write_text(reader.plain_name()?, out).ok()?,
        Kind::Type => write!(out, "{}", Rtype(reader.u16()?)).ok()?,
        Kind::Types => types(rest(rdata, reader)?, out)?,
        Kind::Ipv4 => write!(out, "{}", address(reader.bytes(4)?)?).ok()?,
        Kind::Ipv6 => write!(out, "{}", address(reader.bytes(16)?)?).ok()?,
        Kind::String => out.push_str(&quoted(counted(reader)?)),
        Kind::Tag => {
            let tag = std::str::from_utf8(counted(reader)?).ok()?;
            let known = !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric());
            out.push_str(Some(tag).filter(|_| known)?);
        }
        Kind::Strings => {
            let mut first = true;
            while first || reader.position() < rdata.len() {
                if !std::mem::take(&mut first) {
                    out.push(' ');
                }
                out.push_str(&quoted(counted(reader)?));
            }
        }
        Kind::RestString => out.push_str(&quoted(rest(rdata, reader)?)),
        Kind::CountedHex => match counted(reader)? {
            [] => out.push('-'),
            octets => out.push_str(&hex(octets)),
        },
        Kind::CountedBase32 => out.push_str(&base32(Some(counted(reader)?).filter(|octets| !octets.is_empty())?)),
        Kind::Hex => out.push_str(&hex(Some(rest(rdata, reader)?).filter(|octets| !octets.is_empty())?)),
        Kind::Base64 => {
            let octets = Some(rest(rdata, reader)?).filter(|octets| !octets.is_empty())?;
            out.push_str(&base64::engine::general_purpose::STANDARD.encode(octets));
        }
        Kind::ServiceParameters => svcb::text(rest(rdata, reader)?, out)?,
    }
    Some(())
}

fn rest<'r>(rdata: &'r [u8], reader: &mut Reader<'r>) -> Option<&'r [u8]> {
    reader.bytes(rdata.len().checked_sub(reader.position())?)
}

fn counted<'r>(reader: &mut Reader<'r>) -> Option<&'r [u8]> {
    let length = reader.u8()?;
    reader.bytes(length.into())
}

/// The types of a bit map, each behind a blank. An empty one is that of an empty non-terminal (RFC 5155 section 7.1).
fn types(bitmap: &[u8], out: &mut String) -> Option<()> {
    let mut reader = Reader::new(bitmap, 0);
    let mut last = None;
    while reader.position() < bitmap.len() {
        let (window, length) = (reader.u8()?, reader.u8()?);
        if last.is_some_and(|last| window <= last) || !(1..=32).contains(&length) {
            return None;
        }
        last = Some(window);
        let octets = reader.bytes(length.into())?;
        // A last octet without a bit could not be written the same way again.
        octets.last().filter(|octet| **octet != 0)?;
        for (place, octet) in octets.iter().enumerate() {
            for bit in 0..8_u16 {
                if octet & (0x80 >> bit) != 0 {
                    let low = u16::try_from(place * 8).ok()? + bit;
                    write!(out, " {}", Rtype(u16::from(window) << 8 | low)).ok()?;
                }
            }
        }
    }
    Some(())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

/// RFC 4648 section 7, without padding, as RFC 5155 section 3.3 wants it.
fn base32(octets: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
    let bit = |index: usize| octets.get(index / 8).is_some_and(|octet| octet & (0x80 >> (index % 8)) != 0);
    let digit = |at: usize| (at * 5..at * 5 + 5).fold(0, |digit, index| digit << 1 | usize::from(bit(index)));
    (0..(octets.len() * 8).div_ceil(5)).filter_map(|at| DIGITS.get(digit(at)).map(|digit| char::from(*digit))).collect()
}

/// A string in quotes.
pub(super) fn quoted(string: &[u8]) -> String {
    let mut out = String::from("\"");
    for &byte in string {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\{byte:03}")),
        }
    }
    out.push('"');
    out
}

/// The mnemonic's number, or the number itself.
pub(super) fn algorithm(text: &str) -> Option<u8> {
    let known = ALGORITHMS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| *number);
    known.or_else(|| text.parse().ok())
}
