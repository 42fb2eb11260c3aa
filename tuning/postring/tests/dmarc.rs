//! DMARC by command, with policies and keys that the running system serves.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::{System, postring};
use std::path::{Path, PathBuf};

/// RFC 8463 appendix A, with a policy and mail hosts.
const ZONE: &str = "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\nns A 127.0.0.1\n@ TXT \"v=spf1 ip4:192.0.2.7 -all\"\n\
    _dmarc TXT \"v=DMARC1; p=reject; sp=quarantine; np=none; psd=n\"\nsub A 192.0.2.8\n\
    brisbane._domainkey TXT \"v=DKIM1; k=ed25519; p=\" \"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n";

/// The zone above, so that a walk ends.
const COM: &str = "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\nns A 127.0.0.1\n";

/// Output and errors of the command, and whether it succeeded.
fn dmarc(system: &System, file: &Path, client: &str, more: &[&str]) -> (String, String, bool) {
    let (config, server) = (system.config(), format!("127.0.0.1:{}", system.base + 53));
    let file = file.to_str().unwrap();
    let arguments = ["auth", "dmarc", "--config", &config, "--resolver", &server, "--ip", client, "--helo", "mx.example", file];
    let output = postring(&[&arguments[..], more].concat());
    let text = |octets| String::from_utf8(octets).unwrap();
    (text(output.stdout), text(output.stderr), output.status.success())
}

fn written(system: &System, name: &str, text: &str) -> PathBuf {
    let path = system.folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn dmarc_with_a_policy_of_our_own_zone() {
    let mut system = System::init();
    system.write_dns("football.zone", ZONE);
    system.write_dns("com.zone", COM);
    system.append_config(
        "\n[[dns.zone]]\nname = \"football.example.com\"\nfile = \"dns/football.zone\"\n\
         \n[[dns.zone]]\nname = \"com\"\nfile = \"dns/com.zone\"\n",
    );
    system.up();

    // Signed by football.example.com, from football.example.com.
    let message = include_str!("../../../edge/auth/tests/dkim/rfc8463-a.eml");
    let good = written(&system, "good.eml", message);
    let (text, _, succeeded) = dmarc(&system, &good, "203.0.113.1", &["--tree-walk"]);
    assert!(succeeded, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let field = "; dmarc=pass (p=reject sp=quarantine np=none dis=none) header.from=football.example.com";
    assert!(lines[0].starts_with("Authentication-Results: ") && lines[0].ends_with(field), "{text}");
    assert_eq!(lines[1], "  disposition none: football.example.com has p=reject for it");
    assert_eq!(lines[2], "  the signature of football.example.com passed and is aligned with football.example.com");
    assert!(lines[3].starts_with("  spf=none of mx.example: "), "{text}");
    assert!(lines[4].starts_with("  dkim=pass header.d=football.example.com"), "{text}");

    // Nothing passes.
    let changed = written(&system, "changed.eml", &message.replace("hungry", "angry"));
    let from = ["--mail-from", "joe@football.example.com"];
    let (text, error, succeeded) = dmarc(&system, &changed, "203.0.113.1", &from);
    assert!(!succeeded && text.contains("; dmarc=fail (p=reject sp=quarantine np=none dis=reject) reason="), "{text}");
    assert!(error.contains("fail: neither SPF nor a signature passed for football.example.com"), "{error}");
    // SPF does.
    let (text, _, succeeded) = dmarc(&system, &changed, "192.0.2.7", &from);
    assert!(succeeded && text.contains("SPF of football.example.com passed and is aligned"), "{text}");

    // A domain below: the walk finds the record, the list asks example.com, which has none.
    let below = written(&system, "below.eml", "From: a@sub.football.example.com\n\nx\n");
    let (text, _, succeeded) = dmarc(&system, &below, "192.0.2.7", &["--tree-walk", "--json"]);
    assert!(!succeeded);
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((found["result"].as_str(), found["disposition"].as_str()), (Some("fail"), Some("quarantine")));
    assert_eq!(found["published"]["domain"], "football.example.com");
    assert_eq!(found["published"]["tag"], "sp");
    let (text, _, succeeded) = dmarc(&system, &below, "192.0.2.7", &[]);
    assert!(succeeded && text.contains("; dmarc=none reason=\"nobody has published a policy"), "{text}");
    // A list that knows example.com as a public suffix.
    let list = written(&system, "list.dat", "// mine\ncom\nexample.com\n");
    let (text, _, succeeded) = dmarc(&system, &below, "192.0.2.7", &["--psl", list.to_str().unwrap()]);
    assert!(!succeeded && text.contains("disposition quarantine: football.example.com has sp=quarantine for it"), "{text}");

    let two = written(&system, "two.eml", "From: a@football.example.com\nFrom: a@other.example\n\nx\n");
    let (text, _, succeeded) = dmarc(&system, &two, "192.0.2.7", &from);
    assert!(succeeded && text.contains("; dmarc=permerror reason=\"there are 2 From fields\"\n"), "{text}");

    let organization = |more: &[&str]| {
        let server = format!("127.0.0.1:{}", system.base + 53);
        let output = postring(&[&["auth", "org-domain", "--resolver", &server, "a.sub.football.example.com"], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(organization(&[]), "example.com\n");
    assert_eq!(organization(&["--psl", list.to_str().unwrap()]), "football.example.com\n");
    assert_eq!(organization(&["--tree-walk"]), "football.example.com\n");
    let json: serde_json::Value = serde_json::from_str(&organization(&["--tree-walk", "--json"])).unwrap();
    assert_eq!(
        (json["organizational_domain"].as_str(), json["method"].as_str()),
        (Some("football.example.com"), Some("treewalk"))
    );

    let broken = written(&system, "broken.dat", "com\n<html>\n");
    let output = postring(&["auth", "org-domain", "--psl", broken.to_str().unwrap(), "example.com"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("broken.dat: line 2 is no rule of a public suffix list"));
}
