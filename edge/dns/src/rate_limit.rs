//! Response rate limiting: how many equal responses a network is sent over UDP, where a source address proves nothing.
//!
//! ```text
//!   table:  set of 4 places, one cache line:  | tag 8  owed until 8 | tag  until | tag  until | tag  until |
//!
//!   a place is a (network, kind, name): each response moves "owed until" on by 1/rate; as long as that is less than one second ahead the
//!   response is sent. More are dropped, but 1 of `slip` is sent as TC, so that an honest client comes back over TCP.
//! ```
//! An attacker who forges a victim's address wants many large responses from few questions, so what counts is the response: the same name,
//! or no such name in the same zone, or the same kind of error. An honest resolver keeps the first one and does not ask 200 times a second.
//! As in BIND ("window"), who goes on asking goes on owing, for [`RateSettings::window_seconds`] at most. As in BIND ("all-per-second") there
//! is a bound for everything to one network, too: names a wildcard makes are as many as an attacker likes.
//!
//! Cost for each response: one multiplication per 8 octets of the name, two cache lines; no allocation.

use crate::responder::{Admission, Said};
use crate::types::Rcode;
use ipnet::IpNet;
use std::net::IpAddr;

/// Places that one hash may be at.
const WAYS: usize = 4;
/// One second: what a network may get at once after silence.
const BURST_US: u64 = 1_000_000;
/// Bits of an address that are one network: what a single customer gets, BIND's values.
const IPV4_BITS: u32 = 24;
const IPV6_BITS: u32 = 56;

/// What is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateSettings {
    /// Equal responses a second to one network (/24, /56); 0: no limit. NSD's default: what honest resolvers ask for is far below it even
    /// with several behind one address, and it leaves an attacker 200 packets a second of each server.
    pub responses_per_second: u32,
    /// Responses of all kinds a second to one network; 0: no limit. Ten times as many: a resolver that looks up the mail domains of a whole
    /// provider asks for many names, none of them twice.
    pub all_per_second: u32,
    /// Of those that are too many, 1 of so many is sent as TC; 0: none. 2 as in BIND and NSD: no larger than the question, and half as many.
    pub slip: u32,
    /// How long a network that went on asking stays limited after it stops, at most. BIND's default.
    pub window_seconds: u32,
    /// Networks without a limit.
    pub exempt: Vec<IpNet>,
    /// Places: 16 octets each. More networks and names at once than places are forgotten sooner, which limits less, not more.
    pub places: usize,
}

impl Default for RateSettings {
    fn default() -> Self {
        Self { responses_per_second: 200, all_per_second: 2000, slip: 2, window_seconds: 15, exempt: Vec::new(), places: 1 << 16 }
    }
}

#[derive(Clone, Copy, Default)]
struct Place {
    /// 0: free.
    tag: u64,
    /// Microseconds.
    owed_until: u64,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Set([Place; WAYS]);

/// The limits of one shard.
pub struct RateLimit {
    sets: Box<[Set]>,
    settings: RateSettings,
    secret: u64,
    limited: u64,
}

impl std::fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimit").field("settings", &self.settings).field("limited", &self.limited).finish_non_exhaustive()
    }
}

impl RateLimit {
    /// With an empty table. `secret` is random, so that nobody can choose names that share a victim's place.
    #[must_use]
    pub fn new(settings: RateSettings, secret: u64) -> Self {
        let sets = (settings.places / WAYS).max(1).next_power_of_two();
        Self { sets: vec![Set([Place::default(); WAYS]); sets].into_boxed_slice(), settings, secret, limited: 0 }
    }

    /// Other limits; the table keeps its size.
    pub fn set(&mut self, settings: RateSettings) {
        self.settings = settings;
    }

    /// Responses that were dropped or slipped so far.
    #[must_use]
    pub fn limited(&self) -> u64 {
        self.limited
    }

    /// Decides about one response to a client that has not proven its address. `now_us` never goes back.
    pub fn admit(&mut self, client: IpAddr, said: &Said<'_>, now_us: u64) -> Admission {
        let client = client.to_canonical();
        if self.settings.exempt.iter().any(|network| network.contains(&client)) {
            return Admission::Answer;
        }
        let network = fold(self.secret, network_of(client));
        let kind = match (said.rcode, said.authoritative) {
            (Rcode::NXDOMAIN, _) => fold_name(fold(network, 1), said.zone),
            (Rcode::NOERROR, true) => fold_name(fold(network, 2), said.name),
            // A referral: as many as there are names below the cut, all the same.
            (Rcode::NOERROR, false) => fold_name(fold(network, 3), said.zone),
            (error, _) => fold(fold(network, 4), error.0.into()),
        };
        let (one, all) = (self.settings.responses_per_second, self.settings.all_per_second);
        // Both count, whatever the other says.
        let fits = [self.count(kind, one, now_us), self.count(fold(network, 5), all, now_us)];
        if fits == [true, true] {
            return Admission::Answer;
        }
        self.limited += 1;
        match self.settings.slip {
            0 => Admission::Drop,
            slip if self.limited.is_multiple_of(slip.into()) => Admission::Slip,
            _ => Admission::Drop,
        }
    }

