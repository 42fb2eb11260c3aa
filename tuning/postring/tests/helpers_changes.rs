//! Milters that change more than the header in the running program: who gets a message, from whom it is, what it says.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{Smtp, System, behind_trace, files};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

const BASE: &str =
    "\n[policy]\ntrusted_networks = []\ngreeting_wait_ms = 0\nrules_wait_ms = 100\n\n[policy.spf]\ncheck = false\n";

/// A page in the place of a line: more than the smallest slot holds.
const PAGE: &str = "A line of a page nobody has written.\n";
const PAGE_LINES: usize = 8000;

/// What the milter says to RCPT of this recipient, and to the end of a message: packets, by the sender.
fn said(sender: &str, recipient: Option<&str>) -> Vec<(u8, Vec<u8>)> {
    let go_on = (b'c', Vec::new());
    if let Some(recipient) = recipient {
        let refused = (b'y', b"550 5.2.1 not bob\0".to_vec());
        return vec![if sender == "picky@far.example" && recipient.starts_with("bob@") { refused } else { go_on }];
    }
    let changes: Vec<(u8, &[u8])> = match sender {
        "elsewhere@far.example" => vec![
            (b'-', b"<alice@test.example>\0"),
            (b'+', b"<bob@test.example>\0"),
            (b'e', b"<owner@test.example>\0"),
            (b'b', b"Of it nothing\n"),
            (b'b', b"\xe9 is left\n.\n"),
            (b'h', b"X-Elsewhere\0yes\0"),
        ],
        "away@far.example" => vec![(b'-', b"<alice@test.example>\0")],
        "nobody@far.example" => vec![(b'+', b"<nobody@test.example>\0"), (b'b', b"never\n"), (b'h', b"X-Never\0yes\0")],
        "relay@far.example" => vec![(b'+', b"<x@other.example>\0")],
        _ => vec![],
    };
    let page = PAGE.repeat(PAGE_LINES);
    let mut packets: Vec<(u8, Vec<u8>)> = changes.into_iter().map(|(command, data)| (command, data.to_vec())).collect();
    if sender == "page@far.example" {
        packets.extend(page.as_bytes().chunks(65_000).map(|piece| (b'b', piece.to_vec())));
    }
    packets.push(go_on);
    packets
}

/// Starts it; where it listens.
fn milter() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> Option<()> {
    let mut sender = String::new();
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut data = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut data).ok()?;
        let (command, text) = (data[0], String::from_utf8_lossy(&data[1..]).into_owned());
        let path = text.split(['<', '>']).nth(1).unwrap_or_default();
        let answers = match command {
            // It sees MAIL, RCPT and the end.
            b'O' => vec![(b'O', [6, 0xff, 0x373].map(u32::to_be_bytes).concat())],
            b'M' => {
                path.clone_into(&mut sender);
                vec![(b'c', Vec::new())]
            }
            b'R' => said(&sender, Some(path)),
            b'E' => said(&sender, None),
            b'Q' => return None,
            _ => continue,
        };
        for (command, data) in answers {
            stream.write_all(&[&(data.len() as u32 + 1).to_be_bytes()[..], &[command], &data].concat()).ok()?;
        }
    }
}

/// The replies to the last dot of a message with this text as its subject.
fn send(smtp: &mut Smtp, from: &str, recipients: &[&str], text: &str, replies: usize) -> Vec<String> {
    let to = recipients.iter().map(|recipient| format!("RCPT TO:<{recipient}@test.example>"));
    for command in [format!("MAIL FROM:<{from}")].into_iter().chain(to) {
        let reply = smtp.say(&command).unwrap();
        assert!(reply.starts_with("250"), "{command}: {reply}");
    }
    assert!(smtp.say("DATA").unwrap().starts_with("354"));
    smtp.write(&common::wire(format!("Subject: {text}\n\nfrom the sender\n").as_bytes())).unwrap();
    (0..replies).map(|_| smtp.reply().unwrap().trim_end().to_owned()).collect()
}

/// The files of an account with this subject, once there are some.
fn delivered(system: &System, account: &str, subject: &str) -> Vec<u8> {
    let line = format!("Subject: {subject}\n");
    let mut found = None;
    system.wait(&format!("{subject} for {account}"), || {
        let all = files(&system.maildir(account).join("new")).into_iter().map(|file| std::fs::read(file).unwrap());
        found = all.into_iter().find(|file| file.windows(line.len()).any(|window| window == line.as_bytes()));
        found.is_some()
    });
    found.unwrap()
}

fn failed(system: &System) -> u64 {
    system.status().unwrap()["helpers"][0]["helper_failed_total"].as_u64().unwrap()
}

