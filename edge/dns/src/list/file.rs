//! Reads rbldnsd's data files: `ip4set` and `dnset`.
//!
//! A line is an entry, `!` and an exclusion, `:A:text` that sets what entries without a value of their own say, a `$` directive, or a
//! comment behind `#` or `;`. In texts `$` stands for what was asked for.

use super::ranges::{EXCLUDED, RangesBuilder};
use super::{Data, ListKind, Names, Value};
use crate::name::Name;
use crate::record::{RecordSet, negative_ttl};
use crate::types::Rtype;
use crate::zone::ZoneFileError;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;

/// Seconds of an answer if the file has no $TTL: rbldnsd's default.
const TTL_DEFAULT: u32 = 2100;
/// Octets of a TXT string.
const TEXT_BYTES_MAX: usize = 255;

/// What a file says.
#[derive(Debug)]
pub(super) struct Parsed {
    pub data: Data,
    pub values: Vec<Value>,
    pub ttl: u32,
    pub soa: Option<RecordSet>,
    pub servers: Option<RecordSet>,
}

struct Parser {
    ranges: RangesBuilder,
    names: Names,
    values: Vec<Value>,
    /// The number of each value: a list may give every entry a text of its own.
    numbers: HashMap<Value, u32>,
    default: u32,
    ttl: u32,
    soa: Option<RecordSet>,
    servers: Option<RecordSet>,
}

/// Reads a file.
///
/// # Errors
/// The first line that is wrong.
pub(super) fn parse(kind: ListKind, path: &Path, text: &str) -> Result<Parsed, ZoneFileError> {
    let first = Value { address: Ipv4Addr::new(127, 0, 0, 2), text: "".into() };
    let mut parser = Parser {
        ranges: RangesBuilder::default(),
        names: Names::default(),
        values: vec![first.clone()],
        numbers: HashMap::from([(first, 0)]),
        default: 0,
        ttl: TTL_DEFAULT,
        soa: None,
        servers: None,
    };
    for (line, number) in text.lines().zip(1..) {
        parser.line(kind, line.trim()).map_err(|text| ZoneFileError { place: format!("{}:{number}", path.display()), text })?;
    }
    let data = match kind {
        ListKind::Ip4Set => Data::Addresses(parser.ranges.finish()),
        ListKind::DnSet => Data::Names(parser.names),
    };
    Ok(Parsed { data, values: parser.values, ttl: parser.ttl, soa: parser.soa, servers: parser.servers })
}

impl Parser {
    fn line(&mut self, kind: ListKind, line: &str) -> Result<(), String> {
        match line.bytes().next() {
            None | Some(b'#' | b';') => Ok(()),
            Some(b':') => {
                self.default = self.value(line)?;
                Ok(())
            }
            Some(b'$') => self.directive(line),
            Some(_) => {
                let (entry, excluded) = line.strip_prefix('!').map_or((line, false), |rest| (rest.trim_start(), true));
                let (entry, rest) = entry.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((entry, ""));
                let rest = rest.trim();
                let value = match rest.bytes().next() {
                    _ if excluded => EXCLUDED,
                    None | Some(b'#' | b';') => self.default,
                    Some(_) => self.value(rest)?,
                };
                match kind {
                    ListKind::Ip4Set => {
                        let (first, last) = range(entry).ok_or_else(|| {
                            format!("\"{entry}\" is no address, network (192.0.2.0/24) or range (192.0.2.1-192.0.2.9)")
                        })?;
                        self.ranges.add(first, last, value);
                        Ok(())
                    }
                    ListKind::DnSet => self.name(entry, value),
                }
            }
        }
    }

    /// `name`, `.name` (it and all below) or `*.name` (all below).
    fn name(&mut self, entry: &str, value: u32) -> Result<(), String> {
        let (text, own, below) = match (entry.strip_prefix("*."), entry.strip_prefix('.')) {
            (Some(text), _) => (text, false, true),
            (_, Some(text)) => (text, true, true),
            _ => (entry, true, false),
        };
        let name = Name::absolute(text).map_err(|error| format!("\"{entry}\": {error}"))?;
        self.names.add(&name.to_key(), own.then_some(value), below.then_some(value));
        Ok(())
    }

    /// `:A:text`, `:A:`, or a text alone; gives the value's number.
    fn value(&mut self, text: &str) -> Result<u32, String> {
        let default = self.values.get(self.default as usize).cloned();
        let default = default.unwrap_or(Value { address: Ipv4Addr::new(127, 0, 0, 2), text: "".into() });
        let value = match text.strip_prefix(':') {
            None => Value { address: default.address, text: text.into() },
            Some(rest) => {
                let (address, text) = rest.split_once(':').unwrap_or((rest, ""));
                let address = match (address, address.parse::<u8>()) {
                    ("", _) => default.address,
                    // `:3:` is 127.0.0.3.
                    (_, Ok(last)) => Ipv4Addr::new(127, 0, 0, last),
                    (text, Err(_)) => text.parse().map_err(|_| format!("\"{text}\" is no IPv4 address to answer with"))?,
                };
                Value { address, text: text.into() }
            }
        };
        if value.text.len() > TEXT_BYTES_MAX {
            return Err(format!("a text of {} octets; {TEXT_BYTES_MAX} is the most", value.text.len()));
        }
        if let Some(known) = self.numbers.get(&value) {
            return Ok(*known);
        }
        let number = u32::try_from(self.values.len()).ok().filter(|number| *number != EXCLUDED);
        let number = number.ok_or("too many different values")?;
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        Ok(number)
    }

