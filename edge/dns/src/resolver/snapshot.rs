//! A cache on disk between two runs: written at the stop, looked up where it lies at the start.
//!
//! ```text
//!   0   8 "PRDNSNAP"   4 version   4 CRC-32 of octets 16 to 64
//!   16  8 made at   16 key of the hash   8 octets in all   4 entries   4 buckets, a power of two   8 the last entry is gone at
//!   64  buckets of 8: 4 lower half of the hash, 4 place of the entry / 8; place 0: free
//!       entries at places that 8 divides:
//!         0   4 CRC-32 of the rest   4 octets of the answer   8 stored at
//!         16  4 seconds for mail   4 for clients   4 until gone   then the answer, see packed.rs
//! ```
//! Numbers little-endian, times in Unix seconds: a clock of the process ends with it. To open one reads the head and nothing else, so a cache of
//! gigabytes is there at once; an entry costs one bucket and its own octets when somebody asks for it, and is checked then. Nothing in the file
//! is believed: what does not fit is not found. The file is the administrator's and holds what everybody may ask for; it is not signed.

use super::hash::HashKey;
use super::packed::Packed;
use crate::types::Rtype;
use std::fmt;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"PRDNSNAP";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 64;
const BUCKET_BYTES: usize = 8;
const ENTRY_HEAD_BYTES: usize = 28;
/// Buckets looked at for one name. They are half full at most, so that an honest file needs two on average.
const PROBES_MAX: usize = 64;
/// Seconds a snapshot's clock may be ahead of ours.
const AHEAD_MAX: u64 = 600;
/// Seconds after which nothing of a snapshot is of use; also the longest time an entry may claim.
pub(super) const AGE_MAX: u32 = 7 * 86_400;

/// Why a snapshot is not used; the cache begins empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// It does not begin as one.
    Foreign,
    /// It is of another version of this program.
    Version(u32),
    /// It is shorter or longer than it says: the write did not end.
    Torn,
    /// Its head is not what was written.
    Broken,
    /// It was made in the future: a clock was wrong.
    Future,
    /// All in it is over.
    Old,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("the file is no snapshot of a DNS cache"),
            Self::Version(version) => write!(f, "the snapshot has version {version}, this program reads {VERSION}"),
            Self::Torn => f.write_str("the snapshot is not as long as it says: its writing was interrupted"),
            Self::Broken => {
                f.write_str("the snapshot's head does not fit its checksum: the disk gives back what was not written")
            }
            Self::Future => f.write_str("the snapshot was made in the future: the clock was or is wrong"),
            Self::Old => f.write_str("the snapshot is too old, nothing in it is valid"),
        }
    }
}

impl std::error::Error for SnapshotError {}

/// An answer of a snapshot, with its times.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) packed: Packed,
    pub(super) times: KeptTimes,
}

impl Kept {
    fn is_valid(&self, unix_now: u64) -> bool {
        let KeptTimes { stored, seconds_gone, .. } = self.times;
        stored <= unix_now && stored.saturating_add(seconds_gone.into()) > unix_now
    }
}

/// The times of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeptTimes {
    /// Unix seconds.
    pub(super) stored: u64,
    pub(super) seconds_mail: u32,
    pub(super) seconds_client: u32,
    pub(super) seconds_gone: u32,
}

/// The octets of a file, read or mapped.
type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// See the module. May be shared by all shards.
#[derive(Clone)]
pub struct Snapshot {
    bytes: Bytes,
    key: HashKey,
    entries: usize,
    buckets: usize,
    gone_at: u64,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("entries", &self.entries).finish_non_exhaustive()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The half of a hash that a bucket keeps.
fn tag(hash: u64) -> u32 {
    u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0)
}

/// The bucket a hash begins at, from its other half.
fn first_bucket(hash: u64, buckets: usize) -> usize {
    usize::try_from(hash >> 32).unwrap_or(0) & (buckets - 1)
}

