//! One run of one mail server under load, and what of it is kept.

use crate::generator::Report;
use crate::server::Server;
use crate::statistics::Spread;
use serde_json::{Value, json};

pub struct Turn {
    rate: f64,
    cpu_ms: f64,
    memory: f64,
    p50_us: f64,
    p99_us: f64,
}

impl Turn {
    /// Sends so many messages uncounted, then those that count; each time until they stand in Maildirs. `delivered` are those that do already.
    #[allow(clippy::cast_precision_loss)] // counts of a benchmark
    pub fn run(
        server: &Server,
        warm: usize,
        count: usize,
        delivered: &mut usize,
        mut send: impl FnMut(usize) -> Result<Report, String>,
    ) -> Result<Self, String> {
        let mut send = |count: usize| {
            let report = send(count)?;
            report.all_accepted(count).map_err(|error| format!("{}: {error}", server.name))?;
            *delivered += count;
            server.wait_delivered(*delivered)?;
            Ok::<_, String>(report)
        };
        send(warm)?;
        let before = server.cpu_seconds();
        let report = send(count)?;
        let cpu_ms = (server.cpu_seconds() - before) * 1000.0 / count as f64;
        let latency = report.from_due.as_ref().unwrap_or(&report.latency);
        let percentile = |quantile: f64| latency.value_at_quantile(quantile) as f64;
        Ok(Self { rate: report.rate(), cpu_ms, memory: server.memory_mib(), p50_us: percentile(0.5), p99_us: percentile(0.99) })
    }
}

/// All turns of one server.
pub struct Summary {
    pub name: &'static str,
    pub rate: Spread,
    pub cpu_ms: Spread,
    memory: Spread,
    p50_us: Spread,
    p99_us: Spread,
}

impl Summary {
    pub fn of(name: &'static str, turns: &[Turn]) -> Self {
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

    pub fn print_head() {
        println!(
            "{:<22} {:>26} {:>28} {:>10} {:>10} {:>10}",
            "", "messages/s", "CPU ms a message", "PSS MiB", "p50 us", "p99 us"
        );
    }

    pub fn print(&self) {
        println!(
            "{:<22} {:>26} {:>28} {:>10.0} {:>10.0} {:>10.0}",
            self.name,
            self.rate.text(0),
            self.cpu_ms.text(3),
            self.memory.median,
            self.p50_us.median,
            self.p99_us.median
        );
    }

    pub fn json(&self) -> Value {
        json!({ "name": self.name, "messages_per_second": self.rate.json(), "cpu_ms_a_message": self.cpu_ms.json(),
            "pss_mib": self.memory.json(), "p50_us": self.p50_us.json(), "p99_us": self.p99_us.json() })
    }
}
