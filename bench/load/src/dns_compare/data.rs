//! What is served and asked, the same every time: a zone of mail domains, block lists, and questions as dnsperf reads them.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

pub const ZONE: &str = "hosted.bench";
pub const ADDRESSES: &str = "addresses.bench";
pub const NAMES: &str = "names.bench";

/// Names and types of a hosted domain, `{}` being the domain, and how many of a hundred questions ask for them.
const KINDS: [(&str, &str, u64); 9] = [
    ("{}", "MX", 25),
    ("{}", "TXT", 15),
    ("{}", "A", 10),
    ("{}", "AAAA", 5),
    ("mail.{}", "A", 20),
    ("mail.{}", "AAAA", 10),
    ("_dmarc.{}", "TXT", 5),
    ("sel._domainkey.{}", "TXT", 5),
    ("www.{}", "A", 5),
];
/// Questions that a domain has an answer to.
pub const ANSWERS_A_DOMAIN: usize = KINDS.len();
const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const BASE_64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Characters of an RSA key of 2,048 bits in base 64.
const KEY_LETTERS: usize = 392;
const TOP_DOMAINS: [&str; 5] = ["com", "net", "org", "xyz", "info"];

/// SplitMix64: good enough to choose questions.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// 0 to `end` less one.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(usize::try_from(self.below(of.len() as u64)).ok()?)
    }

    fn letters(&mut self, of: &[u8], count: usize) -> String {
        (0..count).filter_map(|_| self.pick(of).map(|letter| char::from(*letter))).collect()
    }

    fn shuffle<T>(&mut self, values: &mut [T]) {
        for end in (1..values.len()).rev() {
            let other = usize::try_from(self.below(end as u64 + 1)).unwrap_or(end);
            values.swap(end, other);
        }
    }
}

fn domain(number: u64) -> String {
    format!("d{number:05}")
}

/// A master file: for each domain MX, SPF, addresses, DKIM, DMARC; nine questions have an answer.
pub fn zone(domains: u64) -> String {
    let mut random = Random::new(42);
    let mut text =
        format!("$ORIGIN {ZONE}.\n$TTL 3600\n@ SOA ns1 hostmaster 1 7200 3600 1209600 300\n@ NS ns1\nns1 A 127.0.0.1\n");
    for number in 0..domains {
        let (name, last) = (domain(number), number & 0xff_ffff);
        let address = Ipv4Addr::from(0x0a00_0000 | u32::try_from(last).unwrap_or(0));
        let key = random.letters(BASE_64, KEY_LETTERS);
        let (key, rest) = key.split_at(200);
        let _ = write!(
            text,
            "{name} MX 10 mail.{name}\n{name} TXT \"v=spf1 mx a:mail.{name}.{ZONE} ip4:{address} -all\"\n{name} A {address}\n\
             {name} AAAA fd00::{last:x}\nmail.{name} A {address}\nmail.{name} AAAA fd00::{last:x}\n\
             _dmarc.{name} TXT \"v=DMARC1; p=reject; rua=mailto:d@{name}.{ZONE}\"\n\
             sel._domainkey.{name} TXT \"v=DKIM1; k=rsa; p={key}\" \"{rest}\"\nwww.{name} A {address}\n"
        );
    }
    text
}

/// Questions to the zone, as mail servers ask; one of five for a domain that is not there.
pub fn zone_questions(domains: u64, count: usize) -> String {
    let mut random = Random::new(43);
    let mut text = String::new();
    for _ in 0..count {
        if random.below(5) == 0 {
            let rtype = random.pick(&["A", "MX", "TXT"]).copied().unwrap_or("A");
            let _ = writeln!(text, "x{}.{ZONE} {rtype}", random.below(1_000_000_000));
            continue;
        }
        let mut weight = random.below(100);
        let kind = KINDS.iter().find(|(_, _, share)| {
            let found = weight < *share;
            weight = weight.saturating_sub(*share);
            found
        });
        let (name, rtype, _) = kind.copied().unwrap_or(KINDS[0]);
        let _ = writeln!(text, "{}.{ZONE} {rtype}", name.replace("{}", &domain(random.below(domains))));
    }
    text
}

/// Every question that has an answer, once, in no order; the first `warm` of them apart.
pub fn all_questions(domains: u64, warm: usize) -> (String, String) {
    let mut all: Vec<(u64, usize)> = (0..domains).flat_map(|number| (0..KINDS.len()).map(move |kind| (number, kind))).collect();
    Random::new(44).shuffle(&mut all);
    let text = |part: &[(u64, usize)]| {
        let mut text = String::new();
        for (number, kind) in part {
            let (name, rtype, _) = KINDS.get(*kind).copied().unwrap_or(KINDS[0]);
            let _ = writeln!(text, "{}.{ZONE} {rtype}", name.replace("{}", &domain(*number)));
        }
        text
    };
    let (first, rest) = all.split_at(warm.min(all.len()));
    (text(first), text(rest))
}

