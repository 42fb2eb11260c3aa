//! SMTP's extensions against the whole program.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::{Smtp, System, behind_trace, postring};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Says EHLO, MAIL and RCPT to `alice`; then the content is due.
fn envelope(smtp: &mut Smtp) {
    for line in ["EHLO client.example", "MAIL FROM:<sender@far.example>", "RCPT TO:<alice@test.example>"] {
        let reply = smtp.say(line).unwrap();
        assert!(reply.starts_with("250"), "{line}: {reply}");
    }
}

/// Another server: offers what it is told, takes all but addresses that begin with `no`, and keeps the commands it hears.
#[derive(Clone, Default)]
struct Hop {
    offers: Arc<Mutex<Vec<&'static str>>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Hop {
    /// Listens; its port.
    fn start(&self) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (hop, port) = (self.clone(), listener.local_addr().unwrap().port());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hop = hop.clone();
                std::thread::spawn(move || hop.serve(stream));
            }
        });
        port
    }

    /// Until the client goes.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
        stream.write_all(b"220 hop.example\r\n").ok()?;
        while let Some(Ok(line)) = lines.next() {
            self.heard.lock().ok()?.push(line.clone());
            let reply = match line.get(..4)? {
                "EHLO" => {
                    let offers = self.offers.lock().ok()?.join("\r\n250-");
                    format!("250-hop.example\r\n250-{offers}\r\n250 HELP")
                }
                "RCPT" if line.contains("<no") => "550 5.1.1 no such user".to_owned(),
                "DATA" => {
                    stream.write_all(b"354 go\r\n").ok()?;
                    while lines.next()?.ok()? != "." {}
                    "250 2.0.0 taken".to_owned()
                }
                _ => "250 ok".to_owned(),
            };
            stream.write_all(reply.as_bytes()).ok()?;
            stream.write_all(b"\r\n").ok()?;
        }
        None
    }

    fn offer(&self, offers: &[&'static str]) {
        *self.offers.lock().unwrap() = offers.to_vec();
        self.heard.lock().unwrap().clear();
    }

    fn has_heard(&self, beginning: &str) -> bool {
        self.heard.lock().unwrap().iter().any(|line| line.starts_with(beginning))
    }
}

/// A system whose mail for `other.example` goes to the hop, by aliases.
fn system_before(hop: &Hop, aliases: &[(&str, &str)]) -> System {
    let mut system = System::init();
    system.write_dns("far.zone", "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\n MX 10 mx\nns A 127.0.0.1\nmx A 127.0.0.1\n");
    system.append_config(&format!(
        "\n[[dns.zone]]\nname = \"other.example\"\nfile = \"dns/far.zone\"\n\n[dns]\nforwarders = []\n\n[send]\nport = {}\nloopback = true\n",
        hop.start()
    ));
    system.up();
    for (alias, target) in aliases {
        let made = postring(&["alias", "add", alias, target, "--config", &system.config()]);
        assert!(made.status.success(), "{made:?}");
    }
    system
}

/// One message: the commands must be taken.
fn send(system: &System, commands: &[&str], message: &str) {
    let mut smtp = system.smtp();
    for command in ["EHLO client.example"].iter().chain(commands) {
        let reply = smtp.say(command).unwrap();
        assert!(reply.starts_with("250"), "{command}: {reply}");
    }
    assert!(smtp.say("DATA").unwrap().starts_with("354"));
    smtp.write(&common::wire(message.as_bytes())).unwrap();
    expect(&mut smtp, "250");
}

/// What came to an account, once as many messages are there.
fn inbox(system: &System, account: &str, messages: usize) -> Vec<String> {
    system.wait("mail", || system.inbox(account).len() == messages);
    system.inbox(account).iter().map(|path| String::from_utf8(std::fs::read(path).unwrap()).unwrap()).collect()
}

fn queue_is_empty(system: &System) -> bool {
    serde_json::from_str::<serde_json::Value>(&system.run(&["queue", "list", "--json"])).unwrap()["total"] == 0
}

