//! Dovecot reads what we deliver, while we deliver; and what it has moved or deleted does not come back after a crash.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{System, files, postring};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const MESSAGE: &[u8] = b"From: <sender@far.example>\nTo: <alice@test.example>\nSubject: read me\n\nA line.\n.dots\n\nlast\n";

struct Dovecot {
    process: Child,
    port: u16,
}

impl Dovecot {
    /// Its own instance in `folder`, for the mail under `mail`; everybody may log in with any password.
    fn start(folder: &Path, mail: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::create_dir_all(folder).unwrap();
        let text = format!(
            "base_dir = {0}/run\nstate_dir = {0}/state\nprotocols = imap\nlisten = 127.0.0.1\nlog_path = {0}/log\nssl = no\n\
             disable_plaintext_auth = no\nfirst_valid_uid = 64003\nfirst_valid_gid = 64003\nmail_location = maildir:{1}/%d/%n/Maildir\n\
             passdb {{\n driver = static\n args = nopassword=y\n}}\n\
             userdb {{\n driver = static\n args = uid=64003 gid=64003 home={0}/home allow_all_users=yes\n}}\n\
             service imap-login {{\n chroot =\n inet_listener imap {{\n address = 127.0.0.1\n port = {port}\n }}\n inet_listener imaps {{\n port = 0\n }}\n}}\n",
            folder.display(),
            mail.display()
        );
        let config = folder.join("dovecot.conf");
        std::fs::write(&config, text).unwrap();
        let process =
            Command::new("dovecot").args(["-F", "-c"]).arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { process, port }
    }

    fn imap(&self, system: &System) -> Imap {
        let mut stream = None;
        system.wait("Dovecot", || {
            stream = TcpStream::connect(("127.0.0.1", self.port)).ok();
            stream.is_some()
        });
        let stream = stream.unwrap();
        stream.set_read_timeout(Some(common::WAIT)).unwrap();
        let mut imap = Imap { reader: BufReader::new(stream) };
        let mut greeting = String::new();
        imap.reader.read_line(&mut greeting).unwrap();
        assert!(imap.say("LOGIN alice@test.example x").contains("a OK"), "{greeting}");
        imap
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        common::signal(self.process.id().try_into().unwrap(), rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

struct Imap {
    reader: BufReader<TcpStream>,
}

impl Imap {
    /// One command; everything up to its tagged answer, literals included.
    fn say(&mut self, command: &str) -> String {
        self.reader.get_mut().write_all(format!("a {command}\r\n").as_bytes()).unwrap();
        let mut all = String::new();
        loop {
            let start = all.len();
            assert!(self.reader.read_line(&mut all).unwrap() > 0, "Dovecot has closed the connection: {all}");
            let line = all[start..].to_owned();
            if let Some(length) = line.trim_end().strip_suffix('}').and_then(|line| line.rsplit_once('{')) {
                let mut literal = vec![0; length.1.parse().unwrap()];
                self.reader.read_exact(&mut literal).unwrap();
                all.push_str(&String::from_utf8(literal).unwrap());
            } else if line.starts_with("a ") {
                return all;
            }
        }
    }
}

#[test]
fn dovecot_reads_moves_and_deletes() {
    if std::env::var_os("POSTRING_INTEROP").is_none() || !rustix::process::geteuid().is_root() {
        eprintln!("Dovecot needs root: not tested");
        return;
    }
    let mut system = System::init();
    // Dovecot works as the owner of the mail, and never as root. Numbers nobody has: nothing is added to the machine's users.
    system.append_config(
        "\n[users]\nmode = \"required\"\nedge = \"64001\"\nscan = \"64002\"\nstore = \"64003\"\nsend = \"64004\"\n",
    );
    system.up();
    std::fs::write(
        system.data().join("rules/junk.yar"),
        "rule Pills { meta: score = 7 strings: $a = \"cheap pills\" condition: $a }",
    )
    .unwrap();
    let dovecot = Dovecot::start(&system.folder.path().join("dovecot"), &system.data().join("mail"));
    for _ in 0..3 {
        assert!(system.smtp().send(&["alice@test.example"], MESSAGE).unwrap().starts_with("250"));
    }
    system.wait("the files", || system.inbox("alice").len() == 3);
    system.wait("junk", || {
        assert!(system.smtp().send(&["alice@test.example"], b"Subject: cheap pills\n\nbuy\n").unwrap().starts_with("250"));
        !files(&system.maildir("alice").join(".Junk/new")).is_empty()
    });
    let on_disk = std::fs::read(&system.inbox("alice")[0]).unwrap();
    let mut imap = dovecot.imap(&system);
    let selected = imap.say("SELECT INBOX");
    let count = |text: &str| -> usize {
        text.lines().find_map(|line| line.strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse().ok()).unwrap()
    };
    // Those of the rule's first seconds stand here, too.
    assert!(count(&selected) >= 3, "{selected}");
    let fetched = imap.say("FETCH 1:* (RFC822.SIZE BODY.PEEK[])");
    let wire: String = String::from_utf8(on_disk.clone()).unwrap().replace('\n', "\r\n");
    assert!(fetched.contains(&wire) && fetched.contains(&format!("RFC822.SIZE {}", wire.len())), "{fetched}");
    assert!(imap.say("LIST \"\" *").contains("Junk"), "the folder is listed");
    let mut junk = 0;
    system.wait("junk over IMAP", || {
        let folder = system.maildir("alice").join(".Junk");
        junk = files(&folder.join("new")).len() + files(&folder.join("cur")).len();
        imap.say("STATUS Junk (MESSAGES)").contains(&format!("MESSAGES {junk})"))
    });

    // Mail comes while the folder is open.
    assert!(system.smtp().send(&["alice@test.example"], b"Subject: fresh\n\nx\n").unwrap().starts_with("250"));
    let before = count(&selected);
    system.wait("the fresh mail over IMAP", || imap.say("NOOP").contains(&format!("* {} EXISTS", before + 1)));

    // The user reads one, moves one, deletes one; then everything is killed, and the journal is replayed as after a loss of power.
    for command in ["STORE 1 +FLAGS (\\Seen)", "COPY 2 Junk", "STORE 2,3 +FLAGS (\\Deleted)", "EXPUNGE"] {
        assert!(imap.say(command).contains("a OK"), "{command}");
    }
    let left = before + 1 - 2;
    system.kill_all();
    system.wait("the ports", || TcpListener::bind(("127.0.0.1", system.base + 25)).is_ok());
    for shard in files(&system.data().join("journal")) {
        // What is marked as applied is of another boot.
        let mark = shard.join("applied");
        if mark.exists() {
            std::fs::write(mark, "another-boot 00000000000000000099\n").unwrap();
        }
    }
    system.up();
    assert!(system.smtp().send(&["alice@test.example"], b"Subject: last\n\nx\n").unwrap().starts_with("250"));
    let mut imap = dovecot.imap(&system);
    system.wait("the last mail", || count(&imap.say("SELECT INBOX")) == left + 1);
    let subjects = imap.say("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])");
    assert_eq!(subjects.matches("Subject: read me").count(), 1, "{subjects}");
    assert!(imap.say("STATUS Junk (MESSAGES)").contains(&format!("MESSAGES {})", junk + 1)));
    assert!(postring(&["status", "--config", &system.config()]).status.success());
}
