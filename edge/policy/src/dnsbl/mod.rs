//! A block list somebody else runs (RFC 5782), and how far it is trusted: one policy object a list.
//!
//! ```text
//!                      ┌──────────── answers that make sense ───────────┐
//!                      v                                                │
//!   Untested ─ probe ─> Trusted ── failures, nonsense, error codes ──> Suspended ── after a while: probe
//! ```
//! No I/O: the daemon asks what [`Dnsbl::poll_probe`] and [`Dnsbl::question`] say, and hands in what came back. A list that fails, lists the
//! whole world or tells us to stop is left alone for a while; it never refuses anybody by accident.

mod config;
mod reputation;

pub use config::{CodeConfig, DnsblConfig};
pub use reputation::{Listed, Reputation};

use postring_dns::{Name, name};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered; the addresses are handed in as well.
    Answered,
    /// Nobody could say.
    Failed,
    /// Not in time.
    Late,
}

/// What a list says of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// The return code that weighs most.
    pub code: Ipv4Addr,
    /// Points.
    pub weight: f64,
    /// What it is called.
    pub symbol: Arc<str>,
}

/// Why a list is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAsked {
    /// It failed, or was not probed yet.
    Suspended,
    /// The day's questions are used up.
    Budget,
}

/// What a list has done, for whoever judges it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Questions asked; answers from memory are none.
    pub asked: u64,
    /// Clients listed.
    pub listed: u64,
    /// Answers that did not come in time.
    pub late: u64,
    /// Questions nobody could answer.
    pub failed: u64,
    /// Answers that say that something is wrong with us (127.255.255.0/24), or that make no sense.
    pub refused: u64,
    /// Clients not asked for: suspended, or over the budget.
    pub skipped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Untested,
    Trusted { probe_at: u64 },
    Suspended { until: u64, seconds: u32 },
}

/// Lists of one configuration.
pub const LISTS_MAX: usize = 32;
/// Failures in a row that suspend a list.
const FAILURES_MAX: u32 = 8;
/// Seconds of the first suspension; doubled with each that follows, up to the last.
const SUSPENSION_SECONDS: (u32, u32) = (60, 3600);
const DAY_SECONDS: u64 = 86_400;

/// A step of a health probe: RFC 5782 section 5's test points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// 127.0.0.2 must be listed.
    Listed,
    /// 127.0.0.1 must not.
    NotListed,
}

impl Probe {
    /// Whom to ask for.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        match self {
            Self::Listed => Ipv4Addr::new(127, 0, 0, 2),
            Self::NotListed => Ipv4Addr::new(127, 0, 0, 1),
        }
    }
}

/// What the return codes from the first to the last mean.
#[derive(Debug)]
struct Codes {
    first: Ipv4Addr,
    last: Ipv4Addr,
    weight: f64,
    symbol: Arc<str>,
}

/// One list, as one shard sees it. Times are seconds since 1970.
#[derive(Debug)]
pub struct Dnsbl {
    config: DnsblConfig,
    zone: Name,
    codes: Vec<Codes>,
    symbol: Arc<str>,
    /// Of this shard.
    questions_per_day_max: u32,
    state: State,
    failures: u32,
    day: u64,
    asked_today: u32,
    counts: Counts,
    trouble: Option<&'static str>,
}

impl Dnsbl {
    /// A list that has not been probed, for one of so many shards.
    ///
    /// # Errors
    /// As [`DnsblConfig::check`].
    pub fn new(config: DnsblConfig, shards: u32) -> Result<Self, String> {
        config.check()?;
        let zone = Name::absolute(&config.zone).map_err(|error| error.to_string())?;
        let symbol: Arc<str> = config.symbol().into();
        let codes = config.codes.iter().filter_map(|(text, code)| {
            let (first, last) = config::parse_codes(text)?;
            let symbol = code.symbol().map_or_else(|| Arc::clone(&symbol), Into::into);
            Some(Codes { first, last, weight: code.weight(), symbol })
        });
        let codes = codes.collect();
        // The kernel spreads the clients evenly over the shards.
        let questions_per_day_max = config.questions_per_day_max.div_ceil(shards.max(1));
        Ok(Self {
            config,
            zone,
            codes,
            symbol,
            questions_per_day_max,
            state: State::Untested,
            failures: 0,
            day: 0,
            asked_today: 0,
            counts: Counts::default(),
            trouble: None,
        })
    }

    /// As configured.
    #[must_use]
    pub fn config(&self) -> &DnsblConfig {
        &self.config
    }

