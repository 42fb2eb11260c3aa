//! Block lists: consulted in process by address or name, and served as zones (RFC 5782). rbldnsd's files, unchanged.
//!
//! ```text
//!   files ─> file ─> values, addresses | steps | names | generic ─> BlockList ──┬─> listed_address, listed_name: the mail checks
//!   commands, journal ─> overlay: what changed since the files were written ────┴─> answer: port 53;  records: AXFR
//! ```
//! A list is read once and never changed; a newer one replaces it whole. Where we differ from rbldnsd, on purpose:
//! - a line that is wrong refuses the list instead of being skipped ([`ListBuilder::skip_bad_lines`] skips);
//! - a name below which something is listed exists: NOERROR without records, where rbldnsd says NXDOMAIN (RFC 8020);
//! - the test points of RFC 5782 section 5 are there, and 127.0.0.1 is not, whatever the file says;
//! - no NS records behind positive answers (rbldnsd -a), one set of records for ANY (RFC 8482);
//! - `acl` is not read: who may ask is set in the configuration.

mod addresses;
mod answer;
mod asked;
mod change;
mod compact;
mod file;
mod generic;
mod hash;
mod import;
mod journal;
mod names;
mod overlay;
mod records;
mod section;
mod steps;
mod syntax;
mod values;

pub use change::{Change, Entry, Key, Scope, Verdict};
pub use file::ListBuilder;
pub use import::{Import, read_changes};
pub use journal::{Decoded, decode_changes, encode_change, fuzz_journal};
pub use overlay::{ENTRIES_MAX, Overlay, OverlayError};
pub use records::{Part, TakeRecord};

use crate::name::Name;
use crate::record::{RecordSet, negative_ttl};
use crate::types::{Rcode, Rtype};
use crate::zone::ZoneFileError;
use addresses::Addresses;
use asked::{Asked, TextBuffer};
use generic::Generic;
use names::Names;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use steps::Steps;
use values::{EXCLUDED, ValueId, Values};

/// What a list's entries are; rbldnsd's dataset types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// IPv4 addresses, networks and ranges; several values of one address are all given.
    Ip4Set,
    /// IPv4 addresses and networks; the longest prefix says what.
    Ip4Trie,
    /// Single IPv4 addresses with one value.
    Ip4TrivialSet,
    /// IPv6 addresses and networks.
    Ip6Trie,
    /// IPv6 networks of 64 bits with one value, single addresses excluded.
    Ip6TrivialSet,
    /// Domain names.
    DnSet,
    /// Plain records.
    Generic,
    /// Several of these, each for some subzones.
    Combined,
}

impl ListKind {
    /// From rbldnsd's name of it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "ip4set" => Self::Ip4Set,
            "ip4trie" => Self::Ip4Trie,
            "ip4tset" => Self::Ip4TrivialSet,
            "ip6trie" => Self::Ip6Trie,
            "ip6tset" => Self::Ip6TrivialSet,
            "dnset" => Self::DnSet,
            "generic" => Self::Generic,
            "combined" => Self::Combined,
            _ => return None,
        })
    }
}

#[derive(Debug)]
enum Data {
    Ip4(Addresses),
    Ip6(Steps<u128>),
    Names(Names),
    Generic(Generic),
}

#[derive(Debug)]
struct Dataset {
    data: Data,
    values: Values,
    ttl: u32,
}

/// A subzone of a list, and the datasets that answer for it.
#[derive(Debug)]
struct Subzone {
    /// Relative to the list's zone, lower-case; the root for the zone itself.
    key: Name,
    datasets: Vec<usize>,
}

/// A list that can be consulted.
#[derive(Debug)]
pub struct BlockList {
    /// Lower-case.
    origin: Name,
    datasets: Vec<Dataset>,
    /// The longest first.
    zones: Vec<Subzone>,
    ttl: u32,
    soa: RecordSet,
    /// Seconds a negative answer may be kept.
    negative_ttl: u32,
    servers: Option<RecordSet>,
    made: Option<u64>,
    expires: Option<u64>,
    overlay: Option<Arc<Overlay>>,
}