    /// Adds a response to what is owed; true if it may be sent.
    fn count(&mut self, hash: u64, rate: u32, now_us: u64) -> bool {
        if rate == 0 {
            return true;
        }
        let tag = hash.max(1);
        let mask = self.sets.len() - 1;
        let index = usize::try_from(hash >> 32).unwrap_or(0) & mask;
        let Some(Set(places)) = self.sets.get_mut(index) else { return true };
        let known = places.iter().position(|place| place.tag == tag);
        let oldest = || places.iter().enumerate().min_by_key(|(_, place)| place.owed_until).map_or(0, |(at, _)| at);
        let at = known.unwrap_or_else(oldest);
        let Some(place) = places.get_mut(at) else { return true };
        if known.is_none() {
            *place = Place { tag, owed_until: now_us };
        }
        let owed = place.owed_until.max(now_us) + (BURST_US / u64::from(rate)).max(1);
        let most = now_us + BURST_US + u64::from(self.settings.window_seconds) * 1_000_000;
        place.owed_until = owed.min(most);
        owed <= now_us + BURST_US
    }
}

fn network_of(client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(address) => u64::from(address.to_bits() >> (32 - IPV4_BITS)),
        // Apart from every IPv4 network.
        IpAddr::V6(address) => u64::try_from(address.to_bits() >> (128 - IPV6_BITS)).unwrap_or(0) | 1 << 63,
    }
}

/// A keyed mix: the halves of a product, folded. Not for secrets; who does not see its results cannot aim at a place.
fn fold(state: u64, word: u64) -> u64 {
    let product = u128::from(state ^ word ^ 0x9e37_79b9_7f4a_7c15) * u128::from(0xd6e8_feb8_6659_fd93 ^ state.rotate_left(32));
    let (high, low) = (product >> 64, product & u128::from(u64::MAX));
    u64::try_from(high ^ low).unwrap_or(0)
}

