//! What the numbers were measured on, and which cores do what.

use serde_json::{Value, json};
use std::fmt;

#[derive(Clone, Debug)]
pub struct Machine {
    model: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
}

impl Machine {
    /// All cores, whichever this process may use.
    pub fn read() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':').map(|(_, value)| value.trim().to_owned()))
        };
        let cpus = read("/proc/cpuinfo");
        let memory = value(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        Self {
            model: value(&cpus, "model name").unwrap_or_else(|| "unknown processor".to_owned()),
            cores: cpus.lines().filter(|line| line.starts_with("processor")).count(),
            memory_mib: memory.unwrap_or(0) / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }

    pub fn json(&self) -> Value {
        json!({ "model": self.model, "cores": self.cores, "memory_mib": self.memory_mib, "kernel": self.kernel })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} x {}, {} MiB, Linux {}", self.model, self.cores, self.memory_mib, self.kernel)
    }
}

/// The server on the first core this process may use, the load on the last.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    pub server: usize,
    pub load: usize,
}

impl Cores {
    /// None where there is only one.
    pub fn choose() -> Option<Self> {
        let allowed = rustix::thread::sched_getaffinity(None).ok()?;
        let mut numbers = (0..rustix::thread::CpuSet::MAX_CPU).filter(|number| allowed.is_set(*number));
        Some(Self { server: numbers.next()?, load: numbers.next_back()? })
    }

    /// Pins this process, and what it starts from now on, to the core of the load.
    pub fn pin_load(&self) -> Result<(), String> {
        let mut set = rustix::thread::CpuSet::new();
        set.set(self.load);
        rustix::thread::sched_setaffinity(None, &set).map_err(|error| format!("core {}: {error}", self.load))
    }

    pub fn text(cores: Option<Self>) -> String {
        match cores {
            Some(Self { server, load }) => format!("server on core {server}, load on core {load}"),
            None => "one core for the server and the load".to_owned(),
        }
    }
}

/// Time this thread has worked, seconds; not a number where the kernel does not say.
#[allow(clippy::cast_precision_loss)] // nanoseconds
pub fn own_cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|time| time.parse::<u64>().ok()).map_or(f64::NAN, |time| time as f64 / 1e9)
}

/// As many open files as the hard limit allows.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// For 20,000 connections and a server that inherits the limit.
    const WANTED: u64 = 100_000;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map(|maximum| maximum.max(WANTED));
    // Only root may raise the maximum. Where neither works, opening too many connections says so.
    for maximum in [wanted, limit.maximum] {
        if setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
            return;
        }
    }
}

/// Type of the file system a path is on.
pub fn file_system(path: &std::path::Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let of = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        path.starts_with(point).then_some((point.len(), kind))
    });
    // The longest path wins, and of equal ones the last mounted.
    of.max_by_key(|(length, _)| *length).map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}
