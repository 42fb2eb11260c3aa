//! Starts the real program in a temporary folder on free loopback ports, talks SMTP to it, ends it.
#![allow(dead_code)] // each test file uses its part
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

pub mod dns;
pub mod peers;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub const WAIT: Duration = Duration::from_secs(60);
/// Each process its own user, as root alone can have it. Numbers nobody has: nothing is added to the machine's users.
pub const USERS: &str =
    "\n[users]\nmode = \"required\"\nedge = \"64001\"\nscan = \"64002\"\nstore = \"64003\"\nsend = \"64004\"\n";

pub fn postring(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_postring")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// A base whose ports nobody uses now.
pub fn port_base() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 200) as u16;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let base = 10_000 + (start + step * 7) % 200 * 100;
        let free = |port: &u16| TcpListener::bind(("127.0.0.1", base + port)).is_ok();
        let udp_free = std::net::UdpSocket::bind(("127.0.0.1", base + 53)).is_ok();
        if udp_free && [24, 25, 53, 80, 465, 587].iter().all(free) {
            return base;
        }
    }
}

pub struct System {
    pub domain: &'static str,
    pub folder: tempfile::TempDir,
    pub base: u16,
    pub passwords: BTreeMap<String, String>,
    process: Option<Child>,
}

/// Rules that only count: for clients who say what comes first, in tests of other things.
pub const RULES_DRY: &str = "\n[policy.rules]\nhelo_own_name = { dry_run = true }\nhelo_address = { dry_run = true }\n\
    helo_not_qualified = { dry_run = true }\nhelo_unknown = { dry_run = true }\nreverse_name_missing = { dry_run = true }\n\
    reverse_name_unconfirmed = { dry_run = true }\nsender_domain_unknown = { dry_run = true }\n";

impl System {
    /// `init` with two accounts; not started.
    pub fn init() -> Self {
        Self::init_domain("test.example")
    }

    /// The same for another domain.
    pub fn init_domain(domain: &'static str) -> Self {
        // Others may pass, as through /srv: started by root, each process may have a user of its own.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(mode).tempdir().unwrap();
        let base = port_base();
        let dir = folder.path().join("p");
        let made = postring(&[
            "init",
            "--dir",
            dir.to_str().unwrap(),
            "--domain",
            domain,
            "--account",
            &format!("alice@{domain}"),
            "--account",
            &format!("bob@{domain}"),
            "--port-base",
            &base.to_string(),
        ]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let passwords = String::from_utf8(made.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| line.split_once(" has the password "))
            .map(|(account, password)| (account.to_owned(), password.to_owned()))
            .collect();
        Self { domain, folder, base, passwords, process: None }
    }

    pub fn start() -> Self {
        let mut system = Self::init();
        system.up();
        system
    }

    pub fn config(&self) -> String {
        self.folder.path().join("p/postring.toml").to_str().unwrap().to_owned()
    }

    pub fn append_config(&self, text: &str) {
        let mut file = std::fs::File::options().append(true).open(self.config()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("p/data")
    }

    /// Where it answers DNS.
    pub fn dns(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.base + 53))
    }

