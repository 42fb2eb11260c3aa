//! A server under load: in a cgroup of its own (so that every process counts, short ones too), pinned to one core, on a fresh volume.

mod bare;
mod dns;
mod last_dots;
mod postfix;
mod postring;
mod rspamd;

pub use dns::Place;
pub use last_dots::LastDots;
pub use postfix::MAIN_AS_COMPARED;
pub use postring::{Flavour, Setup};

use crate::machine::Cores;
use crate::volume::{self, Volume};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Mailboxes u00 and up.
pub const BOXES: usize = 16;
pub const DOMAIN: &str = "bench.example";

pub struct Server {
    pub name: &'static str,
    pub port: u16,
    /// None where no cgroup can be made: CPU is not counted then.
    group: Option<PathBuf>,
    cores: Option<Cores>,
    /// What was started and stays in the foreground.
    processes: Vec<Child>,
    stop: Option<String>,
    /// Program and configuration, to be asked for its status.
    control: Option<(PathBuf, PathBuf)>,
    // Last: unmounted when all processes are gone.
    volume: Volume,
}

fn make_group(name: &str) -> Result<PathBuf, String> {
    let mounts = std::fs::read_to_string("/proc/mounts").map_err(|error| error.to_string())?;
    let root = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (path, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    });
    let root = root.ok_or("no cgroup2 is mounted: CPU of all processes cannot be counted")?;
    // A number: one process may start several servers of a name at once.
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    // A shell writes to it.
    let name = name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let group = root.join(format!("postring-bench-{name}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&group).map_err(|error| format!("{}: {error}", group.display()))?;
    Ok(group)
}

impl Server {
    /// `makeshift`: without a loop mount or a cgroup it goes on, and says so.
    fn new(name: &'static str, port: u16, cores: Option<Cores>, makeshift: bool) -> Result<Self, String> {
        Self::on(|| Volume::make(3072, makeshift), name, port, cores, makeshift)
    }

    fn on(
        volume: impl FnOnce() -> Result<Volume, String>,
        name: &'static str,
        port: u16,
        cores: Option<Cores>,
        makeshift: bool,
    ) -> Result<Self, String> {
        let group = match make_group(name) {
            Err(error) if !makeshift => return Err(error),
            group => group.ok(),
        };
        let volume = volume().inspect_err(|_| {
            let _ = group.as_ref().map(std::fs::remove_dir);
        })?;
        Ok(Self { name, port, group, cores, processes: Vec::new(), stop: None, control: None, volume })
    }

    /// The head of a result: where it stores, and whether its CPU is counted.
    pub fn text(&self) -> String {
        let counted = if self.group.is_some() { "" } else { "; no cgroup: CPU not counted" };
        format!("{}{counted}", self.volume.text())
    }

    /// Runs a command in the cgroup, on the server's core.
    fn command(&self, command: &str) -> Command {
        let mut run = Command::new("sh");
        let join = self.group.as_ref().map_or(String::new(), |group| format!("echo $$ > {}/cgroup.procs && ", group.display()));
        let pin = self.cores.map_or(String::new(), |cores| format!("taskset -c {} ", cores.server));
        run.args(["-c", &format!("{join}exec {pin}{command}")]);
        run.stdin(Stdio::null()).stdout(Stdio::null());
        run
    }

    /// Starts what stays in the foreground; what it says goes to its log.
    fn start(&mut self, command: &str) -> Result<(), String> {
        let log = std::fs::File::options().create(true).append(true).open(self.folder().join("log"));
        let log = log.map_err(|error| error.to_string())?;
        self.processes.push(self.command(command).stderr(log).spawn().map_err(|error| error.to_string())?);
        Ok(())
    }

    fn wait_port(&self) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if Instant::now() > until {
                return Err(format!("{} does not listen on port {}\n{}", self.name, self.port, self.log()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.volume.path().join("log")).unwrap_or_default()
    }

    /// User and system time of all its processes so far, seconds; not a number where it is not counted.
    pub fn cpu_seconds(&self) -> f64 {
        let Some(group) = &self.group else { return f64::NAN };
        let text = std::fs::read_to_string(group.join("cpu.stat")).unwrap_or_default();
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok()).unwrap_or(f64::NAN);
        (field("user_usec") + field("system_usec")) / 1e6
    }

    /// Its processes: those of the cgroup, or without one those below the processes that were started.
    pub fn pids(&self) -> Vec<u32> {
        let numbers = |path: PathBuf| -> Vec<u32> {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
        };
        if let Some(group) = &self.group {
            return numbers(group.join("cgroup.procs"));
        }
        let mut found: Vec<u32> = self.processes.iter().map(Child::id).collect();
        let mut next = 0;
        while let Some(pid) = found.get(next) {
            found.extend(numbers(format!("/proc/{pid}/task/{pid}/children").into()));
            next += 1;
        }
        found
    }

    /// Memory of all its processes, shared pages counted once, MiB.
    #[allow(clippy::cast_precision_loss)] // kibibytes
    pub fn memory_mib(&self) -> f64 {
        self.pids().iter().map(|pid| crate::memory::of(*pid).proportional as f64).sum::<f64>() / 1024.0
    }

    /// Messages in its Maildirs.
    pub fn delivered(&self) -> Vec<PathBuf> {
        volume::delivered(&self.volume.path())
    }

    /// Waits until this many messages stand in Maildirs.
    pub fn wait_delivered(&self, count: usize) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            let delivered = self.delivered().len();
            if delivered >= count {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("{}: {delivered} of {count} messages were delivered in two minutes", self.name));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn folder(&self) -> PathBuf {
        self.volume.path()
    }
}

/// Whether a program of Debian's package postfix is there.
pub fn postfix_program(name: &str) -> Result<PathBuf, String> {
    program(name, "postfix")
}

/// Whether a program of one of Debian's packages is there.
pub fn program(name: &str, package: &str) -> Result<PathBuf, String> {
    ["/usr/sbin", "/usr/bin", "/usr/lib/postfix/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
        .ok_or_else(|| format!("{name} is missing: apt-get install --no-install-recommends {package}"))
}

fn end(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    // One that is gone already is what we want.
    let _ = pid.map(|pid| rustix::process::kill_process(pid, signal));
}

impl Drop for Server {
    fn drop(&mut self) {
        use rustix::process::Signal;
        if let Some(stop) = &self.stop {
            // What it leaves is ended below.
            let _ = Command::new("sh").args(["-c", stop]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        let left = self.pids();
        for process in &mut self.processes {
            end(process.id(), Signal::TERM);
            let until = Instant::now() + Duration::from_secs(10);
            while process.try_wait().ok().flatten().is_none() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
            }
            if self.group.is_none() && process.try_wait().ok().flatten().is_none() {
                left.iter().for_each(|pid| end(*pid, Signal::KILL));
                let _ = process.wait();
            }
        }
        let Some(group) = &self.group else { return };
        for step in 0..100 {
            let left = self.pids();
            if left.is_empty() {
                break;
            }
            left.iter().for_each(|pid| end(*pid, if step < 20 { Signal::TERM } else { Signal::KILL }));
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = std::fs::remove_dir(group);
    }
}
