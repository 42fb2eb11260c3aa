//! Conversations with milters, a file each; `tests/conversations/README.md` says how they are written.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

use postring_milter::packet::{self, Packet};
use postring_milter::{Conversation, Edit, Envelope, Next, Options, RecipientChange, Verdict};
use std::path::Path;

const ENVELOPE: Envelope<'static> = Envelope {
    hostname: "mx.test.example",
    service: "smtp",
    client: std::net::SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(192, 0, 2, 7), 4711)),
    client_name: Some("mail.far.example"),
    server: Some(std::net::SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(192, 0, 2, 1), 25))),
    helo: "mail.far.example",
    tls: Some(("TLSv1.3", "TLS13_AES_128_GCM_SHA256")),
    account: None,
    id: "000000000000002A",
    reverse_path: "a@far.example",
    size_declared: Some(100),
    eight_bit: true,
    recipients: &["alice@test.example", "bob@test.example"],
    answers_each: false,
};

const MESSAGE: &[u8] = b"From: a@far.example\r\nSubject: folded\r\n\tline\r\n\r\nHello\r\n";

/// The octets of an escaped text. `\0` may be followed by digits: it is one octet.
fn octets(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.chars();
    while let Some(one) = rest.next() {
        if one != '\\' {
            out.extend(one.to_string().bytes());
            continue;
        }
        out.push(match rest.next().unwrap() {
            '0' => 0,
            'r' => b'\r',
            't' => b'\t',
            'n' => b'\n',
            'x' => u8::from_str_radix(&[rest.next().unwrap(), rest.next().unwrap()].iter().collect::<String>(), 16).unwrap(),
            '\\' => b'\\',
            other => panic!("\\{other}"),
        });
    }
    out
}

fn shown(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            0 => "\\0".to_owned(),
            b'\r' => "\\r".to_owned(),
            b'\n' => "\\n".to_owned(),
            b'\t' => "\\t".to_owned(),
            b' '..=b'~' => char::from(*byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        })
        .collect()
}

/// Options a milter has agreed to, as a negotiation gives them.
fn options(steps: &str) -> Options {
    Options::parse(&[6, 1, u32::from_str_radix(steps, 16).unwrap()].map(u32::to_be_bytes).concat()).unwrap()
}

fn packets(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (Packet { command, data }, taken) = packet::split(bytes).unwrap().unwrap();
        all.push([&[command], data].concat());
        bytes = &bytes[taken..];
    }
    all
}

fn run(name: &str, text: &str) {
    let mut lines = text.lines().filter(|line| !line.starts_with('#')).peekable();
    let (mut envelope, mut message, mut conversation) = (ENVELOPE, MESSAGE.to_vec(), Conversation::new());
    while let Some((key, value)) = lines.peek().unwrap().split_once(": ").filter(|(key, _)| *key != "C") {
        match key {
            "message" => message = octets(value),
            "answers" => envelope.answers_each = value == "each",
            "kept" => conversation = Conversation::over_kept(options(value)),
            other => panic!("{name}: {other}"),
        }
        lines.next();
    }
    let mut result = Vec::new();
    let mut out = Vec::new();
    loop {
        let next = conversation.poll_next(&envelope, &message, &mut out);
        for packet in packets(&out) {
            let expected = lines.next().unwrap().strip_prefix("C: ").unwrap_or_else(|| panic!("{name}: {}", shown(&packet)));
            assert_eq!(shown(&packet), shown(&octets(expected)), "{name}");
        }
        out.clear();
        match next {
            Next::Send => {}
            Next::End => break,
            Next::Answer => {
                let packet =
                    octets(lines.next().unwrap().strip_prefix("S: ").unwrap_or_else(|| panic!("{name}: an answer is awaited")));
                if let Err(problem) = conversation.handle_packet(Packet { command: packet[0], data: &packet[1..] }) {
                    result.push(format!("X {problem}"));
                    break;
                }
            }
        }
    }
    conversation.close(&mut out);
    let close = packets(&out).iter().map(|packet| shown(packet)).collect::<Vec<_>>().join(" ");
    if result.is_empty() {
        let judgement = conversation.judgement();
        result.push(match judgement.verdict {
            Verdict::Accept if judgement.quarantined => "= accept, quarantined".to_owned(),
            Verdict::Accept => "= accept".to_owned(),
            Verdict::Refuse(reply) => format!("= refuse {reply}"),
        });
        result.extend(judgement.refused.iter().map(|(number, reply)| format!("= not to {number}: {reply}")));
        let changes = &judgement.changes;
        result.extend(changes.recipients.iter().map(|change| match change {
            RecipientChange::Add(address) => format!("= to {address}"),
            RecipientChange::Delete(address) => format!("= not to {address}"),
        }));
        result.extend(changes.reverse_path.iter().map(|address| format!("= from <{address}>")));
        result.extend(changes.body.iter().map(|body| format!("= body {}", shown(body))));
        result.extend(changes.edits.iter().map(|edit| match edit {
            Edit::Add(field) => format!("= Add {}", shown(field)),
            Edit::Insert(index, field) => format!("= Insert {index} {}", shown(field)),
            Edit::Change { index, name, field } => {
                format!("= Change {index} {}: {}", shown(name), shown(field.as_deref().unwrap_or_default()))
            }
        }));
    }
    result.push(format!("close: {close}"));
    assert_eq!(result, lines.collect::<Vec<_>>(), "{name}");
}

