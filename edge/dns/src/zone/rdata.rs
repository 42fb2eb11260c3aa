//! Record data from the words of a master file.

use super::text::{Word, unescape};
use crate::name::Name;
use crate::record::Rdata;
use crate::types::Rtype;
use base64::Engine;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The words behind a record's type.
struct Words<'w, 't> {
    rest: &'w [Word<'t>],
    origin: &'w Name,
    rtype: Rtype,
}

impl<'t> Words<'_, 't> {
    fn next(&mut self, what: &str) -> Result<&'t str, String> {
        let (first, rest) = self.rest.split_first().ok_or_else(|| format!("the {} record lacks its {what}", self.rtype))?;
        self.rest = rest;
        Ok(first.text)
    }

    fn parse<T: FromStr>(&mut self, what: &str) -> Result<T, String> {
        let text = self.next(what)?;
        text.parse().map_err(|_| format!("\"{text}\" is no {what} of a {} record", self.rtype))
    }

    fn name(&mut self, what: &str) -> Result<Name, String> {
        let text = self.next(what)?;
        Name::parse(text, Some(self.origin)).map_err(|error| format!("\"{text}\": {error}"))
    }

    fn time(&mut self, what: &str) -> Result<u32, String> {
        let text = self.next(what)?;
        super::text::seconds(text).ok_or_else(|| format!("\"{text}\" is no {what} (seconds, or like 1h30m)"))
    }

    fn string(&mut self, what: &str, out: &mut Vec<u8>) -> Result<(), String> {
        let octets = unescape(self.next(what)?)?;
        let length = u8::try_from(octets.len())
            .map_err(|_| format!("a string of {} octets: 255 is the most; cut it into several, each in quotes", octets.len()))?;
        out.push(length);
        out.extend_from_slice(&octets);
        Ok(())
    }

    fn rest_joined(&mut self) -> String {
        std::mem::take(&mut self.rest).iter().map(|word| word.text).collect()
    }

    fn hex(&mut self, what: &str) -> Result<Vec<u8>, String> {
        let text = self.rest_joined();
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let octets: Option<Vec<u8>> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| match pair {
                [high, low] => Some(digit(high)? << 4 | digit(low)?),
                _ => None,
            })
            .collect();
        octets.filter(|octets| !octets.is_empty()).ok_or_else(|| format!("the {what} must be pairs of hexadecimal digits"))
    }

    fn base64(&mut self, what: &str) -> Result<Vec<u8>, String> {
        let text = self.rest_joined();
        base64::engine::general_purpose::STANDARD.decode(&text).map_err(|_| format!("the {what} is no base64"))
    }
}

/// Makes the data of one record.
///
/// # Errors
/// One text that says what is wrong.
pub(crate) fn parse(rtype: Rtype, words: &[Word<'_>], origin: &Name) -> Result<Rdata, String> {
    let mut words = Words { rest: words, origin, rtype };
    let mut out = Vec::new();
    if words.rest.first().is_some_and(|word| word.text == "\\#" && !word.quoted) {
        words.next("data")?;
        let length: usize = words.parse("length")?;
        let octets = if length == 0 { Vec::new() } else { words.hex("data")? };
        if octets.len() != length {
            return Err(format!("\\# says {length} octets, and {} follow", octets.len()));
        }
        // What is given raw must still be what the type is (RFC 3597 section 5).
        let mut reader = crate::wire::Reader::new(&octets, 0);
        return crate::record::read_rdata(&mut reader, rtype, length)
            .ok_or_else(|| format!("the data is not that of a {rtype} record"));
    }
    match rtype {
        Rtype::A => out.extend_from_slice(&words.parse::<Ipv4Addr>("IPv4 address")?.octets()),
        Rtype::AAAA => out.extend_from_slice(&words.parse::<Ipv6Addr>("IPv6 address")?.octets()),
        Rtype::NS | Rtype::CNAME | Rtype::PTR | Rtype::DNAME => out.extend_from_slice(words.name("name")?.wire()),
        Rtype::MX => {
            out.extend_from_slice(&words.parse::<u16>("preference")?.to_be_bytes());
            out.extend_from_slice(words.name("exchange")?.wire());
        }
        Rtype::SOA => {
            out.extend_from_slice(words.name("primary server")?.wire());
            out.extend_from_slice(words.name("mailbox")?.wire());
            out.extend_from_slice(&words.parse::<u32>("serial")?.to_be_bytes());
            for what in ["refresh time", "retry time", "expire time", "minimum"] {
                out.extend_from_slice(&words.time(what)?.to_be_bytes());
            }
        }
        Rtype::SRV => {
            for what in ["priority", "weight", "port"] {
                out.extend_from_slice(&words.parse::<u16>(what)?.to_be_bytes());
            }
            out.extend_from_slice(words.name("target")?.wire());
        }
        Rtype::TXT => {
            words.string("text", &mut out)?;
            while !words.rest.is_empty() {
                words.string("text", &mut out)?;
            }
        }
        Rtype::HINFO => {
            words.string("CPU", &mut out)?;
            words.string("OS", &mut out)?;
        }
        Rtype::CAA => {
            out.push(words.parse::<u8>("flags")?);
            words.string("tag", &mut out)?;
            out.extend_from_slice(&unescape(words.next("value")?)?);
        }
        Rtype::NAPTR => {
            for what in ["order", "preference"] {
                out.extend_from_slice(&words.parse::<u16>(what)?.to_be_bytes());
            }
            for what in ["flags", "services", "regular expression"] {
                words.string(what, &mut out)?;
            }
            out.extend_from_slice(words.name("replacement")?.wire());
        }
        Rtype::TLSA | Rtype::SMIMEA => {
            for what in ["certificate usage", "selector", "matching type"] {
                out.push(words.parse::<u8>(what)?);
            }
            out.extend(words.hex("certificate association data")?);
        }
        Rtype::SSHFP => {
            for what in ["algorithm", "fingerprint type"] {
                out.push(words.parse::<u8>(what)?);
            }
            out.extend(words.hex("fingerprint")?);
        }
        Rtype::DS => {
            out.extend_from_slice(&words.parse::<u16>("key tag")?.to_be_bytes());
            for what in ["algorithm", "digest type"] {
                out.push(words.parse::<u8>(what)?);
            }
            out.extend(words.hex("digest")?);
        }
        Rtype::DNSKEY => {
            out.extend_from_slice(&words.parse::<u16>("flags")?.to_be_bytes());
            for what in ["protocol", "algorithm"] {
                out.push(words.parse::<u8>(what)?);
            }
            out.extend(words.base64("public key")?);
        }
        Rtype::OPENPGPKEY => out.extend(words.base64("public key")?),
        _ => return Err(format!("the data of type {rtype} has no text form here; write it as \\# LENGTH HEX (RFC 3597)")),
    }
    match words.rest {
        [] => Ok(out.into()),
        [extra, ..] => Err(format!("\"{}\" is too much in a {rtype} record", extra.text)),
    }
}