/// The name, upper and lower case alike.
fn fold_name(state: u64, name: &[u8]) -> u64 {
    const LOWER: u64 = 0x2020_2020_2020_2020;
    let (words, rest) = name.as_chunks::<8>();
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(place, octet)| *place = *octet);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word) | LOWER);
    words.fold(state ^ u64::try_from(name.len()).unwrap_or(0), fold)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn said<'a>(rcode: Rcode, authoritative: bool, name: &'a [u8]) -> Said<'a> {
        Said { rcode, authoritative, name, zone: b"\x07example\0", bytes: 100 }
    }

    fn limit(change: impl FnOnce(&mut RateSettings)) -> RateLimit {
        let mut settings = RateSettings { responses_per_second: 10, all_per_second: 0, ..RateSettings::default() };
        change(&mut settings);
        RateLimit::new(settings, 0x1234_5678_9abc_def0)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of `count` are answered, slipped, dropped, at even intervals in a second from `from`.
    fn flood(limit: &mut RateLimit, client: &str, said: &Said<'_>, count: u64, from: u64) -> [u64; 3] {
        let mut found = [0; 3];
        for number in 0..count {
            let at = match limit.admit(address(client), said, from + number * SECOND / count) {
                Admission::Answer => 0,
                Admission::Slip => 1,
                Admission::Drop => 2,
            };
            found[at] += 1;
        }
        found
    }

    #[test]
    fn equal_responses_to_a_network_are_limited_and_half_of_the_rest_slips() {
        let mut limit = limit(|_| ());
        let said = said(Rcode::NOERROR, true, b"\x01a\x07example\0");
        // A second's worth at once, and what the second adds.
        let [answered, slipped, dropped] = flood(&mut limit, "192.0.2.1", &said, 1000, 0);
        assert!((10..=20).contains(&answered), "{answered}");
        assert_eq!(answered + slipped + dropped, 1000);
        assert!(slipped.abs_diff(dropped) <= 1);
        // Its neighbour in the network, and another spelling, are the same.
        assert_ne!(
            limit.admit(address("192.0.2.99"), &self::said(Rcode::NOERROR, true, b"\x01A\x07eXample\0"), SECOND),
            Admission::Answer
        );
        // Other networks, names, kinds are not.
        assert_eq!(limit.admit(address("192.0.3.1"), &said, SECOND), Admission::Answer);
        for other in [
            self::said(Rcode::NOERROR, true, b"\x01b\x07example\0"),
            self::said(Rcode::NXDOMAIN, true, b"\x01a\x07example\0"),
            self::said(Rcode::REFUSED, false, b"\x01a\x07example\0"),
        ] {
            assert_eq!(limit.admit(address("192.0.2.1"), &other, SECOND), Admission::Answer);
        }
    }

    #[test]
    fn who_goes_on_asking_is_limited_until_the_window_is_over() {
        let mut limit = limit(|settings| settings.window_seconds = 5);
        let said = said(Rcode::NOERROR, true, b"\0");
        flood(&mut limit, "2001:db8::1", &said, 10_000, 0);
        assert_ne!(limit.admit(address("2001:db8:0:ff::2"), &said, 5 * SECOND), Admission::Answer);
        assert_eq!(limit.admit(address("2001:db8:0:ff::2"), &said, 7 * SECOND), Admission::Answer);
        assert_eq!(limit.admit(address("2001:db8:0:100::2"), &said, 2 * SECOND), Admission::Answer);
    }

    #[test]
    fn below_the_rate_nothing_is_limited() {
        let mut limit = limit(|_| ());
        let said = said(Rcode::NOERROR, true, b"\0");
        for second in 0..20 {
            assert_eq!(flood(&mut limit, "192.0.2.1", &said, 10, second * SECOND), [10, 0, 0]);
        }
    }

    #[test]
    fn names_that_do_not_exist_are_one_kind_and_made_up_names_have_a_bound_together() {
        let mut limit = limit(|settings| settings.all_per_second = 100);
        let names: Vec<Vec<u8>> =
            (0..1000_u16).map(|number| [&[2][..], &number.to_be_bytes(), b"\x07example\0"].concat()).collect();
        let answered = |limit: &mut RateLimit, client: &str, rcode, now| {
            names.iter().filter(|name| limit.admit(address(client), &said(rcode, true, name), now) == Admission::Answer).count()
        };
        assert_eq!(answered(&mut limit, "192.0.2.1", Rcode::NXDOMAIN, 0), 10);
        assert_eq!(answered(&mut limit, "198.51.100.1", Rcode::NOERROR, 0), 100);
    }

    #[test]
    fn exempt_networks_and_a_rate_of_0_have_no_limit() {
        let said = said(Rcode::NOERROR, true, b"\0");
        let mut exempt = limit(|settings| settings.exempt = vec!["192.0.2.0/25".parse().unwrap()]);
        assert_eq!(flood(&mut exempt, "192.0.2.1", &said, 1000, 0), [1000, 0, 0]);
        assert_eq!(flood(&mut exempt, "::ffff:192.0.2.1", &said, 1000, 0), [1000, 0, 0]);
        let mut off = limit(|settings| settings.responses_per_second = 0);
        assert_eq!(flood(&mut off, "192.0.2.1", &said, 1000, 0), [1000, 0, 0]);
        assert_eq!((exempt.limited(), off.limited()), (0, 0));
    }

    #[test]
    fn slip_of_0_says_nothing_and_of_1_always_truncates() {
        let said = said(Rcode::NOERROR, true, b"\0");
        let [_, slipped, dropped] = flood(&mut limit(|settings| settings.slip = 0), "192.0.2.1", &said, 100, 0);
        assert!(slipped == 0 && dropped > 0);
        let [_, slipped, dropped] = flood(&mut limit(|settings| settings.slip = 1), "192.0.2.1", &said, 100, 0);
        assert!(slipped > 0 && dropped == 0);
    }

    #[test]
    fn a_full_table_forgets_those_who_owe_least() {
        let mut limit = limit(|settings| settings.places = 64);
        let flooding = said(Rcode::NOERROR, true, b"\x01a\0");
        flood(&mut limit, "192.0.2.1", &flooding, 1000, 0);
        for third in 0..200_u8 {
            limit.admit(IpAddr::from([198, 51, third, 1]), &flooding, SECOND);
        }
        assert_ne!(limit.admit(address("192.0.2.1"), &flooding, SECOND), Admission::Answer);
    }
}
