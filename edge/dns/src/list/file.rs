//! Reads rbldnsd's data files.
//!
//! A line is an entry, `!` and an exclusion, `:A:text` that sets what entries without a value of their own say (to the end of the file), a
//! `$` directive (also behind `#`, `;` or `:`), or a comment behind `#` or `;`. Several files are read as if they were one.
//!
//! rbldnsd skips a line that is wrong, with a warning; here it is refused, the whole list with it, so that what was served before is
//! served on and somebody sees it. Who prefers a list with holes says [`ListBuilder::skip_bad_lines`].

use super::addresses::{AddressesBuilder, Rule};
use super::generic::Generic;
use super::names::NamesBuilder;
use super::steps::{Interval, flatten};
use super::syntax::{a_value, ip4_range, ip6_prefix, timestamp};
use super::values::{BASE, EXCLUDED, PLAIN, ValueId, ValuesBuilder};
use super::{BlockList, Data, Dataset, ListKind, Subzone};
use crate::name::Name;
use crate::record::RecordSet;
use crate::types::Rtype;
use crate::zone::ZoneFileError;
use std::io::BufRead;
use std::path::Path;

/// Seconds of an answer if the file has no $TTL: rbldnsd's default.
const TTL_DEFAULT: u32 = 2100;
/// Octets of a line; a text has 255 at most.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Name servers of a list: as many as rbldnsd takes.
const SERVERS_MAX: usize = 32;
/// Datasets of a combined list, and subzones of each.
const DATASETS_MAX: usize = 1024;
/// Warnings that are kept of lines that were skipped.
const SKIPPED_MAX: usize = 100;

enum Collected {
    Ip4(AddressesBuilder),
    Ip6(Vec<Interval<u128>>),
    Names(NamesBuilder),
    Generic(Generic),
}

struct Section {
    kind: ListKind,
    data: Collected,
    values: ValuesBuilder,
    /// What entries without a value say.
    default: ValueId,
    ttl: u32,
}

