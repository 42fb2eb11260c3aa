//! Questions over UDP to a DNS server, batched, so that one core asks more than a server's core can answer.

mod flight;
mod load;
mod mmsg;
mod question;
mod report;

pub use load::{Load, run};
pub use question::Questions;
pub use report::{Report, ratio};

use crate::generator::{Spacing, positive};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// host:port
    #[arg(long)]
    target: SocketAddr,
    /// File of questions, `NAME TYPE` a line, asked again and again
    #[arg(long, required_unless_present = "name", conflicts_with = "name")]
    questions: Option<PathBuf>,
    /// Name to ask for in place of a file; {} becomes a number
    #[arg(long)]
    name: Option<String>,
    /// Type of these
    #[arg(long = "type", default_value = "A")]
    rtype: String,
    /// Numbers are 0 to this less one
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    numbers: u32,
    /// With EDNS and this UDP size; without it no EDNS
    #[arg(long)]
    edns: Option<u16>,
    /// Sockets, each with a port of its own
    #[arg(long, default_value_t = 8)]
    sockets: usize,
    /// Questions that wait for an answer at once
    #[arg(long, default_value_t = 200)]
    outstanding: usize,
    /// Questions due a second, however slow the server is; without it as fast as answers come
    #[arg(long, value_parser = positive)]
    rate: Option<f64>,
    /// How they follow each other
    #[arg(long, value_enum, default_value = "even", requires = "rate")]
    spacing: Spacing,
    /// Seconds
    #[arg(long, default_value = "5", value_parser = positive)]
    seconds: f64,
    /// Questions, at most
    #[arg(long)]
    count: Option<u64>,
    /// Seconds until a question is lost
    #[arg(long, default_value = "2", value_parser = positive)]
    timeout: f64,
    /// Numbers as JSON
    #[arg(long)]
    json: bool,
}

/// Asks, and prints what came of it. An error if nothing was answered.
pub fn command(options: &Options) -> Result<(), String> {
    let machine = crate::machine::Machine::read();
    let questions = match (&options.questions, &options.name) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Questions::read(&text, options.edns).map_err(|error| format!("{}: {error}", path.display()))?
        }
        (None, name) => Questions::generated(name.as_deref().unwrap_or_default(), &options.rtype, options.numbers, options.edns)?,
    };
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    let load = Load {
        target: options.target,
        sockets: options.sockets,
        outstanding: options.outstanding,
        rate: options.rate,
        spacing: options.spacing,
        count: options.count,
        time: seconds(options.seconds)?,
        timeout: seconds(options.timeout)?,
    };
    let bar = crate::progress(0, options.json);
    let report = run(&load, &questions, 0, &bar)?;
    bar.finish_and_clear();
    if options.json {
        let mut value = report.json();
        value["machine"] = machine.json();
        println!("{value}");
    } else {
        println!("{machine}");
        report.print();
    }
    if report.answered == 0 { Err(format!("{}: no answer", options.target)) } else { Ok(()) }
}
