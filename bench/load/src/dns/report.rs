//! What came of a run, and how it is printed.

use super::flight::Question;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// RFC 1035 section 4.1.1 and RFC 2136 section 2.2; the others by number.
const RCODES: [&str; 11] =
    ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"];
const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

pub struct Report {
    pub sent: u64,
    pub answered: u64,
    /// No answer in time.
    pub lost: u64,
    /// Answers to nothing that was waited for: too late, or twice.
    pub stray: u64,
    /// Times the kernel said that nobody listens there.
    pub unreachable: u64,
    pub rcodes: [u64; 16],
    /// With records in the answer section.
    pub with_records: u64,
    /// With the TC bit.
    pub truncated: u64,
    /// Bytes of all answers.
    pub bytes: u64,
    /// Calls that sent something, and that received something.
    pub send_calls: u64,
    pub receive_calls: u64,
    /// From the first question to the last answer, or to the end of sending if that is later.
    pub seconds: f64,
    /// From when a question was sent to its answer, microseconds.
    pub latency: Histogram<u64>,
    /// Open loop: from when it was due.
    pub from_due: Option<Histogram<u64>>,
}

/// A part of a whole; 0 of nothing.
#[allow(clippy::cast_precision_loss)] // counts of a benchmark
pub fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / (whole as f64).max(1.0)
}

/// Nanoseconds as microseconds.
fn record(histogram: &mut Histogram<u64>, nanoseconds: u64) {
    // Auto-resizing: no value is out of range.
    let _ = histogram.record(nanoseconds / 1000);
}

impl Report {
    pub fn new(open_loop: bool) -> Result<Self, String> {
        let histogram = || Histogram::new(3).map_err(|error| error.to_string());
        Ok(Self {
            sent: 0,
            answered: 0,
            lost: 0,
            stray: 0,
            unreachable: 0,
            rcodes: [0; 16],
            with_records: 0,
            truncated: 0,
            bytes: 0,
            send_calls: 0,
            receive_calls: 0,
            seconds: 0.0,
            latency: histogram()?,
            from_due: open_loop.then(histogram).transpose()?,
        })
    }

    /// An answer by its head (RFC 1035 section 4.1.1), and all of its bytes.
    pub fn answer(&mut self, head: &[u8; 12], bytes: usize, question: Question, now_ns: u64) {
        let [_, _, flags_high, flags_low, _, _, records_high, records_low, ..] = *head;
        self.answered += 1;
        if let Some(count) = self.rcodes.get_mut(usize::from(flags_low & 15)) {
            *count += 1;
        }
        self.with_records += u64::from((records_high, records_low) != (0, 0));
        self.truncated += u64::from(flags_high & 2 != 0);
        self.bytes += bytes as u64;
        record(&mut self.latency, now_ns.saturating_sub(question.sent_ns));
        if let Some(from_due) = &mut self.from_due {
            record(from_due, now_ns.saturating_sub(question.due_ns));
        }
    }

    /// Answers a second.
    #[allow(clippy::cast_precision_loss)] // counts of a benchmark
    pub fn rate(&self) -> f64 {
        self.answered as f64 / self.seconds.max(1e-9)
    }

    /// Name and count of each rcode that came.
    fn rcodes(&self) -> impl Iterator<Item = (String, u64)> {
        let name = |number: usize| RCODES.get(number).map_or_else(|| format!("RCODE{number}"), |name| (*name).to_owned());
        self.rcodes.iter().enumerate().filter(|(_, count)| **count > 0).map(move |(number, count)| (name(number), *count))
    }

    fn histograms(&self) -> impl Iterator<Item = (&'static str, &'static str, &Histogram<u64>)> {
        [("sent to answer", "latency_us", Some(&self.latency)), ("due to answer", "from_due_us", self.from_due.as_ref())]
            .into_iter()
            .filter_map(|(name, key, histogram)| Some((name, key, histogram?)))
    }

    pub fn json(&self) -> Value {
        let rcodes: serde_json::Map<String, Value> = self.rcodes().map(|(name, count)| (name, json!(count))).collect();
        let mut value = json!({ "sent": self.sent, "answered": self.answered, "lost": self.lost, "stray": self.stray,
            "unreachable": self.unreachable, "rcodes": rcodes, "with_records": self.with_records, "truncated": self.truncated,
            "bytes_an_answer": ratio(self.bytes, self.answered), "questions_a_send_call": ratio(self.sent, self.send_calls),
            "answers_a_receive_call": ratio(self.answered, self.receive_calls), "seconds": self.seconds,
            "answers_per_second": self.rate() });
        for (_, key, histogram) in self.histograms() {
            value[key] = QUANTILES
                .iter()
                .map(|(name, quantile)| ((*name).to_owned(), json!(histogram.value_at_quantile(*quantile))))
                .collect();
        }
        value
    }

    pub fn print(&self) {
        let percent = |part, whole| 100.0 * ratio(part, whole);
        println!(
            "{} sent, {} answered in {:.2} s: {:.0} answers/s; {} lost ({:.3} %), {} stray",
            self.sent,
            self.answered,
            self.seconds,
            self.rate(),
            self.lost,
            percent(self.lost, self.sent),
            self.stray
        );
        for (name, count) in self.rcodes() {
            print!("{name} {:.2} %, ", percent(count, self.answered));
        }
        println!(
            "with records {:.2} %, truncated {:.2} %, {:.0} bytes an answer",
            percent(self.with_records, self.answered),
            percent(self.truncated, self.answered),
            ratio(self.bytes, self.answered)
        );
        if self.unreachable > 0 {
            println!("nobody listened there, said the kernel {} times", self.unreachable);
        }
        println!(
            "{:.1} questions a send call, {:.1} answers a receive call",
            ratio(self.sent, self.send_calls),
            ratio(self.answered, self.receive_calls)
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
