//! Postfix and Postring in turns under the same load: the server on core 0, the load on core 1.

use crate::load;
use crate::server::{BOXES, DOMAIN, Server};
use std::path::PathBuf;

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Connections at once, a comparison for each
    #[arg(long, value_delimiter = ',', default_values_t = [16, 64])]
    connections: Vec<usize>,
    /// Bytes of a message
    #[arg(long, default_value_t = 10_240)]
    size: usize,
    /// Turns; medians are printed with minimum and maximum
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Messages of a turn for Postfix; Postring gets five times as many
    #[arg(long, default_value_t = 2000)]
    count: usize,
    /// Postring scans (YARA-X and Bayes)
    #[arg(long)]
    scan: bool,
    /// A store of learned words for it
    #[arg(long)]
    tokens: Option<PathBuf>,
    /// Postring's program
    #[arg(long, default_value = "target/release/postring")]
    postring: PathBuf,
    /// One short turn, to see that it works
    #[arg(long)]
    smoke: bool,
}

struct Turn {
    rate: f64,
    cpu_ms: f64,
    memory: f64,
    p50_us: f64,
    p99_us: f64,
}

#[allow(clippy::cast_precision_loss)] // counts of a benchmark
fn turn(server: &Server, connections: usize, size: usize, count: usize, delivered: &mut usize) -> Result<Turn, String> {
    let target = ([127, 0, 0, 1], server.port).into();
    let options = |count: usize| load::Options {
        target,
        connections,
        messages_per_connection: 1,
        count,
        size,
        folder: None,
        domain: DOMAIN.to_owned(),
        boxes: BOXES,
        json: false,
    };
    let mut send = |count: usize| -> Result<load::Report, String> {
        let report = load::run(&options(count))?;
        if report.accepted != count as u64 {
            return Err(format!("{}: {} of {count} messages were accepted", server.name, report.accepted));
        }
        *delivered += count;
        server.wait_delivered(*delivered)?;
        Ok(report)
    };
    send(count / 10 + 1)?;
    let before = server.cpu_seconds();
    let report = send(count)?;
    let cpu_ms = (server.cpu_seconds() - before) * 1000.0 / count as f64;
    let percentile = |quantile: f64| report.latency.value_at_quantile(quantile) as f64;
    Ok(Turn { rate: report.rate(), cpu_ms, memory: server.memory_mib(), p50_us: percentile(0.5), p99_us: percentile(0.99) })
}

/// Median, minimum, maximum.
fn spread(turns: &[Turn], value: impl Fn(&Turn) -> f64) -> (f64, f64, f64) {
    let mut values: Vec<f64> = turns.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned()));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{} x {cores}, Linux {}", model.unwrap_or_default(), read("/proc/sys/kernel/osrelease").trim())
}

pub fn run(options: &Options) -> Result<(), String> {
    let (rounds, count) = if options.smoke { (1, 100) } else { (options.rounds, options.count) };
    println!(
        "{}; server on core 0, load on core 1; messages of {} bytes, one a connection; medians of {rounds} (minimum to maximum)",
        machine(),
        options.size
    );
    let binary = std::path::absolute(&options.postring).map_err(|error| error.to_string())?;
    let mut core = rustix::thread::CpuSet::new();
    core.set(1);
    rustix::thread::sched_setaffinity(None, &core).map_err(|error| format!("core 1: {error}"))?;
    for &connections in &options.connections {
        let (mut postfix, mut postring) = (Vec::new(), Vec::new());
        let rivals = (Server::postfix(22_625)?, Server::postring(&binary, 23_000, options.scan, options.tokens.as_deref())?);
        let bar = indicatif::ProgressBar::new(rounds as u64 * 2);
        let (mut delivered_postfix, mut delivered_postring) = (0, 0);
        for _ in 0..rounds {
            postfix.push(turn(&rivals.0, connections, options.size, count, &mut delivered_postfix)?);
            bar.inc(1);
            postring.push(turn(&rivals.1, connections, options.size, count * 5, &mut delivered_postring)?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        println!("\n{connections} connections{}", if options.scan { ", Postring with YARA-X and Bayes" } else { ", no scan" });
        println!(
            "{:<10} {:>26} {:>28} {:>10} {:>10} {:>10}",
            "", "messages/s", "CPU ms a message", "PSS MiB", "p50 us", "p99 us"
        );
        for (name, turns) in [("Postfix", &postfix), ("Postring", &postring)] {
            let (rate, cpu) = (spread(turns, |turn| turn.rate), spread(turns, |turn| turn.cpu_ms));
            println!(
                "{name:<10} {:>10.0} ({:.0} to {:.0}) {:>12.3} ({:.3} to {:.3}) {:>10.0} {:>10.0} {:>10.0}",
                rate.0,
                rate.1,
                rate.2,
                cpu.0,
                cpu.1,
                cpu.2,
                spread(turns, |turn| turn.memory).0,
                spread(turns, |turn| turn.p50_us).0,
                spread(turns, |turn| turn.p99_us).0
            );
        }
        let cpu = |turns: &[Turn]| spread(turns, |turn| turn.cpu_ms).0;
        println!("Postring's CPU a message is 1/{:.1} of Postfix'", cpu(&postfix) / cpu(&postring));
    }
    Ok(())
}
