//! A list as records, for a transfer to a server that knows zones only (AXFR).
//!
//! A network is a wildcard, `*.2.0.192`; a name exists where something more specific is listed, and there the wildcard above does not reach
//! (RFC 4592 section 2.2.1), so it is written again. What is excluded below a wildcard is an alias of a name that does not exist,
//! `excluded`, as rbldnsd -d writes it. What cannot be said in a zone: in the text of a wildcard `$` is the network, and a name like
//! `0.192` below a wildcard gets its answer, too.

use super::addresses::Addresses;
use super::asked::{Asked, TextBuffer};
use super::change::{Key, Scope, Verdict};
use super::names::Names;
use super::steps::Steps;
use super::values::{EXCLUDED, ValueId};
use super::{BlockList, Data, Dataset, Subzone};
use crate::name::{Name, parent};
use crate::types::Rtype;
use smallvec::SmallVec;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Records after which a part ends, so that they can be sent before more are made.
const PART_RECORDS: usize = 2000;
/// 127.0.0.0/24, in which RFC 5782 decides what is listed.
const TEST_NETWORK: u32 = 0x7f00_0000;

/// Where to go on; [`Part::default`] is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    unit: usize,
    at: u128,
}

/// Takes owner, type, TTL, data; the names whole.
pub type TakeRecord<'t> = dyn FnMut(&[u8], Rtype, u32, &[u8]) + 't;
type Sink<'s> = &'s mut TakeRecord<'s>;

struct Writer<'w> {
    list: &'w BlockList,
    dataset: &'w Dataset,
    zone: &'w Subzone,
    sink: Sink<'w>,
    count: usize,
}

impl BlockList {
    /// Gives the records of one part of the zone, and the next part. The first part begins with SOA and NS; the SOA at the end is for who
    /// writes the transfer. What was changed by command stands in the first part; file entries for the same addresses and names are
    /// left out, but a network that was hidden by command inside a larger one stays.
    pub fn records(&self, part: Part, sink: &mut TakeRecord<'_>) -> Option<Part> {
        let mut units = self.zones.iter().flat_map(|zone| zone.datasets.iter().map(move |number| (zone, *number)));
        if part.unit == 0 {
            self.head(sink);
            return Some(Part { unit: 1, at: 0 });
        }
        let (zone, number) = units.nth(part.unit - 1)?;
        let next = Part { unit: part.unit + 1, at: 0 };
        let Some(dataset) = self.datasets.get(number) else { return Some(next) };
        let mut writer = Writer { list: self, dataset, zone, sink, count: 0 };
        let at = match &dataset.data {
            Data::Ip4(addresses) => writer.addresses(addresses, part.at),
            Data::Ip6(steps) => writer.prefixes(steps, part.at),
            Data::Names(names) => writer.names(names, part.at),
            Data::Generic(generic) => {
                for (key, set) in generic.iter() {
                    let Some(owner) = writer.owner(key) else { continue };
                    set.rdata.iter().for_each(|rdata| (writer.sink)(&owner, set.rtype, set.ttl, rdata));
                }
                None
            }
        };
        Some(at.map_or(next, |at| Part { at, ..part }))
    }

    fn head(&self, sink: Sink<'_>) {
        for set in [Some(&self.soa), self.servers.as_ref()].into_iter().flatten() {
            set.rdata.iter().for_each(|rdata| sink(self.origin.wire(), set.rtype, set.ttl, rdata));
        }
        // The test points, as they are answered.
        for zone in &self.zones {
            let has = |kind: fn(&Data) -> bool| {
                zone.datasets.iter().filter_map(|number| self.datasets.get(*number)).any(|dataset| kind(&dataset.data))
            };
            let mut tests: SmallVec<[String; 3]> = SmallVec::new();
            if has(|data| matches!(data, Data::Ip4(_))) {
                tests.push("2.0.0.127".to_owned());
            }
            if has(|data| matches!(data, Data::Ip6(_))) {
                tests.push(nibbles(0xffff_7f00_0002, 32));
            }
            if has(|data| matches!(data, Data::Names(_))) {
                tests.push("test".to_owned());
            }
            for test in tests {
                let Some(owner) = Name::absolute(&test).ok().and_then(|name| self.owner(zone, name.wire())) else { continue };
                for rtype in [Rtype::A, Rtype::TXT] {
                    let _ = self.answer_to(&owner, &owner, rtype, &mut |_, owner, given, ttl, rdata| {
                        if given == rtype {
                            sink(owner, rtype, ttl, rdata);
                        }
                        Ok::<(), ()>(())
                    });
                }
            }
        }
        self.overlay_records(sink);
    }

