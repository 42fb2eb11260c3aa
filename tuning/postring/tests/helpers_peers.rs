//! Milters and a policy server that others have written: opendkim signs and verifies, a few lines on libmilter (python3-milter) change what they may,
//! postgrey greylists.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::System;
use common::peers::{Peer, tool, wanted};
use std::net::TcpStream;

const BASE: &str =
    "\n[policy]\ntrusted_networks = []\ngreeting_wait_ms = 0\nrules_wait_ms = 100\n\n[policy.spf]\ncheck = false\n";

/// Sends a message from a client with this address; the first reply that is no 250, or that to the last dot.
fn send(system: &System, client: &str, message: &str) -> String {
    let mut smtp = system.smtp_from(client);
    for command in ["EHLO client.example", "MAIL FROM:<a@far.example>", "RCPT TO:<alice@test.example>"] {
        let reply = smtp.say(command).unwrap();
        if !reply.starts_with("250") {
            return reply.trim_end().to_owned();
        }
    }
    assert!(smtp.say("DATA").unwrap().starts_with("354"));
    smtp.write(&common::wire(message.as_bytes())).unwrap();
    smtp.reply().unwrap().trim_end().to_owned()
}

/// opendkim that signs for a domain, whose own clients have these addresses, and verifies the rest. It, its socket, and the record of its key.
fn opendkim(domain: &str, internal: &str) -> (Peer, String, String) {
    let mut peer = Peer::new("opendkim");
    let folder = peer.folder.path().to_str().unwrap().to_owned();
    let (made, said) = tool("opendkim-genkey", &["-b", "2048", "-d", domain, "-s", "s1", "-D", &folder], "");
    assert!(made, "{said}");
    // A zone file's record is as good as one of ours; opendkim wants it in a line.
    let record = std::fs::read_to_string(peer.path("s1.txt")).unwrap();
    let key: String = record.split('"').skip(1).step_by(2).collect();
    peer.write("keys", &format!("s1._domainkey.{domain} {key}\n"));
    peer.write("internal", internal);
    let socket = peer.path("socket");
    peer.write(
        "conf",
        &format!(
            "Socket local:{socket}\nUMask 000\nBackground no\nSyslog no\nMode sv\nDomain {domain}\nSelector s1\nKeyFile {folder}/s1.private\n\
             RequireSafeKeys no\nInternalHosts {folder}/internal\nTestDNSData {folder}/keys\nAuthservID milter.example\nAlwaysAddARHeader yes\n\
             Canonicalization relaxed/simple\n"
        ),
    );
    let conf = peer.path("conf");
    peer.start(&["-f", "-x", &conf]);
    peer.wait("its socket", || std::path::Path::new(&socket).exists());
    (peer, socket, record)
}

#[test]
fn opendkim_signs_and_verifies() {
    if !wanted(&["opendkim", "opendkim-genkey"]) {
        return;
    }
    let mut system = System::init();
    let (peer, socket, record) = opendkim("far.example", "127.0.66.1\n");
    let zone = format!("$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\nns A 127.0.0.1\n{record}");
    std::fs::write(system.folder.path().join("p/dns/far.zone"), zone).unwrap();
    system.append_config(&format!(
        "\n[[dns.zone]]\nname = \"far.example\"\nfile = \"dns/far.zone\"\n{BASE}\n[[policy.milter]]\naddress = \"unix:{socket}\"\non_failure = \"defer\"\n"
    ));
    system.append_config(common::RULES_DRY);
    system.up();

    // From a client of its own it signs; what it signed is what we deliver.
    let message = "From: a@far.example\nTo: alice@test.example\nSubject: a folded\n subject\nDate: Sat, 28 Nov 2026 12:00:00 +0000\n\nsigned\n\n.dot\n";
    let reply = send(&system, "127.0.66.1", message);
    assert!(reply.starts_with("250"), "{reply}\n{}", peer.log());
    let text = system.delivered("new", "signed");
    assert!(text.contains("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=far.example; s=s1;"), "{text}");
    let file = system.inbox("alice").into_iter().find(|file| std::fs::read_to_string(file).unwrap().contains("signed")).unwrap();
    let server = format!("127.0.0.1:{}", system.base + 53);
    let verified = system.run(&["auth", "dkim", "--resolver", &server, file.to_str().unwrap()]);
    assert!(verified.contains("dkim=pass header.d=far.example"), "{verified}");

    // Signed mail from elsewhere it verifies, over the same connection; what was changed on the way it finds out, as we do.
    let signed = text.split_once("DKIM-Signature").map(|(_, rest)| format!("DKIM-Signature{rest}")).unwrap();
    for (message, result) in [(signed.clone(), "pass"), (signed.replace("\nsigned", "\nforged"), "fail")] {
        let reply = send(&system, "127.0.66.2", &message);
        assert!(reply.starts_with("250"), "{reply}\n{}", peer.log());
        let word = if result == "pass" { "dkim=pass (2048-bit key" } else { "dkim=fail" };
        let text = system.delivered("new", &format!("milter.example;\n\t{word}"));
        assert!(text.contains(&format!("Authentication-Results: mx.test.example;\n\tdkim={result}")), "{text}");
    }
    let status = system.status().unwrap();
    assert_eq!(
        (status["helpers"][0]["helper_asked_total"].as_u64(), status["helpers"][0]["helper_failed_total"].as_u64()),
        (Some(3), Some(0))
    );
}

