//! What the messages of a turn have waited for.

/// What messages have waited for at their last dots, by Postring's counters.
#[derive(Clone, Copy, Default)]
pub struct LastDots {
    /// Whose verdict needed the DNS.
    pub messages: u64,
    /// Answers that were there.
    pub ready: u64,
    /// Answers that were waited for.
    pub late: u64,
    pub wait_us: u64,
    /// Messages that waited longer than 5 ms.
    pub over_5_ms: u64,
}

impl LastDots {
    /// What has come since.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(before.messages),
            ready: self.ready.saturating_sub(before.ready),
            late: self.late.saturating_sub(before.late),
            wait_us: self.wait_us.saturating_sub(before.wait_us),
            over_5_ms: self.over_5_ms.saturating_sub(before.over_5_ms),
        }
    }

    /// Both together.
    pub fn and(self, other: &Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            ready: self.ready + other.ready,
            late: self.late + other.late,
            wait_us: self.wait_us + other.wait_us,
            over_5_ms: self.over_5_ms + other.over_5_ms,
        }
    }

    /// Of a hundred answers so many were there; not a number if none was needed.
    #[allow(clippy::cast_precision_loss)] // counts of a benchmark
    pub fn ready_percent(&self) -> f64 {
        100.0 * self.ready as f64 / (self.ready + self.late) as f64
    }

    /// Of a hundred messages so many waited longer than 5 ms.
    #[allow(clippy::cast_precision_loss)] // counts of a benchmark
    pub fn over_5_ms_percent(&self) -> f64 {
        100.0 * self.over_5_ms as f64 / self.messages as f64
    }
}
