//! Zones that others signed, `tests/signed_zones/NAME.SIGNER.txt`: `ldns-signzone` 1.8.3 and BIND's `dnssec-signzone` 9.18, each algorithm, NSEC
//! and NSEC3 (p256: 10 iterations and a salt, p384: 3 and a salt, ed25519: opt-out), written out by `ldns-read-zone -u TYPE`. All have
//!
//! ```text
//!   @ SOA NS   ns A   *.w TXT   Mx MX   a.ent NAPTR   srv SRV   cut NS (unsigned)
//! ```
//! Everything that is there must be secure. What is not there must be provable with three of the denials, and what is there with none.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

use postring_dns::dnssec::Security;
use postring_dns::dnssec::validate::{KeyCache, Step, Trust, Validator, Verdict, Work};
use postring_dns::record::Record;
use postring_dns::resolver::Answer;
use postring_dns::{Name, Rcode, Rtype};
use std::path::Path;
use std::sync::Arc;

/// Between 2026 and 2036, when the signatures are valid.
const NOW: u64 = 1_900_000_000;

fn read(text: &str) -> Vec<Record> {
    let record = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[4], "\\#");
        let hex: String = words[6..].concat();
        let octets = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap());
        let (name, rtype) = (Name::absolute(words[0]).unwrap(), Rtype(words[3].strip_prefix("TYPE").unwrap().parse().unwrap()));
        Record { name, rtype, ttl: words[1].parse().unwrap(), rdata: octets.collect() }
    };
    text.lines().filter(|line| !line.is_empty() && !line.starts_with(';')).map(record).collect()
}

fn covered(record: &Record) -> Rtype {
    match record.rtype {
        Rtype::RRSIG => Rtype(u16::from_be_bytes([record.rdata[0], record.rdata[1]])),
        rtype => rtype,
    }
}

struct World {
    origin: Name,
    records: Vec<Record>,
    trust: Arc<Trust>,
    cache: KeyCache,
}

impl World {
    fn set(&self, owner: &Name, rtype: Rtype) -> Vec<Record> {
        let own = |record: &&Record| record.name.to_key() == owner.to_key() && covered(record) == rtype;
        self.records.iter().filter(own).cloned().collect()
    }

    fn name(&self, text: &str) -> Name {
        Name::parse(text, Some(&self.origin)).unwrap()
    }

    fn validate(
        &mut self,
        name: &Name,
        rtype: Rtype,
        rcode: Rcode,
        records: Vec<Record>,
        authority: Vec<Record>,
    ) -> (Verdict, Answer) {
        let answer = Answer { rcode, records, authority, ttl: 3600, security: Security::Unchecked, extended_error: None };
        let mut validator = Validator::new(name, rtype, &answer, Arc::clone(&self.trust), NOW, Work::default());
        loop {
            match validator.poll(&mut self.cache) {
                Step::Done(verdict) => return (verdict, validator.answer()),
                Step::Need { name, rtype } => {
                    let records = self.set(&name, rtype);
                    let authority = if records.is_empty() { self.set(&self.name("cut"), Rtype::NSEC) } else { Vec::new() };
                    let answer = Answer {
                        rcode: Rcode::NOERROR,
                        records,
                        authority,
                        ttl: 60,
                        security: Security::Unchecked,
                        extended_error: None,
                    };
                    validator.handle_answer(&name, rtype, &answer);
                }
            }
        }
    }

    /// Owners of the denials.
    fn denials(&self) -> Vec<Name> {
        let denials = self.records.iter().filter(|record| record.rtype == Rtype::NSEC || record.rtype == Rtype::NSEC3);
        denials.map(|record| record.name.clone()).collect()
    }

    /// The SOA and some denials.
    fn proof(&self, denials: &[Name]) -> Vec<Record> {
        let mut authority = self.set(&self.origin, Rtype::SOA);
        for owner in denials {
            authority.extend(self.set(owner, Rtype::NSEC));
            authority.extend(self.set(owner, Rtype::NSEC3));
        }
        authority
    }

    /// What any three of the zone's denials make of a name that has no such records.
    fn deny(&mut self, name: &Name, rtype: Rtype, rcode: Rcode) -> Vec<(Verdict, Rcode)> {
        let denials = self.denials();
        let mut verdicts: Vec<(Verdict, Rcode)> = Vec::new();
        for (first, _) in denials.iter().enumerate() {
            for second in first..denials.len() {
                for third in second..denials.len() {
                    let mut chosen = vec![denials[first].clone(), denials[second].clone(), denials[third].clone()];
                    chosen.dedup();
                    let authority = self.proof(&chosen);
                    let (verdict, answer) = self.validate(name, rtype, rcode, Vec::new(), authority);
                    if !matches!(verdict, Verdict::Bogus(_)) && !verdicts.contains(&(verdict.clone(), answer.rcode)) {
                        verdicts.push((verdict, answer.rcode));
                    }
                }
            }
        }
        verdicts
    }
}

