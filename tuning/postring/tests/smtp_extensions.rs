//! SMTP's extensions against the whole program.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::{Smtp, System, behind_trace};

/// Says EHLO, MAIL and RCPT to `alice`; then the content is due.
fn envelope(smtp: &mut Smtp) {
    for line in ["EHLO client.example", "MAIL FROM:<sender@far.example>", "RCPT TO:<alice@test.example>"] {
        let reply = smtp.say(line).unwrap();
        assert!(reply.starts_with("250"), "{line}: {reply}");
    }
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
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &flight).unwrap());
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
