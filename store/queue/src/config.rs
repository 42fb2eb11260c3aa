//! How long, how often and how many at once; when the next round of a message is due.

use postring_mail::envelope::MessageId;

const SECOND_US: u64 = 1_000_000;
const MINUTE_US: u64 = 60 * SECOND_US;
const HOUR_US: u64 = 60 * MINUTE_US;
const DAY_US: u64 = 24 * HOUR_US;

/// The queue's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// How long a message is tried before its sender is told that it failed, microseconds from its reception.
    //= RFC 5321 section 4.5.4.1
    //# Retries continue until the message is transmitted or the sender gives up; the give-up time generally needs to be at
    //# least 4-5 days.
    /// Default: 5 days.
    pub lifetime_us: u64,
    /// The wait after the first round that left a recipient pending, microseconds; each further wait is twice as long. At least one
    /// second is kept. Default: 5 minutes. RFC 5321 section 4.5.4.1 says that a wait should be at least 30 minutes unless the client
    /// has a better strategy: ours is to begin short, because greylisting, the most frequent reason of a first deferral, asks for
    /// 1 to 15 minutes, and to have waited longer than that by the third wait.
    pub retry_min_us: u64,
    /// The longest wait between rounds, microseconds. Default: 4 hours. RFC 5321 section 4.5.4.1 asks for two or three hours as a
    /// beginning; 4 hours are about thirty tries in five days, few enough to spare a host that is away.
    pub retry_max_us: u64,
    /// Messages in the queue before [`crate::Queue::has_room`] says no. Default: 100 000, which is about 100 MB of memory for
    /// messages of few recipients.
    pub messages_max: usize,
    /// Attempts under way at once, over all destinations; at least 1. Default: 40, an ordinary message takes a second and a slow host
    /// holds its attempt for minutes.
    pub attempts_max: usize,
    /// Attempts under way at once to one domain; at least 1. Default: 4. Large receivers defer more from a sender they do not know,
    /// and one domain that does not answer must not take all attempts.
    pub attempts_per_domain_max: usize,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            lifetime_us: 5 * DAY_US,
            retry_min_us: 5 * MINUTE_US,
            retry_max_us: 4 * HOUR_US,
            messages_max: 100_000,
            attempts_max: 40,
            attempts_per_domain_max: 4,
        }
    }
}

impl QueueConfig {
    /// The same within what can work: a limit of 0 would stop the queue, a wait of 0 would make it spin.
    pub(crate) fn bounded(self) -> Self {
        let retry_min_us = self.retry_min_us.max(SECOND_US);
        Self {
            retry_min_us,
            retry_max_us: self.retry_max_us.max(retry_min_us),
            attempts_max: self.attempts_max.max(1),
            attempts_per_domain_max: self.attempts_per_domain_max.max(1),
            ..self
        }
    }

    /// True if a message received then is given up now.
    pub(crate) fn is_expired(&self, received_us: u64, now_us: u64) -> bool {
        now_us >= received_us.saturating_add(self.lifetime_us)
    }

    /// When the next round of a message is due after `rounds` (1 or more) have ended, the last one now. The last round is at the
    /// end of the lifetime, not up to hours behind it: the sender hears of the failure when it was promised.
    pub(crate) fn next_attempt_us(&self, id: MessageId, rounds: u32, received_us: u64, now_us: u64) -> u64 {
        let doublings = rounds.saturating_sub(1).min(63);
        let wait_us = self.retry_min_us.saturating_mul(1 << doublings).min(self.retry_max_us);
        let due_us = now_us.saturating_add(wait_us).saturating_add(jitter_us(id, rounds, wait_us));
        let end_us = received_us.saturating_add(self.lifetime_us);
        due_us.min(end_us.max(now_us.saturating_add(self.retry_min_us)))
    }
}

/// Up to an eighth of the wait, so that a thousand messages deferred together do not come back together. From the id, not from
/// chance: a test and a restart compute the same.
fn jitter_us(id: MessageId, rounds: u32, wait_us: u64) -> u64 {
    // The finalizer of splitmix64 (Steele, Lea, Flood 2014): neighbouring ids get unrelated values.
    let mut mixed = id.0 ^ u64::from(rounds).rotate_left(48);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    mixed % (wait_us / 8).max(1)
}

/// A span for people, in the largest unit that has at least two of it: `5 days`, `36 hours`, `90 minutes`, `100 seconds`.
pub(crate) fn span(microseconds: u64) -> String {
    let (unit, name) = [(DAY_US, "days"), (HOUR_US, "hours"), (MINUTE_US, "minutes")]
        .into_iter()
        .find(|(unit, _)| microseconds / unit >= 2)
        .unwrap_or((SECOND_US, "seconds"));
    format!("{} {name}", microseconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_differ_by_message() {
        let config = QueueConfig::default();
        let wait = |id, rounds| config.next_attempt_us(MessageId(id), rounds, 0, 0);
        let mut least_us = config.retry_min_us;
        for rounds in 1..20 {
            let wait_us = wait(77, rounds);
            assert!((least_us..least_us + least_us / 8).contains(&wait_us), "{rounds}: {wait_us}");
            least_us = (least_us * 2).min(config.retry_max_us);
        }
        assert_eq!(least_us, config.retry_max_us);
        let mut waits: Vec<u64> = (0..100).map(|id| wait(id << 12, 1)).collect();
        waits.sort_unstable();
        waits.dedup();
        assert!(waits.len() > 90, "{}", waits.len());
        assert!(wait(1, u32::MAX) <= config.retry_max_us + config.retry_max_us / 8);
    }

    #[test]
    fn the_last_round_is_at_the_end_of_the_lifetime() {
        let config = QueueConfig::default();
        let now_us = config.lifetime_us - HOUR_US;
        assert_eq!(config.next_attempt_us(MessageId(1), 30, 0, now_us), config.lifetime_us);
        // But never at once.
        let now_us = config.lifetime_us - SECOND_US;
        assert_eq!(config.next_attempt_us(MessageId(1), 30, 0, now_us), now_us + config.retry_min_us);
        assert!(config.is_expired(0, config.lifetime_us) && !config.is_expired(1, config.lifetime_us));
    }

    #[test]
    fn absurd_settings_and_times_are_harmless() {
        let config = QueueConfig {
            lifetime_us: u64::MAX,
            retry_min_us: 0,
            retry_max_us: 0,
            messages_max: 0,
            attempts_max: 0,
            attempts_per_domain_max: 0,
        };
        let config = config.bounded();
        assert_eq!((config.attempts_max, config.attempts_per_domain_max), (1, 1));
        assert!(config.next_attempt_us(MessageId(0), 1, u64::MAX, 0) >= SECOND_US);
        assert_eq!(config.next_attempt_us(MessageId(0), u32::MAX, u64::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn spans() {
        let shown = [5 * DAY_US, 36 * HOUR_US, 90 * MINUTE_US, 100 * SECOND_US, 1].map(span);
        assert_eq!(shown, ["5 days", "36 hours", "90 minutes", "100 seconds", "0 seconds"]);
    }
}
