//! Aggregate reports: what came in a domain's name is told to whoever it names, once, by mail.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use base64::Engine;
use common::System;
use std::io::Read;

const CONFIG: &str = "\n[policy]\ntrusted_networks = []\ngreeting_wait_ms = 0\n\n[policy.greylist]\ncheck = false\n\
    \n[policy.dmarc.reports]\nfrom = \"bob@test.example\"\norganization = \"Test & Co\"\n";

/// Its name servers are elsewhere; the zone is ours to have something to ask.
const HEAD: &str = "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\nns A 127.0.0.1\n";

/// A message in the domain's name from a client with this address.
fn send(system: &System, client: &str, domain: &str) {
    let mut smtp = system.smtp_from(client);
    let message = format!("From: a@{domain}\nSubject: x\n\nx\n");
    let reply = smtp.send_from(&format!("a@{domain}"), &["alice@test.example"], message.as_bytes()).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
}

/// The report that is attached to a message.
fn attached(message: &str) -> String {
    let (_, part) = message.split_once("Content-Type: application/gzip;\n name=\"").unwrap();
    let encoded: String = part.split_once("\n\n").unwrap().1.split("\n--").next().unwrap().lines().collect();
    let compressed = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    let mut xml = String::new();
    flate2::read::GzDecoder::new(&compressed[..]).read_to_string(&mut xml).unwrap();
    xml
}

#[test]
fn domains_are_told_of_mail_in_their_names() {
    let mut other = System::init_domain("other.example");
    other.up();
    let mut system = System::init();
    // One address here, one elsewhere that agrees, one that does not, one for a smaller report, and what is no address.
    let zone = format!(
        "{HEAD}@ TXT \"v=spf1 ip4:127.0.66.1 -all\"\n_dmarc TXT \"v=DMARC1; p=quarantine; rua=mailto:alice@other.example, \
         mailto:x@refuses.example, mailto:bob@test.example!10, https://x.example; fo=1\"\n"
    );
    system.write_dns("named.zone", &zone);
    system.write_dns("silent.zone", &format!("{HEAD}_dmarc TXT \"v=DMARC1; p=none; ruf=mailto:a@silent.example\"\n"));
    system.write_dns("other.zone", &format!("{HEAD}@ MX 10 mx\nmx A 127.0.0.1\nnamed.example._report._dmarc TXT \"v=DMARC1\"\n"));
    system.write_dns("refuses.zone", HEAD);
    for zone in ["named", "silent", "other", "refuses"] {
        system.append_config(&format!("\n[[dns.zone]]\nname = \"{zone}.example\"\nfile = \"dns/{zone}.zone\"\n"));
    }
    system.append_config(&format!("\n[send]\nport = {}\nloopback = true\n{CONFIG}{}", other.base + 25, common::RULES_DRY));
    system.up();

    for (client, domain) in [
        ("127.0.66.1", "named.example"),
        ("127.0.66.1", "named.example"),
        ("127.0.66.2", "mail.named.example"),
        ("127.0.66.2", "silent.example"),
    ] {
        send(&system, client, domain);
    }
    // What was noted outlives the process.
    system.down();
    system.up();
    send(&system, "127.0.66.1", "named.example");
    let list: serde_json::Value = serde_json::from_str(&system.run(&["dmarc", "list", "--json"])).unwrap();
    let domains = &list["periods"][0]["domains"];
    assert_eq!(domains.as_array().unwrap().len(), 1, "{list}");
    assert_eq!((&domains[0]["domain"], &domains[0]["messages"]), (&"named.example".into(), &4.into()), "{list}");
    let shown = system.run(&["dmarc", "show", "named.example"]);
    assert!(shown.contains("<count>3</count>") && shown.contains("<org_name>Test &amp; Co</org_name>"), "{shown}");

    let said = system.run(&["dmarc", "send"]);
    let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["named.example", "alice@other.example"]);
    assert_eq!(
        lines[1..],
        [
            "  not to mailto:x@refuses.example: its domain has not agreed to reports about others (RFC 7489 section 7.1)",
            "  not to mailto:bob@test.example: the report is larger than it wants",
            "  not to https://x.example: not an address of mail"
        ]
    );
    other.wait("the report", || other.inbox("alice").len() == 1);
    let message = std::fs::read_to_string(&other.inbox("alice")[0]).unwrap();
    assert!(message.contains("Subject: Report Domain: named.example\n Submitter: mx.test.example\n Report-ID: <"), "{message}");
    let xml = attached(&message);
    for part in [
        "<email>bob@test.example</email>",
        "<domain>named.example</domain>\n    <adkim>r</adkim>\n    <aspf>r</aspf>\n    <p>quarantine</p>",
        "<source_ip>127.0.66.1</source_ip>\n      <count>3</count>\n      <policy_evaluated>\n        <disposition>none</disposition>\n        <dkim>fail</dkim>\n        <spf>pass</spf>",
        "<source_ip>127.0.66.2</source_ip>\n      <count>1</count>\n      <policy_evaluated>\n        <disposition>quarantine</disposition>",
        "<header_from>mail.named.example</header_from>",
    ] {
        assert!(xml.contains(part), "{part} is not in {xml}");
    }

    // Once.
    assert_eq!(system.run(&["dmarc", "send"]), "");
    assert_eq!(system.run(&["dmarc", "list"]), "");
    let counters = &system.status().unwrap()["counters"];
    assert_eq!((&counters["dmarc_rows_total"], &counters["dmarc_reports_total"]), (&1.into(), &1.into()), "{counters}");

    // Turned off: nothing is noted, nothing is sent.
    let text = std::fs::read_to_string(system.config()).unwrap();
    std::fs::write(system.config(), text.replace("from = \"bob@test.example\"", "from = \"\"")).unwrap();
    system.run(&["reload"]);
    let refused = || common::postring(&["dmarc", "send", "--config", &system.config()]);
    system
        .wait("the reload", || String::from_utf8_lossy(&refused().stderr).contains("give policy.dmarc.reports.from an address"));
    send(&system, "127.0.66.1", "named.example");
    assert!(system.run(&["dmarc", "list"]).starts_with("nothing is noted"));
}
