//! Zones signed by us, judged by others: ldns-verify-zone, delv, kdig, and Unbound that resolves them.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::System;
use common::dns::{Answer, ask, ds_of};
use common::peers::{Peer, tool, wanted};
use postring_dns::{Rcode, Rtype};

const ZONES: [(&str, &str); 5] = [
    ("p256-nsec.example", "dnssec = \"nsec\"\nalgorithm = \"ecdsap256sha256\""),
    ("p256-nsec3.example", "dnssec = \"nsec3\"\nalgorithm = \"ecdsap256sha256\""),
    ("ed25519-nsec.example", "dnssec = \"nsec\"\nalgorithm = \"ed25519\""),
    ("ed25519-nsec3.example", "dnssec = \"nsec3\"\nalgorithm = \"ed25519\""),
    ("plain.example", ""),
];

/// With what signing must not stumble over: empty non-terminals, wildcards, delegations with and without DS, glue, aliases, letters.
const ZONE: &str = "\
$TTL 300
@ SOA ns h 1 3600 600 864000 300
@ NS ns
@ MX 10 Mail
ns A 192.0.2.1
mail A 192.0.2.2
mail AAAA 2001:db8::2
WWW A 192.0.2.3
deep.down.below TXT \"x\"
*.wild A 192.0.2.4
*.wild MX 10 mail
alias CNAME www
far CNAME www.plain.example.
tree DNAME wild
insecure NS ns.insecure
ns.insecure A 192.0.2.5
secure NS ns.elsewhere.test.
secure DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000
_25._tcp.mail TLSA 3 1 1 0000000000000000000000000000000000000000000000000000000000000000
";

/// Label, type, code, and whether there is an answer.
const QUESTIONS: [(&str, &str, &str, bool); 16] = [
    ("www", "A", "NOERROR", true),
    ("@", "SOA", "NOERROR", true),
    ("@", "DNSKEY", "NOERROR", true),
    ("@", "MX", "NOERROR", true),
    ("_25._tcp.mail", "TLSA", "NOERROR", true),
    ("any.wild", "A", "NOERROR", true),
    ("a.b.c.wild", "MX", "NOERROR", true),
    ("alias", "A", "NOERROR", true),
    ("x.tree", "A", "NOERROR", true),
    ("secure", "DS", "NOERROR", true),
    ("insecure", "DS", "NOERROR", false),
    ("none", "A", "NXDOMAIN", false),
    ("a.b.none", "A", "NXDOMAIN", false),
    ("www", "MX", "NOERROR", false),
    ("down.below", "A", "NOERROR", false),
    ("any.wild", "TXT", "NOERROR", false),
];

fn name(label: &str, zone: &str) -> String {
    if label == "@" { zone.to_owned() } else { format!("{label}.{zone}") }
}

fn signed() -> impl Iterator<Item = &'static str> {
    ZONES.iter().filter(|(_, signing)| !signing.is_empty()).map(|(zone, _)| *zone)
}

fn system() -> System {
    let mut system = System::init();
    for (zone, signing) in ZONES {
        system.write_dns(&format!("{zone}.zone"), ZONE);
        system.append_config(&format!(
            "\n[[dns.zone]]\nname = \"{zone}\"\nfile = \"dns/{zone}.zone\"\ntransfer_to = [\"127.0.0.1\"]\n{signing}\n"
        ));
    }
    system.up();
    system
}

/// "NAME. IN DS TAG ALGORITHM TYPE DIGEST" as words.
fn ds_words(ds: &str) -> (String, [String; 4]) {
    let words: Vec<&str> = ds.split_ascii_whitespace().collect();
    let [name, _, _, tag, algorithm, digest_type, digest @ ..] = &words[..] else { panic!("{ds}") };
    ((*name).to_owned(), [(*tag).to_owned(), (*algorithm).to_owned(), (*digest_type).to_owned(), digest.concat()])
}