    /// What it has done.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Why it is suspended.
    #[must_use]
    pub fn trouble(&self) -> Option<&'static str> {
        self.trouble
    }

    /// The name to ask the A records of (RFC 5782 sections 2.1 and 2.4).
    #[must_use]
    pub fn question(&self, client: IpAddr) -> Option<Name> {
        question(client, &self.zone)
    }

    /// Whether it may be asked for one more client; counts the question. `known`: the answer is in memory, so nobody is asked.
    ///
    /// # Errors
    /// Why not.
    pub fn ask(&mut self, known: bool, now: u64) -> Result<(), NotAsked> {
        let reason = match self.state {
            State::Trusted { .. } => (!known && !self.take_budget(now)).then_some(NotAsked::Budget),
            State::Untested | State::Suspended { .. } => Some(NotAsked::Suspended),
        };
        match reason {
            None => {
                self.counts.asked += u64::from(!known);
                Ok(())
            }
            Some(reason) => {
                self.counts.skipped += 1;
                Err(reason)
            }
        }
    }

    fn take_budget(&mut self, now: u64) -> bool {
        if self.day != now / DAY_SECONDS {
            self.day = now / DAY_SECONDS;
            self.asked_today = 0;
        }
        let left = self.questions_per_day_max == 0 || self.asked_today < self.questions_per_day_max;
        self.asked_today = self.asked_today.saturating_add(u32::from(left));
        left
    }

    /// Takes the answer about a client; what it means.
    pub fn handle_answer(&mut self, outcome: Outcome, addresses: impl Iterator<Item = Ipv4Addr>, now: u64) -> Option<Listing> {
        match outcome {
            Outcome::Answered => self.failures = 0,
            Outcome::Failed | Outcome::Late => {
                self.counts.failed += u64::from(outcome == Outcome::Failed);
                self.counts.late += u64::from(outcome == Outcome::Late);
                self.failures += 1;
                if self.failures >= FAILURES_MAX {
                    self.suspend("it does not answer", now);
                }
                return None;
            }
        }
        let mut heaviest: Option<Listing> = None;
        for code in addresses {
            if let Some(trouble) = nonsense(code) {
                self.counts.refused += 1;
                self.suspend(trouble, now);
                return None;
            }
            let (weight, symbol) = self.meaning_of(code);
            if weight != 0.0 && heaviest.as_ref().is_none_or(|heaviest| heaviest.weight.abs() < weight.abs()) {
                heaviest = Some(Listing { code, weight, symbol: Arc::clone(symbol) });
            }
        }
        self.counts.listed += u64::from(heaviest.is_some());
        heaviest.filter(|_| !self.config.dry_run)
    }

    fn meaning_of(&self, code: Ipv4Addr) -> (f64, &Arc<str>) {
        if self.codes.is_empty() {
            return (self.config.weight, &self.symbol);
        }
        let found = self.codes.iter().find(|codes| (codes.first..=codes.last).contains(&code));
        found.map_or((0.0, &self.symbol), |codes| (codes.weight, &codes.symbol))
    }

    fn suspend(&mut self, trouble: &'static str, now: u64) {
        let (first, longest) = SUSPENSION_SECONDS;
        let seconds = match self.state {
            // An answer that was under way when it was suspended says nothing new.
            State::Suspended { until, .. } if now < until => return,
            State::Suspended { seconds, .. } => (seconds * 2).min(longest),
            State::Untested | State::Trusted { .. } => first,
        };
        self.trouble = Some(trouble);
        self.failures = 0;
        self.state = State::Suspended { until: now + u64::from(seconds), seconds };
    }

    /// True if it must be probed now, both ways of [`Probe`]; then [`Self::handle_probe`].
    #[must_use]
    pub fn poll_probe(&self, now: u64) -> bool {
        match self.state {
            State::Untested => true,
            State::Trusted { probe_at } => now >= probe_at,
            State::Suspended { until, .. } => now >= until,
        }
    }

    /// What the probes found: `None` for no answer.
    pub fn handle_probe(&mut self, listed: Option<&[Ipv4Addr]>, not_listed: Option<&[Ipv4Addr]>, now: u64) {
        let trouble = match (listed, not_listed) {
            (None, _) | (_, None) => Some("it does not answer"),
            (Some([]), _) => Some("its test entry 127.0.0.2 is not there: it is empty or gone"),
            (_, Some([_, ..])) => Some("it lists 127.0.0.1: it lists the whole world"),
            (Some(codes), _) => codes.iter().find_map(|code| nonsense(*code)),
        };
        match trouble {
            Some(trouble) => self.suspend(trouble, now),
            None => {
                self.trouble = None;
                self.failures = 0;
                self.state = State::Trusted { probe_at: now + u64::from(self.config.probe_interval) };
            }
        }
    }
}

fn question(client: IpAddr, zone: &Name) -> Option<Name> {
    let reversed = name::reverse(client);
    let labels = if client.to_canonical().is_ipv4() { 4 } else { 32 };
    let kept: usize = name::labels(reversed.wire()).take(labels).map(|label| label.len() + 1).sum();
    let mut wire = reversed.wire().get(..kept)?.to_vec();
    wire.extend_from_slice(zone.wire());
    Name::from_wire(&wire).ok()
}

/// Answers that are no return codes.
fn nonsense(code: Ipv4Addr) -> Option<&'static str> {
    match code.octets() {
        //= RFC 5782 section 2.1
        //# The A record contents conventionally have the value 127.0.0.2, but MAY have other values as described below in Section 2.3.
        [127, 255, 255, _] => {
            Some("it refuses us with a code of 127.255.255.0/24: too many questions, or asked through a public resolver")
        }
        [127, ..] => None,
        _ => Some("it answers with an address outside of 127.0.0.0/8: its domain has been taken over"),
    }
}

#[cfg(test)]
mod tests;
