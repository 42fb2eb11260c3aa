//! A small world of signed zones, made in the test, and a resolver that knows it: what an honest one would give to the validator, and what a
//! stranger may make of that. Denials are made the plain way of RFC 4035 section 3.1.3 and RFC 5155 section 7.2.

use postring_dns::dnssec::Security;
use postring_dns::dnssec::algorithm::Algorithm;
use postring_dns::dnssec::bitmap::write_bitmap;
use postring_dns::dnssec::canonical::{compare_names, is_wildcard, label_count};
use postring_dns::dnssec::digest::{DigestType, ds_rdata};
use postring_dns::dnssec::key::{dnskey_rdata, key_tag};
use postring_dns::dnssec::nsec3::{HASH_SHA1, Nsec3, Nsec3Param, hash, label};
use postring_dns::dnssec::rrsig::Rrsig;
use postring_dns::name::{is_within, labels, parent, suffixes};
use postring_dns::record::Record;
use postring_dns::resolver::Answer;
use postring_dns::{Name, Rcode, Rtype};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use std::collections::BTreeMap;

/// Seconds since 1970 when everything is valid; signatures began an hour ago and end in a day.
pub const NOW: u64 = 1_800_000_000;
const TTL: u32 = 300;

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

struct Zone {
    origin: Name,
    options: Vec<String>,
    nodes: BTreeMap<Sorted, BTreeMap<Rtype, Vec<Vec<u8>>>>,
    pair: Pair,
    key: Vec<u8>,
}

/// A name in canonical order.
#[derive(Clone, PartialEq, Eq)]
struct Sorted(Name);

impl Ord for Sorted {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        compare_names(self.0.wire(), other.0.wire())
    }
}

impl PartialOrd for Sorted {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Default)]
pub struct World {
    zones: Vec<Zone>,
    delegated: bool,
}

fn new_pair(algorithm: u8) -> (Pair, Vec<u8>) {
    let random = SystemRandom::new();
    match algorithm {
        13 | 14 => {
            let kind = if algorithm == 13 { &ECDSA_P256_SHA256_FIXED_SIGNING } else { &ECDSA_P384_SHA384_FIXED_SIGNING };
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap();
            let public = pair.public_key().as_ref()[1..].to_vec();
            (Pair::Ecdsa(pair), public)
        }
        _ => {
            let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
            let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
            let public = pair.public_key().as_ref().to_vec();
            (Pair::Ed25519(pair), public)
        }
    }
}

