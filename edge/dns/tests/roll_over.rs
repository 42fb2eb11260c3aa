//! Roll-overs of keys with passing time, as data: `tests/roll_over/*.txt`; and the proof that no validator is ever left without a path.
//!
//! ```text
//!   timing dnskey 1h zone 1d ds 1d propagation 1h parent 1h
//!   > start|adopt|roll ROLE ALGORITHM [ROLE ALGORITHM]   > ds-seen KEY   > parent KEY... | none   > abandon   > leave   > ds-gone   > stay
//!   +1d12h              time passes; what is due is done when it is due
//!   = ...               what changed, at which time; then who is in the DNSKEY set, who signs it, who signs the zone, who is in the CDS set
//! ```
//! Keys are called A, B, C in the order they are made. `REWRITE=1 cargo test -p postring-dns --test roll_over` writes what happens now. After each
//! line the state is written as text and read again, as after a restart.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod cases;

use postring_dns::Name;
use postring_dns::dnssec::algorithm::Algorithm;
use postring_dns::dnssec::digest::DigestType;
use postring_dns::dnssec::sign::{Change, KeyState, NewKey, Role, RollError, SigningKey, Timing, ZoneKey, ZoneKeys};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// Keys by their number.
type Keys = BTreeSet<usize>;

/// What a cache can hold of one kind: from when it was served to when it was replaced, and how long it may be kept.
#[derive(Debug)]
struct Version<T> {
    content: T,
    until: Option<u64>,
    ttl: u64,
}

impl<T> Version<T> {
    fn may_be_cached(&self, now: u64) -> bool {
        self.until.is_none_or(|until| until + self.ttl > now)
    }
}

#[derive(Clone, Debug, PartialEq)]
struct KeySet {
    keys: Keys,
    signers: Keys,
}

/// A zone, its parent, and all that caches may hold of both.
struct World {
    zone: ZoneKeys,
    made: Vec<Arc<SigningKey>>,
    timing: Timing,
    now: u64,
    parent: Keys,
    ds_sets: Vec<Version<Keys>>,
    key_sets: Vec<Version<KeySet>>,
    zone_signers: Vec<Version<Keys>>,
}

impl World {
    fn new() -> Self {
        let zone = ZoneKeys::new(&Name::absolute("example.org").unwrap());
        let timing = Timing { dnskey_ttl: 3600, zone_ttl: 86_400, ds_ttl: 86_400, propagation: 3600, parent_propagation: 3600 };
        let (ds_sets, key_sets, zone_signers) = (Vec::new(), Vec::new(), Vec::new());
        let mut world =
            Self { zone, made: Vec::new(), timing, now: 1_790_000_000, parent: Keys::new(), ds_sets, key_sets, zone_signers };
        world.zone.advance(world.now, &timing);
        world.publish();
        world
    }

    /// A key that no other has the tag of, so that `ds-seen` is clear.
    fn make(&mut self, role: Role, algorithm: Algorithm) -> NewKey {
        let key = loop {
            let key = SigningKey::generate(algorithm, role.is_entry_point()).unwrap().0;
            if self.made.iter().all(|made| made.tag() != key.tag()) {
                break Arc::new(key);
            }
        };
        self.made.push(Arc::clone(&key));
        (role, key)
    }

    fn number(&self, tag: u16) -> usize {
        self.made.iter().position(|key| key.tag() == tag).unwrap()
    }

