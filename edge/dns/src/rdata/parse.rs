//! Record data from the words of a master file.

use super::{Field, Kind, fields, svcb, text, time};
use crate::name::Name;
use crate::record::{Rdata, read_rdata};
use crate::types::Rtype;
use crate::wire::Reader;
use crate::zone::{Word, seconds, unescape};
use base64::Engine;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The words behind a record's type.
struct Words<'w, 't> {
    rest: &'w [Word<'t>],
    origin: &'w Name,
    rtype: Rtype,
}

/// Makes the data of one record.
///
/// # Errors
/// One text that says what is wrong.
pub(crate) fn parse(rtype: Rtype, words: &[Word<'_>], origin: &Name) -> Result<Rdata, String> {
    let mut words = Words { rest: words, origin, rtype };
    if words.rest.first().is_some_and(|word| word.text == "\\#" && !word.quoted) {
        return words.raw();
    }
    let fields = fields(rtype)
        .ok_or_else(|| format!("the data of type {rtype} has no text form here; write it as \\# LENGTH HEX (RFC 3597)"))?;
    let mut out = Vec::new();
    for field in fields {
        words.field(*field, &mut out)?;
    }
    match words.rest {
        [] if out.len() > usize::from(u16::MAX) => Err(format!("the data of the {rtype} record is longer than 65535 octets")),
        [] => Ok(out.into()),
        [extra, ..] => Err(format!("\"{}\" is too much in a {rtype} record", extra.text)),
    }
}

impl<'t> Words<'_, 't> {
    fn next(&mut self, what: &str) -> Result<&'t str, String> {
        let (first, rest) = self.rest.split_first().ok_or_else(|| format!("the {} record lacks its {what}", self.rtype))?;
        self.rest = rest;
        Ok(first.text)
    }

    fn parse<T: FromStr>(&mut self, what: &str) -> Result<T, String> {
        self.parse_with(what, |text| text.parse().ok())
    }

    fn parse_with<T>(&mut self, what: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let text = self.next(what)?;
        read(text).ok_or_else(|| format!("\"{text}\" is no {what} of a {} record", self.rtype))
    }

    fn field(&mut self, (what, kind): Field, out: &mut Vec<u8>) -> Result<(), String> {
        match kind {
            Kind::U8 => out.push(self.parse(what)?),
            Kind::U16 => out.extend_from_slice(&self.parse::<u16>(what)?.to_be_bytes()),
            Kind::U32 => out.extend_from_slice(&self.parse::<u32>(what)?.to_be_bytes()),
            Kind::Seconds => {
                let text = self.next(what)?;
                let value = seconds(text).ok_or_else(|| format!("\"{text}\" is no {what} (seconds, or like 1h30m)"))?;
                out.extend_from_slice(&value.to_be_bytes());
            }
            Kind::Moment => out.extend_from_slice(&self.parse_with(what, time::parse)?.to_be_bytes()),
            Kind::Name => {
                let text = self.next(what)?;
                let name = Name::parse(text, Some(self.origin)).map_err(|error| format!("\"{text}\": {error}"))?;
                out.extend_from_slice(name.wire());
            }
            Kind::Type => out.extend_from_slice(&self.parse_with(what, Rtype::parse)?.0.to_be_bytes()),
            Kind::Types => self.types(out)?,
            Kind::Algorithm => out.push(self.parse_with(what, text::algorithm)?),
            Kind::Ipv4 => out.extend_from_slice(&self.parse::<Ipv4Addr>(what)?.octets()),
            Kind::Ipv6 => out.extend_from_slice(&self.parse::<Ipv6Addr>(what)?.octets()),
            Kind::String | Kind::Tag => self.string(what, out)?,
            Kind::Strings => {
                self.string(what, out)?;
                while !self.rest.is_empty() {
                    self.string(what, out)?;
                }
            }
            Kind::RestString => out.extend_from_slice(&unescape(self.next(what)?)?),
            Kind::CountedHex => {
                let text = self.next(what)?;
                let octets = if text == "-" { Vec::new() } else { hex(text).ok_or_else(|| hex_wanted(what))? };
                push_counted(&octets, what, out)?;
            }
            Kind::CountedBase32 => push_counted(&self.parse_with(what, base32)?, what, out)?,
            Kind::Hex => {
                let text = self.rest_joined(what)?;
                out.extend(hex(&text).ok_or_else(|| hex_wanted(what))?);
            }
            Kind::Base64 => {
                let text = self.rest_joined(what)?;
                let decoded = base64::engine::general_purpose::STANDARD.decode(&text);
                out.extend(decoded.map_err(|_| format!("the {what} is no base64"))?);
            }
            Kind::ServiceParameters => svcb::parse(std::mem::take(&mut self.rest), out)?,
        }
        Ok(())
    }

    fn string(&mut self, what: &str, out: &mut Vec<u8>) -> Result<(), String> {
        let octets = unescape(self.next(what)?)?;
        let too_long = || format!("a string of {} octets: 255 is the most; cut it into several, each in quotes", octets.len());
        out.push(u8::try_from(octets.len()).map_err(|_| too_long())?);
        out.extend_from_slice(&octets);
        Ok(())
    }

    fn rest_joined(&mut self, what: &str) -> Result<String, String> {
        match std::mem::take(&mut self.rest) {
            [] => Err(format!("the {} record lacks its {what}", self.rtype)),
            words => Ok(words.iter().map(|word| word.text).collect()),
        }
    }

    /// Windows of 256 types, each with the octets up to its last bit (RFC 4034 section 4.1.2).
    fn types(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let mut windows: BTreeMap<u8, [u8; 32]> = BTreeMap::new();
        for word in std::mem::take(&mut self.rest) {
            let rtype = Rtype::parse(word.text).ok_or_else(|| format!("\"{}\" is no record type", word.text))?;
            let [window, low] = rtype.0.to_be_bytes();
            if let Some(octet) = windows.entry(window).or_default().get_mut(usize::from(low / 8)) {
                *octet |= 0x80 >> (low % 8);
            }
        }
        for (window, octets) in windows {
            let length = octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
            out.extend([window, u8::try_from(length).unwrap_or(32)]);
            out.extend_from_slice(octets.get(..length).unwrap_or_default());
        }
        Ok(())
    }

    /// `\# LENGTH HEX`: any type's data (RFC 3597 section 5).
    fn raw(&mut self) -> Result<Rdata, String> {
        self.next("data")?;
        let length: usize = self.parse("length")?;
        let octets = match length {
            0 => Vec::new(),
            _ => hex(&self.rest_joined("data")?).ok_or_else(|| hex_wanted("data"))?,
        };
        if octets.len() != length {
            return Err(format!("\\# says {length} octets, and {} follow", octets.len()));
        }
        if let [extra, ..] = self.rest {
            return Err(format!("\"{}\" is too much behind \\# 0", extra.text));
        }
        // What is given raw must still be what the type is.
        let rtype = self.rtype;
        read_rdata(&mut Reader::new(&octets, 0), rtype, length).ok_or_else(|| format!("the data is not that of a {rtype} record"))
    }
}

fn hex_wanted(what: &str) -> String {
    format!("the {what} must be pairs of hexadecimal digits")
}

fn push_counted(octets: &[u8], what: &str, out: &mut Vec<u8>) -> Result<(), String> {
    out.push(u8::try_from(octets.len()).map_err(|_| format!("the {what} is longer than 255 octets"))?);
    out.extend_from_slice(octets);
    Ok(())
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().filter(|octets| !octets.is_empty())
}

/// RFC 4648 section 7, without padding.
fn base32(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
    for character in text.chars() {
        bits = bits << 5 | character.to_digit(32)?;
        count += 5;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    (!out.is_empty() && bits == 0 && count < 5).then_some(out)
}
