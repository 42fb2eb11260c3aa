//! A block list somebody else runs (RFC 5782), and how far it is trusted: one policy object a list.
//!
//! ```text
//!                      ┌──────────── answers that make sense ───────────┐
//!                      v                                                │
//!   Untested ─ probe ─> Trusted ── failures, nonsense, error codes ──> Suspended ── after a while: probe
//! ```
//! No I/O: the daemon asks what [`Dnsbl::poll_probe`] and [`Dnsbl::question`] say, and hands in what came back. A list that fails, lists the
//! whole world or tells us to stop is left alone for a while; it never refuses anybody by accident.

use postring_dns::{Name, name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// `[[policy.dnsbl]]`: a remote block list, or with a negative weight a list of the good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsblConfig {
    /// Its zone, like zen.spamhaus.org.
    pub zone: String,
    /// Points a listing adds to the message's score; negative for a list of good senders. Default 3.
    #[serde(default = "weight")]
    pub weight: f64,
    /// Points by return code instead of `weight`: `{ "127.0.0.2" = 4.0, "127.0.0.10-127.0.0.11" = 2.0 }`. With this, codes that are not named
    /// count 0. Default: every code in 127.0.0.0/8 counts `weight`. 127.255.255.0/24 is never a listing: it is how lists say that something is
    /// wrong with us.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub codes: BTreeMap<String, f64>,
    /// Milliseconds its answer is waited for at most, from the connect on; a later one does not count for this client. Default 2000.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// Seconds an answer is kept at least: lists use short times, and mail asks the same again. Default 60.
    #[serde(default = "ttl_min")]
    pub ttl_min: u32,
    /// Seconds an answer is kept at most. Default 3600: who was taken off a list shall not wait for a day.
    #[serde(default = "ttl_max")]
    pub ttl_max: u32,
    /// Questions a day and shard; then it is not asked until the next (UTC). Default 100000, what free use of the large lists allows; 0: no limit.
    #[serde(default = "questions_per_day_max")]
    pub questions_per_day_max: u32,
}

fn weight() -> f64 {
    3.0
}

fn timeout_ms() -> u64 {
    2000
}

fn ttl_min() -> u32 {
    60
}

fn ttl_max() -> u32 {
    3600
}

fn questions_per_day_max() -> u32 {
    100_000
}

/// Lists of one configuration.
pub const LISTS_MAX: usize = 32;
/// Failures in a row that suspend a list.
const FAILURES_MAX: u32 = 8;
/// Seconds of the first suspension; doubled with each that follows, up to the last.
const SUSPENSION_SECONDS: (u64, u64) = (60, 3600);
/// Seconds between two probes of a list in use.
const PROBE_SECONDS: u64 = 3600;
const DAY_SECONDS: u64 = 86_400;

impl DnsblConfig {
    /// Says what cannot be.
    ///
    /// # Errors
    /// One line: the list, the key, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |text: String| Err(format!("policy.dnsbl: zone = \"{}\": {text}", self.zone));
        if let Err(error) = Name::absolute(&self.zone) {
            return wrong(error.to_string());
        }
        if !std::iter::once(&self.weight).chain(self.codes.values()).all(|weight| weight.is_finite() && weight.abs() <= 1000.0) {
            return wrong("weights are numbers between -1000 and 1000".to_owned());
        }
        if let Some(code) = self.codes.keys().find(|code| parse_codes(code).is_none()) {
            return wrong(format!("\"{code}\" is no return code; give 127.0.0.2 or 127.0.0.4-127.0.0.7"));
        }
        if !(100..=30_000).contains(&self.timeout_ms) {
            return wrong(format!("timeout_ms = {}: give a number from 100 to 30000", self.timeout_ms));
        }
        if self.ttl_min > self.ttl_max || self.ttl_max > 86_400 {
            return wrong(format!("ttl_min = {} <= ttl_max = {} <= 86400 does not hold", self.ttl_min, self.ttl_max));
        }
        Ok(())
    }
}

fn parse_codes(text: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (Ipv4Addr, Ipv4Addr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last && first.is_loopback() && last.is_loopback()).then_some((first, last))
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered; the addresses are handed in as well.
    Answered,
    /// Nobody could say, or not in time.
    Failed,
}

/// What a list says of a client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Listing {
    /// The return code that weighs most.
    pub code: Ipv4Addr,
    /// Points.
    pub weight: f64,
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
    /// Questions asked.
    pub asked: u64,
    /// Clients listed.
    pub listed: u64,
    /// No answer, or a late one.
    pub failed: u64,
    /// Clients not asked for: suspended, or over the budget.
    pub skipped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Untested,
    Trusted { probe_at: u64 },
    Suspended { until: u64, seconds: u64 },
}

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

