//! A segment: one preallocated file of records.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes before the first record.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 4096;
const MAGIC: &[u8; 8] = b"PJOURNAL";
const VERSION: u32 = 1;

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub file: File,
    pub sequence: u64,
    pub bytes: u64,
}

pub(crate) fn segment_path(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("{sequence:016x}.journal"))
}

/// The sequence in a file's name, if it is a segment's.
pub(crate) fn sequence_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".journal")?;
    let sequence = u64::from_str_radix(digits, 16).ok()?;
    // Only as we write it: `+00000000000000f` and upper-case digits are another file's name.
    (format!("{sequence:016x}") == digits).then_some(sequence)
}

fn header(sequence: u64, bytes: u64) -> [u8; 32] {
    let mut header = [0; 32];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&sequence.to_le_bytes());
    header[24..32].copy_from_slice(&bytes.to_le_bytes());
    header
}

impl Segment {
    /// Makes a new one, filled with zeros and synced, or takes a free file of the same size and makes it this one.
    pub(crate) fn create(folder: &Path, sequence: u64, bytes: u64, free: Option<PathBuf>) -> io::Result<Self> {
        let path = segment_path(folder, sequence);
        let file = match free {
            Some(free) => {
                let file = File::options().read(true).write(true).open(&free)?;
                if file.metadata()?.len() != bytes {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a free journal segment of another size"));
                }
                file.write_all_at(&header(sequence, bytes), 0)?;
                std::fs::rename(&free, &path)?;
                file
            }
            None => {
                let unfinished = path.with_extension("making");
                let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::RDWR | OFlags::CLOEXEC;
                let mut file = File::from(rustix::fs::open(&unfinished, flags, Mode::RUSR | Mode::WUSR)?);
                let made = fill(&mut file, bytes)
                    .and_then(|()| file.write_all_at(&header(sequence, bytes), 0))
                    .and_then(|()| file.sync_all())
                    .and_then(|()| std::fs::rename(&unfinished, &path));
                if let Err(error) = made {
                    // A full disk must not stay full because of us; if this fails too there is nothing more to do.
                    let _ = std::fs::remove_file(&unfinished);
                    return Err(error);
                }
                file
            }
        };
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        Ok(Self { file, sequence, bytes })
    }

    /// The records' bytes of a segment file, if its header is right.
    pub(crate) fn read(path: &Path, sequence: u64) -> io::Result<Option<Vec<u8>>> {
        let bytes = std::fs::read(path)?;
        Ok((bytes.get(..32) == Some(&header(sequence, bytes.len() as u64))).then_some(bytes))
    }
}

fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left.min(1 << 20)).unwrap_or(1 << 20);
        file.write_all(zeros.get(..part).unwrap_or_default())?;
        left -= part as u64;
    }
    Ok(())
}
