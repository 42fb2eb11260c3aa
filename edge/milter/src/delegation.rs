//! Policy delegation in Postfix's protocol (SMTPD_POLICY_README): a question is lines of `name=value` and an empty line, and so is its answer.

use crate::problem::Problem;
use crate::text;
use memchr::memmem;
use postring_mail::Reply;
use std::net::SocketAddr;

/// Octets of an answer.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Octets of one value of ours.
const VALUE_BYTES_MAX: usize = 1024;

/// When a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// At RCPT.
    Recipient,
    /// At the last dot.
    EndOfMessage,
}

/// What is told of a client and a mail. Postfix 3.5 sends these attributes, and others of things we do not have; those are sent empty.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// When it is asked.
    pub state: State,
    /// EHLO rather than HELO.
    pub extended: bool,
    /// What the client calls itself.
    pub helo: &'a str,
    /// The message's id; empty before the last dot.
    pub queue_id: &'a str,
    /// The sender; empty for the null reverse-path.
    pub sender: &'a str,
    /// The recipient in question; at the end of the message the only one, else empty.
    pub recipient: &'a str,
    /// Recipients of the message; 0 before the last dot.
    pub recipient_count: usize,
    /// The client.
    pub client: SocketAddr,
    /// Its name by DNS, if it leads back.
    pub client_name: Option<&'a str>,
    /// The same for all questions about one message, and for no other.
    pub instance: &'a str,
    /// The account that has authenticated.
    pub account: Option<&'a str>,
    /// Octets of the message; at RCPT as declared by SIZE=, 0 without it.
    pub size: u64,
    /// Version and cipher of TLS, if used.
    pub tls: Option<(&'a str, &'a str)>,
    /// Our end of the connection, if known.
    pub server: Option<SocketAddr>,
    /// The service it came to, like "smtp".
    pub service: &'a str,
}

impl Request<'_> {
    /// Writes the question.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let client = self.client.ip().to_canonical().to_string();
        let server = self.server.map(|server| server.ip().to_canonical().to_string()).unwrap_or_default();
        let server_port = self.server.map(|server| server.port().to_string()).unwrap_or_default();
        let name = self.client_name.unwrap_or("unknown");
        let (protocol, cipher) = self.tls.unwrap_or_default();
        let (count, size, port) = (self.recipient_count.to_string(), self.size.to_string(), self.client.port().to_string());
        for (attribute, value) in [
            ("request", "smtpd_access_policy"),
            ("protocol_state", if self.state == State::Recipient { "RCPT" } else { "END-OF-MESSAGE" }),
            ("protocol_name", if self.extended { "ESMTP" } else { "SMTP" }),
            ("client_address", &client),
            ("client_name", name),
            ("client_port", &port),
            // Only a name that leads back is known.
            ("reverse_client_name", name),
            ("server_address", &server),
            ("server_port", &server_port),
            ("helo_name", self.helo),
            ("sender", self.sender),
            ("recipient", self.recipient),
            ("recipient_count", &count),
            ("queue_id", self.queue_id),
            ("instance", self.instance),
            ("size", &size),
            ("etrn_domain", ""),
            ("stress", ""),
            // Both mechanisms we have (PLAIN, LOGIN) are a name and a password.
            ("sasl_method", if self.account.is_some() { "PLAIN" } else { "" }),
            ("sasl_username", self.account.unwrap_or_default()),
            ("sasl_sender", ""),
            ("ccert_subject", ""),
            ("ccert_issuer", ""),
            ("ccert_fingerprint", ""),
            ("ccert_pubkey_fingerprint", ""),
            ("encryption_protocol", protocol),
            ("encryption_cipher", cipher),
            ("encryption_keysize", key_bits(cipher)),
            ("policy_context", self.service),
        ] {
            out.extend_from_slice(attribute.as_bytes());
            out.push(b'=');
            // What would begin another attribute is left out.
            out.extend(value.bytes().filter(|byte| !matches!(byte, 0 | b'\r' | b'\n')).take(VALUE_BYTES_MAX));
            out.push(b'\n');
        }
        out.push(b'\n');
    }
}

/// Bits of a cipher's key, by its name.
fn key_bits(cipher: &str) -> &'static str {
    if cipher.contains("256") && cipher.contains("AES") || cipher.contains("CHACHA20") {
        "256"
    } else if cipher.contains("128") {
        "128"
    } else if cipher.is_empty() {
        "0"
    } else {
        ""
    }
}

