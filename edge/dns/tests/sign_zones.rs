//! Whole signed zones: each signature verified here; and with `POSTRING_INTEROP=1` by `ldns-verify-zone` (ldnsutils) and `dnssec-verify`
//! (bind9-utils), where they are installed.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use postring_dns::dnssec::Denial;
use postring_dns::dnssec::algorithm::Algorithm;
use postring_dns::dnssec::canonical::is_wildcard;
use postring_dns::dnssec::digest::DigestType;
use postring_dns::dnssec::key::Dnskey;
use postring_dns::dnssec::rrsig::Rrsig;
use postring_dns::dnssec::sign::{
    NewKey, Role, SerialPolicy, SigningKey, Timing, Validity, ZoneKeys, ZoneSigner, key_file_stem, largest_ttl, prepare,
    private_text, public_text, read_key,
};
use postring_dns::record::rdata_text;
use postring_dns::zone::{Zone, ZoneBuilder, parse_zone};
use postring_dns::{Name, Rtype};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Wildcards, delegations with and without DS, glue, names below a delegation and a DNAME, empty non-terminals, letters of both cases, octets
/// that need escapes, an alias, sets of many records, data with names in it.
const ZONE: &str = r#"$TTL 3600
@           IN SOA Ns1.Example.org. HostMaster ( 2026112501 7200 3600 1209600 600 )
            NS   ns1
            NS   ns.elsewhere.example.
            MX   10 Mail
            TXT  "v=spf1 mx -all" "second; string"
            CAA  0 issue "ca.example"
ns1         A    192.0.2.1
            AAAA 2001:db8::1
Mail        A    192.0.2.2
            A    192.0.2.3
            A    192.0.2.1
www         CNAME mail
*.wild      A    192.0.2.9
*.wild      MX   5 MAIL
x.wild      TXT  "beside a wildcard"
*           TXT  "all else"
deep.empty.non.terminal AAAA 2001:db8::2
insecure    NS   ns.insecure
ns.insecure A    192.0.2.53
secure  600 NS   Ns.Secure
secure      DS   12345 13 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A
ns.secure   A    192.0.2.54
below.ns.secure TXT "hidden"
away        DNAME other.Example.
a\.b\000c   TXT  "escapes"
_25._tcp.mail TLSA 3 1 1 0011223344556677889900112233445566778899001122334455667788990011
_submission._tcp SRV 0 1 587 MAIL
naptr       NAPTR 100 10 "U" "E2U+email" "!^.*$!mailto:info@example.org!" .
raw         TYPE65280 \# 4 0A000001
UPPER.Case  A    192.0.2.77
many        TXT a
many        TXT b
many        TXT c
many        TXT aa
"#;

