//! The client against servers of every kind: scripts, our own server, and noise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

use postring_mail::dsn::{Notify, RecipientRequest, Returned};
use postring_mail::{Now, Reply};
use postring_smtp::client::{ClientConfig, ClientSession, Mail, Outcome, Step, TlsUse, Waits};
use postring_smtp::{
    Answer, BodyProgress, Client, Protocol, Question, Receiving, RecipientAnswer, ServerConfig, Session, Target, TlsInfo,
};
use proptest::prelude::*;
use std::fmt::Write as _;
use std::sync::Arc;

const START: Now = Now { monotonic_ms: 1000, unix_us: 0 };

fn config(tls: TlsUse, lmtp: bool) -> ClientConfig {
    ClientConfig { helo: "c.example".to_owned(), tls, lmtp, waits: Waits::default() }
}

fn mail(recipients: &[&str]) -> Mail {
    Mail {
        reverse_path: "s@c.example".to_owned(),
        recipients: recipients.iter().map(|recipient| (*recipient).to_owned()).collect(),
        size: 20,
        eight_bit: true,
        utf8_header: false,
        returned: Some(Returned::Headers),
        envelope_id: "QQ1".to_owned(),
        requests: vec![RecipientRequest { notify: Notify::parse("NEVER").unwrap(), original_recipient: "rfc822;a@b".to_owned() }],
    }
}

/// Feeds what the server says line by line (`|` divides what comes together); gives what the client does, one word a step.
fn hold(client: &mut ClientSession, server: &[&str]) -> String {
    let mut done = String::new();
    let mut out = Vec::new();
    for said in server {
        match *said {
            "(tls)" => client.handle_tls_established(START, &mut out),
            "(lost)" => client.handle_lost(),
            "(timeout)" => client.handle_timeout(),
            said => {
                let bytes = said.replace('|', "\r\n") + "\r\n";
                client.handle_bytes(bytes.as_bytes(), START, &mut out);
            }
        }
        show(client, &mut out, &mut done);
    }
    done
}

fn show(client: &mut ClientSession, out: &mut Vec<u8>, done: &mut String) {
    loop {
        let text = String::from_utf8(std::mem::take(out)).unwrap();
        done.push_str(&text.replace("\r\n", "|"));
        match client.poll_step() {
            None => break,
            Some(Step::SendContent) => while !client.next_content(b"a\r\n.b\r\n", START, out) {},
            Some(step) => {
                let _ = write!(done, "({step:?})");
            }
        }
    }
}

fn codes(client: &ClientSession) -> Vec<String> {
    let short = |outcome: &Option<Outcome>| match outcome {
        None => "open".to_owned(),
        Some(Outcome::Delivered(reply)) => format!("delivered {}", reply.code),
        Some(Outcome::Transient(reply)) => format!("transient {}", reply.code),
        Some(Outcome::Permanent(reply)) => format!("permanent {}", reply.code),
    };
    client.outcomes().iter().map(short).collect()
}

/// One case: TLS, LMTP, recipients, what the server says, what the client does, what becomes of the recipients.
type Case<'a> = (TlsUse, bool, &'a [&'a str], &'a [&'a str], &'a str, &'a [&'a str]);

