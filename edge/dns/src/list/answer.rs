//! A list answers as a zone (RFC 5782).

use super::asked::{Asked, TextBuffer};
use super::change::{Entry, Verdict};
use super::overlay::Overlay;
use super::values::{EXCLUDED, Value, ValueId};
use super::{BlockList, Data, Dataset, Subzone};
use crate::message::Section;
use crate::name::{Name, is_within, labels};
use crate::record::RecordSet;
use crate::types::{Rcode, Rtype};
use crate::zone::{Placed, ZoneAnswer};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The text of a test point the file says nothing about.
const TEST_TEXT: &[u8] = b"Test entry (RFC 5782 section 5)";
const TEST_IP4: u32 = 0x7f00_0002;
const NEVER_IP4: u32 = 0x7f00_0001;
/// `::FFFF:127.0.0.2` and `::FFFF:127.0.0.1`.
const TEST_IP6: u128 = 0xffff_7f00_0002;
const NEVER_IP6: u128 = 0xffff_7f00_0001;

/// What a name below the zone stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target<K> {
    One(K),
    /// Only the first labels of addresses: the first and the last of them.
    Part(K, K),
    Not,
}

/// One dataset's word.
struct Hit<'l> {
    dataset: &'l Dataset,
    id: ValueId,
    asked: Asked<'l>,
}

