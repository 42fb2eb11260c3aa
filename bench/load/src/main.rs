//! Load for mail servers, and the comparison with rivals under it.

mod compare;
mod load;
mod server;
mod volume;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Load for mail servers, and the comparison with rivals under it.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  postring-bench smtp --target 127.0.0.1:2525 --count 10000 --connections 16\n  postring-bench compare --rounds 5            (root: Postfix and a loop-mounted ext4)"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send messages by SMTP, in lock step, a histogram at the end
    Smtp(load::Options),
    /// Open connections, say EHLO, hold them; memory of processes before and after
    Idle {
        /// host:port
        #[arg(long)]
        target: std::net::SocketAddr,
        /// How many
        #[arg(long, default_value_t = 5000)]
        connections: usize,
        /// Processes whose memory is read
        #[arg(long = "pid")]
        pids: Vec<u32>,
        /// Seconds to hold them
        #[arg(long, default_value_t = 2)]
        seconds: u64,
    },
    /// Postfix with virtual(8) and Postring in turns under the same load: server on core 0, load on core 1
    Compare(compare::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Smtp(options) => load::run(&options).map(|report| report.print(options.json)),
        Command::Idle { target, connections, pids, seconds } => load::idle(target, connections, &pids, seconds),
        Command::Compare(options) => compare::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("postring-bench: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Real mails of a folder, or none.
pub(crate) fn folder_of(path: Option<&PathBuf>) -> Result<Vec<Vec<u8>>, String> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let mut mails = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))? {
        let file = entry.map_err(|error| error.to_string())?.path();
        mails.push(std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?);
    }
    if mails.is_empty() { Err(format!("{} holds no mails", path.display())) } else { Ok(mails) }
}