#[test]
fn scripts() {
    use TlsUse::{Never, Required, WhenOffered};
    let one = &["u@d.example"][..];
    let two = &["u@d.example", "v@d.example"][..];
    let envelope = "MAIL FROM:<s@c.example>|RCPT TO:<u@d.example>|DATA|";
    let pipelined = format!("EHLO c.example|{envelope}");
    let whole = format!("{pipelined}a|..b|.|QUIT|(Done)(Close)");
    let cases: &[Case<'_>] = &[
        // Pipelined.
        (
            Never,
            false,
            one,
            &["220 x", "250-x|250 PIPELINING", "250 a|250 b|354 c", "250 2.0.0 ok", "221"],
            &whole,
            &["delivered 250"],
        ),
        // A multiline greeting, extensions in any case, a server that says 251.
        (
            Never,
            false,
            one,
            &["220-x|220 y", "250-x|250-size 100|250-8bitmime|250 chunking", "250", "251", "354", "250", "221"],
            "EHLO c.example|MAIL FROM:<s@c.example> SIZE=20 BODY=8BITMIME|RCPT TO:<u@d.example>|DATA|a|..b|.|QUIT|(Done)(Close)",
            &["delivered 250"],
        ),
        // SMTPUTF8 only where it is needed; without it only those are refused who need it.
        (
            Never,
            false,
            &["u@d.example", "jörg@d.example"],
            &["220 x", "250-x|250 SMTPUTF8", "250", "250", "250", "354", "250", "221"],
            "EHLO c.example|MAIL FROM:<s@c.example> SMTPUTF8|RCPT TO:<u@d.example>|RCPT TO:<jörg@d.example>|DATA|a|..b|.|QUIT|(Done)(Close)",
            &["delivered 250", "delivered 250"],
        ),
        (
            Never,
            false,
            &["u@d.example", "jörg@d.example"],
            &["220 x", "250 x", "250", "250", "354", "250", "221"],
            "EHLO c.example|MAIL FROM:<s@c.example>|RCPT TO:<u@d.example>|DATA|a|..b|.|QUIT|(Done)(Close)",
            &["delivered 250", "permanent 550"],
        ),
        // What the sender wants to hear goes to servers that tell it.
        (
            Never,
            false,
            two,
            &["220 x", "250-x|250 DSN", "250", "250", "250", "354", "250", "221"],
            "EHLO c.example|MAIL FROM:<s@c.example> RET=HDRS ENVID=QQ1|RCPT TO:<u@d.example> NOTIFY=NEVER ORCPT=rfc822;a@b|RCPT TO:<v@d.example>|DATA|a|..b|.|QUIT|(Done)(Close)",
            &["delivered 250", "delivered 250"],
        ),
        // HELO for a server of the old kind; one recipient refused.
        (
            Never,
            false,
            two,
            &["220 x", "502 no", "250 x", "250", "550 5.1.1 no", "250", "354", "250", "221"],
            "EHLO c.example|HELO c.example|MAIL FROM:<s@c.example>|RCPT TO:<u@d.example>|RCPT TO:<v@d.example>|DATA|a|..b|.|QUIT|(Done)(Close)",
            &["permanent 550", "delivered 250"],
        ),
        // All refused, 552 is not for ever, DATA is not sent without need.
        (
            Never,
            false,
            two,
            &["220 x", "250 x", "250", "552 full", "450 later"],
            "EHLO c.example|MAIL FROM:<s@c.example>|RCPT TO:<u@d.example>|RCPT TO:<v@d.example>|QUIT|(Done)",
            &["transient 552", "transient 450"],
        ),
        // All refused, but the server says 354 to the pipelined DATA.
        (
            Never,
            false,
            one,
            &["220 x", "250-x|250 PIPELINING", "250|550 no|354 go", "554 no recipients"],
            &format!("{pipelined}.|QUIT|(Done)(Close)"),
            &["permanent 550"],
        ),
        // MAIL refused.
        (
            Never,
            false,
            one,
            &["220 x", "250-x|250 PIPELINING", "550 5.7.1 blocked|503|503"],
            &format!("{pipelined}QUIT|(Done)"),
            &["permanent 550"],
        ),
        (
            Never,
            false,
            one,
            &["220 x", "250 x", "451 later"],
            "EHLO c.example|MAIL FROM:<s@c.example>|QUIT|(Done)",
            &["transient 451"],
        ),
        // DATA refused; the message refused; for now and for good.
        (
            Never,
            false,
            one,
            &["220 x", "250-x|250 PIPELINING", "250|250|451 no"],
            &format!("{pipelined}QUIT|(Done)"),
            &["transient 451"],
        ),
        (
            Never,
            false,
            one,
            &["220 x", "250-x|250 PIPELINING", "250|250|354", "554 5.7.1 spam"],
            &format!("{pipelined}a|..b|.|QUIT|(Done)"),
            &["permanent 554"],
        ),
        // A host that does not want us at all: another may.
        (Never, false, one, &["554 go away"], "QUIT|(Done)", &["transient 554"]),
        (Never, false, one, &["421 busy"], "(Done)(Close)", &["transient 421"]),
        (Never, false, one, &["HTTP/1.1 400 Bad Request"], "(Done)(Close)", &["transient 421"]),
        // 421 in the middle, loss behind the last dot, time-outs.
        (
            Never,
            false,
            one,
            &["220 x", "250-x|250 PIPELINING", "250|421 bye"],
            &format!("{pipelined}(Done)(Close)"),
            &["transient 421"],
        ),
        (
            Never,
            false,
            one,
            &["220 x", "250-x|250 PIPELINING", "250|250|354", "(lost)"],
            &format!("{pipelined}a|..b|.|(Done)(Close)"),
            &["transient 421"],
        ),
        (Never, false, one, &["(timeout)"], "(Done)(Close)", &["transient 421"]),
        // After the word of the server nothing takes it back.
        (
            Never,
            false,
            one,
            &["220 x", "250-x|250 PIPELINING", "250|250|354", "250", "(lost)"],
            &format!("{pipelined}a|..b|.|QUIT|(Done)(Close)"),
            &["delivered 250"],
        ),
        // SIZE: not offered what cannot be taken.
        (Never, false, one, &["220 x", "250-x|250 SIZE 10"], "EHLO c.example|QUIT|(Done)", &["permanent 552"]),
        // STARTTLS: offered, required, not offered, refused, with plain text behind it.
        (
            WhenOffered,
            false,
            one,
            &["220 x", "250-x|250-PIPELINING|250 STARTTLS", "220 go", "(tls)", "250 x", "250", "250", "354", "250", "221"],
            "EHLO c.example|STARTTLS|(StartTls)EHLO c.example|MAIL FROM:<s@c.example>|RCPT TO:<u@d.example>|DATA|a|..b|.|QUIT|(Done)(Close)",
            &["delivered 250"],
        ),
        (Required, false, one, &["220 x", "250 x"], "EHLO c.example|QUIT|(Done)", &["transient 454"]),
        (
            Required,
            false,
            one,
            &["220 x", "250-x|250 STARTTLS", "554 no"],
            "EHLO c.example|STARTTLS|QUIT|(Done)",
            &["transient 554"],
        ),
        (
            WhenOffered,
            false,
            one,
            &["220 x", "250-x|250 STARTTLS", "454 no", "250"],
            "EHLO c.example|STARTTLS|MAIL FROM:<s@c.example>|RCPT TO:<u@d.example>|",
            &["open"],
        ),
        (
            WhenOffered,
            false,
            one,
            &["220 x", "250-x|250 STARTTLS", "220 go|250 injected"],
            "EHLO c.example|STARTTLS|(Done)(Close)",
            &["transient 421"],
        ),
        // LMTP: a reply for each accepted recipient.
        (
            Never,
            true,
            &["u@d.example", "no@d.example", "v@d.example"],
            &["220 x", "250 x", "250", "250", "550", "250", "354", "250 2.0.0 ok", "452 4.2.2 full", "221"],
            "LHLO c.example|MAIL FROM:<s@c.example>|RCPT TO:<u@d.example>|RCPT TO:<no@d.example>|RCPT TO:<v@d.example>|DATA|a|..b|.|QUIT|(Done)(Close)",
            &["delivered 250", "permanent 550", "transient 452"],
        ),
        // What is no address never becomes a command.
        (
            Never,
            false,
            &["u@d.example>\r\nRCPT TO:<x@d.example", "ok@d.example"],
            &["220 x", "250 x", "250", "250"],
            "EHLO c.example|MAIL FROM:<s@c.example>|RCPT TO:<ok@d.example>|DATA|",
            &["permanent 553", "open"],
        ),
    ];
    for (tls, lmtp, recipients, server, expected, outcomes) in cases {
        let mut client = ClientSession::new(config(*tls, *lmtp), mail(recipients), START);
        assert_eq!(hold(&mut client, server), *expected, "{server:?}");
        assert_eq!(codes(&client), *outcomes, "{server:?}");
    }
}

