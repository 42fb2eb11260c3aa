//! When one that fails is not asked any more.

/// Counts failures one after the other; after enough of them nobody is asked for a while, then one question tries again.
///
/// ```text
///   closed ── failures_max in a row ──> open ── pause_ms later ──> half open: one question is asked
///     ^                                  ^                            │
///     └───────── it is answered ─────────┼────────────────────────────┤
///                                        └──────── it fails ──────────┘
/// ```
#[derive(Debug)]
pub struct Breaker {
    failures_max: u32,
    pause_ms: u64,
    failures: u32,
    /// When it may be asked again.
    open_until_ms: u64,
}

impl Breaker {
    /// A closed one. `failures_max` is at least 1.
    #[must_use]
    pub fn new(failures_max: u32, pause_ms: u64) -> Self {
        Self { failures_max: failures_max.max(1), pause_ms, failures: 0, open_until_ms: 0 }
    }

    /// True if the question may be asked at this moment (milliseconds of a clock that only goes forward). Whoever is told so reports what came of it.
    pub fn admit(&mut self, now_ms: u64) -> bool {
        if !self.is_open() {
            return true;
        }
        if now_ms < self.open_until_ms {
            return false;
        }
        // The others wait for what this one finds; if that gets lost, the next tries.
        self.open_until_ms = now_ms.saturating_add(self.pause_ms);
        true
    }

    /// True if nobody should be asked now but the one who tries.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.failures >= self.failures_max
    }

    /// It was answered.
    pub fn succeed(&mut self) {
        self.failures = 0;
    }

    /// It was not. True if that opened the breaker.
    pub fn fail(&mut self, now_ms: u64) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.failures_max {
            self.open_until_ms = now_ms.saturating_add(self.pause_ms);
        }
        self.failures == self.failures_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_enough_failures_one_question_in_a_pause_is_asked() {
        let mut breaker = Breaker::new(2, 1000);
        assert!(breaker.admit(0) && !breaker.fail(0));
        assert!(breaker.admit(5) && !breaker.is_open() && breaker.fail(5) && breaker.is_open());
        assert!(!breaker.admit(6) && !breaker.admit(1004));
        assert!(breaker.admit(1005));
        assert!(!breaker.admit(1006), "one at a time");
        assert!(!breaker.fail(1500), "it is open already");
        assert!(!breaker.admit(2400) && breaker.admit(2500));
        breaker.succeed();
        assert!(breaker.admit(2501) && breaker.admit(2502));
        assert!(!breaker.fail(2503) && breaker.admit(2504), "counted anew");
    }

    #[test]
    fn questions_that_were_under_way_do_not_close_it() {
        let mut breaker = Breaker::new(1, 100);
        assert!(breaker.admit(0) && breaker.admit(0));
        assert!(breaker.fail(1) && !breaker.fail(2));
        assert!(!breaker.admit(101) && breaker.admit(102));
    }
}