impl Zone {
    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }

    fn number(&self, option: &str) -> Option<u16> {
        self.options.iter().find_map(|own| own.strip_prefix(option)?.strip_prefix('=')?.parse().ok())
    }

    fn is_hashed(&self) -> bool {
        self.has("nsec3") || self.has("optout")
    }

    fn is_signed(&self) -> bool {
        !self.has("unsigned")
    }

    fn algorithm(&self) -> Algorithm {
        Algorithm(self.number("alg").unwrap_or(15) as u8)
    }

    fn set(&self, owner: &Name, rtype: Rtype) -> Option<&Vec<Vec<u8>>> {
        self.nodes.get(&Sorted(owner.to_key()))?.get(&rtype)
    }

    /// A set with its signature; `from` is the owner in the zone, the wildcard if one answers.
    fn give(&self, owner: &Name, from: &Name, rtype: Rtype, rdata: &[Vec<u8>], out: &mut Vec<Record>) {
        out.extend(rdata.iter().map(|rdata| Record { name: owner.clone(), rtype, ttl: TTL, rdata: rdata.as_slice().into() }));
        if self.is_signed() {
            let rdata = self.sign(from, rtype, rdata);
            out.push(Record { name: owner.clone(), rtype: Rtype::RRSIG, ttl: TTL, rdata: rdata.into() });
        }
    }

    fn sign(&self, owner: &Name, rtype: Rtype, rdata: &[Vec<u8>]) -> Vec<u8> {
        let rrsig = Rrsig {
            type_covered: rtype,
            algorithm: self.algorithm(),
            labels: label_count(owner.wire()),
            original_ttl: TTL,
            expiration: (NOW + 86400) as u32,
            inception: (NOW - 3600) as u32,
            key_tag: key_tag(&self.key),
            signer: self.origin.wire(),
            signature: &[],
        };
        let mut message = Vec::new();
        assert!(rrsig.signed_bytes(owner.wire(), rdata.iter().map(Vec::as_slice), &mut message));
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&SystemRandom::new(), &message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(&message).as_ref().to_vec(),
        };
        let mut out = Vec::new();
        Rrsig { signature: &signature, ..rrsig }.write(&mut out);
        out
    }

    fn is_cut(&self, name: &Name) -> bool {
        *name != self.origin && self.set(name, Rtype::NS).is_some()
    }

    fn exists(&self, name: &Name) -> bool {
        self.nodes.keys().any(|node| is_within(node.0.wire(), name.wire()))
    }

    fn types(&self, name: &Name) -> Vec<Rtype> {
        let mut types: Vec<Rtype> =
            self.nodes.get(&Sorted(name.clone())).map(|sets| sets.keys().copied().collect()).unwrap_or_default();
        if !self.is_hashed() || !self.is_cut(name) || types.contains(&Rtype::DS) {
            types.extend((!types.is_empty()).then_some(Rtype::RRSIG));
        }
        types.extend((!self.is_hashed()).then_some(Rtype::NSEC));
        types.sort();
        types
    }

    fn param(&self) -> Nsec3Param<'static> {
        let (flags, iterations) = (u8::from(self.has("optout")), self.number("iterations").unwrap_or(0));
        Nsec3Param { hash_algorithm: HASH_SHA1, flags, iterations, salt: b"\xab" }
    }

    /// The names that have an NSEC3: not those that opt out, nor those that are there only for them.
    fn hashes(&self) -> BTreeMap<[u8; 20], Name> {
        let mut names = BTreeMap::new();
        for node in self.nodes.keys() {
            if self.has("optout") && self.is_cut(&node.0) && self.set(&node.0, Rtype::DS).is_none() {
                continue;
            }
            for suffix in suffixes(node.0.wire()).take_while(|suffix| is_within(suffix, self.origin.wire())) {
                let name = Name::from_wire(suffix).unwrap();
                names.insert(hash(name.wire(), self.param().iterations, self.param().salt), name);
            }
        }
        names
    }

    /// The NSEC or NSEC3 at or before a name.
    fn deny(&self, name: &Name, out: &mut Vec<Record>) {
        let mut bitmap = Vec::new();
        if self.is_hashed() {
            let param = self.param();
            let of = |name: &Name| hash(name.wire(), param.iterations, param.salt);
            let names = self.hashes();
            let before = names.range(..=of(name)).next_back().or(names.last_key_value()).unwrap();
            let next = names.range(*before.0..).nth(1).or(names.first_key_value()).unwrap();
            write_bitmap(self.types(before.1), &mut bitmap);
            let mut rdata = Vec::new();
            Nsec3 { param, next: *next.0, bitmap: &bitmap }.write(&mut rdata);
            let owner = Name::child(&label(before.0), &self.origin).unwrap();
            self.add_denial(&owner, Rtype::NSEC3, rdata, out);
        } else {
            let before = self.nodes.range(..=Sorted(name.clone())).next_back().unwrap().0;
            let next = self.nodes.range(before.clone()..).nth(1).map_or(&self.origin, |node| &node.0.0);
            write_bitmap(self.types(&before.0), &mut bitmap);
            self.add_denial(&before.0, Rtype::NSEC, [next.wire(), &bitmap].concat(), out);
        }
    }

    fn add_denial(&self, owner: &Name, rtype: Rtype, rdata: Vec<u8>, out: &mut Vec<Record>) {
        if !out.iter().any(|record| record.name == *owner && record.rtype == rtype) {
            self.give(owner, owner, rtype, &[rdata], out);
        }
    }

    /// The proof that `name` is not there, `encloser` being the nearest that is.
    fn deny_name(&self, name: &Name, encloser: &Name, with_encloser: bool, out: &mut Vec<Record>) {
        if !self.is_signed() {
            return;
        }
        if !self.is_hashed() {
            return self.deny(name, out);
        }
        if with_encloser {
            self.deny(encloser, out);
        }
        let next_closer = suffixes(name.wire()).find(|suffix| parent(suffix) == Some(encloser.wire())).unwrap();
        self.deny(&Name::from_wire(next_closer).unwrap(), out);
    }

    /// Answers; the name that an alias leads to.
    fn answer(&self, name: &Name, rtype: Rtype, answer: &mut Answer) -> Option<Name> {
        let (records, authority) = (&mut answer.records, &mut answer.authority);
        for suffix in suffixes(name.wire()).skip(1).take_while(|suffix| is_within(suffix, self.origin.wire())) {
            let owner = Name::from_wire(suffix).unwrap();
            if let Some(dname) = self.set(&owner, Rtype::DNAME) {
                self.give(&owner, &owner, Rtype::DNAME, dname, records);
                let head = &name.wire()[..name.wire().len() - suffix.len()];
                let target = Name::from_wire(&[head, &dname[0]].concat()).unwrap();
                records.push(Record { name: name.clone(), rtype: Rtype::CNAME, ttl: TTL, rdata: target.wire().into() });
                return Some(target);
            }
        }
        let encloser =
            suffixes(name.wire()).map(|suffix| Name::from_wire(suffix).unwrap()).find(|name| self.exists(name)).unwrap();
        let from = if encloser == *name { name.clone() } else { Name::child(b"*", &encloser).unwrap() };
        let wildcard = from != *name;
        if self.exists(&from) {
            for (given, alias) in [(rtype, false), (Rtype::CNAME, true)] {
                let Some(set) = self.set(&from, given) else { continue };
                self.give(name, &from, given, set, records);
                if wildcard {
                    self.deny_name(name, &encloser, false, authority);
                }
                return alias.then(|| Name::from_wire(&set[0]).unwrap());
            }
        } else {
            answer.rcode = Rcode::NXDOMAIN;
        }
        let soa = self.set(&self.origin, Rtype::SOA).unwrap();
        self.give(&self.origin, &self.origin, Rtype::SOA, soa, authority);
        if self.is_signed() {
            let hidden = self.has("optout") && !wildcard && !self.hashes().values().any(|own| own == name);
            if hidden {
                let mut above = suffixes(name.wire()).map(|suffix| Name::from_wire(suffix).unwrap());
                let encloser = above.find(|suffix| self.hashes().values().any(|own| own == suffix)).unwrap();
                self.deny_name(name, &encloser, true, authority);
            } else if wildcard {
                self.deny_name(name, &encloser, true, authority);
                self.deny(&from, authority);
            } else {
                self.deny(name, authority);
            }
        }
        None
    }
}