/// The macros of a login make it sign, wherever the client is.
#[test]
fn opendkim_signs_the_mail_of_users() {
    if !wanted(&["opendkim", "opendkim-genkey", "swaks"]) {
        return;
    }
    let mut system = System::init();
    let (_peer, socket, _) = opendkim("test.example", "192.0.2.1\n");
    system.append_config(&format!("\n[[policy.milter]]\naddress = \"unix:{socket}\"\nservices = [\"smtp\", \"submission\"]\n"));
    system.up();
    for (port, login) in [(25, false), (587, true)] {
        let server = format!("127.0.0.1:{}", system.base + port);
        let mut arguments = vec!["--server", &server, "--from", "alice@test.example", "--to", "alice@test.example"];
        if login {
            let password = &system.passwords["alice@test.example"];
            arguments.extend(["--tls", "--auth", "PLAIN", "--auth-user", "alice@test.example", "--auth-password", password]);
        }
        let (sent, said) = tool("swaks", &arguments, "");
        assert!(sent, "{said}");
    }
    let mut texts = Vec::new();
    system.wait("the files", || {
        texts = system.inbox("alice").into_iter().map(|file| std::fs::read_to_string(file).unwrap()).collect::<Vec<_>>();
        texts.len() == 2
    });
    let signed: Vec<bool> = texts.iter().map(|text| text.contains("DKIM-Signature: v=1; a=rsa-sha256;")).collect();
    let by_users: Vec<bool> = texts.iter().map(|text| text.contains("with ESMTPSA id")).collect();
    assert!(signed == by_users && signed.iter().filter(|signed| **signed).count() == 1, "{texts:?}");
}

/// Debian's, for which the package is.
const PYTHON: &str = "/usr/bin/python3";

/// What libmilter lets a filter change, and RCPT of one recipient refused.
const FILTER: &str = r#"
import sys
import Milter

class Filter(Milter.Base):
    def envfrom(self, sender, *parameters):
        self.sender = sender
        return Milter.CONTINUE

    def envrcpt(self, recipient, *parameters):
        if self.sender == "<picky@far.example>" and recipient.startswith("<bob@"):
            self.setreply("550", "5.2.1", "not bob")
            return Milter.REJECT
        return Milter.CONTINUE

    def eom(self):
        if self.sender == "<changed@far.example>":
            self.delrcpt("<alice@test.example>")
            self.addrcpt("<bob@test.example>")
            self.chgfrom("<owner@test.example>")
            self.addheader("X-Filter", "changed")
            self.replacebody(b"What stands here\n" + b"is the filter's.\n" * 20000)
        return Milter.CONTINUE

Milter.factory = Filter
Milter.set_flags(Milter.ADDHDRS | Milter.CHGBODY | Milter.ADDRCPT | Milter.DELRCPT | Milter.CHGFROM)
Milter.runmilter("filter", sys.argv[1], 30)
"#;