/// Octets of the answer with its empty line, if it is whole.
///
/// # Errors
/// It is too long.
pub fn answer_end(bytes: &[u8]) -> Result<Option<usize>, Problem> {
    let end = memmem::find(bytes, b"\n\n").map(|at| at + 2);
    let with_returns = memmem::find(bytes, b"\n\r\n").map(|at| at + 3);
    let end = end.into_iter().chain(with_returns).min();
    if end.unwrap_or(bytes.len()) > ANSWER_BYTES_MAX {
        return Err(Problem::BadAnswer);
    }
    Ok(end)
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is taken; nobody else is asked.
    Permit,
    /// Nothing is said.
    Dunno,
    /// This reply.
    Refuse(Reply),
    /// This reply, if nobody else refuses.
    DeferIfPermit(Reply),
    /// This reply, if somebody else refuses.
    DeferIfReject(Reply),
    /// A header field, as it was written.
    Prepend(String),
    /// Only for the log.
    Note(String),
    /// What we do not do, by its name.
    Unsupported(String),
}

impl Action {
    /// Understands an answer.
    ///
    /// # Errors
    /// It has no action.
    pub fn parse(answer: &[u8]) -> Result<Self, Problem> {
        let answer = String::from_utf8_lossy(answer.get(..answer.len().min(ANSWER_BYTES_MAX)).unwrap_or_default());
        let action = answer.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix("action="));
        let action = action.ok_or(Problem::BadAnswer)?.trim();
        let (word, rest) = action.split_once([' ', '\t']).unwrap_or((action, ""));
        let rest = rest.trim();
        let reply = |code: u16, otherwise: &str| text::reply(code, (7, 1), rest, otherwise);
        Ok(match word.to_ascii_uppercase().as_str() {
            "" => return Err(Problem::BadAnswer),
            "OK" | "PERMIT" => Self::Permit,
            "DUNNO" => Self::Dunno,
            //= Postfix access(5)
            //# REJECT optional text...: Reject the address etc. that matches the pattern. Reply with "$access_map_reject_code optional text..."
            "REJECT" => Self::Refuse(reply(554, "Access denied")),
            "DEFER" => Self::Refuse(reply(450, "Try again later")),
            "DEFER_IF_PERMIT" => Self::DeferIfPermit(reply(450, "Try again later")),
            "DEFER_IF_REJECT" => Self::DeferIfReject(reply(450, "Try again later")),
            "PREPEND" if !rest.is_empty() => Self::Prepend(rest.to_owned()),
            "INFO" | "WARN" => Self::Note(rest.chars().filter(|c| !c.is_control()).take(400).collect()),
            digits if digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                match text::refusal(action, (7, 1), "Access denied") {
                    Some(refusal) => Self::Refuse(refusal),
                    // Postfix takes every other number for OK.
                    None => Self::Permit,
                }
            }
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Self::Permit,
            other => Self::Unsupported(other.chars().filter(char::is_ascii_graphic).take(40).collect()),
        })
    }
}

/// What several answers to one question come to, asked one after the other.
#[derive(Debug, Default)]
pub struct Decision {
    if_permitted: Option<Reply>,
    if_rejected: Option<Reply>,
}

impl Decision {
    /// Takes the next answer: what is decided with it, if it decides; then nobody else is asked.
    #[must_use]
    pub fn take(&mut self, action: &Action) -> Option<Option<Reply>> {
        match action {
            Action::Permit => Some(self.if_permitted.take()),
            Action::Refuse(reply) => Some(Some(match self.if_rejected.take() {
                Some(softer) if reply.is_permanent() => softer,
                _ => reply.clone(),
            })),
            Action::DeferIfPermit(reply) => {
                self.if_permitted.get_or_insert_with(|| reply.clone());
                None
            }
            Action::DeferIfReject(reply) => {
                self.if_rejected.get_or_insert_with(|| reply.clone());
                None
            }
            Action::Dunno | Action::Prepend(_) | Action::Note(_) | Action::Unsupported(_) => None,
        }
    }

    /// What is decided when all were asked and none has.
    #[must_use]
    pub fn end(self) -> Option<Reply> {
        self.if_permitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(state: State) -> Request<'static> {
        Request {
            state,
            extended: true,
            helo: "mail.far.example",
            queue_id: "",
            sender: "a\n@far.example",
            recipient: "alice@test.example",
            recipient_count: 0,
            client: "[::ffff:192.0.2.7]:4711".parse().unwrap(),
            client_name: None,
            instance: "6.1",
            account: None,
            size: 12_345,
            tls: Some(("TLSv1.3", "TLS13_AES_256_GCM_SHA384")),
            server: Some("192.0.2.1:25".parse().unwrap()),
            service: "smtp",
        }
    }

