//! The report as its readers see it; mail-parser is the oracle.

use super::*;
use crate::record::{MessageHead, Progress, Status};
use mail_parser::{MessageParser, MimeHeaders, PartType};
use postring_mail::EnhancedStatus;
use postring_mail::dsn::{Notify, RecipientRequest};
use proptest::prelude::*;

const ARRIVED_US: u64 = 1_795_467_845_000_000;

fn written(reverse_path: &str, recipients: &[RecipientReport<'_>], original: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let report = Report {
        hostname: "mx.here.example",
        id: MessageId(255),
        now_us: ARRIVED_US + 3_600_000_000,
        arrived_us: ARRIVED_US,
        reverse_path,
        envelope_id: "",
        recipients,
        original,
        full: false,
    };
    write_report(&report, &mut out);
    out
}

/// Content type, transfer encoding and content of the three parts, as mail-parser finds them; and the text of the whole.
fn parts(wire: &[u8]) -> [(String, Option<String>, String); 3] {
    let message = MessageParser::default().parse(wire).unwrap();
    let root = message.root_part();
    let content_type = root.content_type().unwrap();
    assert_eq!((content_type.ctype(), content_type.subtype()), ("multipart", Some("report")));
    assert_eq!(content_type.attribute("report-type"), Some("delivery-status"));
    let PartType::Multipart(children) = &root.body else { panic!("{:?}", root.body) };
    assert_eq!((children.len(), message.parts.len()), (3, 4));
    [0, 1, 2].map(|index| {
        let part = &message.parts[usize::try_from(children[index]).unwrap()];
        let content_type = part.content_type().unwrap();
        let content = wire.get(usize::try_from(part.raw_body_offset()).unwrap()..usize::try_from(part.raw_end_offset()).unwrap());
        (
            format!("{}/{}", content_type.ctype(), content_type.subtype().unwrap()),
            part.content_transfer_encoding().map(str::to_owned),
            String::from_utf8_lossy(content.unwrap()).into_owned(),
        )
    })
}

fn assert_wire_form(wire: &[u8]) {
    assert!(wire.ends_with(b"\r\n"));
    for line in String::from_utf8_lossy(wire).split("\r\n") {
        assert!(line.len() <= 998 && !line.contains(['\r', '\n', '\0']), "{line:?}");
    }
}

#[test]
fn a_report_says_who_what_and_why() {
    let failed = [
        RecipientReport::failed("u@there.example", "mx.there.example", "550 5.1.1 No such user here"),
        RecipientReport::failed(
            "v@gone.example",
            "",
            "450 4.4.7 Not delivered within 5 days; the last reply: 450 4.4.1 No answer",
        ),
        RecipientReport::failed("w@mute.example", "", ""),
    ];
    let original = b"From: a@here.example\r\nSubject: hello\r\n\r\nThe body stays here.\r\n";
    let wire = written("a@here.example", &failed, original);
    assert_wire_form(&wire);
    assert!(wire.is_ascii());

    let message = MessageParser::default().parse(&wire).unwrap();
    let address = |address: Option<&mail_parser::Address<'_>>| address.unwrap().first().unwrap().address().unwrap().to_owned();
    assert_eq!(address(message.from()), "MAILER-DAEMON@mx.here.example");
    assert_eq!(address(message.to()), "a@here.example");
    assert_eq!(message.message_id(), Some("00000000000000FF@mx.here.example"));
    assert_eq!(message.header("Auto-Submitted").unwrap().as_text(), Some("auto-replied"));
    assert_eq!(message.date().unwrap().to_timestamp(), i64::try_from(ARRIVED_US / 1_000_000 + 3600).unwrap());
    assert_eq!(message.subject(), Some("Undelivered mail returned to its sender"));

    let [text, status, header] = parts(&wire);
    assert_eq!((text.0.as_str(), text.1), ("text/plain", None));
    for piece in [
        "<u@there.example>\r\n    The host mx.there.example said:\r\n    550 5.1.1 No such user here\r\n",
        "not be\r\ntried again",
    ] {
        assert!(text.2.contains(piece), "{}", text.2);
    }
    assert!(text.2.contains("<w@mute.example>\r\n    gave no reason (status 5.0.0)\r\n"));
    assert_eq!((status.0.as_str(), status.1), ("message/delivery-status", None));
    assert_eq!(
        status.2.trim_end(),
        "Reporting-MTA: dns; mx.here.example\r\n\
         Arrival-Date: Mon, 23 Nov 2026 21:04:05 +0000\r\n\
         \r\n\
         Final-Recipient: rfc822; u@there.example\r\n\
         Action: failed\r\n\
         Status: 5.1.1\r\n\
         Remote-MTA: dns; mx.there.example\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 No such user here\r\n\
         Last-Attempt-Date: Mon, 23 Nov 2026 22:04:05 +0000\r\n\
         \r\n\
         Final-Recipient: rfc822; v@gone.example\r\n\
         Action: failed\r\n\
         Status: 4.4.7\r\n\
         Diagnostic-Code: smtp; 450 4.4.7 Not delivered within 5 days; the last\r\n \
         reply: 450 4.4.1 No answer\r\n\
         Last-Attempt-Date: Mon, 23 Nov 2026 22:04:05 +0000\r\n\
         \r\n\
         Final-Recipient: rfc822; w@mute.example\r\n\
         Action: failed\r\n\
         Status: 5.0.0\r\n\
         Last-Attempt-Date: Mon, 23 Nov 2026 22:04:05 +0000"
    );
    assert_eq!((header.0.as_str(), header.1), ("text/rfc822-headers", None));
    assert_eq!(header.2.trim_end(), "From: a@here.example\r\nSubject: hello");
    assert!(!String::from_utf8_lossy(&wire).contains("body stays"));
}

