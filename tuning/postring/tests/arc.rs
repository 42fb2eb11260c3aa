//! The ARC chain of a message by command, with keys that the running system serves.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::{System, postring};
use std::path::{Path, PathBuf};

const KEYS: &str = include_str!("../../../edge/auth/tests/arc/keys.txt");

/// A zone for all the domains of the messages, with their keys.
fn zone() -> String {
    let mut zone = "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\nns A 127.0.0.1\n".to_owned();
    for (name, key) in KEYS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = ")) {
        let (start, end) = key.split_at(200.min(key.len()));
        zone += &format!("{} TXT \"{start}\" \"{end}\"\n", name.strip_suffix(".example").unwrap());
    }
    zone
}

/// Output of the command, and whether it succeeded.
fn arc(system: &System, file: &Path, more: &[&str]) -> (String, bool) {
    let (config, server) = (system.config(), format!("127.0.0.1:{}", system.base + 53));
    let arguments = ["auth", "arc", "--config", &config, "--resolver", &server, file.to_str().unwrap()];
    let output = postring(&[&arguments[..], more].concat());
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

fn written(system: &System, name: &str, text: &str) -> PathBuf {
    let path = system.folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn arc_with_keys_of_our_own_zone() {
    let mut system = System::init();
    std::fs::write(system.folder.path().join("p/dns/example.zone"), zone()).unwrap();
    system.append_config("\n[[dns.zone]]\nname = \"example\"\nfile = \"dns/example.zone\"\n");
    system.up();

    let message = include_str!("../../../edge/auth/tests/arc/list.eml");
    let good = written(&system, "good.eml", message);
    let (text, succeeded) = arc(&system, &good, &[]);
    assert!(succeeded, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 14, "{text}");
    assert!(lines[0].starts_with("Authentication-Results: ") && lines[0].ends_with("; arc=pass header.oldest-pass=2"), "{text}");
    assert_eq!(lines[1], "  a chain of 3 sets");
    assert_eq!(
        lines[2..6],
        [
            "1: sealed by first.example (selector a), cv=none",
            "  message signature: the body was changed",
            "  seal: good",
            "  found by mx.first.example: spf=pass smtp.mailfrom=author@author.example; \
             dkim=pass header.d=author.example header.s=x; dmarc=pass header.from=author.example"
        ]
    );
    assert_eq!(lines[10], "3: sealed by forwarder.example (selector f), cv=pass");

    // With the line ends of the wire it is the same message.
    let wire = written(&system, "wire.eml", &message.replace('\n', "\r\n"));
    assert_eq!(arc(&system, &wire, &[]), (text, true));

    let (text, succeeded) = arc(&system, &good, &["--json"]);
    assert!(succeeded);
    let chain: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&chain["result"], &chain["oldest_pass"], &chain["sealer"]),
        (&"pass".into(), &2.into(), &"forwarder.example".into())
    );
    assert_eq!(chain["sets"][1]["found"]["by"], "mx.list.example");
    assert_eq!(chain["sets"][1]["found"]["results"][3]["properties"][0]["value"], "author.example");

    let changed = written(
        &system,
        "changed.eml",
        &message.replace("arc=pass;\n spf=fail", "arc=pass;\n spf=pass").replace("dmarc=fail", "dmarc=pass"),
    );
    let (text, succeeded) = arc(&system, &changed, &[]);
    assert!(!succeeded && text.contains("; arc=fail reason=\"ARC-Seal 3: "), "{text}");
    let failed = written(&system, "failed.eml", include_str!("../../../edge/auth/tests/arc/failed.eml"));
    let (text, succeeded) = arc(&system, &failed, &["--json"]);
    assert!(!succeeded);
    let chain: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&chain["result"], &chain["sets"][1]["cv"], &chain["sets"][1]["seal"]),
        (&"fail".into(), &"fail".into(), &serde_json::Value::Null)
    );
    let unsealed = written(&system, "unsealed.eml", "From: a@b.example\n\nHello\n");
    let (text, succeeded) = arc(&system, &unsealed, &[]);
    assert!(!succeeded && text.contains("; arc=none\n  the message has no chain"), "{text}");
    let missing = postring(&["auth", "arc", "/nonexistent/mail.eml"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent/mail.eml: No such file"));
}