    fn numbers<'k>(&self, keys: impl Iterator<Item = &'k ZoneKey>) -> Keys {
        keys.map(|zone_key| self.number(zone_key.key.tag())).collect()
    }

    /// Serves what the zone and the parent have now, and asks the most unlucky validators.
    fn publish(&mut self) {
        let key_set = KeySet { keys: self.numbers(self.zone.key_set()), signers: self.numbers(self.zone.key_set_signers()) };
        let zone_signers = self.numbers(self.zone.zone_signers());
        let timing = self.timing;
        let [ds, keys, zone] = [
            timing.ds_ttl + timing.parent_propagation,
            // That there are no keys is cached as a negative answer, which the zone's largest TTL bounds.
            if key_set.keys.is_empty() { timing.zone_ttl } else { timing.dnskey_ttl } + timing.propagation,
            timing.zone_ttl + timing.propagation,
        ];
        add(&mut self.ds_sets, self.parent.clone(), ds, self.now);
        add(&mut self.key_sets, key_set, keys, self.now);
        add(&mut self.zone_signers, zone_signers, zone, self.now);
        self.validate();
    }

    /// RFC 4035 section 5, with whatever mixture of cached sets; as strict as RFC 4035 section 2.2 lets a validator be: each algorithm of the DS
    /// set must lead to a key, each algorithm of the DNSKEY set must have signed.
    fn validate(&self) {
        let algorithms = |keys: &Keys| keys.iter().map(|key| self.made[*key].algorithm()).collect::<BTreeSet<_>>();
        for ds in self.ds_sets.iter().filter(|ds| !ds.content.is_empty()) {
            for key_set in &self.key_sets {
                let Version { content: KeySet { keys, signers }, .. } = key_set;
                let entries: Keys =
                    ds.content.iter().filter(|key| keys.contains(key) && signers.contains(key)).copied().collect();
                assert!(algorithms(&entries) == algorithms(&ds.content), "DS {:?} with {key_set:?}", ds.content);
            }
        }
        if self.ds_sets.iter().all(|ds| ds.content.is_empty()) {
            return;
        }
        for Version { content: KeySet { keys, .. }, .. } in &self.key_sets {
            for Version { content: signers, .. } in &self.zone_signers {
                let both: Keys = keys.intersection(signers).copied().collect();
                assert!(algorithms(&both) == algorithms(keys), "keys {keys:?}, zone signed by {signers:?}");
            }
        }
    }

    /// Lets time pass; `late`: what is due is done that much later than it could.
    fn pass(&mut self, seconds: u64, late: u64) -> Vec<(u64, Change)> {
        let (mut changes, end) = (Vec::new(), self.now + seconds);
        for _ in 0..100 {
            let Some(next) =
                self.zone.next_change(&self.timing).map(|next| next.max(self.now) + late).filter(|next| *next <= end)
            else {
                break;
            };
            self.now = next;
            changes.extend(self.zone.advance(self.now, &self.timing).into_iter().map(|change| (next, change)));
            self.publish();
        }
        self.now = end;
        changes.extend(self.zone.advance(self.now, &self.timing).into_iter().map(|change| (end, change)));
        self.publish();
        changes
    }

    fn restart(&mut self) {
        let text = self.zone.state_text();
        let mut load = |algorithm, tag| {
            let found = self.made.iter().find(|key| (key.algorithm(), key.tag()) == (algorithm, tag));
            found.cloned().ok_or_else(|| format!("no key {tag}"))
        };
        self.zone = ZoneKeys::parse_state(self.zone.origin(), &text, &mut load).unwrap();
        assert_eq!(self.zone.state_text(), text);
    }
}

fn add<T: PartialEq>(versions: &mut Vec<Version<T>>, content: T, ttl: u32, now: u64) {
    let ttl = u64::from(ttl);
    match versions.last_mut() {
        Some(last) if last.content == content && last.ttl == ttl => {}
        last => {
            if let Some(last) = last {
                last.until = Some(now);
            }
            versions.push(Version { content, until: None, ttl });
        }
    }
    versions.retain(|version| version.may_be_cached(now));
}

#[test]
fn scenarios() {
    cases::check("roll_over", 7, run);
}

fn run(text: &str) -> String {
    let mut world = World::new();
    let start = world.now;
    let (mut out, mut picture) = (String::new(), String::new());
    for line in text.lines().filter(|line| !line.starts_with("= ")) {
        writeln!(out, "{line}").unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut changes = Vec::new();
        match words.as_slice() {
            ["timing", rest @ ..] => set_timing(&mut world, rest),
            [">", command, arguments @ ..] => match self::command(&mut world, command, arguments) {
                Ok(done) => changes.extend(done.into_iter().map(|change| (world.now, change))),
                Err(error) => writeln!(out, "= refused: {}", named(&world, &error.to_string())).unwrap(),
            },
            [delay] if delay.starts_with('+') => changes.extend(world.pass(seconds(&delay[1..]), 0)),
            _ => continue,
        }
        world.publish();
        world.restart();
        for (at, change) in changes {
            writeln!(out, "= {} {}", ago(at - start), named(&world, &change.to_string())).unwrap();
        }
        let now = self::picture(&world);
        if now != picture {
            writeln!(out, "= {now}").unwrap();
            picture = now;
        }
    }
    out
}

fn set_timing(world: &mut World, words: &[&str]) {
    for pair in words.chunks(2) {
        let value = u32::try_from(seconds(pair[1])).unwrap();
        match pair[0] {
            "dnskey" => world.timing.dnskey_ttl = value,
            "zone" => world.timing.zone_ttl = value,
            "ds" => world.timing.ds_ttl = value,
            "propagation" => world.timing.propagation = value,
            "parent" => world.timing.parent_propagation = value,
            other => panic!("{other}"),
        }
    }
    world.zone.advance(world.now, &world.timing);
}

