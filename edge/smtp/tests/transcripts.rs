//! Conversations as test data: every file below `tests/rfc*/` is one, shelved by RFC and section.
//!
//! ```text
//!   # comment                        ! setting value    (see `Setup`)
//!   C: bytes the client sends, CR LF behind them        c: the same without the CR LF
//!   S: a line of the server          ? what the session asks or wants        = what it is told
//!   +5s  time passes
//! ```
//! In `C:` and `c:` there are `\r \n \0 \t \\ \xHH`, and `{x*80}` for 80 times x. `C:` lines that follow each other arrive together.
//! Every conversation is held twice: with what comes together in one piece, and a byte at a time; the outcome must be the same
//! (but for `! whole`, where what arrives together is the point).
//!
//! `REWRITE=1 cargo test -p postring-smtp --test transcripts` writes what happens now into the files; read the difference.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod transcript_text;

use postring_mail::dsn::Notify;
use postring_mail::{Now, Reply};
use postring_smtp::{
    Account, Answer, BodyProgress, Client, Protocol, Question, Receiving, RecipientAnswer, ServerConfig, Session, Step, Target,
    TlsInfo,
};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use transcript_text::bytes;

const TLS: TlsInfo = TlsInfo { version: "TLSv1.3", cipher: "TLS13_AES_256_GCM_SHA384" };

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// What the `!` lines say.
struct Setup {
    config: ServerConfig,
    /// `! ready connected|ehlo|tls|auth|mail|rcpt`: how far the conversation is when the file begins; what led there is not shown.
    ready: String,
    /// `! whole`: not a byte at a time.
    whole: bool,
    /// `! xclient`: the peer may say for whom it speaks.
    xclient: bool,
}

struct Conversation {
    session: Session<()>,
    now: Now,
    out: Vec<u8>,
    pending: Vec<u8>,
    content: Vec<u8>,
    piece: usize,
    shown: String,
}

impl Conversation {
    fn new(setup: &Setup, piece: usize) -> Self {
        let client = Client { address: CLIENT, port: 40_000 };
        let now = Now { monotonic_ms: 1000, unix_us: 1_795_467_845_000_000 };
        let mut session = Session::new(Arc::new(setup.config.clone()), client, now);
        if setup.xclient {
            session.allow_xclient();
        }
        let mut conversation =
            Self { session, now, out: Vec::new(), pending: Vec::new(), content: Vec::new(), piece, shown: String::new() };
        let way: &[&[&str]] = &[
            &["= welcome"],
            &["C: EHLO client.example"],
            &["C: STARTTLS", "= tls", "C: EHLO client.example"],
            &["C: AUTH PLAIN AHUAcA==", "= account 7 u@here.example"],
            &["C: MAIL FROM:<s@there.example>"],
            &["C: RCPT TO:<u@here.example>", "= local 7/1"],
        ];
        let take: &[usize] = match setup.ready.as_str() {
            "" => &[],
            "connected" => &[0],
            "ehlo" => &[0, 1],
            "tls" => &[0, 1, 2],
            "auth" => &[0, 1, 2, 3],
            "mail" => &[0, 1, 4],
            "rcpt" => &[0, 1, 4, 5],
            other => panic!("! ready {other}"),
        };
        for line in take.iter().flat_map(|at| way[*at]) {
            let line = if setup.config.protocol == Protocol::Lmtp { line.replace("EHLO", "LHLO") } else { (*line).to_owned() };
            conversation.stimulus(&line);
            conversation.run();
        }
        conversation.run();
        if !setup.ready.is_empty() {
            conversation.shown.clear();
        }
        conversation
    }

