//! Load for mail servers, and the comparison with rivals under it.

mod checks;
mod compare;
mod core_rate;
mod dns;
mod dns_compare;
mod generator;
mod idle;
mod latency;
mod machine;
mod memory;
mod refuse;
mod server;
mod sink;
mod smoke;
mod statistics;
mod tls;
mod turn;
mod verify;
mod volume;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;

/// Load for mail servers, and the comparison with rivals under it.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  postring-bench smtp --target 127.0.0.1:2525 --count 10000 --connections 16\n  postring-bench smtp --target 127.0.0.1:2525 --count 3000 --rate 300\n  postring-bench compare            (root: Postfix and a loop-mounted ext4)"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send messages by SMTP, in lock step or at a rate; latencies at the end. One run against any server
    Smtp(generator::Options),
    /// Ask a DNS server over UDP, as fast as it answers or at a rate
    Dns(dns::Options),
    /// Take messages by SMTP, count them, keep none
    Sink(sink::Options),
    /// Postfix with virtual(8) and Postring in turns under the same load
    Compare(compare::Options),
    /// Postring with all checks of senders, without, and Postfix with rspamd, in turns under the same signed mail
    Checks(checks::Options),
    /// Clients that a block list names, refused at connect: Postring beside a loop that does nothing else
    Refuse(refuse::Options),
    /// The loop itself; `refuse` starts it
    #[command(hide = true)]
    BareRefusal(refuse::BareOptions),
    /// STARTTLS, full and resumed handshakes, with a message and without: Postring and Postfix in turns
    Tls(tls::Options),
    /// NSD, Knot, Unbound, rbldnsd and Postring in turns under the same questions; our generator beside dnsperf
    DnsCompare(dns_compare::Options),
    /// Postring driven in turns by smtp-source and by our generator: do they agree?
    Verify(verify::Options),
    /// From MAIL FROM to the 250 at low load
    Latency(latency::Options),
    /// Memory a connection that has said EHLO and nothing more
    Idle(idle::Options),
    /// Every benchmark once, a few seconds each: do they work?
    Smoke(smoke::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Smtp(options) => smtp(&options),
        Command::Dns(options) => dns::command(&options),
        Command::Sink(options) => sink::command(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Checks(options) => checks::run(&options),
        Command::Refuse(options) => refuse::run(&options),
        Command::BareRefusal(options) => refuse::bare(&options),
        Command::Tls(options) => tls::run(&options),
        Command::DnsCompare(options) => dns_compare::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Latency(options) => latency::run(&options),
        Command::Idle(options) => idle::run(&options),
        Command::Smoke(options) => smoke::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("postring-bench: {text}");
            ExitCode::FAILURE
        }
    }
}

fn smtp(options: &generator::Options) -> Result<(), String> {
    let machine = machine::Machine::read();
    let bar = progress(options.count as u64, options.json);
    let report = generator::run(options, &bar)?;
    bar.finish_and_clear();
    if options.json {
        let mut value = report.json();
        value["machine"] = machine.json();
        println!("{value}");
    } else {
        println!("{machine}");
        report.print();
    }
    report.all_accepted(options.count)
}

/// Of long work; hidden where numbers go to a machine, or standard error is no terminal.
fn progress(length: u64, hidden: bool) -> ProgressBar {
    if hidden {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {eta}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

/// How far a result can be trusted.
fn runs_text(runs: usize, smoke: bool) -> String {
    match (smoke, runs) {
        (true, _) => "smoke: one short run, not a measurement".to_owned(),
        (false, 0..=4) => format!("medians of {runs} (minimum to maximum): fewer than 5, not for the record"),
        (false, _) => format!("medians of {runs} (minimum to maximum)"),
    }
}
