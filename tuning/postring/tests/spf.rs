//! SPF in the running program: what a message says of its sender, who is refused, and that slow servers hold nobody for long.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::System;
use std::net::UdpSocket;

const MESSAGE: &[u8] = b"From: <a@far.example>\nTo: <alice@test.example>\nSubject: x\n\nx\n";

/// Sends a message from a client with this address; the reply to the last dot.
fn send(system: &System, client: &str, helo: &str, from: &str) -> String {
    let mut smtp = system.smtp_from(client);
    smtp.say(&format!("EHLO {helo}")).unwrap();
    smtp.say(&format!("MAIL FROM:<{from}>")).unwrap();
    assert!(smtp.say("RCPT TO:<alice@test.example>").unwrap().starts_with("250"));
    assert!(smtp.say("DATA").unwrap().starts_with("354"));
    smtp.write(&common::wire(MESSAGE)).unwrap();
    smtp.reply().unwrap().trim_end().to_owned()
}

#[test]
fn the_senders_domain_is_asked_and_believed() {
    let mut system = System::init();
    let zone = "@ 60 SOA ns hostmaster 1 3600 600 86400 60\n@ 60 NS ns\nns 60 A 127.0.0.1\n\
        @ 60 TXT \"v=spf1 a:mail.far.example include:%{d1r}.far.example -all exp=why.far.example\"\n\
        mail 60 A 127.0.66.1\nfar 60 TXT \"v=spf1 ip4:127.0.67.0/24 ?all\"\n\
        why 60 TXT \"%{i} is none of ours\"\nhello 60 TXT \"v=spf1 ip4:127.0.66.3 ~all\"\nbad 60 TXT \"v=spf1 ipv4:1.2.3.4 -all\"\n";
    std::fs::write(system.folder.path().join("p/dns/far.zone"), zone).unwrap();
    // Nobody reads what comes here.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    system.append_config(&format!(
        "\n[[dns.zone]]\nname = \"far.example\"\nfile = \"dns/far.zone\"\n\
         \n[[dns.stub]]\nname = \"slow.example\"\nservers = [\"{}\"]\n\
         \n[policy]\ntrusted_networks = [\"127.0.0.9/32\"]\ngreeting_wait_ms = 0\nrules_wait_ms = 100\n\n[policy.spf]\nwait_ms = 400\nreject_fail = true\n",
        silent.local_addr().unwrap()
    ));
    system.append_config(common::RULES_DRY);
    system.up();

    let refused = send(&system, "127.0.66.2", "x.example", "a@far.example");
    assert_eq!(refused, "550 5.7.23 far.example explained: 127.0.66.2 is none of ours");
    let cases = [
        (
            "127.0.66.1",
            "x.example",
            "a@far.example",
            "spf=pass (a:mail.far.example of far.example)",
            "smtp.mailfrom=a@far.example",
        ),
        (
            "127.0.67.7",
            "x.example",
            "a@far.example",
            "spf=pass (include:%{d1r}.far.example of far.example)",
            "smtp.mailfrom=a@far.example",
        ),
        ("127.0.66.4", "hello.far.example", "", "spf=softfail (~all of hello.far.example)", "smtp.helo=hello.far.example"),
        (
            "127.0.66.4",
            "x.example",
            "a@bad.far.example",
            "spf=permerror (the record of bad.far.example is wrong: ",
            "smtp.mailfrom=a@bad",
        ),
        ("127.0.66.4", "x.example", "a@none.far.example", "spf=none (none.far.example has no record)", "smtp.mailfrom=a@none"),
        (
            "127.0.66.4",
            "x.example",
            "a@slow.example",
            "spf=temperror (the servers of slow.example took too long)",
            "smtp.mailfrom=a@slow",
        ),
    ];
    for (number, (client, helo, from, spf, property)) in cases.into_iter().enumerate() {
        let reply = send(&system, client, helo, from);
        assert!(reply.starts_with("250"), "{reply}");
        system.wait("the file", || system.inbox("alice").len() == number + 1);
        let texts: Vec<String> = system.inbox("alice").iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        let mine = texts.iter().filter(|text| text.contains(spf) && text.contains(property)).count();
        assert_eq!(mine, 1, "{spf} {property} in {texts:?}");
        assert!(texts.iter().all(|text| text.contains("Authentication-Results: ") && text.contains("\nReceived-SPF: ")));
    }
    // The same by command.
    let server = format!("127.0.0.1:{}", system.base + 53);
    let asked = |ip: &str| {
        let arguments =
            ["auth", "spf", "--resolver", &server, "--ip", ip, "--helo", "x.example", "--mail-from", "a@far.example", "--json"];
        let output = common::postring(&arguments);
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (found["result"].as_str().unwrap().to_owned(), found["explanation"].clone(), output.status.success())
    };
    assert_eq!(asked("127.0.67.9"), ("pass".to_owned(), serde_json::Value::Null, true));
    assert_eq!(asked("192.0.2.9"), ("fail".to_owned(), "192.0.2.9 is none of ours".into(), false));

    // A network of our own sends with addresses of others, and nothing is said of it.
    assert!(send(&system, "127.0.0.9", "x.example", "a@far.example").starts_with("250"));
    system.wait("the file", || system.inbox("alice").len() == cases.len() + 1);
    let texts: Vec<String> = system.inbox("alice").iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert_eq!(texts.iter().filter(|text| !text.contains("Received-SPF")).count(), 1);
    system.wait("the counts", || {
        let counters = &system.status().unwrap()["counters"];
        counters["spf_pass_total"] == 2 && counters["spf_fail_total"] == 1
    });
}
