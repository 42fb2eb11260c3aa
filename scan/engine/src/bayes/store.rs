//! What was learned: a table of token counts and of the messages they came from. FORMAT.md draws the file.
//!
//! Read whole into memory by each worker; written whole to a new file that takes the old one's place, so that nobody ever sees half.
//! Bounded: a full table forgets nothing but learns no new tokens, and says so.

use std::io::{self, Write};
use std::path::Path;

const MAGIC: &[u8; 8] = b"PBAYES\0\x01";
const HEADER: usize = 64;
const TOKENS_MIN: usize = 1 << 18;
const TOKENS_MAX: usize = 1 << 23;
const DIGESTS: usize = 1 << 20;
/// Places tried for a token before it is not there.
const PROBES: usize = 64;

/// Why a store cannot be used.
#[derive(Debug)]
pub struct StoreError(pub String);

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    token: u64,
    spam: u32,
    ham: u32,
}

/// The table.
#[derive(Clone, Debug)]
pub struct TokenStore {
    entries: Vec<Entry>,
    used: usize,
    digests: Vec<u64>,
    digests_used: usize,
    spam_messages: u32,
    ham_messages: u32,
}

impl Default for TokenStore {
    fn default() -> Self {
        Self {
            entries: vec![Entry::default(); TOKENS_MIN],
            used: 0,
            digests: Vec::new(),
            digests_used: 0,
            spam_messages: 0,
            ham_messages: 0,
        }
    }
}

fn place(hash: u64, capacity: usize, probe: usize) -> usize {
    #[allow(clippy::cast_possible_truncation)] // masked
    let start = hash as usize;
    start.wrapping_add(probe) & (capacity - 1)
}

