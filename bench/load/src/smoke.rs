//! Every benchmark once, short, as a check that it works: no time is judged. Each in a process of its own, because each pins itself to a core.

use crate::server::postfix_program;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Postring's program
    #[arg(long, default_value = "target/release/postring")]
    postring: PathBuf,
    /// Without those that need Debian's package postfix (verify, compare), where it is missing
    #[arg(long)]
    without_postfix: bool,
}

pub fn run(options: &Options) -> Result<(), String> {
    let without_postfix = match postfix_program("smtp-source").and_then(|_| postfix_program("postfix")) {
        Err(error) if !options.without_postfix => return Err(format!("{error} (or --without-postfix)")),
        found => found.is_err(),
    };
    let root = rustix::process::geteuid().is_root();
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    println!("== smtp to sink");
    ends_meet(&program)?;
    for name in ["latency", "idle", "verify", "compare"] {
        let hindered = match name {
            "verify" | "compare" if without_postfix => Some("Debian's package postfix is missing"),
            "compare" if !root => Some("Postfix starts as root only"),
            _ => None,
        };
        if let Some(reason) = hindered {
            println!("\n== {name}: NOT RUN, {reason}");
            continue;
        }
        println!("\n== {name}");
        let begun = Instant::now();
        let status = Command::new(&program).args([name, "--smoke", "--postring"]).arg(&options.postring).status();
        if !status.map_err(|error| error.to_string())?.success() {
            return Err(format!("{name} failed"));
        }
        println!("({name}: {:.1} s)", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

/// The generator at a rate, into the sink.
fn ends_meet(program: &Path) -> Result<(), String> {
    let address = "127.0.0.1:22626";
    let mut sink = Command::new(program)
        .args(["sink", "--listen", address, "--count", "100", "--seconds", "20"])
        .spawn()
        .map_err(|error| error.to_string())?;
    let until = Instant::now() + std::time::Duration::from_secs(10);
    while std::net::TcpStream::connect(address).is_err() && Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let sent = Command::new(program).args(["smtp", "--target", address, "--count", "100", "--rate", "200"]).status();
    let served = sink.wait();
    let good = sent.map_err(|error| error.to_string())?.success() && served.map_err(|error| error.to_string())?.success();
    if good { Ok(()) } else { Err("smtp or sink failed".to_owned()) }
}
