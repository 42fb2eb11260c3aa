//! When each message is due. Closed loop: as soon as a connection is free. Open loop: at a fixed rate, whatever the server does,
//! so that a slow server is charged for the messages that had to wait for it (coordinated omission).

use std::time::{Duration, Instant};

/// A message that was given out.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    pub number: usize,
    pub at: Instant,
}

/// How messages of an open loop follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Spacing {
    /// The same time between all
    Even,
    /// As from many senders who do not know of each other: exponential, the same every time
    Random,
}

pub struct Schedule {
    next: Instant,
    rate: Option<f64>,
    spacing: Spacing,
    seed: u64,
    count: usize,
    given_out: usize,
}

impl Schedule {
    pub fn new(begun: Instant, rate: Option<f64>, spacing: Spacing, count: usize) -> Self {
        Self { next: begun, rate, spacing, seed: 42, count, given_out: 0 }
    }

    /// The next message, if its time has come.
    pub fn take(&mut self, now: Instant) -> Option<Due> {
        let at = self.next_at(now)?;
        if at > now {
            return None;
        }
        let due = Due { number: self.given_out, at };
        self.given_out += 1;
        if let Some(rate) = self.rate {
            // From when this one was due, not from now: what is late does not make the next one late.
            self.next = at + Duration::from_secs_f64(self.gap() / rate);
        }
        Some(due)
    }

    /// When the next message is due; none after the last one.
    pub fn next_at(&self, now: Instant) -> Option<Instant> {
        if self.given_out >= self.count {
            return None;
        }
        Some(self.rate.map_or(now, |_| self.next))
    }

    /// Time to the next message, 1 in the mean.
    #[allow(clippy::cast_precision_loss)] // 53 bits of a random number
    fn gap(&mut self) -> f64 {
        if self.spacing == Spacing::Even {
            return 1.0;
        }
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = ((self.seed >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -uniform.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_from_when_messages_were_due() {
        let begun = Instant::now();
        let mut schedule = Schedule::new(begun, Some(100.0), Spacing::Even, 3);
        assert_eq!(schedule.take(begun).map(|due| due.at), Some(begun));
        assert!(schedule.take(begun + Duration::from_millis(9)).is_none());
        // Asked late: due when it was due.
        let late = begun + Duration::from_millis(500);
        assert_eq!(schedule.take(late).map(|due| due.at), Some(begun + Duration::from_millis(10)));
        assert_eq!(schedule.take(late).map(|due| due.at), Some(begun + Duration::from_millis(20)));
        assert!(schedule.take(late).is_none() && schedule.next_at(late).is_none());
    }

    #[test]
    fn random_spacing_keeps_the_rate_in_the_mean() {
        let begun = Instant::now();
        let mut schedule = Schedule::new(begun, Some(1000.0), Spacing::Random, 20_001);
        let late = begun + Duration::from_secs(1000);
        let last = std::iter::from_fn(|| schedule.take(late)).last().unwrap();
        let seconds = (last.at - begun).as_secs_f64();
        assert!((19.0..21.0).contains(&seconds), "{seconds}");
    }

    #[test]
    fn without_a_rate_all_are_due_at_once() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now, None, Spacing::Even, 2);
        assert!(schedule.take(now).is_some() && schedule.take(now).is_some() && schedule.take(now).is_none());
    }
}
