//! Postring in a folder of its own on the volume.

use super::last_dots::LastDots;
use super::{BOXES, DOMAIN, Server};
use crate::machine::Cores;
use crate::volume::Volume;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What the benchmarks that start Postring have in common.
#[derive(Clone, Debug, clap::Args)]
pub struct Setup {
    /// Postring's program
    #[arg(long, default_value = "target/release/postring")]
    pub postring: PathBuf,
    /// A store of learned words, where it scans
    #[arg(long)]
    pub tokens: Option<PathBuf>,
    /// Its ports are this plus 24, 25, 53, 80, 465, 587
    #[arg(long, default_value_t = 23_000)]
    pub port_base: u16,
    /// Short, without a claim to be exact: only to see that it works. Goes on without a loop mount or a cgroup, and says so
    #[arg(long)]
    pub smoke: bool,
    /// Numbers as JSON
    #[arg(long)]
    pub json: bool,
}

/// A Postring that is not just as `init` makes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flavour<'a> {
    /// What it is called in results; empty: Postring.
    pub name: &'static str,
    /// With YARA-X and Bayes.
    pub scan: bool,
    /// Added to its configuration.
    pub config: &'a str,
}

impl Server {
    pub fn postring(setup: &Setup, cores: Option<Cores>, scan: bool, makeshift: bool) -> Result<Self, String> {
        Self::postring_as(setup, cores, Flavour { scan, ..Flavour::default() }, makeshift)
    }

    pub fn postring_as(setup: &Setup, cores: Option<Cores>, flavour: Flavour<'_>, makeshift: bool) -> Result<Self, String> {
        let Flavour { name, scan, config: added } = flavour;
        let wrong = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        let binary = std::path::absolute(&setup.postring).map_err(|error| error.to_string())?;
        let port = setup.port_base.checked_add(25).ok_or("the port base is too high")?;
        let mut server = Self::new(if name.is_empty() { "Postring" } else { name }, port, cores, makeshift)?;
        let folder = server.folder().join("p");
        let mut init = Command::new(&binary);
        init.args(["init", "--dir"]).arg(&folder).args(["--domain", DOMAIN, "--port-base", &setup.port_base.to_string()]);
        for number in 0..BOXES {
            init.args(["--account", &format!("u{number:02}@{DOMAIN}")]);
        }
        made(init)?;
        let config = folder.join("postring.toml");
        let text = std::fs::read_to_string(&config).map_err(|error| wrong(&config, error))?;
        std::fs::write(&config, with_scan(&text, scan) + added).map_err(|error| wrong(&config, error))?;
        if let Some(tokens) = setup.tokens.as_ref().filter(|_| scan) {
            std::fs::copy(tokens, folder.join("data/bayes.tokens")).map_err(|error| wrong(tokens, error))?;
        }
        server.start(&format!("{} up --config {}", binary.display(), config.display()))?;
        server.control = Some((binary, config));
        server.wait_port()?;
        // The port is open before the roles are linked.
        let until = Instant::now() + Duration::from_secs(30);
        while server.status().is_none_or(|status| status["ready"] != true) {
            if Instant::now() > until {
                return Err(server.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Only port 53, with this of the configuration.
    pub fn postring_dns(setup: &Setup, cores: Option<Cores>, dns: &str) -> Result<Self, String> {
        let binary = std::path::absolute(&setup.postring).map_err(|error| error.to_string())?;
        let port = setup.port_base.checked_add(53).ok_or("the port base is too high")?;
        let mut server = Self::on(Volume::plain, "Postring", port, cores, setup.smoke)?;
        let folder = server.folder().join("p");
        let mut init = Command::new(&binary);
        init.args(["init", "--dir"]).arg(&folder).args(["--domain", DOMAIN, "--port-base", &setup.port_base.to_string()]);
        made(init)?;
        let core = cores.map_or(0, |cores| cores.server);
        let text = format!(
            "[server]\nhostname = \"mx.{DOMAIN}\"\n[users]\nmode = \"off\"\n[listen]\ndns = [\"127.0.0.1:{port}\"]\n\
             [cores]\nedge = [{core}]\nscan = []\nstore = [{core}]\nsend = []\n[edge]\nscan = false\n{dns}"
        );
        let config = folder.join("postring.toml");
        std::fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
        server.start(&format!("{} up --config {}", binary.display(), config.display()))?;
        Ok(server)
    }

    /// What `postring status` says.
    fn status(&self) -> Option<serde_json::Value> {
        let (binary, config) = self.control.as_ref()?;
        let output = Command::new(binary).args(["status", "--json", "--config"]).arg(config).output().ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// How often it has looked at its rules about client and sender, and which of them have hit.
    pub fn rules(&self) -> Option<(u64, Vec<String>)> {
        let status = self.status()?;
        let rules = status["rules"].as_array()?;
        let count = |rule: &serde_json::Value, name: &str| rule[name].as_u64().unwrap_or(0);
        let hit = rules.iter().filter(|rule| count(rule, "rule_hit_total") > 0);
        let names = hit.filter_map(|rule| rule["rule"].as_str().map(str::to_owned)).collect();
        Some((rules.iter().map(|rule| count(rule, "rule_checked_total")).sum(), names))
    }

    /// What its messages have waited for at their last dots.
    pub fn last_dots(&self) -> Option<LastDots> {
        let status = self.status()?;
        let counter = |name: &str| status["counters"][name].as_u64();
        Some(LastDots {
            messages: counter("dot_messages_total")?,
            ready: counter("dot_answers_ready_total")?,
            late: counter("dot_answers_late_total")?,
            wait_us: counter("dot_wait_microseconds_total")?,
            over_5_ms: counter("dot_waits_over_5ms_total")?,
        })
    }

    /// Messages it has accepted and journal commits it has made, by its own counters.
    pub fn accepted_and_commits(&self) -> Option<(u64, u64)> {
        let status = self.status()?;
        let counter = |name: &str| status["counters"][name].as_u64();
        Some((counter("messages_accepted_total")?, counter("journal_commits_total")?))
    }
}

/// Runs what makes something.
fn made(mut command: Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// The configuration `init` wrote, with the scan on or off.
fn with_scan(text: &str, scan: bool) -> String {
    match text.split_once("\n[edge]\n") {
        Some((before, after)) => format!("{before}\n[edge]\nscan = {scan}\n{after}"),
        None => format!("{text}\n[edge]\nscan = {scan}\n"),
    }
}
