//! Policy servers and milters in the running program: what they are told, that they are obeyed, and that one that fails costs little.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{Smtp, System, behind_trace};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

const BASE: &str =
    "\n[policy]\ntrusted_networks = []\ngreeting_wait_ms = 0\nrules_wait_ms = 100\n\n[policy.spf]\ncheck = false\n";

type Attributes = BTreeMap<String, String>;

/// What a server that is asked has seen.
#[derive(Default)]
struct Seen<T> {
    connections: usize,
    said: Vec<T>,
}

/// Serves every connection on a thread of its own, until the test ends.
fn serve_tcp(serve: impl Fn(Box<dyn Read>, Box<dyn Write>) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), Arc::clone(&serve));
            std::thread::spawn(move || serve(Box::new(stream.try_clone().unwrap()), Box::new(stream)));
        }
    });
    address
}

fn serve_unix(path: &Path, serve: impl Fn(Box<dyn Read>, Box<dyn Write>) + Send + Sync + 'static) {
    let listener = UnixListener::bind(path).unwrap();
    // Whoever the edge works as.
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), Arc::clone(&serve));
            std::thread::spawn(move || serve(Box::new(stream.try_clone().unwrap()), Box::new(stream)));
        }
    });
}

/// A policy server: an action for each question; none: it says nothing.
fn policy_server(
    seen: &Arc<Mutex<Seen<Attributes>>>,
    action: impl Fn(&Attributes) -> Option<&'static str> + Send + Sync + 'static,
) -> impl Fn(Box<dyn Read>, Box<dyn Write>) + Send + Sync + 'static {
    let seen = Arc::clone(seen);
    move |read, mut write| {
        seen.lock().unwrap().connections += 1;
        let mut attributes = Attributes::new();
        for line in BufReader::new(read).lines() {
            let Ok(line) = line else { return };
            if let Some((name, value)) = line.split_once('=') {
                attributes.insert(name.to_owned(), value.to_owned());
                continue;
            }
            let answer = action(&attributes);
            seen.lock().unwrap().said.push(std::mem::take(&mut attributes));
            if let Some(answer) = answer {
                write!(write, "action={answer}\n\n").unwrap();
            }
        }
    }
}

/// One packet of the milter protocol.
#[derive(Clone, Debug, PartialEq)]
struct Packet(u8, Vec<u8>);

fn packet(command: u8, data: &[u8]) -> Packet {
    Packet(command, data.to_vec())
}

/// A milter: packets for each packet; it speaks version 6, and what is not its business it lets go on.
fn milter(
    seen: &Arc<Mutex<Seen<Packet>>>,
    answer: impl Fn(&Packet) -> Vec<Packet> + Send + Sync + 'static,
) -> impl Fn(Box<dyn Read>, Box<dyn Write>) + Send + Sync + 'static {
    let seen = Arc::clone(seen);
    move |mut read, mut write| {
        seen.lock().unwrap().connections += 1;
        let mut last = None;
        loop {
            let mut length = [0; 4];
            if read.read_exact(&mut length).is_err() {
                return;
            }
            let mut data = vec![0; u32::from_be_bytes(length) as usize];
            read.read_exact(&mut data).unwrap();
            let told = Packet(data[0], data[1..].to_vec());
            seen.lock().unwrap().said.push(told.clone());
            let answers = match told.0 {
                b'O' => vec![packet(b'O', &[6, 0xff, 0].map(u32::to_be_bytes).concat())],
                // As libmilter: only where the end of a message was answered with "go on".
                b'K' => {
                    assert_eq!(last, Some(b'c'));
                    continue;
                }
                b'D' | b'A' => continue,
                b'Q' => return,
                _ => answer(&told),
            };
            last = None;
            for Packet(command, data) in answers {
                last = (told.0 == b'E').then_some(command);
                if command == b'!' {
                    // Closes the connection.
                    return;
                }
                let bytes = [&(data.len() as u32 + 1).to_be_bytes()[..], &[command], &data].concat();
                write.write_all(&bytes).unwrap();
            }
        }
    }
}

fn goes_on(_: &Packet) -> Vec<Packet> {
    vec![packet(b'c', b"")]
}