#[test]
fn conversations() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none() {
            run(path.file_name().unwrap().to_str().unwrap(), &std::fs::read_to_string(&path).unwrap());
            count += 1;
        }
    }
    assert!(count >= 16, "{count}");
}

/// A long body goes by the chunk; what needs no answer is not kept until all is there.
#[test]
fn a_long_body_goes_by_the_chunk() {
    let message = [b"A: 1\r\n\r\n".to_vec(), vec![b'x'; 200_000]].concat();
    for (steps, answers) in [("0000036f", 4), ("0008036f", 0)] {
        let mut conversation = Conversation::over_kept(options(steps));
        let (mut body, mut answered, mut longest) = (Vec::new(), 0, 0);
        loop {
            let mut out = Vec::new();
            let next = conversation.poll_next(&ENVELOPE, &message, &mut out);
            longest = longest.max(out.len());
            packets(&out).iter().filter(|packet| packet[0] == b'B').for_each(|packet| body.extend_from_slice(&packet[1..]));
            match next {
                Next::Send => {}
                Next::End => break,
                Next::Answer => {
                    answered += 1;
                    conversation.handle_packet(Packet { command: b'c', data: b"" }).unwrap();
                }
            }
        }
        assert_eq!((body.len(), answered), (200_000, answers + 1));
        assert!(longest < 140_000, "{longest}");
    }
}

/// More changes than a message may get are none, whatever their size; what the milter says in the end counts all the same.
#[test]
fn changes_are_bounded() {
    for (field, times) in [(b"X\0y\0".to_vec(), 100), ([b"X\0".to_vec(), vec![b'y'; 60_000], vec![0]].concat(), 1)] {
        let mut conversation = Conversation::over_kept(options("0000037f"));
        assert_eq!(conversation.poll_next(&ENVELOPE, MESSAGE, &mut Vec::new()), Next::Answer);
        for _ in 0..times {
            conversation.handle_packet(Packet { command: b'h', data: &field }).unwrap();
        }
        conversation.handle_packet(Packet { command: b'h', data: &field }).unwrap();
        conversation.handle_packet(Packet { command: b'r', data: b"" }).unwrap();
        let judgement = conversation.judgement();
        assert!(judgement.lost_edits && judgement.changes.edits.is_empty());
        assert!(matches!(judgement.verdict, Verdict::Refuse(reply) if reply.code == 550));
    }
}

/// One that says for ever that it works has failed.
#[test]
fn progress_is_bounded() {
    let mut conversation = Conversation::over_kept(options("0000037f"));
    assert_eq!(conversation.poll_next(&ENVELOPE, MESSAGE, &mut Vec::new()), Next::Answer);
    let mut say = || conversation.handle_packet(Packet { command: b'p', data: b"" });
    assert!((0..1000).all(|_| say().is_ok()));
    assert_eq!(say().unwrap_err(), postring_milter::Problem::TooMuchProgress);
}