    /// Takes a `C:`, `c:`, `=` or `+` line.
    fn stimulus(&mut self, line: &str) {
        if let Some(text) = line.strip_prefix("C: ").or(line.strip_prefix("C:")) {
            self.pending.extend(bytes(text));
            self.pending.extend(b"\r\n");
        } else if let Some(text) = line.strip_prefix("c: ") {
            self.pending.extend(bytes(text));
        } else if let Some(text) = line.strip_prefix('+') {
            let (number, scale) = text.strip_suffix("ms").map_or((text.trim_end_matches('s'), 1000), |number| (number, 1));
            self.now = self.now.after_ms(number.parse::<u64>().unwrap() * scale);
            if self.session.receiving() != Receiving::Nothing && self.session.poll_timeout() <= self.now.monotonic_ms {
                self.session.handle_timeout(&mut self.out);
            }
        } else {
            self.tell(line.strip_prefix("= ").unwrap_or_else(|| panic!("no such line: {line}")));
        }
    }

    fn tell(&mut self, text: &str) {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (now, out) = (self.now, &mut self.out);
        let answer = match word {
            "welcome" => Answer::Welcome,
            "refused" => Answer::Refused(reply(rest)),
            "yes" => Answer::Sender(true),
            "no" => Answer::Sender(false),
            "local" => Answer::Recipient(RecipientAnswer::Accept(
                rest.split(' ')
                    .map(|target| {
                        let (id, shard) = target.split_once('/').unwrap();
                        Target::Account { id: id.parse().unwrap(), shard: shard.parse().unwrap() }
                    })
                    .collect(),
            )),
            "remote" => Answer::Recipient(RecipientAnswer::Accept(
                [Target::Remote(String::from_utf8(bytes(rest)).unwrap())].into_iter().collect(),
            )),
            "unknown" => Answer::Recipient(RecipientAnswer::Unknown),
            "not-hosted" => Answer::Recipient(RecipientAnswer::NotHosted),
            "disabled" => Answer::Recipient(RecipientAnswer::Disabled),
            "not-from-you" => Answer::Recipient(RecipientAnswer::Refused(reply(rest))),
            "account" => {
                let (id, address) = rest.split_once(' ').unwrap();
                Answer::Authenticated(Account { id: id.parse().unwrap(), address: address.to_owned() })
            }
            "failed" => Answer::AuthenticationFailed,
            "temporary" => Answer::TemporaryFailure,
            "slot" | "room" => return self.session.body_opened(now, out),
            "no-slot" => return self.session.body_refused(&reply(rest), out),
            "overflow" => return self.session.body_overflowed(reply(rest)),
            "tls" => return self.session.handle_tls_established(TLS, now),
            "receipt" => {
                let (id, but) = rest.split_once(" but ").unwrap_or((rest, ""));
                let refused = but.split(" and ").filter_map(|one| one.split_once(' '));
                let refused: Vec<(usize, Reply)> = refused.map(|(at, text)| (at.parse().unwrap(), reply(text))).collect();
                return self.session.handle_receipt((), id, &refused, now, out);
            }
            "refusal" => return self.session.handle_refusal(&reply(rest), now, out),
            "shutdown" => return self.session.handle_shutdown(out),
            other => panic!("no such answer: {other}"),
        };
        self.session.handle_answer(answer, now, out);
    }

    /// Lets the session take what it can, and shows what it does.
    fn run(&mut self) {
        loop {
            let before = self.pending.len();
            let piece = before.min(self.piece);
            match self.session.receiving() {
                Receiving::Commands if before > 0 => {
                    let taken = self.session.handle_bytes(&self.pending[..piece], self.now, &mut self.out);
                    self.pending.drain(..taken);
                }
                Receiving::Body | Receiving::Discard if before > 0 => {
                    if self.session.receiving() == Receiving::Discard {
                        self.content.clear();
                    }
                    let piece = piece.min(self.session.content_left());
                    // Not a byte of room beyond what was received: the decoder must not want any.
                    let decoded = self.content.len();
                    self.content.extend(self.pending.drain(..piece));
                    let buffer = &mut self.content[..];
                    match self.session.handle_body(buffer, decoded, piece, self.now, &mut self.out) {
                        BodyProgress::More { decoded } => self.content.truncate(decoded),
                        BodyProgress::End { decoded, rest } => {
                            self.pending.splice(0..0, self.content[rest..].to_vec());
                            self.content.truncate(decoded);
                        }
                    }
                }
                _ => {}
            }
            self.show();
            if self.pending.is_empty() || self.pending.len() == before {
                break;
            }
        }
        if self.session.receiving() == Receiving::Nothing && !self.pending.is_empty() {
            // Kept for later, as the daemon does, until the end.
        }
    }

