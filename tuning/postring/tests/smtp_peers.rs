//! Other people's clients against the running server: each brings a message that must arrive as it was sent, and one for nobody, of which its user must be
//! told why it was refused. (swaks: `flow.rs`, `outbound.rs`; OpenSSL's handshakes: `tls.rs`.)

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use base64::Engine;
use common::System;
use common::peers::{tool, wanted};

/// Lines that begin with dots, text that is no ASCII, a line of white space, and the longest line there may be (RFC 5321 section 4.5.3.1.6).
fn body(word: &str) -> String {
    format!("{word}\n.\n..two\n.hidden\n\u{30ae}\u{30bc} \u{fc}ber\n \t \n{}\nFrom here\n", "x".repeat(998))
}

fn message(word: &str) -> String {
    format!(
        "From: Alice <alice@test.example>\nTo: bob@test.example\nSubject: {word}\nDate: Sun, 29 Nov 2026 12:00:00 +0000\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{}",
        body(word)
    )
}

/// Bob's message that begins with this word, as his reader finds it.
fn arrived(system: &System, word: &str) -> String {
    let mut found = None;
    system.wait(word, || {
        let texts = system.inbox("bob").into_iter().map(|file| std::fs::read_to_string(file).unwrap());
        found = texts.into_iter().find(|text| text.contains(&format!("\n\n{word}\n")));
        found.is_some()
    });
    found.unwrap()
}

/// Bob must have got these lines, and nothing behind them.
fn assert_arrived(system: &System, word: &str) {
    let text = arrived(system, word);
    assert_eq!(text.split_once("\n\n").unwrap().1, body(word), "{text}");
}

const NOBODY: &str = "550 5.1.1 No such mailbox";

#[test]
fn msmtp() {
    if !wanted(&["msmtp"]) {
        return;
    }
    let system = System::start();
    let certificate = system.folder.path().join("p/tls/certificate.pem");
    let file = system.folder.path().join("msmtprc");
    // Its certificate is for the host's name, which only the configuration knows here.
    let account = |name: &str, port: u16, tls: &str, login: &str| {
        format!(
            "account {name}\nhost 127.0.0.1\nport {}\nfrom alice@test.example\ndomain client.example\n{tls}{login}\n",
            system.base + port
        )
    };
    let trust = format!("tls on\ntls_trust_file {}\ntls_host_override mx.test.example\n", certificate.display());
    let login = format!("auth plain\nuser alice@test.example\npassword {}\n", system.passwords["alice@test.example"]);
    let text = [
        account("plain", 25, "tls off\n", ""),
        account("starttls", 587, &trust, &login),
        account("tls", 465, &format!("{trust}tls_starttls off\n"), &login),
    ];
    std::fs::write(&file, text.concat()).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let send = |name: &str, recipient: &str, message: &str| {
        tool("msmtp", &["-C", file.to_str().unwrap(), "-a", name, recipient], message)
    };
    for name in ["plain", "starttls", "tls"] {
        let word = format!("msmtp-{name}");
        let (sent, said) = send(name, "bob@test.example", &message(&word));
        assert!(sent, "{name}: {said}");
        assert_arrived(&system, &word);
        let (sent, said) = send(name, "nobody@test.example", &message(&word));
        assert!(!sent && said.contains(NOBODY), "{name}: {said}");
    }
    let (sent, said) = send("plain", "x@far.example", &message("x"));
    assert!(!sent && said.contains("550 5.7.1 "), "{said}");
}

