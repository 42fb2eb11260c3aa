//! Writes one response into the send buffer: header and question, then records in the order of the sections, OPT at the end.
//!
//! ```text
//!   12              question                    answer                                       OPT
//!   header | d1 4zone 3kit 0 MX IN | c00c MX IN ttl len 10 4mail c00c | ... | 0 41 1232 .. len options
//! ```
//! Names point at the question or at names written before (RFC 1035 section 4.1.4), and only at the same letters: what is read back is what
//! the zone says, whatever letters the client used.

use crate::message::PAYLOAD_BYTES;
use crate::query::{HEADER_BYTES, OPTION_COOKIE, OPTION_EXTENDED_ERROR, OPTION_NSID, OPTION_TCP_KEEPALIVE, QueryView};
use crate::record::{Part, is_compressible, parts};
use crate::types::{CLASS_IN, ExtendedError, Rcode, Rtype};
use crate::wire::Reader;
use smallvec::SmallVec;

/// Octets of an OPT record without options.
const OPT_BYTES: usize = 11;
/// Octets of a record between owner and data.
pub(crate) const RECORD_HEAD_BYTES: usize = 10;
/// Names a response remembers to point at; later ones are written whole.
const TARGETS_MAX: usize = 48;
/// Highest place a pointer of 14 bits can name.
const POINTER_MAX: usize = 0x3fff;
/// Octets of the longest cookie: the client's 8, the server's 32 (RFC 7873 section 4).
pub const COOKIE_BYTES_MAX: usize = 40;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// What was asked for.
    Answer = 1,
    /// Who is in charge: NS of a referral, SOA of a negative answer.
    Authority = 2,
    /// What will be asked next.
    Additional = 3,
}

/// What the header says besides the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFlags {
    /// From our own zone.
    pub authoritative: bool,
    /// The client may ask us for any name.
    pub recursion_available: bool,
    /// Validated (RFC 4035 section 3.2.3).
    pub authentic: bool,
}

/// The record does not fit any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Options of the response's OPT record; their octets are kept free from the beginning.
#[derive(Clone, Debug, Default)]
pub struct ResponseOptions<'a> {
    /// Who answers (RFC 5001); set if the client asked.
    pub identity: Option<&'a [u8]>,
    /// Client and server cookie (RFC 7873).
    pub cookie: SmallVec<[u8; COOKIE_BYTES_MAX]>,
    /// How long a connection may be idle, in units of 100 ms (RFC 7828); set if the client asked, over TCP.
    pub keepalive: Option<u16>,
    /// Why it is not what it could be (RFC 8914). Without a text: it would be in each of many equal responses, and says no more than the code.
    pub extended_errors: SmallVec<[ExtendedError; 2]>,
}

impl ResponseOptions<'_> {
    fn bytes(&self) -> usize {
        let option = |length: usize| length + 4;
        self.identity.map_or(0, |identity| option(identity.len()))
            + if self.cookie.is_empty() { 0 } else { option(self.cookie.len()) }
            + self.keepalive.map_or(0, |_| option(2))
            + self.extended_errors.len() * option(2)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut option = |code: u16, parts: [&[u8]; 2]| {
            let length = u16::try_from(parts[0].len() + parts[1].len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&code.to_be_bytes());
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(parts[0]);
            out.extend_from_slice(parts[1]);
        };
        if let Some(identity) = self.identity {
            option(OPTION_NSID, [identity, &[]]);
        }
        if !self.cookie.is_empty() {
            option(OPTION_COOKIE, [&self.cookie, &[]]);
        }
        if let Some(keepalive) = self.keepalive {
            option(OPTION_TCP_KEEPALIVE, [&keepalive.to_be_bytes(), &[]]);
        }
        for code in &self.extended_errors {
            option(OPTION_EXTENDED_ERROR, [&code.0.to_be_bytes(), &[]]);
        }
    }
}

/// A set as the zone store keeps it: each record as it stands on the wire behind its owner, names not compressed.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'z> {
    /// The type.
    pub rtype: Rtype,
    /// 2 type, 2 class, 4 TTL, 2 length, data; again for each record.
    pub octets: &'z [u8],
}