/// What is known of a name.
#[derive(Default)]
struct Known<'l> {
    hits: SmallVec<[Hit<'l>; 4]>,
    sets: SmallVec<[&'l RecordSet; 4]>,
    overlay: Option<Arc<Entry>>,
    test: bool,
    exists: bool,
}

impl BlockList {
    /// Answers a question for a name of this zone into `sink`, record by record: section, owner, type, TTL, data with its names whole. `key` is
    /// the name in lower case, `name` as the client wrote it, both in wire form. Gives the response code; the answer is authoritative.
    ///
    /// Cost: the look-ups of the datasets and a pass over the text; no allocation (but for an entry with more than 8 values).
    ///
    /// # Errors
    /// That of the sink.
    pub fn answer_to<E>(
        &self,
        key: &[u8],
        name: &[u8],
        rtype: Rtype,
        sink: &mut impl FnMut(Section, &[u8], Rtype, u32, &[u8]) -> Result<(), E>,
    ) -> Result<Rcode, E> {
        let known = self.known(key);
        let mut any = false;
        let mut put = |rtype: Rtype, ttl: u32, rdata: &[u8]| {
            any = true;
            sink(Section::Answer, name, rtype, ttl, rdata)
        };
        //= RFC 8482 section 4.1
        //# A DNS responder that receives an ANY query MAY decline to provide a conventional ANY response or MAY instead send a
        //# response with a single RRset
        let rtype = match rtype {
            Rtype::ANY if known.hits.is_empty() && known.overlay.is_none() && !known.test => {
                known.sets.first().map_or(Rtype::ANY, |set| set.rtype)
            }
            Rtype::ANY => Rtype::A,
            rtype => rtype,
        };
        // The records of one name and type have one TTL (RFC 2181 section 5.2): the lowest.
        let hits = || known.hits.iter().flat_map(|hit| hit.dataset.values.each(hit.id).map(move |value| (hit, value)));
        let sets = || known.sets.iter().filter(|set| set.rtype == rtype);
        let ttl = known.hits.iter().map(|hit| hit.dataset.ttl).chain(sets().map(|set| set.ttl)).min().unwrap_or(self.ttl);
        match (rtype, &known.overlay) {
            (Rtype::A | Rtype::TXT, Some(entry)) => {
                let ttl = entry.ttl(self.ttl, self.overlay.as_ref().map_or(0, |overlay| overlay.now()));
                match entry.verdict {
                    Verdict::Listed(address) if rtype == Rtype::A => put(Rtype::A, ttl, &address.octets())?,
                    Verdict::Listed(_) if !entry.text.is_empty() => {
                        let mut text = TextBuffer::new();
                        text.push(entry.text.as_bytes());
                        put(Rtype::TXT, ttl, text.rdata())?;
                    }
                    Verdict::Listed(_) | Verdict::Hidden => {}
                }
            }
            (Rtype::A, None) => {
                let mut said: SmallVec<[Ipv4Addr; 8]> = SmallVec::new();
                for (_, value) in hits().filter(|(_, value)| !said_before(&mut said, value.address)) {
                    put(Rtype::A, ttl, &value.address.octets())?;
                }
                if known.test && known.hits.is_empty() {
                    put(Rtype::A, ttl, &[127, 0, 0, 2])?;
                }
            }
            (Rtype::TXT, None) => {
                let text = |hit: &Hit<'_>, value: &Value<'_>| {
                    let mut text = TextBuffer::new();
                    value.write(&hit.asked, &mut text);
                    text
                };
                for (number, (hit, value)) in hits().enumerate().filter(|(_, (_, value))| value.has_text()) {
                    let mut text = text(hit, &value);
                    let said = |(hit, value): (&Hit<'_>, Value<'_>)| {
                        let mut before = TextBuffer::new();
                        value.write(&hit.asked, &mut before);
                        before.text() == text.text()
                    };
                    if !hits().take(number).any(said) {
                        put(Rtype::TXT, ttl, text.rdata())?;
                    }
                }
                if known.test && known.hits.is_empty() {
                    let mut text = TextBuffer::new();
                    text.push(TEST_TEXT);
                    put(Rtype::TXT, ttl, text.rdata())?;
                }
            }
            _ => {}
        }
        for set in sets() {
            let ttl = if matches!(rtype, Rtype::A | Rtype::TXT) { ttl } else { set.ttl };
            set.rdata.iter().try_for_each(|rdata| put(set.rtype, ttl, rdata))?;
        }
        if !any {
            let soa = self.soa.rdata.first().map(|rdata| &**rdata).unwrap_or_default();
            sink(Section::Authority, self.origin.wire(), Rtype::SOA, self.negative_ttl, soa)?;
        }
        Ok(if any || known.exists { Rcode::NOERROR } else { Rcode::NXDOMAIN })
    }

    /// Answers a question for a name of this zone. Allocates the records; [`Self::answer_to`] does not.
    #[must_use]
    pub fn answer(&self, name: &Name, rtype: Rtype) -> ZoneAnswer<'_> {
        let mut answer = ZoneAnswer::new(Rcode::NOERROR, true);
        let mut put = |section: Section, owner: &[u8], rtype: Rtype, ttl: u32, rdata: &[u8]| {
            let owner = if owner == name.wire() { name.clone() } else { self.origin.clone() };
            let placed = |placed: &Placed<'_>| placed.set.rtype == rtype;
            match section {
                Section::Answer => match answer.answer.iter_mut().find(|known| placed(known)) {
                    Some(known) => known.set.to_mut().rdata.push(rdata.into()),
                    None => {
                        let set = RecordSet { rtype, ttl, rdata: vec![rdata.into()] };
                        answer.answer.push(Placed { owner, set: Cow::Owned(set) });
                    }
                },
                Section::Authority | Section::Additional => {
                    let set = RecordSet { rtype, ttl, rdata: vec![rdata.into()] };
                    answer.authority.push(Placed { owner, set: Cow::Owned(set) });
                }
            }
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok(rcode) = self.answer_to(name.to_key().wire(), name.wire(), rtype, &mut put);
        answer.rcode = rcode;
        answer
    }

    fn known(&self, key: &[u8]) -> Known<'_> {
        let mut known = Known::default();
        if key == self.origin.wire() {
            known.exists = true;
            known.sets.extend([Some(&self.soa), self.servers.as_ref()].into_iter().flatten());
        }
        // The name relative to the zone, then to the subzone: what is before, with a root of its own.
        let mut relative: SmallVec<[u8; 256]> = SmallVec::from_slice(key);
        relative.truncate(key.len().saturating_sub(self.origin.wire().len()));
        relative.push(0);
        known.exists |=
            self.zones.iter().any(|zone| zone.key.wire().len() > relative.len() && is_within(zone.key.wire(), &relative));
        let Some(zone) = self.zones.iter().find(|zone| is_within(&relative, zone.key.wire())) else { return known };
        relative.truncate(relative.len() - zone.key.wire().len());
        relative.push(0);
        if relative.len() == 1 {
            known.exists = true;
        }
        self.look_up(zone, &relative, &mut known);
        known
    }

    fn look_up<'l>(&'l self, zone: &Subzone, asked: &[u8], known: &mut Known<'l>) {
        let (ip4, ip6) = (ip4_target(asked), ip6_target(asked));
        let datasets = || zone.datasets.iter().filter_map(|number| self.datasets.get(*number));
        let has = |kind: fn(&Data) -> bool| datasets().any(|dataset| kind(&dataset.data));
        let (has_ip4, has_ip6) = (has(|data| matches!(data, Data::Ip4(_))), has(|data| matches!(data, Data::Ip6(_))));
        let has_names = has(|data| matches!(data, Data::Names(_)));
        //= RFC 5782 section 5
        //# IPv4-based DNSxLs MUST contain an entry for 127.0.0.2 for testing purposes.  IPv4-based DNSxLs MUST NOT contain an entry
        //# for 127.0.0.1.
        // For IPv6 these are ::FFFF:7F00:2 and ::FFFF:7F00:1; for names TEST and INVALID.
        let never = has_ip4 && ip4 == Target::One(NEVER_IP4)
            || has_ip6 && ip6 == Target::One(NEVER_IP6)
            || has_names && asked == b"\x07invalid\0";
        let part = |first: u128, last: u128, test: u128| (first..=last).contains(&test);
        known.test = has_ip4 && ip4 == Target::One(TEST_IP4)
            || has_ip6 && ip6 == Target::One(TEST_IP6)
            || has_names && asked == b"\x04test\0";
        known.exists |= known.test
            || has_ip4 && matches!(ip4, Target::Part(first, last) if part(first.into(), last.into(), TEST_IP4.into()))
            || has_ip6 && matches!(ip6, Target::Part(first, last) if part(first, last, TEST_IP6));
        if zone.key.wire().len() == 1
            && !never
            && let Some(overlay) = &self.overlay
        {
            known.overlay =
                overlay_entry(overlay, has_ip4.then_some(ip4), has_ip6.then_some(ip6), has_names.then_some(asked), known);
        }
        let hidden = never || known.overlay.is_some();
        for dataset in datasets() {
            let (id, asked) = match &dataset.data {
                Data::Ip4(addresses) => match ip4 {
                    Target::One(address) => (addresses.get(address), Asked::Ip4(address.into())),
                    Target::Part(first, last) => {
                        known.exists |= addresses.any(first, last);
                        continue;
                    }
                    Target::Not => continue,
                },
                Data::Ip6(steps) => match ip6 {
                    Target::One(address) => (steps.get(address), Asked::Ip6(Ipv6Addr::from_bits(address))),
                    Target::Part(first, last) => {
                        known.exists |= steps.any(first, last);
                        continue;
                    }
                    Target::Not => continue,
                },
                Data::Names(names) => {
                    let found = names.find(asked);
                    known.exists |= found.exists;
                    (found.value, Asked::Name(found.entry))
                }
                Data::Generic(generic) => {
                    if let Some(sets) = generic.find(asked) {
                        known.exists = true;
                        known.sets.extend(sets);
                    }
                    continue;
                }
            };
            if id != EXCLUDED && !hidden {
                known.exists = true;
                known.hits.push(Hit { dataset, id, asked });
            }
        }
    }
}