fn origin() -> Name {
    Name::absolute("example.org").unwrap()
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn new_keys(keys: &[(Role, Algorithm)]) -> Vec<NewKey> {
    keys.iter()
        .map(|(role, algorithm)| (*role, Arc::new(SigningKey::generate(*algorithm, role.is_entry_point()).unwrap().0)))
        .collect()
}

fn signed(keys: &mut ZoneKeys, denial: Denial, now: u64) -> Zone {
    let file = parse_zone(&origin(), Path::new("zone"), &mut |_: &Path| Ok(ZONE.to_owned())).unwrap();
    let timing = Timing::new(largest_ttl(&file));
    keys.advance(now, &timing);
    let serial = SerialPolicy::Increment.next(file.serial(), keys.serial_last, now);
    keys.serial_last = Some(serial);
    let mut builder = ZoneBuilder::from_zone(&file);
    prepare(&mut builder, keys, timing.dnskey_ttl, &denial, serial).unwrap();
    let signer = ZoneSigner::new(keys, now, Validity::default());
    builder.finish_signed(Arc::new(signer), denial).unwrap()
}

fn denials() -> [(&'static str, Denial); 3] {
    [
        ("nsec", Denial::Nsec),
        ("nsec3", Denial::Nsec3 { iterations: 0, salt: [].into() }),
        ("nsec3-salted", Denial::Nsec3 { iterations: 5, salt: [0xab, 0xcd].into() }),
    ]
}

/// Zones with these keys, and in the midst of these roll-overs: name, zone.
fn zones() -> Vec<(String, Zone)> {
    let now = now();
    let mut zones = Vec::new();
    for (denial_name, denial) in denials() {
        for (algorithm, other) in
            [(Algorithm::ECDSAP256SHA256, Algorithm::ED25519), (Algorithm::ED25519, Algorithm::ECDSAP256SHA256)]
        {
            let whole = [(Role::Ksk, algorithm), (Role::Zsk, algorithm)];
            let mut keys = ZoneKeys::new(&origin());
            keys.start(now, new_keys(&[(Role::Csk, algorithm)])).unwrap();
            zones.push((format!("{denial_name}-{algorithm}-csk"), signed(&mut keys, denial.clone(), now)));
            let mut keys = ZoneKeys::new(&origin());
            keys.adopt(now, new_keys(&whole)).unwrap();
            zones.push((format!("{denial_name}-{algorithm}-ksk-zsk"), signed(&mut keys, denial.clone(), now)));
            keys.roll(now, new_keys(&whole[..1])).unwrap();
            keys.roll(now, new_keys(&whole[1..])).unwrap();
            zones.push((format!("{denial_name}-{algorithm}-rolling"), signed(&mut keys, denial.clone(), now)));
            // Another algorithm, its keys published two days ago; signed now.
            let mut keys = ZoneKeys::new(&origin());
            keys.adopt(now - 300_000, new_keys(&whole)).unwrap();
            keys.roll(now - 300_000, new_keys(&[(Role::Csk, other)])).unwrap();
            keys.advance(now - 200_000, &Timing::new(3600));
            assert_eq!(keys.key_set().count(), 3);
            zones.push((format!("{denial_name}-{algorithm}-other"), signed(&mut keys, denial.clone(), now)));
        }
    }
    zones
}

/// TTL and data of a set.
type Content = (u32, Vec<Vec<u8>>);

#[test]
fn each_set_is_signed_by_each_algorithm() {
    for (name, zone) in zones() {
        let mut sets: BTreeMap<(Vec<u8>, Rtype), Content> = BTreeMap::new();
        let mut signatures: BTreeMap<(Vec<u8>, Rtype), Vec<Vec<u8>>> = BTreeMap::new();
        for record in zone.records_signed() {
            let owner = record.owner.to_ascii_lowercase();
            if record.rtype == Rtype::RRSIG {
                let covered = Rrsig::parse(record.rdata).unwrap().type_covered;
                signatures.entry((owner, covered)).or_default().push(record.rdata.to_vec());
            } else {
                let set = sets.entry((owner, record.rtype)).or_insert((record.ttl, Vec::new()));
                assert_eq!(set.0, record.ttl);
                set.1.push(record.rdata.to_vec());
            }
        }
        let apex = origin().wire().to_vec();
        let keys = &sets[&(apex.clone(), Rtype::DNSKEY)].1;
        let keys: Vec<Dnskey<'_>> = keys.iter().map(|key| Dnskey::parse(key).unwrap()).collect();
        let algorithms: std::collections::BTreeSet<Algorithm> = keys.iter().map(|key| key.algorithm).collect();
        assert!(zone.serial() == 2026112501 || name.ends_with("rolling"), "{name}: {}", zone.serial());
        for rtype in [Rtype::CDS, Rtype::CDNSKEY] {
            assert_eq!(sets.contains_key(&(apex.clone(), rtype)), !name.ends_with("-csk"), "{name}");
        }
        let mut unsigned = Vec::new();
        for ((owner, rtype), (ttl, rdata)) in &sets {
            let Some(signatures) = signatures.remove(&(owner.clone(), *rtype)) else {
                unsigned.push(format!("{} {rtype}", Name::from_wire(owner).unwrap()));
                continue;
            };
            let mut signed_by = std::collections::BTreeSet::new();
            for signature in &signatures {
                let rrsig = Rrsig::parse(signature).unwrap();
                assert_eq!((rrsig.original_ttl, rrsig.signer), (*ttl, &apex[..]));
                let key = keys.iter().find(|key| (key.key_tag(), key.algorithm) == (rrsig.key_tag, rrsig.algorithm)).unwrap();
                let mut message = Vec::new();
                assert!(rrsig.signed_bytes(owner, rdata.iter().map(|rdata| &rdata[..]), &mut message));
                assert!(key.algorithm.verify(key.public_key, &message, rrsig.signature), "{name} {owner:?} {rtype}");
                assert!(!rrsig.is_expanded(owner) || is_wildcard(owner));
                signed_by.insert(rrsig.algorithm);
            }
            assert_eq!(signed_by, algorithms, "{name} {rtype}");
        }
        assert!(signatures.is_empty());
        unsigned.sort();
        // What is not ours to sign (RFC 4035 section 2.2).
        let expected = [
            "below.ns.secure.example.org. TXT",
            "insecure.example.org. NS",
            "ns.insecure.example.org. A",
            "ns.secure.example.org. A",
            "secure.example.org. NS",
        ];
        assert_eq!(unsigned, expected, "{name}");
    }
}

#[test]
fn others_verify_whole_zones() {
    let Some(folder) = folder("zones") else { return };
    let mut ran = 0;
    for (name, zone) in zones() {
        let path = folder.join(&name);
        let mut text = String::new();
        for record in zone.records_signed() {
            let owner = Name::from_wire(record.owner).unwrap();
            writeln!(text, "{owner} {} IN {} {}", record.ttl, record.rtype, rdata_text(record.rtype, record.rdata)).unwrap();
        }
        ran += verify(&path, &text, true);
        // That they look at all: a changed record must not pass.
        verify(&path, &text.replace("beside a wildcard", "beside a blizzard"), false);
    }
    eprintln!("{ran} verifications by others");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A folder for an interop test; `None`: they are not wanted.
fn folder(name: &str) -> Option<PathBuf> {
    if std::env::var_os("POSTRING_INTEROP").is_none() {
        eprintln!("skipped: set POSTRING_INTEROP=1 to run the tools of ldnsutils and bind9-utils");
        return None;
    }
    let folder = std::env::temp_dir().join(format!("postring-signed-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    Some(folder)
}

/// What a program says; `None`: it is not installed.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> Option<(bool, String)> {
    match Command::new(program).args(arguments).current_dir(folder).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: {program} is not installed");
            None
        }
        Err(error) => panic!("{program}: {error}"),
        Ok(output) => {
            let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
            Some((output.status.success(), said))
        }
    }
}

#[test]
fn keys_go_to_others_and_come_from_them() {
    let Some(folder) = folder("keys") else { return };
    let read = |stem: &str| {
        let file = |ending| std::fs::read_to_string(folder.join(format!("{stem}.{ending}"))).unwrap();
        read_key(&origin(), &file("key"), &file("private")).unwrap()
    };
    for algorithm in [Algorithm::ECDSAP256SHA256, Algorithm::ED25519] {
        let name = algorithm.to_string();
        // Theirs, read here.
        for (program, arguments) in [
            ("dnssec-keygen", vec!["-q", "-a", &name, "-f", "KSK", "example.org"]),
            ("dnssec-keygen", vec!["-q", "-a", &name, "example.org"]),
            ("ldns-keygen", vec!["-a", &name, "-k", "example.org"]),
        ] {
            if let Some((is_well, said)) = run(&folder, program, &arguments) {
                assert!(is_well, "{program}: {said}");
                let stem = said.split_whitespace().find(|word| word.starts_with('K')).unwrap();
                let key = read(stem);
                assert_eq!(stem, key_file_stem(&origin(), algorithm, key.tag()));
                assert_eq!(key.is_entry_point(), arguments.contains(&"KSK") || arguments.contains(&"-k"));
            }
        }
        // Ours, used there: the zone is signed with them, and the parent's record made from them.
        let (key, private) = SigningKey::generate(algorithm, true).unwrap();
        let stem = key_file_stem(&origin(), algorithm, key.tag());
        std::fs::write(folder.join(format!("{stem}.key")), public_text(&origin(), &key, now())).unwrap();
        std::fs::write(folder.join(format!("{stem}.private")), private_text(&key, &private, now())).unwrap();
        std::fs::write(folder.join("zone"), ZONE.to_owned() + &public_text(&origin(), &key, now())).unwrap();
        let ds = rdata_text(Rtype::DS, &key.ds(origin().wire(), DigestType::SHA256).unwrap());
        if let Some((is_well, said)) = run(&folder, "dnssec-dsfromkey", &["-2", &stem]) {
            assert!(is_well && said.contains(&ds), "{said} {ds}");
        }
        for (program, arguments) in [
            ("dnssec-signzone", vec!["-z", "-o", "example.org", "-f", "signed", "zone", &stem]),
            ("ldns-signzone", vec!["-o", "example.org", "-f", "signed", "zone", &stem]),
        ] {
            if let Some((is_well, said)) = run(&folder, program, &arguments) {
                assert!(is_well, "{program}: {said}");
                if let Some((is_well, said)) = run(&folder, "ldns-verify-zone", &["signed"]) {
                    assert!(is_well, "{program}: {said}");
                }
            }
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Lets the others look at the text of a zone; how many did.
fn verify(path: &Path, text: &str, is_right: bool) -> usize {
    std::fs::write(path, text).unwrap();
    let path = path.to_str().unwrap();
    let mut ran = 0;
    // -z: a key that is an entry point may sign the zone.
    for (program, arguments) in [("ldns-verify-zone", vec![path]), ("dnssec-verify", vec!["-z", "-o", "example.org", path])] {
        if let Some((is_well, said)) = run(Path::new("/"), program, &arguments) {
            ran += 1;
            assert_eq!(is_well, is_right, "{program} {}: {said}", arguments.join(" "));
        }
    }
    ran
}