/// The replies to MAIL of this sender, RCPT of alice, and the last dot if it comes to that.
fn send(system: &System, from: &str, message: &str) -> String {
    let mut smtp = system.smtp();
    smtp.say("EHLO client.example").unwrap();
    smtp.say(&format!("MAIL FROM:<{from}> SIZE=1234")).unwrap();
    let reply = smtp.say("RCPT TO:<alice@test.example>").unwrap();
    if !reply.starts_with("250") {
        return reply.trim_end().to_owned();
    }
    assert!(smtp.say("DATA").unwrap().starts_with("354"));
    smtp.write(&common::wire(message.as_bytes())).unwrap();
    smtp.reply().unwrap().trim_end().to_owned()
}

/// Counts of one of them: asked, refused, failed, skipped.
fn counts(system: &System, number: usize) -> [u64; 4] {
    let status = system.status().unwrap();
    let one = &status["helpers"][number];
    ["asked", "refused", "failed", "skipped"].map(|count| one[format!("helper_{count}_total")].as_u64().unwrap())
}

fn seen<T>() -> Arc<Mutex<Seen<T>>> {
    Arc::new(Mutex::new(Seen { connections: 0, said: Vec::new() }))
}

#[test]
fn policy_servers_are_asked_and_obeyed() {
    let mut system = System::init();
    let (at_recipient, at_message) = (seen(), seen());
    let address = serve_tcp(policy_server(&at_recipient, |attributes| {
        Some(match attributes["sender"].as_str() {
            "rejected@far.example" => "REJECT 5.7.8 not you",
            "greylisted@far.example" => "DEFER_IF_PERMIT Greylisted",
            "coded@far.example" => "421 4.7.0 slow down",
            "held@far.example" => "HOLD for a while",
            "marked@far.example" => "PREPEND X-Greylist: delayed 300 s",
            _ => "DUNNO",
        })
    }));
    let socket = system.folder.path().join("policy.sock");
    serve_unix(
        &socket,
        policy_server(&at_message, |attributes| {
            (attributes["protocol_state"] == "END-OF-MESSAGE").then_some(match attributes["sender"].as_str() {
                "late@far.example" => "550 5.7.1 too late",
                "marked@far.example" => "prepend X-Second: yes",
                _ => "OK",
            })
        }),
    );
    system.append_config(&format!(
        "{BASE}\n[[policy.delegate]]\naddress = \"{address}\"\n\n[[policy.delegate]]\naddress = \"unix:{}\"\nat = \"message\"\n",
        socket.display()
    ));
    system.append_config(common::RULES_DRY);
    system.up();

    let message = "Subject: x\n\nplain\n";
    assert_eq!(send(&system, "rejected@far.example", message), "554 5.7.8 not you");
    assert_eq!(send(&system, "greylisted@far.example", message), "450 4.7.1 Greylisted");
    assert_eq!(send(&system, "coded@far.example", message), "421 4.7.0 slow down");
    assert_eq!(send(&system, "late@far.example", message), "550 5.7.1 too late");
    assert!(send(&system, "held@far.example", message).starts_with("250"));
    assert!(send(&system, "held@far.example", message).starts_with("250"));
    assert!(send(&system, "marked@far.example", "X-Second: no\nSubject: x\n\nmarked\n").starts_with("250"));
    let text = system.delivered("new", "marked");
    let fields = "X-Second: yes\nX-Greylist: delayed 300 s\nX-Second: no\nSubject: x\n\nmarked\n";
    assert_eq!(String::from_utf8_lossy(behind_trace(text.as_bytes())), fields);
    assert_eq!(system.log().matches("the action HOLD is not done here; taken as DUNNO").count(), 1);

    // Two recipients and the postmaster, who is not asked about; the next message over the same connection is another.
    let mut smtp = system.smtp();
    for _ in 0..2 {
        assert!(
            smtp.send(&["alice@test.example", "bob@test.example", "postmaster@test.example"], b"Subject: y\n\ny\n")
                .unwrap()
                .starts_with("250")
        );
    }
    let at_recipient = at_recipient.lock().unwrap();
    assert_eq!((at_recipient.connections, at_recipient.said.len()), (1, 7 + 4));
    let first = &at_recipient.said[0];
    let port = (system.base + 25).to_string();
    for (name, value) in [
        ("request", "smtpd_access_policy"),
        ("protocol_state", "RCPT"),
        ("protocol_name", "ESMTP"),
        ("client_address", "127.0.0.1"),
        ("server_address", "127.0.0.1"),
        ("server_port", &port),
        ("helo_name", "client.example"),
        ("sender", "rejected@far.example"),
        ("recipient", "alice@test.example"),
        ("recipient_count", "0"),
        ("queue_id", ""),
        ("size", "1234"),
        ("sasl_username", ""),
        ("encryption_protocol", ""),
    ] {
        assert_eq!(first[name], value, "{name}");
    }
    let last = &at_recipient.said[7..];
    let instances: Vec<&String> = last.iter().map(|one| &one["instance"]).collect();
    assert!(instances[0] == instances[1] && instances[2] == instances[3] && instances[1] != instances[2], "{instances:?}");
    let at_message = at_message.lock().unwrap();
    let last = at_message.said.last().unwrap();
    assert_eq!((last["recipient"].as_str(), last["recipient_count"].as_str(), last["size"].as_str()), ("", "3", "17"));
    assert!(last["queue_id"].len() == 16 && last["instance"] == *instances[3], "{last:?}");
    assert_eq!((counts(&system, 0), counts(&system, 1)), ([11, 3, 0, 0], [6, 1, 0, 0]));
    let line = format!("postring_helper_refused_total{{helper=\"delegate {address} at recipient\",shard=\"0\"}} 3\n");
    assert!(common::http(&system, "/metrics").contains(&line));
}

