//! The immutable form of the directory that every shard maps.
//!
//! ```text
//!   8 magic   u64 change   u64 count of each part, then the parts:
//!   names     u64 hash   text name   u32 kind   u32 first target   u32 targets   u32 zero      by hash
//!   accounts  u64 id   u64 quota   text address   text password   text maildir   u32 enabled   i16 junk   i16 reject (tenths)      by id
//!   targets   u64 account (0: elsewhere)   text address
//!   domains   text name   u64 changed   u32 first key   u32 keys
//!   keys      text selector   text record
//!   texts     octets; a text is u32 offset   u32 length in them
//! ```
//!
//! A look-up is one hash, a binary search over hashes, and a comparison of the name; no allocation. The bytes come from another
//! process, so every offset is checked where it is used: a broken snapshot answers "unknown", it never panics.

use crate::database::{Directory, DirectoryError, DomainRow};
use crate::map::Sealed;
use crate::scores::Scores;
use rustix::fs::{MemfdFlags, SealFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"PDIRECT\x03";
const HEADER: usize = 16 + 8 * PARTS;
const NAME_BYTES: usize = 32;
const ACCOUNT_BYTES: usize = 48;
const TARGET_BYTES: usize = 16;
const DOMAIN_BYTES: usize = 24;
const KEY_BYTES: usize = 16;
/// Names, accounts, targets, domains, keys, texts.
const PARTS: usize = 6;
/// Aliases of aliases deeper than this are cut.
const DEPTH_MAX: usize = 10;
/// Targets of one address; more are cut.
const TARGETS_MAX: usize = 1000;

/// What a name is.
const KIND_ADDRESS: u32 = 0;
const KIND_DOMAIN: u32 = 1;

/// FNV-1a over the lower-cased name: the same in every process, which a seeded hash would not be.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.iter()) {
        state = (state ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3);
    }
    state
}

/// Turns the database into a snapshot's bytes; the second part says what was cut (loops of aliases).
///
/// # Errors
/// The database cannot be read.
pub fn build(directory: &Directory) -> Result<(Vec<u8>, Vec<String>), DirectoryError> {
    let sequence = directory.change_sequence()?;
    let (records, accounts, aliases) = (directory.domain_records()?, directory.accounts()?, directory.aliases()?);
    let domains: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
    let mut warnings = Vec::new();
    let addresses: BTreeMap<String, u64> =
        accounts.iter().map(|account| (format!("{}@{}", account.local_part, account.domain), account.id)).collect();
    let mut alias_targets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for alias in &aliases {
        alias_targets.entry(format!("{}@{}", alias.local_part, alias.domain)).or_default().push(alias.target.clone());
    }
    let hosted: BTreeSet<&str> = domains.iter().copied().collect();
    //= RFC 5321 section 4.5.1
    //# Any system that includes an SMTP server supporting mail relaying or delivery MUST support the reserved mailbox "postmaster"
    for domain in &domains {
        let postmaster = format!("postmaster@{domain}");
        if !addresses.contains_key(&postmaster)
            && !alias_targets.contains_key(&postmaster)
            && let Some(first) = accounts.iter().find(|account| account.domain == *domain)
        {
            alias_targets.insert(postmaster, vec![format!("{}@{domain}", first.local_part)]);
        }
    }

    let mut writer = Writer::default();
    // (hash, name, kind, targets)
    let mut names: Vec<(u64, String, u32, Vec<Place>)> = Vec::new();
    for (address, id) in &addresses {
        names.push((hash(&[address.as_bytes()]), address.clone(), KIND_ADDRESS, vec![Place::Account(*id)]));
    }
    for address in alias_targets.keys() {
        let mut places = BTreeSet::new();
        flatten(address, &addresses, &alias_targets, &hosted, 0, &mut places, &mut warnings);
        let kind = if address.starts_with('@') { continue } else { KIND_ADDRESS };
        names.push((hash(&[address.as_bytes()]), address.clone(), kind, places.into_iter().collect()));
    }
    for domain in &domains {
        let name = format!("@{domain}");
        let mut places = BTreeSet::new();
        if alias_targets.contains_key(&name) {
            flatten(&name, &addresses, &alias_targets, &hosted, 0, &mut places, &mut warnings);
        }
        names.push((hash(&[name.as_bytes()]), name, KIND_DOMAIN, places.into_iter().collect()));
    }
    names.sort();
    for (hash, name, kind, places) in &names {
        writer.name(*hash, name, *kind, places);
    }
    for account in &accounts {
        writer.account(account);
    }
    for record in &records {
        writer.domain(record);
    }
    Ok((writer.finish(sequence), warnings))
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Account(u64),
    Remote(String),
}