/// A list for rbldnsd, and questions to it of which three of ten are listed.
pub struct List {
    pub file: String,
    pub questions: String,
}

/// An address from 1.0.0.0 to 222.255.255.255.
fn address(random: &mut Random) -> Ipv4Addr {
    Ipv4Addr::from(u32::try_from(0x0100_0000 + random.below(0xde00_0000)).unwrap_or(0x0100_0000))
}

pub fn addresses(entries: usize, count: usize) -> List {
    let mut random = Random::new(7);
    let (mut listed, mut seen) = (Vec::with_capacity(entries), HashSet::with_capacity(entries));
    while listed.len() < entries {
        let address = address(&mut random);
        if seen.insert(address) {
            listed.push(address);
        }
    }
    let mut file = ":127.0.0.2:Listed, see http://list.bench/$\n".to_owned();
    listed.iter().for_each(|address| {
        let _ = writeln!(file, "{address}");
    });
    let mut questions = String::new();
    for _ in 0..count {
        let hit = random.below(10) < 3;
        let chosen = random.pick(&listed).copied().filter(|_| hit).unwrap_or_else(|| address(&mut random));
        let [a, b, c, d] = chosen.octets();
        let _ = writeln!(questions, "{d}.{c}.{b}.{a}.{ADDRESSES} A");
    }
    List { file, questions }
}

/// Each name with all below it, as two lines; half of the listed questions are for a name below.
pub fn names(entries: usize, count: usize) -> List {
    let mut random = Random::new(8);
    let (mut listed, mut seen) = (Vec::with_capacity(entries), HashSet::with_capacity(entries));
    while listed.len() < entries {
        let length = 6 + usize::try_from(random.below(11)).unwrap_or(0);
        let name = format!("{}.{}", random.letters(LETTERS, length), random.pick(&TOP_DOMAINS).copied().unwrap_or("com"));
        if seen.insert(name.clone()) {
            listed.push(name);
        }
    }
    let mut file = ":127.0.0.2:Listed name $\n".to_owned();
    listed.iter().for_each(|name| {
        let _ = write!(file, "{name}\n.{name}\n");
    });
    let mut questions = String::new();
    for _ in 0..count {
        let of_twenty = random.below(20);
        let name = random.pick(&listed).cloned().unwrap_or_default();
        let name = match of_twenty {
            0..3 => name,
            3..6 => format!("www.{name}"),
            _ => format!("n{}.com", random.below(100_000_000)),
        };
        let _ = writeln!(questions, "{name}.{NAMES} A");
    }
    List { file, questions }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_a_hundred() {
        assert_eq!(KINDS.iter().map(|(_, _, share)| share).sum::<u64>(), 100);
    }

    #[test]
    fn four_of_five_questions_have_an_answer() {
        let text = zone_questions(100, 10_000);
        let misses = text.lines().filter(|line| line.starts_with('x')).count();
        assert!((1800..2200).contains(&misses), "{misses}");
        assert_eq!(text, zone_questions(100, 10_000), "the same every time");
    }

    #[test]
    fn every_question_stands_once() {
        let (warm, rest) = all_questions(50, 100);
        let all: HashSet<&str> = warm.lines().chain(rest.lines()).collect();
        assert_eq!((warm.lines().count(), rest.lines().count(), all.len()), (100, 350, 450));
    }

    #[test]
    fn three_of_ten_are_listed() {
        for list in [addresses(2000, 10_000), names(2000, 10_000)] {
            let listed: HashSet<&str> = list.file.lines().collect();
            let hit = |line: &&str| {
                let name = line.split(' ').next().unwrap();
                let reversed = |name: &str| name.split('.').rev().collect::<Vec<_>>().join(".");
                match name.strip_suffix(".addresses.bench") {
                    Some(address) => listed.contains(reversed(address).as_str()),
                    None => {
                        let name = name.strip_suffix(".names.bench").unwrap();
                        listed.contains(name.strip_prefix("www.").unwrap_or(name))
                    }
                }
            };
            let hits = list.questions.lines().filter(hit).count();
            assert!((2700..3300).contains(&hits), "{hits}");
        }
    }

    #[test]
    fn the_zone_has_what_is_asked_for() {
        let text = zone(3);
        for (name, rtype, _) in KINDS {
            assert!(text.contains(&format!("\n{} {rtype} ", name.replace("{}", "d00002"))), "{name} {rtype}");
        }
    }
}