/// One list. Times are seconds since 1970.
#[derive(Debug)]
pub struct Dnsbl {
    config: DnsblConfig,
    zone: Name,
    codes: Vec<(Ipv4Addr, Ipv4Addr, f64)>,
    state: State,
    failures: u32,
    day: u64,
    asked_today: u32,
    counts: Counts,
    trouble: Option<&'static str>,
}

impl Dnsbl {
    /// A list that has not been probed.
    ///
    /// # Errors
    /// As [`DnsblConfig::check`].
    pub fn new(config: DnsblConfig) -> Result<Self, String> {
        config.check()?;
        let zone = Name::absolute(&config.zone).map_err(|error| error.to_string())?;
        let codes = config.codes.iter().filter_map(|(text, weight)| {
            let (first, last) = parse_codes(text)?;
            Some((first, last, *weight))
        });
        let codes = codes.collect();
        Ok(Self {
            config,
            zone,
            codes,
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
        let reversed = name::reverse(client);
        let labels = if client.to_canonical().is_ipv4() { 4 } else { 32 };
        let kept: usize = name::labels(reversed.wire()).take(labels).map(|label| label.len() + 1).sum();
        let mut wire = reversed.wire().get(..kept)?.to_vec();
        wire.extend_from_slice(self.zone.wire());
        Name::from_wire(&wire).ok()
    }

    /// Whether it may be asked for one more client; counts the question.
    ///
    /// # Errors
    /// Why not.
    pub fn ask(&mut self, now: u64) -> Result<(), NotAsked> {
        let reason = match self.state {
            State::Trusted { .. } => (!self.take_budget(now)).then_some(NotAsked::Budget),
            State::Untested | State::Suspended { .. } => Some(NotAsked::Suspended),
        };
        match reason {
            None => {
                self.counts.asked += 1;
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
        let left = self.config.questions_per_day_max == 0 || self.asked_today < self.config.questions_per_day_max;
        self.asked_today = self.asked_today.saturating_add(u32::from(left));
        left
    }

    /// Takes the answer about a client; what it means.
    pub fn handle_answer(&mut self, outcome: Outcome, addresses: impl Iterator<Item = Ipv4Addr>, now: u64) -> Option<Listing> {
        if outcome == Outcome::Failed {
            self.counts.failed += 1;
            self.failures += 1;
            if self.failures >= FAILURES_MAX {
                self.suspend("it does not answer", now);
            }
            return None;
        }
        self.failures = 0;
        let mut heaviest: Option<Listing> = None;
        for code in addresses {
            if let Some(trouble) = nonsense(code) {
                self.suspend(trouble, now);
                return None;
            }
            let listing = Listing { code, weight: self.weight_of(code) };
            if listing.weight != 0.0 && heaviest.is_none_or(|heaviest| heaviest.weight.abs() < listing.weight.abs()) {
                heaviest = Some(listing);
            }
        }
        self.counts.listed += u64::from(heaviest.is_some());
        heaviest
    }

    fn weight_of(&self, code: Ipv4Addr) -> f64 {
        if self.codes.is_empty() {
            return self.config.weight;
        }
        self.codes.iter().find(|(first, last, _)| (*first..=*last).contains(&code)).map_or(0.0, |(_, _, weight)| *weight)
    }

    fn suspend(&mut self, trouble: &'static str, now: u64) {
        let (first, longest) = SUSPENSION_SECONDS;
        let seconds = match self.state {
            State::Suspended { seconds, .. } => (seconds * 2).min(longest),
            State::Untested | State::Trusted { .. } => first,
        };
        self.trouble = Some(trouble);
        self.failures = 0;
        self.state = State::Suspended { until: now + seconds, seconds };
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
                self.state = State::Trusted { probe_at: now + PROBE_SECONDS };
            }
        }
    }
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
mod tests {
    use super::*;

    fn list(codes: &[(&str, f64)]) -> Dnsbl {
        let codes = codes.iter().map(|(code, weight)| ((*code).to_owned(), *weight)).collect();
        let config = DnsblConfig { codes, ..toml_of("bl.example") };
        Dnsbl::new(config).unwrap()
    }

    fn toml_of(zone: &str) -> DnsblConfig {
        serde_json::from_value(serde_json::json!({ "zone": zone })).unwrap()
    }

    const TWO: [Ipv4Addr; 1] = [Ipv4Addr::new(127, 0, 0, 2)];

    fn trusted(codes: &[(&str, f64)]) -> Dnsbl {
        let mut list = list(codes);
        assert!(list.poll_probe(0) && list.ask(0) == Err(NotAsked::Suspended));
        list.handle_probe(Some(&TWO), Some(&[]), 0);
        assert!(!list.poll_probe(0) && list.poll_probe(PROBE_SECONDS));
        list
    }

    fn answer(list: &mut Dnsbl, codes: &[[u8; 4]], now: u64) -> Option<Listing> {
        list.handle_answer(Outcome::Answered, codes.iter().map(|code| Ipv4Addr::from(*code)), now)
    }

    #[test]
    fn codes_have_their_weights() {
        let mut all = trusted(&[]);
        assert_eq!(answer(&mut all, &[[127, 0, 0, 9]], 0).unwrap().weight, 3.0);
        assert_eq!(answer(&mut all, &[], 0), None);
        let mut some = trusted(&[("127.0.0.2", 4.0), ("127.0.0.4-127.0.0.7", -2.0)]);
        assert_eq!(answer(&mut some, &[[127, 0, 0, 9]], 0), None);
        assert_eq!(answer(&mut some, &[[127, 0, 0, 5], [127, 0, 0, 2]], 0), Some(Listing { code: TWO[0], weight: 4.0 }));
        assert_eq!(answer(&mut some, &[[127, 0, 0, 7]], 0).unwrap().weight, -2.0);
        assert_eq!(some.counts().listed, 2);
    }

    #[test]
    fn questions() {
        let list = list(&[]);
        assert_eq!(list.question([192, 0, 2, 7].into()).unwrap().to_string(), "7.2.0.192.bl.example.");
        let six = list.question("2001:db8::1".parse().unwrap()).unwrap().to_string();
        assert_eq!(six, "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example.");
    }

    #[test]
    fn error_codes_and_nonsense_list_nobody_and_suspend() {
        for codes in [[127, 255, 255, 254], [192, 0, 2, 1], [0, 0, 0, 0]] {
            let mut list = trusted(&[]);
            assert_eq!(answer(&mut list, &[[127, 0, 0, 2], codes], 5), None);
            assert_eq!(list.ask(6), Err(NotAsked::Suspended));
            assert!(list.trouble().is_some() && !list.poll_probe(64) && list.poll_probe(65));
        }
    }

    #[test]
    fn failures_suspend_for_longer_and_longer_and_a_good_probe_ends_it() {
        let mut list = trusted(&[]);
        for _ in 0..FAILURES_MAX {
            assert_eq!(list.ask(10), Ok(()));
            assert_eq!(list.handle_answer(Outcome::Failed, [].into_iter(), 10), None);
        }
        assert_eq!(list.ask(10), Err(NotAsked::Suspended));
        assert!(list.poll_probe(70));
        list.handle_probe(None, Some(&[]), 70);
        assert!(!list.poll_probe(70 + 119) && list.poll_probe(70 + 120));
        for probe in [(Some(&TWO[..]), Some(&TWO[..])), (Some(&[][..]), Some(&[][..]))] {
            list.handle_probe(probe.0, probe.1, 200);
            assert_eq!(list.ask(200), Err(NotAsked::Suspended), "{probe:?}");
        }
        list.handle_probe(Some(&TWO), Some(&[]), 5000);
        assert_eq!((list.ask(5000), list.trouble()), (Ok(()), None));
        assert_eq!(list.counts(), Counts { asked: 9, listed: 0, failed: 8, skipped: 4 });
    }

    #[test]
    fn a_days_questions() {
        let mut list = Dnsbl::new(DnsblConfig { questions_per_day_max: 2, ..toml_of("bl.example") }).unwrap();
        list.handle_probe(Some(&TWO), Some(&[]), 0);
        assert_eq!([list.ask(1), list.ask(2), list.ask(3)], [Ok(()), Ok(()), Err(NotAsked::Budget)]);
        assert_eq!(list.ask(DAY_SECONDS), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (config, expected) in [
            (toml_of("a..b"), "policy.dnsbl: zone = \"a..b\""),
            (DnsblConfig { weight: f64::NAN, ..toml_of("a") }, "weights"),
            (DnsblConfig { codes: [("192.0.2.1".to_owned(), 1.0)].into(), ..toml_of("a") }, "\"192.0.2.1\" is no return code"),
            (DnsblConfig { timeout_ms: 1, ..toml_of("a") }, "timeout_ms = 1"),
            (DnsblConfig { ttl_min: 10, ttl_max: 5, ..toml_of("a") }, "ttl_min = 10"),
        ] {
            assert!(config.check().unwrap_err().contains(expected), "{config:?}");
        }
    }
}