    fn overlay_records(&self, sink: Sink<'_>) {
        let Some((overlay, apex)) = self.overlay.as_ref().zip(self.zones.last()) else { return };
        let now = overlay.now();
        for entry in overlay.iter(now) {
            let relative = match &entry.key {
                Key::Ip4(0x7f00_0001 | 0x7f00_0002, 32) => continue,
                Key::Ip4(network, length) if length % 8 == 0 && *length > 0 => {
                    octets(*network, u32::from(length / 8), *length < 32)
                }
                Key::Ip6(network, length) if length % 4 == 0 && *length > 0 => {
                    let star = if *length < 128 { "*." } else { "" };
                    format!("{star}{}", nibbles(*network, u32::from(length / 4)))
                }
                Key::Name(name, Scope::Own) => plain(name),
                Key::Name(name, Scope::Below) => format!("*.{}", plain(name)),
                Key::Ip4(..) | Key::Ip6(..) => continue,
            };
            let Some(owner) = Name::absolute(&relative).ok().and_then(|name| self.owner(apex, name.wire())) else { continue };
            match entry.verdict {
                Verdict::Listed(address) => {
                    sink(&owner, Rtype::A, entry.ttl(self.ttl, now), &address.octets());
                    if !entry.text.is_empty() {
                        let mut text = TextBuffer::new();
                        text.push(entry.text.as_bytes());
                        sink(&owner, Rtype::TXT, entry.ttl(self.ttl, now), text.rdata());
                    }
                }
                Verdict::Hidden => sink(&owner, Rtype::CNAME, self.ttl, &self.excluded()),
            }
        }
    }

    fn excluded(&self) -> SmallVec<[u8; 64]> {
        let mut name = SmallVec::from_slice(b"\x08excluded");
        name.extend_from_slice(self.origin.wire());
        name
    }

    /// A name relative to a subzone, whole; `None` if it becomes too long.
    fn owner(&self, zone: &Subzone, relative: &[u8]) -> Option<SmallVec<[u8; 256]>> {
        let mut owner: SmallVec<[u8; 256]> = SmallVec::new();
        for part in [relative, zone.key.wire()] {
            owner.extend_from_slice(part.get(..part.len().saturating_sub(1))?);
        }
        owner.extend_from_slice(self.origin.wire());
        (owner.len() <= crate::name::NAME_BYTES_MAX).then_some(owner)
    }
}

/// `*.2.0.192` of 192.0.2.0 and 3 octets.
fn octets(address: u32, count: u32, wildcard: bool) -> String {
    let mut text = String::from(if wildcard { "*." } else { "" });
    for octet in address.to_be_bytes().iter().take(count as usize).rev() {
        let _ = write!(text, "{octet}.");
    }
    text.pop();
    text
}

/// The first `count` nibbles, the last first.
fn nibbles(address: u128, count: u32) -> String {
    (0..count).rev().map(|nibble| format!("{:x}", address >> (124 - 4 * nibble) & 15)).collect::<Vec<_>>().join(".")
}

fn plain(name: &[u8]) -> String {
    let mut text = String::new();
    let _ = crate::name::write_text(name, &mut text);
    text.trim_end_matches('.').to_owned()
}