#[test]
fn a_filter_on_libmilter_changes_what_it_may() {
    if !wanted(&[PYTHON]) {
        return;
    }
    let mut peer = Peer::new(PYTHON);
    peer.write("filter.py", FILTER);
    let mut system = System::init();
    let (script, socket) = (peer.path("filter.py"), format!("inet:{}@127.0.0.1", peer.address.port()));
    peer.start(&[&script, &socket]);
    let listens = peer.address;
    peer.wait("its port", || TcpStream::connect(listens).is_ok());
    system.append_config(&format!("{BASE}\n[[policy.milter]]\naddress = \"{listens}\"\non_failure = \"defer\"\n"));
    system.append_config(common::RULES_DRY);
    system.up();
    let say = |from: &str, to: &[&str]| {
        let mut smtp = system.smtp_from("127.0.66.1");
        smtp.say("EHLO client.example").unwrap();
        smtp.say(&format!("MAIL FROM:<{from}@far.example> PRDR")).unwrap();
        to.iter().for_each(|to| assert!(smtp.say(&format!("RCPT TO:<{to}@test.example>")).unwrap().starts_with("250")));
        smtp.say("DATA").unwrap();
        smtp.write(format!("Subject: {from}\r\n\r\nthe sender's\r\n.\r\n").as_bytes()).unwrap();
        let replies = if to.len() > 1 { to.len() + 2 } else { 1 };
        (0..replies).map(|_| smtp.reply().unwrap().trim_end().to_owned()).collect::<Vec<String>>()
    };
    let replies = say("changed", &["alice"]);
    assert!(replies[0].starts_with("250"), "{replies:?}\n{}", peer.log());
    system.wait("the file", || !system.inbox("bob").is_empty());
    let text = std::fs::read_to_string(&system.inbox("bob")[0]).unwrap();
    assert!(text.starts_with("Return-Path: <owner@test.example>\n"), "{}", &text[..1000.min(text.len())]);
    let expected = format!("Subject: changed\nX-Filter: changed\n\nWhat stands here\n{}", "is the filter's.\n".repeat(20_000));
    assert!(String::from_utf8_lossy(common::behind_trace(text.as_bytes())) == expected, "{}", text.len());

    let replies = say("picky", &["alice", "bob"]);
    assert!(replies[0].starts_with("353") && replies[1].starts_with("250"), "{replies:?}\n{}", peer.log());
    assert_eq!(replies[2], "550 5.2.1 not bob");
    assert!(system.delivered("new", "Subject: picky").contains("the sender's"));
    system.down();
    assert_eq!((system.inbox("alice").len(), system.inbox("bob").len()), (1, 1));
}

#[test]
fn postgrey_lets_in_who_comes_again() {
    if !wanted(&["postgrey", "id"]) {
        return;
    }
    let mut system = System::init();
    let mut peer = Peer::new("postgrey");
    let name = |what: &str| tool("id", &[what, "-n"], "").1.trim().to_owned();
    let (user, group) = (format!("--user={}", name("-u")), format!("--group={}", name("-g")));
    let (database, address) = (format!("--dbdir={}", peer.folder.path().display()), format!("--inet={}", peer.address));
    peer.start(&[&address, &database, &user, &group, "--delay=1", "--auto-whitelist-clients=0"]);
    let listens = peer.address;
    peer.wait("its port", || TcpStream::connect(listens).is_ok());
    system.append_config(&format!("{BASE}\n[[policy.delegate]]\naddress = \"{}\"\non_failure = \"defer\"\n", peer.address));
    system.append_config(common::RULES_DRY);
    system.up();
    let message = "Subject: x\n\npatient\n";
    let reply = send(&system, "127.0.66.1", message);
    assert!(reply.starts_with("450 4.2.0 Greylisted"), "{reply}");
    system.wait("postgrey to let it in", || send(&system, "127.0.66.1", message).starts_with("250"));
    let text = system.delivered("new", "patient");
    assert!(text.contains("X-Greylist: delayed ") && text.contains("by postgrey-"), "{text}");
}