#[test]
fn one_that_fails_costs_little() {
    let mut system = System::init();
    // Nobody answers there, nobody listens there, and nobody is obeyed there.
    let silent = seen();
    let silent_address = serve_tcp(policy_server(&silent, |_| None));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tried = seen();
    let tried_address = serve_tcp(policy_server(&tried, |_| Some("REJECT")));
    // A milter that never speaks, and one that breaks its protocol.
    let mute = serve_tcp(|mut read, _write| while read.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {});
    let broken = seen();
    let broken_address = serve_tcp(milter(&broken, |_| vec![packet(b'h', b"X")]));
    system.append_config(&format!(
        "{BASE}\n[[policy.delegate]]\naddress = \"{silent_address}\"\ntimeout_ms = 200\nfailures_max = 2\npause_seconds = 3600\n\
         \n[[policy.delegate]]\naddress = \"{closed}\"\nat = \"message\"\nfailures_max = 1000\n\
         \n[[policy.delegate]]\naddress = \"{tried_address}\"\ndry_run = true\n\
         \n[[policy.milter]]\naddress = \"{mute}\"\ntimeout_ms = 200\nfailures_max = 1\npause_seconds = 3600\n\
         \n[[policy.milter]]\naddress = \"{broken_address}\"\n"
    ));
    system.append_config(common::RULES_DRY);
    system.up();
    for _ in 0..4 {
        assert!(send(&system, "a@far.example", "Subject: x\n\nx\n").starts_with("250"));
    }
    let all: Vec<[u64; 4]> = (0..5).map(|number| counts(&system, number)).collect();
    assert_eq!(all, [[2, 0, 2, 2], [4, 0, 4, 0], [4, 4, 0, 0], [1, 0, 1, 3], [4, 0, 4, 0]], "{}", system.log());
    assert!(system.log().contains("it sends 'h' with data that cannot be read"));

    // The administrator may want it otherwise.
    let text = std::fs::read_to_string(system.config()).unwrap();
    let text = text.replace("failures_max = 2\n", "failures_max = 2\non_failure = \"defer\"\n");
    std::fs::write(system.config(), text).unwrap();
    system.run(&["reload"]);
    const DEFERRED: &str = "451 4.7.1 The mail could not be checked now, try again later";
    // The shard takes it a moment after the command has ended.
    system.wait("the reload", || send(&system, "a@far.example", "Subject: x\n\nx\n") == DEFERRED);
    for _ in 0..2 {
        assert_eq!(send(&system, "a@far.example", "Subject: x\n\nx\n"), DEFERRED);
    }
    assert_eq!(counts(&system, 0), [2, 0, 2, 1]);
}

/// Those who wait for a connection do not find out one after the other that it is of no use.
#[test]
fn one_finds_out_for_all() {
    let mut system = System::init();
    let mute = serve_tcp(|mut read, _write| while read.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {});
    system.append_config(&format!(
        "{BASE}\n[[policy.milter]]\naddress = \"{mute}\"\ntimeout_ms = 500\nconnections_max = 1\nfailures_max = 1\npause_seconds = 3600\n"
    ));
    system.append_config(common::RULES_DRY);
    system.up();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(send(&system, "a@far.example", "Subject: x\n\nx\n").starts_with("250")));
        }
    });
    assert_eq!(counts(&system, 0), [1, 0, 1, 7]);
}

