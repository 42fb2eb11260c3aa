//! The conversations of the session's tests, held with the running program: over TCP, octet by octet, and over TLS, whose certificate is verified.
//! The client believes nothing: every reply is CR LF lines of printable ASCII with one code, no longer than the RFC allows, with an enhanced code of
//! the same class; there is not one octet more than the conversation has, and what was acknowledged stands in a mailbox, every octet of it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on fails

mod common;
#[path = "../../../edge/smtp/tests/transcript_text/mod.rs"]
mod transcript_text;

use common::System;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use transcript_text::bytes;

/// RFC 5321 section 4.5.3.1.5: a reply line with its CR LF.
const REPLY_BYTES_MAX: usize = 512;
/// Local parts the conversations deliver to.
const ACCOUNTS: [&str; 4] = ["u", "v", "w", "a"];

/// Answers of the world around the session that this world gives by itself. Others (a failing disk, a refusing policy) are made elsewhere.
const ANSWERS: [&str; 7] = ["welcome", "local", "unknown", "not-hosted", "slot", "room", "receipt"];

/// What the client says at once, and what comes back.
#[derive(Default)]
struct Exchange {
    sent: Vec<u8>,
    replies: Vec<String>,
    /// Recipients and content of a message that is acknowledged.
    submitted: Option<(Vec<String>, Vec<u8>)>,
    ends: bool,
}

/// A conversation that can be held with a server nobody else tells anything.
struct Conversation {
    name: String,
    ready: String,
    port: u16,
    exchanges: Vec<Exchange>,
}

impl Conversation {
    /// Reads a file; `None` if it needs another world: other limits, time that passes, answers of others.
    fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).unwrap();
        let (mut ready, mut port, mut tls) = (String::new(), 25, false);
        let mut exchanges = vec![Exchange::default()];
        let mut receipt = String::new();
        let (mut submitted, mut asked) = (None, "");
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (mark, rest) = line.split_at(line.find(' ').map_or(line.len(), |at| at + 1));
            let last = exchanges.last_mut()?;
            match mark.trim_end() {
                "!" => match rest.split_once(' ').unwrap_or((rest, "")) {
                    ("ready", value) => value.clone_into(&mut ready),
                    ("protocol", "lmtp") => port = 24,
                    ("tls", _) => tls = true,
                    ("whole", _) => {}
                    _ => return None,
                },
                said @ ("C:" | "c:") => {
                    if !last.replies.is_empty() || last.ends || submitted.is_some() {
                        exchanges.push(Exchange::default());
                    }
                    let last = exchanges.last_mut()?;
                    last.sent.extend(bytes(rest));
                    last.sent.extend_from_slice(if said == "C:" { b"\r\n" } else { b"" });
                }
                // The number of a message is the server's.
                "S:" => last.replies.push(match rest.strip_suffix(&receipt) {
                    Some(before) if !receipt.is_empty() => format!("{before}*"),
                    _ => rest.to_owned(),
                }),
                "?" if rest == "close" => last.ends = true,
                "?" => {
                    if let Some(message) = rest.strip_prefix("submit ") {
                        // What is stored is something else then (`smtp_extensions.rs`).
                        if message.contains(" binary ") {
                            return None;
                        }
                        submitted = Some(read_submitted(message));
                    }
                    asked = rest.strip_prefix("recipient ").unwrap_or_default();
                }
                "=" => {
                    let (answer, value) = rest.split_once(' ').unwrap_or((rest, ""));
                    // Whose mailbox it is, is not the conversation's to say; that it is one of ours is.
                    let is_ours = ACCOUNTS.iter().any(|account| asked.strip_suffix("@here.example") == Some(account));
                    if !ANSWERS.contains(&answer) || value.contains(' ') || is_ours != (answer == "local") && !asked.is_empty() {
                        return None;
                    }
                    if answer == "receipt" {
                        value.clone_into(&mut receipt);
                        last.submitted = submitted.take();
                    }
                }
                _ => return None,
            }
        }
        // This server offers TLS, and the conversation begins within it or knows nothing of it.
        let asks_for_tls = exchanges.iter().any(|exchange| exchange.sent.starts_with(b"STARTTLS"));
        if (tls && ready != "tls") || asks_for_tls {
            return None;
        }
        let name = path.strip_prefix(shelves()).unwrap().display().to_string();
        Some(Self { name, ready, port, exchanges })
    }
}

/// `<from> <to> ... words content`: the recipients and the content.
fn read_submitted(text: &str) -> (Vec<String>, Vec<u8>) {
    let mut recipients = Vec::new();
    let mut rest = text;
    loop {
        let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        let is_word = ["ret=", "envid=", "notify=", "orcpt="].iter().any(|key| word.starts_with(key))
            || ["8bit", "binary", "requiretls", "utf8"].contains(&word);
        if let Some(address) = word.strip_prefix('<').and_then(|word| word.strip_suffix('>')) {
            recipients.push(address.to_owned());
        } else if !is_word {
            recipients.remove(0);
            return (recipients, bytes(&rest.replace("\\'", "'").replace("\\\"", "\"")));
        }
        rest = behind;
    }
}