fn option_pair<'o>(options: &[&'o str], name: &str) -> Option<&'o str> {
    options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
}

impl World {
    pub fn add_zone(&mut self, line: &str) {
        let mut words = line.split(' ');
        let origin = Name::absolute(words.next().unwrap()).unwrap();
        let options: Vec<&str> = words.collect();
        let algorithm = option_pair(&options, "alg").map_or(15, |number| number.parse().unwrap());
        let (pair, public) = new_pair(algorithm);
        let flags = match option_pair(&options, "key") {
            Some("revoked") => 257 | 0x80,
            Some("nozone") => 1,
            _ => 257,
        };
        let key = dnskey_rdata(flags, Algorithm(algorithm), &public);
        let soa = [origin.wire(), origin.wire(), &[0; 16], &TTL.to_be_bytes()].concat();
        let ns = Name::absolute("ns.test").unwrap().wire().to_vec();
        let mut apex = BTreeMap::from([(Rtype::SOA, vec![soa]), (Rtype::NS, vec![ns])]);
        if !options.contains(&"unsigned") {
            let mut keys = vec![key.clone()];
            if option_pair(&options, "key") == Some("collide") {
                // The same tag: two words of the key changed places.
                for at in (4..20).step_by(2) {
                    let mut other = key.clone();
                    other.swap(at, at + 2);
                    other.swap(at + 1, at + 3);
                    assert_eq!(key_tag(&other), key_tag(&key));
                    keys.insert(0, other);
                }
            }
            apex.insert(Rtype::DNSKEY, keys);
        }
        let nodes = BTreeMap::from([(Sorted(origin.clone()), apex)]);
        let options = options.into_iter().map(str::to_owned).collect();
        self.zones.push(Zone { origin, options, nodes, pair, key });
        self.delegated = false;
    }

    pub fn add_record(&mut self, line: &str) {
        let zone = self.zones.last_mut().unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let (owner, rtype) = (Name::parse(words[0], Some(&zone.origin)).unwrap(), Rtype::parse(words[1]).unwrap());
        let rdata = match rtype {
            Rtype::A => words[2].parse::<std::net::Ipv4Addr>().unwrap().octets().to_vec(),
            Rtype::TXT => [&[words[2].len() as u8], words[2].as_bytes()].concat(),
            Rtype::MX => [&[0, 10], Name::parse(words[2], Some(&zone.origin)).unwrap().wire()].concat(),
            _ => Name::parse(words[2], Some(&zone.origin)).unwrap().wire().to_vec(),
        };
        zone.nodes.entry(Sorted(owner.to_key())).or_default().entry(rtype).or_default().push(rdata);
    }

