//! Reads rbldnsd's data files.
//!
//! A line is an entry, `!` and an exclusion, `:A:text` that sets what entries without a value of their own say (to the end of the file), a
//! `$` directive (also behind `#`, `;` or `:`), or a comment behind `#` or `;`. Several files are read as if they were one.
//!
//! rbldnsd skips a line that is wrong, with a warning; here it is refused, the whole list with it, so that what was served before is
//! served on and somebody sees it. Who prefers a list with holes says [`ListBuilder::skip_bad_lines`].

use super::section::{Section, name};
use super::syntax::timestamp;
use super::values::{BASE, PLAIN};
use super::{BlockList, Dataset, ListKind, Subzone};
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
