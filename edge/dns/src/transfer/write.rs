//! Writes large messages: names are found in a table by their hash, so that a message of 16 KiB costs no more a record than a small one.

use super::RecordRef;
use crate::message::Section;
use crate::name::{NAME_BYTES_MAX, parent, suffixes};
use crate::query::HEADER_BYTES;
use crate::record::{Part, is_compressible, parts};
use crate::types::Rtype;
use crate::wire::Reader;

/// Places of names that are remembered; a power of two. A message of 16 KiB holds about as many names; what collides is forgotten.
const SLOTS: usize = 1024;

/// Writes one message.
///
/// Cost: one hash and mostly one comparison for each label that is written, no allocation beyond `out`.
#[derive(Debug)]
pub(crate) struct MessageWriter<'o> {
    out: &'o mut Vec<u8>,
    counts: [u16; 4],
    /// Where a name with this hash begins; 0: nowhere.
    slots: [u16; SLOTS],
}

/// FNV-1a: short names, no adversary who would gain more than a longer message.
fn slot_of(name: &[u8]) -> usize {
    let hash = name.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    usize::from(u16::try_from(hash >> 16 ^ hash & 0xffff).unwrap_or(0)) & (SLOTS - 1)
}

impl<'o> MessageWriter<'o> {
    /// Begins a message in `out`.
    pub fn begin(id: u16, flags: u16, out: &'o mut Vec<u8>) -> Self {
        out.clear();
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        Self { out, counts: [0; 4], slots: [0; SLOTS] }
    }

    fn count(&mut self, section: usize) {
        if let Some(count) = self.counts.get_mut(section) {
            *count = count.saturating_add(1);
        }
        let count = self.counts.get(section).copied().unwrap_or(0);
        let at = 4 + 2 * section;
        if let Some(place) = self.out.get_mut(at..at + 2) {
            place.copy_from_slice(&count.to_be_bytes());
        }
    }

    /// Records in a section.
    pub fn records(&self, section: Section) -> u16 {
        self.counts.get(section as usize).copied().unwrap_or(0)
    }

    /// Adds a question, or the zone of an UPDATE.
    pub fn question(&mut self, name: &[u8], rtype: Rtype, class: u16) {
        self.name(name);
        self.out.extend_from_slice(&rtype.0.to_be_bytes());
        self.out.extend_from_slice(&class.to_be_bytes());
        self.count(0);
    }

    /// Adds a record if the message then has at most `limit` octets. False: nothing was written.
    pub fn record(&mut self, section: Section, record: RecordRef<'_>, class: u16, limit: usize) -> bool {
        let before = self.out.len();
        self.name(record.owner);
        self.out.extend_from_slice(&record.rtype.0.to_be_bytes());
        self.out.extend_from_slice(&class.to_be_bytes());
        self.out.extend_from_slice(&record.ttl.to_be_bytes());
        let length_at = self.out.len();
        self.out.extend_from_slice(&[0; 2]);
        self.rdata(record.rtype, record.rdata);
        let length = u16::try_from(self.out.len() - length_at - 2);
        let Some(length) = length.ok().filter(|_| self.out.len() <= limit) else {
            self.out.truncate(before);
            self.slots.iter_mut().filter(|slot| usize::from(**slot) >= before).for_each(|slot| *slot = 0);
            return false;
        };
        if let Some(place) = self.out.get_mut(length_at..length_at + 2) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        self.count(section as usize);
        true
    }

    /// Adds an empty OPT record: whoever asked with one expects one (RFC 6891 section 6.1.1).
    pub fn opt(&mut self, dnssec_ok: bool) {
        self.out.push(0);
        //= RFC 3225 section 3
        //# The DO bit of the query MUST be copied in the response.
        let flags = if dnssec_ok { 0x8000 } else { 0 };
        for word in [Rtype::OPT.0, crate::message::PAYLOAD_BYTES, 0, flags, 0] {
            self.out.extend_from_slice(&word.to_be_bytes());
        }
        self.count(Section::Additional as usize);
    }

    fn rdata(&mut self, rtype: Rtype, rdata: &[u8]) {
        if !is_compressible(rtype) {
            self.out.extend_from_slice(rdata);
            return;
        }
        let mut reader = Reader::new(rdata, 0);
        for part in parts(rtype) {
            let start = reader.position();
            match part {
                Part::Name => match reader.plain_name() {
                    Some(name) => self.name(name),
                    None => break,
                },
                Part::Bytes(count) => match reader.bytes(*count) {
                    Some(bytes) => self.out.extend_from_slice(bytes),
                    None => break,
                },
                Part::Rest => self.out.extend_from_slice(rdata.get(start..).unwrap_or_default()),
            }
        }
    }

    /// Writes a name, its known ending as a pointer; letters are kept (RFC 5936 section 3.4).
    fn name(&mut self, name: &[u8]) {
        let start = self.out.len();
        for suffix in suffixes(name).take_while(|suffix| suffix.len() > 1) {
            let before = name.len() - suffix.len();
            let slot = slot_of(suffix);
            let target = self.slots.get(slot).copied().unwrap_or(0);
            if target != 0 && self.is_at(target.into(), suffix) {
                self.out.extend_from_slice(name.get(..before).unwrap_or_default());
                self.out.extend_from_slice(&(0xc000 | target).to_be_bytes());
                return;
            }
            if let Some(place) = self.slots.get_mut(slot)
                && let Ok(at) = u16::try_from(start + before)
                && at <= 0x3fff
            {
                *place = at;
            }
        }
        self.out.extend_from_slice(name);
    }

    fn is_at(&self, mut at: usize, name: &[u8]) -> bool {
        let mut rest = name;
        for _ in 0..NAME_BYTES_MAX {
            let (Some(&there), Some(&here)) = (self.out.get(at), rest.first()) else { return false };
            if there >= 0xc0 {
                let low = self.out.get(at + 1).copied().unwrap_or(0);
                let target = usize::from(u16::from_be_bytes([there & 0x3f, low]));
                if target >= at || target < HEADER_BYTES {
                    return false;
                }
                at = target;
                continue;
            }
            let label = usize::from(here) + 1;
            if self.out.get(at..at + label) != rest.get(..label) {
                return false;
            }
            match parent(rest) {
                None => return true,
                Some(behind) => rest = behind,
            }
            at += label;
        }
        false
    }
}