fn flatten(
    address: &str,
    addresses: &BTreeMap<String, u64>,
    aliases: &BTreeMap<String, Vec<String>>,
    hosted: &BTreeSet<&str>,
    depth: usize,
    places: &mut BTreeSet<Place>,
    warnings: &mut Vec<String>,
) {
    if depth > DEPTH_MAX || places.len() >= TARGETS_MAX {
        warnings.push(format!("the alias {address} is in a loop or too large and was cut; look at its targets"));
        return;
    }
    if let Some(id) = addresses.get(address) {
        places.insert(Place::Account(*id));
    } else if let Some(targets) = aliases.get(address) {
        for target in targets {
            flatten(target, addresses, aliases, hosted, depth + 1, places, warnings);
        }
    } else if address.rsplit_once('@').is_some_and(|(_, domain)| hosted.contains(domain)) {
        warnings.push(format!("an alias leads to {address}, which does not exist"));
    } else {
        places.insert(Place::Remote(address.to_owned()));
    }
}

#[derive(Default)]
struct Writer {
    names: Vec<u8>,
    accounts: Vec<u8>,
    targets: Vec<u8>,
    domains: Vec<u8>,
    keys: Vec<u8>,
    texts: Vec<u8>,
}

impl Writer {
    fn text(&mut self, text: &str) -> [u8; 8] {
        let (offset, length) = (number(self.texts.len()), number(text.len()));
        self.texts.extend_from_slice(text.as_bytes());
        let mut place = [0; 8];
        place[..4].copy_from_slice(&offset.to_le_bytes());
        place[4..].copy_from_slice(&length.to_le_bytes());
        place
    }

    fn name(&mut self, hash: u64, name: &str, kind: u32, places: &[Place]) {
        let first = number(self.targets.len() / TARGET_BYTES);
        for place in places {
            match place {
                Place::Account(id) => {
                    self.targets.extend_from_slice(&id.to_le_bytes());
                    self.targets.extend_from_slice(&[0; 8]);
                }
                Place::Remote(address) => {
                    let text = self.text(address);
                    self.targets.extend_from_slice(&[0; 8]);
                    self.targets.extend_from_slice(&text);
                }
            }
        }
        let text = self.text(name);
        self.names.extend_from_slice(&hash.to_le_bytes());
        self.names.extend_from_slice(&text);
        self.names.extend_from_slice(&kind.to_le_bytes());
        self.names.extend_from_slice(&first.to_le_bytes());
        self.names.extend_from_slice(&number(places.len()).to_le_bytes());
        self.names.extend_from_slice(&[0; 4]);
    }

    fn account(&mut self, account: &crate::database::AccountRow) {
        let address = self.text(&format!("{}@{}", account.local_part, account.domain));
        let password = self.text(&account.password_hash);
        let maildir = self.text(&format!("{}/{}", account.domain, account.local_part));
        self.accounts.extend_from_slice(&account.id.to_le_bytes());
        self.accounts.extend_from_slice(&account.quota_bytes.to_le_bytes());
        self.accounts.extend_from_slice(&address);
        self.accounts.extend_from_slice(&password);
        self.accounts.extend_from_slice(&maildir);
        self.accounts.extend_from_slice(&u32::from(account.enabled).to_le_bytes());
        self.accounts.extend_from_slice(&account.scores.to_octets());
    }

