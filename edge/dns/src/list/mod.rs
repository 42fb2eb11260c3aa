//! A block list: consulted in process by address or name, and served as a zone (RFC 5782).

mod file;
mod ranges;

use crate::name::{Name, labels, suffixes};
use crate::record::RecordSet;
use crate::types::{Rcode, Rtype};
use crate::zone::{Placed, ZoneAnswer, ZoneFileError};
use ranges::{EXCLUDED, Ranges};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// What a list's entries are; rbldnsd's dataset types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// IPv4 addresses, networks and ranges.
    Ip4Set,
    /// Domain names.
    DnSet,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Value {
    /// The A record.
    address: Ipv4Addr,
    /// The TXT record; `$` stands for what was asked for.
    text: Box<str>,
}

/// Names with the values of themselves and of what is below them; without either: something below them has one.
#[derive(Debug, Default)]
struct Names {
    entries: HashMap<Box<[u8]>, OwnAndBelow>,
}

type OwnAndBelow = (Option<u32>, Option<u32>);

impl Names {
    fn add(&mut self, key: &Name, own: Option<u32>, below: Option<u32>) {
        let entry = self.entries.entry(key.wire().into()).or_default();
        *entry = (own.or(entry.0), below.or(entry.1));
        // What lies above exists, too, without a value.
        for suffix in suffixes(key.wire()).skip(1) {
            if !self.entries.contains_key(suffix) {
                self.entries.insert(suffix.into(), (None, None));
            }
        }
    }

    fn get(&self, key: &[u8]) -> Option<u32> {
        suffixes(key)
            .enumerate()
            .find_map(|(level, suffix)| {
                let (own, below) = self.entries.get(suffix)?;
                if level == 0 { *own } else { *below }
            })
            .filter(|value| *value != EXCLUDED)
    }
}

#[derive(Debug)]
enum Data {
    Addresses(Ranges),
    Names(Names),
}

/// A list that can be consulted.
#[derive(Debug)]
pub struct BlockList {
    /// Lower-case.
    origin: Name,
    data: Data,
    values: Vec<Value>,
    ttl: u32,
    soa: RecordSet,
    servers: Option<RecordSet>,
}

/// A hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// What an A query gets.
    pub address: Ipv4Addr,
    /// What a TXT query gets, `$` replaced.
    pub text: String,
}

