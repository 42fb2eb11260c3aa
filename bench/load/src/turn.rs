//! One run of one mail server under load, and what of it is kept.

use crate::generator::Report;
use crate::server::{LastDots, Server};
use crate::statistics::Spread;
use serde_json::{Value, json};

pub struct Turn {
    rate: f64,
    cpu_ms: f64,
    memory: f64,
    /// One for each of [`QUANTILES`].
    latency_us: [f64; QUANTILES.len()],
    last_dots: Option<LastDots>,
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

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
        let dots = server.last_dots();
        let before = server.cpu_seconds();
        let report = send(count)?;
        let cpu_ms = (server.cpu_seconds() - before) * 1000.0 / count as f64;
        let latency = report.from_due.as_ref().unwrap_or(&report.latency);
        Ok(Self {
            rate: report.rate(),
            cpu_ms,
            memory: server.memory_mib(),
            latency_us: QUANTILES.map(|(_, quantile)| latency.value_at_quantile(quantile) as f64),
            last_dots: server.last_dots().zip(dots).map(|(after, before)| after.since(&before)),
        })
    }
}

/// All turns of one server.
pub struct Summary {
    pub name: &'static str,
    pub rate: Spread,
    pub cpu_ms: Spread,
    memory: Spread,
    latency_us: [Spread; QUANTILES.len()],
    /// Of all turns together.
    pub last_dots: LastDots,
}

impl Summary {
    pub fn of(name: &'static str, turns: &[Turn]) -> Self {
        let spread = |value: fn(&Turn) -> f64| Spread::of(turns.iter().map(value));
        Self {
            name,
            rate: spread(|turn| turn.rate),
            cpu_ms: spread(|turn| turn.cpu_ms),
            memory: spread(|turn| turn.memory),
            latency_us: std::array::from_fn(|place| {
                Spread::of(turns.iter().filter_map(|turn| turn.latency_us.get(place).copied()))
            }),
            last_dots: turns.iter().filter_map(|turn| turn.last_dots.as_ref()).fold(LastDots::default(), LastDots::and),
        }
    }

    pub fn print_head() {
        print!("{:<22} {:>26} {:>28} {:>10}", "", "messages/s", "CPU ms a message", "PSS MiB");
        QUANTILES.iter().for_each(|(name, _)| print!(" {:>10}", format!("{name} us")));
        println!();
    }

    pub fn print(&self) {
        print!("{:<22} {:>26} {:>28} {:>10.0}", self.name, self.rate.text(0), self.cpu_ms.text(3), self.memory.median);
        self.latency_us.iter().for_each(|spread| print!(" {:>10.0}", spread.median));
        println!();
    }

    pub fn json(&self) -> Value {
        let mut value = json!({ "name": self.name, "messages_per_second": self.rate.json(), "cpu_ms_a_message": self.cpu_ms.json(),
            "pss_mib": self.memory.json() });
        for ((name, _), spread) in QUANTILES.iter().zip(&self.latency_us) {
            value[format!("{name}_us")] = spread.json();
        }
        value
    }
}
