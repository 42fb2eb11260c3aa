//! What the two generators did under one load, and whether they agree.

use super::drive::{Load, Run, Sender};
use crate::statistics::Spread;
use serde_json::{Value, json};

pub struct Comparison {
    pub load: Load,
    /// Messages of a run.
    pub count: usize,
    /// Of smtp-source, of ours.
    pub runs: [Vec<Run>; 2],
    /// For the server's CPU, percent.
    pub margin: f64,
    pub smoke: bool,
}

fn spread(runs: &[Run], value: fn(&Run) -> f64) -> Spread {
    Spread::of(runs.iter().map(value))
}

/// Of all runs: accepted by the server's counter, delivered, delivered whole.
fn totals(runs: &[Run]) -> (u64, usize, usize) {
    runs.iter().fold((0, 0, 0), |sum, run| (sum.0 + run.accepted, sum.1 + run.delivered, sum.2 + run.whole))
}

impl Comparison {
    /// CPU that was not measured does not disagree.
    pub fn agrees(&self) -> bool {
        self.counts_agree() && !(self.cpu_is_judged() && self.cpu_difference().abs() > self.margin)
    }

    fn counts_agree(&self) -> bool {
        let good = |run: &Run| run.accepted == self.count as u64 && run.delivered == self.count && run.whole == self.count;
        self.runs.iter().flatten().all(good)
    }

    /// Where no messages share a commit, and in a run long enough.
    fn cpu_is_judged(&self) -> bool {
        !self.smoke && matches!(self.load, Load::Rate(_) | Load::Sessions(1))
    }

    /// Ours above smtp-source, percent, by medians.
    fn cpu_difference(&self) -> f64 {
        let [theirs, ours] = self.runs.each_ref().map(|runs| spread(runs, |run| run.cpu_ms).median);
        (ours / theirs - 1.0) * 100.0
    }

    pub fn print(&self) {
        let load = match self.load {
            Load::Rate(rate) => format!("{rate} messages a second"),
            Load::Sessions(1) => "closed loop, 1 session".to_owned(),
            Load::Sessions(sessions) => format!("closed loop, {sessions} sessions"),
        };
        println!("\n{load}; {} messages a run", self.count);
        println!(
            "{:<15} {:>20} {:>24} {:>8} {:>9} {:>9} {:>6} {:>18}",
            "", "messages/s", "server CPU ms a message", "commits", "accepted", "delivered", "whole", "its own CPU ms"
        );
        for (sender, runs) in Sender::BOTH.into_iter().zip(&self.runs) {
            let (accepted, delivered, whole) = totals(runs);
            println!(
                "{:<15} {:>20} {:>24} {:>8.2} {accepted:>9} {delivered:>9} {whole:>6} {:>18.2}",
                sender.name(),
                spread(runs, |run| run.rate).text(0),
                spread(runs, |run| run.cpu_ms).text(3),
                spread(runs, |run| run.commits).median,
                spread(runs, |run| run.own_cpu_ms).median
            );
        }
        let counts = if self.counts_agree() { "every run exactly as sent" } else { "THEY DIFFER" };
        let difference = self.cpu_difference();
        let judged = match (self.cpu_is_judged(), difference.is_nan()) {
            (_, true) => "not measured".to_owned(),
            (false, _) => format!("ours {difference:+.1} %, not judged"),
            (true, _) if difference.abs() <= self.margin => format!("ours {difference:+.1} %, within {} %", self.margin),
            (true, _) => format!("ours {difference:+.1} %, NOT WITHIN {} %", self.margin),
        };
        println!("counts: {counts}; server CPU a message: {judged}");
    }

    pub fn json(&self) -> Value {
        let generators: Vec<Value> = Sender::BOTH
            .into_iter()
            .zip(&self.runs)
            .map(|(sender, runs)| {
                let (accepted, delivered, whole) = totals(runs);
                json!({ "name": sender.name(), "messages_per_second": spread(runs, |run| run.rate).json(),
                    "cpu_ms_a_message": spread(runs, |run| run.cpu_ms).json(), "own_cpu_ms_a_message": spread(runs, |run| run.own_cpu_ms).json(),
                    "commits_a_message": spread(runs, |run| run.commits).json(),
                    "accepted": accepted, "delivered": delivered, "whole": whole })
            })
            .collect();
        let (rate, sessions) = match self.load {
            Load::Rate(rate) => (Some(rate), None),
            Load::Sessions(sessions) => (None, Some(sessions)),
        };
        json!({ "rate": rate, "sessions": sessions, "count": self.count, "generators": generators, "counts_agree": self.counts_agree(),
            "cpu_difference_percent": self.cpu_difference(), "cpu_is_judged": self.cpu_is_judged(), "agrees": self.agrees() })
    }
}