    #[test]
    fn a_question_is_lines_and_an_empty_line() {
        let mut out = Vec::new();
        request(State::Recipient).write_to(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address=192.0.2.7\nclient_name=unknown\n\
             client_port=4711\nreverse_client_name=unknown\nserver_address=192.0.2.1\nserver_port=25\nhelo_name=mail.far.example\n\
             sender=a@far.example\nrecipient=alice@test.example\nrecipient_count=0\nqueue_id=\ninstance=6.1\nsize=12345\netrn_domain=\n\
             stress=\nsasl_method=\nsasl_username=\nsasl_sender=\nccert_subject=\nccert_issuer=\nccert_fingerprint=\n\
             ccert_pubkey_fingerprint=\nencryption_protocol=TLSv1.3\nencryption_cipher=TLS13_AES_256_GCM_SHA384\n\
             encryption_keysize=256\npolicy_context=smtp\n\n"
        );
    }

    #[test]
    fn answers_end_with_an_empty_line() {
        assert_eq!(answer_end(b"action=DUNNO\n"), Ok(None));
        assert_eq!(answer_end(b"action=DUNNO\n\nmore"), Ok(Some(14)));
        assert_eq!(answer_end(b"action=OK\r\n\r\n"), Ok(Some(13)));
        assert_eq!(answer_end(&[b'x'; ANSWER_BYTES_MAX + 1]), Err(Problem::BadAnswer));
    }

    #[test]
    fn actions() {
        let parsed = |action: &str| Action::parse(format!("x=y\naction={action}\n\n").as_bytes());
        let refusal =
            |code, subject, detail, text: &str| Action::Refuse(Reply::with_text(code, subject, detail, text.to_owned()));
        for (action, expected) in [
            ("DUNNO", Action::Dunno),
            ("ok", Action::Permit),
            ("12345", Action::Permit),
            ("250 fine", Action::Permit),
            ("REJECT", refusal(554, 7, 1, "Access denied")),
            ("reject 5.7.8  not\tyou", refusal(554, 7, 8, "not?you")),
            ("DEFER later", refusal(450, 7, 1, "later")),
            ("550 5.1.1 no", refusal(550, 1, 1, "no")),
            ("450", refusal(450, 7, 1, "Access denied")),
            ("DEFER_IF_PERMIT Greylisted", Action::DeferIfPermit(Reply::with_text(450, 7, 1, "Greylisted".into()))),
            ("PREPEND X-A: b", Action::Prepend("X-A: b".into())),
            ("INFO seen", Action::Note("seen".into())),
            ("HOLD", Action::Unsupported("HOLD".into())),
            ("REDIRECT x@y.example", Action::Unsupported("REDIRECT".into())),
            ("PREPEND", Action::Unsupported("PREPEND".into())),
        ] {
            assert_eq!(parsed(action), Ok(expected), "{action}");
        }
        for bad in [&b"action=\n\n"[..], b"action= \n\n", b"\naction=OK\n\n", b"", b"acti"] {
            assert_eq!(Action::parse(bad), Err(Problem::BadAnswer));
        }
    }

    #[test]
    fn several_answers_come_to_one() {
        let decided = |actions: &[&str]| {
            let mut decision = Decision::default();
            for action in actions {
                let action = Action::parse(format!("action={action}\n\n").as_bytes()).unwrap();
                if let Some(decided) = decision.take(&action) {
                    return decided.map(|reply| reply.to_string());
                }
            }
            decision.end().map(|reply| reply.to_string())
        };
        for (actions, expected) in [
            (&["DUNNO", "PREPEND X: y"][..], None),
            (&["OK", "REJECT"], None),
            (&["DEFER_IF_PERMIT a", "DUNNO"], Some("450 4.7.1 a")),
            (&["DEFER_IF_PERMIT a", "OK"], Some("450 4.7.1 a")),
            (&["DEFER_IF_PERMIT a", "REJECT b"], Some("554 5.7.1 b")),
            (&["DEFER_IF_REJECT a", "REJECT b"], Some("450 4.7.1 a")),
            (&["DEFER_IF_REJECT a", "DUNNO"], None),
        ] {
            assert_eq!(decided(actions).as_deref(), expected, "{actions:?}");
        }
    }
}