    fn directive(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split_ascii_whitespace();
        let directive = words.next().unwrap_or_default();
        let time = |text: Option<&str>| {
            text.and_then(crate::zone::seconds).ok_or_else(|| format!("{directive} needs a time in seconds, or like 1h30m"))
        };
        let name = |text: Option<&str>| {
            let text = text.ok_or_else(|| format!("{directive} lacks a name"))?;
            Name::absolute(text).map_err(|error| format!("\"{text}\": {error}"))
        };
        match directive {
            "$TTL" => self.ttl = time(words.next())?,
            "$TIMESTAMP" | "$MAXRANGE4" => {}
            "$SOA" => {
                let ttl = time(words.next())?;
                let mut rdata = name(words.next())?.wire().to_vec();
                rdata.extend_from_slice(name(words.next())?.wire());
                let serial = words.next().and_then(|text| text.parse::<u32>().ok()).ok_or("$SOA needs a serial number")?;
                rdata.extend_from_slice(&serial.to_be_bytes());
                for _ in 0..4 {
                    rdata.extend_from_slice(&time(words.next())?.to_be_bytes());
                }
                let ttl = negative_ttl(ttl, &rdata);
                self.soa = Some(RecordSet { rtype: Rtype::SOA, ttl, rdata: vec![rdata.into()] });
            }
            "$NS" => {
                let ttl = time(words.next())?;
                let rdata: Result<Vec<_>, String> = words.map(|word| Ok(name(Some(word))?.wire().into())).collect();
                self.servers = Some(RecordSet { rtype: Rtype::NS, ttl, rdata: rdata? });
            }
            _ => return Err(format!("{directive} is not known; $SOA, $NS, $TTL, $TIMESTAMP and $MAXRANGE4 are")),
        }
        Ok(())
    }
}

/// `1.2.3.4`, `1.2.3` (as /24), `1.2.3.0/24`, `1.2/16`, `1.2.3.4-1.2.3.9`, `1.2.3.4-9`.
fn range(text: &str) -> Option<(u32, u32)> {
    if let Some((from, to)) = text.split_once('-') {
        let first = u32::from(from.parse::<Ipv4Addr>().ok()?);
        let last = match to.parse::<u8>() {
            Ok(octet) => first & !0xff | u32::from(octet),
            Err(_) => to.parse::<Ipv4Addr>().ok()?.into(),
        };
        return (first <= last).then_some((first, last));
    }
    let (network, length) = match text.split_once('/') {
        Some((network, length)) => (network, Some(length.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let mut octets = [0; 4];
    let mut count = 0;
    for part in network.split('.') {
        *octets.get_mut(count)? = part.parse::<u8>().ok().filter(|_| part.len() <= 3)?;
        count += 1;
    }
    let length = length.unwrap_or(u32::try_from(count).ok()? * 8);
    if length > 32 {
        return None;
    }
    let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
    let first = u32::from_be_bytes(octets);
    // A network with host bits is a mistake somebody should see.
    (first & hosts == 0).then_some((first, first | hosts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_rbldnsd_reads_them() {
        let text = |text: &str| range(text).map(|(first, last)| format!("{}-{}", Ipv4Addr::from(first), Ipv4Addr::from(last)));
        for (given, expected) in [
            ("192.0.2.1", Some("192.0.2.1-192.0.2.1")),
            ("192.0.2", Some("192.0.2.0-192.0.2.255")),
            ("10", Some("10.0.0.0-10.255.255.255")),
            ("192.0.2.128/25", Some("192.0.2.128-192.0.2.255")),
            ("192.0/16", Some("192.0.0.0-192.0.255.255")),
            ("192.0.2.4-9", Some("192.0.2.4-192.0.2.9")),
            ("192.0.2.4-192.0.3.9", Some("192.0.2.4-192.0.3.9")),
            ("0.0.0.0/0", Some("0.0.0.0-255.255.255.255")),
            ("192.0.2.9-4", None),
            ("192.0.2.1/24", None),
            ("192.0.2.0/33", None),
            ("192.0.2.256", None),
            ("1.2.3.4.5", None),
            ("x", None),
        ] {
            assert_eq!(text(given).as_deref(), expected, "{given}");
        }
    }

    #[test]
    fn errors_name_the_line() {
        for (text, expected) in [
            ("192.0.2.1\n\nnonsense\n", "l:3: \"nonsense\" is no address"),
            (":300.1.1.1:x\n", "l:1: \"300.1.1.1\" is no IPv4 address"),
            ("$SOA x\n", "l:1: $SOA needs a time"),
            ("$GENERATE\n", "l:1: $GENERATE is not known"),
        ] {
            let error = parse(ListKind::Ip4Set, Path::new("l"), text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