impl Section {
    fn new(kind: ListKind, ttl: u32) -> Self {
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

/// Reads a list, file by file.
///
/// Cost: one pass, a line at a time; 8 bytes an address and name + 20 bytes a name until [`ListBuilder::finish`].
pub struct ListBuilder {
    origin: Name,
    /// The dataset; of a combined list what stands before the first `$DATASET`.
    base: Section,
    sections: Vec<Section>,
    zones: Vec<Subzone>,
    soa: Option<(u32, Vec<u8>)>,
    servers: Option<RecordSet>,
    range_max: Option<u64>,
    modified: u64,
    made: Option<u64>,
    expires: Option<u64>,
    skip: bool,
    skipped: Vec<String>,
    skipped_count: usize,
}

impl ListBuilder {
    /// Begins the list that is served as `origin`.
    #[must_use]
    pub fn new(origin: &Name, kind: ListKind) -> Self {
        Self {
            origin: origin.to_key(),
            base: Section::new(kind, TTL_DEFAULT),
            sections: Vec::new(),
            zones: Vec::new(),
            soa: None,
            servers: None,
            range_max: None,
            modified: 0,
            made: None,
            expires: None,
            skip: false,
            skipped: Vec::new(),
            skipped_count: 0,
        }
    }

    /// Skips lines that are wrong, as rbldnsd does, instead of refusing the list.
    #[must_use]
    pub fn skip_bad_lines(mut self) -> Self {
        self.skip = true;
        self
    }

    /// When the youngest file was changed, seconds since 1970: the serial number of a `$SOA` that gives 0.
    pub fn modified(&mut self, seconds: u64) {
        self.modified = self.modified.max(seconds);
    }

    /// Number of lines that were skipped, and what was wrong with the first of them.
    #[must_use]
    pub fn skipped(&self) -> (usize, &[String]) {
        (self.skipped_count, &self.skipped)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The first line that is wrong; the file cannot be read.
    pub fn read(&mut self, path: &Path, input: &mut dyn BufRead) -> Result<(), ZoneFileError> {
        self.base.default = PLAIN;
        if let Some(section) = self.sections.last_mut() {
            section.default = PLAIN;
        }
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let mut limited = std::io::Read::take(&mut *input, LINE_BYTES_MAX as u64 + 1);
            let read = limited
                .read_until(b'\n', &mut line)
                .map_err(|error| ZoneFileError { place: path.display().to_string(), text: format!("cannot be read: {error}") })?;
            if read == 0 {
                break;
            }
            let result = if read > LINE_BYTES_MAX {
                Err(format!("a line of more than {LINE_BYTES_MAX} octets"))
            } else {
                self.line(line.trim_ascii())
            };
            if let Err(text) = result {
                let error = ZoneFileError { place: format!("{}:{number}", path.display()), text };
                if !self.skip || read > LINE_BYTES_MAX {
                    return Err(error);
                }
                self.skipped_count += 1;
                if self.skipped.len() < SKIPPED_MAX {
                    self.skipped.push(error.to_string());
                }
            }
        }
        Ok(())
    }

    fn current(&mut self) -> &mut Section {
        self.sections.last_mut().unwrap_or(&mut self.base)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        match line {
            [b'$', directive @ ..] | [b'#' | b';' | b':', b'$', directive @ ..] => self.directive(directive),
            [] | [b'#' | b';', ..] => Ok(()),
            _ if self.base.kind == ListKind::Combined && self.sections.is_empty() => {
                Err("an entry before the first $DATASET".to_owned())
            }
            _ => {
                let range_max = self.range_max;
                let section = self.current();
                if section.kind == ListKind::Generic {
                    return section.record(line);
                }
                // `::1` is an address.
                if line.first() == Some(&b':') && !line.starts_with(b"::") {
                    section.default = section.value(line, PLAIN)?;
                    return Ok(());
                }
                section.entry(line, range_max)
            }
        }
    }

    fn directive(&mut self, line: &[u8]) -> Result<(), String> {
        let line = std::str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Into::into);
        let (word, rest) = line.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((&line, ""));
        let (directive, rest) = (word.to_ascii_uppercase(), rest.trim());
        let variable = match directive.as_bytes() {
            [digit @ b'0'..=b'9'] => Some(usize::from(digit - b'0')),
            b"=" => Some(BASE),
            _ => None,
        };
        if let Some(variable) = variable {
            if rest.is_empty() {
                return Err(format!("${word} lacks its text"));
            }
            // The first says it.
            if let Some(place @ None) = self.current().values.variables().get_mut(variable) {
                *place = Some(rest.as_bytes().into());
            }
            return Ok(());
        }
        let mut words = rest.split_ascii_whitespace();
        match directive.as_str() {
            "TTL" => {
                let ttl = time(words.next())?;
                self.current().ttl = if ttl == 0 { TTL_DEFAULT } else { ttl };
            }
            "TIMESTAMP" => self.timestamp(&mut words)?,
            "MAXRANGE4" => {
                let text = words.next().unwrap_or_default();
                let size = match text.strip_prefix('/') {
                    Some(length) => length.parse::<u32>().ok().filter(|length| *length <= 32).map(|length| 1 << (32 - length)),
                    None => text.parse::<u64>().ok().filter(|size| *size > 0),
                };
                let size = size.ok_or("$MAXRANGE4 needs a number of addresses, or a prefix length like /24")?;
                self.range_max = Some(self.range_max.map_or(size, |known| known.min(size)));
            }
            "SOA" => self.soa(&mut words)?,
            "NS" | "NAMESERVER" => self.servers(&mut words)?,
            "DATASET" if self.base.kind == ListKind::Combined => {
                return self.dataset(rest);
            }
            _ => return Err(format!("${word} is not known; $SOA, $NS, $TTL, $TIMESTAMP, $MAXRANGE4, $0 to $9 and $= are")),
        }
        match words.next() {
            Some(extra) => Err(format!("\"{extra}\" is too much behind ${word}")),
            None => Ok(()),
        }
    }

    fn timestamp<'w>(&mut self, words: &mut impl Iterator<Item = &'w str>) -> Result<(), String> {
        const NEEDS: &str = "$TIMESTAMP needs a time like 2021:01:31:12:00:00, and perhaps when it expires";
        let made = timestamp(words.next().unwrap_or_default()).ok_or(NEEDS)?;
        let expires = match words.next() {
            None => None,
            Some(text) => match text.strip_prefix('+') {
                Some(relative) => made.zip(crate::zone::seconds(relative)).map(|(made, after)| made + u64::from(after)),
                None => timestamp(text).ok_or(NEEDS)?,
            },
        };
        self.made = self.made.max(made);
        self.expires = match (self.expires, expires) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Ok(())
    }