impl Writer<'_> {
    fn owner(&self, relative: &[u8]) -> Option<SmallVec<[u8; 256]>> {
        self.list.owner(self.zone, relative)
    }

    fn put(&mut self, relative: &str, id: ValueId, asked: &Asked<'_>) {
        let Some(owner) = Name::absolute(relative).ok().and_then(|name| self.owner(name.wire())) else { return };
        self.put_owner(&owner, id, asked);
    }

    fn put_owner(&mut self, owner: &[u8], id: ValueId, asked: &Asked<'_>) {
        self.count += 1;
        let ttl = self.dataset.ttl;
        if id == EXCLUDED {
            return (self.sink)(owner, Rtype::CNAME, ttl, &self.list.excluded());
        }
        for value in self.dataset.values.each(id) {
            (self.sink)(owner, Rtype::A, ttl, &value.address.octets());
            if value.has_text() {
                let mut text = TextBuffer::new();
                value.write(asked, &mut text);
                (self.sink)(owner, Rtype::TXT, ttl, text.rdata());
            }
        }
    }

    /// The overlay says something else of this one.
    fn is_overlaid(&self, key: impl FnOnce() -> Key) -> bool {
        let overlay = self.list.overlay.as_ref().filter(|overlay| self.zone.key.wire().len() == 1 && !overlay.is_empty());
        overlay.is_some_and(|overlay| overlay.entry(&key()).is_some_and(|entry| !entry.is_expired(overlay.now())))
    }

    /// From the network `at`.0.0/16 on.
    fn addresses(&mut self, addresses: &Addresses, at: u128) -> Option<u128> {
        for high in u32::try_from(at).unwrap_or(u32::MAX)..1 << 16 {
            if self.count > PART_RECORDS {
                return Some(high.into());
            }
            let first = high << 16;
            let (top, top_last) = (first & 0xff00_0000, first | 0x00ff_ffff);
            match addresses.networks().uniform(top, top_last).filter(|_| top != TEST_NETWORK) {
                Some(value) => {
                    if first == top && value != EXCLUDED {
                        self.wildcard(top, 1, value);
                    }
                    if addresses.singles(first, first | 0xffff).next().is_some() {
                        self.network(addresses, first, 2);
                    }
                }
                None => self.network(addresses, first, 2),
            }
        }
        None
    }

    fn wildcard(&mut self, network: u32, count: u32, value: ValueId) {
        let text = format!("{}/{}", Ipv4Addr::from_bits(network), 8 * count);
        if !self.is_overlaid(|| Key::Ip4(network, u8::try_from(8 * count).unwrap_or(32))) {
            self.put(&octets(network, count, true), value, &Asked::Text(text.as_bytes()));
        }
    }

    /// A network of `count` octets: a wildcard if it has one value, with what is different below it; else what it consists of.
    fn network(&mut self, addresses: &Addresses, first: u32, count: u32) {
        let last = first | u32::MAX.checked_shr(8 * count).unwrap_or(0);
        let step = 1_u32 << (24 - 8 * count);
        let test = (first..=last).contains(&TEST_NETWORK);
        match addresses.networks().uniform(first, last).filter(|_| !test) {
            Some(value) => {
                if value != EXCLUDED {
                    self.wildcard(first, count, value);
                }
                let mut from = Some(first);
                while let Some((address, single)) = from.and_then(|from| addresses.singles(from, last).next()) {
                    let end = if step == 1 {
                        if single != EXCLUDED || value != EXCLUDED {
                            self.single(address, single);
                        }
                        address
                    } else {
                        let child = address & !(step - 1);
                        self.network(addresses, child, count + 1);
                        child | (step - 1)
                    };
                    from = end.checked_add(1).filter(|from| *from <= last);
                }
            }
            None if step == 1 => {
                for address in first..=last {
                    let value = addresses.get(address);
                    // RFC 5782 section 5: the test points are written already, or never.
                    if value != EXCLUDED && !matches!(address, 0x7f00_0001 | 0x7f00_0002) {
                        self.single(address, value);
                    }
                }
            }
            None => (0..256).for_each(|child| self.network(addresses, first + child * step, count + 1)),
        }
    }

    fn single(&mut self, address: u32, value: ValueId) {
        if !self.is_overlaid(|| Key::Ip4(address, 32)) {
            self.put(&octets(address, 4, false), value, &Asked::Ip4(address.into()));
        }
    }

    /// From an address on, block by block of whole nibbles that have one value.
    fn prefixes(&mut self, steps: &Steps<u128>, at: u128) -> Option<u128> {
        let mut first = at;
        loop {
            if self.count > PART_RECORDS {
                return Some(first);
            }
            let zeros = if first == 0 { 124 } else { first.trailing_zeros() / 4 * 4 };
            let (mut bits, mut value) = (zeros.min(124), None);
            loop {
                value = value.or_else(|| steps.uniform(first, first | ((1 << bits) - 1)));
                match value {
                    None if bits > 0 => bits -= 4,
                    _ => break,
                }
            }
            if let Some(value) = value.filter(|value| *value != EXCLUDED) {
                let count = 32 - bits / 4;
                let text = if count == 32 { String::new() } else { format!("{}/{}", Ipv6Addr::from_bits(first), 4 * count) };
                let asked = if count == 32 { Asked::Ip6(Ipv6Addr::from_bits(first)) } else { Asked::Text(text.as_bytes()) };
                let star = if count == 32 { "" } else { "*." };
                if !self.is_overlaid(|| Key::Ip6(first, u8::try_from(4 * count).unwrap_or(128))) {
                    self.put(&format!("{star}{}", nibbles(first, count)), value, &asked);
                }
            }
            first = first.checked_add(1 << bits)?;
        }
    }

    /// From a place in the table of names on. Every name there is, listed or not, hides the wildcard above it from what is below.
    fn names(&mut self, names: &Names, at: u128) -> Option<u128> {
        for (name, own, below, behind) in names.iter_from(usize::try_from(at).unwrap_or(usize::MAX)) {
            let test = matches!(name, b"\x04test\0" | b"\x07invalid\0");
            let mut child: SmallVec<[u8; 256]> = SmallVec::from_slice(b"\x01*");
            child.extend_from_slice(name);
            let mut beside: SmallVec<[u8; 256]> = SmallVec::from_slice(b"\x01*");
            beside.extend_from_slice(parent(name).unwrap_or_default());
            let inherited = names.find(&beside).value;
            for (owner, said, scope) in [(name, own, Scope::Own), (child.as_slice(), below, Scope::Below)] {
                let found = names.find(owner);
                // An exclusion is worth a record where something above would reach.
                let excluded = found.value == EXCLUDED && said.is_some() && inherited != EXCLUDED;
                let skip = (test && scope == Scope::Own) || self.is_overlaid(|| Key::Name(name.into(), scope));
                if !skip
                    && (found.value != EXCLUDED || excluded)
                    && let Some(owner) = self.owner(owner)
                {
                    self.put_owner(&owner, found.value, &Asked::Name(found.entry));
                }
            }
            if self.count > PART_RECORDS {
                return Some(behind as u128);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::ListKind;
    use crate::record::rdata_text;
    use crate::zone::parse_zone;
    use proptest::prelude::*;
    use std::path::Path;

    const HEAD: &str = "$SOA 300 ns.example hostmaster.example 1 600 300 7d 300\n$NS 300 ns.example\n:2:$ is listed\n";

    /// The list as a zone file, as a secondary would get it.
    fn zone_text(list: &BlockList) -> String {
        let (mut text, mut part) = (String::new(), Some(Part::default()));
        while let Some(next) = part {
            part = list.records(next, &mut |owner, rtype, ttl, rdata| {
                let owner = Name::from_wire(owner).unwrap();
                writeln!(text, "{owner} {ttl} {rtype} {}", rdata_text(rtype, rdata)).unwrap();
            });
        }
        text
    }

    /// Names relative to the zone say the same in the list and in the zone made of its records.
    fn assert_same(kind: ListKind, file: &str, questions: &[String]) {
        let origin = Name::absolute("bl.example").unwrap();
        let list = BlockList::parse(&origin, kind, Path::new("list"), &mut |_| Ok(format!("{HEAD}{file}"))).unwrap();
        let text = zone_text(&list);
        let zone =
            parse_zone(&origin, Path::new("zone"), &mut |_| Ok(text.clone())).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let mut hosted = crate::Hosted::default();
        hosted.add(&origin, crate::Service::Zone(zone)).unwrap();
        for question in questions {
            let name = Name::parse(question, Some(&origin)).unwrap();
            let a = |answer: &crate::zone::ZoneAnswer<'_>| {
                let sets = answer.answer.iter().filter(|placed| placed.set.rtype == Rtype::A);
                let mut rdata: Vec<_> = sets.flat_map(|placed| placed.set.rdata.clone()).collect();
                rdata.sort();
                rdata
            };
            assert_eq!(
                a(&hosted.answer(&name, Rtype::A).unwrap()),
                a(&list.answer(&name, Rtype::A)),
                "{question}\n{file}\n{text}"
            );
        }
    }

    #[test]
    fn names_as_a_zone() {
        let file = "only.example\n*.below.example\n.zone.example :4:\nwww.zone.example :5:\n!good.zone.example\n!.clean.zone.example\n\
                    *.deep.zone.example :6:\n!*.part.zone.example\na.b.c.zone.example :7:\nx.clean.zone.example :8:\n";
        let names = [
            "only.example",
            "x.only.example",
            "below.example",
            "a.below.example",
            "b.a.below.example",
            "zone.example",
            "x.zone.example",
            "www.zone.example",
            "x.www.zone.example",
            "good.zone.example",
            "x.good.zone.example",
            "clean.zone.example",
            "y.clean.zone.example",
            "x.clean.zone.example",
            "y.x.clean.zone.example",
            "deep.zone.example",
            "x.deep.zone.example",
            "part.zone.example",
            "x.part.zone.example",
            "c.zone.example",
            "b.c.zone.example",
            "a.b.c.zone.example",
            "x.b.c.zone.example",
            "test",
            "invalid",
            "nothing",
        ];
        assert_same(ListKind::DnSet, file, &names.map(str::to_owned));
    }

    #[test]
    fn prefixes_as_a_zone() {
        let file = "2001:db8::/32 :3:\n2001:db8:8000::/33 :4:\n!2001:db8:1::/48\n2001:db8::1 :5:\n2001:db8:1::7 :6:\n";
        let addresses =
            ["2001:db8::1", "2001:db8::2", "2001:db8:8000::", "2001:db8:1::1", "2001:db8:1::7", "2001:db9::", "::ffff:7f00:2"];
        let names = addresses.map(|address| nibbles(address.parse::<Ipv6Addr>().unwrap().to_bits(), 32));
        assert_same(ListKind::Ip6Trie, file, &names);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn addresses_as_a_zone(entries in proptest::collection::vec((0..4_u32, 0..3_u32, 0..256_u32, 14..33_u32, 0..6_u32), 0..8), local: bool) {
            let mut file = if local { "127.0.0.0/8 :9:local\n".to_owned() } else { String::new() };
            let mut questions = vec!["1.0.0.127".to_owned(), "2.0.0.127".to_owned(), "3.0.0.127".to_owned(), "1.2.3.127".to_owned()];
            for (b, c, d, length, value) in entries {
                let address = (10 << 24 | b << 16 | c << 8 | d) & !u32::MAX.checked_shr(length).unwrap_or(0);
                let line = format!("{}/{length}", Ipv4Addr::from_bits(address));
                file += &if value == 0 { format!("!{line}\n") } else { format!("{line} :{value}:\n") };
                let last = address | u32::MAX.checked_shr(length).unwrap_or(0);
                let near = [address, last, address.wrapping_add(1), address - 1, last.wrapping_add(1), address & !0xff, address | 0xffff];
                questions.extend(near.map(|address| octets(address, 4, false)));
            }
            for kind in [ListKind::Ip4Trie, ListKind::Ip4Set] {
                assert_same(kind, &file, &questions);
            }
        }
    }
}
