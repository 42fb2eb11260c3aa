//! Postfix and Postring in turns under the same load: the server on one core, the load on another.

use crate::generator::{self, Spacing};
use crate::machine::{Cores, Machine};
use crate::server::{Server, Setup};
use crate::statistics::Spread;
use indicatif::ProgressBar;
use serde_json::{Value, json};

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
    /// Both at this many messages a second, at random times, which Postfix must be able to do; without it each as fast as it can
    #[arg(long, value_parser = generator::positive)]
    rate: Option<f64>,
    /// Postring scans (YARA-X and Bayes)
    #[arg(long)]
    scan: bool,
    #[command(flatten)]
    setup: Setup,
}

struct Turn {
    rate: f64,
    cpu_ms: f64,
    memory: f64,
    p50_us: f64,
    p99_us: f64,
}

#[allow(clippy::cast_precision_loss)] // counts of a benchmark
fn turn(server: &Server, options: &Options, connections: usize, count: usize, delivered: &mut usize) -> Result<Turn, String> {
    let target = ([127, 0, 0, 1], server.port).into();
    let mut send = |count: usize| {
        let plain = generator::Options::plain(target, connections, count, options.size);
        let load = generator::Options { rate: options.rate, spacing: Spacing::Random, ..plain };
        let report = generator::run(&load, &ProgressBar::hidden())?;
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
    let latency = report.from_due.as_ref().unwrap_or(&report.latency);
    let percentile = |quantile: f64| latency.value_at_quantile(quantile) as f64;
    Ok(Turn { rate: report.rate(), cpu_ms, memory: server.memory_mib(), p50_us: percentile(0.5), p99_us: percentile(0.99) })
}

/// All turns of one server.
struct Summary {
    name: &'static str,
    rate: Spread,
    cpu_ms: Spread,
    memory: Spread,
    p50_us: Spread,
    p99_us: Spread,
}

impl Summary {
    fn of(name: &'static str, turns: &[Turn]) -> Self {
        let spread = |value: fn(&Turn) -> f64| Spread::of(turns.iter().map(value));
        Self {
            name,
            rate: spread(|turn| turn.rate),
            cpu_ms: spread(|turn| turn.cpu_ms),
            memory: spread(|turn| turn.memory),
            p50_us: spread(|turn| turn.p50_us),
            p99_us: spread(|turn| turn.p99_us),
        }
    }

    fn print(&self) {
        println!(
            "{:<10} {:>26} {:>28} {:>10.0} {:>10.0} {:>10.0}",
            self.name,
            self.rate.text(0),
            self.cpu_ms.text(3),
            self.memory.median,
            self.p50_us.median,
            self.p99_us.median
        );
    }

    fn json(&self) -> Value {
        json!({ "name": self.name, "messages_per_second": self.rate.json(), "cpu_ms_a_message": self.cpu_ms.json(),
            "pss_mib": self.memory.json(), "p50_us": self.p50_us.json(), "p99_us": self.p99_us.json() })
    }
}

pub fn run(options: &Options) -> Result<(), String> {
    let setup = &options.setup;
    let machine = Machine::read();
    let cores = Cores::choose();
    cores.map_or(Ok(()), |cores| cores.pin_load())?;
    let (rounds, count) = if setup.smoke { (1, options.count.min(20)) } else { (options.rounds, options.count) };
    let connections = if setup.smoke { &[4][..] } else { &options.connections };
    if !setup.json {
        println!("{machine}\n{}", Cores::text(cores));
        println!("messages of {} bytes, one a connection; {}", options.size, crate::runs_text(rounds, setup.smoke));
        match options.rate {
            Some(rate) => {
                println!("open loop, {rate} messages a second at random times; latency from when a message was due to its 250")
            }
            None => println!("closed loop, as fast as it goes; latency from MAIL FROM to 250"),
        }
    }
    // As fast as it can, Postring has a longer turn; at a rate both have the same.
    let times = if options.rate.is_some() { 1 } else { 5 };
    let mut results = Vec::new();
    for &connections in connections {
        let (mut postfix, mut postring) = (Vec::new(), Vec::new());
        let rivals = (Server::postfix(22_625, cores, setup.smoke)?, Server::postring(setup, cores, options.scan, setup.smoke)?);
        let bar = crate::progress(rounds as u64 * 2, setup.json);
        let (mut delivered_postfix, mut delivered_postring) = (0, 0);
        for _ in 0..rounds {
            postfix.push(turn(&rivals.0, options, connections, count, &mut delivered_postfix)?);
            bar.inc(1);
            postring.push(turn(&rivals.1, options, connections, times * count, &mut delivered_postring)?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let (postfix, postring) = (Summary::of("Postfix", &postfix), Summary::of("Postring", &postring));
        let ratio = postfix.cpu_ms.median / postring.cpu_ms.median;
        results
            .push(json!({ "connections": connections, "volume": rivals.1.text(), "servers": [postfix.json(), postring.json()],
            "postfix_cpu_by_postring_cpu": ratio }));
        if setup.json {
            continue;
        }
        let scan = if options.scan { ", Postring with YARA-X and Bayes" } else { ", no scan" };
        println!("\n{connections} connections{scan}; each on {}", rivals.1.text());
        println!(
            "{:<10} {:>26} {:>28} {:>10} {:>10} {:>10}",
            "", "messages/s", "CPU ms a message", "PSS MiB", "p50 us", "p99 us"
        );
        postfix.print();
        postring.print();
        if !ratio.is_nan() {
            println!("Postring's CPU a message is 1/{ratio:.1} of Postfix'");
        }
    }
    if setup.json {
        println!(
            "{}",
            json!({ "machine": machine.json(), "place": Cores::text(cores), "smoke": setup.smoke, "size": options.size, "count": count,
                "scan": options.scan, "rate": options.rate, "comparisons": results })
        );
    }
    Ok(())
}