fn expect(smtp: &mut Smtp, code: &str) {
    let reply = smtp.reply().unwrap();
    assert!(reply.starts_with(code), "{reply} is not {code}");
}

#[test]
fn chunks_arrive_as_one_message() {
    let system = System::start();
    let mut smtp = system.smtp();
    assert!(smtp.say("EHLO client.example").unwrap().contains("250-CHUNKING\r\n"));

    // In pieces that fit no line, larger than the smallest slot, then larger than the next class; all in one flight.
    let message = format!("Subject: chunks\r\n\r\n{}", ".\r\nA line of content\r\n".repeat(60_000));
    envelope(&mut smtp);
    let mut flight = Vec::new();
    let pieces: Vec<&[u8]> = message.as_bytes().chunks(50_001).collect();
    for piece in &pieces {
        flight.extend_from_slice(format!("BDAT {}\r\n", piece.len()).as_bytes());
        flight.extend_from_slice(piece);
    }
    flight.extend_from_slice(b"BDAT 0 LAST\r\nNOOP\r\n");
    let mut writer = smtp.try_clone();
    let sending = std::thread::spawn(move || writer.write_all(&flight).unwrap());
    for _ in 0..pieces.len() + 2 {
        expect(&mut smtp, "250");
    }
    sending.join().unwrap();
    system.wait("the message", || system.inbox("alice").len() == 1);
    let file = std::fs::read(&system.inbox("alice")[0]).unwrap();
    assert!(behind_trace(&file) == message.replace("\r\n", "\n").as_bytes(), "it is not what was sent");

    // Chunks of one octet, a thousand in a packet; RSET between; the slot is given back.
    envelope(&mut smtp);
    smtp.write("BDAT 1\r\nx".repeat(1000).as_bytes()).unwrap();
    for _ in 0..1000 {
        expect(&mut smtp, "250");
    }
    assert!(smtp.say("RSET").unwrap().starts_with("250"));
    envelope(&mut smtp);
    smtp.write(b"BDAT 14\r\nSubject: b\r\n\r\nBDAT 0\r\nBDAT 3 LAST\r\nx\r\n").unwrap();
    for _ in 0..3 {
        expect(&mut smtp, "250");
    }
    system.wait("the second message", || system.inbox("alice").len() == 2);

    // Out of sequence, too large, ill formed: the octets are no commands.
    smtp.write(b"BDAT 6\r\nQUIT\r\nNOOP\r\n").unwrap();
    expect(&mut smtp, "503");
    expect(&mut smtp, "250");
    envelope(&mut smtp);
    let large = 36 * 1024 * 1024;
    smtp.write(format!("BDAT {large} LAST\r\n").as_bytes()).unwrap();
    smtp.write(&b"QUIT\r\n".repeat(large / 6)).unwrap();
    expect(&mut smtp, "552");
    envelope(&mut smtp);
    smtp.write(b"BDAT 5 LAST\r\na\nb\r\n").unwrap();
    expect(&mut smtp, "550 5.6.0");
    assert!(smtp.say("BDAT x").unwrap().starts_with("501"));
    assert!(smtp.reply().is_err(), "it closes");
    assert_eq!(system.inbox("alice").len(), 2);
}

