//! When a secondary looks for a newer version, and where (RFC 1034 section 4.3.5, RFC 1996 section 3).
//!
//! ```text
//!             due, or NOTIFY               newer
//!   Waiting ────────────────> AskSoa ───────────────> Transfer ── done ──> Waiting(refresh)
//!      ^                         │ not newer: Waiting(refresh)   │
//!      └── retry, all primaries tried ─── failure: next primary ─┘
//!   Without a zone there is nothing to compare: Transfer at once. Expired is said once, then it goes on trying.
//! ```
//! `now` counts seconds on any clock that does not go back; `random` spreads the secondaries of a primary (any number will do).

use super::Soa;
use super::serial::is_newer;
use std::net::SocketAddr;

/// Between two looks, whatever the SOA says: less would be a flood, more would be forgetting.
const REFRESH_SECONDS: (u32, u32) = (30, 7 * 86_400);
/// Between two tries.
const RETRY_SECONDS: (u32, u32) = (15, 86_400);
/// A zone is not given up before this, or a short outage of a primary with a strange SOA would take it off.
const EXPIRE_SECONDS_MIN: u32 = 3600;
/// Between tries for a zone we have never had, doubled each time up to [`FIRST_RETRY_SECONDS_MAX`].
const FIRST_RETRY_SECONDS: u32 = 15;
const FIRST_RETRY_SECONDS_MAX: u32 = 3600;

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondaryStep {
    /// Ask for the SOA, then `handle_soa` or `handle_failure`.
    AskSoa(SocketAddr),
    /// Take the zone, then `handle_transferred`, `handle_current` or `handle_failure`. `differences`: IXFR; AXFR otherwise.
    Transfer {
        /// From whom.
        primary: SocketAddr,
        /// Only what changed.
        differences: bool,
    },
    /// The zone is too old to be served: SERVFAIL from now on, until a transfer brings it back. Said once.
    Expired,
    /// Nothing before this time, or before something is handled.
    Wait(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// A step was given, and its end has not been told.
    Asking,
    /// The SOA was newer.
    Newer,
    Transferring,
}

/// One zone of a secondary.
#[derive(Clone, Debug)]
pub struct Secondary {
    primaries: Vec<SocketAddr>,
    current: usize,
    /// Primaries that failed since the last success.
    failed: usize,
    rounds: u32,
    soa: Option<Soa>,
    due: u64,
    expires: u64,
    is_expired: bool,
    /// NOTIFY came while something was going on.
    again: bool,
    whole: bool,
    state: State,
}

impl Secondary {
    /// A zone with its primaries, which must not be none; `have`: the SOA of the copy on disk, and when it was last known to be the newest.
    #[must_use]
    pub fn new(primaries: Vec<SocketAddr>, have: Option<(Soa, u64)>, now: u64) -> Self {
        let expires = have.map_or(u64::MAX, |(soa, verified)| verified.saturating_add(expire(&soa)));
        Self {
            primaries,
            current: 0,
            failed: 0,
            rounds: 0,
            soa: have.map(|(soa, _)| soa),
            due: now,
            expires,
            is_expired: false,
            again: false,
            whole: false,
            state: State::Waiting,
        }
    }

    /// The serial of our copy.
    #[must_use]
    pub fn serial(&self) -> Option<u32> {
        self.soa.map(|soa| soa.serial)
    }

    /// False: the zone must not be served.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.soa.is_some() && !self.is_expired
    }

    /// What to do now. Every [`SecondaryStep::AskSoa`] and [`SecondaryStep::Transfer`] is given once, and its end must be told.
    pub fn poll(&mut self, now: u64) -> SecondaryStep {
        if self.soa.is_some() && !self.is_expired && now >= self.expires {
            self.is_expired = true;
            return SecondaryStep::Expired;
        }
        let expires = if self.is_expired { u64::MAX } else { self.expires };
        let Some(primary) = self.primaries.get(self.current).copied() else { return SecondaryStep::Wait(expires) };
        match self.state {
            State::Asking | State::Transferring => SecondaryStep::Wait(expires),
            State::Waiting if now < self.due => SecondaryStep::Wait(self.due.min(expires)),
            State::Waiting if self.soa.is_some() && !self.whole => {
                self.state = State::Asking;
                SecondaryStep::AskSoa(primary)
            }
            State::Waiting | State::Newer => {
                self.state = State::Transferring;
                SecondaryStep::Transfer { primary, differences: self.soa.is_some() && !self.whole }
            }
        }
    }

    /// The primary's SOA.
    pub fn handle_soa(&mut self, serial: u32, now: u64, random: u32) {
        match self.serial() {
            Some(ours) if serial == ours => self.handle_current(now, random),
            // An older one is a primary that has not heard: the next may have.
            Some(ours) if !is_newer(serial, ours) => self.handle_failure(now, random),
            _ => self.state = State::Newer,
        }
    }

    /// The primary has nothing newer.
    pub fn handle_current(&mut self, now: u64, random: u32) {
        match self.soa {
            Some(soa) => self.succeed(soa, now, random),
            None => self.handle_failure(now, random),
        }
    }

    /// A transfer brought this version, and it is being served.
    pub fn handle_transferred(&mut self, soa: Soa, now: u64, random: u32) {
        self.whole = false;
        self.succeed(soa, now, random);
    }

    /// The differences do not fit, or the primary does not know IXFR: the zone is taken whole from the same primary at once.
    pub fn handle_misfit(&mut self) {
        self.whole = true;
        self.state = State::Newer;
    }

    /// No answer, a bad one, or a zone that cannot be served: the next primary at once, or all again later.
    pub fn handle_failure(&mut self, now: u64, random: u32) {
        self.state = State::Waiting;
        self.failed += 1;
        self.current = (self.current + 1) % self.primaries.len().max(1);
        if self.failed < self.primaries.len() {
            self.due = now;
            return;
        }
        self.failed = 0;
        let wait = match self.soa {
            Some(soa) => soa.retry_seconds.clamp(RETRY_SECONDS.0, RETRY_SECONDS.1),
            None => FIRST_RETRY_SECONDS.saturating_mul(1 << self.rounds.min(8)).min(FIRST_RETRY_SECONDS_MAX),
        };
        self.rounds += 1;
        self.due =
            if std::mem::take(&mut self.again) && self.rounds == 1 { now } else { now.saturating_add(spread(wait, random)) };
    }

    /// A NOTIFY from somebody who may send one. `serial`: what it says the new version is. False: we have that already.
    pub fn handle_notify(&mut self, from: std::net::IpAddr, serial: Option<u32>, now: u64) -> bool {
        if let (Some(ours), Some(theirs)) = (self.serial(), serial)
            && !is_newer(theirs, ours)
        {
            return false;
        }
        if self.state == State::Waiting {
            self.due = self.due.min(now);
            // Who tells has it.
            if let Some(index) = self.primaries.iter().position(|primary| primary.ip() == from) {
                self.current = index;
            }
            self.failed = 0;
        } else {
            self.again = true;
        }
        true
    }

    fn succeed(&mut self, soa: Soa, now: u64, random: u32) {
        self.state = State::Waiting;
        self.soa = Some(soa);
        self.failed = 0;
        self.rounds = 0;
        self.is_expired = false;
        self.expires = now.saturating_add(expire(&soa));
        let refresh = soa.refresh_seconds.clamp(REFRESH_SECONDS.0, REFRESH_SECONDS.1);
        self.due = if std::mem::take(&mut self.again) { now } else { now.saturating_add(spread(refresh, random)) };
    }
}

fn expire(soa: &Soa) -> u64 {
    soa.expire_seconds.max(EXPIRE_SECONDS_MIN).into()
}

/// Up to a tenth sooner.
fn spread(seconds: u32, random: u32) -> u64 {
    u64::from(seconds - random % (seconds / 10 + 1))
}