/// A hit, borrowed from the list: nothing is allocated before somebody wants the text.
#[derive(Clone, Debug)]
pub struct Listing<'l> {
    /// What an A query gets; of several the first.
    pub address: Ipv4Addr,
    said: Said<'l>,
}

#[derive(Clone, Debug)]
enum Said<'l> {
    File { values: &'l Values, id: ValueId, asked: Asked<'l> },
    Overlay(Arc<Entry>),
}

impl Listing<'_> {
    /// Everything an A query gets: a list may say several things of one address.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let (own, more) = match &self.said {
            Said::File { values, id, .. } => (None, Some(values.each(*id).map(|value| value.address))),
            Said::Overlay(_) => (Some(self.address), None),
        };
        own.into_iter().chain(more.into_iter().flatten())
    }

    /// What a TXT query gets, `$` replaced; of several the first. Empty: no text. Allocates.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = TextBuffer::new();
        match &self.said {
            Said::File { values, id, asked } => {
                if let Some(value) = values.each(*id).next().filter(values::Value::has_text) {
                    value.write(asked, &mut out);
                }
            }
            Said::Overlay(entry) => out.push(entry.text.as_bytes()),
        }
        String::from_utf8_lossy(out.text()).into_owned()
    }
}

/// What a list takes of memory, for the operator and the benchmarks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListSize {
    /// Single IPv4 addresses.
    pub addresses: usize,
    /// Places where networks begin or end.
    pub steps: usize,
    /// Domain names, with those between them and the root.
    pub names: usize,
    /// Bytes of all of these.
    pub entry_bytes: usize,
    /// Bytes of A values and texts.
    pub value_bytes: usize,
}

impl BlockList {
    fn new(
        origin: Name,
        datasets: Vec<Dataset>,
        zones: Vec<Subzone>,
        soa: Option<RecordSet>,
        servers: Option<RecordSet>,
        ttl: u32,
    ) -> Self {
        let soa = soa.unwrap_or_else(|| own_soa(&origin, ttl));
        let negative_ttl = soa.rdata.first().map_or(0, |rdata| negative_ttl(soa.ttl, rdata));
        Self { origin, datasets, zones, ttl, soa, negative_ttl, servers, made: None, expires: None, overlay: None }
    }

    fn with_times(mut self, made: Option<u64>, expires: Option<u64>) -> Self {
        (self.made, self.expires) = (made, expires);
        self
    }

    /// Reads a list of one file whole; `origin` is the zone it is served as. See [`ListBuilder`] for several files and streams.
    ///
    /// # Errors
    /// The first thing that is wrong, with its file and line.
    pub fn parse(
        origin: &Name,
        kind: ListKind,
        path: &Path,
        read: &mut dyn FnMut(&Path) -> std::io::Result<String>,
    ) -> Result<Self, ZoneFileError> {
        let text = read(path)
            .map_err(|error| ZoneFileError { place: path.display().to_string(), text: format!("cannot be read: {error}") })?;
        let mut builder = ListBuilder::new(origin, kind);
        builder.read(path, &mut text.as_bytes())?;
        builder.finish()
    }

    /// Lays what was changed by command over the list: it is consulted first.
    #[must_use]
    pub fn with_overlay(mut self, overlay: Arc<Overlay>) -> Self {
        self.overlay = Some(overlay);
        self
    }

    /// What was changed by command.
    #[must_use]
    pub fn overlay(&self) -> Option<&Arc<Overlay>> {
        self.overlay.as_ref()
    }

