//! Entries for the fuzzer and the replay of its inputs: each takes anything and must not panic.

use crate::conversation::{Conversation, Next};
use crate::delegation::{Action, answer_end};
use crate::edits::{Edit, apply, header_end};
use crate::envelope::Envelope;
use crate::packet::{self, Packet};
use crate::response::Response;

/// A packet of a milter.
pub fn fuzz_response(data: &[u8]) {
    if let Ok(Some((packet, taken))) = packet::split(data) {
        assert!(taken <= data.len());
        for leading_space in [false, true] {
            if let Ok(Response::Edit(Edit::Add(field) | Edit::Insert(_, field))) = Response::parse(packet, leading_space) {
                // A field stays one: it does not end the header, and begins nothing else.
                assert_eq!(header_end(&field), (field.len(), field.len()));
                assert_eq!(apply(&field, &[]), field);
            }
        }
    }
}

/// An answer of a policy server.
pub fn fuzz_answer(data: &[u8]) {
    if let Ok(Some(end)) = answer_end(data)
        && let Ok(Action::Refuse(reply)) = Action::parse(data.get(..end).unwrap_or_default())
    {
        let mut out = Vec::new();
        reply.write_to(&mut out);
        assert!(!reply.is_positive() && out.is_ascii());
    }
}

/// A milter that says anything, about a message that says anything: the first octet says how much of the rest is the message.
pub fn fuzz_conversation(data: &[u8]) {
    let Some((share, rest)) = data.split_first() else { return };
    let (message, mut answers) = rest.split_at(rest.len() * usize::from(*share) / 256);
    let envelope = Envelope {
        hostname: "mx.example",
        service: "smtp",
        client: ([192, 0, 2, 7], 25).into(),
        client_name: None,
        server: None,
        helo: "a",
        tls: None,
        account: None,
        id: "1",
        reverse_path: "a@b.example",
        size_declared: None,
        eight_bit: true,
        recipients: &["c@d.example", "e@d.example"],
        // One octet more that says something.
        answers_each: share % 2 == 1,
    };
    let mut conversation = Conversation::new();
    let mut out = Vec::new();
    let mut has_ended = false;
    loop {
        match conversation.poll_next(&envelope, message, &mut out) {
            Next::Send => out.clear(),
            Next::End => {
                has_ended = true;
                break;
            }
            Next::Answer => {
                out.clear();
                let Ok(Some((packet, taken))) = packet::split(answers) else { break };
                if conversation.handle_packet(packet).is_err() {
                    break;
                }
                answers = answers.get(taken..).unwrap_or_default();
            }
        }
    }
    out.clear();
    let _ = conversation.close(&mut out);
    assert!(matches!(packet::split(&out), Ok(Some(_))));
    let (fields, _) = header_end(message);
    let judgement = conversation.judgement();
    assert!(!has_ended || judgement.refused.len() < envelope.recipients.len(), "nobody is left");
    let _ = apply(message.get(..fields).unwrap_or_default(), &judgement.changes.edits);
    // No line of a body ends for some and not for others.
    let body = judgement.changes.body.unwrap_or_default();
    let ends = memchr::memmem::find_iter(&body, b"\r\n").count();
    assert!([b'\r', b'\n'].iter().all(|end| memchr::memchr_iter(*end, &body).count() == ends) && !body.contains(&0));
}

/// A header, a NUL, and packets that change it.
pub fn fuzz_edits(data: &[u8]) {
    let at = memchr::memchr(0, data).unwrap_or(data.len());
    let (header, mut rest) = data.split_at(at);
    rest = rest.get(1..).unwrap_or_default();
    let mut edits = Vec::new();
    while let Ok(Some((Packet { command, data }, taken))) = packet::split(rest) {
        if let Ok(Response::Edit(edit)) = Response::parse(Packet { command, data }, false) {
            edits.push(edit);
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    let (fields, content) = header_end(header);
    assert!(fields <= content && content <= header.len());
    let changed = apply(header.get(..fields).unwrap_or_default(), &edits);
    assert!(!changed.windows(4).any(|window| window == b"\r\n\r\n"));
}
