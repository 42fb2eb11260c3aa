//! What an operator can get wrong: one clear line each, and nothing lost or overwritten.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{System, postring};
use std::net::TcpListener;

/// The one line of an error.
fn error_of(arguments: &[&str]) -> String {
    let output = postring(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn each_gets_one_clear_line() {
    let system = System::init();
    let config = system.config();
    let up = ["up", "--config", &config];
    let check = ["check", "--config", &config];
    assert!(postring(&check).status.success());

    // A port in use.
    let held = TcpListener::bind(("127.0.0.1", system.base + 25)).unwrap();
    for command in [&up, &check] {
        let error = error_of(command);
        assert!(error.contains("listen.smtp") && error.contains("in use by another program"), "{error}");
    }
    drop(held);

    // Rules: a broken one, then no folder.
    let rules = system.data().join("rules");
    std::fs::write(rules.join("broken.yar"), "rule Broken {\n  condition: $x\n}\n").unwrap();
    for command in [&up, &check] {
        let error = error_of(command);
        assert!(error.contains("broken.yar") && error.contains("2:"), "{error}");
    }
    std::fs::rename(&rules, system.data().join("rules-away")).unwrap();
    let error = error_of(&up);
    assert!(error.contains("the rules folder") && error.contains("make it"), "{error}");
    std::fs::rename(system.data().join("rules-away"), &rules).unwrap();
    std::fs::remove_file(rules.join("broken.yar")).unwrap();

    // A data folder of another version.
    std::fs::write(system.data().join("VERSION"), "99").unwrap();
    for command in [&up[..], &check, &["account", "list", "--config", &config]] {
        let error = error_of(command);
        assert!(error.contains("version 99") && error.contains("Nothing was changed"), "{error}");
    }
    assert_eq!(std::fs::read_to_string(system.data().join("VERSION")).unwrap(), "99");
    std::fs::write(system.data().join("VERSION"), "1").unwrap();

    // A configuration that is wrong.
    let good = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{good}\n[edge]\nslots = 3\n")).unwrap();
    let error = error_of(&check);
    let line = good.lines().count() + 3;
    assert!(error.contains(&format!("postring.toml:{line}: unknown field `slots`")), "{error}");
    std::fs::write(&config, &good).unwrap();

    // A certificate that is none.
    let certificate = system.folder.path().join("p/tls/certificate.pem");
    let pem = std::fs::read_to_string(&certificate).unwrap();
    std::fs::write(&certificate, "nothing").unwrap();
    assert!(error_of(&check).contains("holds no certificate"));
    std::fs::write(&certificate, pem).unwrap();

    // A folder that is not empty is left alone.
    let dir = system.folder.path().join("p");
    let error = error_of(&["init", "--dir", dir.to_str().unwrap(), "--domain", "other.example"]);
    assert!(error.contains("not empty; nothing was changed"), "{error}");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), good);
    assert!(postring(&check).status.success());
}

#[test]
fn a_second_start_and_a_bad_reload_change_nothing() {
    let system = System::start();
    let config = system.config();
    let error = error_of(&["up", "--config", &config]);
    assert!(error.contains("another postring runs on"), "{error}");
    let good = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{good}\n[policy]\njunk_score = 99.0\n")).unwrap();
    let error = error_of(&["reload", "--config", &config]);
    assert!(error.contains("junk_score 99"), "{error}");
    std::fs::write(&config, format!("{good}\n[edge]\nmessage_bytes_max = 70000\n")).unwrap();
    assert!(postring(&["reload", "--config", &config]).status.success());
    assert!(system.smtp().send(&["alice@test.example"], b"Subject: still here\n\nx\n").unwrap().starts_with("250"));
}

#[test]
fn accounts_are_added_while_it_runs() {
    let system = System::start();
    let config = system.config();
    for (arguments, works) in [
        (["account", "add", "carol@test.example", "--config", &config], true),
        (["account", "add", "carol@test.example", "--config", &config], false),
        (["account", "add", "x@nowhere.example", "--config", &config], false),
        (["domain", "add", "second.example", "--config", &config], true),
        (["account", "add", "dave@second.example", "--config", &config], true),
    ] {
        assert_eq!(postring(&arguments).status.success(), works, "{arguments:?}");
    }
    assert!(system.smtp().send(&["carol@test.example", "dave@second.example"], b"Subject: x\n\nx\n").unwrap().starts_with("250"));
}