#[test]
fn nobody_reports_to_the_null_reverse_path() {
    assert_eq!(written("", &[RecipientReport::failed("u@d.example", "", "550 no")], b"A: b\r\n\r\n"), b"");
}

#[test]
fn a_text_from_elsewhere_cannot_forge_a_line() {
    let failed = [RecipientReport::failed(
        "u@d.example>\r\nAction: delivered",
        "mx\r\n\r\nFinal-Recipient: rfc822; x@y",
        "550 5.1.1 no\r\n\r\n--=_00000000000000FF_\n Status: 2.0.0 \u{85}\u{fc}",
    )];
    let wire = written("a@here.example\r\nBcc: x@y", &failed, b"A: b\r\n\r\n");
    assert_wire_form(&wire);
    assert!(wire.is_ascii());
    let message = MessageParser::default().parse(&wire).unwrap();
    assert!(message.bcc().is_none() && String::from_utf8_lossy(&wire).contains("To: undisclosed-recipients:;\r\n"));
    let [_, status, _] = parts(&wire);
    let names: Vec<&str> = status.2.split("\r\n").filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
    let expected = ["Reporting-MTA", "Arrival-Date", "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code"];
    assert_eq!(names[..7], expected);
    assert_eq!(names[7..], ["Last-Attempt-Date"]);
}

#[test]
fn eight_bit_header_is_declared() {
    let wire =
        written("a@here.example", &[RecipientReport::failed("u@d.example", "", "550 no")], "Subject: grüße\r\n\r\nx".as_bytes());
    assert!(!wire.is_ascii());
    let [text, status, header] = parts(&wire);
    assert_eq!((text.1, status.1, header.1.as_deref()), (None, None, Some("8bit")));
    assert!(header.2.contains("Subject: grüße"));
    let message = MessageParser::default().parse(&wire).unwrap();
    assert_eq!(message.root_part().content_transfer_encoding(), Some("8bit"));
}

#[test]
fn the_boundary_is_in_none_of_the_parts() {
    let empty: [&[u8]; 3] = [b"", b"", b""];
    let first = boundary(MessageId(1), empty);
    assert_ne!(first, boundary(MessageId(2), empty));
    assert!(first.len() <= 70, "RFC 2046 section 5.1.1");
    // A part that contains the hash of itself cannot be made here; one full of possible boundaries can.
    let stuffed: Vec<u8> =
        (0..100_u64).flat_map(|number| format!("--=_{}_{number:016X}\r\n", MessageId(1)).into_bytes()).collect();
    let found = boundary(MessageId(1), [&stuffed, b"", b""]);
    assert!(!String::from_utf8_lossy(&stuffed).contains(&found));
}

#[test]
fn the_failed_are_those_the_sender_was_not_told_of() {
    let head = MessageHead {
        id: MessageId(1),
        received_us: 0,
        flags: postring_mail::envelope::EnvelopeFlags(0),
        reverse_path: "a@here.example".to_owned(),
        account: String::new(),
        recipients: vec!["u@x".to_owned(), "v@x".to_owned(), "w@x".to_owned(), "z@x".to_owned()],
        envelope_id: String::new(),
        requests: Vec::new(),
    };
    let mut progress = Progress::new(head.id, 4, 0);
    for (state, status) in
        progress.recipients.iter_mut().zip([Status::Delivered, Status::Failed, Status::Reported, Status::Pending])
    {
        state.status = status;
        state.reply = "552 5.3.4 too large".to_owned();
    }
    let failed = RecipientReport::all_of(&head, &progress);
    assert_eq!(
        failed,
        [RecipientReport { status: EnhancedStatus::new(5, 3, 4), ..RecipientReport::failed("v@x", "", "552 5.3.4 too large") }]
    );
}