#[test]
fn every_wait_has_an_end() {
    let mut client = ClientSession::new(config(TlsUse::Never, false), mail(&["u@d.example"]), START);
    let mut waits = vec![client.poll_timeout()];
    for said in ["220 x", "250 x", "250", "250", "354", "250"] {
        hold(&mut client, &[said]);
        waits.push(client.poll_timeout());
    }
    assert_eq!(waits, [301_000, 301_000, 301_000, 301_000, 121_000, 601_000, 6_000]);
}

/// Both halves of this crate with each other.
#[test]
fn against_our_own_server() {
    for (protocol, tls_available) in [(Protocol::Smtp, true), (Protocol::Smtp, false), (Protocol::Lmtp, true)] {
        let server_config = ServerConfig { tls_available, errors_max: 100, ..ServerConfig::new("mx.example", protocol) };
        let peer = Client { address: "192.0.2.1".parse().unwrap(), port: 1 };
        let mut server: Session<()> = Session::new(Arc::new(server_config), peer, START);
        let recipients: Vec<String> =
            (0..130).map(|number| format!("{}{number}@mx.example", if number % 3 == 0 { "no" } else { "yes" })).collect();
        let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
        let mut client = ClientSession::new(config(TlsUse::WhenOffered, protocol == Protocol::Lmtp), mail(&recipients), START);
        let message = b".\r\n..\r\nx\r\n.\r\n".repeat(20_000);
        let (mut to_server, mut to_client, mut content, mut stored) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut done = false;
        for _ in 0..10_000 {
            while let Some(step) = server.poll_step() {
                match step {
                    postring_smtp::Step::Ask(Question::Connect) => server.handle_answer(Answer::Welcome, START, &mut to_client),
                    postring_smtp::Step::Ask(Question::Recipient { address }) => {
                        let target = Target::Account { id: 1, shard: 0 };
                        let answer = if address.starts_with("no") {
                            RecipientAnswer::Unknown
                        } else {
                            RecipientAnswer::Accept([target].into_iter().collect())
                        };
                        server.handle_answer(Answer::Recipient(answer), START, &mut to_client);
                    }
                    postring_smtp::Step::Ask(question) => panic!("{question:?}"),
                    postring_smtp::Step::OpenBody { size_declared } => {
                        assert_eq!(size_declared, Some(20));
                        server.body_opened(START, &mut to_client);
                    }
                    postring_smtp::Step::StartTls => {}
                    postring_smtp::Step::Submit => {
                        stored = std::mem::take(&mut content);
                        server.handle_receipt((), "1", &[], START, &mut to_client);
                    }
                    postring_smtp::Step::ContinueBody { .. } | postring_smtp::Step::Close => {}
                }
            }
            let received = std::mem::take(&mut to_client);
            client.handle_bytes(&received, START, &mut to_server);
            while let Some(step) = client.poll_step() {
                match step {
                    Step::StartTls => {
                        server.handle_tls_established(TlsInfo { version: "TLSv1.3", cipher: "x" }, START);
                        client.handle_tls_established(START, &mut to_server);
                    }
                    Step::SendContent => while !client.next_content(&message, START, &mut to_server) {},
                    Step::Done => done = true,
                    Step::Close => {}
                }
            }
            match server.receiving() {
                Receiving::Commands => {
                    let taken = server.handle_bytes(&to_server, START, &mut to_client);
                    to_server.drain(..taken);
                }
                Receiving::Body => {
                    let decoded = content.len();
                    let fresh = to_server.len().min(10_007);
                    content.extend(to_server.drain(..fresh));
                    match server.handle_body(&mut content, decoded, fresh, START, &mut to_client) {
                        BodyProgress::More { decoded } => content.truncate(decoded),
                        BodyProgress::End { decoded, rest } => {
                            to_server.splice(0..0, content[rest..].to_vec());
                            content.truncate(decoded);
                        }
                    }
                }
                Receiving::Discard | Receiving::Nothing => {}
            }
        }
        assert!(done, "{protocol:?}");
        assert_eq!(client.is_secure(), tls_available);
        assert_eq!(
            stored.len(),
            message.len(),
            "{protocol:?}: {}",
            String::from_utf8_lossy(&stored[stored.len().saturating_sub(60)..]).escape_debug()
        );
        assert!(stored == message);
        let (mut delivered, mut refused) = (0, 0);
        for (recipient, outcome) in recipients.iter().zip(client.outcomes()) {
            match outcome {
                Some(Outcome::Delivered(Reply { code: 250, .. })) if recipient.starts_with("yes") => delivered += 1,
                Some(Outcome::Permanent(Reply { code: 550, .. })) if recipient.starts_with("no") => refused += 1,
                other => panic!("{recipient}: {other:?}"),
            }
        }
        assert_eq!((delivered, refused), (86, 44));
    }
}

