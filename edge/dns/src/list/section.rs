//! The entries of a block list's file: a section of one kind, a line at a time.

use super::addresses::{AddressesBuilder, Rule};
use super::generic::Generic;
use super::names::NamesBuilder;
use super::steps::{Interval, flatten};
use super::syntax::{a_value, ip4_range, ip6_prefix};
use super::values::{EXCLUDED, PLAIN, ValueId, ValuesBuilder};
use super::{Data, Dataset, ListKind};
use crate::name::Name;
use crate::types::Rtype;

enum Collected {
    Ip4(AddressesBuilder),
    Ip6(Vec<Interval<u128>>),
    Names(NamesBuilder),
    Generic(Generic),
}

/// The entries of one kind that stand together, and what they say.
pub(super) struct Section {
    pub(super) kind: ListKind,
    data: Collected,
    pub(super) values: ValuesBuilder,
    /// What entries without a value say.
    pub(super) default: ValueId,
    pub(super) ttl: u32,
}

impl Section {
    pub(super) fn new(kind: ListKind, ttl: u32) -> Self {
        let data = match kind {
            ListKind::Ip4Set | ListKind::Ip4TrivialSet => Collected::Ip4(AddressesBuilder::new(Rule::Set)),
            ListKind::Ip4Trie => Collected::Ip4(AddressesBuilder::new(Rule::Trie)),
            ListKind::Ip6Trie | ListKind::Ip6TrivialSet => Collected::Ip6(Vec::new()),
            ListKind::DnSet => Collected::Names(NamesBuilder::new()),
            ListKind::Generic | ListKind::Combined => Collected::Generic(Generic::default()),
        };
        Self { kind, data, values: ValuesBuilder::new(Default::default()), default: PLAIN, ttl }
    }
}

impl Section {
    /// `:A:text`, `:A`, or a text alone; gives the value's id.
    pub(super) fn value(&mut self, line: &[u8], default: ValueId) -> Result<ValueId, String> {
        let (address, text) = value(line, || self.values.get(default))?;
        let text = match text {
            Some(text) => text.to_vec(),
            None => self.values.get(default).1.to_vec(),
        };
        self.values.add(address, &text)
    }

    /// Splits an entry's line: what is listed, and its value.
    pub(super) fn entry(&mut self, line: &[u8], range_max: Option<u64>) -> Result<(), String> {
        let (excluded, line) = match line {
            [b'!', rest @ ..] => (true, rest.trim_ascii_start()),
            line => (false, line),
        };
        let colon_ends = matches!(self.data, Collected::Ip4(_));
        let hash_ends = !matches!(self.data, Collected::Names(_));
        let end = line
            .iter()
            .position(|byte| is_blank(*byte) || (colon_ends && *byte == b':') || (hash_ends && matches!(byte, b'#' | b';')));
        let (listed, rest) = line.split_at(end.unwrap_or(line.len()));
        let rest = rest.trim_ascii_start();
        let trivial = matches!(self.kind, ListKind::Ip4TrivialSet | ListKind::Ip6TrivialSet);
        let value = match rest.first() {
            _ if excluded => EXCLUDED,
            None | Some(b'#' | b';') => self.default,
            Some(_) if trivial => self.default,
            Some(_) => self.value(rest, self.default)?,
        };
        let bad = |text: &str| format!("\"{}\" {text}", String::from_utf8_lossy(listed));
        match &mut self.data {
            Collected::Ip4(addresses) => {
                let (first, last) = ip4_range(listed).map_err(bad)?;
                match self.kind {
                    ListKind::Ip4TrivialSet if first != last || excluded => return Err(bad("is no single address")),
                    ListKind::Ip4Set if listed.ends_with(b"/0") => {
                        return Err(bad("is all addresses; say so with a range if you mean it"));
                    }
                    ListKind::Ip4Trie if listed.contains(&b'-') => return Err(bad("is a range; an ip4trie has networks only")),
                    _ => {}
                }
                let size = u64::from(last - first) + 1;
                if let Some(max) = range_max.filter(|max| size > *max) {
                    return Err(bad(&format!("holds {size} addresses, $MAXRANGE4 allows {max}")));
                }
                addresses.add(first, last, value);
            }
            Collected::Ip6(prefixes) => {
                let (first, length) = ip6_prefix(listed).map_err(bad)?;
                if self.kind == ListKind::Ip6TrivialSet && length != if excluded { 128 } else { 64 } {
                    return Err(bad("is no network of 64 bits, nor an excluded address, and an ip6tset has nothing else"));
                }
                let last = first | u128::MAX.checked_shr(length).unwrap_or(0);
                prefixes.push(Interval { first, last, rank: u8::try_from(length).unwrap_or(128), value });
            }
            Collected::Names(names) => {
                let (text, own, below) = match listed {
                    [b'*', b'.', text @ ..] => (text, false, true),
                    [b'.', text @ ..] => (text, true, true),
                    text => (text, true, false),
                };
                let text = std::str::from_utf8(text).map_err(|_| bad("is no name in ASCII"))?;
                let name = Name::absolute(text).map_err(|error| bad(&format!(": {error}")))?;
                if name == Name::root() {
                    return Err(bad("would list all names"));
                }
                names.add(name.to_key().wire(), own.then_some(value), below.then_some(value), &mut self.values)?;
            }
            Collected::Generic(_) => {}
        }
        Ok(())
    }

