//! One record: a header that proves itself, then the body. See FORMAT.md.

/// Bytes of a record's header.
pub(crate) const HEADER_BYTES: usize = 32;
const MAGIC: [u8; 4] = *b"PJR1";

/// A header, before it is bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub length: u32,
    pub kind: u16,
    pub lsn: u64,
    /// Sequence of the segment: bytes of a segment's earlier life never pass for records of this one.
    pub segment: u64,
}

impl Header {
    /// The header's bytes, its checksum over itself and the body's parts.
    pub(crate) fn seal(self, parts: &[&[u8]]) -> [u8; HEADER_BYTES] {
        let mut bytes = self.unsealed();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes);
        for part in parts {
            hasher.update(part);
        }
        bytes[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
        bytes
    }

    /// With zeros where the checksum goes.
    fn unsealed(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.kind.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.lsn.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.segment.to_le_bytes());
        bytes
    }
}

/// Bytes a record takes in its segment.
pub(crate) fn record_bytes(length: usize) -> usize {
    (HEADER_BYTES + length).next_multiple_of(8)
}

/// The record at the start of `bytes`, if it is one of this segment with this number: header, body, bytes taken.
pub(crate) fn read(bytes: &[u8], segment: u64, lsn: u64) -> Option<(Header, &[u8], usize)> {
    let head: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let word = |at: usize| head.get(at..at + 8).and_then(|word| word.first_chunk()).map(|word| u64::from_le_bytes(*word));
    let length = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    let kind = u16::from_le_bytes([head[12], head[13]]);
    let header = Header { length, kind, lsn: word(16)?, segment: word(24)? };
    if head.get(..4) != Some(&MAGIC) || header.segment != segment || header.lsn != lsn {
        return None;
    }
    let body = bytes.get(HEADER_BYTES..HEADER_BYTES.checked_add(usize::try_from(length).ok()?)?)?;
    // Sealing anew gives the same bytes only if nothing has changed.
    (header.seal(&[body]) == *head).then_some((header, body, record_bytes(body.len())))
}

/// The records of a segment, from what lies behind its header page, in order; what is torn or stale ends them.
#[derive(Debug)]
pub(crate) struct Records<'b> {
    rest: &'b [u8],
    segment: u64,
    next_lsn: Option<u64>,
}

impl<'b> Records<'b> {
    /// `next_lsn`: the number the first record has at least; the first one says its own, after that they go on without a gap.
    pub(crate) fn new(bytes: &'b [u8], segment: u64, next_lsn: u64) -> Self {
        let first = bytes.get(16..24).and_then(|word| word.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word));
        Self { rest: bytes, segment, next_lsn: Some(first.max(next_lsn)) }
    }
}

impl<'b> Iterator for Records<'b> {
    type Item = (Header, &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (header, body, taken) = read(self.rest, self.segment, self.next_lsn?)?;
        self.rest = self.rest.get(taken..).unwrap_or_default();
        // Nobody comes that far by counting; a record that says so is the last.
        self.next_lsn = header.lsn.checked_add(1);
        Some((header, body))
    }
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic.
#[doc(hidden)]
pub fn fuzz_record(data: &[u8]) {
    if let Some((_, body, taken)) = read(data, 1, 1) {
        assert!(body.len() < data.len() && taken >= body.len());
    }
}

/// For the fuzzer and the replay of its inputs: reads anything as the records of segment 1, then the same with every checksum made right (no
/// fuzzer finds those by itself); must not panic, and finds records in order, each once.
#[doc(hidden)]
pub fn fuzz_segment(data: &[u8]) {
    let check = |data: &[u8]| {
        let mut taken = 0;
        let mut last = None;
        for (header, body) in Records::new(data, 1, 1) {
            assert!(last.is_none_or(|last: u64| last.checked_add(1) == Some(header.lsn)) && header.segment == 1);
            last = Some(header.lsn);
            taken += HEADER_BYTES + body.len();
            assert!(taken <= data.len());
        }
    };
    check(data);
    let mut sealed = data.to_vec();
    let mut at = 0;
    while let Some(header) = sealed.get(at..at + HEADER_BYTES) {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let Some(record) = sealed.get_mut(at..at + HEADER_BYTES + length) else { break };
        record[4..8].fill(0);
        let checksum = crc32fast::hash(record);
        record[4..8].copy_from_slice(&checksum.to_le_bytes());
        at += record_bytes(length);
    }
    check(&sealed);
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // small numbers of the tests themselves
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sealed_is_read_and_any_change_is_seen(body in proptest::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let header = Header { length: body.len() as u32, kind: 3, lsn: 9, segment: 5 };
            let split = body.len() / 2;
            let mut bytes = header.seal(&[&body[..split], &body[split..]]).to_vec();
            bytes.extend_from_slice(&body);
            prop_assert_eq!(read(&bytes, 5, 9), Some((header, body.as_slice(), record_bytes(body.len()))));
            prop_assert_eq!(read(&bytes, 6, 9), None);
            prop_assert_eq!(read(&bytes, 5, 10), None);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert_eq!(read(&bytes, 5, 9), None);
            fuzz_record(&bytes);
        }
    }
}