fn shelves() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../edge/smtp/tests")
}

fn conversations(folder: &Path, found: &mut Vec<Conversation>) {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            conversations(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            found.extend(Conversation::read(&path));
        }
    }
}

trait Wire: Read + Write {
    /// Nothing more will be said.
    fn finish(&mut self);
}

impl Wire for TcpStream {
    fn finish(&mut self) {
        // Where the server has closed first, there is nobody to say it to.
        let _ = self.shutdown(std::net::Shutdown::Write);
    }
}

impl Wire for StreamOwned<ClientConnection, TcpStream> {
    fn finish(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
    }
}

struct Client {
    wire: BufReader<Box<dyn Wire>>,
}

impl Client {
    fn new(wire: impl Wire + 'static) -> Self {
        Self { wire: BufReader::new(Box::new(wire)) }
    }

    /// A reply, its lines without CR LF.
    fn reply(&mut self) -> Result<Vec<String>, String> {
        let mut lines: Vec<String> = Vec::new();
        loop {
            let mut line = Vec::new();
            self.wire.read_until(b'\n', &mut line).map_err(|error| format!("no reply behind {lines:?}: {error}"))?;
            let wrong = |what: &str| Err(format!("{what}: {:?}", String::from_utf8_lossy(&line)));
            let Some(text) = line.strip_suffix(b"\r\n") else { return wrong("a line without CR LF") };
            if line.len() > REPLY_BYTES_MAX {
                return wrong("too long");
            }
            //= RFC 5321 section 4.2
            //# Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
            let text = match std::str::from_utf8(text) {
                Ok(text) if text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) => text,
                _ => return wrong("not printable ASCII"),
            };
            let code = text.get(..3).unwrap_or_default();
            let digits = code.as_bytes();
            if !(matches!(digits, [b'2'..=b'5', b'0'..=b'5', b'0'..=b'9'])
                && [Some(&b' '), Some(&b'-')].contains(&text.as_bytes().get(3)))
            {
                return wrong("no reply code");
            }
            if lines.first().is_some_and(|first| first.get(..3) != Some(code)) {
                return wrong("another code within the reply");
            }
            let enhanced = text.get(4..).and_then(|rest| rest.split(' ').next()).filter(|word| word.split('.').count() == 3);
            if enhanced.is_some_and(|enhanced| {
                enhanced.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
                    && !enhanced.starts_with(code.get(..1).unwrap())
            }) {
                return wrong("the enhanced code is of another class");
            }
            let is_last = text.as_bytes()[3] == b' ';
            lines.push(text.to_owned());
            if is_last {
                return Ok(lines);
            }
        }
    }

    fn say(&mut self, octets: &[u8], piece: usize) -> Result<(), String> {
        let wire = self.wire.get_mut();
        octets
            .chunks(piece)
            .try_for_each(|piece| wire.write_all(piece).and_then(|()| wire.flush()))
            .map_err(|error| error.to_string())
    }

    fn ask(&mut self, line: &str) -> Result<Vec<String>, String> {
        self.say(format!("{line}\r\n").as_bytes(), usize::MAX)?;
        self.reply()
    }

    /// There must be nothing more.
    fn end(mut self) -> Result<(), String> {
        self.wire.get_mut().finish();
        let mut more = Vec::new();
        match self.wire.read_to_end(&mut more) {
            // Closed with something of ours unread, which the server may do.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset && more.is_empty() => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(_) if more.is_empty() => Ok(()),
            Ok(_) => Err(format!("something more: {:?}", String::from_utf8_lossy(&more))),
        }
    }
}

/// A line of a greeting's keywords depends on what the server is set to; its reply's form does not.
fn is_like(expected: &str, found: &str) -> bool {
    match expected.split_once('*') {
        Some((before, behind)) => found.starts_with(before) && found.ends_with(behind),
        None => expected == found,
    }
}

struct World {
    system: System,
    tls: Arc<ClientConfig>,
}