/// Any octets (BINARYMIME): the mailbox has lines, and a reader of them finds the octets.
#[test]
fn binary_parts_are_kept_as_lines() {
    let system = System::start();
    let mut smtp = system.smtp();
    assert!(smtp.say("EHLO client.example").unwrap().contains("250-BINARYMIME\r\n"));
    let begin = |smtp: &mut Smtp| {
        for command in ["MAIL FROM:<a@far.example> BODY=BINARYMIME", "RCPT TO:<alice@test.example>"] {
            assert!(smtp.say(command).unwrap().starts_with("250"), "{command}");
        }
    };
    let octets: Vec<u8> = (0..200_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut message =
        b"Subject: binary\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=bound\r\n\r\n--bound\r\n\r\ntext\r\n\
        --bound\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
            .to_vec();
    message.extend_from_slice(&octets);
    message.extend_from_slice(b"\r\n--bound--\r\n");
    begin(&mut smtp);
    assert!(smtp.say("DATA").unwrap().starts_with("503 5.5.1"));
    for (at, piece) in message.chunks(70_000).enumerate() {
        let last = if (at + 1) * 70_000 >= message.len() { " LAST" } else { "" };
        smtp.write(format!("BDAT {}{last}\r\n", piece.len()).as_bytes()).unwrap();
        smtp.write(piece).unwrap();
        expect(&mut smtp, "250");
    }
    let text = system.delivered("new", "Subject: binary");
    let (_, part) = text.split_once("Content-Transfer-Encoding: base64\n\n").unwrap();
    let (encoded, behind) = part.split_once("\n--bound--\n").unwrap();
    assert_eq!((text.matches("--bound").count(), behind), (3, ""));
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded.replace('\n', "")).unwrap();
    assert!(decoded == octets, "it is not what was sent");

    // What could be read in two ways is not guessed at.
    begin(&mut smtp);
    let bad = b"Content-Transfer-Encoding: base64\r\n\r\nAA==\n";
    smtp.write(format!("BDAT {} LAST\r\n", bad.len()).as_bytes()).unwrap();
    smtp.write(bad).unwrap();
    expect(&mut smtp, "554 5.6.3");
}

/// What is off unless it is wanted: VRFY that tells, line ends that are none.
#[test]
fn vrfy_and_bare_line_ends_are_the_administrators() {
    let mut system = System::init();
    system.append_config("\n[edge]\nvrfy = true\nbare_line_ends = \"normalise\"\n");
    system.up();
    let mut smtp = system.smtp();
    smtp.say("EHLO client.example").unwrap();
    assert_eq!(smtp.say("VRFY <alice@test.example>").unwrap(), "250 2.1.5 <alice@test.example>\r\n");
    assert!(smtp.say("VRFY nobody@test.example").unwrap().starts_with("550 5.1.1"));
    assert!(smtp.say("VRFY a@far.example").unwrap().starts_with("252 "));
    envelope(&mut smtp);
    assert!(smtp.say("DATA").unwrap().starts_with("354"));
    smtp.write(b"Subject: bare\r\n\r\none\ntwo\n.\nMAIL FROM:<smuggled@evil.example>\nthree\rfour\r\n.\r\nNOOP\r\n").unwrap();
    expect(&mut smtp, "250 2.0.0 Ok: on disk");
    expect(&mut smtp, "250 2.0.0 Ok\r\n");
    let text = system.delivered("new", "Subject: bare");
    assert!(text.ends_with("\n\none\ntwo\n.\nMAIL FROM:<smuggled@evil.example>\nthree\nfour\n"), "{text}");
    envelope(&mut smtp);
    assert!(smtp.say("DATA").unwrap().starts_with("354"));
    smtp.write(b"a\nb\0\r\n.\r\n").unwrap();
    expect(&mut smtp, "550 5.6.0 Message refused: NUL");
}

#[test]
fn addresses_of_any_script_come_and_go() {
    let hop = Hop::default();
    let aliases = [("jörg@test.example", "bob@test.example"), ("out@test.example", "jörg@other.example")];
    let system = system_before(&hop, &aliases);
    let message = "Subject: grüße\n\nHello.\n";
    send(&system, &["MAIL FROM:<用户@far.example> SMTPUTF8", "RCPT TO:<jörg@test.example>"], message);
    let [file] = inbox(&system, "bob", 1).try_into().unwrap();
    assert!(file.starts_with("Return-Path: <用户@far.example>\n"), "{file}");
    assert!(file.contains("with UTF8SMTP id ") && file.contains("for <jörg@test.example>;"), "{file}");

    // The next host offers it, or not.
    hop.offer(&["SMTPUTF8", "8BITMIME"]);
    send(&system, &["MAIL FROM:<alice@test.example>", "RCPT TO:<out@test.example>"], message);
    system.wait("the hop", || hop.has_heard("DATA"));
    assert!(hop.has_heard("MAIL FROM:<alice@test.example> SMTPUTF8") && hop.has_heard("RCPT TO:<jörg@other.example>"));
    hop.offer(&["8BITMIME"]);
    send(&system, &["MAIL FROM:<alice@test.example>", "RCPT TO:<out@test.example>"], message);
    let [report] = inbox(&system, "alice", 1).try_into().unwrap();
    for line in ["Final-Recipient: utf-8; j\\x{F6}rg@other.example\n", "Action: failed\n", "Status: 5.6.7\n"] {
        assert!(report.contains(line), "{report}");
    }
    assert!(!hop.has_heard("MAIL"));
}

