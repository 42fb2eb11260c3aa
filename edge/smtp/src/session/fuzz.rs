//! A whole conversation out of any bytes, for the fuzzer.

use super::{
    Account, Answer, Client, Protocol, Question, Receiving, RecipientAnswer, ServerConfig, Session, Step, Target, TlsInfo,
};
use crate::body::BodyProgress;
use postring_mail::Now;
use std::sync::Arc;

const NOW: Now = Now { monotonic_ms: 1000, unix_us: 1_795_467_845_000_000 };

/// For the fuzzer and the replay of its inputs: the first byte says which protocol and how the rest is split over packets. In pieces and as a
/// whole the client must hear the same, and the same messages must have come; nothing panics.
#[doc(hidden)]
pub fn fuzz_session(data: &[u8]) {
    let Some((&first, sent)) = data.split_first() else { return };
    // Not STARTTLS: what comes together with it must be told from what comes after.
    let protocol = [Protocol::Smtp, Protocol::Submissions, Protocol::Lmtp][usize::from(first & 3) % 3];
    let piece = usize::from(first >> 2) + 1;
    assert_eq!(converse(protocol, sent, sent.len().max(1)), converse(protocol, sent, piece));
}

/// What the client hears and what messages came.
fn converse(protocol: Protocol, sent: &[u8], piece: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let config = ServerConfig { message_bytes_max: 500, recipients_max: 5, ..ServerConfig::new("mx.here.example", protocol) };
    let client = Client { address: [192, 0, 2, 7].into(), port: 40_000 };
    let mut session: Session<()> = Session::new(Arc::new(config), client, NOW);
    if protocol == Protocol::Submissions {
        session.handle_tls_established(TlsInfo { version: "TLSv1.3", cipher: "TLS13_AES_256_GCM_SHA384" }, NOW);
    }
    let (mut out, mut messages, mut content) = (Vec::new(), Vec::new(), Vec::new());
    for packet in sent.chunks(piece) {
        let mut rest = packet;
        loop {
            while let Some(step) = session.poll_step() {
                match step {
                    Step::Ask(question) => session.handle_answer(answer(question), NOW, &mut out),
                    Step::OpenBody { .. } => {
                        content.clear();
                        session.body_opened(NOW, &mut out);
                    }
                    Step::ContinueBody { .. } => session.body_opened(NOW, &mut out),
                    Step::Submit => {
                        messages.push(content.clone());
                        session.handle_receipt((), messages.len(), &[], NOW, &mut out);
                    }
                    Step::StartTls => unreachable!("it is not offered"),
                    Step::Close => return (out, messages),
                }
            }
            let taken = match session.receiving() {
                _ if rest.is_empty() => break,
                Receiving::Commands => session.handle_bytes(rest, NOW, &mut out),
                Receiving::Body => {
                    let before = content.len();
                    content.extend_from_slice(rest);
                    let progress = session.handle_body(&mut content, before, rest.len(), NOW, &mut out);
                    taken(progress, &mut content, before, rest)
                }
                Receiving::Discard => {
                    let mut scratch = rest.to_vec();
                    let progress = session.handle_body(&mut scratch, 0, rest.len(), NOW, &mut out);
                    taken(progress, &mut scratch, 0, rest)
                }
                Receiving::Nothing => unreachable!("it was told all it asked"),
            };
            assert!((1..=rest.len()).contains(&taken));
            rest = rest.get(taken..).unwrap_or_default();
        }
    }
    (out, messages)
}

/// Cuts the buffer to what is content; the bytes of the packet that were used.
fn taken(progress: BodyProgress, buffer: &mut Vec<u8>, before: usize, packet: &[u8]) -> usize {
    match progress {
        BodyProgress::More { decoded } => {
            buffer.truncate(decoded);
            packet.len()
        }
        BodyProgress::End { decoded, rest } => {
            buffer.truncate(decoded);
            rest - before
        }
    }
}

fn answer(question: Question) -> Answer {
    match question {
        Question::Connect => Answer::Welcome,
        Question::Sender { address } => Answer::Sender(address.starts_with('u')),
        Question::Recipient { address } | Question::Verify { address } if address.starts_with('u') => {
            Answer::Recipient(RecipientAnswer::Accept([Target::Account { id: 7, shard: 1 }].into_iter().collect()))
        }
        Question::Recipient { .. } | Question::Verify { .. } => Answer::Recipient(RecipientAnswer::Unknown),
        Question::Authenticate { name, .. } if name == "u" => {
            Answer::Authenticated(Account { id: 7, address: "u@here.example".into() })
        }
        Question::Authenticate { .. } => Answer::AuthenticationFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Commands, their parts and contents, in any order: chunks whose octets are commands, and commands that are missing octets.
    const PIECES: [&str; 20] = [
        "EHLO c\r\n",
        "LHLO c\r\n",
        "MAIL FROM:<a@b>\r\n",
        "MAIL FROM:<u@b> SMTPUTF8 PRDR RET=FULL\r\n",
        "RCPT TO:<u@h>\r\n",
        "RCPT TO:<ü@h> NOTIFY=NEVER\r\n",
        "DATA\r\n",
        "BDAT 0\r\n",
        "BDAT 4\r\n",
        "BDAT 6 LAST\r\n",
        "BDAT 0 LAST\r\n",
        "BDAT 499\r\n",
        "BDAT 9999999999\r\n",
        "RSET\r\n",
        "NOOP\r\n",
        "AUTH PLAIN AHUAcA==\r\n",
        ".\r\n",
        "x",
        "\r",
        "\n",
    ];

    proptest! {
        #[test]
        fn any_order_is_heard_the_same_in_pieces(
            first in any::<u8>(), begun in any::<bool>(), order in proptest::collection::vec(0..PIECES.len(), 0..40),
        ) {
            let hello = if first & 3 == 2 { PIECES[1] } else { PIECES[0] };
            let begin = if begun { [hello, PIECES[2], PIECES[4]].concat() } else { String::new() };
            let sent: String = order.into_iter().map(|index| PIECES[index]).collect();
            fuzz_session(&[&[first], begin.as_bytes(), sent.as_bytes()].concat());
        }
    }
}