#[test]
fn milters_change_envelope_and_body() {
    let mut system = System::init();
    system.append_config(&format!("{BASE}\n[[policy.milter]]\naddress = \"{}\"\nservices = [\"smtp\", \"lmtp\"]\n", milter()));
    system.append_config(common::RULES_DRY);
    system.up();
    let mut smtp = system.smtp();
    assert!(smtp.say("EHLO client.example").unwrap().contains("PRDR"));

    // Sent elsewhere in another's name, with another body.
    let replies = send(&mut smtp, "elsewhere@far.example>", &["alice"], "elsewhere", 1);
    assert!(replies[0].starts_with("250"), "{replies:?}");
    let file = delivered(&system, "bob", "elsewhere");
    assert!(file.starts_with(b"Return-Path: <owner@test.example>\n"));
    assert_eq!(behind_trace(&file), b"Subject: elsewhere\nX-Elsewhere: yes\n\nOf it nothing\n\xe9 is left\n.\n");

    // To nobody is refused: nothing vanishes.
    let replies = send(&mut smtp, "away@far.example>", &["alice"], "away", 1);
    assert!(replies[0].starts_with("550 5.7.1"), "{replies:?}");
    let replies = send(&mut smtp, "away@far.example>", &["alice", "bob"], "away from one", 1);
    assert!(replies[0].starts_with("250"), "{replies:?}");
    delivered(&system, "bob", "away from one");

    // A body that needs a larger slot.
    let replies = send(&mut smtp, "page@far.example>", &["alice"], "page", 1);
    assert!(replies[0].starts_with("250"), "{replies:?}");
    let file = delivered(&system, "alice", "page");
    assert!(behind_trace(&file) == format!("Subject: page\n\n{}", PAGE.repeat(PAGE_LINES)).as_bytes(), "{}", file.len());

    // What cannot be done is a failure: nothing of it is done, and the message is taken as if nobody had been asked.
    for (failures, sender) in [(1, "nobody"), (2, "relay")] {
        let replies = send(&mut smtp, &format!("{sender}@far.example>"), &["alice"], sender, 1);
        assert!(replies[0].starts_with("250"), "{replies:?}");
        let file = delivered(&system, "alice", sender);
        assert_eq!(String::from_utf8_lossy(behind_trace(&file)), format!("Subject: {sender}\n\nfrom the sender\n"));
        system.wait("the count", || failed(&system) == failures);
    }

    // A recipient that is refused: it alone, where the client hears of each.
    let replies = send(&mut smtp, "picky@far.example>", &["alice", "bob"], "for nobody", 1);
    assert_eq!(replies, ["550 5.2.1 not bob"]);
    let replies = send(&mut smtp, "picky@far.example> PRDR", &["alice", "bob"], "for alice", 4);
    let codes: Vec<&str> = replies.iter().map(|reply| &reply[..3]).collect();
    assert_eq!((codes.as_slice(), replies[2].as_str()), (&["353", "250", "550", "250"][..], "550 5.2.1 not bob"));
    delivered(&system, "alice", "for alice");
    let mut lmtp = Smtp::over(TcpStream::connect(("127.0.0.1", system.base + 24)).unwrap()).unwrap();
    lmtp.say("LHLO client.example").unwrap();
    let replies = send(&mut lmtp, "picky@far.example>", &["bob", "alice"], "by LMTP", 2);
    assert!(replies[0] == "550 5.2.1 not bob" && replies[1].starts_with("250"), "{replies:?}");
    delivered(&system, "alice", "by LMTP");
    let replies = send(&mut lmtp, "picky@far.example>", &["bob"], "for nobody", 1);
    assert_eq!(replies, ["550 5.2.1 not bob"]);

    // What each has, and nothing else.
    system.down();
    assert_eq!((system.inbox("alice").len(), system.inbox("bob").len()), (5, 2));
}

/// What a milter adds may leave this host if the message is from a network of our own.
#[test]
fn what_is_added_to_mail_of_ours_may_leave() {
    let mut system = System::init();
    system.append_config(&format!(
        "\n[dns]\nforwarders = []\n\n[[policy.milter]]\naddress = \"{}\"\non_failure = \"defer\"\n",
        milter()
    ));
    system.append_config(common::RULES_DRY);
    system.up();
    let mut smtp = system.smtp();
    smtp.say("EHLO client.example").unwrap();
    let replies = send(&mut smtp, "relay@far.example>", &["alice"], "relayed", 1);
    assert!(replies[0].starts_with("250"), "{replies:?}");
    delivered(&system, "alice", "relayed");
    system.wait("the queue", || system.run(&["queue", "list", "--json"]).contains("x@other.example"));
    // What cannot be done is the failure of the milter.
    let replies = send(&mut smtp, "nobody@far.example>", &["alice"], "nobody", 1);
    assert!(replies[0].starts_with("451 4.7.1"), "{replies:?}");
    assert_eq!(failed(&system), 1);
}
