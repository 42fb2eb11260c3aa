//! What a message waits for at its last dot: which answers of the DNS were there, and how long the others took. All begin before, so that a message
//! waits only for what is slower than its own content.

use crate::shard::Shard;
use postring_control::Counter;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::{Duration, Instant};

/// Waits longer than these are counted.
const NOTICED: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_millis(100);

/// One message's. Costs two additions an answer, and the clock thrice.
pub(crate) struct LastDot<'a> {
    shard: &'a Shard,
    begun: Instant,
    asked: Cell<bool>,
    waited: Cell<Duration>,
}

impl<'a> LastDot<'a> {
    pub(crate) fn new(shard: &'a Shard) -> Self {
        Self { shard, begun: Instant::now(), asked: Cell::new(false), waited: Cell::default() }
    }

    /// How long a check that wants to wait for so long may: all together wait for `policy.last_dot_wait_ms`.
    pub(crate) fn left(&self, wanted: Duration) -> Duration {
        let all = Duration::from_millis(self.shard.config().policy.last_dot_wait_ms);
        wanted.min(all.saturating_sub(self.begun.elapsed()))
    }

    /// The answer, counted by whether it is there when it is asked for.
    pub(crate) async fn answer<T>(&self, answer: impl Future<Output = T>) -> T {
        self.asked.set(true);
        first(answer, |is_there| {
            self.shard.stats().add(if is_there { Counter::DotAnswersReady } else { Counter::DotAnswersLate }, 1);
        })
        .await
    }

    /// What answers are put into, and the time that took.
    pub(crate) async fn wait<T>(&self, answers: impl Future<Output = T>) -> T {
        let since = Cell::new(None);
        let result = first(answers, |are_there| since.set((!are_there).then(Instant::now))).await;
        if let Some(since) = since.get() {
            self.waited.set(self.waited.get() + since.elapsed());
        }
        result
    }

    /// The message is judged.
    pub(crate) fn end(self) {
        let stats = self.shard.stats();
        let waited = self.waited.get();
        stats.add(Counter::DotMessages, u64::from(self.asked.get()));
        stats.add(Counter::DotWaitMicroseconds, u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
        stats.add(Counter::DotWaitsOver5Ms, u64::from(waited > NOTICED));
        stats.add(Counter::DotWaitsOver100Ms, u64::from(waited > LONG));
    }
}

/// The result of `future`; `tell` hears once whether it was there at the first look.
async fn first<T>(future: impl Future<Output = T>, tell: impl FnOnce(bool)) -> T {
    let mut future = pin!(future);
    let mut tell = Some(tell);
    poll_fn(move |cx| {
        let polled = future.as_mut().poll(cx);
        if let Some(tell) = tell.take() {
            tell(polled.is_ready());
        }
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::first;
    use futures_lite::future::{block_on, yield_now};

    #[test]
    fn only_the_first_look_counts() {
        let (mut ready, mut late) = (None, None);
        assert_eq!(block_on(first(async { 1 }, |is_there| ready = Some(is_there))), 1);
        let slow = async {
            yield_now().await;
            yield_now().await;
            2
        };
        assert_eq!(block_on(first(slow, |is_there| late = Some(is_there))), 2);
        assert_eq!((ready, late), (Some(true), Some(false)));
    }
}