    fn show(&mut self) {
        let out = std::mem::take(&mut self.out);
        for line in out.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r\n").expect("a reply ends with CR LF");
            let _ = writeln!(self.shown, "S: {}", line.escape_ascii().to_string().replace("\\'", "'").replace("\\\"", "\""));
        }
        while let Some(step) = self.session.poll_step() {
            let text = match step {
                Step::Ask(Question::Connect) if self.session.client().address == CLIENT => "connect".to_owned(),
                Step::Ask(Question::Connect) => {
                    let client = self.session.client();
                    format!("connect {}:{}", client.address, client.port)
                }
                Step::Ask(Question::Sender { address }) => format!("sender {address}"),
                Step::Ask(Question::Recipient { address }) => format!("recipient {address}"),
                Step::Ask(Question::Verify { address }) => format!("verify {address}"),
                Step::Ask(Question::Authenticate { name, password }) => {
                    format!("authenticate {name} {}", password.escape_ascii())
                }
                Step::OpenBody { size_declared } => {
                    self.content.clear();
                    size_declared.map_or("slot".to_owned(), |size| format!("slot size={size}"))
                }
                Step::ContinueBody { bytes } => format!("room {bytes}"),
                Step::StartTls => "tls".to_owned(),
                Step::Submit => self.submitted(),
                Step::Close => "close".to_owned(),
            };
            let _ = writeln!(self.shown, "? {text}");
        }
    }

    fn submitted(&mut self) -> String {
        let transaction = self.session.transaction();
        let mut text = format!("submit <{}>", transaction.reverse_path);
        if let Some(returned) = transaction.returned {
            let _ = write!(text, " ret={returned:?}");
        }
        if !transaction.envelope_id.is_empty() {
            let _ = write!(text, " envid={}", transaction.envelope_id);
        }
        for recipient in &transaction.recipients {
            let _ = write!(text, " <{}>", recipient.address);
            if recipient.notify != Notify::default() {
                let _ = write!(text, " notify={}", recipient.notify);
            }
            if !recipient.original_recipient.is_empty() {
                let _ = write!(text, " orcpt={}", recipient.original_recipient);
            }
        }
        if transaction.eight_bit {
            text.push_str(" 8bit");
        }
        if transaction.bare_line_ends {
            text.push_str(" bare");
        }
        if transaction.binary {
            text.push_str(" binary");
        }
        if transaction.require_tls {
            text.push_str(" requiretls");
        }
        if transaction.smtputf8 {
            text.push_str(" utf8");
        }
        let _ = write!(text, " {}", std::mem::take(&mut self.content).escape_ascii());
        text
    }
}

fn reply(text: &str) -> Reply {
    let mut parts = text.splitn(3, ' ');
    let code = parts.next().unwrap().parse().unwrap();
    let status: Vec<u16> = parts.next().unwrap().split('.').map(|part| part.parse().unwrap()).collect();
    Reply::with_text(code, status[1], status[2], parts.next().unwrap().to_owned())
}

