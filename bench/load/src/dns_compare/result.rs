//! What a comparison prints: a table for each kind of load, and how Postring stands to the best rival.

use super::turn::Summary;
use crate::statistics::Spread;
use serde_json::{Value, json};

/// One kind of load.
pub struct Table {
    pub name: String,
    pub rate: Option<f64>,
    pub sockets: usize,
    pub servers: Vec<Summary>,
}

impl Table {
    fn ours(&self) -> Option<&Summary> {
        self.servers.iter().find(|server| server.name == super::OURS)
    }

    fn rivals(&self) -> impl Iterator<Item = &Summary> {
        self.servers.iter().filter(|server| server.name != super::OURS)
    }

    /// Postring's CPU by that of the rival with the least.
    pub fn cpu_ratio(&self) -> Option<(f64, &'static str)> {
        let best = self.rivals().min_by(|a, b| a.cpu_us.median.total_cmp(&b.cpu_us.median))?;
        let ratio = self.ours()?.cpu_us.median / best.cpu_us.median;
        ratio.is_finite().then_some((ratio, best.name))
    }

    /// Postring's answers a second by those of the rival with the most.
    pub fn rate_ratio(&self) -> Option<(f64, &'static str)> {
        let best = self.rivals().max_by(|a, b| a.rate.median.total_cmp(&b.rate.median))?;
        Some((self.ours()?.rate.median / best.rate.median, best.name))
    }

    /// What the table does not prove.
    fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        for server in &self.servers {
            if self.rate.is_some_and(|rate| server.rate.median < 0.98 * rate) {
                doubts.push(format!("{} did not keep the rate: its CPU is not comparable", server.name));
            }
        }
        if self.ours().is_some_and(|ours| self.rivals().any(|rival| !ours.says_as(rival))) {
            doubts.push("the servers do not say the same: see nxdomain_percent and with_records_percent of --json".to_owned());
        }
        doubts
    }

    pub fn print(&self) {
        println!("\n{}", self.name);
        Summary::print_head();
        self.servers.iter().for_each(Summary::print);
        if let Some((ratio, name)) = self.cpu_ratio() {
            println!("Postring's CPU an answer is {ratio:.2} of {name}'s");
        }
        if let Some((ratio, name)) = self.rate_ratio().filter(|_| self.rate.is_none()) {
            println!("Postring's answers/s are {ratio:.2} of {name}'s");
        }
        self.doubts().iter().for_each(|doubt| println!("{doubt}"));
    }

    pub fn json(&self) -> Value {
        let ratio = |ratio: Option<(f64, &'static str)>| ratio.map(|(ratio, name)| json!({ "ratio": ratio, "rival": name }));
        json!({ "name": self.name, "rate": self.rate, "sockets": self.sockets, "doubts": self.doubts(),
            "servers": self.servers.iter().map(Summary::json).collect::<Vec<_>>(),
            "cpu_by_best_rival": ratio(self.cpu_ratio()), "answers_by_best_rival": ratio(self.rate_ratio()) })
    }
}

/// Memory of a server with a list, and with next to none.
pub struct Entries {
    pub name: &'static str,
    pub entries: usize,
    pub base_mib: Spread,
    pub full_mib: Spread,
    /// From its start to its first answer.
    pub start_seconds: Spread,
}

impl Entries {
    /// By the medians.
    #[allow(clippy::cast_precision_loss)] // counts of a benchmark
    fn bytes_each(&self) -> f64 {
        (self.full_mib.median - self.base_mib.median) * 1_048_576.0 / self.entries as f64
    }

    pub fn print_head() {
        println!(
            "{:<10} {:>24} {:>24} {:>12} {:>24}",
            "", "PSS MiB with one entry", "PSS MiB", "bytes each", "s to first answer"
        );
    }

    pub fn print(&self) {
        println!(
            "{:<10} {:>24} {:>24} {:>12.1} {:>24}",
            self.name,
            self.base_mib.text(1),
            self.full_mib.text(1),
            self.bytes_each(),
            self.start_seconds.text(2)
        );
    }

    pub fn json(&self) -> Value {
        json!({ "name": self.name, "entries": self.entries, "pss_mib_with_one": self.base_mib.json(), "pss_mib": self.full_mib.json(),
            "bytes_an_entry": self.bytes_each(), "start_seconds": self.start_seconds.json() })
    }
}