fn said_before(said: &mut SmallVec<[Ipv4Addr; 8]>, address: Ipv4Addr) -> bool {
    let before = said.contains(&address);
    if !before {
        said.push(address);
    }
    before
}

/// What the overlay says of the name that was asked for.
fn overlay_entry(
    overlay: &Overlay,
    ip4: Option<Target<u32>>,
    ip6: Option<Target<u128>>,
    name: Option<&[u8]>,
    known: &mut Known<'_>,
) -> Option<Arc<Entry>> {
    let now = overlay.now();
    let mut entry = None;
    match ip4 {
        Some(Target::One(address)) => entry = overlay.find_address(Ipv4Addr::from_bits(address).into(), now),
        // Which networks lie below is not kept: the name exists if any could. Nobody is harmed by NOERROR without records.
        Some(Target::Part(..)) => known.exists |= overlay.has_ip4(),
        Some(Target::Not) | None => {}
    }
    match ip6 {
        Some(Target::One(address)) => entry = entry.or_else(|| overlay.find_address(Ipv6Addr::from_bits(address).into(), now)),
        Some(Target::Part(..)) => known.exists |= overlay.has_ip6(),
        Some(Target::Not) | None => {}
    }
    if let Some(name) = name {
        entry = entry.or_else(|| overlay.find_name(name, now));
        known.exists |= overlay.has_below(name);
    }
    known.exists |= entry.as_ref().is_some_and(|entry| entry.verdict != Verdict::Hidden);
    entry
}