fn command(world: &mut World, command: &str, arguments: &[&str]) -> Result<Vec<Change>, RollError> {
    let now = world.now;
    let number = |text: &str| usize::from(text.as_bytes()[0] - b'A');
    match command {
        "start" | "adopt" | "roll" => {
            let new = arguments.chunks(2).map(|pair| {
                let (role, algorithm) = (Role::parse(pair[0]).unwrap(), Algorithm::parse(pair[1]).unwrap());
                world.make(role, algorithm)
            });
            let new: Vec<NewKey> = new.collect();
            match command {
                "start" => world.zone.start(now, new),
                "adopt" => {
                    let changes = world.zone.adopt(now, new)?;
                    // The parent knows them, and no cache holds anything else.
                    world.parent = world.numbers(world.zone.wanted_at_parent());
                    (world.key_sets, world.zone_signers, world.ds_sets) = (Vec::new(), Vec::new(), Vec::new());
                    Ok(changes)
                }
                _ => world.zone.roll(now, new),
            }
        }
        "ds-seen" => {
            let number = number(arguments[0]);
            let changes = world.zone.ds_seen(now, world.made[number].tag())?;
            world.parent = Keys::from([number]);
            Ok(changes)
        }
        "parent" => {
            world.parent = arguments.iter().filter(|word| **word != "none").map(|word| number(word)).collect();
            let origin = world.zone.origin().clone();
            let ds: Vec<_> =
                world.parent.iter().map(|key| world.made[*key].ds(origin.wire(), DigestType::SHA384).unwrap()).collect();
            Ok(world.zone.parent_seen(now, &ds.iter().map(|ds| &**ds).collect::<Vec<_>>()))
        }
        "abandon" => world.zone.abandon(now),
        "leave" => world.zone.leave(now).map(|()| Vec::new()),
        "ds-gone" => {
            world.zone.ds_gone(now)?;
            world.parent.clear();
            Ok(Vec::new())
        }
        "stay" => world.zone.stay().map(|()| Vec::new()),
        other => panic!("{other}"),
    }
}

/// Tags as letters.
fn named(world: &World, text: &str) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for word in &mut words {
        if let Some(at) = word.parse().ok().and_then(|tag: u16| world.made.iter().position(|key| key.tag() == tag)) {
            *word = letter(at);
        }
    }
    words.join(" ")
}

fn letter(number: usize) -> String {
    char::from(b'A' + u8::try_from(number).unwrap()).to_string()
}

fn picture(world: &World) -> String {
    let letters = |keys: Keys| match keys.is_empty() {
        true => "-".to_owned(),
        false => keys.into_iter().map(letter).collect(),
    };
    let zone = &world.zone;
    let [keys, by, signers, cds] = [
        letters(world.numbers(zone.key_set())),
        letters(world.numbers(zone.key_set_signers())),
        letters(world.numbers(zone.zone_signers())),
        if zone.is_leaving() { "delete".to_owned() } else { letters(world.numbers(zone.wanted_at_parent())) },
    ];
    format!("keys {keys} by {by}, zone by {signers}, cds {cds}")
}

fn seconds(text: &str) -> u64 {
    let (mut total, mut number) = (0, 0);
    for byte in text.bytes() {
        let unit = match byte {
            b'0'..=b'9' => {
                number = number * 10 + u64::from(byte - b'0');
                continue;
            }
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            other => panic!("{other}"),
        };
        total += std::mem::take(&mut number) * unit;
    }
    total + number
}

/// As `2d3h`, from the beginning.
fn ago(seconds: u64) -> String {
    let mut out = String::new();
    for (unit, name, modulo) in [(86_400, "d", u64::MAX), (3600, "h", 24), (60, "m", 60), (1, "s", 60)] {
        let count = seconds / unit % modulo;
        if count > 0 {
            write!(out, "{count}{name}").unwrap();
        }
    }
    if out.is_empty() { "0".to_owned() } else { out }
}

/// What an administrator, a parent or a zone file may do at any time.
#[derive(Clone, Debug)]
enum Act {
    Start(Vec<(Role, Algorithm)>),
    Roll(Vec<(Role, Algorithm)>),
    /// The parent takes over what CDS asks for.
    ParentFollows,
    /// The caller looks at the parent.
    Look,
    Leave,
    Stay,
    Abandon,
    ZoneTtl(u32),
    DnskeyTtl(u32),
    DsTtl(u32),
}