    fn soa<'w>(&mut self, words: &mut impl Iterator<Item = &'w str>) -> Result<(), String> {
        let mut ttl = time(words.next())?;
        if ttl == 0 {
            ttl = self.base.ttl;
        }
        let mut rdata = name(words.next())?.wire().to_vec();
        rdata.extend_from_slice(name(words.next())?.wire());
        let serial = words.next().and_then(|text| text.parse::<u32>().ok()).ok_or("$SOA needs a serial number")?;
        rdata.extend_from_slice(&serial.to_be_bytes());
        for _ in 0..4 {
            rdata.extend_from_slice(&time(words.next())?.to_be_bytes());
        }
        self.soa.get_or_insert((ttl, rdata));
        Ok(())
    }

    fn servers<'w>(&mut self, words: &mut impl Iterator<Item = &'w str>) -> Result<(), String> {
        let mut ttl = time(words.next())?;
        if ttl == 0 {
            ttl = self.base.ttl;
        }
        // One that begins with `-` is switched off.
        let mut any = false;
        let mut rdata = Vec::new();
        for word in words {
            any = true;
            if !word.starts_with('-') {
                rdata.push(name(Some(word))?.wire().into());
            }
        }
        if !any {
            return Err("$NS lacks a name".to_owned());
        }
        rdata.truncate(SERVERS_MAX);
        if !rdata.is_empty() {
            self.servers.get_or_insert(RecordSet { rtype: Rtype::NS, ttl, rdata });
        }
        Ok(())
    }

    /// `$DATASET type:name subzone subzone ...`
    fn dataset(&mut self, rest: &str) -> Result<(), String> {
        let words: Vec<&str> = rest.split_ascii_whitespace().take_while(|word| !word.starts_with(['#', ';'])).collect();
        let [kind, zones @ ..] = words.as_slice() else { return Err("$DATASET lacks its type".to_owned()) };
        let kind = kind.split(':').next().unwrap_or_default();
        let kind = ListKind::parse(kind).filter(|kind| *kind != ListKind::Combined);
        let kind = kind.ok_or("$DATASET needs a type: ip4set, ip4trie, ip4tset, ip6trie, ip6tset, dnset or generic")?;
        if zones.is_empty() {
            return Err("$DATASET lacks its subzones; @ is the zone itself".to_owned());
        }
        if self.sections.len() + zones.len() > DATASETS_MAX {
            return Err(format!("more than {DATASETS_MAX} datasets"));
        }
        for zone in zones {
            let key = if *zone == "@" { Name::root() } else { name(Some(zone))?.to_key() };
            let number = self.sections.len();
            match self.zones.iter_mut().find(|zone| zone.key == key) {
                Some(zone) => zone.datasets.push(number),
                None => self.zones.push(Subzone { key, datasets: vec![number] }),
            }
        }
        let mut section = Section::new(kind, self.base.ttl);
        section.values.variables().clone_from(self.base.values.variables());
        self.sections.push(section);
        Ok(())
    }

    /// The list.
    ///
    /// # Errors
    /// What is too much for it.
    pub fn finish(self) -> Result<BlockList, ZoneFileError> {
        let Self { origin, base, mut sections, mut zones, soa, servers, modified, made, expires, .. } = self;
        let ttl = base.ttl;
        if base.kind != ListKind::Combined {
            sections.push(base);
            zones.push(Subzone { key: Name::root(), datasets: vec![0] });
        }
        let failed = |text: String| ZoneFileError { place: origin.to_string(), text };
        let datasets: Result<Vec<Dataset>, String> = sections.into_iter().map(Section::finish).collect();
        let datasets = datasets.map_err(failed)?;
        // The longest subzone that fits is the one that answers.
        zones.sort_by_key(|zone| std::cmp::Reverse(zone.key.wire().len()));
        let soa = soa.map(|(ttl, mut rdata)| {
            let at = rdata.len() - 20;
            if let Some(serial) = rdata.get_mut(at..at + 4).filter(|serial| *serial == [0; 4]) {
                let seconds = modified.max(made.unwrap_or(0)).max(1);
                serial.copy_from_slice(&u32::try_from(seconds & 0xffff_ffff).unwrap_or(1).to_be_bytes());
            }
            RecordSet { rtype: Rtype::SOA, ttl, rdata: vec![rdata.into()] }
        });
        Ok(BlockList::new(origin, datasets, zones, soa, servers, ttl).with_times(made, expires))
    }
}

fn time(text: Option<&str>) -> Result<u32, String> {
    text.and_then(crate::zone::seconds)
        .ok_or_else(|| format!("\"{}\" is no time in seconds, nor like 1h30m", text.unwrap_or_default()))
}

fn name(text: Option<&str>) -> Result<Name, String> {
    let text = text.ok_or("a name is missing")?;
    Name::absolute(text).map_err(|error| format!("\"{text}\": {error}"))
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

impl Section {
    /// `:A:text`, `:A`, or a text alone; gives the value's id.
    fn value(&mut self, line: &[u8], default: ValueId) -> Result<ValueId, String> {
        let (address, text) = value(line, || self.values.get(default))?;
        let text = match text {
            Some(text) => text.to_vec(),
            None => self.values.get(default).1.to_vec(),
        };
        self.values.add(address, &text)
    }

    /// Splits an entry's line: what is listed, and its value.
    fn entry(&mut self, line: &[u8], range_max: Option<u64>) -> Result<(), String> {
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
    fn record(&mut self, line: &[u8]) -> Result<(), String> {
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

    fn finish(mut self) -> Result<Dataset, String> {
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