/// Its own MIME, with an attachment, pipelined over one connection.
#[test]
fn nodemailer() {
    if !wanted(&["node"]) {
        return;
    }
    const PROGRAM: &str = r#"
        const mailer = require('/usr/share/nodejs/nodemailer');
        const [port, secure, password] = process.argv.slice(1);
        const login = password ? { user: 'alice@test.example', pass: password } : undefined;
        const transport = mailer.createTransport({ host: '127.0.0.1', port: Number(port), secure: secure === 'secure', auth: login,
            name: 'client.example', tls: { rejectUnauthorized: false }, pool: true, maxConnections: 1 });
        const mail = { from: 'Alice <alice@test.example>', subject: 'grüße', text: '.\n..dots\nünï\n',
            attachments: [{ filename: 'a.bin', content: Buffer.from([...Array(3000).keys()].map(n => n % 256)) }] };
        const send = to => transport.sendMail({ ...mail, to }).then(info => info.response, error => error.response || String(error));
        (async () => {
            console.log(await send('bob@test.example'));
            console.log(await send('nobody@test.example'));
            console.log(await send('bob@test.example'));
            transport.close();
        })();
    "#;
    let system = System::start();
    let password = &system.passwords["alice@test.example"];
    for (count, (port, secure, password)) in
        [(25, "plain", ""), (587, "plain", password), (465, "secure", password)].iter().enumerate()
    {
        let (ran, said) = tool("node", &["-e", PROGRAM, &(system.base + port).to_string(), secure, password], "");
        let lines: Vec<&str> = said.lines().collect();
        assert!(ran && lines.len() == 3, "{said}");
        assert!(lines[0].starts_with("250 2.0.0 ") && lines[1] == NOBODY && lines[2].starts_with("250 2.0.0 "), "{said}");
        system.wait("both", || system.inbox("bob").len() == (count + 1) * 2);
    }
    let text = std::fs::read_to_string(system.inbox("bob").pop().unwrap()).unwrap();
    assert!(text.contains("a.bin") && text.contains("\n.\n..dots\n"), "{text}");
    let octets: Vec<u8> = (0..3000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let encoded: String =
        text.split("base64\n").last().unwrap().split("\n\n").nth(1).unwrap().split("\n--").next().unwrap().split('\n').collect();
    assert_eq!(base64::engine::general_purpose::STANDARD.decode(encoded).unwrap(), octets, "{text}");
}

/// Python's smtplib, with an international address.
#[test]
fn smtplib() {
    if !wanted(&["python3"]) {
        return;
    }
    const PROGRAM: &str = r#"
import smtplib, ssl, sys
port, certificate, password, message = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.stdin.read().replace('\n', '\r\n')
with smtplib.SMTP('127.0.0.1', port, 'client.example') as smtp:
    if password:
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False
        smtp.starttls(context=context)
        smtp.login('alice@test.example', password)
    smtp.ehlo_or_helo_if_needed()
    options = ['SMTPUTF8', 'BODY=8BITMIME']
    print(smtp.sendmail('alice@test.example', ['bob@test.example', 'nobody@test.example'], message.encode(), options))
    for recipient in ['nobody@test.example', 'jürgen@test.example']:
        try:
            smtp.sendmail('alice@test.example', [recipient], message.encode(), options)
        except smtplib.SMTPRecipientsRefused as error:
            print(list(error.recipients.values())[0])
"#;
    let system = System::start();
    let certificate = system.folder.path().join("p/tls/certificate.pem");
    for (port, password) in [(25, ""), (587, system.passwords["alice@test.example"].as_str())] {
        let word = format!("smtplib-{port}");
        let arguments = ["-c", PROGRAM, &(system.base + port).to_string(), certificate.to_str().unwrap(), password];
        let (ran, said) = tool("python3", &arguments, &message(&word));
        assert!(ran, "{said}");
        let refused = "(550, b'5.1.1 No such mailbox')";
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines, [&format!("{{'nobody@test.example': {refused}}}"), refused, refused]);
        assert_arrived(&system, &word);
    }
}

/// Postfix's load generator; and OpenSSL with a whole message typed into it.
#[test]
fn smtp_source_and_s_client() {
    if !wanted(&["smtp-source", "openssl"]) {
        return;
    }
    let system = System::start();
    let server = format!("127.0.0.1:{}", system.base + 25);
    let common = ["-c", "-s", "4", "-m", "40", "-r", "2", "-l", "20000", "-f", "alice@test.example"];
    let (sent, said) = tool("smtp-source", &[&common[..], &["-t", "bob@test.example", &server]].concat(), "");
    // Its recipients are numbered: 1bob, 2bob, who live nowhere.
    assert!(!sent && said.contains("recipient rejected: 550 5.1.1 No such mailbox"), "{said}");
    for (alias, target) in [("1bob@test.example", "bob@test.example"), ("2bob@test.example", "alice@test.example")] {
        system.run(&["alias", "add", alias, target]);
    }
    system.wait("the aliases", || {
        let mut smtp = system.smtp();
        smtp.say("EHLO client.example").unwrap();
        smtp.say("MAIL FROM:<>").unwrap();
        smtp.say("RCPT TO:<2bob@test.example>").unwrap().starts_with("250")
    });
    let (sent, said) = tool("smtp-source", &[&common[..], &["-t", "bob@test.example", &server]].concat(), "");
    assert!(sent, "{said}");
    system.wait("all", || ["alice", "bob"].map(|account| system.inbox(account).len()) == [40, 40]);

    let certificate = system.folder.path().join("p/tls/certificate.pem");
    let typed = format!(
        "EHLO client.example\nMAIL FROM:<alice@test.example>\nrcpt TO:<nobody@test.example>\nrcpt TO:<bob@test.example>\nDATA\n{}.\nQUIT\n",
        message("openssl").replace("\n.", "\n..")
    );
    let trust = ["-CAfile", certificate.to_str().unwrap(), "-verify_return_error", "-verify_hostname", "mx.test.example"];
    let quiet = ["s_client", "-connect", &server, "-starttls", "smtp", "-crlf", "-quiet", "-ign_eof"];
    let (_, said) = tool("openssl", &[&quiet[..], &trust].concat(), &typed);
    assert!(said.contains(NOBODY) && said.contains("250 2.0.0 Ok: on disk as ") && said.contains("221 2.0.0 "), "{said}");
    assert_arrived(&system, "openssl");
}
