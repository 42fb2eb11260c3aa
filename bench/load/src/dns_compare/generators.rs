//! Our generator checked against dnsperf: the same Postring, the same questions, the same rate, in turns. What is answered, with which rcode,
//! and what an answer costs the server must not depend on who asked.

use super::{Bench, Sizes, data};
use crate::dns::{self, Load, Questions, ratio};
use crate::generator::Spacing;
use crate::server::{Server, program};
use crate::statistics::Spread;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How far the number of answers, and the part of them that is NXDOMAIN, may differ, percent.
const COUNTS_MARGIN: f64 = 1.0;

struct Run {
    answers: f64,
    lost: f64,
    /// Percent.
    nxdomain: f64,
    cpu_us: f64,
    latency_us: f64,
}

const SENDERS: [&str; 2] = ["dnsperf", "postring-bench"];

pub fn run(bench: &Bench<'_>) -> Result<Value, String> {
    let dnsperf = match program("dnsperf", "dnsperf") {
        Err(error) if bench.options.setup.smoke => {
            println!("dnsperf: NOT RUN, {error}");
            return Ok(Value::Null);
        }
        dnsperf => dnsperf?,
    };
    let Sizes { domains, questions, .. } = bench.sizes;
    let file = bench.write("zone", &data::zone(domains))?;
    let text = data::zone_questions(domains, questions);
    let (path, questions) = (bench.write("questions", &text)?, Questions::read(&text, None)?);
    let mut server = bench.postring(&format!("[[dns.zone]]\nname = \"{}\"\nfile = \"{}\"\n", data::ZONE, file.display()))?;
    server.wait_answer(Questions::read(&format!("d00000.{} MX", data::ZONE), None)?.packet(0))?;
    let mut results = Vec::new();
    let mut good = true;
    for rate in &bench.options.rate {
        let mut runs: [Vec<Run>; 2] = [Vec::new(), Vec::new()];
        let bar = crate::progress((bench.rounds as u64 + 1) * 2, bench.json());
        for round in 0..=bench.rounds {
            let both = [theirs(bench, &server, &dnsperf, &path, *rate)?, ours(bench, &server, &questions, *rate)?];
            for (run, runs) in both.into_iter().zip(&mut runs) {
                // The first of each is to get warm.
                if round > 0 {
                    runs.push(run);
                }
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        good &= judge(bench, *rate, &runs, &mut results);
    }
    if good { Ok(json!({ "what": "dnsperf", "rates": results })) } else { Err("the two generators do not agree".to_owned()) }
}

fn judge(bench: &Bench<'_>, rate: f64, runs: &[Vec<Run>; 2], results: &mut Vec<Value>) -> bool {
    let spread =
        |value: fn(&Run) -> f64| [0, 1].map(|sender: usize| Spread::of(runs.get(sender).into_iter().flatten().map(value)));
    let (answers, nxdomain, cpu) = (spread(|run| run.answers), spread(|run| run.nxdomain), spread(|run| run.cpu_us));
    let (lost, latency) = (spread(|run| run.lost), spread(|run| run.latency_us));
    let difference = |[theirs, ours]: [Spread; 2]| 100.0 * (ours.median / theirs.median - 1.0);
    let counts = difference(answers).abs() <= COUNTS_MARGIN && (nxdomain[1].median - nxdomain[0].median).abs() <= COUNTS_MARGIN;
    // A short run judges nothing, and CPU that is not counted is not judged.
    let smoke = bench.options.setup.smoke;
    let counts = counts || smoke;
    let cpu_good = smoke || difference(cpu).is_nan() || difference(cpu).abs() <= bench.options.margin;
    if !bench.json() {
        println!(
            "\n{rate} a second from {} sockets to Postring, zone of {} mail domains",
            bench.options.sockets, bench.sizes.domains
        );
        println!(
            "{:<15} {:>28} {:>28} {:>10} {:>11} {:>8}",
            "", "answers", "server CPU us an answer", "NXDOMAIN %", "mean us", "lost"
        );
        for (index, name) in SENDERS.into_iter().enumerate() {
            let of = |spreads: &[Spread; 2]| spreads.get(index).copied().unwrap_or_else(|| Spread::of([]));
            println!(
                "{name:<15} {:>28} {:>28} {:>10.2} {:>11.0} {:>8.0}",
                of(&answers).text(0),
                of(&cpu).text(2),
                of(&nxdomain).median,
                of(&latency).median,
                of(&lost).median
            );
        }
        println!(
            "ours: answers {:+.2} %, server CPU an answer {:+.1} %: {}",
            difference(answers),
            difference(cpu),
            match (smoke, counts && cpu_good) {
                (true, _) => "not judged",
                (false, true) => "they agree",
                (false, false) => "they do not agree",
            }
        );
    }
    let sender = |index: usize| {
        let of = |spreads: &[Spread; 2]| spreads.get(index).map(|spread| spread.json());
        json!({ "name": SENDERS.get(index), "answers": of(&answers), "cpu_us_an_answer": of(&cpu), "nxdomain_percent": of(&nxdomain),
            "mean_us": of(&latency), "lost": of(&lost) })
    };
    results.push(json!({ "rate": rate, "senders": [sender(0), sender(1)], "counts_agree": counts, "cpu_agrees": cpu_good }));
    counts && cpu_good
}

#[allow(clippy::cast_precision_loss)] // counts of a benchmark
fn ours(bench: &Bench<'_>, server: &Server, questions: &Questions, rate: f64) -> Result<Run, String> {
    let load = Load {
        target: ([127, 0, 0, 1], server.port).into(),
        sockets: bench.options.sockets,
        outstanding: bench.options.outstanding,
        rate: Some(rate),
        spacing: Spacing::Even,
        count: None,
        time: bench.time,
        timeout: Duration::from_secs(1),
    };
    let before = server.cpu_seconds();
    let report = dns::run(&load, questions, 0, &ProgressBar::hidden())?;
    let cpu = server.cpu_seconds() - before;
    let [_, _, _, nxdomain, ..] = report.rcodes;
    Ok(Run {
        answers: report.answered as f64,
        lost: report.lost as f64,
        nxdomain: 100.0 * ratio(nxdomain, report.answered),
        cpu_us: cpu * 1e6 / report.answered as f64,
        latency_us: report.latency.mean(),
    })
}

fn theirs(bench: &Bench<'_>, server: &Server, dnsperf: &Path, questions: &Path, rate: f64) -> Result<Run, String> {
    let mut command = Command::new(dnsperf);
    // It knows whole seconds only.
    command.args(["-s", "127.0.0.1", "-p", &server.port.to_string(), "-t", "1", "-T", "1", "-d"]).arg(questions);
    command.args([
        "-c",
        &bench.options.sockets.to_string(),
        "-q",
        &bench.options.outstanding.to_string(),
        "-Q",
        &rate.to_string(),
    ]);
    let seconds = bench.time.as_secs_f64().round().max(1.0);
    command.args(["-l", &seconds.to_string()]);
    let before = server.cpu_seconds();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{}: {error}", dnsperf.display()))?;
    let cpu = server.cpu_seconds() - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let run = read(&text, cpu).ok_or_else(|| format!("dnsperf said\n{text}{}", String::from_utf8_lossy(&output.stderr)))?;
    // As many as in the time of ours.
    Ok(Run { answers: run.answers * bench.time.as_secs_f64() / seconds, ..run })
}

/// What dnsperf prints at its end.
fn read(text: &str, cpu: f64) -> Option<Run> {
    let word =
        |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)?.split_whitespace().next()?.parse::<f64>().ok());
    let answers = word("Queries completed:")?;
    // "Response codes:       NOERROR 96042 (80.04%), NXDOMAIN 23956 (19.96%)"
    let nxdomain = text.split_once("NXDOMAIN ").and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<f64>().ok());
    Some(Run {
        answers,
        lost: word("Queries lost:")?,
        nxdomain: 100.0 * nxdomain.unwrap_or(0.0) / answers,
        cpu_us: cpu * 1e6 / answers,
        latency_us: word("Average Latency (s):")? * 1e6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dnsperf_prints() {
        let text = "Statistics:\n\n  Queries sent:         120000\n  Queries completed:    119998 (100.00%)\n  Queries lost:         2 (0.00%)\n\n  \
            Response codes:       NOERROR 96042 (80.04%), NXDOMAIN 23956 (19.96%)\n  Average Latency (s):  0.000063 (min 0.000013, max 0.002237)\n";
        let run = read(text, 0.6).unwrap();
        assert_eq!((run.answers, run.lost), (119_998.0, 2.0));
        assert!((run.nxdomain - 19.96).abs() < 0.01 && (run.latency_us - 63.0).abs() < 0.01 && (run.cpu_us - 5.0).abs() < 0.01);
        assert!(read("Usage:", 0.0).is_none());
    }
}