    /// NS and DS at the parents.
    pub fn delegate(&mut self) {
        if std::mem::replace(&mut self.delegated, true) {
            return;
        }
        let children: Vec<(Name, Option<Vec<u8>>)> = self
            .zones
            .iter()
            .filter(|zone| !zone.has("island"))
            .map(|zone| {
                let ds = |kind| ds_rdata(zone.origin.wire(), &zone.key, kind).unwrap();
                let ds = match zone.options.iter().find_map(|option| option.strip_prefix("ds=")) {
                    Some("none") => None,
                    Some("wrong") => Some(ds_rdata(&[0], &zone.key, DigestType::SHA256).unwrap()),
                    Some("sha1") => Some([&ds(DigestType::SHA256)[..3], &[1; 21]].concat()),
                    Some("alg5") => Some([&ds(DigestType::SHA256)[..2], &[5], &ds(DigestType::SHA256)[3..]].concat()),
                    _ => zone.is_signed().then(|| ds(DigestType::SHA384)),
                };
                (zone.origin.clone(), ds)
            })
            .collect();
        for (child, ds) in children.into_iter().filter(|(child, _)| *child != Name::root()) {
            let above = self.zone_of(&child, Rtype::DS);
            let node = self.zones[above].nodes.entry(Sorted(child)).or_default();
            node.insert(Rtype::NS, vec![Name::absolute("ns.test").unwrap().wire().to_vec()]);
            if let Some(ds) = ds {
                node.insert(Rtype::DS, vec![ds]);
            }
        }
    }

    pub fn key(&self, origin: &Name) -> Vec<u8> {
        self.zones.iter().find(|zone| zone.origin == *origin).unwrap().key.clone()
    }

    fn zone_of(&self, name: &Name, rtype: Rtype) -> usize {
        let own = |zone: &Zone| {
            is_within(name.wire(), zone.origin.wire()) && (rtype != Rtype::DS || zone.origin != *name || *name == Name::root())
        };
        let zones = self.zones.iter().enumerate().filter(|(_, zone)| own(zone));
        zones.max_by_key(|(_, zone)| zone.origin.wire().len()).unwrap().0
    }

    pub fn answer(&self, name: &Name, rtype: Rtype) -> Answer {
        let mut answer = Answer {
            rcode: Rcode::NOERROR,
            records: Vec::new(),
            authority: Vec::new(),
            ttl: TTL,
            security: Security::Unchecked,
            extended_error: None,
        };
        let mut next = Some(name.to_key());
        for _ in 0..8 {
            let Some(name) = next else { break };
            next = self.zones[self.zone_of(&name, rtype)].answer(&name, rtype, &mut answer);
        }
        answer
    }

    /// The zone whose servers know the name.
    pub fn zone(&self, name: &Name, rtype: Rtype) -> &Name {
        &self.zones[self.zone_of(name, rtype)].origin
    }

    /// The answer after a stranger had it in hand.
    pub fn changed_answer(&self, name: &Name, rtype: Rtype, changes: &[&str], main: bool) -> Answer {
        let mut answer = self.answer(name, rtype);
        for change in changes {
            let mine = match change.split_once('!') {
                Some((to, what)) => {
                    let (of, owner) = to.split_once(':').unwrap();
                    (Rtype::parse(of) == Some(rtype) && Name::absolute(owner).unwrap() == name.to_key()).then_some(what)
                }
                None => main.then_some(*change),
            };
            if let Some(what) = mine {
                let (what, how) = what.split_once('=').unwrap_or((what, ""));
                self.change(&mut answer, what, how);
            }
        }
        answer
    }