proptest! {
    /// Whatever a server says: no panic, an outcome for everybody when it is done, and nobody is delivered without a 250 to the dot.
    #[test]
    fn any_server_is_survived(
        said in proptest::collection::vec(
            prop_oneof!["[2-5][0-9]{2}[- ][A-Z]{0,3}", "250 ok", "250-x\r\n250 PIPELINING", "354 go", "220 STARTTLS", "[ -~]{0,9}"], 0..20),
        piece in 1..40_usize,
        lmtp: bool,
    ) {
        let mut client = ClientSession::new(config(TlsUse::WhenOffered, lmtp), mail(&["u@d.example", "v@d.example"]), START);
        let bytes = said.join("\r\n") + "\r\n";
        let (mut out, mut content_sent) = (Vec::new(), false);
        for chunk in bytes.as_bytes().chunks(piece) {
            client.handle_bytes(chunk, START, &mut out);
            while let Some(step) = client.poll_step() {
                match step {
                    Step::SendContent => {
                        content_sent = true;
                        while !client.next_content(b"x\r\n", START, &mut out) {}
                    }
                    Step::StartTls => client.handle_tls_established(START, &mut out),
                    Step::Done => prop_assert!(client.outcomes().iter().all(Option::is_some)),
                    Step::Close => {}
                }
            }
        }
        client.handle_lost();
        prop_assert!(client.outcomes().iter().all(Option::is_some));
        prop_assert!(content_sent || !client.outcomes().iter().any(|outcome| matches!(outcome, Some(Outcome::Delivered(_)))));
    }
}