/// Another digest of the same length.
fn spoil(ds: &str) -> String {
    let (rest, last) = ds.split_at(ds.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}

/// The whole zone: every signature, and the chain of what is not there.
#[test]
fn ldns_verifies_transfers() {
    if !wanted(&["ldns-verify-zone", "dig"]) {
        return;
    }
    let system = system();
    let port = system.dns().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    for zone in signed() {
        let path = folder.path().join(zone).to_str().unwrap().to_owned();
        let anchor = format!("{path}.ds");
        let (good, text) = tool("dig", &["@127.0.0.1", "-p", &port, "+noall", "+answer", "+onesoa", zone, "AXFR"], "");
        assert!(good, "{text}");
        std::fs::write(&path, text).unwrap();
        let ds = ds_of(system.dns(), zone).join("\n");
        std::fs::write(&anchor, &ds).unwrap();
        let (good, said) = tool("ldns-verify-zone", &["-V", "3", "-k", &anchor, &path], "");
        assert!(good && said.contains("verified and complete"), "{zone}: {said}");
        // It does look at the anchor.
        std::fs::write(&anchor, spoil(&ds)).unwrap();
        assert!(!tool("ldns-verify-zone", &["-V", "3", "-k", &anchor, &path], "").0, "{zone}");
    }
}

/// Each kind of answer, from the zone's own key down.
#[test]
fn delv_and_kdig_believe_the_answers() {
    if !wanted(&["delv", "kdig"]) {
        return;
    }
    let system = system();
    let port = system.dns().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    for zone in signed() {
        let anchors = folder.path().join(zone).to_str().unwrap().to_owned();
        let ds = ds_of(system.dns(), zone);
        let write = |ds: &str| {
            let (name, [tag, algorithm, digest_type, digest]) = ds_words(ds);
            let text = format!("trust-anchors {{ \"{name}\" static-ds {tag} {algorithm} {digest_type} \"{digest}\"; }};\n");
            std::fs::write(&anchors, text).unwrap();
        };
        write(&ds[0]);
        let delv = |name: &str, rtype: &str| {
            tool("delv", &["@127.0.0.1", "-p", &port, "-a", &anchors, &format!("+root={zone}"), "-q", name, "-t", rtype], "").1
        };
        for (label, rtype, rcode, answered) in QUESTIONS {
            let name = name(label, zone);
            let said = delv(&name, rtype);
            let wanted = if answered { "; fully validated" } else { "; negative response, fully validated" };
            assert!(said.contains(wanted), "{name} {rtype}: {said}\n{}", system.log());
            let (good, said) = tool("kdig", &["@127.0.0.1", "-p", &port, "+dnssec", &name, rtype], "");
            assert!(good && said.contains(&format!("status: {rcode}")) && said.contains("Flags: qr aa rd"), "{said}");
            assert!(said.contains("flags: do;") && said.contains("RRSIG") && !said.contains(";; WARNING"), "{said}");
            let (_, said) = tool("kdig", &["@127.0.0.1", "-p", &port, "+edns", &name, rtype], "");
            assert!(!said.contains("flags: do;") && !said.contains("RRSIG"), "{said}");
        }
        write(&spoil(&ds[0]));
        let said = delv(&format!("www.{zone}"), "A");
        assert!(!said.contains("fully validated"), "{said}");
    }
}

fn unbound(system: &System) -> Peer {
    let mut peer = Peer::new("unbound");
    let folder = peer.folder.path().display();
    let mut text = format!(
        "server:\n interface: 127.0.0.1\n port: {}\n do-not-query-localhost: no\n directory: \"{folder}\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n do-daemonize: no\n use-syslog: no\n logfile: \"\"\n val-log-level: 2\n module-config: \"validator iterator\"\n num-threads: 1\n",
        peer.address.port()
    );
    for zone in signed() {
        // One is told of another key.
        let ds = ds_of(system.dns(), zone).remove(0);
        let ds = if zone.starts_with("ed25519-nsec.") { spoil(&ds) } else { ds };
        text += &format!(" trust-anchor: \"{ds}\"\n");
    }
    text += "remote-control:\n control-enable: no\n";
    for (zone, _) in ZONES {
        text += &format!("stub-zone:\n name: {zone}\n stub-addr: 127.0.0.1@{}\n", system.dns().port());
    }
    peer.write("conf", &text);
    peer.up(&["-d"]);
    peer
}

#[test]
fn unbound_resolves_and_validates() {
    if !wanted(&["unbound"]) {
        return;
    }
    let system = system();
    let peer = unbound(&system);
    for zone in signed() {
        let is_wrong = zone.starts_with("ed25519-nsec.");
        for (label, rtype, rcode, answered) in QUESTIONS {
            let name = name(label, zone);
            let rtype = Rtype::parse(rtype).unwrap();
            let said = |answer: &Answer| format!("{name} {rtype}: {answer:?}\n{}", peer.log());
            let answer = ask(peer.address, &name, rtype, "do");
            if is_wrong {
                assert_eq!((answer.rcode(), answer.authentic), (Rcode::SERVFAIL, false), "{}", said(&answer));
                continue;
            }
            let rcode = if rcode == "NXDOMAIN" { Rcode::NXDOMAIN } else { Rcode::NOERROR };
            assert_eq!((answer.rcode(), answer.authentic), (rcode, true), "{}", said(&answer));
            assert_eq!(!answer.data(rtype).is_empty(), answered, "{}", said(&answer));
        }
    }
    let answer = ask(peer.address, "www.plain.example", Rtype::A, "do");
    assert_eq!((answer.rcode(), answer.authentic), (Rcode::NOERROR, false), "{answer:?}\n{}", peer.log());
}