impl BlockList {
    /// Reads a list from rbldnsd's format; `origin` is the zone it is served as.
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
        let parsed = file::parse(kind, path, &text)?;
        let soa = parsed.soa.unwrap_or_else(|| own_soa(origin, parsed.ttl));
        Ok(Self {
            origin: origin.to_key(),
            data: parsed.data,
            values: parsed.values,
            ttl: parsed.ttl,
            soa,
            servers: parsed.servers,
        })
    }

    /// The zone it is served as, lower-case.
    #[must_use]
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// Looks an address up. IPv6 addresses are in no list of these kinds; those that carry an IPv4 address count as it.
    ///
    /// Cost: one binary search; allocates on a hit only.
    #[must_use]
    pub fn listed_address(&self, address: IpAddr) -> Option<Listing> {
        let (IpAddr::V4(address), Data::Addresses(ranges)) = (address.to_canonical(), &self.data) else { return None };
        self.listing(ranges.get(address)?, &address.to_string())
    }

    /// Looks a name up, lower-case.
    #[must_use]
    pub fn listed_name(&self, key: &Name) -> Option<Listing> {
        let Data::Names(names) = &self.data else { return None };
        self.listing(names.get(key.wire())?, key.to_string().trim_end_matches('.'))
    }

    fn listing(&self, value: u32, asked: &str) -> Option<Listing> {
        let value = self.values.get(value as usize)?;
        Some(Listing { address: value.address, text: value.text.replace('$', asked) })
    }

    /// Answers a question for a name of this zone. Allocates the records of a hit.
    #[must_use]
    pub fn answer(&self, name: &Name, rtype: Rtype) -> ZoneAnswer<'_> {
        let mut answer = ZoneAnswer::new(Rcode::NOERROR, true);
        let key = name.to_key();
        let listing = if key == self.origin {
            let own = [Some(&self.soa), self.servers.as_ref()];
            let set = own.into_iter().flatten().find(|set| set.rtype == rtype || rtype == Rtype::ANY);
            answer.answer.extend(set.map(|set| Placed { owner: name.clone(), set: Cow::Borrowed(set) }));
            None
        } else {
            match self.find(&key) {
                Found::Listed(listing) => Some(listing),
                Found::Above => None,
                Found::Nothing => {
                    answer.rcode = Rcode::NXDOMAIN;
                    None
                }
            }
        };
        if let Some(listing) = listing {
            let rdata: Option<Box<[u8]>> = match rtype {
                Rtype::A | Rtype::ANY => Some(listing.address.octets().into()),
                Rtype::TXT if !listing.text.is_empty() => {
                    let octets = listing.text.as_bytes().get(..255).unwrap_or(listing.text.as_bytes());
                    let length = u8::try_from(octets.len()).unwrap_or(u8::MAX);
                    Some(std::iter::once(length).chain(octets.iter().copied()).collect())
                }
                _ => None,
            };
            let rtype = if rtype == Rtype::ANY { Rtype::A } else { rtype };
            answer.answer.extend(rdata.map(|rdata| Placed {
                owner: name.clone(),
                set: Cow::Owned(RecordSet { rtype, ttl: self.ttl, rdata: vec![rdata] }),
            }));
        }
        if answer.answer.is_empty() {
            answer.authority.push(Placed { owner: self.origin.clone(), set: Cow::Borrowed(&self.soa) });
        }
        answer
    }

    fn find(&self, key: &Name) -> Found {
        let behind = key.wire().len().saturating_sub(self.origin.wire().len());
        let prefix: SmallVec<[&[u8]; 8]> = labels(key.wire().get(..behind).unwrap_or_default()).collect();
        match &self.data {
            Data::Addresses(ranges) => self.find_address(ranges, &prefix),
            Data::Names(names) => self.find_name(names, key, &prefix),
        }
    }

    fn find_address(&self, ranges: &Ranges, prefix: &[&[u8]]) -> Found {
        let mut octets = [0; 4];
        if prefix.len() > 4 {
            return Found::Nothing;
        }
        for (place, label) in octets.iter_mut().zip(prefix.iter().rev()) {
            let text = std::str::from_utf8(label).unwrap_or_default();
            match text.parse::<u8>() {
                Ok(octet) if octet.to_string() == text => *place = octet,
                _ => return Found::Nothing,
            }
        }
        let first = u32::from_be_bytes(octets);
        let Some(hosts) = u32::MAX.checked_shr(8 * u32::try_from(prefix.len()).unwrap_or(4)).filter(|_| prefix.len() < 4) else {
            return self.test_point(first).unwrap_or_else(|| {
                let address = Ipv4Addr::from(first);
                ranges
                    .get(address)
                    .and_then(|value| self.listing(value, &address.to_string()))
                    .map_or(Found::Nothing, Found::Listed)
            });
        };
        let last = first | hosts;
        // 127.0.0.2 is always there.
        let test = (first..=last).contains(&u32::from(Ipv4Addr::new(127, 0, 0, 2)));
        if test || ranges.intersects(first, last) { Found::Above } else { Found::Nothing }
    }

    /// Whoever uses a list can see that it works.
    fn test_point(&self, address: u32) -> Option<Found> {
        //= RFC 5782 section 5
        //# IPv4-based DNSxLs MUST contain an entry for 127.0.0.2 for testing purposes.  IPv4-based DNSxLs MUST NOT contain an entry
        //# for 127.0.0.1.
        match Ipv4Addr::from(address).octets() {
            [127, 0, 0, 1] => Some(Found::Nothing),
            [127, 0, 0, 2] => Some(self.listing(0, "127.0.0.2").map_or(Found::Nothing, |listing| {
                let own = match &self.data {
                    Data::Addresses(ranges) => ranges.get(Ipv4Addr::new(127, 0, 0, 2)),
                    Data::Names(_) => None,
                };
                Found::Listed(own.and_then(|value| self.listing(value, "127.0.0.2")).unwrap_or(listing))
            })),
            _ => None,
        }
    }

    fn find_name(&self, names: &Names, key: &Name, prefix: &[&[u8]]) -> Found {
        //= RFC 5782 section 5
        //# Name-based DNSxLs MUST contain an entry for the reserved domain name "TEST".  They MUST NOT contain an entry for the
        //# reserved domain name "INVALID".
        match prefix {
            [label] if *label == b"test" => return self.listing(0, "test").map_or(Found::Nothing, Found::Listed),
            [label] if *label == b"invalid" => return Found::Nothing,
            _ => {}
        }
        let behind = key.wire().len().saturating_sub(self.origin.wire().len());
        let mut asked: SmallVec<[u8; 64]> = SmallVec::from_slice(key.wire().get(..behind).unwrap_or_default());
        asked.push(0);
        let Ok(asked_name) = Name::from_wire(&asked) else { return Found::Nothing };
        let text = asked_name.to_string();
        match names.get(&asked).and_then(|value| self.listing(value, text.trim_end_matches('.'))) {
            Some(listing) => Found::Listed(listing),
            None if names.entries.get(asked.as_slice()) == Some(&(None, None)) => Found::Above,
            None => Found::Nothing,
        }
    }
}