impl World {
    fn start() -> Self {
        let mut system = System::init_domain("here.example");
        let certificate = std::fs::read(system.folder.path().join("p/tls/certificate.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&certificate).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = Arc::new(versions.with_root_certificates(roots).with_no_client_auth());
        system.append_config("\n[policy.limits]\ntarpit_ms = 0\n");
        system.up();
        for account in ACCOUNTS {
            system.run(&["account", "add", &format!("{account}@here.example")]);
        }
        system.wait("the accounts", || {
            let mut smtp = system.smtp();
            smtp.say("EHLO client.example").unwrap();
            smtp.say("MAIL FROM:<>").unwrap();
            smtp.say("RCPT TO:<a@here.example>").unwrap().starts_with("250")
        });
        Self { system, tls }
    }

    fn connect(&self, port: u16) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.system.base + port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        stream
    }

    /// A client that has come as far as the conversation begins.
    fn client(&self, conversation: &Conversation, secure: bool) -> Result<Client, String> {
        let stream = self.connect(conversation.port);
        let mut client = Client::new(stream.try_clone().unwrap());
        if conversation.ready.is_empty() {
            return Ok(client);
        }
        let hello = if conversation.port == 24 { "LHLO client.example" } else { "EHLO client.example" };
        let greeting = client.reply()?;
        assert!(greeting.first().unwrap().starts_with("220 mx.here.example "), "{greeting:?}");
        if secure {
            client.ask(hello)?;
            assert!(client.ask("STARTTLS")?.concat().starts_with("220 2.0.0 "));
            let name = ServerName::try_from("mx.here.example").unwrap();
            let connection = ClientConnection::new(Arc::clone(&self.tls), name).unwrap();
            client = Client::new(StreamOwned::new(connection, stream));
        }
        let steps: &[&str] = match conversation.ready.as_str() {
            "connected" => &[],
            "ehlo" | "tls" => &[hello],
            "mail" => &[hello, "MAIL FROM:<s@there.example>"],
            "rcpt" => &[hello, "MAIL FROM:<s@there.example>", "RCPT TO:<u@here.example>"],
            other => panic!("! ready {other}"),
        };
        for step in steps {
            let reply = client.ask(step)?;
            assert!(reply.concat().starts_with("250"), "{step}: {reply:?}");
        }
        Ok(client)
    }

    /// Holds a conversation; what the server did that it must not.
    fn hold(&self, conversation: &Conversation, secure: bool, piece: usize) -> Result<(), String> {
        let mut client = self.client(conversation, secure)?;
        for exchange in &conversation.exchanges {
            // It may close before it has been told everything.
            client.say(&exchange.sent, piece).or_else(|error| if exchange.ends { Ok(()) } else { Err(error) })?;
            let mut expected = exchange.replies.as_slice();
            while !expected.is_empty() {
                let reply = client.reply()?;
                let length = expected.iter().position(|line| line.as_bytes().get(3) == Some(&b' ')).unwrap() + 1;
                let (lines, rest) = expected.split_at(length);
                // The keywords are those of this server's settings.
                let is_greeting = length > 1 && lines[0].starts_with("250-mx.here.example");
                let is_same = reply.len() == length && lines.iter().zip(&reply).all(|(line, found)| is_like(line, found));
                if !(is_same || is_greeting && reply[0] == lines[0] && reply.len() > 1) {
                    return Err(format!("{reply:?} instead of {lines:?}"));
                }
                expected = rest;
            }
            if let Some((recipients, content)) = &exchange.submitted {
                self.find(recipients, content)?;
            }
        }
        client.end()
    }

    /// The newest message of each recipient must be this one; it is taken away.
    fn find(&self, recipients: &[String], content: &[u8]) -> Result<(), String> {
        let wanted = String::from_utf8_lossy(content).replace("\r\n", "\n");
        for recipient in recipients {
            let account = recipient.split('@').next().unwrap();
            let mut files = Vec::new();
            self.system.wait("the message", || {
                files = self.system.inbox(account);
                !files.is_empty()
            });
            for file in files {
                let text = std::fs::read(&file).unwrap();
                std::fs::remove_file(&file).unwrap();
                if !String::from_utf8_lossy(&text).ends_with(&wanted) {
                    return Err(format!("{recipient} was given {:?} instead of {wanted:?}", String::from_utf8_lossy(&text)));
                }
            }
        }
        Ok(())
    }
}

#[test]
fn the_running_server_holds_the_conversations() {
    let mut found = Vec::new();
    conversations(&shelves(), &mut found);
    let world = World::start();
    let (mut held, mut wrong) = ([0; 3], String::new());
    for conversation in &found {
        let can_be_secure = conversation.ready.as_str() != "" && conversation.ready != "connected" && conversation.port == 25;
        let clear = conversation.ready != "tls";
        for (at, (secure, piece, can)) in
            [(false, usize::MAX, clear), (false, 1, clear), (true, usize::MAX, can_be_secure)].into_iter().enumerate()
        {
            if !can {
                continue;
            }
            held[at] += 1;
            if let Err(error) = world.hold(conversation, secure, piece) {
                let how = ["at once", "by octets", "over TLS"][at];
                wrong += &format!("{} {how}: {error}\n", conversation.name);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(held[0] >= 60 && held[2] >= 50, "only {held:?} conversations were held");
}
