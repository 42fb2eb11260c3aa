//! Postfix and Postring in turns under the same load: the server on one core, the load on another.

use crate::generator::{self, Spacing};
use crate::machine::{Cores, Machine};
use crate::server::{MAIN_AS_COMPARED, Server, Setup};
use crate::turn::{Summary, Turn};
use indicatif::ProgressBar;
use serde_json::json;

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

fn turn(server: &Server, options: &Options, connections: usize, count: usize, delivered: &mut usize) -> Result<Turn, String> {
    let target = ([127, 0, 0, 1], server.port).into();
    Turn::run(server, count / 10 + 1, count, delivered, |count| {
        let plain = generator::Options::plain(target, connections, count, options.size);
        let load = generator::Options { rate: options.rate, spacing: Spacing::Random, ..plain };
        generator::run(&load, &ProgressBar::hidden())
    })
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
        let rivals = (
            Server::postfix(22_625, cores, setup.smoke, MAIN_AS_COMPARED)?,
            Server::postring(setup, cores, options.scan, setup.smoke)?,
        );
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
        Summary::print_head();
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
