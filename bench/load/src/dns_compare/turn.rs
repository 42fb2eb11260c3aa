//! One run of one server, and what of it is kept.

use crate::dns::{self, Load, Questions, Report, ratio};
use crate::generator::Spacing;
use crate::machine::own_cpu_seconds;
use crate::server::Server;
use crate::statistics::Spread;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::time::Duration;

/// No run is longer, however slow a server is.
const TIME_MAX: Duration = Duration::from_secs(60);

/// One kind of load; each server gets it in turn.
pub struct Part<'a> {
    pub name: String,
    pub questions: &'a Questions,
    pub rate: Option<f64>,
    pub sockets: usize,
    pub outstanding: usize,
    pub time: Duration,
    /// Without an answer for this long a question is lost.
    pub timeout: Duration,
    /// Questions that are asked before, uncounted.
    pub warm: usize,
    /// Questions that no run before has asked: the first, and how many a run.
    pub fresh: Option<(usize, usize)>,
}

pub struct Turn {
    rate: f64,
    cpu_us: f64,
    busy: f64,
    load_busy: f64,
    memory: f64,
    p50_us: f64,
    p99_us: f64,
    lost: f64,
    nxdomain: f64,
    with_records: f64,
}

impl Part<'_> {
    fn load(&self, server: &Server) -> Load {
        Load {
            target: ([127, 0, 0, 1], server.port).into(),
            sockets: self.sockets,
            outstanding: self.outstanding,
            rate: self.rate,
            spacing: Spacing::Even,
            count: self.fresh.map(|(_, count)| count as u64),
            time: if self.fresh.is_some() { TIME_MAX } else { self.time },
            timeout: self.timeout,
        }
    }

    /// Asks what the questions before the turn are, as fast as it goes.
    pub fn warm(&self, server: &Server) -> Result<(), String> {
        if self.warm == 0 {
            return Ok(());
        }
        let count = Some(self.warm as u64);
        let load = Load { rate: None, count, time: TIME_MAX, ..self.load(server) };
        dns::run(&load, self.questions, 0, &ProgressBar::hidden()).map(drop)
    }

    /// The `round`th turn of a server.
    pub fn turn(&self, server: &Server, round: usize) -> Result<Turn, String> {
        self.warm(server)?;
        let first = self.fresh.map_or(0, |(first, count)| first + round * count);
        let (cpu, own) = (server.cpu_seconds(), own_cpu_seconds());
        let report = dns::run(&self.load(server), self.questions, first, &ProgressBar::hidden())?;
        let (cpu, own) = (server.cpu_seconds() - cpu, own_cpu_seconds() - own);
        if report.answered == 0 {
            return Err(format!("{}: no answer", server.name));
        }
        Ok(Turn::of(&report, cpu, own, server.memory_mib()))
    }
}

impl Turn {
    #[allow(clippy::cast_precision_loss)] // counts of a benchmark
    fn of(report: &Report, cpu: f64, own: f64, memory: f64) -> Self {
        let [_, _, _, nxdomain, ..] = report.rcodes;
        Self {
            rate: report.rate(),
            cpu_us: cpu * 1e6 / report.answered as f64,
            // Without the wait for lost answers, in which nobody works.
            busy: 100.0 * cpu / report.seconds.max(1e-9),
            load_busy: 100.0 * own / report.seconds.max(1e-9),
            memory,
            p50_us: report.latency.value_at_quantile(0.5) as f64,
            p99_us: report.latency.value_at_quantile(0.99) as f64,
            lost: 100.0 * ratio(report.lost, report.sent),
            nxdomain: 100.0 * ratio(nxdomain, report.answered),
            with_records: 100.0 * ratio(report.with_records, report.answered),
        }
    }
}

/// All turns of one server.
pub struct Summary {
    pub name: &'static str,
    pub rate: Spread,
    pub cpu_us: Spread,
    pub lost: Spread,
    busy: Spread,
    load_busy: Spread,
    memory: Spread,
    p50_us: Spread,
    p99_us: Spread,
    nxdomain: Spread,
    with_records: Spread,
}

impl Summary {
    pub fn of(name: &'static str, turns: &[Turn]) -> Self {
        let spread = |value: fn(&Turn) -> f64| Spread::of(turns.iter().map(value));
        Self {
            name,
            rate: spread(|turn| turn.rate),
            cpu_us: spread(|turn| turn.cpu_us),
            lost: spread(|turn| turn.lost),
            busy: spread(|turn| turn.busy),
            load_busy: spread(|turn| turn.load_busy),
            memory: spread(|turn| turn.memory),
            p50_us: spread(|turn| turn.p50_us),
            p99_us: spread(|turn| turn.p99_us),
            nxdomain: spread(|turn| turn.nxdomain),
            with_records: spread(|turn| turn.with_records),
        }
    }

    pub fn print_head() {
        println!(
            "{:<10} {:>28} {:>24} {:>7} {:>7} {:>8} {:>7} {:>7} {:>7}",
            "", "answers/s", "CPU us an answer", "busy %", "load %", "PSS MiB", "p50 us", "p99 us", "lost %"
        );
    }

    pub fn print(&self) {
        println!(
            "{:<10} {:>28} {:>24} {:>7.0} {:>7.0} {:>8.1} {:>7.0} {:>7.0} {:>7.3}",
            self.name,
            self.rate.text(0),
            self.cpu_us.text(2),
            self.busy.median,
            self.load_busy.median,
            self.memory.median,
            self.p50_us.median,
            self.p99_us.median,
            self.lost.median
        );
    }

    pub fn json(&self) -> Value {
        json!({ "name": self.name, "answers_per_second": self.rate.json(), "cpu_us_an_answer": self.cpu_us.json(),
            "core_busy_percent": self.busy.json(), "load_busy_percent": self.load_busy.json(), "pss_mib": self.memory.json(),
            "p50_us": self.p50_us.json(), "p99_us": self.p99_us.json(), "lost_percent": self.lost.json(),
            "nxdomain_percent": self.nxdomain.json(), "with_records_percent": self.with_records.json() })
    }

    /// Whether two servers were asked the same and said the same.
    pub fn says_as(&self, other: &Self) -> bool {
        let near = |own: Spread, other: Spread| (own.median - other.median).abs() <= 1.0;
        near(self.nxdomain, other.nxdomain) && near(self.with_records, other.with_records)
    }
}
