//! TLS of the running system, with OpenSSL as the client.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{System, USERS, http, postring};
use postring_dns::Rtype;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A pair for these names.
fn pair(names: &[&str]) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn file(system: &System, name: &str) -> PathBuf {
    system.folder.path().join("p/tls").join(name)
}

/// Puts a pair where the configuration looks for it.
fn put(system: &System, name: &str, (certificate, key): &(String, String)) {
    std::fs::write(file(system, &format!("{name}.pem")), certificate).unwrap();
    std::fs::write(file(system, &format!("{name}-key.pem")), key).unwrap();
}

/// A system with a certificate of its own and two for others: by the table's names, and by the certificate's.
fn with_names(own: &(String, String), one: &(String, String), wild: &(String, String)) -> System {
    let system = System::init();
    put(&system, "own", own);
    put(&system, "one", one);
    put(&system, "wild", wild);
    std::fs::rename(file(&system, "own.pem"), file(&system, "certificate.pem")).unwrap();
    std::fs::rename(file(&system, "own-key.pem"), file(&system, "key.pem")).unwrap();
    system.append_config(
        "\n[[tls.name]]\nnames = [\"mail.one.example\"]\ncertificate = \"tls/one.pem\"\nkey = \"tls/one-key.pem\"\n\
         \n[[tls.name]]\ncertificate = \"tls/wild.pem\"\nkey = \"tls/wild-key.pem\"\n",
    );
    if rustix::process::geteuid().is_root() {
        // The edge could not read the keys then.
        system.append_config(USERS);
    }
    system
}