impl<'z> Encoded<'z> {
    /// The records one after the other, each with its head.
    pub fn records(self) -> impl Iterator<Item = &'z [u8]> {
        let mut rest = self.octets;
        std::iter::from_fn(move || {
            let [.., high, low] = rest.first_chunk::<RECORD_HEAD_BYTES>()?;
            let length = RECORD_HEAD_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
            let (record, behind) = rest.split_at_checked(length)?;
            rest = behind;
            Some(record)
        })
    }

    /// The data of each record.
    pub fn rdata(self) -> impl Iterator<Item = &'z [u8]> {
        self.records().filter_map(|record| record.get(RECORD_HEAD_BYTES..))
    }

    /// Seconds the records may be kept.
    #[must_use]
    pub fn ttl(self) -> u32 {
        self.octets.get(4..).and_then(<[u8]>::first_chunk).map_or(0, |ttl| u32::from_be_bytes(*ttl))
    }
}

/// A name that can be pointed at.
#[derive(Clone, Copy, Debug, Default)]
struct Target {
    at: u16,
    /// Octets of the name, the root's included.
    length: u8,
}

/// Where a response was, to come back to.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    length: usize,
    targets: usize,
    counts: [u16; 4],
}

/// Writes one response: header and question first, then records in the order of the sections.
///
/// Cost: each name is compared with the question and with the names of its length written before, at most [`TARGETS_MAX`]; no allocation
/// beyond `out`.
#[derive(Debug)]
pub struct ResponseWriter<'o, 'q> {
    out: &'o mut Vec<u8>,
    limit: usize,
    /// There is an OPT record; DNSSEC records are wanted.
    edns: Option<bool>,
    options: ResponseOptions<'q>,
    flags: u16,
    counts: [u16; 4],
    question: &'q [u8],
    /// Places of labels that begin a name, but for those of the question.
    targets: SmallVec<[Target; TARGETS_MAX]>,
}

impl<'o, 'q> ResponseWriter<'o, 'q> {
    /// Begins the response to `query` in `out`, at most `limit` octets long.
    pub fn begin(query: &QueryView<'q>, limit: usize, out: &'o mut Vec<u8>) -> Self {
        Self::with_options(query, limit, ResponseOptions::default(), out)
    }

    /// The same with EDNS options; without EDNS in the query there are none.
    pub fn with_options(query: &QueryView<'q>, limit: usize, options: ResponseOptions<'q>, out: &'o mut Vec<u8>) -> Self {
        out.clear();
        let mut head = [0; HEADER_BYTES];
        [head[0], head[1]] = query.id.to_be_bytes();
        out.extend_from_slice(&head);
        out.extend_from_slice(query.question());
        let edns = query.edns.map(|edns| edns.dnssec_ok);
        let kept = if edns.is_some() { OPT_BYTES + options.bytes() } else { 0 };
        Self {
            out,
            limit: limit.saturating_sub(kept),
            edns,
            options,
            flags: 0x8000 | query.repeated_flags(),
            counts: [1, 0, 0, 0],
            question: query.name,
            targets: SmallVec::new(),
        }
    }

    /// Adds why it went wrong (RFC 8914); only where the response has no records, its octets were not kept free.
    pub fn explain(&mut self, code: ExtendedError) {
        self.options.extended_errors.push(code);
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`Full`], and nothing was written.
    pub fn record(&mut self, section: Section, owner: &[u8], rtype: Rtype, ttl: u32, rdata: &[u8]) -> Result<(), Full> {
        let before = self.mark();
        let Ok(length) = u16::try_from(rdata.len()) else { return Err(Full) };
        self.name(owner);
        self.data(rtype, &head(rtype, ttl, length), rdata);
        self.count(section, 1, before)
    }

    /// Adds a set of a zone, or none of it. `ttl` instead of the set's own.
    ///
    /// Cost: a copy of each record, and the names of types that may be compressed.
    ///
    /// # Errors
    /// [`Full`], and nothing was written.
    pub fn set(&mut self, section: Section, owner: &[u8], set: Encoded<'_>, ttl: Option<u32>) -> Result<(), Full> {
        let before = self.mark();
        let compressible = is_compressible(set.rtype);
        let (mut pointer, mut records) = (None, 0);
        for record in set.records() {
            match pointer {
                None => pointer = self.name(owner),
                Some(pointer) => self.out.extend_from_slice(&pointer_octets(pointer)),
            }
            let start = self.out.len();
            if compressible && let Some((head, rdata)) = record.split_first_chunk() {
                self.data(set.rtype, head, rdata);
            } else {
                self.out.extend_from_slice(record);
            }
            if let Some(ttl) = ttl
                && let Some(place) = self.out.get_mut(start + 4..start + 8)
            {
                place.copy_from_slice(&ttl.to_be_bytes());
            }
            records += 1;
            if self.out.len() > self.limit {
                break;
            }
        }
        self.count(section, records, before)
    }

