//! One run: a generator sends, and what arrived is counted.

use crate::server::{self, Server};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    SmtpSource,
    Ours,
}

impl Sender {
    pub const BOTH: [Self; 2] = [Self::SmtpSource, Self::Ours];

    pub fn name(self) -> &'static str {
        match self {
            Self::SmtpSource => "smtp-source",
            Self::Ours => "postring-bench",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Messages a second at even times. smtp-source knows no rate: it is started anew for each message.
    Rate(f64),
    /// Closed loop: so many sessions in one process, each sends its next message when the last is answered.
    Sessions(usize),
}

pub struct Run {
    pub rate: f64,
    /// Of the server, a message.
    pub cpu_ms: f64,
    /// Of the generator, a message, its start included.
    pub own_cpu_ms: f64,
    /// Journal commits a message.
    pub commits: f64,
    pub accepted: u64,
    pub delivered: usize,
    /// Delivered with every byte of the message.
    pub whole: usize,
}

/// One server, and what of its Maildirs was seen.
pub struct Bench {
    server: Server,
    smtp_source: PathBuf,
    ours: PathBuf,
    message: Vec<u8>,
    /// A folder with the message as its only file.
    folder: tempfile::TempDir,
    seen: HashSet<PathBuf>,
}

impl Bench {
    pub fn new(server: Server, smtp_source: PathBuf, message: Vec<u8>) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        std::fs::write(folder.path().join("message"), &message).map_err(|error| error.to_string())?;
        let ours = std::env::current_exe().map_err(|error| error.to_string())?;
        Ok(Self { server, smtp_source, ours, message, folder, seen: HashSet::new() })
    }

    #[allow(clippy::cast_precision_loss)] // counts of a benchmark
    pub fn run(&mut self, sender: Sender, load: Load, count: usize) -> Result<Run, String> {
        let counters = || self.server.accepted_and_commits().ok_or("Postring does not say how many messages it has accepted");
        let a_message = |value: f64| value / count as f64;
        let before = counters()?;
        let (cpu, own_cpu) = (self.server.cpu_seconds(), children_cpu_seconds());
        let begun = Instant::now();
        match (sender, load) {
            (Sender::SmtpSource, Load::Rate(rate)) => {
                let mut children = Vec::new();
                for number in 0..count {
                    let due = begun + Duration::from_secs_f64(number as f64 / rate);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    children.push(self.start(self.smtp_source(1, 1))?);
                }
                children.into_iter().try_for_each(finish)?;
            }
            (Sender::SmtpSource, Load::Sessions(sessions)) => finish(self.start(self.smtp_source(sessions, count))?)?,
            (Sender::Ours, load) => finish(self.start(self.ours(load, count))?)?,
        }
        let seconds = begun.elapsed().as_secs_f64();
        let own_cpu_ms = a_message((children_cpu_seconds() - own_cpu) * 1000.0);
        self.server.wait_delivered(self.seen.len() + count)?;
        let cpu_ms = a_message((self.server.cpu_seconds() - cpu) * 1000.0);
        let now = counters()?;
        let (mut delivered, mut whole) = (0, 0);
        for path in self.server.delivered() {
            if !self.seen.contains(&path) {
                delivered += 1;
                whole += usize::from(is_whole(&path, &self.message));
                self.seen.insert(path);
            }
        }
        let (accepted, commits) = (now.0 - before.0, a_message((now.1 - before.1) as f64));
        Ok(Run { rate: count as f64 / seconds, cpu_ms, own_cpu_ms, commits, accepted, delivered, whole })
    }

    /// Both: a connection a message, HELO, one recipient, and an error when a message is not accepted.
    fn smtp_source(&self, sessions: usize, count: usize) -> Command {
        let mut command = Command::new(&self.smtp_source);
        command
            .args(["-s", &sessions.to_string(), "-m", &count.to_string(), "-M", "load.example", "-f", "load@far.example"])
            .args(["-t", &format!("u00@{}", server::DOMAIN), "-F"])
            .arg(self.folder.path().join("message"))
            .arg(format!("inet:127.0.0.1:{}", self.server.port));
        command
    }

    fn ours(&self, load: Load, count: usize) -> Command {
        let mut command = Command::new(&self.ours);
        command
            .args(["smtp", "--count", &count.to_string(), "--helo", "--boxes", "1", "--json", "--domain", server::DOMAIN])
            .args(["--target", &format!("127.0.0.1:{}", self.server.port), "--folder"])
            .arg(self.folder.path());
        match load {
            Load::Rate(rate) => command.args(["--rate", &rate.to_string()]),
            Load::Sessions(sessions) => command.args(["--connections", &sessions.to_string()]),
        };
        command
    }

    fn start(&self, mut command: Command) -> Result<Child, String> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))
    }
}

fn finish(child: Child) -> Result<(), String> {
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// User and system time of the children that were waited for: cutime and cstime of proc(5), in the kernel's hundredths of a second.
fn children_cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may hold spaces, in its brackets.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    fields.skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// smtp-source ends a message that it takes from a file with an empty line.
fn is_whole(path: &Path, message: &[u8]) -> bool {
    let text: Vec<u8> = std::fs::read(path).unwrap_or_default().into_iter().filter(|byte| *byte != b'\r').collect();
    text.trim_ascii_end().ends_with(message.trim_ascii_end())
}