/// A milter that says version 6 and does not hear a second message over its connection gets new ones.
#[test]
fn one_message_a_connection_will_do() {
    let mut system = System::init();
    let all = seen();
    let (messages, deaf) = (std::sync::atomic::AtomicUsize::new(0), std::sync::atomic::AtomicBool::new(false));
    let address = serve_tcp(milter(&all, move |told| {
        use std::sync::atomic::Ordering::SeqCst;
        match told.0 {
            // The second message comes over the first connection, and is told again over another.
            b'C' if messages.load(SeqCst) == 1 && !deaf.swap(true, SeqCst) => Vec::new(),
            b'E' => {
                messages.fetch_add(1, SeqCst);
                vec![packet(b'h', b"X-Whole\0yes\0"), packet(b'c', b"")]
            }
            _ => goes_on(told),
        }
    }));
    system.append_config(&format!("{BASE}\n[[policy.milter]]\naddress = \"{address}\"\ntimeout_ms = 300\n"));
    system.append_config(common::RULES_DRY);
    system.up();
    for number in 0..4 {
        assert!(send(&system, "a@far.example", &format!("Subject: x\n\nnumber {number}\n")).starts_with("250"));
        assert!(system.delivered("new", &format!("number {number}")).contains("X-Whole: yes\n"));
    }
    assert_eq!((counts(&system, 0), all.lock().unwrap().connections), ([4, 0, 0, 0], 4));
    assert_eq!(system.log().matches("it takes one message a connection").count(), 1);
}

#[test]
fn milters_see_and_change_a_message() {
    let mut system = System::init();
    let (first, second) = (seen(), seen());
    let address = serve_tcp(milter(&first, |told| match told {
        Packet(b'R', data) if data.starts_with(b"<bob@") => vec![packet(b'y', b"550 5.1.1 not bob\0")],
        Packet(b'M', data) if data.starts_with(b"<discarded@") => vec![packet(b'd', b"")],
        Packet(b'M', data) if data.starts_with(b"<deferred@") => vec![packet(b't', b"")],
        Packet(b'M', data) if data.starts_with(b"<friend@") => vec![packet(b'a', b"")],
        Packet(b'L', data) if data.starts_with(b"X-Break\0") => vec![packet(b'!', b"")],
        Packet(b'E', _) => vec![
            packet(b'p', b""),
            packet(b'h', b"X-Checked\0yes\n\tof course\0"),
            packet(b'm', b"\0\0\0\x01Subject\0changed\0"),
            packet(b'm', b"\0\0\0\x02X-Old\0\0"),
            packet(b'c', b""),
        ],
        told => goes_on(told),
    }));
    let socket = system.folder.path().join("milter.sock");
    serve_unix(
        &socket,
        milter(&second, |told| match told {
            Packet(b'E', _) => {
                vec![packet(b'i', b"\0\0\0\x01Authentication-Results\0mx.test.example; x=pass\0"), packet(b'c', b"")]
            }
            Packet(b'L', data) if data.starts_with(b"X-Doubtful\0") => vec![packet(b'c', b"")],
            told => goes_on(told),
        }),
    );
    system.append_config(&format!(
        "{BASE}\n[[policy.milter]]\naddress = \"{address}\"\n\n[[policy.milter]]\naddress = \"unix:{}\"\n",
        socket.display()
    ));
    system.append_config(common::RULES_DRY);
    system.up();

    // More than one chunk; what is forged is not shown.
    let body = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n".repeat(3000);
    let header = "Authentication-Results: mx.test.example; forged=pass\nX-Old: 1\nX-Old: 2\n more\nSubject: large\n";
    let reply = send(&system, "a@far.example", &format!("{header}\n{body}"));
    assert!(reply.starts_with("250"), "{reply}");
    let text = system.delivered("new", "X-Checked");
    let expected = "Authentication-Results: mx.test.example; x=pass\nX-Old: 1\nSubject: changed\nX-Checked: yes\n\tof course\n\n";
    assert_eq!(String::from_utf8_lossy(behind_trace(text.as_bytes())), format!("{expected}{body}"));
    assert!(!text.contains("forged"));

    let told = |seen: &Mutex<Seen<Packet>>, command: u8| -> Vec<String> {
        let seen = seen.lock().unwrap();
        let all = seen.said.iter().filter(|packet| packet.0 == command);
        all.map(|packet| String::from_utf8_lossy(&packet.1).replace('\0', "|")).collect()
    };
    assert_eq!(told(&first, b'H'), ["client.example|"]);
    assert_eq!(told(&first, b'M'), ["<a@far.example>|SIZE=1234|"]);
    assert_eq!(told(&first, b'R'), ["<alice@test.example>|"]);
    assert_eq!(told(&first, b'L'), ["X-Old|1|", "X-Old|2\n more|", "Subject|large|"]);
    assert_eq!(told(&first, b'B').concat(), body.replace('\n', "\r\n"));
    assert!(told(&first, b'B').iter().all(|chunk| chunk.len() <= 65_535));
    // Each sees what the one before it has left.
    assert_eq!(told(&second, b'L'), ["X-Old|1|", "Subject|changed|", "X-Checked|yes\n\tof course|"]);
    let macros = told(&first, b'D').concat();
    for pair in [
        "j|mx.test.example|",
        "{client_addr}|127.0.0.1|",
        "{daemon_name}|smtp|",
        "{mail_addr}|a@far.example|",
        "{rcpt_addr}|alice@test.example|",
    ] {
        assert!(macros.contains(pair), "{pair} in {macros}");
    }

    // Refusals, whenever they come, are the reply to the last dot.
    let mut smtp = system.smtp();
    assert_eq!(smtp.send(&["alice@test.example", "bob@test.example"], b"Subject: x\n\nx\n").unwrap(), "550 5.1.1 not bob\r\n");
    assert!(send(&system, "discarded@far.example", "Subject: x\n\nx\n").starts_with("550 5.7.1"));
    assert!(send(&system, "deferred@far.example", "Subject: x\n\nx\n").starts_with("451 4.7.1"));
    assert!(send(&system, "friend@far.example", "Subject: x\n\nfriendly\n").starts_with("250"));
    assert!(!system.delivered("new", "friendly").contains("X-Checked"));
    assert_eq!(counts(&system, 0), [5, 3, 0, 0]);
    // A connection is kept where the end of the message was answered with "go on".
    assert_eq!((first.lock().unwrap().connections, second.lock().unwrap().connections), (4, 1));

    // One that goes away in the middle is a failure; the message is taken without it, and the next over a new connection.
    assert!(send(&system, "a@far.example", "X-Break: 1\nSubject: x\n\nbroken\n").starts_with("250"));
    assert!(system.delivered("new", "broken").contains("Subject: x\n"));
    assert!(send(&system, "a@far.example", "Subject: x\n\nwhole\n").starts_with("250"));
    assert!(system.delivered("new", "whole").contains("Subject: changed\n"));
    assert_eq!(counts(&system, 0), [7, 3, 1, 0]);
}

