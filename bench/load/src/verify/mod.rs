//! Our generator checked against another: Postring is driven in turns by Debian's smtp-source and by ours, with the same messages and the
//! same dialogue. What Postring counts, what stands in the Maildir, and what a message costs the server must not depend on who sent it.
//!
//! Judged are a low rate and one session in a closed loop: there every message has a journal commit to itself. With several sessions the
//! faster generator has more messages end together, more of them share a commit, and the server's CPU a message falls. That is shown with
//! the number of commits, and only the counts are judged: it is a property of a closed loop.

mod drive;
mod result;

use crate::generator::{self, message};
use crate::machine::{Cores, Machine};
use crate::server::{self, Server, Setup};
use drive::{Bench, Load, Sender};
use result::Comparison;
use serde_json::json;

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Messages a second of the low rate
    #[arg(long, default_value_t = 50.0, value_parser = generator::positive)]
    rate: f64,
    /// Sessions of the closed loop, a comparison for each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4])]
    sessions: Vec<usize>,
    /// Bytes of a message
    #[arg(long, default_value_t = 10_240)]
    size: usize,
    /// Messages of a run in the closed loop; two seconds of the low rate
    #[arg(long, default_value_t = 500)]
    count: usize,
    /// Runs of each generator, in turns
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How far the server's CPU a message may differ, percent
    #[arg(long, default_value_t = 10.0)]
    margin: f64,
    /// Postring scans (YARA-X and Bayes)
    #[arg(long)]
    scan: bool,
    #[command(flatten)]
    setup: Setup,
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count of a benchmark
pub fn run(options: &Options) -> Result<(), String> {
    let setup = &options.setup;
    let smtp_source = server::postfix_program("smtp-source")?;
    let machine = Machine::read();
    let cores = Cores::choose();
    cores.map_or(Ok(()), |cores| cores.pin_load())?;
    let message = message::generated(options.size);
    let server = Server::postring(setup, cores, options.scan, setup.smoke)?;
    let place = format!("Postring, {}; {}", Cores::text(cores), server.text());
    let rounds = if setup.smoke { 1 } else { options.rounds };
    if !setup.json {
        println!("{machine}\n{place}");
        println!(
            "messages of {} bytes, one a connection, HELO, one mailbox; {}",
            options.size,
            crate::runs_text(rounds, setup.smoke)
        );
    }
    let mut loads = vec![(Load::Rate(options.rate), (options.rate * 2.0).ceil() as usize)];
    loads.extend(options.sessions.iter().map(|sessions| (Load::Sessions((*sessions).max(1)), options.count)));
    let mut bench = Bench::new(server, smtp_source, message)?;
    let mut comparisons = Vec::new();
    for (load, count) in loads {
        let count = if setup.smoke { count.min(30) } else { count };
        let mut comparison =
            Comparison { load, count, runs: [Vec::new(), Vec::new()], margin: options.margin, smoke: setup.smoke };
        let bar = crate::progress((rounds as u64 + 1) * 2, setup.json);
        for round in 0..=rounds {
            for (sender, runs) in Sender::BOTH.into_iter().zip(&mut comparison.runs) {
                let run = bench.run(sender, load, count)?;
                // The first of each is to get warm.
                if round > 0 {
                    runs.push(run);
                }
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        if !setup.json {
            comparison.print();
        }
        comparisons.push(comparison);
    }
    if setup.json {
        println!(
            "{}",
            json!({ "machine": machine.json(), "place": place, "smoke": setup.smoke, "size": options.size,
                "margin_percent": options.margin, "comparisons": comparisons.iter().map(Comparison::json).collect::<Vec<_>>() })
        );
    }
    if comparisons.iter().all(Comparison::agrees) { Ok(()) } else { Err("the two generators do not agree".to_owned()) }
}