fn setup(text: &str) -> Setup {
    let mut setup = Setup {
        config: ServerConfig::new("mx.here.example", Protocol::Smtp),
        ready: String::new(),
        whole: false,
        xclient: false,
    };
    for line in text.lines().filter_map(|line| line.strip_prefix("! ")) {
        let (word, value) = line.split_once(' ').unwrap_or((line, ""));
        let config = &mut setup.config;
        match word {
            "protocol" => {
                config.protocol = match value {
                    "smtp" => Protocol::Smtp,
                    "submission" => Protocol::Submission,
                    "submissions" => Protocol::Submissions,
                    "lmtp" => Protocol::Lmtp,
                    other => panic!("! protocol {other}"),
                }
            }
            "tls" => config.tls_available = true,
            "size" => config.message_bytes_max = value.parse().unwrap(),
            "recipients" => config.recipients_max = value.parse().unwrap(),
            "errors" => config.errors_max = value.parse().unwrap(),
            "idle" => config.idle_commands_max = value.parse().unwrap(),
            "ready" => value.clone_into(&mut setup.ready),
            "vrfy" => config.verify = true,
            "bare" => config.take_bare_line_ends = true,
            "whole" => setup.whole = true,
            "xclient" => setup.xclient = true,
            other => panic!("! {other}"),
        }
    }
    setup
}

/// The file as it would be if every expectation were what happens.
fn held(text: &str, piece: usize) -> String {
    let setup = setup(text);
    let piece = if setup.whole { usize::MAX } else { piece };
    let mut result = String::new();
    let mut conversation: Option<Conversation> = None;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("S:") || line.starts_with('?') {
            continue;
        }
        if line.is_empty() || line.starts_with('#') || line.starts_with('!') {
            result.push_str(line);
            result.push('\n');
            if lines.peek().is_some_and(|next| !next.starts_with('!') && !next.starts_with('#')) && conversation.is_none() {
                let begun = conversation.insert(Conversation::new(&setup, piece));
                result.push_str(&std::mem::take(&mut begun.shown));
            }
            continue;
        }
        let conversation = conversation.as_mut().expect("a comment begins the file");
        result.push_str(line);
        result.push('\n');
        conversation.stimulus(line);
        let sends = |line: &str| line.starts_with("C:") || line.starts_with("c:");
        if sends(line) && lines.peek().is_some_and(|next| sends(next)) {
            continue;
        }
        conversation.run();
        result.push_str(&std::mem::take(&mut conversation.shown));
    }
    result
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            found.push(path);
        }
    }
}

#[test]
fn every_conversation_goes_as_written() {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut found);
    found.sort();
    assert!(found.len() >= 60, "only {} conversations", found.len());
    let mut wrong = String::new();
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let whole = held(&text, usize::MAX);
        if std::env::var_os("REWRITE").is_some() && whole != text {
            std::fs::write(&path, &whole).unwrap();
        } else if whole != text {
            let _ = write!(wrong, "\n--- {} goes\n{whole}--- and should\n{text}", path.display());
        }
        let bytewise = held(&text, 1);
        if bytewise != whole {
            let _ = write!(wrong, "\n--- {} a byte at a time goes\n{bytewise}--- but in one piece\n{whole}", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

//= RFC 2034 section 4
//# These codes must appear in all 2xx, 4xx, and 5xx response lines other than initial greeting and any response to HELO or EHLO.
#[test]
fn every_reply_has_its_enhanced_code() {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut found);
    let has_code = |line: &str| {
        let mut parts = line.get(4..).unwrap_or_default().split(' ').next().unwrap_or_default().split('.');
        let class = parts.next().is_some_and(|class| class == &line[..1]);
        let number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        class && parts.next().is_some_and(number) && parts.next().is_some_and(number) && parts.next().is_none()
    };
    let mut replies = 0;
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut in_greeting = false;
        for line in text.lines().filter_map(|line| line.strip_prefix("S: ")) {
            // The greeting and the first line of the reply to HELO and EHLO begin with our name, the others of that reply are keywords.
            let begins_greeting = line.get(4..).is_some_and(|rest| rest.starts_with("mx.here.example"));
            let greets = begins_greeting || in_greeting || line.starts_with("501 Syntax: HELO");
            in_greeting = greets && line.as_bytes().get(3) == Some(&b'-');
            if matches!(line.as_bytes().first(), Some(b'2' | b'4' | b'5')) && !greets {
                assert!(has_code(line), "{}: {line}", path.display());
                replies += 1;
            }
        }
    }
    assert!(replies > 200, "only {replies} replies");
}