/// Reads up to four labels as octets, the last label first: `1.2.0.192`.
fn ip4_target(asked: &[u8]) -> Target<u32> {
    let mut first = 0;
    let mut count = 0_u32;
    for label in labels(asked) {
        let octet = match label {
            [b'0'] => Some(0),
            [b'1'..=b'9', ..] if label.len() <= 3 => {
                label.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0')))
            }
            _ => None,
        };
        let (Some(octet), true) = (octet.filter(|octet| *octet < 256), count < 4) else { return Target::Not };
        first = first >> 8 | octet << 24;
        count += 1;
    }
    // As labels go from the last octet to the first, each new one stands before the others.
    match count {
        0 => Target::Not,
        4 => Target::One(first),
        count => Target::Part(first, first | u32::MAX >> (8 * count)),
    }
}

/// Reads up to 32 labels of one hexadecimal digit each, the last label first.
fn ip6_target(asked: &[u8]) -> Target<u128> {
    let mut first = 0;
    let mut count = 0_u32;
    for label in labels(asked) {
        let digit = match label {
            [digit] => char::from(*digit).to_digit(16),
            _ => None,
        };
        let (Some(digit), true) = (digit, count < 32) else { return Target::Not };
        first = first >> 4 | u128::from(digit) << 124;
        count += 1;
    }
    match count {
        0 => Target::Not,
        32 => Target::One(first),
        count => Target::Part(first, first | u128::MAX >> (4 * count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::ListKind;
    use std::path::Path;

    fn list(kind: ListKind, text: &str) -> BlockList {
        let origin = Name::absolute("bl.example").unwrap();
        BlockList::parse(&origin, kind, Path::new("list"), &mut |_| Ok(text.to_owned())).unwrap()
    }

    fn ask(list: &BlockList, name: &str, rtype: Rtype) -> String {
        let name = Name::absolute(&format!("{name}.bl.example")).unwrap();
        let answer = list.answer(&name, rtype);
        let records: Vec<String> = answer
            .answer
            .iter()
            .flat_map(|placed| placed.set.rdata.iter().map(|rdata| crate::record::rdata_text(placed.set.rtype, rdata)))
            .collect();
        assert_eq!(records.is_empty(), !answer.authority.is_empty(), "a negative answer has the SOA, a positive not");
        format!("{} {}", answer.rcode, records.join(" "))
    }

    #[test]
    fn targets() {
        assert_eq!(ip4_target(b"\x011\x012\x010\x03192\0"), Target::One(0xc000_0201));
        assert_eq!(ip4_target(b"\x010\x03192\0"), Target::Part(0xc000_0000, 0xc000_ffff));
        for not in [&b"\0"[..], b"\x0201\0", b"\x03256\0", b"\x011\x011\x011\x011\x011\0", b"\x01a\0"] {
            assert_eq!(ip4_target(not), Target::Not);
        }
        assert_eq!(ip6_target(b"\x010\x012\0"), Target::Part(0x20 << 120, 0x20ff_ffff << 96 | u128::MAX >> 32));
        assert_eq!(ip6_target(b"\x01g\0"), Target::Not);
    }

    #[test]
    fn addresses() {
        let text = ":127.0.0.3:$ is listed\n192.0.2.0/24\n!192.0.2.7\n192.0.2.9 :4:worse\n198.51.100.1 only a text\n";
        let list = list(ListKind::Ip4Set, text);
        assert_eq!(ask(&list, "1.2.0.192", Rtype::A), "NOERROR 127.0.0.3");
        assert_eq!(ask(&list, "1.2.0.192", Rtype::TXT), "NOERROR \"192.0.2.1 is listed\"");
        assert_eq!(ask(&list, "1.2.0.192", Rtype::MX), "NOERROR ");
        assert_eq!(ask(&list, "7.2.0.192", Rtype::A), "NXDOMAIN ");
        assert_eq!(ask(&list, "9.2.0.192", Rtype::ANY), "NOERROR 127.0.0.4");
        assert_eq!(ask(&list, "1.100.51.198", Rtype::TXT), "NOERROR \"only a text\"");
        // Empty non-terminals exist, what is beside them does not.
        assert_eq!(ask(&list, "0.192", Rtype::A), "NOERROR ");
        assert_eq!(ask(&list, "3.0.192", Rtype::A), "NXDOMAIN ");
        assert_eq!(ask(&list, "01.2.0.192", Rtype::A), "NXDOMAIN ");
        assert_eq!(ask(&list, "1.1.2.0.192", Rtype::A), "NXDOMAIN ");
        // RFC 5782 section 5.
        assert_eq!(ask(&list, "2.0.0.127", Rtype::A), "NOERROR 127.0.0.2");
        assert_eq!(ask(&list, "0.0.127", Rtype::A), "NOERROR ");
        assert_eq!(ask(&list, "1.0.0.127", Rtype::A), "NXDOMAIN ");
        assert!(list.listed_address([127, 0, 0, 2].into()).is_none());
        let listing = list.listed_address("::ffff:192.0.2.9".parse().unwrap()).unwrap();
        assert_eq!((listing.address, listing.text().as_str()), ([127, 0, 0, 4].into(), "worse"));
        assert_eq!(listing.addresses().collect::<Vec<_>>(), [listing.address]);
    }

    #[test]
    fn localhost_is_never_listed() {
        let list = list(ListKind::Ip4Set, "127.0.0.0/8 :5:all\n");
        assert_eq!(ask(&list, "1.0.0.127", Rtype::A), "NXDOMAIN ");
        assert_eq!(ask(&list, "2.0.0.127", Rtype::A), "NOERROR 127.0.0.5");
        assert!(list.listed_address([127, 0, 0, 1].into()).is_none());
        assert!(list.listed_address([127, 0, 0, 3].into()).is_some());
    }

    #[test]
    fn test_points_of_ipv6_and_names() {
        let six = list(ListKind::Ip6Trie, "2001:db8::/32\n");
        let name = |address: &str| {
            let reverse = crate::name::reverse("2001:db8::1".parse().unwrap()).to_string();
            assert!(reverse.ends_with("ip6.arpa."));
            let bits = address.parse::<Ipv6Addr>().unwrap().to_bits();
            (0..32).map(|nibble| format!("{:x}", bits >> (4 * nibble) & 15)).collect::<Vec<_>>().join(".")
        };
        assert_eq!(ask(&six, &name("2001:db8::77"), Rtype::A), "NOERROR 127.0.0.2");
        assert_eq!(ask(&six, &name("2001:db9::77"), Rtype::A), "NXDOMAIN ");
        assert_eq!(ask(&six, &name("::ffff:127.0.0.2"), Rtype::A), "NOERROR 127.0.0.2");
        assert_eq!(ask(&six, &name("::ffff:127.0.0.1"), Rtype::A), "NXDOMAIN ");
        assert_eq!(ask(&six, "1.0.0.2", Rtype::A), "NOERROR ");
        assert_eq!(ask(&six, "f.f", Rtype::A), "NXDOMAIN ");
        let names = list(ListKind::DnSet, ":2:$\nbad.example\n.worse.example\n!good.worse.example\n*.below.example\n");
        assert_eq!(ask(&names, "bad.example", Rtype::TXT), "NOERROR \"bad.example\"");
        assert_eq!(ask(&names, "x.bad.example", Rtype::A), "NXDOMAIN ");
        assert_eq!(ask(&names, "x.WORSE.example", Rtype::A), "NOERROR 127.0.0.2");
        assert_eq!(ask(&names, "good.worse.example", Rtype::A), "NOERROR ");
        assert_eq!(ask(&names, "a.below.example", Rtype::A), "NOERROR 127.0.0.2");
        // It has names below it.
        assert_eq!(ask(&names, "below.example", Rtype::A), "NOERROR ");
        assert_eq!(ask(&names, "example", Rtype::A), "NOERROR ");
        assert_eq!(
            (ask(&names, "test", Rtype::A), ask(&names, "invalid", Rtype::A)),
            ("NOERROR 127.0.0.2".into(), "NXDOMAIN ".into())
        );
        assert!(names.listed_name(&Name::absolute("worse.example").unwrap()).is_some());
    }
}