#[test]
fn the_sender_hears_what_it_asked_for() {
    let hop = Hop::default();
    let aliases = [("out@test.example", "x@other.example"), ("no@test.example", "no@other.example")];
    let system = system_before(&hop, &aliases);
    let message = "Subject: dsn\n\nHello.\n";

    // Into a mailbox here.
    let from = "MAIL FROM:<alice@test.example> RET=HDRS ENVID=QQ+2B1";
    send(&system, &[from, "RCPT TO:<bob@test.example> NOTIFY=SUCCESS ORCPT=rfc822;B+2Bb@y.example"], message);
    let [report] = inbox(&system, "alice", 1).try_into().unwrap();
    for line in [
        "Return-Path: <>\n",
        "Original-Envelope-Id: QQ+1\n",
        "Original-Recipient: rfc822; B+b@y.example\nFinal-Recipient: rfc822; bob@test.example\nAction: delivered\nStatus: 2.0.0\n",
        "\nSubject: dsn\n",
    ] {
        assert!(report.contains(line), "{line} is not in {report}");
    }
    assert_eq!(inbox(&system, "bob", 1).len(), 1);

    // To a host that makes reports: they are its to make.
    hop.offer(&["DSN"]);
    send(&system, &[from, "RCPT TO:<out@test.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o@y.example"], message);
    system.wait("the hop", || hop.has_heard("DATA"));
    assert!(hop.has_heard("MAIL FROM:<alice@test.example> RET=HDRS ENVID=QQ+2B1"));
    assert!(hop.has_heard("RCPT TO:<x@other.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o@y.example"));
    system.wait("an empty queue", || queue_is_empty(&system));
    assert_eq!(system.inbox("alice").len(), 1);

    // To one that makes none.
    hop.offer(&["8BITMIME"]);
    send(&system, &[from, "RCPT TO:<out@test.example> NOTIFY=SUCCESS"], message);
    let reports = inbox(&system, "alice", 2);
    assert!(reports.iter().any(|report| report.contains("Action: relayed\nStatus: 2.0.0\n")), "{reports:?}");
    assert!(hop.has_heard("RCPT TO:<x@other.example>") && !hop.has_heard("RCPT TO:<x@other.example> NOTIFY"));

    // Refused there: told unless nobody wants to hear.
    send(&system, &[from, "RCPT TO:<no@test.example> NOTIFY=NEVER"], message);
    send(&system, &[from, "RCPT TO:<no@test.example> NOTIFY=SUCCESS,DELAY"], message);
    send(&system, &[from, "RCPT TO:<no@test.example> NOTIFY=FAILURE ORCPT=rfc822;n@y.example"], message);
    let reports = inbox(&system, "alice", 3);
    let failed =
        "Original-Recipient: rfc822; n@y.example\nFinal-Recipient: rfc822; no@other.example\nAction: failed\nStatus: 5.1.1\n";
    assert_eq!(reports.iter().filter(|report| report.contains(failed)).count(), 1, "{reports:?}");
    system.wait("an empty queue", || queue_is_empty(&system));
    assert_eq!(system.inbox("alice").len(), 3);
}

