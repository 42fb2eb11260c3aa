//! Mail through the whole running system: in by SMTP, judged, journaled, in the Maildir.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{System, behind_trace, files, postring};
use std::process::Command;

const MESSAGE: &[u8] = b"From: <sender@far.example>\nTo: <alice@test.example>\nSubject: hello\n\nA line.\n.dots\n..\n\nlast\n";

#[test]
fn a_message_arrives_as_it_was_sent_and_the_system_stops_cleanly() {
    let mut system = System::start();
    let reply = system.smtp().send(&["alice@test.example"], MESSAGE).unwrap();
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    system.wait("the file", || system.inbox("alice").len() == 1);
    let path = &system.inbox("alice")[0];
    let file = std::fs::read(path).unwrap();
    assert_eq!(behind_trace(&file), MESSAGE);
    assert!(file.starts_with(b"Return-Path: <sender@far.example>\n"));
    let name = path.file_name().unwrap().to_str().unwrap();
    let virtual_size = file.len() + file.iter().filter(|byte| **byte == b'\n').count();
    assert!(name.ends_with(&format!(",S={},W={virtual_size}", file.len())), "{name}");

    // Several recipients, one body; an alias; the postmaster; a detail.
    let made =
        postring(&["alias", "add", "team@test.example", "alice@test.example", "bob@test.example", "--config", &system.config()]);
    assert!(made.status.success(), "{made:?}");
    let recipients = ["team@test.example", "bob+x@test.example", "postmaster@test.example"];
    assert!(system.smtp().send(&recipients, MESSAGE).unwrap().starts_with("250"));
    system.wait("the copies", || system.inbox("bob").len() == 1 && system.inbox("alice").len() == 2);
    use std::os::unix::fs::MetadataExt;
    let inodes =
        |account: &str| -> Vec<u64> { system.inbox(account).iter().map(|path| path.metadata().unwrap().ino()).collect() };
    assert!(inodes("alice").contains(&inodes("bob")[0]), "hard links");

    for (recipient, code) in [("nobody@test.example", "550 5.1.1"), ("x@elsewhere.example", "550 5.7.1")] {
        let mut smtp = system.smtp();
        smtp.say("EHLO c").unwrap();
        smtp.say("MAIL FROM:<>").unwrap();
        let reply = smtp.say(&format!("RCPT TO:<{recipient}>")).unwrap();
        assert!(reply.starts_with(code), "{reply}");
    }
    assert!(files(&system.maildir("alice").join("tmp")).is_empty());
    // Who is idle when the system stops is told so.
    let mut idle = system.smtp();
    idle.say("EHLO c").unwrap();
    system.down();
    let goodbye = idle.reply().unwrap();
    assert!(goodbye.starts_with("421 4.3.2"), "{goodbye}");
    assert!(!system.data().join("run/control.sock").exists());
    assert!(!system.log().contains("ERROR"), "{}", system.log());
}

#[test]
fn malware_and_spam_are_refused_at_the_last_dot() {
    let system = System::start();
    let eicar = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].concat();
    let gtube = ["XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"].concat();
    for text in [&eicar, &gtube] {
        let reply = system.smtp().send(&["alice@test.example"], format!("Subject: x\n\n{text}\n").as_bytes()).unwrap();
        assert!(reply.starts_with("550 5.7.1 "), "{reply}");
    }
    // A rule of the administrator, taken up while running; junk goes to the Junk folder.
    let rules = system.data().join("rules/junk.yar");
    std::fs::write(&rules, "rule Pills { meta: score = 7 strings: $a = \"cheap pills\" condition: $a }").unwrap();
    system.wait("the new rule", || {
        let reply = system.smtp().send(&["bob@test.example"], b"Subject: cheap pills\n\nbuy\n").unwrap();
        assert!(reply.starts_with("250"), "{reply}");
        !files(&system.maildir("bob").join(".Junk/new")).is_empty()
    });
    let junk = std::fs::read_to_string(&files(&system.maildir("bob").join(".Junk/new"))[0]).unwrap();
    assert!(junk.contains("X-Spam-Flag: YES\n") && junk.contains("Pills(7.00)"), "{junk}");
    // A broken rule leaves the old ones in force.
    std::fs::write(system.data().join("rules/broken.yar"), "rule Broken { condition: }").unwrap();
    system.wait("the complaint", || system.log().contains("broken.yar"));
    assert!(system.smtp().send(&["bob@test.example"], MESSAGE).unwrap().starts_with("250"));
    assert!(system.inbox("alice").is_empty());
}

