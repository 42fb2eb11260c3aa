//! The servers that are compared: each in a cgroup of its own (so that every process counts, short ones too), pinned to one core.

use crate::volume::{self, Volume};
use std::fmt::Write as _;
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
    group: PathBuf,
    volume: Volume,
    process: Option<Child>,
    stop: Option<String>,
}

fn cgroup_root() -> Result<PathBuf, String> {
    let mounts = std::fs::read_to_string("/proc/mounts").map_err(|error| error.to_string())?;
    let root = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, path, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    });
    root.ok_or_else(|| "no cgroup2 is mounted: CPU of all processes cannot be counted".to_owned())
}

impl Server {
    fn new(name: &'static str, port: u16) -> Result<Self, String> {
        let group = cgroup_root()?.join(format!("postring-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&group).map_err(|error| format!("{}: {error}", group.display()))?;
        Ok(Self { name, port, group, volume: Volume::make(3072)?, process: None, stop: None })
    }

    /// Runs a command in the cgroup, on core 0.
    fn command(&self, command: &str) -> Command {
        let mut run = Command::new("sh");
        run.args(["-c", &format!("echo $$ > {}/cgroup.procs; exec taskset -c 0 {command}", self.group.display())]);
        run.stdin(Stdio::null()).stdout(Stdio::null());
        run
    }

    /// Postfix with virtual(8): its own instance, queue and mailboxes on the volume.
    pub fn postfix(port: u16) -> Result<Self, String> {
        let mut server = Self::new("postfix", port)?;
        let root = server.volume.path();
        let d = root.display();
        volume::shell(&format!(
            "mkdir -p {d}/etc {d}/spool {d}/data {d}/mail && chown postfix {d}/data && chown nobody:nogroup {d}/mail"
        ))?;
        let mut boxes = String::new();
        for number in 0..BOXES {
            let _ = writeln!(boxes, "u{number:02}@{DOMAIN} u{number:02}/Maildir/");
        }
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {d}/spool\ndata_directory = {d}/data\ncommand_directory = /usr/sbin\n\
             daemon_directory = /usr/lib/postfix/sbin\nmeta_directory = /etc/postfix\nshlib_directory = /usr/lib/postfix\nmail_owner = postfix\n\
             setgid_group = postdrop\nmyhostname = mx.{DOMAIN}\nmydestination =\nlocal_recipient_maps =\nalias_maps =\nmynetworks = 127.0.0.0/8\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nsmtpd_peername_lookup = no\n\
             smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\nmaillog_file = {d}/mail.log\nmaillog_file_prefixes = {d}\n\
             virtual_mailbox_domains = {DOMAIN}\nvirtual_mailbox_maps = texthash:{d}/etc/boxes\nvirtual_mailbox_base = {d}/mail\n\
             virtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\nvirtual_minimum_uid = 1\nvirtual_mailbox_limit = 0\n\
             virtual_transport = virtual\nmessage_size_limit = 52428800\ndefault_process_limit = 300\nsmtpd_client_connection_count_limit = 0\nin_flow_delay = 0\n"
        );
        let mut master = format!("127.0.0.1:{port} inet n - n - - smtpd\n");
        for line in [
            "pickup unix n - n 60 1 pickup",
            "cleanup unix n - n - 0 cleanup",
            "qmgr unix n - n 300 1 qmgr",
            "rewrite unix - - n - - trivial-rewrite",
            "bounce unix - - n - 0 bounce",
            "defer unix - - n - 0 bounce",
            "trace unix - - n - 0 bounce",
            "verify unix - - n - 1 verify",
            "flush unix n - n 1000? 0 flush",
            "proxymap unix - - n - - proxymap",
            "smtp unix - - n - - smtp",
            "relay unix - - n - - smtp",
            "error unix - - n - - error",
            "retry unix - - n - - error",
            "discard unix - - n - - discard",
            "virtual unix - n n - - virtual",
            "anvil unix - - n - 1 anvil",
            "scache unix - - n - 1 scache",
            "postlog unix-dgram n - n - 1 postlogd",
        ] {
            let _ = writeln!(master, "{line}");
        }
        for (name, text) in [("main.cf", &main), ("master.cf", &master), ("boxes", &boxes)] {
            std::fs::write(root.join("etc").join(name), text).map_err(|error| error.to_string())?;
        }
        let status = server
            .command(&format!("/usr/sbin/postfix -c {d}/etc start"))
            .stderr(Stdio::null())
            .status()
            .map_err(|error| error.to_string())?;
        if !status.success() {
            return Err("Postfix did not start: is Debian's package postfix installed?".to_owned());
        }
        server.stop = Some(format!("/usr/sbin/postfix -c {d}/etc stop"));
        server.wait_port()?;
        Ok(server)
    }

    /// Postring in a folder of its own on the volume.
    pub fn postring(binary: &Path, base: u16, scan: bool, tokens: Option<&Path>) -> Result<Self, String> {
        let mut server = Self::new("postring", base + 25)?;
        let folder = server.volume.path().join("p");
        let mut init = Command::new(binary);
        init.args(["init", "--dir"]).arg(&folder).args(["--domain", DOMAIN, "--port-base", &base.to_string()]);
        for number in 0..BOXES {
            init.args(["--account", &format!("u{number:02}@{DOMAIN}")]);
        }
        let made = init.output().map_err(|error| format!("{}: {error}", binary.display()))?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        let config = folder.join("postring.toml");
        let text = std::fs::read_to_string(&config).map_err(|error| error.to_string())?;
        let section = format!("\n[edge]\nscan = {scan}\n");
        std::fs::write(&config, text + &section).map_err(|error| error.to_string())?;
        if let Some(tokens) = tokens {
            std::fs::copy(tokens, folder.join("data/bayes.tokens")).map_err(|error| format!("{}: {error}", tokens.display()))?;
        }
        let log = std::fs::File::create(server.volume.path().join("log")).map_err(|error| error.to_string())?;
        let up = server.command(&format!("{} up --config {}", binary.display(), config.display())).stderr(log).spawn();
        server.process = Some(up.map_err(|error| error.to_string())?);
        server.wait_port()?;
        // The port is open before the roles are linked.
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let status = Command::new(binary)
                .args(["status", "--json", "--config"])
                .arg(&config)
                .output()
                .map_err(|error| error.to_string())?;
            let parsed: Option<serde_json::Value> = serde_json::from_slice(&status.stdout).ok();
            if parsed.is_some_and(|status| status["ready"] == true) {
                return Ok(server);
            }
            if Instant::now() > until {
                return Err(std::fs::read_to_string(server.volume.path().join("log")).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_port(&self) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if Instant::now() > until {
                let log = std::fs::read_to_string(self.volume.path().join("log")).unwrap_or_default();
                return Err(format!("{} does not listen on port {}\n{log}", self.name, self.port));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// User and system time of all its processes so far, seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let text = std::fs::read_to_string(self.group.join("cpu.stat")).unwrap_or_default();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok()).unwrap_or(0.0);
        (field("user_usec") + field("system_usec")) / 1e6
    }

    fn pids(&self) -> Vec<String> {
        std::fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Memory of all its processes, shared pages counted once, MiB.
    pub fn memory_mib(&self) -> f64 {
        let of = |pid: &String| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            text.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0)
        };
        self.pids().iter().map(of).sum::<f64>() / 1024.0
    }

    /// Waits until this many messages stand in Maildirs.
    pub fn wait_delivered(&self, count: usize) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(120);
        while volume::delivered(&self.volume.path()) < count {
            if Instant::now() > until {
                return Err(format!(
                    "{}: {} of {count} messages were delivered in two minutes",
                    self.name,
                    volume::delivered(&self.volume.path())
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = &self.stop {
            // What it leaves is ended below.
            let _ = Command::new("sh").args(["-c", stop]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        let process = self.process.take();
        let signal = |name: &str| {
            for pid in self.pids() {
                let _ = Command::new("kill").args([name, &pid]).stderr(Stdio::null()).status();
            }
        };
        if let Some(mut process) = process {
            let _ = Command::new("kill").args(["-TERM", &process.id().to_string()]).status();
            let until = Instant::now() + Duration::from_secs(10);
            while process.try_wait().ok().flatten().is_none() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        for step in 0..100 {
            if self.pids().is_empty() {
                break;
            }
            signal(if step < 20 { "-TERM" } else { "-KILL" });
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = std::fs::remove_dir(&self.group);
    }
}