enum Found {
    Listed(Listing),
    /// Something below the name is listed: the name exists (RFC 8020).
    Above,
    Nothing,
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
    let Some((&kind, text)) = data.split_first() else { return };
    let kind = if kind & 1 == 0 { ListKind::Ip4Set } else { ListKind::DnSet };
    let (Ok(text), Ok(origin)) = (std::str::from_utf8(text), Name::absolute("example.org")) else { return };
    let Ok(list) = BlockList::parse(&origin, kind, Path::new("list"), &mut |_| Ok(text.to_owned())) else { return };
    for address in [[0, 0, 0, 0], [127, 0, 0, 2], [192, 0, 2, 1], [255, 255, 255, 255]] {
        // What a client of the zone sees is what is found in process, but for the test points.
        let listed = list.listed_address(address.into());
        let [a, b, c, d] = address;
        if let Ok(name) = Name::parse(&format!("{d}.{c}.{b}.{a}"), Some(&origin))
            && kind == ListKind::Ip4Set
            && a != 127
        {
            assert_eq!(list.answer(&name, Rtype::A).rcode == Rcode::NOERROR, listed.is_some());
        }
    }
    if let Ok(name) = Name::absolute("a.b") {
        let _ = list.listed_name(&name);
    }
    crate::test_support::ask_all(&origin, crate::hosted::Service::List(list));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(kind: ListKind, text: &str) -> BlockList {
        let origin = Name::absolute("bl.example").unwrap();
        BlockList::parse(&origin, kind, Path::new("list"), &mut |_| Ok(text.to_owned())).unwrap()
    }

    fn ask(list: &BlockList, name: &str, rtype: Rtype) -> String {
        let answer = list.answer(&Name::absolute(&format!("{name}.bl.example")).unwrap(), rtype);
        let records: Vec<String> = answer
            .answer
            .iter()
            .flat_map(|placed| placed.set.rdata.iter().map(|rdata| crate::record::rdata_text(placed.set.rtype, rdata)))
            .collect();
        assert_eq!(records.is_empty(), !answer.authority.is_empty(), "a negative answer has the SOA, a positive not");
        format!("{} {}", answer.rcode, records.join(" "))
    }

    #[test]
    fn addresses() {
        let text = ":127.0.0.3:$ is listed\n192.0.2.0/24\n!192.0.2.7\n192.0.2.9 :4:worse\n198.51.100.1 only a text\n";
        let list = list(ListKind::Ip4Set, text);
        assert_eq!(ask(&list, "1.2.0.192", Rtype::A), "NOERROR 127.0.0.3");
        assert_eq!(ask(&list, "1.2.0.192", Rtype::TXT), "NOERROR \"192.0.2.1 is listed\"");
        assert_eq!(ask(&list, "1.2.0.192", Rtype::MX), "NOERROR ");
        assert_eq!(ask(&list, "7.2.0.192", Rtype::A), "NXDOMAIN ");
        assert_eq!(ask(&list, "9.2.0.192", Rtype::A), "NOERROR 127.0.0.4");
        assert_eq!(ask(&list, "1.100.51.198", Rtype::TXT), "NOERROR \"only a text\"");
        // Empty non-terminals exist, what is beside them does not.
        assert_eq!(ask(&list, "0.192", Rtype::A), "NOERROR ");
        assert_eq!(ask(&list, "3.0.192", Rtype::A), "NXDOMAIN ");
        assert_eq!(ask(&list, "01.2.0.192", Rtype::A), "NXDOMAIN ");
        assert_eq!(ask(&list, "1.1.2.0.192", Rtype::A), "NXDOMAIN ");
        // RFC 5782 section 5.
        assert_eq!(ask(&list, "2.0.0.127", Rtype::A), "NOERROR 127.0.0.2");
        assert_eq!(ask(&list, "1.0.0.127", Rtype::A), "NXDOMAIN ");
        assert_eq!(list.listed_address([127, 0, 0, 2].into()), None);
        let listing = list.listed_address("::ffff:192.0.2.9".parse().unwrap()).unwrap();
        assert_eq!((listing.address, listing.text.as_str()), ([127, 0, 0, 4].into(), "worse"));
    }

    #[test]
    fn names() {
        let list = list(ListKind::DnSet, ":2:$\nbad.example\n.worse.example\n!good.worse.example\n*.below.example\n");
        assert_eq!(ask(&list, "bad.example", Rtype::TXT), "NOERROR \"bad.example\"");
        assert_eq!(ask(&list, "x.bad.example", Rtype::A), "NXDOMAIN ");
        assert_eq!(ask(&list, "x.WORSE.example", Rtype::A), "NOERROR 127.0.0.2");
        assert_eq!(ask(&list, "good.worse.example", Rtype::A), "NXDOMAIN ");
        assert_eq!(ask(&list, "below.example", Rtype::A), "NXDOMAIN ");
        assert_eq!(ask(&list, "a.below.example", Rtype::A), "NOERROR 127.0.0.2");
        assert_eq!(ask(&list, "example", Rtype::A), "NOERROR ");
        assert_eq!(
            (ask(&list, "test", Rtype::A), ask(&list, "invalid", Rtype::A)),
            ("NOERROR 127.0.0.2".into(), "NXDOMAIN ".into())
        );
        assert!(list.listed_name(&Name::absolute("worse.example").unwrap()).is_some());
    }
}
