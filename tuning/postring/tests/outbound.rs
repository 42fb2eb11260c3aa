//! Mail to other servers: a second system is the other server, an alias the way out.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{System, behind_trace, postring, signal};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

const MESSAGE: &[u8] = b"From: <sender@far.example>\nSubject: out\n\nA line.\n.dots\n..\n\nlast\n";

/// Sends to `other` on its test port; `more` goes into `[send]`. Not started.
fn sender(other: &System, more: &str) -> System {
    let system = System::init();
    let zone = system.folder.path().join("p/dns/far.zone");
    std::fs::write(&zone, "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\n MX 10 mx\nns A 127.0.0.1\nmx A 127.0.0.1\n").unwrap();
    system.append_config(&format!(
        "\n[[dns.zone]]\nname = \"{}\"\nfile = \"dns/far.zone\"\n\n[dns]\nforwarders = []\n\n[send]\nport = {}\nloopback = true\n{more}\n",
        other.domain,
        other.base + 25
    ));
    system
}

fn alias(system: &System, name: &str, targets: &[&str]) {
    let (address, config) = (format!("{name}@test.example"), system.config());
    let made = postring(&[&["alias", "add", &address], targets, &["--config", &config]].concat());
    assert!(made.status.success(), "{made:?}");
}

fn queue(system: &System) -> serde_json::Value {
    let output = postring(&["queue", "list", "--json", "--config", &system.config()]);
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn queued(system: &System) -> u64 {
    queue(system)["total"].as_u64().unwrap_or(u64::MAX)
}

#[test]
fn forwarded_mail_arrives_as_it_was_sent() {
    let mut other = System::init_domain("other.example");
    other.up();
    let mut system = sender(&other, "");
    system.up();
    alias(&system, "out", &["alice@other.example", "bob@other.example", "bob@test.example"]);
    let reply = system.smtp().send(&["out@test.example"], MESSAGE).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    system
        .wait("all three", || other.inbox("alice").len() == 1 && other.inbox("bob").len() == 1 && system.inbox("bob").len() == 1);
    let file = std::fs::read(&other.inbox("alice")[0]).unwrap();
    let text = String::from_utf8_lossy(&file);
    assert!(text.contains("with ESMTPS"), "the other server offers STARTTLS: {text}");
    assert!(text.starts_with("Return-Path: <sender@far.example>\n"));
    // Two servers have put a Received field before it.
    assert_eq!(behind_trace(behind_trace(&file)), MESSAGE);
    system.wait("an empty queue", || queued(&system) == 0);
    assert_eq!(common::files(&system.data().join("queue/send-0")), Vec::<std::path::PathBuf>::new());
    assert_eq!(system.status().unwrap()["counters"]["outbound_delivered_total"], 2);
    // Nobody but users and aliases gets anything out.
    let mut smtp = system.smtp();
    smtp.say("EHLO c").unwrap();
    smtp.say("MAIL FROM:<x@far.example>").unwrap();
    assert!(smtp.say("RCPT TO:<alice@other.example>").unwrap().starts_with("550 5.7.1"));
}

#[test]
fn what_is_refused_comes_back_to_its_sender() {
    let mut other = System::init_domain("other.example");
    other.up();
    let mut system = sender(&other, "");
    system.up();
    alias(&system, "out", &["nobody@other.example", "alice@other.example", "x@void.invalid"]);
    let sent = system.smtp().send_from("bob@test.example", &["out@test.example"], MESSAGE).unwrap();
    assert!(sent.starts_with("250"), "{sent}");
    system.wait("the report", || system.inbox("bob").len() == 1 && other.inbox("alice").len() == 1);
    let report = String::from_utf8(std::fs::read(&system.inbox("bob")[0]).unwrap()).unwrap();
    for part in [
        "Return-Path: <>\n",
        "report-type=delivery-status",
        "Final-Recipient: rfc822; nobody@other.example\nAction: failed\nStatus: 5.1.1\nRemote-MTA: dns; mx.other.example\n",
        "Diagnostic-Code: smtp; 550 5.1.1 No such mailbox\n",
        "Final-Recipient: rfc822; x@void.invalid\n",
        "Subject: out\n",
    ] {
        assert!(report.contains(part), "{part:?} is not in\n{report}");
    }
    assert!(!report.contains("Final-Recipient: rfc822; alice@"), "{report}");
    system.wait("an empty queue", || queued(&system) == 0);
    // A report nobody takes is not reported.
    alias(&system, "gone", &["nobody@other.example"]);
    assert!(system.smtp().send_from("", &["gone@test.example"], MESSAGE).unwrap().starts_with("250"));
    system.wait("an empty queue", || queued(&system) == 0);
    assert_eq!(system.inbox("bob").len(), 1);
}

#[test]
fn mail_waits_for_a_server_that_is_down_over_restarts() {
    let mut other = System::init_domain("other.example");
    let mut system = sender(&other, "retry_seconds_min = 600\n");
    system.up();
    alias(&system, "out", &["alice@other.example"]);
    alias(&system, "never", &["bob@other.example"]);
    for recipient in ["out@test.example", "never@test.example"] {
        assert!(system.smtp().send(&[recipient], MESSAGE).unwrap().starts_with("250"));
    }
    let tried = |system: &System| {
        let queue = queue(system);
        let messages = queue["messages"].as_array().cloned().unwrap_or_default();
        messages.len() == 2 && messages.iter().all(|message| message["attempts"] == 1 && message["under_way"] == false)
    };
    system.wait("the first attempts", || tried(&system));
    let reply = queue(&system)["messages"][0]["recipients"][0]["reply"].as_str().unwrap().to_owned();
    assert!(reply.starts_with("451 4.4.1"), "{reply}");
    // Stopped and killed: it is still there, and not tried before its time.
    system.down();
    system.up();
    assert!(tried(&system), "{}", queue(&system));
    system.kill_all();
    system.wait("the ports", || std::net::TcpListener::bind(("127.0.0.1", system.base + 25)).is_ok());
    system.up();
    assert!(tried(&system), "{}", queue(&system));
    let words = |action: &str, which: &str| postring(&["queue", action, which, "--config", &system.config()]);
    assert!(!words("drop", "carol@other.example").status.success());
    assert!(words("drop", "bob@other.example").status.success());
    other.up();
    assert!(words("retry", "other.example").status.success());
    system.wait("the mail", || other.inbox("alice").len() == 1);
    system.wait("an empty queue", || queued(&system) == 0);
    assert!(other.inbox("bob").is_empty());
}

#[test]
fn mail_that_grows_too_old_comes_back() {
    let other = System::init_domain("other.example");
    let mut system = sender(&other, "retry_seconds_min = 1\nretry_seconds_max = 1\nlifetime_seconds = 3\n");
    system.up();
    alias(&system, "out", &["alice@other.example"]);
    assert!(system.smtp().send_from("bob@test.example", &["out@test.example"], MESSAGE).unwrap().starts_with("250"));
    system.wait("the report", || system.inbox("bob").len() == 1);
    let report = String::from_utf8(std::fs::read(&system.inbox("bob")[0]).unwrap()).unwrap();
    assert!(report.contains("Status: 4.4.7\n") && report.contains("4.4.1"), "{report}");
}

#[test]
fn without_a_sending_machine_nothing_for_elsewhere_is_taken() {
    let mut system = System::init();
    system.append_config("\n[cores]\nsend = []\n");
    system.up();
    alias(&system, "out", &["alice@other.example"]);
    alias(&system, "both", &["alice@other.example", "bob@test.example"]);
    let mut smtp = system.smtp();
    smtp.say("EHLO c").unwrap();
    smtp.say("MAIL FROM:<x@far.example>").unwrap();
    for recipient in ["out", "both"] {
        let reply = smtp.say(&format!("RCPT TO:<{recipient}@test.example>")).unwrap();
        assert!(reply.starts_with("451 4.4.3"), "{reply}");
    }
    assert!(smtp.say("RCPT TO:<bob@test.example>").unwrap().starts_with("250"));
    // With nobody to ring it, it still stops, and says goodbye.
    system.down();
    assert!(smtp.reply().unwrap().starts_with("421 4.3.2"));
}

/// kill -9 of the sending machine, its store and its edge while mail goes through: what got its 250 arrives at the other server.
#[test]
fn nothing_acknowledged_is_lost_on_its_way_out() {
    let mut other = System::init_domain("other.example");
    other.up();
    let mut system = sender(&other, "retry_seconds_min = 1\nretry_seconds_max = 1\nlifetime_seconds = 600\n");
    system.up();
    alias(&system, "out", &["alice@other.example"]);
    let mut kept = BTreeSet::new();
    for round in 0..20_u64 {
        for step in 0..15 {
            let number = round * 100 + step;
            let message = format!("Subject: {number}\n\nbody {number}\n");
            let sent =
                common::Smtp::connect(system.base + 25).and_then(|mut smtp| smtp.send(&["out@test.example"], message.as_bytes()));
            if sent.is_ok_and(|reply| reply.starts_with("250")) {
                kept.insert(number);
            }
        }
        std::thread::sleep(Duration::from_millis(round * 7 % 60));
        let pids = system.pids();
        match round % 4 {
            0 => {
                system.kill_all();
                system.wait("the ports", || std::net::TcpListener::bind(("127.0.0.1", system.base + 25)).is_ok());
                system.up();
            }
            1 => signal(pids["edge"], Signal::KILL),
            _ => signal(pids["send"], Signal::KILL),
        }
        system.wait("all roles", || {
            system.pids().len() == pids.len() && system.status().is_some_and(|status| status["ready"] == true)
        });
    }
    system.wait("an empty queue", || queued(&system) == 0);
    let found: BTreeSet<u64> = other
        .inbox("alice")
        .iter()
        .map(|path| {
            let text = String::from_utf8(std::fs::read(path).unwrap()).unwrap();
            let number = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().parse().unwrap();
            assert!(text.ends_with(&format!("Subject: {number}\n\nbody {number}\n")), "{text}");
            number
        })
        .collect();
    let lost: Vec<&u64> = kept.difference(&found).collect();
    assert!(lost.is_empty(), "of {} acknowledged messages {lost:?} are lost\n{}", kept.len(), system.log());
    assert!(kept.len() > 100, "only {} were acknowledged\n{}", kept.len(), system.log());
    println!("{} acknowledged, {} arrived, {} files", kept.len(), found.len(), other.inbox("alice").len());
}

/// With swaks as the user's client: in by submission, out to the other server; between two local accounts nothing leaves.
#[test]
fn users_send_out_by_submission() {
    if std::env::var_os("POSTRING_INTEROP").is_none() {
        return;
    }
    let mut other = System::init_domain("other.example");
    other.up();
    let mut system = sender(&other, "");
    system.up();
    let password = &system.passwords["alice@test.example"];
    let output = Command::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &(system.base + 587).to_string(), "--tls", "--auth", "PLAIN"])
        .args(["--auth-user", "alice@test.example", "--auth-password", password, "--from", "alice@test.example"])
        .args(["--to", "alice@other.example,bob@test.example"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    system.wait("both", || other.inbox("alice").len() == 1 && system.inbox("bob").len() == 1);
    let text = String::from_utf8(std::fs::read(&other.inbox("alice")[0]).unwrap()).unwrap();
    assert!(text.contains("(authenticated user)") && !text.contains("bob@test.example\n\tfor"), "{text}");
    assert_eq!(system.status().unwrap()["counters"]["outbound_delivered_total"], 1);
}
