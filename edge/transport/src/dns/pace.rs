//! When a busy socket is looked at again: at set times, the same for all sockets of a shard, instead of at each datagram.
//!
//! What network cards do with their interrupts. A wake-up of the executor costs as much as the answers to several queries; so while
//! datagrams come fast nobody waits for the next one, and all busy sockets, those of port 53 and of the resolver, are looked at by the same
//! wake-up. On a shard with little to do a datagram does not wait. edge/decisions/0004 has the figures.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Datagrams that must be expected until the next look; fewer are not worth the wait.
const EXPECTED_MIN: f32 = 1.5;

/// The times at which a shard looks; cheap to clone, all clones are one.
#[derive(Clone)]
pub(super) struct Pace {
    inner: Rc<(Instant, Cell<Duration>)>,
}

impl Pace {
    /// Every socket is waited for until there is an interval.
    pub(super) fn new() -> Self {
        Self { inner: Rc::new((Instant::now(), Cell::default())) }
    }

    /// Takes the time between two looks: what a datagram may wait under load, at most. Zero: every socket is waited for.
    pub(super) fn set_interval(&self, interval: Duration) {
        self.inner.1.set(interval);
    }

    /// Waits for the next look. One timer, one wake-up for all that wait.
    pub(super) async fn next_look(&self) {
        let (begin, interval) = (self.inner.0, self.inner.1.get());
        let into = Instant::now().saturating_duration_since(begin).as_nanos().checked_rem(interval.as_nanos());
        let into = Duration::from_nanos(into.and_then(|into| u64::try_from(into).ok()).unwrap_or(0));
        glommio::timer::sleep(interval.saturating_sub(into)).await;
    }
}

/// How many datagrams come to a socket, or to several, by the last few looks.
pub(super) struct Load {
    pace: Pace,
    before: Instant,
    /// Until the next look.
    expected: f32,
}

impl Load {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, before: Instant::now(), expected: 0.0 }
    }

    /// Takes note of what has come; true if enough can be expected not to wait for the next one.
    pub(super) fn is_busy(&mut self, received: usize, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.before).max(Duration::from_micros(1));
        self.before = now;
        let received = f32::from(u16::try_from(received).unwrap_or(u16::MAX));
        let current = received * self.pace.inner.1.get().as_secs_f32() / elapsed.as_secs_f32();
        self.expected += (current - self.expected) / 4.0;
        self.expected >= EXPECTED_MIN
    }

    pub(super) async fn next_look(&self) {
        self.pace.next_look().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_micros(300);

    #[test]
    fn busy_is_who_gets_several_between_two_looks() {
        let pace = Pace::new();
        pace.set_interval(INTERVAL);
        let mut load = Load::new(pace.clone());
        let mut now = load.before;
        let mut run = |received, every: Duration, times: usize| {
            let mut last = false;
            for _ in 0..times {
                now += every;
                last = load.is_busy(received, now);
            }
            last
        };
        assert!(!run(1, INTERVAL, 100));
        assert!(run(3, INTERVAL, 100));
        // It was a single pause.
        assert!(run(0, INTERVAL, 1));
        assert!(!run(0, INTERVAL, 10));
        assert!(run(1, INTERVAL / 10, 100));
        pace.set_interval(Duration::ZERO);
        assert!(!run(60, INTERVAL / 10, 100));
    }

    #[test]
    fn all_that_wait_wake_at_one_time() {
        glommio::LocalExecutor::default().run(async {
            let pace = Pace::new();
            pace.set_interval(Duration::from_millis(20));
            pace.next_look().await;
            let looks = [0, 3, 9].map(|late| {
                let pace = pace.clone();
                glommio::spawn_local(async move {
                    glommio::timer::sleep(Duration::from_millis(late)).await;
                    pace.next_look().await;
                    Instant::now().saturating_duration_since(pace.inner.0).as_nanos() / Duration::from_millis(20).as_nanos()
                })
            });
            let mut intervals = Vec::new();
            for look in looks {
                intervals.push(look.await);
            }
            // A machine that stands still for a while may make them late, but not wake them before.
            assert!(intervals.iter().all(|interval| *interval >= 2), "{intervals:?}");
        });
    }
}
