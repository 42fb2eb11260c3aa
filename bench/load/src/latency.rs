//! Latency at low load: one connection, one message after the other; then a low fixed rate, each message on a connection of its own.

use crate::generator::{self, Report};
use crate::machine::{Cores, Machine};
use crate::server::{Server, Setup};
use crate::statistics::Spread;
use indicatif::ProgressBar;
use serde_json::{Value, json};

/// What the project has promised for p50, MAIL FROM to 250, microseconds.
const AIM_US: f64 = 3000.0;

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Messages of a run
    #[arg(long, default_value_t = 500)]
    count: usize,
    /// Messages a second of the second part
    #[arg(long, default_value_t = 100.0, value_parser = generator::positive)]
    rate: f64,
    /// Bytes of a message
    #[arg(long, default_value_t = 10_240)]
    size: usize,
    /// Runs of each part; medians are printed
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Without YARA-X and Bayes
    #[arg(long)]
    no_scan: bool,
    #[command(flatten)]
    setup: Setup,
}

/// A line of the result: what it is, and p50 and p99 of each run.
struct Line {
    name: &'static str,
    p50: Spread,
    p99: Spread,
}

#[allow(clippy::cast_precision_loss)] // microseconds
fn line(name: &'static str, reports: &[Report], histogram: impl Fn(&Report) -> Option<&hdrhistogram::Histogram<u64>>) -> Line {
    let spread = |quantile: f64| {
        Spread::of(reports.iter().filter_map(|report| Some(histogram(report)?.value_at_quantile(quantile) as f64)))
    };
    Line { name, p50: spread(0.5), p99: spread(0.99) }
}

pub fn run(options: &Options) -> Result<(), String> {
    let setup = &options.setup;
    let machine = Machine::read();
    let cores = Cores::choose();
    cores.map_or(Ok(()), |cores| cores.pin_load())?;
    let (rounds, count) = if setup.smoke { (1, options.count.min(50)) } else { (options.rounds, options.count) };
    let server = Server::postring(setup, cores, !options.no_scan, true)?;
    let place = format!(
        "Postring{}, {}; {}",
        if options.no_scan { "" } else { " with YARA-X and Bayes" },
        Cores::text(cores),
        server.text()
    );
    let target = ([127, 0, 0, 1], server.port).into();
    let mut delivered = 0;
    let mut send = |connections: usize, messages_per_connection: usize, rate: Option<f64>, count: usize| {
        let plain = generator::Options::plain(target, connections, count, options.size);
        let report = generator::run(&generator::Options { messages_per_connection, rate, ..plain }, &ProgressBar::hidden())?;
        report.all_accepted(count)?;
        delivered += count;
        server.wait_delivered(delivered)?;
        Ok::<_, String>(report)
    };
    send(1, 50, None, 50)?;
    let (mut alone, mut paced) = (Vec::new(), Vec::new());
    let bar = crate::progress(rounds as u64 * 2, setup.json);
    for _ in 0..rounds {
        alone.push(send(1, count, None, count)?);
        bar.inc(1);
        paced.push(send(64, 1, Some(options.rate), count)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let lines = [
        line("one connection, MAIL FROM to 250", &alone, |report| Some(&report.latency)),
        line("at the rate, MAIL FROM to 250", &paced, |report| Some(&report.latency)),
        line("at the rate, due to 250 (with connecting)", &paced, |report| report.from_due.as_ref()),
    ];
    if setup.json {
        let lines: Vec<Value> =
            lines.iter().map(|line| json!({ "name": line.name, "p50_us": line.p50.json(), "p99_us": line.p99.json() })).collect();
        println!(
            "{}",
            json!({ "machine": machine.json(), "place": place, "smoke": setup.smoke, "size": options.size, "count": count,
                "rate": options.rate, "aim_p50_us": AIM_US, "latency": lines })
        );
        return Ok(());
    }
    println!("{machine}\n{place}");
    println!(
        "{count} messages of {} bytes, one after the other; then {} a second, each on a new connection; {}",
        options.size,
        options.rate,
        crate::runs_text(rounds, setup.smoke)
    );
    println!("{:<42} {:>28} {:>28}", "", "p50 us", "p99 us");
    for Line { name, p50, p99 } in &lines {
        println!("{name:<42} {:>28} {:>28}", p50.text(0), p99.text(0));
    }
    println!("the aim: p50 from MAIL FROM to 250 under {AIM_US:.0} us");
    Ok(())
}