    /// Writes a file beside its zones.
    pub fn write_dns(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join("p/dns").join(name), text).unwrap();
    }

    /// An operator's command that must succeed; gives what it prints.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = postring(&[arguments, &["--config", &self.config()]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}\n{}", self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn maildir(&self, account: &str) -> PathBuf {
        self.data().join("mail").join(self.domain).join(account).join("Maildir")
    }

    /// Starts and waits until all roles are ready.
    pub fn up(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_postring"))
            .args(["up", "--config", &self.config()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        self.wait_ready();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn status(&self) -> Option<serde_json::Value> {
        let output = postring(&["status", "--json", "--config", &self.config()]);
        serde_json::from_slice(&output.stdout).ok()
    }

    pub fn wait_ready(&self) {
        self.wait("all roles to be ready", || self.status().is_some_and(|status| status["ready"] == true));
    }

    pub fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let until = Instant::now() + WAIT;
        while !done() {
            assert!(Instant::now() < until, "waited for {what} in vain\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn pids(&self) -> BTreeMap<String, i32> {
        let text = std::fs::read_to_string(self.data().join("run/children.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub fn supervisor(&self) -> i32 {
        self.process.as_ref().unwrap().id().try_into().unwrap()
    }

    /// SIGTERM, and the end.
    pub fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            signal(process.id().try_into().unwrap(), rustix::process::Signal::TERM);
            let until = Instant::now() + WAIT;
            while process.try_wait().unwrap().is_none() {
                if Instant::now() > until {
                    let _ = process.kill();
                    panic!("did not stop\n{}", self.log());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// kill -9 of the supervisor and of every child.
    pub fn kill_all(&mut self) {
        for pid in self.pids().values().copied().chain([self.supervisor()]) {
            signal(pid, rustix::process::Signal::KILL);
        }
        let _ = self.process.take().unwrap().wait();
    }

    /// kill -9 of the supervisor alone: its children notice and end.
    pub fn kill_supervisor(&mut self) {
        signal(self.supervisor(), rustix::process::Signal::KILL);
        let _ = self.process.take().unwrap().wait();
    }

    /// A connection to port 25 from this address.
    pub fn stream_from(&self, client: &str) -> TcpStream {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&format!("{client}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], self.base + 25)).into()).unwrap();
        TcpStream::from(socket)
    }

    /// The same, greeted.
    pub fn smtp_from(&self, client: &str) -> Smtp {
        Smtp::over(self.stream_from(client)).unwrap()
    }

    /// Alice's newest message with this text, below her Maildir, once it is there.
    pub fn delivered(&self, folder: &str, text: &str) -> String {
        let mut found = None;
        let folder = self.maildir("alice").join(folder);
        self.wait("the file", || {
            let mut texts = files(&folder).into_iter().map(|file| std::fs::read_to_string(file).unwrap());
            found = texts.rfind(|one| one.contains(text));
            found.is_some()
        });
        found.unwrap()
    }

    pub fn smtp(&self) -> Smtp {
        Smtp::connect(self.base + 25).unwrap()
    }

    /// Files in `new/` of an account's inbox.
    pub fn inbox(&self, account: &str) -> Vec<PathBuf> {
        files(&self.maildir(account).join("new"))
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
            if let Some(mut process) = self.process.take() {
                for pid in self.pids().into_values() {
                    signal(pid, rustix::process::Signal::KILL);
                }
                let _ = process.kill();
                let _ = process.wait();
            }
        } else {
            self.down();
        }
    }
}

pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// To a process this test has started.
pub fn signal(pid: i32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// A client in lock step.
pub struct Smtp {
    reader: BufReader<TcpStream>,
    /// What the server has said first.
    pub greeting: String,
}

impl Smtp {
    pub fn connect(port: u16) -> std::io::Result<Self> {
        Self::over(TcpStream::connect(("127.0.0.1", port))?)
    }

    /// Over a connection that is there.
    pub fn over(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(WAIT))?;
        let mut smtp = Self { reader: BufReader::new(stream), greeting: String::new() };
        smtp.greeting = smtp.reply()?;
        Ok(smtp)
    }

    pub fn reply(&mut self) -> std::io::Result<String> {
        let mut all = String::new();
        loop {
            let start = all.len();
            if self.reader.read_line(&mut all)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if all.as_bytes().get(start + 3) != Some(&b'-') {
                return Ok(all);
            }
        }
    }

    /// To write while the replies are read.
    pub fn try_clone(&self) -> TcpStream {
        self.reader.get_ref().try_clone().unwrap()
    }

    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    pub fn say(&mut self, line: &str) -> std::io::Result<String> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// One message (LF or CRLF line ends) to the recipients; the reply to the last dot.
    pub fn send(&mut self, recipients: &[&str], message: &[u8]) -> std::io::Result<String> {
        self.send_from("sender@far.example", recipients, message)
    }

    /// The same from another sender.
    pub fn send_from(&mut self, from: &str, recipients: &[&str], message: &[u8]) -> std::io::Result<String> {
        self.say("EHLO client.example")?;
        self.say(&format!("MAIL FROM:<{from}>"))?;
        for recipient in recipients {
            let reply = self.say(&format!("RCPT TO:<{recipient}>"))?;
            assert!(reply.starts_with("250"), "{reply}");
        }
        let reply = self.say("DATA")?;
        assert!(reply.starts_with("354"), "{reply}");
        self.write(&wire(message))?;
        self.reply()
    }
}

/// What the status page's server answers.
pub fn http(system: &System, path: &str) -> String {
    use std::io::Read;
    let mut stream = TcpStream::connect(("127.0.0.1", system.base + 80)).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// A message as it goes over the wire: CRLF, dots stuffed, the terminator.
pub fn wire(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 20);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// What a delivered file holds behind the fields we have added: everything behind our Received field.
pub fn behind_trace(file: &[u8]) -> &[u8] {
    let mut rest = file;
    let mut ours = false;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let line = &rest[..end];
        let continues = line.starts_with(b" ") || line.starts_with(b"\t");
        if ours && !continues {
            return rest;
        }
        ours |= line.starts_with(b"Received:");
        rest = &rest[end..];
        assert!(!rest.is_empty(), "no trace field of ours");
    }
}
