//! What a server does of one kind in a second, and would do with a core for itself alone.

use crate::statistics::Spread;
use serde_json::{Value, json};

/// One run of one server.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    rate: f64,
    cpu_us: f64,
    busy: f64,
    load_busy: f64,
}

impl Run {
    /// So many in so many seconds, for which the server took so much CPU and the load so much.
    #[allow(clippy::cast_precision_loss)] // counts of a benchmark
    pub fn of(count: u64, seconds: f64, server_cpu: f64, load_cpu: f64) -> Self {
        let seconds = seconds.max(1e-9);
        Self {
            rate: count as f64 / seconds,
            cpu_us: server_cpu * 1e6 / count.max(1) as f64,
            busy: 100.0 * server_cpu / seconds,
            load_busy: 100.0 * load_cpu / seconds,
        }
    }
}

/// All runs of one server.
pub struct Summary {
    pub name: &'static str,
    pub rate: Spread,
    pub cpu_us: Spread,
    busy: Spread,
    load_busy: Spread,
}

/// What the columns mean that do not say it themselves.
pub const EXPLAINED: &str = "a core: as many as the server's CPU says; busy: its CPU of a core, all its processes; load: the generator's, which is the limit near 100";

impl Summary {
    pub fn of(name: &'static str, runs: &[Run]) -> Self {
        let spread = |value: fn(&Run) -> f64| Spread::of(runs.iter().map(value));
        Self {
            name,
            rate: spread(|run| run.rate),
            cpu_us: spread(|run| run.cpu_us),
            busy: spread(|run| run.busy),
            load_busy: spread(|run| run.load_busy),
        }
    }

    /// `what` is done, in the plural.
    pub fn print_head(what: &str) {
        let (second, core) = (format!("{what}/s"), format!("{what}/s a core"));
        println!("{:<10} {second:>26} {:>26} {core:>22} {:>8} {:>8}", "", "CPU us each", "busy %", "load %");
    }

    pub fn print(&self) {
        let number = |value: f64| if value.is_nan() { "-".to_owned() } else { format!("{value:.0}") };
        println!(
            "{:<10} {:>26} {:>26} {:>22} {:>8} {:>8}",
            self.name,
            self.rate.text(0),
            self.cpu_us.text(1),
            number(1e6 / self.cpu_us.median),
            number(self.busy.median),
            number(self.load_busy.median)
        );
    }

    pub fn json(&self) -> Value {
        json!({ "name": self.name, "per_second": self.rate.json(), "cpu_us_each": self.cpu_us.json(),
            "per_second_of_a_core": 1e6 / self.cpu_us.median, "busy_percent": self.busy.json(),
            "load_busy_percent": self.load_busy.json() })
    }
}
