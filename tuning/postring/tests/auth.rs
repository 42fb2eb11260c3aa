//! The checks of the sender by command, with keys that the running system serves.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::{System, postring};
use std::path::{Path, PathBuf};

/// RFC 8463 appendix A.
const ZONE: &str = "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\nns A 127.0.0.1\n\
    brisbane._domainkey TXT \"v=DKIM1; k=ed25519; p=\" \"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n\
    test._domainkey TXT \"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB\"\n";

/// Output of the command, and whether it succeeded.
fn dkim(system: &System, file: &Path, more: &[&str]) -> (String, bool) {
    let (config, server) = (system.config(), format!("127.0.0.1:{}", system.base + 53));
    let arguments = ["auth", "dkim", "--config", &config, "--resolver", &server, file.to_str().unwrap()];
    let output = postring(&[&arguments[..], more].concat());
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

fn written(system: &System, name: &str, text: &str) -> PathBuf {
    let path = system.folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn dkim_with_keys_of_our_own_zone() {
    let mut system = System::init();
    std::fs::write(system.folder.path().join("p/dns/football.zone"), ZONE).unwrap();
    system.append_config("\n[[dns.zone]]\nname = \"football.example.com\"\nfile = \"dns/football.zone\"\n");
    system.up();

    let message = include_str!("../../../edge/auth/tests/dkim/rfc8463-a.eml");
    let good = written(&system, "good.eml", message);
    let (text, succeeded) = dkim(&system, &good, &[]);
    assert!(succeeded, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].starts_with("Authentication-Results: "), "{text}");
    assert!(
        lines[0].ends_with(
            "; dkim=pass header.d=football.example.com header.i=@football.example.com header.s=brisbane header.a=ed25519-sha256 header.b=\"/gCrinpc\""
        ),
        "{text}"
    );
    assert_eq!(lines[1], "  good signature");
    assert!(lines[2].contains("; dkim=pass header.d=football.example.com") && lines[2].contains("header.a=rsa-sha256"), "{text}");

    // With the line ends of the wire it is the same message.
    let wire = written(&system, "wire.eml", &message.replace('\n', "\r\n"));
    assert_eq!(dkim(&system, &wire, &[]), (text, true));

    let changed = written(&system, "changed.eml", &message.replace("hungry", "angry"));
    let (text, succeeded) = dkim(&system, &changed, &["--json"]);
    assert!(!succeeded);
    let results: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(results[0]["result"], "fail");
    assert_eq!(results[1]["reason"], "the body was changed");
    assert_eq!(results[1]["algorithm"], "rsa-sha256");

    let other = written(&system, "other.eml", &message.replace("s=test;", "s=none;"));
    let (text, succeeded) = dkim(&system, &other, &[]);
    assert!(succeeded && text.contains("dkim=permerror reason=\"there is no key at the selector\""), "{text}");
    let unsigned = written(&system, "unsigned.eml", "From: a@b.example\n\nHello\n");
    let (text, succeeded) = dkim(&system, &unsigned, &[]);
    assert!(!succeeded && text.contains("; dkim=none "), "{text}");
    let missing = postring(&["auth", "dkim", "/nonexistent/mail.eml"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent/mail.eml: No such file"));
}