    fn domain(&mut self, domain: &DomainRow) {
        let first = number(self.keys.len() / KEY_BYTES);
        for (selector, record) in &domain.dkim {
            let (selector, record) = (self.text(selector), self.text(record));
            self.keys.extend_from_slice(&selector);
            self.keys.extend_from_slice(&record);
        }
        let name = self.text(&domain.name);
        self.domains.extend_from_slice(&name);
        self.domains.extend_from_slice(&domain.changed.to_le_bytes());
        self.domains.extend_from_slice(&first.to_le_bytes());
        self.domains.extend_from_slice(&number(domain.dkim.len()).to_le_bytes());
    }

    fn finish(self, sequence: u64) -> Vec<u8> {
        let parts: [(Vec<u8>, usize); PARTS] = [
            (self.names, NAME_BYTES),
            (self.accounts, ACCOUNT_BYTES),
            (self.targets, TARGET_BYTES),
            (self.domains, DOMAIN_BYTES),
            (self.keys, KEY_BYTES),
            (self.texts, 1),
        ];
        let mut bytes = Vec::with_capacity(HEADER + parts.iter().map(|(part, _)| part.len()).sum::<usize>());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&sequence.to_le_bytes());
        for (part, size) in &parts {
            bytes.extend_from_slice(&((part.len() / size) as u64).to_le_bytes());
        }
        for (part, _) in parts {
            bytes.extend_from_slice(&part);
        }
        bytes
    }
}

/// Sizes of a directory stay far below 4 Gi; one that does not is cut, not wrapped.
fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Puts a snapshot's bytes into a memfd and seals it for ever.
///
/// # Errors
/// The operating system's.
pub fn to_memfd(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("postring-directory", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(fd);
    io::Write::write_all(&mut file, bytes)?;
    let fd = OwnedFd::from(file);
    rustix::fs::fcntl_add_seals(&fd, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

#[derive(Debug)]
enum Bytes {
    Mapped(Sealed),
    Owned(Vec<u8>),
}

/// The directory as it was at one moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    bytes: Arc<Bytes>,
    sequence: u64,
    names: (usize, usize),
    accounts: (usize, usize),
    targets: (usize, usize),
    domains: (usize, usize),
    keys: (usize, usize),
    texts: (usize, usize),
}

/// The bytes are no snapshot.
#[derive(Debug)]
pub struct SnapshotError(String);

impl std::fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SnapshotError {}

/// What an address is here.
#[derive(Clone, Debug)]
pub enum Resolution<'a> {
    /// It has these targets: one account, or an alias' many.
    Targets(Targets<'a>),
    /// The domain is ours, the address is not.
    UnknownUser,
    /// The account is there and disabled.
    Disabled,
    /// The domain is not ours.
    NotHosted,
}

/// Where mail goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// An account here.
    Account(u64),
    /// An address elsewhere.
    Remote(&'a str),
}

/// The targets of an address.
#[derive(Clone, Debug)]
pub struct Targets<'a> {
    snapshot: &'a Snapshot,
    next: usize,
    end: usize,
}

impl<'a> Iterator for Targets<'a> {
    type Item = Target<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let record = self.snapshot.record(self.snapshot.targets, self.next, TARGET_BYTES)?;
        self.next += 1;
        let account = read_u64(record, 0)?;
        if account != 0 { Some(Target::Account(account)) } else { Some(Target::Remote(self.snapshot.text(record, 8)?)) }
    }
}

/// An account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AccountView<'a> {
    /// Its id.
    pub id: u64,
    /// `local-part@domain`, lower-cased.
    pub address: &'a str,
    /// `{SCHEME}text`.
    pub password_hash: &'a str,
    /// Its mailbox' folder within the mail folder: `domain/local-part`.
    pub maildir: &'a str,
    /// 0: none.
    pub quota_bytes: u64,
    /// Takes mail and may log in.
    pub enabled: bool,
    /// Its own, or its domain's.
    pub scores: Scores,
}

