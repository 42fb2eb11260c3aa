//! An entry of the cache: an answer with its times.

use crate::resolver::Resolved;
use crate::resolver::packed::Packed;
use crate::resolver::policy::Purpose;

/// An answer, and until when it is what.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) packed: Packed,
    pub(super) hash: u64,
    pub(super) stored: u32,
    pub(super) until_mail: u32,
    pub(super) until_client: u32,
    /// Beyond its time it is kept until then: for want of better, or to count failures.
    pub(super) until_gone: u32,
    /// A failure has been put since: until then what is stale is given at once.
    pub(super) recheck: u32,
    /// Failures in a row.
    pub(super) failures: u8,
    pub(super) refresh_said: bool,
}

impl Entry {
    pub(super) fn until(&self, purpose: Purpose) -> u32 {
        match purpose {
            Purpose::Mail => self.until_mail,
            Purpose::Client => self.until_client,
        }
    }

    pub(super) fn resolved(&self, purpose: Purpose, now: u32, stale: bool) -> Resolved {
        let left_seconds = self.until(purpose).saturating_sub(now);
        Resolved { packed: self.packed.clone(), age_seconds: now.saturating_sub(self.stored), left_seconds, stale }
    }

    /// True for what says something, and may be given beyond its time.
    pub(super) fn may_be_stale(&self) -> bool {
        self.until_gone > self.until_mail.max(self.until_client) && self.failures == 0
    }
}