    fn change(&self, answer: &mut Answer, what: &str, how: &str) {
        let all = |answer: &mut Answer, keep: &dyn Fn(&Record) -> bool| {
            answer.records.retain(keep);
            answer.authority.retain(keep);
        };
        let is_denial = |rtype: Rtype| rtype == Rtype::NSEC || rtype == Rtype::NSEC3;
        let covers = |record: &Record, test: &dyn Fn(Rtype) -> bool| {
            test(record.rtype)
                || (record.rtype == Rtype::RRSIG && test(Rtype(u16::from_be_bytes([record.rdata[0], record.rdata[1]]))))
        };
        match what {
            "now" | "earlier" | "unreferred" => {}
            // No signatures at all.
            "strip" => all(answer, &|record| record.rtype != Rtype::RRSIG),
            // No proofs; with an owner, not that one.
            "undenied" => all(answer, &|record| {
                !covers(record, &is_denial) || (!how.is_empty() && record.name != Name::absolute(how).unwrap())
            }),
            "empty" => {
                answer.records.clear();
                answer.authority.clear();
            }
            "fail" => *answer = Answer::failure(0),
            "rcode" => answer.rcode = if how == "NXDOMAIN" { Rcode::NXDOMAIN } else { Rcode::NOERROR },
            // Another address.
            "forge" => {
                let record = answer.records.iter_mut().rfind(|record| record.rtype != Rtype::RRSIG).unwrap();
                let at = record.rdata.len() - 2;
                record.rdata[at] ^= 1;
            }
            "upper" => {
                for record in answer.records.iter_mut().chain(&mut answer.authority) {
                    record.name = Name::absolute(&record.name.to_string().to_uppercase()).unwrap();
                }
            }
            // Records that nobody signed.
            "stuff" => {
                let record =
                    |name: &str| Record { name: Name::absolute(name).unwrap(), rtype: Rtype::A, ttl: 9, rdata: [6; 4].into() };
                answer.records.push(record("evil.test"));
                answer.authority.push(record("example.test"));
            }
            // So many signatures that do not fit, in front.
            "junk" => {
                let good: Vec<Record> = answer.records.iter().filter(|record| record.rtype == Rtype::RRSIG).cloned().collect();
                for record in good {
                    for number in 0..how.parse::<u8>().unwrap() {
                        let mut bad = record.clone();
                        let last = bad.rdata.len() - 1;
                        bad.rdata[last] ^= number + 1;
                        answer.records.insert(0, bad);
                    }
                }
            }
            // No SOA, and so many signatures that do not fit for each denial, of ten more zones' worth of them.
            "spoil" => {
                answer.authority.retain(|record| !covers(record, &|rtype| rtype == Rtype::SOA));
                let denials = std::mem::take(&mut answer.authority);
                for number in 0..10 {
                    for record in &denials {
                        let mut record = record.clone();
                        let label = labels(record.name.wire()).next().unwrap().to_vec();
                        let moved = [&label[..label.len() - 1], &[b'a' + number]].concat();
                        record.name =
                            Name::child(&moved, &Name::from_wire(parent(record.name.wire()).unwrap()).unwrap()).unwrap();
                        let copies = if record.rtype == Rtype::RRSIG { how.parse::<u8>().unwrap() } else { 1 };
                        answer.authority.extend(std::iter::repeat_n(record, copies.into()));
                    }
                }
            }
            // The answer, or its proof, of another name.
            "instead" => {
                let (name, rtype) = how.split_once('/').unwrap();
                let other = self.answer(&Name::absolute(name).unwrap(), Rtype::parse(rtype).unwrap());
                *answer = Answer { rcode: answer.rcode, ..other };
            }
            // A wildcard's set under a name it is not for: owner renamed.
            "rename" => {
                for record in &mut answer.records {
                    record.name = Name::absolute(how).unwrap();
                }
            }
            // A set signed by the keys of another zone.
            "signer" => {
                let zone = self.zones.iter().find(|zone| zone.origin == Name::absolute(how).unwrap()).unwrap();
                let mut records = Vec::new();
                for record in answer.records.iter().filter(|record| record.rtype != Rtype::RRSIG) {
                    zone.give(&record.name, &record.name, record.rtype, &[record.rdata.to_vec()], &mut records);
                }
                answer.records = records;
            }
            // An alias that leads elsewhere.
            "misalias" => {
                let alias = answer.records.iter_mut().find(|record| record.rtype == Rtype::CNAME).unwrap();
                alias.rdata = Name::absolute(how).unwrap().wire().into();
            }
            "ttl" => {
                for record in &mut answer.records {
                    record.ttl = how.parse().unwrap();
                }
            }
            _ => panic!("no change {what}"),
        }
        assert!(answer.records.iter().all(|record| labels(record.name.wire()).count() < 128 && !is_wildcard(b"\0")));
    }
}