/// What `openssl s_client` says of a handshake that is followed by QUIT. Port 465 is within TLS from the first byte.
fn s_client(system: &System, port: u16, more: &[&str]) -> String {
    let address = format!("127.0.0.1:{}", system.base + port);
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-crlf", "-ign_eof"]).args(more);
    if port != 465 {
        command.args(["-starttls", "smtp"]);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A handshake that failed leaves nobody to say it to.
    let _ = child.stdin.take().unwrap().write_all(b"QUIT\n");
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn plain(text: &str) -> String {
    text.split_whitespace().collect()
}

/// True if a client that asks for this name is presented this certificate.
fn presents(system: &System, name: Option<&str>, (certificate, _): &(String, String)) -> bool {
    let name = name.map_or(vec!["-noservername"], |name| vec!["-servername", name]);
    plain(&s_client(system, 25, &name)).contains(&plain(certificate))
}

#[test]
fn each_name_has_its_certificate_and_files_that_change_are_taken() {
    let own = pair(&["mx.test.example"]);
    let (one, wild) = (pair(&["mail.one.example"]), pair(&["*.wild.example", "wild.example"]));
    let mut system = with_names(&own, &one, &wild);
    system.up();
    for (name, expected) in [
        (None, &own),
        (Some("nobody.example"), &own),
        (Some("mx.test.example"), &own),
        (Some("mail.one.example"), &one),
        (Some("MAIL.one.example"), &one),
        (Some("www.one.example"), &own),
        (Some("a.wild.example"), &wild),
        (Some("wild.example"), &wild),
        (Some("a.b.wild.example"), &own),
    ] {
        assert!(presents(&system, name, expected), "{name:?}");
    }

    // Who is connected stays so while the files are replaced.
    let address = format!("127.0.0.1:{}", system.base + 25);
    let mut connected = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-starttls", "smtp", "-crlf", "-quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut replies = BufReader::new(connected.stdout.take().unwrap()).lines();
    let mut say = |line: &str, end: &str| {
        connected.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
        replies.by_ref().map(Result::unwrap).find(|reply| reply.starts_with(end)).unwrap()
    };
    say("NOOP", "250 2.0.0");
    let newer = pair(&["mail.one.example"]);
    put(&system, "one", &newer);
    system.wait("the new certificate", || presents(&system, Some("mail.one.example"), &newer));
    say("NOOP", "250 2.0.0");
    say("QUIT", "221");
    connected.wait().unwrap();

    // What is not good changes nothing, and is said.
    put(&system, "one", &(pair(&["mail.one.example"]).0, newer.1.clone()));
    system.wait("the complaint", || system.log().contains("is not that of the first certificate"));
    assert!(system.log().contains("stays in force"));
    assert!(presents(&system, Some("mail.one.example"), &newer));
    let check = postring(&["check", "--config", &system.config()]);
    let error = String::from_utf8(check.stderr).unwrap();
    assert!(!check.status.success() && error.contains("one.pem: the key is not that of"), "{error}");
    let status = system.status().unwrap();
    assert!(status["tls"][1]["problem"].as_str().unwrap().contains("one.pem"), "{status}");
    assert!(status["tls"][1]["days_left"].as_i64().unwrap() > 1000, "{status}");
    let metrics = http(&system, "/metrics");
    for (name, refused) in [("certificate.pem", 0), ("one.pem", 1), ("wild.pem", 0)] {
        let end = format!("{name}\"}} {refused}");
        assert!(
            metrics.lines().any(|line| line.starts_with("postring_tls_certificate_refused{") && line.ends_with(&end)),
            "{name}"
        );
    }
    // A reload goes on with what is in force.
    system.run(&["reload"]);
    assert!(presents(&system, Some("mail.one.example"), &newer));

    // An edge that is started anew has what is in force, whatever the files say.
    common::signal(system.pids()["edge"], rustix::process::Signal::KILL);
    system.wait("the edge's end", || system.log().contains("edge ended"));
    system.wait_ready();
    assert!(presents(&system, Some("mail.one.example"), &newer));
    // Once they are right they are taken.
    put(&system, "one", &one);
    system.wait("the right certificate", || presents(&system, Some("mail.one.example"), &one));
    assert!(postring(&["check", "--config", &system.config()]).status.success());
}

#[test]
fn versions_are_those_of_the_profile() {
    let mut system = System::init();
    let text = std::fs::read_to_string(system.config()).unwrap();
    std::fs::write(system.config(), text.replace("[tls]\n", "[tls]\nsubmission_profile = \"modern\"\n")).unwrap();
    system.up();
    let version = |port: u16, version: &str| {
        let said = s_client(&system, port, &[version, "-cipher", "DEFAULT:@SECLEVEL=0"]);
        said.lines()
            .find_map(|line| line.split_once(", Cipher is ").map(|(version, cipher)| format!("{version} {cipher}")))
            .unwrap()
    };
    for port in [25, 587, 465] {
        assert_eq!(version(port, "-tls1_3"), "New, TLSv1.3 TLS_AES_256_GCM_SHA384");
        assert_eq!(version(port, "-tls1_1"), "New, (NONE) (NONE)", "{port}");
    }
    assert_eq!(version(25, "-tls1_2"), "New, TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384");
    assert_eq!(version(587, "-tls1_2"), "New, (NONE) (NONE)");
    assert_eq!(version(465, "-tls1_2"), "New, (NONE) (NONE)");
    // CBC and plain RSA are not there.
    for cipher in ["ECDHE-ECDSA-AES128-SHA256", "AES128-GCM-SHA256"] {
        assert!(s_client(&system, 25, &["-tls1_2", "-cipher", cipher]).contains("Cipher is (NONE)"), "{cipher}");
    }

    // A reload changes it.
    std::fs::write(
        system.config(),
        text.replace(
            "[tls]\n",
            "[tls]\nclient_certificates = \"ask\"\nprofile = \"modern\"\nsubmission_profile = \"intermediate\"\n",
        ),
    )
    .unwrap();
    system.run(&["reload"]);
    system.wait("the other profiles", || version(25, "-tls1_2") == "New, (NONE) (NONE)");
    assert!(version(587, "-tls1_2").starts_with("New, TLSv1.2"));
    // Who is asked for a certificate may show one, or not; users are not asked.
    let shown = |port: u16| {
        let (certificate, key) = (file(&system, "certificate.pem"), file(&system, "key.pem"));
        let before = system.status().unwrap()["counters"]["tls_client_certificates_total"].as_u64().unwrap();
        let how = ["-cert", certificate.to_str().unwrap(), "-key", key.to_str().unwrap()];
        assert!(s_client(&system, port, &how).contains("New, TLSv1.3"));
        assert!(s_client(&system, port, &[]).contains("New, TLSv1.3"));
        system.status().unwrap()["counters"]["tls_client_certificates_total"].as_u64().unwrap() - before
    };
    assert_eq!([shown(25), shown(587)], [1, 0]);
}

#[test]
fn sessions_resume_on_every_shard_and_after_a_change() {
    let mut system = System::init();
    system.append_config("\n[cores]\nedge = [0, 0]\n");
    system.up();
    let session = system.folder.path().join("session");
    let session = session.to_str().unwrap();
    let kind = |version: &str, way: &str| {
        let said = s_client(&system, 25, &[version, way, session, "-servername", "mx.test.example"]);
        said.lines().find(|line| line.contains(", Cipher is ")).and_then(|line| line.split_once(',')).unwrap().0.to_owned()
    };
    for version in ["-tls1_2", "-tls1_3"] {
        assert_eq!(kind(version, "-sess_out"), "New");
        // The kernel chooses the shard by the client's port.
        let again: Vec<String> = (0..8).map(|_| kind(version, "-sess_in")).collect();
        assert_eq!(again, ["Reused"; 8], "{version}");
    }
    let metrics = http(&system, "/metrics");
    for shard in 0..2 {
        let start = format!("postring_tls_handshakes_total{{role=\"edge\",shard=\"{shard}\"}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
        assert_ne!(count, "0", "shard {shard} had no client");
    }
    assert_eq!(system.status().unwrap()["counters"]["tls_resumed_total"], 16);
    let newer = pair(&["mx.test.example"]);
    std::fs::write(file(&system, "certificate.pem"), &newer.0).unwrap();
    std::fs::write(file(&system, "key.pem"), &newer.1).unwrap();
    system.wait("the new certificate", || presents(&system, None, &newer));
    assert_eq!(kind("-tls1_3", "-sess_in"), "Reused");
}

#[test]
fn the_commands_tell_what_is_there() {
    let system = System::init();
    let records = |system: &System| -> Vec<String> {
        system.run(&["tls", "tlsa"]).lines().filter(|line| !line.starts_with(';')).map(str::to_owned).collect()
    };
    let before = records(&system);
    assert_eq!(before.len(), 1);
    assert!(before[0].starts_with("_25._tcp.mx.test.example. IN TLSA 3 1 1 "), "{before:?}");
    // OpenSSL makes the same of the certificate.
    let certificate = file(&system, "certificate.pem");
    let script = format!(
        "openssl x509 -in {} -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r",
        certificate.display()
    );
    let digest = Command::new("sh").args(["-c", &script]).output().unwrap();
    let digest = String::from_utf8(digest.stdout).unwrap();
    assert_eq!(before[0].rsplit(' ').next(), digest.split(' ').next());
    // The next key's record is there before the change, and the same after it.
    let next = pair(&["mx.test.example"]);
    std::fs::write(file(&system, "next-key.pem"), &next.1).unwrap();
    let text = std::fs::read_to_string(system.config()).unwrap();
    std::fs::write(system.config(), text.replace("[tls]\n", "[tls]\nnext_key = \"tls/next-key.pem\"\n")).unwrap();
    let both = records(&system);
    assert_eq!((both.len(), &both[0]), (2, &before[0]));
    std::fs::write(&certificate, &next.0).unwrap();
    std::fs::write(file(&system, "key.pem"), &next.1).unwrap();
    assert_eq!(records(&system), [both[1].clone()]);
    // A zone of ours that says otherwise would keep mail away.
    let zone = system.folder.path().join("p/dns/test.example.zone");
    let text = std::fs::read_to_string(&zone).unwrap();
    std::fs::write(&zone, format!("{text}{}\n", before[0])).unwrap();
    let check = postring(&["check", "--config", &system.config()]);
    let error = String::from_utf8(check.stderr).unwrap();
    assert!(error.contains("the zone test.example has TLSA records") && error.contains(&both[1]), "{error}");
    std::fs::write(&zone, format!("{text}{}\n{}\n", before[0], both[1])).unwrap();
    assert!(system.run(&["tls", "list"]).contains("certificate.pem: "));
    assert!(system.run(&["check"]).contains("is good"));
}

#[test]
fn the_zone_of_a_domain_has_the_records_of_this_hosts_keys() {
    let mut system = System::init();
    let text = std::fs::read_to_string(system.config()).unwrap();
    let text = text.replace("hostname = \"mx.test.example\"", "hostname = \"mx.second.example\"");
    std::fs::write(system.config(), &text).unwrap();
    system.run(&["domain", "add", "second.example"]);
    system.run(&["domain", "add", "third.example"]);
    let records = |system: &System| -> Vec<String> {
        let printed = system.run(&["domain", "records", "second.example"]);
        let tlsa = printed.lines().filter_map(|line| line.strip_prefix("_25._tcp.mx.second.example. IN TLSA "));
        let mut records: Vec<String> = tlsa.map(str::to_ascii_lowercase).collect();
        records.sort();
        records
    };
    let served = |system: &System| -> Vec<String> {
        let answer = common::dns::ask(system.dns(), "_25._tcp.mx.second.example", Rtype::TLSA, "");
        answer.data(Rtype::TLSA).iter().map(|data| data.to_ascii_lowercase()).collect()
    };
    system.up();
    system.wait("the zone", || served(&system).len() == 1);
    let before = records(&system);
    assert_eq!(served(&system), before);
    assert!(!system.run(&["domain", "records", "third.example"]).contains(" IN TLSA "));

    // The next key is published, the certificate changed, the old key gone: the serial grows, or secondaries would not see it.
    let serial = common::dns::serial(system.dns(), "second.example").unwrap();
    // It counts seconds: what is changed in the same one as the domain is no later change.
    let seconds = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    system.wait("the next second", || seconds() > serial.into());
    let next = pair(&["mx.second.example"]);
    std::fs::write(file(&system, "next-key.pem"), &next.1).unwrap();
    std::fs::write(system.config(), text.replace("[tls]\n", "[tls]\nnext_key = \"tls/next-key.pem\"\n")).unwrap();
    system.run(&["reload"]);
    // The shards take a new zone one after the other, and each question may reach another one.
    system.wait("both records", || common::dns::everywhere(|| served(&system).len() == 2));
    assert_eq!(served(&system), records(&system));
    let later = common::dns::serial(system.dns(), "second.example").unwrap();
    assert!(later > serial, "{later} {serial}");
    std::fs::write(file(&system, "certificate.pem"), &next.0).unwrap();
    std::fs::write(file(&system, "key.pem"), &next.1).unwrap();
    system.wait("the next record alone", || common::dns::everywhere(|| served(&system).len() == 1));
    assert_ne!(served(&system), before);
    assert_eq!(served(&system), records(&system));
    assert!(presents(&system, None, &next));
}
