//! When a busy socket is looked at again: at set times, the same for all sockets of a thread, instead of at each datagram.
//!
//! What network cards do with their interrupts. A wake-up of the executor costs as much as the answers to several queries; so while
//! datagrams come fast nobody waits for the next one, and all busy sockets, port 53 and those of the resolver, are looked at by the same wake-up.
//! A datagram waits at most [`INTERVAL`] for that, half of it on average, and on an idle shard not at all. edge/decisions/0004 has the figures.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Time between two looks at the busy sockets: what a datagram may wait under load, at most.
const INTERVAL: Duration = Duration::from_micros(200);
/// Datagrams that must be expected in that time; fewer are not worth the wait.
const EXPECTED_MIN: f32 = 1.5;

/// Where the intervals begin.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Waits until all busy sockets of this thread are looked at. One timer, one wake-up for all that wait.
pub(super) async fn next_look() {
    let since = Instant::now().saturating_duration_since(*BEGIN).as_nanos();
    let into = u64::try_from(since % INTERVAL.as_nanos()).unwrap_or(0);
    glommio::timer::sleep(INTERVAL.saturating_sub(Duration::from_nanos(into))).await;
}

/// How many datagrams come, by the last few looks.
pub(super) struct Load {
    before: Instant,
    /// In the time of [`INTERVAL`].
    expected: f32,
}

impl Load {
    pub(super) fn new(now: Instant) -> Self {
        Self { before: now, expected: 0.0 }
    }

    /// Takes note of what has come; true if enough can be expected not to wait for the next one.
    pub(super) fn is_busy(&mut self, received: usize, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.before).max(Duration::from_micros(1));
        self.before = now;
        let received = f32::from(u16::try_from(received).unwrap_or(u16::MAX));
        let current = received * INTERVAL.as_secs_f32() / elapsed.as_secs_f32();
        self.expected += (current - self.expected) / 4.0;
        self.expected >= EXPECTED_MIN
    }
}