    /// The zone it is served as, lower-case.
    #[must_use]
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// Whether `$TIMESTAMP` lets the list be used at this time, seconds since 1970.
    ///
    /// # Errors
    /// It was made in the future, or it has expired.
    pub fn check_time(&self, now: u64) -> Result<(), String> {
        match (self.made, self.expires) {
            (Some(made), _) if made > now => Err(format!("$TIMESTAMP says that it was made {} seconds from now", made - now)),
            (_, Some(expires)) if expires < now => Err(format!("$TIMESTAMP says that it expired {} seconds ago", now - expires)),
            _ => Ok(()),
        }
    }

    /// When the list expires, seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> Option<u64> {
        self.expires
    }

    /// What the list takes of memory, the overlay not counted.
    #[must_use]
    pub fn size(&self) -> ListSize {
        let mut size = ListSize::default();
        for dataset in &self.datasets {
            size.value_bytes += dataset.values.bytes();
            match &dataset.data {
                Data::Ip4(addresses) => {
                    let (singles, steps) = addresses.len();
                    (size.addresses, size.steps) = (size.addresses + singles, size.steps + steps);
                    size.entry_bytes += addresses.bytes();
                }
                Data::Ip6(steps) => {
                    size.steps += steps.len();
                    size.entry_bytes += steps.bytes();
                }
                Data::Names(names) => {
                    size.names += names.len();
                    size.entry_bytes += names.bytes();
                }
                Data::Generic(_) => {}
            }
        }
        size
    }

    /// The datasets of the zone itself.
    fn own_datasets(&self) -> impl Iterator<Item = &Dataset> {
        let own = self.zones.last().filter(|zone| zone.key.wire().len() == 1);
        own.into_iter().flat_map(|zone| &zone.datasets).filter_map(|number| self.datasets.get(*number))
    }

    /// Looks an address up, first in what was changed by command. An IPv6 address that carries an IPv4 address counts as it.
    ///
    /// Cost: for a list of one file with millions of addresses a few cache lines; allocates nothing.
    #[must_use]
    pub fn listed_address(&self, address: IpAddr) -> Option<Listing<'_>> {
        let address = address.to_canonical();
        if address == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            return None;
        }
        if let Some(overlay) = &self.overlay
            && let Some(entry) = overlay.find_address(address, overlay.now())
        {
            return Self::overlay_listing(entry);
        }
        self.listed_address_in_file(address)
    }

    fn listed_address_in_file(&self, address: IpAddr) -> Option<Listing<'_>> {
        self.own_datasets().find_map(|dataset| {
            let (id, asked) = match (&dataset.data, address) {
                (Data::Ip4(addresses), IpAddr::V4(address)) => (addresses.get(address.to_bits()), Asked::Ip4(address)),
                (Data::Ip6(steps), IpAddr::V6(address)) => (steps.get(address.to_bits()), Asked::Ip6(address)),
                _ => return None,
            };
            Self::file_listing(&dataset.values, id, asked)
        })
    }

    /// Looks a name up, lower-case, first in what was changed by command. Allocates nothing.
    #[must_use]
    pub fn listed_name(&self, key: &Name) -> Option<Listing<'_>> {
        self.listed_key(key.wire())
    }

    /// Looks a name up, lower-case, in wire form.
    ///
    /// Cost: see [`Self::listed_name`].
    #[must_use]
    pub fn listed_key(&self, key: &[u8]) -> Option<Listing<'_>> {
        if let Some(overlay) = &self.overlay
            && let Some(entry) = overlay.find_name(key, overlay.now())
        {
            return Self::overlay_listing(entry);
        }
        self.listed_name_in_file(key)
    }

    fn listed_name_in_file(&self, key: &[u8]) -> Option<Listing<'_>> {
        self.own_datasets().find_map(|dataset| {
            let Data::Names(names) = &dataset.data else { return None };
            let found = names.find(key);
            Self::file_listing(&dataset.values, found.value, Asked::Name(found.entry))
        })
    }

    /// True if the list's file lists exactly this, the overlay left aside: what `block del` must hide.
    #[must_use]
    pub fn file_lists(&self, key: &Key) -> bool {
        match key {
            Key::Ip4(network, length) => self.own_datasets().any(|dataset| match &dataset.data {
                Data::Ip4(addresses) => addresses.any(*network, network | u32::MAX.checked_shr((*length).into()).unwrap_or(0)),
                _ => false,
            }),
            Key::Ip6(network, length) => self.own_datasets().any(|dataset| match &dataset.data {
                Data::Ip6(steps) => steps.any(*network, network | u128::MAX.checked_shr((*length).into()).unwrap_or(0)),
                _ => false,
            }),
            Key::Name(name, _) => self.listed_name_in_file(name).is_some(),
        }
    }

    fn file_listing<'l>(values: &'l Values, id: ValueId, asked: Asked<'l>) -> Option<Listing<'l>> {
        if id == EXCLUDED {
            return None;
        }
        let address = values.each(id).next()?.address;
        Some(Listing { address, said: Said::File { values, id, asked } })
    }

    fn overlay_listing<'l>(entry: Arc<Entry>) -> Option<Listing<'l>> {
        match entry.verdict {
            Verdict::Listed(address) => Some(Listing { address, said: Said::Overlay(entry) }),
            Verdict::Hidden => None,
        }
    }
}