#[test]
fn zones_that_others_signed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signed_zones");
    let mut zones = 0;
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let origin = Name::absolute(path.file_stem().unwrap().to_str().unwrap()).unwrap();
        let records = read(&std::fs::read_to_string(&path).unwrap());
        let mut trust = Trust::default();
        let mut keys = records.iter().filter(|record| record.rtype == Rtype::DNSKEY && record.rdata[..2] == [1, 1]);
        assert!(keys.all(|key| trust.add_dnskey(&origin, &key.rdata)));
        check(World { origin, records, trust: Arc::new(trust), cache: KeyCache::new() });
        zones += 1;
    }
    assert_eq!(zones, 6);
}

fn check(mut world: World) {
    let origin = world.origin.clone();
    let opt_out = origin == Name::absolute("ed25519.bind").unwrap();
    let secure = (Verdict::Secure, Rcode::NOERROR);
    let nothing = (Verdict::Secure, Rcode::NXDOMAIN);
    let hidden = |rcode| (Verdict::Insecure(None), rcode);
    // What is there.
    let there: Vec<(Name, Rtype)> = world.records.iter().map(|record| (record.name.clone(), record.rtype)).collect();
    let cut = world.name("cut");
    for (owner, rtype) in there {
        if rtype == Rtype::RRSIG || (owner == cut && rtype == Rtype::NS) {
            continue;
        }
        let records = world.set(&owner, rtype);
        let (verdict, answer) = world.validate(&owner, rtype, Rcode::NOERROR, records.clone(), Vec::new());
        assert_eq!((verdict, answer.records.len() >= 2), (Verdict::Secure, true), "{owner} {rtype}");
        // One bit of each record, its signature included, matters.
        for at in 0..records.len() {
            let mut forged = records.clone();
            let last = forged[at].rdata.len() - 1;
            forged[at].rdata[last] ^= 1;
            let (verdict, answer) = world.validate(&owner, rtype, Rcode::NOERROR, forged, Vec::new());
            let two_keys = rtype == Rtype::DNSKEY && records.iter().filter(|record| record.rtype == Rtype::RRSIG).count() > 1;
            assert!(matches!(verdict, Verdict::Bogus(_)) || two_keys, "{owner} {rtype}");
            assert!(answer.is_failure() || two_keys);
        }
        // Denials themselves are at hashes, which have no NSEC3. Eight at once is as many as are looked at.
        if rtype != Rtype::NSEC && rtype != Rtype::NSEC3 {
            let denials = world.denials();
            for chosen in [&denials[..denials.len().min(8)], &denials[denials.len().saturating_sub(8)..]] {
                let authority = world.proof(chosen);
                let (verdict, _) = world.validate(&owner, rtype, Rcode::NXDOMAIN, Vec::new(), authority);
                assert!(matches!(verdict, Verdict::Bogus(_)), "{owner} {rtype} denied");
            }
        }
    }
    // A wildcard.
    let wild = world.name("x.w");
    let records: Vec<Record> = world.set(&world.name("*.w"), Rtype::TXT);
    let records: Vec<Record> = records.into_iter().map(|record| Record { name: wild.clone(), ..record }).collect();
    let mut verdicts = Vec::new();
    for denial in world.denials() {
        let authority = world.proof(&[denial]);
        verdicts.push(world.validate(&wild, Rtype::TXT, Rcode::NOERROR, records.clone(), authority).0);
    }
    verdicts.retain(|verdict| !matches!(verdict, Verdict::Bogus(_)));
    assert_eq!(verdicts, [if opt_out { Verdict::Insecure(None) } else { Verdict::Secure }], "{origin}");
    // What is not there.
    for (text, rtype, rcode, expected) in [
        ("nothing", Rtype::A, Rcode::NXDOMAIN, if opt_out { hidden(Rcode::NXDOMAIN) } else { nothing.clone() }),
        ("a.b.nothing", Rtype::A, Rcode::NXDOMAIN, if opt_out { hidden(Rcode::NXDOMAIN) } else { nothing.clone() }),
        ("b.ent", Rtype::A, Rcode::NXDOMAIN, if opt_out { hidden(Rcode::NXDOMAIN) } else { nothing }),
        ("mx", Rtype::A, Rcode::NOERROR, secure.clone()),
        ("ent", Rtype::A, Rcode::NXDOMAIN, secure.clone()),
        ("cut", Rtype::DS, Rcode::NOERROR, if opt_out { hidden(Rcode::NOERROR) } else { secure.clone() }),
        ("x.w", Rtype::MX, Rcode::NOERROR, if opt_out { hidden(Rcode::NOERROR) } else { secure.clone() }),
        ("@", Rtype::MX, Rcode::NOERROR, secure),
    ] {
        // P-384 is slow, and its zone like the others.
        if origin == Name::absolute("p384.ldns").unwrap() && text != "nothing" {
            continue;
        }
        assert_eq!(world.deny(&world.name(text), rtype, rcode), [expected], "{text} {rtype} of {origin}");
    }
}
