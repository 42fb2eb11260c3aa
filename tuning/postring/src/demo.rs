//! The demo: what `cargo run --release` starts. A folder like any other, on loopback ports.

use crate::config::Config;
use crate::init::{self, Init};
use crate::supervisor::{self, Supervisor};
use std::path::Path;

const DOMAIN: &str = "demo.example";
/// Below the kernel's range for clients' own ports.
const PORT_BASE: u16 = 22_000;

pub fn run(folder: &Path) -> Result<(), String> {
    let config = folder.join("postring.toml");
    if !config.exists() {
        let base = (0..8).map(|step| PORT_BASE + step * 1000).find(|base| supervisor::ports_are_free(*base)).unwrap_or(PORT_BASE);
        let accounts = [format!("alice@{DOMAIN}"), format!("bob@{DOMAIN}")];
        let made = init::init(&Init { folder, domain: DOMAIN, accounts: &accounts, port_base: Some(base) })?;
        println!("A demo was made in {}.", folder.display());
        for (account, password) in &made.passwords {
            println!("  {account} has the password {password}");
        }
    }
    let supervisor = Supervisor::prepare(&config)?;
    supervisor.run(|supervisor| {
        println!("{}", welcome(supervisor.config(), supervisor, folder));
    })
}

fn welcome(config: &Config, supervisor: &Supervisor, folder: &Path) -> String {
    let listening: String = config
        .listen
        .tcp()
        .iter()
        .flat_map(|(name, addresses)| addresses.iter().map(move |address| format!("  {name:<12} {address}\n")))
        .collect();
    let plan = supervisor.plan();
    let program = std::env::args().next().unwrap_or_else(|| "postring".to_owned());
    let option = format!("--config {}", folder.join("postring.toml").display());
    let smtp = config.listen.smtp.first().map(ToString::to_string).unwrap_or_default();
    let dns = config.listen.dns.first().copied().unwrap_or(([127, 0, 0, 1], 53).into());
    let http = config.listen.http.first().map(ToString::to_string).unwrap_or_default();
    let tries = [
        (format!("{program} try send {option}"), "send a mail"),
        (format!("{program} try show {option}"), "show it"),
        (format!("{program} try send --spam {option}"), "send spam, and see it refused"),
        (format!("{program} status --watch {option}"), "watch"),
        (format!("{program} queue list {option}"), "what waits to be sent elsewhere"),
        (format!("swaks --server {smtp} --to bob@{DOMAIN}"), "a mail with swaks"),
        (format!("dig @{} -p {} {DOMAIN} MX", dns.ip(), dns.port()), "ask its DNS server"),
        (format!("http://{http}/"), "the status page"),
    ];
    let width = tries.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    let tries: String = tries.iter().map(|(command, what)| format!("  {command:<width$}  {what}\n")).collect();
    format!(
        "\nPostring is ready.\n{listening}\nCores: edge {:?}, scan {:?}, store {:?}, send {:?}\n\nTry, in another terminal:\n{tries}\n\
         Ctrl-C stops it; what was accepted is kept.",
        plan.edge, plan.scan, plan.store, plan.send
    )
}