/// The SOA of a list whose file has none.
fn own_soa(origin: &Name, ttl: u32) -> RecordSet {
    let mut rdata = origin.wire().to_vec();
    rdata.extend_from_slice(Name::child(b"hostmaster", origin).as_ref().map_or(&[0], Name::wire));
    for word in [1_u32, 3600, 600, 86_400, ttl.min(300)] {
        rdata.extend_from_slice(&word.to_be_bytes());
    }
    RecordSet { rtype: Rtype::SOA, ttl: ttl.min(300), rdata: vec![rdata.into()] }
}

/// For the fuzzer and the replay of its inputs: the first byte says which kind, the rest is read as a list and asked; must not panic.
#[doc(hidden)]
pub fn fuzz_list_file(data: &[u8]) {
    const KINDS: [ListKind; 8] = [
        ListKind::Ip4Set,
        ListKind::DnSet,
        ListKind::Ip4Trie,
        ListKind::Ip4TrivialSet,
        ListKind::Ip6Trie,
        ListKind::Ip6TrivialSet,
        ListKind::Generic,
        ListKind::Combined,
    ];
    let Some((&first, text)) = data.split_first() else { return };
    let (Some(kind), Ok(origin)) = (KINDS.get(usize::from(first & 7)), Name::absolute("example.org")) else { return };
    let mut builder = ListBuilder::new(&origin, *kind);
    if first & 8 != 0 {
        builder = builder.skip_bad_lines();
    }
    if builder.read(Path::new("list"), &mut { text }).is_err() {
        return;
    }
    let Ok(list) = builder.finish() else { return };
    for address in [[0, 0, 0, 0], [127, 0, 0, 2], [192, 0, 2, 1], [255, 255, 255, 255]] {
        // What a client of the zone sees is what is found in process, but for the test points.
        let listed = list.listed_address(address.into());
        let [a, b, c, d] = address;
        if let Ok(name) = Name::parse(&format!("{d}.{c}.{b}.{a}"), Some(&origin))
            && matches!(kind, ListKind::Ip4Set | ListKind::Ip4Trie)
            && a != 127
        {
            assert_eq!(list.answer(&name, Rtype::A).rcode == Rcode::NOERROR, listed.is_some());
        }
        let _ = listed.map(|listing| listing.text());
    }
    let _ = list.listed_address(Ipv6Addr::LOCALHOST.into());
    if let Ok(name) = Name::absolute("a.b") {
        let _ = list.listed_name(&name);
    }
    let mut part = Some(Part::default());
    for _ in 0..64 {
        let Some(next) = part else { break };
        part = list.records(next, &mut |_, _, _, _| ());
    }
    crate::test_support::ask_all(&origin, crate::hosted::Service::List(list));
}

#[cfg(test)]
mod tests;