#[test]
fn large_messages_and_bad_ones() {
    let system = System::start();
    let line = [b'x'; 70];
    let mut large = b"Subject: large\n\n".to_vec();
    while large.len() < 3 << 20 {
        large.extend_from_slice(&line);
        large.push(b'\n');
    }
    assert!(system.smtp().send(&["alice@test.example"], &large).unwrap().starts_with("250"));
    system.wait("the file", || system.inbox("alice").len() == 1);
    assert_eq!(behind_trace(&std::fs::read(&system.inbox("alice")[0]).unwrap()), large);

    for (content, code) in [
        (&b"Subject: x\r\n\r\nbare\nline\r\n.\r\n"[..], "550 5.6.0"),
        (b"Subject: x\r\n\r\nbare\rline\r\n.\r\n", "550 5.6.0"),
        (b"Subject: x\r\n\r\nnul\0\r\n.\r\n", "550 5.6.0"),
    ] {
        let mut smtp = system.smtp();
        for line in ["EHLO c", "MAIL FROM:<a@b.example>", "RCPT TO:<alice@test.example>", "DATA"] {
            smtp.say(line).unwrap();
        }
        smtp.write(content).unwrap();
        let reply = smtp.reply().unwrap();
        assert!(reply.starts_with(code), "{reply}");
        assert!(smtp.say("NOOP").unwrap().starts_with("250"));
    }
    let mut smtp = system.smtp();
    smtp.say("EHLO c").unwrap();
    assert!(smtp.say("MAIL FROM:<a@b.example> SIZE=99999999999").unwrap().starts_with("552 5.3.4"));
    // Everything in one packet, and what follows the message is heard.
    let mut smtp = system.smtp();
    smtp.write(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<bob@test.example>\r\nDATA\r\nSubject: p\r\n\r\np\r\n.\r\nQUIT\r\n").unwrap();
    let replies: Vec<String> = (0..6).map(|_| smtp.reply().unwrap()).collect();
    assert!(replies[4].starts_with("250 2.0.0") && replies[5].starts_with("221"), "{replies:?}");
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let system = System::start();
    let mut lmtp = common::Smtp::connect(system.base + 24).unwrap();
    for line in ["LHLO c", "MAIL FROM:<>", "RCPT TO:<alice@test.example>", "RCPT TO:<bob@test.example>", "DATA"] {
        lmtp.say(line).unwrap();
    }
    lmtp.write(b"Subject: x\r\n\r\n.\r\n").unwrap();
    assert!(lmtp.reply().unwrap().starts_with("250") && lmtp.reply().unwrap().starts_with("250"));
}

/// With swaks as the client: STARTTLS, implicit TLS, PLAIN and LOGIN.
#[test]
fn submission_with_swaks() {
    if std::env::var_os("POSTRING_INTEROP").is_none() {
        return;
    }
    let system = System::start();
    let swaks = |port: u16, more: &[&str]| {
        let output = Command::new("swaks")
            .args([
                "--server",
                "127.0.0.1",
                "--port",
                &(system.base + port).to_string(),
                "--from",
                "alice@test.example",
                "--to",
                "bob@test.example",
            ])
            .args(more)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let password = &system.passwords["alice@test.example"];
    let login = ["--auth-user", "alice@test.example", "--auth-password", password];
    for (port, options) in
        [(587, ["--tls", "--auth", "PLAIN"]), (587, ["--tls", "--auth", "LOGIN"]), (465, ["--tlsc", "--auth", "PLAIN"])]
    {
        let (sent, log) = swaks(port, &[&options[..], &login[..]].concat());
        assert!(sent, "{log}");
    }
    assert!(!swaks(587, &["--tls"]).0, "without a login");
    assert!(!swaks(587, &["--auth", "PLAIN", "--auth-user", "alice@test.example", "--auth-password", password]).0, "without TLS");
    assert!(!swaks(587, &["--tls", "--auth", "PLAIN", "--auth-user", "alice@test.example", "--auth-password", "wrong"]).0);
    assert!(swaks(25, &[]).0 && swaks(25, &["--tls"]).0);
    system.wait("the files", || system.inbox("bob").len() == 5);
}
