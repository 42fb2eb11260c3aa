//! Time as an argument: cores never read a clock, they are told.

/// The time at which something happened, as the daemon's loop read it once for the whole turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    /// Milliseconds of a clock that never goes back (CLOCK_MONOTONIC); for deadlines.
    pub monotonic_ms: u64,
    /// Microseconds since 1970-01-01 00:00:00 UTC; for dates in header fields and file names.
    pub unix_us: u64,
}

impl Now {
    /// Seconds since 1970-01-01 00:00:00 UTC.
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        self.unix_us / 1_000_000
    }

    /// The same instant `milliseconds` later; for tests and deadlines.
    #[must_use]
    pub fn after_ms(self, milliseconds: u64) -> Self {
        Self {
            monotonic_ms: self.monotonic_ms.saturating_add(milliseconds),
            unix_us: self.unix_us.saturating_add(milliseconds.saturating_mul(1000)),
        }
    }
}