/// A connection that begins with these bytes.
fn proxied(system: &System, header: &[u8]) -> std::io::Result<Smtp> {
    let mut stream = TcpStream::connect(("127.0.0.1", system.base + 25)).unwrap();
    stream.write_all(header)?;
    Smtp::over(stream)
}

#[test]
fn proxies_say_who_the_client_is() {
    let mut system = System::init();
    system.write_dns(
        "far.zone",
        "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\n TXT \"v=spf1 exists:%{l}.u.%{d2} -all\"\nns A 127.0.0.1\n*.u A 127.0.0.2\n",
    );
    system.append_config("\n[[dns.zone]]\nname = \"far.example\"\nfile = \"dns/far.zone\"\n\n[dns]\nforwarders = []\n");
    system.append_config(
        "\n[edge]\nproxy_networks = [\"127.0.0.1/32\"]\nxclient_networks = [\"10.1.0.0/16\"]\nconnections_per_address_max = 1\n\
         \n[policy]\ntrusted_networks = [\"127.0.0.1/32\"]\ngreeting_wait_ms = 0\n",
    );
    system.append_config(common::RULES_DRY);
    system.up();
    let deliver = |smtp: &mut Smtp| {
        let reply = smtp.send(&["alice@test.example"], b"Subject: proxied\n\nx\n").unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    };
    let received_from = |address: &str| {
        let from = format!("(unknown [{address}])\n");
        let has = || inbox_of(&system).iter().any(|file| file.contains(&from));
        system.wait(&from, has);
    };
    let line = b"PROXY TCP4 10.2.0.7 127.0.0.1 40000 25\r\n";
    let mut first = proxied(&system, line).unwrap();
    assert!(!first.say("EHLO client.example").unwrap().contains("XCLIENT"));
    deliver(&mut first);
    received_from("10.2.0.7");
    // The limit of connections counts the client, not the proxy.
    assert!(proxied(&system, line).unwrap().say("NOOP").is_err(), "one from each address");
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C\x0A\x01\0\x07\x7F\0\0\x01\x9C\x40\0\x19";
    let mut second = proxied(&system, binary).unwrap();
    assert!(second.say("EHLO proxy.example").unwrap().contains("250-XCLIENT NAME ADDR PORT PROTO HELO\r\n"));
    assert!(second.say("XCLIENT NAME=[UNAVAILABLE] ADDR=10.3.0.9 PORT=1234").unwrap().starts_with("220 "));
    deliver(&mut second);
    received_from("10.3.0.9");
    // SPF is asked of the client that was told, for an address of any script.
    let mut third = proxied(&system, b"PROXY TCP4 192.0.2.7 127.0.0.1 40000 25\r\n").unwrap();
    for command in ["EHLO client.example", "MAIL FROM:<jörg@far.example> SMTPUTF8", "RCPT TO:<alice@test.example>"] {
        let reply = third.say(command).unwrap();
        assert!(reply.starts_with("250"), "{command}: {reply}");
    }
    third.write(b"BDAT 14 LAST\r\nSubject: s\r\n\r\n").unwrap();
    expect(&mut third, "250");
    received_from("192.0.2.7");
    let files = inbox_of(&system);
    let file = files.iter().find(|file| file.contains("192.0.2.7")).unwrap();
    assert!(file.contains("Received-SPF: "), "{file}");
    // What the proxy itself wants; it may ask again, and is not limited.
    let health = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for _ in 0..3 {
        assert!(proxied(&system, health).unwrap().say("QUIT").unwrap().starts_with("221"));
    }
    // No header, a broken one, one that is cut: not a word.
    for wrong in
        [&b"EHLO client.example\r\n"[..], b"PROXY TCP4 10.2.0.7 ::1 1 25\r\nEHLO x\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xFF\xFF"]
    {
        assert!(proxied(&system, wrong).is_err());
    }
    assert!(first.say("QUIT").unwrap().starts_with("221"));
}

fn inbox_of(system: &System) -> Vec<String> {
    system.inbox("alice").iter().map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect()
}