impl Snapshot {
    /// Takes a snapshot. Costs a look at its head.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn open(bytes: Bytes, unix_now: u64) -> Result<Self, SnapshotError> {
        let whole = (*bytes).as_ref();
        if whole.first_chunk() != Some(MAGIC) {
            return Err(SnapshotError::Foreign);
        }
        let version = u32_at(whole, 8).ok_or(SnapshotError::Torn)?;
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let head = whole.get(16..HEAD_BYTES).ok_or(SnapshotError::Torn)?;
        if u32_at(whole, 12) != Some(crc32fast::hash(head)) {
            return Err(SnapshotError::Broken);
        }
        let number = |at| u64_at(whole, at).ok_or(SnapshotError::Broken);
        let small = |at| u32_at(whole, at).and_then(|number| usize::try_from(number).ok()).ok_or(SnapshotError::Broken);
        let (made, length, gone_at, entries, buckets) = (number(16)?, number(40)?, number(56)?, small(48)?, small(52)?);
        if usize::try_from(length) != Ok(whole.len()) {
            return Err(SnapshotError::Torn);
        }
        let index_fits = buckets.checked_mul(BUCKET_BYTES).is_some_and(|index| index <= whole.len() - HEAD_BYTES);
        if !buckets.is_power_of_two() || !index_fits {
            return Err(SnapshotError::Broken);
        }
        if made > unix_now.saturating_add(AHEAD_MAX) {
            return Err(SnapshotError::Future);
        }
        let key = HashKey::new([number(24)?, number(32)?]);
        let snapshot = Self { key, entries, buckets, gone_at: gone_at.min(made.saturating_add(AGE_MAX.into())), bytes };
        if snapshot.is_over(unix_now) { Err(SnapshotError::Old) } else { Ok(snapshot) }
    }

    /// True if nothing in it is valid any more, so that it can be let go.
    #[must_use]
    pub fn is_over(&self, unix_now: u64) -> bool {
        self.gone_at <= unix_now
    }

    /// Entries, those that have ended since included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries
    }

    /// True without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The answer to a question, if it is not gone; `key` in lower case. Costs a hash, a bucket and the entry's octets.
    pub(super) fn find(&self, key: &[u8], rtype: Rtype, unix_now: u64) -> Option<Kept> {
        let whole = (*self.bytes).as_ref();
        let hash = self.key.hash(key, rtype);
        let first = first_bucket(hash, self.buckets);
        for probe in 0..PROBES_MAX.min(self.buckets) {
            let bucket = HEAD_BYTES + ((first + probe) & (self.buckets - 1)) * BUCKET_BYTES;
            let place = usize::try_from(u32_at(whole, bucket + 4)?).ok()?.checked_mul(8)?;
            if place == 0 {
                return None;
            }
            if u32_at(whole, bucket) != Some(tag(hash)) {
                continue;
            }
            let kept = Self::read(whole, place);
            if let Some(kept) = kept.filter(|kept| kept.packed.is_for(key, rtype)) {
                return kept.is_valid(unix_now).then_some(kept);
            }
        }
        None
    }

    /// All that is not gone. Costs a walk over the file.
    pub(super) fn entries(&self, unix_now: u64) -> impl Iterator<Item = Kept> {
        let whole = (*self.bytes).as_ref();
        let places = (0..self.buckets).filter_map(move |bucket| {
            let place = u32_at(whole, HEAD_BYTES + bucket * BUCKET_BYTES + 4).filter(|place| *place != 0)?;
            usize::try_from(place).ok()?.checked_mul(8)
        });
        places.filter_map(move |place| Self::read(whole, place)).filter(move |kept| kept.is_valid(unix_now))
    }

    fn read(whole: &[u8], place: usize) -> Option<Kept> {
        let length = usize::try_from(u32_at(whole, place.checked_add(4)?)?).ok()?;
        let end = place.checked_add(ENTRY_HEAD_BYTES)?.checked_add(length)?;
        if u32_at(whole, place)? != crc32fast::hash(whole.get(place + 4..end)?) {
            return None;
        }
        let seconds = |at| u32_at(whole, place + at).filter(|seconds| *seconds <= AGE_MAX);
        let times = KeptTimes {
            stored: u64_at(whole, place + 8)?,
            seconds_mail: seconds(16)?,
            seconds_client: seconds(20)?,
            seconds_gone: seconds(24)?,
        };
        Some(Kept { packed: Packed::from_bytes(whole.get(place + ENTRY_HEAD_BYTES..end)?)?, times })
    }

    /// Writes a snapshot. Costs one copy of all answers, and an index of 16 to 32 octets an entry.
    pub(super) fn write<'a>(kept: impl Iterator<Item = (&'a Packed, KeptTimes)>, key: HashKey, unix_now: u64) -> Vec<u8> {
        let mut entries: Vec<(u64, usize)> = Vec::new();
        let mut body = Vec::new();
        let mut gone_at = 0;
        for (packed, times) in kept {
            body.resize(body.len().next_multiple_of(8), 0);
            let place = body.len();
            let packed_bytes = packed.bytes();
            body.extend_from_slice(&[0; 4]);
            body.extend_from_slice(&u32::try_from(packed_bytes.len()).unwrap_or(0).to_le_bytes());
            body.extend_from_slice(&times.stored.to_le_bytes());
            for seconds in [times.seconds_mail, times.seconds_client, times.seconds_gone] {
                body.extend_from_slice(&seconds.min(AGE_MAX).to_le_bytes());
            }
            body.extend_from_slice(packed_bytes);
            let checksum = crc32fast::hash(body.get(place + 4..).unwrap_or_default());
            put(&mut body, place, &checksum.to_le_bytes());
            entries.push((key.hash(packed.key(), packed.rtype()), place));
            gone_at = gone_at.max(times.stored.saturating_add(times.seconds_gone.into()));
        }
        let buckets = (entries.len() * 2).next_power_of_two();
        let start = HEAD_BYTES + buckets * BUCKET_BYTES;
        let mut out = vec![0; start];
        for (hash, place) in &entries {
            // A place 2^32 * 8 octets away is beyond every cache.
            let Ok(place) = u32::try_from((start + place) / 8) else { continue };
            let first = first_bucket(*hash, buckets);
            let free = (0..PROBES_MAX.min(buckets)).find_map(|probe| {
                let bucket = HEAD_BYTES + ((first + probe) & (buckets - 1)) * BUCKET_BYTES;
                (u32_at(&out, bucket + 4) == Some(0)).then_some(bucket)
            });
            if let Some(bucket) = free {
                put(&mut out, bucket, &tag(*hash).to_le_bytes());
                put(&mut out, bucket + 4, &place.to_le_bytes());
            }
        }
        let length = u64::try_from(start + body.len()).unwrap_or(u64::MAX);
        let words = [unix_now, key.words()[0], key.words()[1], length];
        words.iter().enumerate().for_each(|(at, word)| put(&mut out, 16 + 8 * at, &word.to_le_bytes()));
        put(&mut out, 48, &u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
        put(&mut out, 52, &u32::try_from(buckets).unwrap_or(0).to_le_bytes());
        put(&mut out, 56, &gone_at.to_le_bytes());
        let checksum = crc32fast::hash(out.get(16..HEAD_BYTES).unwrap_or_default());
        put(&mut out, 0, MAGIC);
        put(&mut out, 8, &VERSION.to_le_bytes());
        put(&mut out, 12, &checksum.to_le_bytes());
        out.append(&mut body);
        out
    }
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// For the fuzzer and the replay of its inputs: takes anything for a snapshot, its checksums put right so that what is behind them is reached;
/// nothing panics, and what is found can be sent.
#[doc(hidden)]
pub fn fuzz_snapshot(data: &[u8]) {
    use crate::responder::Transport;
    const NOW: u64 = 1_800_000_000;
    let mut bytes = data.to_vec();
    let _ = Snapshot::open(Arc::new(bytes.clone()), NOW);
    let length = u64::try_from(bytes.len()).unwrap_or(0);
    put(&mut bytes, 0, MAGIC);
    put(&mut bytes, 8, &VERSION.to_le_bytes());
    put(&mut bytes, 16, &NOW.to_le_bytes());
    put(&mut bytes, 40, &length.to_le_bytes());
    let checksum = crc32fast::hash(bytes.get(16..HEAD_BYTES).unwrap_or_default());
    put(&mut bytes, 12, &checksum.to_le_bytes());
    // The entry the first bucket names is put right as well.
    if let Some(place) = u32_at(&bytes, HEAD_BYTES + 4).and_then(|place| usize::try_from(place).ok()?.checked_mul(8)) {
        let length = u32_at(&bytes, place.saturating_add(4)).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let end = place.saturating_add(ENTRY_HEAD_BYTES).saturating_add(length);
        if place >= HEAD_BYTES + BUCKET_BYTES
            && let Some(checksum) = bytes.get(place + 4..end).map(crc32fast::hash)
        {
            put(&mut bytes, place, &checksum.to_le_bytes());
        }
        if let Some(kept) = Snapshot::read(&bytes, place) {
            let key = kept.packed.key().to_vec();
            let rtype = kept.packed.rtype();
            let resolved = super::Resolved { packed: kept.packed, age_seconds: 1, left_seconds: 10, stale: false };
            let _ = resolved.to_answer();
            let (mut packet, mut out) = (Vec::new(), Vec::new());
            crate::query::write_query(7, &key, rtype, true, &mut packet);
            for transport in [Transport::Udp, Transport::Tcp] {
                crate::test_support::give(&packet, &resolved, transport, &mut out);
                crate::test_support::assert_readable(&out, transport);
            }
        }
    }
    if let Ok(snapshot) = Snapshot::open(Arc::new(bytes), NOW) {
        let _ = snapshot.find(b"\x01a\x07example\0", Rtype::A, NOW);
        let _ = snapshot.entries(NOW).count();
    }
}

#[cfg(test)]
mod tests;