impl TokenStore {
    /// Reads a store; a file that is not there is an empty one.
    ///
    /// # Errors
    /// The file cannot be read, or is of another version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        match std::fs::read(path) {
            Ok(bytes) => Self::parse(&bytes).ok_or_else(|| {
                StoreError(format!("{} is no token store of this version; move it away and learn again", path.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(StoreError(format!("{}: {error}", path.display()))),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 8).and_then(|word| word.first_chunk()).map(|word| u64::from_le_bytes(*word));
        if bytes.get(..8)? != MAGIC {
            return None;
        }
        let (tokens, digests) = (usize::try_from(word(8)?).ok()?, usize::try_from(word(16)?).ok()?);
        let counts = word(24)?;
        let right =
            tokens.is_power_of_two() && (TOKENS_MIN..=TOKENS_MAX).contains(&tokens) && (digests == 0 || digests == DIGESTS);
        if !right || bytes.len() != HEADER + tokens * 16 + digests * 8 {
            return None;
        }
        let (table, known) = bytes.get(HEADER..)?.split_at_checked(tokens * 16)?;
        let entries: Vec<Entry> = table
            .as_chunks::<16>()
            .0
            .iter()
            .map(|entry| {
                let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *entry;
                let read = Entry {
                    token: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
                    spam: u32::from_le_bytes([i, j, k, l]),
                    ham: u32::from_le_bytes([m, n, o, p]),
                };
                // Counts in a free place would be the next new token's.
                if read.token == 0 { Entry::default() } else { read }
            })
            .collect();
        let digests: Vec<u64> = known.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        #[allow(clippy::cast_possible_truncation)] // takes a word apart
        Some(Self {
            used: entries.iter().filter(|entry| entry.token != 0).count(),
            digests_used: digests.iter().filter(|digest| **digest != 0).count(),
            entries,
            digests,
            spam_messages: counts as u32,
            ham_messages: (counts >> 32) as u32,
        })
    }

    /// Writes the store to a new file, syncs it, and puts it in the old one's place.
    ///
    /// # Errors
    /// The operating system's; the old file is as it was.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = io::BufWriter::new(std::fs::File::create(&new)?);
        file.write_all(MAGIC)?;
        file.write_all(&(self.entries.len() as u64).to_le_bytes())?;
        file.write_all(&(self.digests.len() as u64).to_le_bytes())?;
        file.write_all(&(u64::from(self.spam_messages) | u64::from(self.ham_messages) << 32).to_le_bytes())?;
        file.write_all(&[0; HEADER - 32])?;
        for entry in &self.entries {
            file.write_all(&entry.token.to_le_bytes())?;
            file.write_all(&entry.spam.to_le_bytes())?;
            file.write_all(&entry.ham.to_le_bytes())?;
        }
        for digest in &self.digests {
            file.write_all(&digest.to_le_bytes())?;
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&new, path)
    }

    /// Messages learned as spam.
    #[must_use]
    pub fn spam_messages(&self) -> u32 {
        self.spam_messages
    }

    /// Messages learned as ham.
    #[must_use]
    pub fn ham_messages(&self) -> u32 {
        self.ham_messages
    }

    fn find(&self, token: u64) -> Result<usize, Option<usize>> {
        for probe in 0..PROBES {
            let at = place(token, self.entries.len(), probe);
            match self.entries.get(at).map_or(0, |entry| entry.token) {
                0 => return Err(Some(at)),
                found if found == token => return Ok(at),
                _ => {}
            }
        }
        Err(None)
    }

    /// Has the places of these tokens fetched into the cache, all at once: the table is larger than any cache, and one after the other each
    /// would wait for memory (a hundred nanoseconds).
    pub(crate) fn touch(&self, tokens: &[u64]) {
        let fetched = tokens.iter().fold(0, |sum, token| {
            let entry = self.entries.get(place(*token, self.entries.len(), 0));
            sum ^ entry.map_or(0, |entry| entry.token)
        });
        std::hint::black_box(fetched);
    }

    /// How often a token was in spam and in ham; `None` if never.
    #[must_use]
    pub fn counts(&self, token: u64) -> Option<(u32, u32)> {
        self.find(token.max(1))
            .ok()
            .and_then(|at| self.entries.get(at))
            .map(|entry| (entry.spam, entry.ham))
            .filter(|counts| *counts != (0, 0))
    }

    /// Adds to a token's counts, or takes from them. False if the table is full and the token new.
    pub(crate) fn change(&mut self, token: u64, spam: bool, add: bool) -> bool {
        if self.used * 3 > self.entries.len() * 2 && self.entries.len() < TOKENS_MAX {
            self.grow();
        }
        let token = token.max(1);
        let at = match self.find(token) {
            Ok(at) => at,
            Err(Some(at)) if add && self.used * 10 < self.entries.len() * 9 => {
                self.used += 1;
                at
            }
            Err(_) => return false,
        };
        if let Some(entry) = self.entries.get_mut(at) {
            entry.token = token;
            let count = if spam { &mut entry.spam } else { &mut entry.ham };
            *count = if add { count.saturating_add(1) } else { count.saturating_sub(1) };
        }
        true
    }

    fn grow(&mut self) {
        let larger = Self { entries: vec![Entry::default(); self.entries.len() * 2], used: 0, ..Self::default() };
        let old = std::mem::replace(&mut self.entries, larger.entries);
        self.used = 0;
        for entry in old.into_iter().filter(|entry| entry.token != 0) {
            if let Err(Some(at)) = self.find(entry.token)
                && let Some(free) = self.entries.get_mut(at)
            {
                *free = entry;
                self.used += 1;
            }
        }
    }

    /// As what a message was learned before: `Some(true)` spam.
    pub(crate) fn learned_as(&self, digest: u64) -> Option<bool> {
        let wanted = digest | 1;
        (0..PROBES.min(self.digests.len()))
            .map(|probe| self.digests.get(place(digest >> 8, self.digests.len(), probe)).copied().unwrap_or(0))
            .take_while(|found| *found != 0)
            .find(|found| found | 1 == wanted)
            .map(|found| found & 1 == 1)
    }

    /// Remembers a message. One that finds no place is forgotten: learning it again would count it twice, nothing worse.
    pub(crate) fn remember(&mut self, digest: u64, spam: bool) {
        if self.digests.is_empty() {
            self.digests = vec![0; DIGESTS];
        }
        let value = (digest & !1).max(2) | u64::from(spam);
        for probe in 0..PROBES {
            let at = place(digest >> 8, self.digests.len(), probe);
            if let Some(found) = self.digests.get_mut(at)
                && (*found == 0 || *found | 1 == value | 1)
            {
                self.digests_used += usize::from(*found == 0);
                *found = value;
                return;
            }
        }
    }

    pub(crate) fn count_message(&mut self, spam: bool, add: bool) {
        let count = if spam { &mut self.spam_messages } else { &mut self.ham_messages };
        *count = if add { count.saturating_add(1) } else { count.saturating_sub(1) };
    }
}

/// For the fuzzer and the replay of its inputs: reads anything as a store; then as one of the right size, whose first places hold the bytes again
/// and again (a whole store has 4 MiB, too many for a fuzzer). Must not panic, and what is learned is there.
#[doc(hidden)]
pub fn fuzz_token_store(data: &[u8]) {
    let _ = TokenStore::parse(data);
    let (counts, table) = data.split_at_checked(9).unwrap_or((data, &[]));
    let digests = if counts.first().is_some_and(|first| first & 1 == 1) { DIGESTS } else { 0 };
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&(TOKENS_MIN as u64).to_le_bytes());
    file.extend_from_slice(&(digests as u64).to_le_bytes());
    file.extend_from_slice(counts.get(1..).unwrap_or_default());
    file.resize(HEADER, 0);
    let bytes = HEADER + TOKENS_MIN * 16 + digests * 8;
    while !table.is_empty() && file.len() < bytes && file.len() < HEADER + 64 * table.len() {
        file.extend_from_slice(table.get(..table.len().min(bytes - file.len())).unwrap_or_default());
    }
    file.resize(bytes, 0);
    let Some(mut store) = TokenStore::parse(&file) else { unreachable!() };
    for token in [0, 1, u64::MAX, table.first_chunk().map_or(7, |token| u64::from_le_bytes(*token))] {
        let before = store.counts(token).unwrap_or_default();
        if store.change(token, true, true) {
            assert_eq!(store.counts(token), Some((before.0.saturating_add(1), before.1)));
        }
        store.change(token, false, false);
        store.remember(token, true);
        let _ = store.learned_as(token);
        store.count_message(true, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_digests_survive_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let mut store = TokenStore::open(&path).unwrap();
        for token in 0..1000 {
            assert!(store.change(token * 7919, true, true));
        }
        store.change(7919, false, true);
        store.count_message(true, true);
        store.remember(0xDEAD_BEEF_0000, true);
        store.save(&path).unwrap();
        let read = TokenStore::open(&path).unwrap();
        assert_eq!((read.counts(7919), read.counts(5)), (Some((1, 1)), None));
        assert_eq!((read.spam_messages(), read.ham_messages()), (1, 0));
        assert_eq!((read.learned_as(0xDEAD_BEEF_0000), read.learned_as(2)), (Some(true), None));
        std::fs::write(&path, b"rubbish").unwrap();
        assert!(TokenStore::open(&path).unwrap_err().to_string().contains("learn again"));
    }
}