/// A milter that is started anew, one that puts messages aside, and users' mail.
#[test]
fn milters_of_other_services() {
    let mut system = System::init();
    let all = seen();
    let address = serve_tcp(milter(&all, |told| match told {
        // As one that ends: the connection that was kept is of no use.
        Packet(b'E', _) => {
            vec![packet(b'q', b"doubtful\0"), packet(b'h', b"X-Aside\0yes\0"), packet(b'c', b""), packet(b'!', b"")]
        }
        told => goes_on(told),
    }));
    system.append_config(&format!("{BASE}\n[[policy.milter]]\naddress = \"{address}\"\nservices = [\"smtp\", \"lmtp\"]\n"));
    system.append_config(common::RULES_DRY);
    system.up();
    for _ in 0..2 {
        assert!(send(&system, "a@far.example", "Subject: x\n\naside\n").starts_with("250"));
    }
    assert!(system.delivered(".Junk/new", "aside").contains("X-Aside: yes\n"));

    let mut lmtp = Smtp::over(TcpStream::connect(("127.0.0.1", system.base + 24)).unwrap()).unwrap();
    for command in ["LHLO client.example", "MAIL FROM:<>", "RCPT TO:<alice@test.example>", "DATA"] {
        lmtp.say(command).unwrap();
    }
    lmtp.write(b"Subject: x\r\n\r\nby LMTP\r\n.\r\n").unwrap();
    assert!(lmtp.reply().unwrap().starts_with("250"));
    assert!(system.delivered(".Junk/new", "by LMTP").contains("X-Aside: yes\n"));
    assert_eq!(counts(&system, 0), [3, 0, 0, 0]);
    assert_eq!(all.lock().unwrap().connections, 3);
}