#[test]
fn what_was_asked_is_in_the_report() {
    let request = |original_recipient: &str| RecipientRequest {
        notify: Notify::default(),
        original_recipient: original_recipient.to_owned(),
    };
    let head = MessageHead {
        id: MessageId(1),
        received_us: 0,
        flags: postring_mail::envelope::EnvelopeFlags(0),
        reverse_path: "a@here.example".to_owned(),
        account: String::new(),
        recipients: vec!["u@x".to_owned(), "jörg@x".to_owned(), "w@x".to_owned()],
        envelope_id: "QQ+2B1".to_owned(),
        requests: vec![request("rfc822;U+2Bx@y.example"), request("")],
    };
    let mut progress = Progress::new(head.id, 3, 0);
    for (state, (status, reply)) in progress.recipients.iter_mut().zip([
        (Status::Relayed, "250 2.1.5 ok"),
        (Status::Late, "552 5.2.2 full"),
        (Status::Failed, "550 5.1.1 no"),
    ]) {
        (state.status, state.reply, state.host) = (status, reply.to_owned(), "mx.x".to_owned());
    }
    let recipients = RecipientReport::all_of(&head, &progress);
    let original = "Subject: grüße\r\n\r\nThe body.\r\n".as_bytes();
    let report = Report {
        hostname: "mx.here.example",
        id: MessageId(255),
        now_us: ARRIVED_US,
        arrived_us: ARRIVED_US,
        reverse_path: &head.reverse_path,
        envelope_id: &head.envelope_id,
        recipients: &recipients,
        original,
        full: true,
    };
    let mut wire = Vec::new();
    write_report(&report, &mut wire);
    assert_wire_form(&wire);
    let [_, status, returned] = parts(&wire);
    assert_eq!(
        status.2.trim_end(),
        "Original-Envelope-Id: QQ+1\r\n\
         Reporting-MTA: dns; mx.here.example\r\n\
         Arrival-Date: Mon, 23 Nov 2026 21:04:05 +0000\r\n\
         \r\n\
         Original-Recipient: rfc822; U+x@y.example\r\n\
         Final-Recipient: rfc822; u@x\r\n\
         Action: relayed\r\n\
         Status: 2.0.0\r\n\
         Remote-MTA: dns; mx.x\r\n\
         Diagnostic-Code: smtp; 250 2.1.5 ok\r\n\
         Last-Attempt-Date: Mon, 23 Nov 2026 21:04:05 +0000\r\n\
         \r\n\
         Final-Recipient: utf-8; j\\x{F6}rg@x\r\n\
         Action: delayed\r\n\
         Status: 4.0.0\r\n\
         Remote-MTA: dns; mx.x\r\n\
         Diagnostic-Code: smtp; 552 5.2.2 full\r\n\
         Last-Attempt-Date: Mon, 23 Nov 2026 21:04:05 +0000\r\n\
         \r\n\
         Final-Recipient: rfc822; w@x\r\n\
         Action: failed\r\n\
         Status: 5.1.1\r\n\
         Remote-MTA: dns; mx.x\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 no\r\n\
         Last-Attempt-Date: Mon, 23 Nov 2026 21:04:05 +0000"
    );
    assert_eq!((returned.0.as_str(), returned.1.as_deref()), ("message/rfc822", Some("8bit")));
    assert_eq!(returned.2.trim_end().as_bytes(), original.trim_ascii_end());

    // Nobody failed: the whole does not go back.
    let mut wire = Vec::new();
    write_report(&Report { recipients: &recipients[..2], ..report }, &mut wire);
    let [_, _, returned] = parts(&wire);
    assert_eq!(returned.0.as_str(), "text/rfc822-headers");
    assert!(String::from_utf8_lossy(&wire).contains("Subject: Mail that is late, and still tried\r\n"));
}

proptest! {
    #[test]
    fn any_words_make_a_report_with_three_parts(
        recipient in "\\PC{0,300}|[\r\n:<> a]{0,20}",
        host in "\\PC{0,300}|[\r\n-=_0F]{0,40}",
        reply in "[245][0-9]{2} (5\\.1\\.1 )?(\\PC{0,600}|[\r\n a-c]{0,600})",
        reverse_path in "[a-z\"<>@.\r\n,]{1,30}|[a-z]{1,9}@[a-z]{1,9}\\.example",
        original in "([A-Za-z-]{1,9}:[ -~é]{0,60}\r\n){0,9}\r\n[ -~\r\n]{0,60}|[\\x00-\\x7f]{0,100}",
    ) {
        let failed = [RecipientReport::failed(&recipient, &host, &reply), RecipientReport::failed("u@d.example", "", "550 no")];
        let wire = written(&reverse_path, &failed, original.as_bytes());
        assert_wire_form(&wire);
        let [text, status, header] = parts(&wire);
        prop_assert!(text.2.is_ascii() && status.2.is_ascii());
        prop_assert_eq!(header.2.is_ascii(), header.1.is_none());
        prop_assert_eq!(status.2.split("\r\n").filter(|line| line.starts_with("Final-Recipient:")).count(), 2);
        prop_assert_eq!(status.2.split("\r\n").filter(|line| line.starts_with("Action:")).count(), 2);
    }
}
