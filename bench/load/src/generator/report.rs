//! What came of a run, and how it is printed.

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::time::Instant;

pub struct Report {
    pub accepted: u64,
    pub refused: u64,
    pub failed: u64,
    /// The first reply that was no yes.
    pub first_refusal: Option<String>,
    pub seconds: f64,
    /// From MAIL FROM to the 250 after the last dot, microseconds; accepted messages only, as the next.
    pub latency: Histogram<u64>,
    /// Open loop: from the time a message was due to its 250: waiting for a connection, connecting and greeting are in it.
    pub from_due: Option<Histogram<u64>>,
    /// Open loop: from the time a message was due until a connection took it.
    pub waited: Option<Histogram<u64>>,
}

/// Microseconds since then.
fn record(histogram: &mut Histogram<u64>, since: Instant) {
    // Auto-resizing: no value is out of range.
    let _ = histogram.record(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
}

const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

impl Report {
    pub fn new(open_loop: bool) -> Result<Self, String> {
        let histogram = || Histogram::new(3).map_err(|error| error.to_string());
        let second = || open_loop.then(histogram).transpose();
        Ok(Self {
            accepted: 0,
            refused: 0,
            failed: 0,
            first_refusal: None,
            seconds: 0.0,
            latency: histogram()?,
            from_due: second()?,
            waited: second()?,
        })
    }

    pub fn taken(&mut self, due_at: Instant) {
        if let Some(waited) = &mut self.waited {
            record(waited, due_at);
        }
    }

    pub fn answered(&mut self, good: bool, due_at: Instant, mail_at: Instant) {
        if !good {
            self.refused += 1;
            return;
        }
        self.accepted += 1;
        record(&mut self.latency, mail_at);
        if let Some(from_due) = &mut self.from_due {
            record(from_due, due_at);
        }
    }

    /// An error unless all of so many messages were accepted.
    pub fn all_accepted(&self, count: usize) -> Result<(), String> {
        if self.accepted == count as u64 {
            return Ok(());
        }
        let refusal = self.first_refusal.as_ref().map(|reply| format!("; the first reply against one: {reply}"));
        Err(format!("{} of {count} messages were accepted{}", self.accepted, refusal.unwrap_or_default()))
    }

    #[allow(clippy::cast_precision_loss)] // counts of a benchmark
    pub fn rate(&self) -> f64 {
        self.accepted as f64 / self.seconds.max(1e-9)
    }

    fn histograms(&self) -> impl Iterator<Item = (&'static str, &'static str, &Histogram<u64>)> {
        [
            ("MAIL FROM to 250", "latency_us", Some(&self.latency)),
            ("due to 250", "from_due_us", self.from_due.as_ref()),
            ("due to begun", "waited_us", self.waited.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, key, histogram)| Some((name, key, histogram?)))
    }

    pub fn json(&self) -> Value {
        let mut value = json!({ "accepted": self.accepted, "refused": self.refused, "failed": self.failed,
            "seconds": self.seconds, "messages_per_second": self.rate() });
        for (_, key, histogram) in self.histograms() {
            value[key] = QUANTILES
                .iter()
                .map(|(name, quantile)| ((*name).to_owned(), json!(histogram.value_at_quantile(*quantile))))
                .collect();
        }
        value
    }

    pub fn print(&self) {
        println!(
            "{} accepted, {} refused, {} failed in {:.2} s: {:.0} messages/s",
            self.accepted,
            self.refused,
            self.failed,
            self.seconds,
            self.rate()
        );
        for (name, _, histogram) in self.histograms() {
            print!("{name}, us:");
            for (quantile_name, quantile) in QUANTILES {
                print!(" {quantile_name} {}", histogram.value_at_quantile(quantile));
            }
            println!();
        }
    }
}
