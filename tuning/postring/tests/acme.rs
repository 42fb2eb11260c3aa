//! Certificates from an authority of others' make: pebble, which refuses nonces now and then on purpose.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::System;
use common::peers::{Peer, tool, wanted};

/// The authority, whose server has a certificate of its own, and which fetches challenges from this port.
fn authority(system: &System, http_port: u16) -> (Peer, String) {
    let peer = Peer::new("env");
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    peer.write("certificate.pem", &made.cert.pem());
    peer.write("key.pem", &made.signing_key.serialize_pem());
    let (port, path) = (peer.address.port(), |name: &str| peer.path(name));
    let config = serde_json::json!({ "pebble": {
        "listenAddress": format!("127.0.0.1:{port}"), "managementListenAddress": format!("127.0.0.1:{}", port + 1),
        "certificate": path("certificate.pem"), "privateKey": path("key.pem"), "httpPort": http_port, "tlsPort": http_port + 1,
    } });
    peer.write("config.json", &config.to_string());
    let directory = format!(
        "\n[tls.acme]\nterms_agreed = true\ndirectory = \"https://127.0.0.1:{port}/dir\"\nauthority_roots = \"{}\"\ncontact = \"hostmaster@test.example\"\n",
        path("certificate.pem")
    );
    let mut peer = peer;
    let (config, dns) = (peer.path("config.json"), system.dns().to_string());
    peer.start(&["PEBBLE_VA_NOSLEEP=1", "pebble", "-strict", "-config", &config, "-dnsserver", &dns]);
    peer.wait("its port", || peer.log().contains("ACME directory available"));
    (peer, directory)
}

/// Who has signed what a client that asks for this name is shown.
fn issuer(system: &System, name: &str) -> String {
    let address = format!("127.0.0.1:{}", system.base + 25);
    let (_, said) =
        tool("openssl", &["s_client", "-connect", &address, "-starttls", "smtp", "-servername", name, "-crlf"], "QUIT\n");
    said.lines().find_map(|line| line.trim().strip_prefix("issuer=")).unwrap_or_default().to_owned()
}

fn certificate(system: &System, name: &str) -> String {
    std::fs::read_to_string(system.folder.path().join("p/tls").join(name)).unwrap_or_default()
}

#[test]
fn certificates_come_by_files_on_port_80() {
    if !wanted(&["pebble", "openssl"]) {
        return;
    }
    let mut system = System::init();
    let http = system.base + 81;
    let (peer, table) = authority(&system, http);
    system.write_dns("named.zone", "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\nns A 127.0.0.1\nmail A 127.0.0.1\n");
    system.append_config(&format!(
        "\n[[dns.zone]]\nname = \"named.example\"\nfile = \"dns/named.zone\"\n{table}http = [\"127.0.0.1:{http}\"]\n\
         \n[[tls.name]]\nnames = [\"mail.named.example\"]\ncertificate = \"tls/named/chain.pem\"\nkey = \"tls/named/key.pem\"\nacme = true\n\
         \n[[tls.name]]\nnames = [\"nowhere.named.example\"]\ncertificate = \"tls/nowhere.pem\"\nkey = \"tls/nowhere-key.pem\"\nacme = true\n"
    ));
    let (before, tlsa) = (certificate(&system, "key.pem"), system.run(&["tls", "tlsa"]));
    system.up();
    for name in ["mx.test.example", "mail.named.example"] {
        system.wait("the authority's certificate", || issuer(&system, name).contains("Pebble Intermediate"));
    }
    // With the key that was there, so that what is announced of it stays true.
    assert_eq!((certificate(&system, "key.pem"), system.run(&["tls", "tlsa"])), (before, tlsa), "{}", peer.log());
    // One whose name leads nowhere has its own until it does.
    system.wait("the failure", || {
        system.run(&["tls", "list"]).contains("the authority was asked in vain: API error: Get \"http://nowhere.named.example")
    });
    assert!(!issuer(&system, "nowhere.named.example").contains("Pebble"), "{}", system.log());

    // A restart asks for nothing: neither what is there, nor what has just failed.
    let chains = [certificate(&system, "certificate.pem"), certificate(&system, "named/chain.pem")];
    assert!(chains.iter().all(|chain| chain.matches("BEGIN CERTIFICATE").count() > 1));
    system.down();
    let lines = system.log().lines().count();
    system.up();
    system.wait("its state", || system.run(&["tls", "list"]).matches("renewed from 2").count() == 3);
    assert_eq!([certificate(&system, "certificate.pem"), certificate(&system, "named/chain.pem")], chains);
    // A forced renewal brings another certificate.
    system.run(&["tls", "renew", "mail.named.example"]);
    system.wait("another certificate", || certificate(&system, "named/chain.pem") != chains[1]);
    assert_eq!(certificate(&system, "certificate.pem"), chains[0]);
    let log: String = system.log().lines().skip(lines).map(|line| format!("{line}\n")).collect();
    assert_eq!((log.matches("a certificate for").count(), log.matches("no certificate for").count()), (1, 0), "{log}");
    // When the name leads here, it works by command.
    system.write_dns(
        "named.zone",
        "$TTL 60\n@ SOA ns h 2 60 60 60 60\n NS ns\nns A 127.0.0.1\nmail A 127.0.0.1\nnowhere A 127.0.0.1\n",
    );
    system.run(&["dns", "zone", "reload", "named.example"]);
    system.run(&["tls", "renew"]);
    system.wait("the last", || issuer(&system, "nowhere.named.example").contains("Pebble Intermediate"));
}

#[test]
fn certificates_come_by_records_in_our_own_zones() {
    if !wanted(&["pebble", "openssl"]) {
        return;
    }
    let mut system = System::init();
    let (peer, table) = authority(&system, system.base + 81);
    system.run(&["domain", "add", "second.example"]);
    system.append_config(&format!(
        "{table}challenge = \"dns-01\"\nown = true\n\
         \n[[tls.name]]\nnames = [\"second.example\", \"*.second.example\"]\ncertificate = \"tls/second.pem\"\nkey = \"tls/second-key.pem\"\nacme = true\n"
    ));
    system.up();
    system.wait("the wildcard", || issuer(&system, "imap.second.example").contains("Pebble Intermediate"));
    // The zone is as it was, but for its version.
    let answer = common::dns::ask(system.dns(), "_acme-challenge.second.example", postring_dns::Rtype::TXT, "");
    assert!(answer.data(postring_dns::Rtype::TXT).is_empty(), "{}", peer.log());
    // The host's own name is in a zone from a file that nobody may update.
    system.wait("the refusal", || {
        let list = system.run(&["tls", "list"]);
        list.contains("asked in vain: the zone test.example. is not made here and may not be updated (update_keys)")
    });
}
