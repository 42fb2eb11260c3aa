//! Parameters of service bindings (RFC 9460 sections 2.1, 2.2 and 7, RFC 9461 section 5), in both forms.
//!
//! ```text
//!   2 key   2 length   value ...   in ascending order of the keys
//! ```

use crate::wire::Reader;
use crate::zone::{Word, unescape};
use base64::Engine;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Names of keys; the others are `key` and a number.
const KEYS: [(&str, u16); 9] = [
    ("mandatory", 0),
    ("alpn", 1),
    ("no-default-alpn", 2),
    ("port", 3),
    ("ipv4hint", 4),
    ("ech", 5),
    ("ipv6hint", 6),
    ("dohpath", 7),
    ("ohttp", 8),
];

fn key_number(text: &str) -> Option<u16> {
    let known = KEYS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    known.or_else(|| text.strip_prefix("key").filter(|digits| *digits == "0" || !digits.starts_with('0'))?.parse().ok())
}

fn key_text(number: u16) -> String {
    let known = KEYS.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| format!("key{number}"), |(name, _)| (*name).to_owned())
}

/// Reads the parameters from the words behind the target.
pub(super) fn parse(words: &[Word<'_>], out: &mut Vec<u8>) -> Result<(), String> {
    let mut parameters: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    let mut rest = words;
    while let Some((word, behind)) = rest.split_first() {
        rest = behind;
        let (key, mut value) = match word.text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word.text, None),
        };
        // `key="value"`: the words are cut at the quotes.
        if value == Some("")
            && let Some((quoted, behind)) = rest.split_first().filter(|(next, _)| next.quoted)
        {
            value = Some(quoted.text);
            rest = behind;
        }
        let number = key_number(key).ok_or_else(|| format!("\"{key}\" is no parameter; write one as alpn, port or key65280"))?;
        let wire = value_wire(number, value).map_err(|text| format!("parameter {key}: {text}"))?;
        //= RFC 9460 section 2.1
        //# SvcParams in presentation format MAY appear in any order, but keys MUST NOT be repeated.
        if parameters.insert(number, wire).is_some() {
            return Err(format!("the parameter {key} is there twice"));
        }
    }
    check_mandatory(&parameters)?;
    for (number, value) in &parameters {
        out.extend_from_slice(&number.to_be_bytes());
        let length = u16::try_from(value.len()).map_err(|_| "a parameter longer than 65535 octets".to_owned())?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(value);
    }
    Ok(())
}

fn check_mandatory(parameters: &BTreeMap<u16, Vec<u8>>) -> Result<(), String> {
    let Some(mandatory) = parameters.get(&0) else { return Ok(()) };
    for pair in mandatory.chunks(2) {
        let number = pair.first_chunk().map_or(0, |number| u16::from_be_bytes(*number));
        if number == 0 || !parameters.contains_key(&number) {
            return Err(format!("mandatory names {}, which is not there", key_text(number)));
        }
    }
    Ok(())
}

fn value_wire(number: u16, value: Option<&str>) -> Result<Vec<u8>, String> {
    let needed = || value.filter(|value| !value.is_empty()).ok_or_else(|| "it lacks its value".to_owned());
    Ok(match number {
        0 => {
            let keys = needed()?.split(',').map(|key| key_number(key).ok_or_else(|| format!("\"{key}\" is no parameter")));
            let mut keys: Vec<u16> = keys.collect::<Result<_, _>>()?;
            keys.sort_unstable();
            keys.dedup();
            keys.into_iter().flat_map(u16::to_be_bytes).collect()
        }
        1 => {
            let mut wire = Vec::new();
            for protocol in list(&unescape(needed()?)?)? {
                let length = u8::try_from(protocol.len()).ok().filter(|length| *length > 0);
                wire.push(length.ok_or("a protocol must have 1 to 255 octets")?);
                wire.extend_from_slice(&protocol);
            }
            wire
        }
        2 | 8 => match value {
            None => Vec::new(),
            Some(value) => return Err(format!("it takes no value, and \"{value}\" is one")),
        },
        3 => needed()?.parse::<u16>().map_err(|_| "a port is a number up to 65535")?.to_be_bytes().into(),
        4 => addresses(needed()?, |address: Ipv4Addr| address.octets().to_vec())?,
        5 => base64::engine::general_purpose::STANDARD.decode(needed()?).map_err(|_| "the value is no base64")?,
        6 => addresses(needed()?, |address: Ipv6Addr| address.octets().to_vec())?,
        _ => unescape(value.unwrap_or_default())?,
    })
}

fn addresses<A: std::str::FromStr>(value: &str, octets: impl Fn(A) -> Vec<u8>) -> Result<Vec<u8>, String> {
    let each = value.split(',').map(|text| text.parse().map(&octets).map_err(|_| format!("\"{text}\" is no address")));
    Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
}

/// A list with commas between; a backslash takes a comma or a backslash as it is (RFC 9460 appendix A.1).
fn list(value: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut items = vec![Vec::new()];
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b',' => items.push(Vec::new()),
            byte => {
                let byte = if byte == b'\\' { *bytes.next().ok_or("a backslash at the end")? } else { byte };
                if let Some(last) = items.last_mut() {
                    last.push(byte);
                }
            }
        }
    }
    Ok(items)
}

/// Writes the parameters; `None`: they are not as they must be.
pub(super) fn text(wire: &[u8], out: &mut String) -> Option<()> {
    let mut reader = Reader::new(wire, 0);
    let mut last = None;
    while reader.position() < wire.len() {
        let (number, length) = (reader.u16()?, reader.u16()?);
        if last.is_some_and(|last| number <= last) {
            return None;
        }
        last = Some(number);
        let value = reader.bytes(length.into())?;
        write!(out, " {}", key_text(number)).ok()?;
        let value = value_text(number, value)?;
        if !value.is_empty() {
            write!(out, "={value}").ok()?;
        }
    }
    Some(())
}

fn value_text(number: u16, value: &[u8]) -> Option<String> {
    let joined = |texts: Vec<String>| (!texts.is_empty()).then(|| texts.join(","));
    let whole = |size: usize| (!value.is_empty() && value.len().is_multiple_of(size)).then(|| value.chunks(size));
    match number {
        0 => joined(whole(2)?.filter_map(|pair| Some(key_text(u16::from_be_bytes(*pair.first_chunk()?)))).collect()),
        1 => {
            let mut reader = Reader::new(value, 0);
            let mut protocols = Vec::new();
            while reader.position() < value.len() {
                let length = *reader.bytes(1)?.first().filter(|length| **length > 0)?;
                let mut item = Vec::new();
                for &byte in reader.bytes(length.into())? {
                    if matches!(byte, b',' | b'\\') {
                        item.push(b'\\');
                    }
                    item.push(byte);
                }
                protocols.push(item);
            }
            (!protocols.is_empty()).then(|| super::text::quoted(&protocols.join(&b','.to_owned())))
        }
        2 | 8 => value.is_empty().then(String::new),
        3 => Some(u16::from_be_bytes(value.try_into().ok()?).to_string()),
        4 => joined(whole(4)?.filter_map(|octets| Some(Ipv4Addr::from(*octets.first_chunk::<4>()?).to_string())).collect()),
        5 => (!value.is_empty()).then(|| base64::engine::general_purpose::STANDARD.encode(value)),
        6 => joined(whole(16)?.filter_map(|octets| Some(Ipv6Addr::from(*octets.first_chunk::<16>()?).to_string())).collect()),
        _ if value.is_empty() => Some(String::new()),
        _ => Some(super::text::quoted(value)),
    }
}