/// A hosted domain.
#[derive(Clone, Debug)]
pub struct DomainView<'a> {
    /// Lower-cased.
    pub name: &'a str,
    /// Seconds since 1970: when something its zone holds has changed last.
    pub changed: u64,
    snapshot: &'a Snapshot,
    keys: std::ops::Range<usize>,
}

impl<'a> DomainView<'a> {
    /// Selectors of its DKIM keys, and the content of their TXT records.
    pub fn dkim_keys(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let snapshot = self.snapshot;
        self.keys.clone().filter_map(move |index| {
            let record = snapshot.record(snapshot.keys, index, KEY_BYTES)?;
            Some((snapshot.text(record, 0)?, snapshot.text(record, 8)?))
        })
    }
}

fn read_u64(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|word| u64::from_le_bytes(*word))
}

fn read_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

impl Snapshot {
    /// Maps the memfd of another process.
    ///
    /// # Errors
    /// Not sealed, or not of this format.
    pub fn map(fd: impl AsFd) -> Result<Self, SnapshotError> {
        let sealed = Sealed::map(fd).map_err(|error| SnapshotError(format!("the directory's snapshot: {error}")))?;
        Self::new(Bytes::Mapped(sealed))
    }

    /// The same over bytes of this process.
    ///
    /// # Errors
    /// Not of this format.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, SnapshotError> {
        Self::new(Bytes::Owned(bytes))
    }

    fn new(bytes: Bytes) -> Result<Self, SnapshotError> {
        let broken = || SnapshotError("the directory's snapshot is broken or of another version".to_owned());
        let all = match &bytes {
            Bytes::Mapped(sealed) => sealed.bytes(),
            Bytes::Owned(bytes) => bytes,
        };
        if all.get(..8) != Some(MAGIC) {
            return Err(broken());
        }
        let sequence = read_u64(all, 8).ok_or_else(broken)?;
        let mut offset = HEADER;
        let mut parts = [(0, 0); PARTS];
        let sizes = [NAME_BYTES, ACCOUNT_BYTES, TARGET_BYTES, DOMAIN_BYTES, KEY_BYTES, 1];
        for (index, (part, size)) in parts.iter_mut().zip(sizes).enumerate() {
            let count = read_u64(all, 16 + index * 8).and_then(|count| usize::try_from(count).ok()).ok_or_else(broken)?;
            *part = (offset, count);
            offset = count.checked_mul(size).and_then(|bytes| bytes.checked_add(offset)).ok_or_else(broken)?;
        }
        if offset != all.len() {
            return Err(broken());
        }
        let [names, accounts, targets, domains, keys, texts] = parts;
        Ok(Self { bytes: Arc::new(bytes), sequence, names, accounts, targets, domains, keys, texts })
    }

    fn all(&self) -> &[u8] {
        match &*self.bytes {
            Bytes::Mapped(sealed) => sealed.bytes(),
            Bytes::Owned(bytes) => bytes,
        }
    }

    fn record(&self, (offset, count): (usize, usize), index: usize, size: usize) -> Option<&[u8]> {
        if index >= count {
            return None;
        }
        let start = offset + index * size;
        self.all().get(start..start + size)
    }

    fn text(&self, record: &[u8], at: usize) -> Option<&str> {
        let (offset, length) = (read_u32(record, at)? as usize, read_u32(record, at + 4)? as usize);
        let texts = self.all().get(self.texts.0..self.texts.0 + self.texts.1)?;
        std::str::from_utf8(texts.get(offset..offset.checked_add(length)?)?).ok()
    }

    /// The change of the database it was made of.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Finds `parts` joined, compared without regard to ASCII case.
    fn find(&self, parts: &[&[u8]]) -> Option<&[u8]> {
        let wanted = hash(parts);
        let hash_at =
            |index: usize| self.record(self.names, index, NAME_BYTES).and_then(|record| read_u64(record, 0)).unwrap_or(u64::MAX);
        let (mut low, mut high) = (0, self.names.1);
        while low < high {
            let middle = low + (high - low) / 2;
            if hash_at(middle) < wanted { low = middle + 1 } else { high = middle }
        }
        let same = |name: &str| {
            let mut rest = name.as_bytes();
            for part in parts {
                let Some((head, tail)) = rest.split_at_checked(part.len()) else { return false };
                if !head.eq_ignore_ascii_case(part) {
                    return false;
                }
                rest = tail;
            }
            rest.is_empty()
        };
        (low..self.names.1)
            .take_while(|index| hash_at(*index) == wanted)
            .filter_map(|index| self.record(self.names, index, NAME_BYTES))
            .find(|record| self.text(record, 8).is_some_and(same))
    }

    fn targets_of(&self, record: &[u8]) -> Targets<'_> {
        let first = read_u32(record, 20).unwrap_or(0) as usize;
        let count = read_u32(record, 24).unwrap_or(0) as usize;
        Targets { snapshot: self, next: first, end: first.saturating_add(count).min(self.targets.1) }
    }

    /// True if mail for the domain is taken here.
    #[must_use]
    pub fn hosts(&self, domain: &str) -> bool {
        self.find(&[b"@", domain.as_bytes()]).is_some()
    }

    /// Where mail for an address goes. The address as it stands first, then without its `+detail`, then the domain's catch-all.
    #[must_use]
    pub fn resolve(&self, local_part: &str, domain: &str) -> Resolution<'_> {
        let Some(domain_record) = self.find(&[b"@", domain.as_bytes()]) else { return Resolution::NotHosted };
        let base = local_part.split_once('+').map(|(base, _)| base).filter(|base| !base.is_empty());
        let found = std::iter::once(local_part)
            .chain(base)
            .find_map(|local_part| self.find(&[local_part.as_bytes(), b"@", domain.as_bytes()]));
        let targets = self.targets_of(found.unwrap_or(domain_record));
        let mut first_two = targets.clone();
        match (first_two.next(), first_two.next()) {
            (None, _) => Resolution::UnknownUser,
            (Some(Target::Account(id)), None) if !self.account(id).is_some_and(|account| account.enabled) => Resolution::Disabled,
            _ => Resolution::Targets(targets),
        }
    }

    /// An account by its id.
    #[must_use]
    pub fn account(&self, id: u64) -> Option<AccountView<'_>> {
        let id_at = |index: usize| {
            self.record(self.accounts, index, ACCOUNT_BYTES).and_then(|record| read_u64(record, 0)).unwrap_or(u64::MAX)
        };
        let (mut low, mut high) = (0, self.accounts.1);
        while low < high {
            let middle = low + (high - low) / 2;
            if id_at(middle) < id { low = middle + 1 } else { high = middle }
        }
        let record = self.record(self.accounts, low, ACCOUNT_BYTES)?;
        let view = AccountView {
            id: read_u64(record, 0)?,
            quota_bytes: read_u64(record, 8)?,
            address: self.text(record, 16)?,
            password_hash: self.text(record, 24)?,
            maildir: self.text(record, 32)?,
            enabled: read_u32(record, 40)? != 0,
            scores: Scores::from_octets(*record.get(44..)?.first_chunk()?),
        };
        (view.id == id).then_some(view)
    }

    /// An account by the name a user logs in with: its address.
    #[must_use]
    pub fn account_by_address(&self, address: &str) -> Option<AccountView<'_>> {
        let record = self.find(&[address.as_bytes()])?;
        let Target::Account(id) = self.targets_of(record).next()? else { return None };
        self.account(id).filter(|account| account.address.eq_ignore_ascii_case(address))
    }

    /// The hosted domains with what their zones need, by name.
    pub fn domains(&self) -> impl Iterator<Item = DomainView<'_>> {
        (0..self.domains.1).filter_map(|index| {
            let record = self.record(self.domains, index, DOMAIN_BYTES)?;
            let (first, count) = (read_u32(record, 16)? as usize, read_u32(record, 20)? as usize);
            let keys = first..first.saturating_add(count).min(self.keys.1);
            Some(DomainView { name: self.text(record, 0)?, changed: read_u64(record, 8)?, snapshot: self, keys })
        })
    }

    /// Number of accounts.
    #[must_use]
    pub fn account_count(&self) -> usize {
        self.accounts.1
    }
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic.
#[doc(hidden)]
pub fn fuzz_snapshot(data: &[u8]) {
    if let Ok(snapshot) = Snapshot::from_bytes(data.to_vec()) {
        for domain in ["", "a", "example.org"] {
            if let Resolution::Targets(targets) = snapshot.resolve("a", domain) {
                let _ = targets.take(100).count();
            }
        }
        let _ = snapshot.domains().take(100).map(|domain| domain.dkim_keys().take(100).count()).sum::<usize>();
        let _ = (snapshot.account(1), snapshot.account_by_address("a@example.org"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dkim::{DkimAlgorithm, DkimKey};
    use proptest::prelude::*;

    fn directory() -> (tempfile::TempDir, Directory) {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::create(&folder.path().join("directory.sqlite")).unwrap();
        directory.domain_add("Example.ORG").unwrap();
        directory.domain_add("empty.example").unwrap();
        for name in ["alice", "bob"] {
            directory.account_add(&format!("{name}@example.org"), "{ARGON2ID}x", 0).unwrap();
        }
        directory
            .alias_add(
                "team@example.org",
                &["alice@example.org".to_owned(), "bob@example.org".to_owned(), "x@far.example".to_owned()],
            )
            .unwrap();
        directory.alias_add("loop@example.org", &["loop@example.org".to_owned()]).unwrap();
        (folder, directory)
    }

    fn targets(snapshot: &Snapshot, local_part: &str, domain: &str) -> Vec<String> {
        match snapshot.resolve(local_part, domain) {
            Resolution::Targets(targets) => targets
                .map(|target| match target {
                    Target::Account(id) => snapshot.account(id).unwrap().address.to_owned(),
                    Target::Remote(address) => format!("remote {address}"),
                })
                .collect(),
            other => vec![format!("{other:?}")],
        }
    }

    #[test]
    fn addresses_resolve() {
        let (_folder, directory) = directory();
        let (bytes, warnings) = build(&directory).unwrap();
        assert!(warnings[0].contains("loop@example.org"));
        let snapshot = Snapshot::map(to_memfd(&bytes).unwrap()).unwrap();
        assert_eq!(targets(&snapshot, "ALICE", "example.ORG"), ["alice@example.org"]);
        assert_eq!(targets(&snapshot, "alice+tag", "example.org"), ["alice@example.org"]);
        assert_eq!(targets(&snapshot, "team", "example.org"), ["alice@example.org", "bob@example.org", "remote x@far.example"]);
        assert_eq!(targets(&snapshot, "Postmaster", "example.org"), ["alice@example.org"]);
        assert_eq!(targets(&snapshot, "loop", "example.org"), ["UnknownUser"]);
        assert_eq!(targets(&snapshot, "nobody", "example.org"), ["UnknownUser"]);
        assert_eq!(targets(&snapshot, "alice", "elsewhere.example"), ["NotHosted"]);
        assert_eq!(snapshot.account_by_address("Bob@example.org").unwrap().maildir, "example.org/bob");
        assert!(snapshot.account_by_address("bob@example.org").unwrap().scores.are_default());
        assert!(snapshot.account_by_address("team@example.org").is_none(), "nobody logs in as an alias");
        directory.alias_add("@example.org", &["bob@example.org".to_owned()]).unwrap();
        let newer = Snapshot::from_bytes(build(&directory).unwrap().0).unwrap();
        assert_eq!(targets(&newer, "nobody", "example.org"), ["bob@example.org"]);
        assert!(newer.sequence() > snapshot.sequence());
    }

    #[test]
    fn an_accounts_scores_come_before_its_domains() {
        let (_folder, directory) = directory();
        let scores = |junk, reject| Scores { junk, reject };
        directory.set_domain_scores("Example.org", scores(Some(3.0), Some(9.5))).unwrap();
        directory.set_account_scores("Bob@example.org", scores(Some(20.0), None)).unwrap();
        let found = |address: &str| {
            let snapshot = Snapshot::from_bytes(build(&directory).unwrap().0).unwrap();
            snapshot.account_by_address(address).unwrap().scores
        };
        assert_eq!(found("alice@example.org"), scores(Some(3.0), Some(9.5)));
        assert_eq!(found("bob@example.org"), scores(Some(20.0), Some(9.5)));
        assert_eq!(directory.domain_scores("example.org").unwrap(), scores(Some(3.0), Some(9.5)));
        let before = directory.change_sequence().unwrap();
        directory.set_domain_scores("example.org", Scores::default()).unwrap();
        assert!(directory.change_sequence().unwrap() > before);
        assert_eq!(found("alice@example.org"), Scores::default());
        assert!(directory.set_account_scores("x@example.org", Scores::default()).is_err());
        assert!(directory.set_account_scores("bob@example.org", scores(Some(f64::NAN), None)).is_err());
    }

    #[test]
    fn domains_come_with_their_keys() {
        let (_folder, directory) = directory();
        let key = DkimKey::generate("s1", DkimAlgorithm::Ed25519).unwrap();
        directory.dkim_key_add("example.org", &key).unwrap();
        let snapshot = Snapshot::from_bytes(build(&directory).unwrap().0).unwrap();
        let found: Vec<(&str, Vec<(&str, &str)>)> =
            snapshot.domains().map(|domain| (domain.name, domain.dkim_keys().collect())).collect();
        assert_eq!(found, [("empty.example", vec![]), ("example.org", vec![("s1", key.record.as_str())])]);
        assert!(snapshot.domains().all(|domain| domain.changed > 1_700_000_000));
        assert!(directory.dkim_key_add("nowhere.example", &key).is_err());
    }

    #[test]
    fn a_directory_of_version_1_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.sqlite");
        let old = rusqlite::Connection::open(&path).unwrap();
        let schema = include_str!("schema.sql").replace(",\n    changed INTEGER NOT NULL DEFAULT 0 ", "\n    -- ");
        assert!(!schema.contains("changed INTEGER"));
        old.execute_batch(&format!("{schema}PRAGMA user_version = 1; INSERT INTO domains (name) VALUES ('old.example');"))
            .unwrap();
        drop(old);
        let directory = Directory::open(&path).unwrap();
        assert_eq!(directory.domain_records().unwrap()[0].name, "old.example");
        directory.domain_add("new.example").unwrap();
        drop(directory);
        let directory = Directory::open(&path).unwrap();
        assert_eq!(directory.domains().unwrap().len(), 2);
        directory.set_domain_scores("old.example", Scores { junk: Some(1.0), reject: None }).unwrap();
    }

    #[test]
    fn requests_that_cannot_be_done_say_why() {
        let (_folder, directory) = directory();
        for (error, text) in [
            (directory.domain_add("example.org"), "hosted already"),
            (directory.domain_add("no domain"), "no domain name"),
            (directory.account_add("alice@example.org", "", 0).map(|_| ()), "exists already"),
            (directory.account_add("a@nowhere.example", "", 0).map(|_| ()), "domain add nowhere.example"),
            (directory.account_add("team@example.org", "", 0).map(|_| ()), "alias already"),
            (directory.account_add("../x@example.org", "", 0).map(|_| ()), "no address"),
            (directory.account_add("a/b@example.org", "", 0).map(|_| ()), "no slash"),
            (directory.alias_add("bob@example.org", &[]), "is an account"),
            (directory.set_password("x@example.org", ""), "no account"),
        ] {
            assert!(error.as_ref().unwrap_err().to_string().contains(text), "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn broken_snapshots_are_harmless(changes in proptest::collection::vec((0..2000_usize, any::<u8>()), 1..8), cut in 0..3000_usize) {
            static ONCE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let mut bytes = ONCE.get_or_init(|| build(&directory().1).unwrap().0).clone();
            for (at, value) in changes { let length = bytes.len(); bytes[at % length] = value; }
            fuzz_snapshot(&bytes);
            bytes.truncate(cut);
            fuzz_snapshot(&bytes);
        }
    }
}