    /// `name [ttl] [IN] type data`.
    pub(super) fn record(&mut self, line: &[u8]) -> Result<(), String> {
        let line = std::str::from_utf8(line).map_err(|_| "a record that is not UTF-8")?;
        let mut rest = line;
        let mut word = || {
            let (word, behind) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
            rest = behind.trim_start();
            word
        };
        let owner = word();
        let key = if owner == "@" { Name::root() } else { name(Some(owner))?.to_key() };
        let mut kind = word();
        let mut ttl = self.ttl;
        if let Some(own) = crate::zone::seconds(kind) {
            (ttl, kind) = (if own == 0 { ttl } else { own }, word());
        }
        if kind.eq_ignore_ascii_case("IN") {
            kind = word();
        }
        let data = rest;
        let first_word = data.split([' ', '\t', '#', ';']).next().unwrap_or_default();
        let (rtype, rdata) = match kind.to_ascii_uppercase().as_str() {
            "A" => {
                let octets = first_word.parse::<std::net::Ipv4Addr>().map(|address| address.octets()).ok();
                let octets = octets.or_else(|| Some([0, 0, 0, first_word.parse::<u8>().ok()?]));
                (Rtype::A, octets.ok_or_else(|| format!("\"{first_word}\" is no IPv4 address"))?.to_vec())
            }
            "TXT" => {
                let text = data.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(data).as_bytes();
                let text = text.get(..255).unwrap_or(text);
                let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
                (Rtype::TXT, std::iter::once(length).chain(text.iter().copied()).collect())
            }
            "MX" => {
                let mut words = data.split_ascii_whitespace();
                let preference = words.next().and_then(|text| text.parse::<u16>().ok()).ok_or("MX needs a preference")?;
                let mut rdata = preference.to_be_bytes().to_vec();
                rdata.extend_from_slice(name(words.next())?.wire());
                if let Some(extra) = words.next() {
                    return Err(format!("\"{extra}\" is too much in an MX record"));
                }
                (Rtype::MX, rdata)
            }
            _ => return Err(format!("\"{kind}\": a generic record is A, TXT or MX")),
        };
        if let Collected::Generic(generic) = &mut self.data {
            generic.add(key.wire(), rtype, ttl, rdata.into());
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Dataset, String> {
        let data = match self.data {
            Collected::Ip4(addresses) => Data::Ip4(addresses.finish(&mut self.values)?),
            // Of equal prefixes the first.
            Collected::Ip6(prefixes) => Data::Ip6(flatten(prefixes, |best| best.first().copied().unwrap_or(EXCLUDED))?),
            Collected::Names(names) => Data::Names(names.finish()),
            Collected::Generic(generic) => Data::Generic(generic),
        };
        Ok(Dataset { data, values: self.values.finish(), ttl: self.ttl })
    }
}

/// Splits `:A:text`, `:A` or `text`; without a second colon the text is the default's, and `None`.
pub(super) fn value<'l, 'd>(
    line: &'l [u8],
    default: impl FnOnce() -> ([u8; 4], &'d [u8]),
) -> Result<([u8; 4], Option<&'l [u8]>), String> {
    let [b':', rest @ ..] = line else { return Ok((default().0, Some(line))) };
    let end = rest.iter().position(|byte| *byte == b':' || is_blank(*byte)).unwrap_or(rest.len());
    let (address, rest) = rest.split_at(end);
    let bad = || format!("\"{}\" is no IPv4 address to answer with", String::from_utf8_lossy(address));
    let address = a_value(address).ok_or_else(bad)?;
    match rest.trim_ascii_start() {
        [b':', text @ ..] => Ok((address, Some(text.trim_ascii_start()))),
        [] | [b'#' | b';', ..] => Ok((address, None)),
        _ => Err("a second colon is missing behind the address: \":127.0.0.2:text\"".to_owned()),
    }
}

pub(super) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// A name that a line must give.
pub(super) fn name(text: Option<&str>) -> Result<Name, String> {
    let text = text.ok_or("a name is missing")?;
    Name::absolute(text).map_err(|error| format!("\"{text}\": {error}"))
}
