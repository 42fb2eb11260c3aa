//! What is remembered of a server: how fast it answers, what it cannot do, and for which zones it is of no use.
//!
//! Times are smoothed as TCP does it (RFC 6298 section 2): `srtt` over about eight answers, `var` over about four. A server that is silent
//! has its time doubled with each silence, and after some of them it is left alone for a while: it answers nobody faster for being asked
//! by all shards again and again.

use smallvec::SmallVec;

/// Milliseconds a server has that was never heard of.
pub(crate) const WAIT_UNKNOWN_MS: u64 = 400;
/// At least: below it a busy machine's own delays look like silence.
const WAIT_MIN_MS: u64 = 200;
/// At most.
const WAIT_MAX_MS: u64 = 3000;
/// Silences in a row until a server counts as dead.
const TIMEOUTS_MAX: u8 = 4;
/// Milliseconds a dead server is left alone, at first; doubled with each further silence.
const DEAD_MS: u64 = 30_000;
/// At most, as Unbound keeps it (15 minutes).
const DEAD_MS_MAX: u64 = 900_000;
/// Milliseconds until a server that could not do EDNS, or did not keep the letters, is tried again.
const TROUBLE_MS: u64 = 3_600_000;
/// Milliseconds a server is not asked about a zone it did not know.
const LAME_MS: u64 = 900_000;
/// Zones a server is remembered to be lame for; a host of many such zones shows by its refusals.
const LAME_MAX: usize = 8;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerState {
    /// Eighths of milliseconds; 0: never heard of.
    srtt: u32,
    /// Quarters of milliseconds.
    var: u32,
    timeouts: u8,
    /// When it last answered, or a silence of it was counted.
    counted_ms: u64,
    dead_until_ms: u64,
    plain_until_ms: u64,
    case_until_ms: u64,
    /// Hashes of the zones' names, and until when.
    lame: SmallVec<[(u64, u64); 2]>,
}

impl ServerState {
    /// How long to wait for it.
    pub(crate) fn wait_ms(&self) -> u64 {
        let wait = match self.srtt {
            0 => WAIT_UNKNOWN_MS,
            srtt => (u64::from(srtt) / 8 + u64::from(self.var)).clamp(WAIT_MIN_MS, WAIT_MAX_MS),
        };
        (wait << self.timeouts.min(5)).min(WAIT_MAX_MS)
    }

    /// The lower the better; `None`: never heard of.
    pub(crate) fn score(&self) -> Option<u64> {
        let silence = if self.timeouts > 0 { WAIT_UNKNOWN_MS << self.timeouts.min(5) } else { 0 };
        (self.srtt > 0 || silence > 0).then_some(u64::from(self.srtt) / 8 + silence)
    }

    pub(crate) fn is_dead(&self, now_ms: u64) -> bool {
        now_ms < self.dead_until_ms
    }

    pub(crate) fn handle_answer(&mut self, rtt_ms: u64, now_ms: u64) {
        self.counted_ms = now_ms;
        self.timeouts = 0;
        self.dead_until_ms = 0;
        let rtt = u32::try_from(rtt_ms.clamp(1, 60_000)).unwrap_or(60_000);
        if self.srtt == 0 {
            self.srtt = rtt * 8;
            self.var = rtt * 2;
        } else {
            let difference = (self.srtt / 8).abs_diff(rtt);
            self.var = self.var - self.var / 4 + difference;
            self.srtt = (self.srtt - self.srtt / 8 + rtt).max(1);
        }
    }

    /// Nothing came to a question sent at `sent_ms`; `weight` silences at once. A hundred questions sent together and not answered are one
    /// silence, not a hundred in a row; and one that is older than the last answer is a lost packet.
    pub(crate) fn handle_silence(&mut self, weight: u8, sent_ms: u64, now_ms: u64) {
        if sent_ms < self.counted_ms {
            return;
        }
        self.counted_ms = now_ms;
        self.timeouts = self.timeouts.saturating_add(weight).min(30);
        if self.timeouts >= TIMEOUTS_MAX {
            let doubled = DEAD_MS << (self.timeouts - TIMEOUTS_MAX).min(6);
            self.dead_until_ms = now_ms.saturating_add(doubled.min(DEAD_MS_MAX));
        }
    }

    pub(crate) fn knows_edns(&self, now_ms: u64) -> bool {
        now_ms >= self.plain_until_ms
    }

    pub(crate) fn set_plain(&mut self, now_ms: u64) {
        self.plain_until_ms = now_ms.saturating_add(TROUBLE_MS);
    }

    pub(crate) fn keeps_case(&self, now_ms: u64) -> bool {
        now_ms >= self.case_until_ms
    }

    pub(crate) fn set_case_lost(&mut self, now_ms: u64) {
        self.case_until_ms = now_ms.saturating_add(TROUBLE_MS);
    }

    pub(crate) fn is_lame(&self, zone: u64, now_ms: u64) -> bool {
        self.lame.iter().any(|(lame, until_ms)| *lame == zone && now_ms < *until_ms)
    }

    pub(crate) fn set_lame(&mut self, zone: u64, now_ms: u64) {
        self.lame.retain(|(lame, until_ms)| *lame != zone && now_ms < *until_ms);
        if self.lame.len() == LAME_MAX {
            self.lame.remove(0);
        }
        self.lame.push((zone, now_ms.saturating_add(LAME_MS)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_the_answers_and_silence_doubles_them() {
        let mut state = ServerState::default();
        assert_eq!((state.wait_ms(), state.score()), (400, None));
        state.handle_answer(20, 0);
        assert_eq!((state.wait_ms(), state.score()), (200, Some(20)));
        for _ in 0..40 {
            state.handle_answer(200, 0);
        }
        assert!((180..=200).contains(&state.score().unwrap()) && state.wait_ms() < 400);
        let before = state.wait_ms();
        state.handle_silence(1, 0, 0);
        assert_eq!(state.wait_ms(), before * 2);
        state.handle_silence(3, 0, 0);
        assert!(state.is_dead(29_999) && !state.is_dead(30_000));
        state.handle_silence(1, 30_000, 30_000);
        assert!(state.is_dead(89_999) && !state.is_dead(90_000));
        for _ in 0..40 {
            state.handle_silence(1, 30_000, 30_000);
        }
        assert!(state.is_dead(DEAD_MS_MAX) && !state.is_dead(30_000 + DEAD_MS_MAX));
        state.handle_answer(20, 31_000);
        assert!(!state.is_dead(31_000) && state.timeouts == 0);
        // Sent together: one silence. Sent before the last answer: none.
        for _ in 0..100 {
            state.handle_silence(1, 32_000, 32_400);
            state.handle_silence(1, 30_900, 32_400);
        }
        assert_eq!(state.timeouts, 1);
    }

    #[test]
    fn lame_for_a_zone_and_no_other() {
        let mut state = ServerState::default();
        for zone in 0..20 {
            state.set_lame(zone, 0);
        }
        assert!(state.is_lame(19, 1) && !state.is_lame(20, 1) && !state.is_lame(0, 1) && !state.is_lame(19, LAME_MS));
        assert_eq!(state.lame.len(), LAME_MAX);
    }
}