fn acts() -> impl Strategy<Value = Act> {
    let algorithm = prop_oneof![Just(Algorithm::ECDSAP256SHA256), Just(Algorithm::ED25519)];
    let all = algorithm.clone().prop_flat_map(|algorithm| {
        prop_oneof![Just(vec![(Role::Csk, algorithm)]), Just(vec![(Role::Ksk, algorithm), (Role::Zsk, algorithm)])]
    });
    let one = (prop_oneof![Just(Role::Ksk), Just(Role::Zsk), Just(Role::Csk)], algorithm).prop_map(|new| vec![new]);
    let ttl = || prop_oneof![Just(60_u32), Just(3600), Just(86_400), Just(604_800)];
    prop_oneof![
        2 => all.clone().prop_map(Act::Start),
        3 => all.prop_map(Act::Roll),
        4 => one.prop_map(Act::Roll),
        5 => Just(Act::ParentFollows),
        6 => Just(Act::Look),
        1 => Just(Act::Leave),
        1 => Just(Act::Stay),
        2 => Just(Act::Abandon),
        1 => ttl().prop_map(Act::ZoneTtl),
        1 => ttl().prop_map(Act::DnskeyTtl),
        1 => ttl().prop_map(Act::DsTtl),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done in whatever order, and whenever what is due is done: every validator finds a path, with whatever it has in its cache.
    #[test]
    fn no_validator_is_left_alone(steps in proptest::collection::vec(
        (acts(), prop_oneof![Just(0_u64), Just(1), Just(1800), Just(7200), Just(90_000), Just(700_000)], 0_u64..10_000), 1..40)) {
        let mut world = World::new();
        for (act, delay, late) in steps {
            let now = world.now;
            let mut make = |new: Vec<(Role, Algorithm)>| new.into_iter().map(|(role, algorithm)| world.make(role, algorithm)).collect::<Vec<_>>();
            match act {
                Act::Start(new) => {
                    let new = make(new);
                    let _ = world.zone.start(now, new);
                }
                Act::Roll(new) => {
                    let new = make(new);
                    let _ = world.zone.roll(now, new);
                }
                Act::ParentFollows => {
                    let wanted = world.numbers(world.zone.wanted_at_parent());
                    if !wanted.is_empty() || world.zone.is_leaving() {
                        world.parent = wanted;
                    }
                }
                Act::Look => {
                    let origin = world.zone.origin().clone();
                    let ds: Vec<_> = world.parent.iter().map(|key| world.made[*key].ds(origin.wire(), DigestType::SHA256).unwrap()).collect();
                    world.zone.parent_seen(now, &ds.iter().map(|ds| &**ds).collect::<Vec<_>>());
                }
                Act::Leave => drop(world.zone.leave(now)),
                Act::Stay => drop(world.zone.stay()),
                Act::Abandon => {
                    let is_active = |key: &usize| {
                        let own = |zone_key: &&ZoneKey| world.number(zone_key.key.tag()) == *key;
                        world.zone.keys().iter().find(own).is_some_and(|zone_key| zone_key.state == KeyState::Active)
                    };
                    if world.parent.iter().all(is_active) {
                        let _ = world.zone.abandon(now);
                    }
                }
                Act::ZoneTtl(ttl) => world.timing.zone_ttl = ttl,
                Act::DnskeyTtl(ttl) => world.timing.dnskey_ttl = ttl,
                Act::DsTtl(ttl) => world.timing.ds_ttl = ttl,
            }
            let timing = world.timing;
            world.zone.advance(now, &timing);
            world.publish();
            world.restart();
            world.pass(delay, late);
        }
        // And it comes to an end: with a parent that follows, all keys are in use.
        for _ in 0..12 {
            if world.zone.is_leaving() {
                world.parent.clear();
                world.zone.ds_gone(world.now).unwrap();
            }
            let ready = world.zone.keys().iter().find(|zone_key| zone_key.state == KeyState::Ready).map(|zone_key| zone_key.key.tag());
            if let Some(tag) = ready.filter(|_| !world.zone.is_leaving()) {
                world.parent = Keys::from([world.number(tag)]);
                world.zone.ds_seen(world.now, tag).unwrap();
            }
            world.publish();
            world.pass(700_000, 0);
        }
        prop_assert!(world.zone.keys().iter().all(|zone_key| zone_key.state == KeyState::Active), "{}", world.zone.status(world.now, &world.timing));
    }
}