    /// Adds records that are encoded: `octets` with owners that point into this question or into `octets` at this place, and where in them the
    /// TTLs are, each of which becomes what `ttl` makes of it. Nothing written later points into them.
    ///
    /// # Errors
    /// [`Full`], and nothing was written.
    pub(crate) fn encoded(
        &mut self,
        section: Section,
        count: u16,
        octets: &[u8],
        ttl_places: impl Iterator<Item = usize>,
        ttl: impl Fn(u32) -> u32,
    ) -> Result<(), Full> {
        let before = self.mark();
        let start = self.out.len();
        self.out.extend_from_slice(octets);
        for place in ttl_places {
            if let Some(word) = self.out.get_mut(start + place..).and_then(|rest| rest.first_chunk_mut()) {
                *word = ttl(u32::from_be_bytes(*word)).to_be_bytes();
            }
        }
        self.count(section, count, before)
    }

    fn count(&mut self, section: Section, records: u16, before: Mark) -> Result<(), Full> {
        if self.out.len() > self.limit {
            self.rewind(before);
            return Err(Full);
        }
        if let Some(count) = self.counts.get_mut(section as usize) {
            *count = count.saturating_add(records);
        }
        Ok(())
    }

    /// Writes head and data of a record, names compressed where that may be.
    fn data(&mut self, rtype: Rtype, head: &[u8; RECORD_HEAD_BYTES], rdata: &[u8]) {
        self.out.extend_from_slice(head);
        if !is_compressible(rtype) {
            return self.out.extend_from_slice(rdata);
        }
        let start = self.out.len();
        // Of most types the name is all that follows.
        let before = match rtype {
            Rtype::MX => Some(2),
            Rtype::NS | Rtype::CNAME | Rtype::PTR => Some(0),
            _ => None,
        };
        let mut rest = rdata;
        if let Some((bytes, name)) = before.and_then(|before| rdata.split_at_checked(before)) {
            self.out.extend_from_slice(bytes);
            self.name(name);
            rest = &[];
        }
        for part in if before.is_some() { &[] } else { parts(rtype) } {
            let taken = match part {
                Part::Name => {
                    let length = Reader::new(rest, 0).plain_name().map_or(rest.len(), <[u8]>::len);
                    let (name, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                    self.name(name);
                    rest = behind;
                    continue;
                }
                Part::Bytes(count) => *count,
                Part::Rest => rest.len(),
            };
            let (bytes, behind) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
            self.out.extend_from_slice(bytes);
            rest = behind;
        }
        let length = u16::try_from(self.out.len() - start).unwrap_or(u16::MAX);
        if let Some(place) = self.out.get_mut(start - 2..start) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Writes a name, its known ending as a pointer, and remembers the labels written whole. Gives back what points at it, if anything can.
    fn name(&mut self, name: &[u8]) -> Option<u16> {
        let start = self.out.len();
        // Most records belong to the name that was asked for.
        if std::ptr::eq(name, self.question) && name.len() > 1 {
            const QUESTION: u16 = 12;
            self.out.extend_from_slice(&pointer_octets(QUESTION));
            return Some(QUESTION);
        }
        let mut written = 0;
        let target = loop {
            let suffix = name.get(written..).unwrap_or_default();
            // The root needs no pointer.
            let &[length, _, ..] = suffix else { break None };
            if let Some(target) = self.find(suffix) {
                break Some(target);
            }
            written += usize::from(length) + 1;
        };
        match target {
            Some(target) if written == 0 => {
                self.out.extend_from_slice(&pointer_octets(target));
                return Some(target);
            }
            Some(target) => {
                self.out.extend_from_slice(name.get(..written).unwrap_or_default());
                self.out.extend_from_slice(&pointer_octets(target));
            }
            None => self.out.extend_from_slice(name),
        }
        self.remember(start, name, written);
        u16::try_from(start).ok().filter(|_| start <= POINTER_MAX && name.len() > 1)
    }

    /// Remembers the labels of `name` that were written whole: those before `written`.
    fn remember(&mut self, start: usize, name: &[u8], written: usize) {
        let mut offset = 0;
        while offset < written && start + offset <= POINTER_MAX && self.targets.len() < TARGETS_MAX {
            let (Ok(at), Ok(length)) = (u16::try_from(start + offset), u8::try_from(name.len() - offset)) else { return };
            self.targets.push(Target { at, length });
            offset += name.get(offset).map_or(1, |length| usize::from(*length) + 1);
        }
    }

    /// Where the name stands already, letter for letter.
    fn find(&self, name: &[u8]) -> Option<u16> {
        if let Some(at) = find_in_question(self.question, name) {
            return u16::try_from(HEADER_BYTES + at).ok();
        }
        let known = self.targets.iter().filter(|target| usize::from(target.length) == name.len());
        known.map(|target| target.at).find(|at| self.is_at(usize::from(*at), name))
    }

    /// True if the name at `at` of what is written is `name`.
    fn is_at(&self, mut at: usize, name: &[u8]) -> bool {
        let mut rest = name;
        for _ in 0..crate::name::NAME_BYTES_MAX {
            let (Some(&there), Some(&here)) = (self.out.get(at), rest.first()) else { return false };
            if there >= 0xc0 {
                let low = self.out.get(at + 1).copied().unwrap_or(0);
                at = usize::from(u16::from_be_bytes([there & 0x3f, low]));
                continue;
            }
            let label = usize::from(here) + 1;
            if there != here || self.out.get(at..at + label) != rest.get(..label) {
                return false;
            }
            if here == 0 {
                return true;
            }
            at += label;
            rest = rest.get(label..).unwrap_or_default();
        }
        false
    }

    /// Octets written so far, OPT not counted.
    #[must_use]
    pub fn length(&self) -> usize {
        self.out.len()
    }

    /// What was written so far, to come back to with [`Self::rewind`].
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { length: self.out.len(), targets: self.targets.len(), counts: self.counts }
    }

    /// Takes back what was written since the mark.
    pub fn rewind(&mut self, mark: Mark) {
        self.out.truncate(mark.length);
        self.targets.truncate(mark.targets);
        self.counts = mark.counts;
    }

    /// Completes header and OPT. `truncated`: the client shall ask again over TCP.
    pub fn finish(mut self, rcode: Rcode, flags: ResponseFlags, truncated: bool) {
        let bit = |set: bool, bit: u16| if set { bit } else { 0 };
        self.flags |= bit(flags.authoritative, 0x0400)
            | bit(truncated, 0x0200)
            | bit(flags.recursion_available, 0x0080)
            | bit(flags.authentic, 0x0020)
            | (rcode.0 & 15);
        if let Some(dnssec_ok) = self.edns {
            let length = u16::try_from(self.options.bytes()).unwrap_or(u16::MAX);
            let mut opt = [0; OPT_BYTES];
            [opt[1], opt[2]] = Rtype::OPT.0.to_be_bytes();
            [opt[3], opt[4]] = PAYLOAD_BYTES.to_be_bytes();
            opt[5] = u8::try_from(rcode.0 >> 4).unwrap_or(0);
            //= RFC 3225 section 3
            //# The DO bit of the query MUST be copied in the response.
            opt[7] = if dnssec_ok { 0x80 } else { 0 };
            [opt[9], opt[10]] = length.to_be_bytes();
            self.out.extend_from_slice(&opt);
            self.options.write(self.out);
            self.counts[3] = self.counts[3].saturating_add(1);
        }
        let words = std::iter::once(self.flags).chain(self.counts);
        for (place, word) in self.out.get_mut(2..HEADER_BYTES).unwrap_or_default().chunks_exact_mut(2).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
    }
}

/// Where `name` ends the question's name, counted from its beginning.
fn find_in_question(question: &[u8], name: &[u8]) -> Option<usize> {
    let at = question.len().checked_sub(name.len())?;
    if question.get(at..)? != name {
        return None;
    }
    // The same octets may begin in the middle of a label.
    let mut label = 0;
    while label < at {
        label += usize::from(*question.get(label)?) + 1;
    }
    (label == at).then_some(at)
}

fn pointer_octets(target: u16) -> [u8; 2] {
    (0xc000 | target).to_be_bytes()
}

/// What stands between a record's owner and its data.
pub(crate) fn head(rtype: Rtype, ttl: u32, length: u16) -> [u8; RECORD_HEAD_BYTES] {
    let ([a, b], [c, d], [e, f, g, h], [i, j]) =
        (rtype.0.to_be_bytes(), CLASS_IN.to_be_bytes(), ttl.to_be_bytes(), length.to_be_bytes());
    [a, b, c, d, e, f, g, h, i, j]
}
