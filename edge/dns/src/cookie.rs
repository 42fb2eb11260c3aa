//! DNS cookies of a server (RFC 7873), in the form all servers of an anycast group can check (RFC 9018).
//!
//! ```text
//!   0    8 client cookie                                                   what the client keeps for this server
//!   8    1 version = 1   3 reserved   4 time of making, seconds            the server cookie, 16 octets
//!   16   8 hash: SipHash-2-4 of (client cookie, version, reserved, time, client's address), under the secret
//! ```
//! A client that gives back a cookie of ours has received it at its address, so it is no forged source: it is not slowed down by
//! [`crate::rate_limit`]. Cost of a check: one SipHash of 20 or 32 octets, no allocation.

use std::net::IpAddr;

/// Octets of a secret.
pub const SECRET_BYTES: usize = 16;
/// Octets of the cookies of client and server together, as we write them.
pub const COOKIE_BYTES: usize = CLIENT_BYTES + SERVER_BYTES;
const CLIENT_BYTES: usize = 8;
const SERVER_BYTES: usize = 16;
/// Octets of the two that anybody may send (RFC 7873 section 4).
const COOKIE_BYTES_MAX: usize = 40;
const VERSION: u8 = 1;
//= RFC 9018 section 4.3
//# The DNS server SHOULD allow cookies within a 1-hour period in the past and a 5-minute period into the future
const AGE_SECONDS_MAX: u32 = 3600;
const FUTURE_SECONDS_MAX: u32 = 300;
//= RFC 9018 section 4.3
//# The DNS server SHOULD generate a new Server Cookie at least if the received Server Cookie from the client is more than half an hour old
const RENEWED_SECONDS: u32 = 1800;

/// The secrets of a server; the same in all that share an address.
#[derive(Clone)]
pub struct CookieSecrets {
    current: [u8; SECRET_BYTES],
    previous: Option<[u8; SECRET_BYTES]>,
}

// A secret is not for a log.
impl std::fmt::Debug for CookieSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CookieSecrets").field("previous", &self.previous.is_some()).finish_non_exhaustive()
    }
}

/// What a COOKIE option shows, and the cookies to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// No length a cookie can have: FORMERR.
    Malformed,
    /// Ours: the client is at its address.
    Valid([u8; COOKIE_BYTES]),
    /// The client's alone, or a server cookie that is not ours or too old.
    Unproven([u8; COOKIE_BYTES]),
}

impl CookieSecrets {
    /// With one secret, which must be random.
    #[must_use]
    pub fn new(current: [u8; SECRET_BYTES]) -> Self {
        Self { current, previous: None }
    }

    /// Makes cookies with another secret from now on; those of the one before are still taken (RFC 9018 section 5). With servers that share an
    /// address: first all must take the next one, so give both with [`Self::with_previous`].
    pub fn roll(&mut self, next: [u8; SECRET_BYTES]) {
        self.previous = Some(std::mem::replace(&mut self.current, next));
    }

    /// Takes the cookies of a second secret as well, of the one before or the one to come.
    #[must_use]
    pub fn with_previous(mut self, previous: [u8; SECRET_BYTES]) -> Self {
        self.previous = Some(previous);
        self
    }

    /// Reads a COOKIE option. `now_seconds` since 1970; its 32 bits may overflow (RFC 1982).
    #[must_use]
    pub fn check(&self, option: &[u8], client: IpAddr, now_seconds: u32) -> Checked {
        //= RFC 7873 section 5.2.2
        //# If the COOKIE option is too short to contain a Client Cookie, then FORMERR is generated.
        let Some((client_cookie, server_cookie)) = option.split_first_chunk() else { return Checked::Malformed };
        // A server cookie has 8 octets at least.
        if option.len() > COOKIE_BYTES_MAX || (1..8).contains(&server_cookie.len()) {
            return Checked::Malformed;
        }
        let fresh = || self.make(client_cookie, client, now_seconds);
        let Some((age, current)) = self.validate(client_cookie, server_cookie, client, now_seconds) else {
            return Checked::Unproven(fresh());
        };
        match option.try_into() {
            Ok(same) if current && age <= RENEWED_SECONDS => Checked::Valid(same),
            _ => Checked::Valid(fresh()),
        }
    }

    /// Age in seconds, 0 from the future, and whether the current secret made it.
    fn validate(
        &self,
        client_cookie: &[u8; CLIENT_BYTES],
        server_cookie: &[u8],
        client: IpAddr,
        now: u32,
    ) -> Option<(u32, bool)> {
        let server_cookie: &[u8; SERVER_BYTES] = server_cookie.try_into().ok()?;
        let (head, hash) = server_cookie.split_first_chunk::<8>()?;
        let [version, _, _, _, time @ ..] = *head;
        if version != VERSION {
            return None;
        }
        let age = now.wrapping_sub(u32::from_be_bytes(time));
        let age = match age {
            0..=AGE_SECONDS_MAX => age,
            _ if age.wrapping_neg() <= FUTURE_SECONDS_MAX => 0,
            _ => return None,
        };
        // Comparing in constant time is not needed to hide 64 bits of a value that holds for one address and hour, but costs nothing.
        let is_of = |secret: &[u8; SECRET_BYTES]| {
            u64::from_ne_bytes(hash_of(client_cookie, head, client, secret))
                == u64::from_ne_bytes(hash.try_into().unwrap_or_default())
        };
        match is_of(&self.current) {
            true => Some((age, true)),
            false => self.previous.as_ref().filter(|previous| is_of(previous)).map(|_| (age, false)),
        }
    }

    /// The client's cookie, and one of ours made now.
    fn make(&self, client_cookie: &[u8; CLIENT_BYTES], client: IpAddr, now: u32) -> [u8; COOKIE_BYTES] {
        let [a, b, c, d] = now.to_be_bytes();
        let head = [VERSION, 0, 0, 0, a, b, c, d];
        let hash = hash_of(client_cookie, &head, client, &self.current);
        let mut cookies = [0; COOKIE_BYTES];
        for (place, part) in cookies.chunks_exact_mut(8).zip([client_cookie, &head, &hash]) {
            place.copy_from_slice(part);
        }
        cookies
    }
}

/// RFC 9018 section 4.4.
fn hash_of(client_cookie: &[u8; CLIENT_BYTES], head: &[u8; 8], client: IpAddr, secret: &[u8; SECRET_BYTES]) -> [u8; 8] {
    let mut input = [0; 32];
    let (cookies, address) = input.split_at_mut(16);
    for (place, part) in cookies.chunks_exact_mut(8).zip([client_cookie, head]) {
        place.copy_from_slice(part);
    }
    let length = match client.to_canonical() {
        IpAddr::V4(client) => {
            address.iter_mut().zip(client.octets()).for_each(|(place, octet)| *place = octet);
            20
        }
        IpAddr::V6(client) => {
            address.copy_from_slice(&client.octets());
            32
        }
    };
    sip_hash(secret, input.get(..length).unwrap_or_default()).to_le_bytes()
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012).
pub(crate) fn sip_hash(key: &[u8; 16], input: &[u8]) -> u64 {
    let word = |octets: &[u8]| {
        let mut whole = [0; 8];
        whole.iter_mut().zip(octets).for_each(|(place, octet)| *place = *octet);
        u64::from_le_bytes(whole)
    };
    let (low, high) = key.split_at(8);
    let (low, high) = (word(low), word(high));
    let mut state =
        [low ^ 0x736f_6d65_7073_6575, high ^ 0x646f_7261_6e64_6f6d, low ^ 0x6c79_6765_6e65_7261, high ^ 0x7465_6462_7974_6573];
    let chunks = input.chunks_exact(8);
    let length = u64::try_from(input.len()).unwrap_or(0);
    let last = word(chunks.remainder()) | length << 56;
    for word in chunks.map(word).chain([last]) {
        let [_, _, _, fourth] = &mut state;
        *fourth ^= word;
        sip_round(&mut state);
        sip_round(&mut state);
        let [first, ..] = &mut state;
        *first ^= word;
    }
    let [_, _, third, _] = &mut state;
    *third ^= 0xff;
    (0..4).for_each(|_| sip_round(&mut state));
    state.iter().fold(0, |hash, word| hash ^ word)
}

fn sip_round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *c = c.wrapping_add(*d);
    *b = b.rotate_left(13) ^ *a;
    *d = d.rotate_left(16) ^ *c;
    *a = a.rotate_left(32).wrapping_add(*d);
    *c = c.wrapping_add(*b);
    *d = d.rotate_left(21) ^ *a;
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic; what is made must be taken.
#[doc(hidden)]
pub fn fuzz_cookie(data: &[u8]) {
    let secrets = CookieSecrets::new([7; SECRET_BYTES]).with_previous([8; SECRET_BYTES]);
    let client = IpAddr::from([192, 0, 2, 1]);
    for now in [0, 1_600_000_000, u32::MAX] {
        if let Checked::Valid(cookies) | Checked::Unproven(cookies) = secrets.check(data, client, now) {
            assert_eq!(secrets.check(&cookies, client, now), Checked::Valid(cookies));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn octets<const N: usize>(hex: &str) -> [u8; N] {
        let octets: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        octets.try_into().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

    #[test]
    fn rfc_9018_appendix_a_1_and_2_a_client_learns_a_cookie_and_a_fresh_one() {
        let secrets = CookieSecrets::new(octets(SECRET));
        let client = address("198.51.100.100");
        let first: [u8; 24] = octets("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        assert_eq!(secrets.check(&first[..8], client, 0x5cf7_9f11), Checked::Unproven(first));
        assert_eq!(secrets.check(&first, client, 0x5cf7_9f11 + 60), Checked::Valid(first));
        let renewed = octets("2464c4abcf10c957010000005cf7a871d4a564a1442aca77");
        assert_eq!(secrets.check(&first, client, 0x5cf7_a871), Checked::Valid(renewed));
    }

    #[test]
    fn rfc_9018_appendix_a_3_reserved_octets_of_another_server() {
        let secrets = CookieSecrets::new(octets(SECRET));
        let cookie: [u8; 24] = octets("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        let fresh = octets("fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e");
        let client = address("203.0.113.203");
        assert_eq!(secrets.check(&cookie, client, 0x5cf7_8f71), Checked::Valid(cookie));
        // It is shown when it is almost two hours old.
        assert_eq!(secrets.check(&cookie, client, 0x5cf7_a9ac), Checked::Unproven(fresh));
    }

    #[test]
    fn rfc_9018_appendix_a_4_ipv6_and_a_secret_rolled_over() {
        let mut secrets = CookieSecrets::new(octets("dd3bdf9344b678b185a6f5cb60fca715"));
        secrets.roll(octets("445536bcd2513298075a5d379663c962"));
        let client = address("2001:db8:220:1:59de:d0f4:8769:82b8");
        let cookie: [u8; 24] = octets("22681ab97d52c298010000005cf7c57926556bd0934c72f8");
        let fresh = octets("22681ab97d52c298010000005cf7c609a6bb79d16625507a");
        assert_eq!(secrets.check(&cookie, client, 0x5cf7_c609), Checked::Valid(fresh));
    }

    #[test]
    fn what_is_not_ours_proves_nothing() {
        let secrets = CookieSecrets::new(octets(SECRET));
        let (client, now) = (address("198.51.100.100"), 0x5cf7_9f11);
        let good: [u8; 24] = octets("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        let is_valid = |cookie: &[u8], client, now| matches!(secrets.check(cookie, client, now), Checked::Valid(_));
        assert!(is_valid(&good, client, now + AGE_SECONDS_MAX));
        assert!(!is_valid(&good, client, now + AGE_SECONDS_MAX + 1));
        assert!(is_valid(&good, client, now - FUTURE_SECONDS_MAX));
        assert!(!is_valid(&good, client, now - FUTURE_SECONDS_MAX - 1));
        assert!(!is_valid(&good, address("198.51.100.101"), now));
        assert!(is_valid(&good, address("::ffff:198.51.100.100"), now));
        assert!(!is_valid(&[&good[..], &[0]].concat(), client, now));
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_valid(&bad, client, now), "{bit}");
        }
    }

    #[test]
    fn lengths_no_cookie_has_are_malformed() {
        let secrets = CookieSecrets::new([0; SECRET_BYTES]);
        for length in 0..=50_usize {
            let malformed = secrets.check(&vec![1; length], address("::1"), 0) == Checked::Malformed;
            assert_eq!(malformed, !(length == 8 || (16..=40).contains(&length)), "{length}");
        }
    }

    #[test]
    fn sip_hash_of_its_paper() {
        let key: [u8; 16] = std::array::from_fn(|at| at.try_into().unwrap());
        let input: [u8; 15] = std::array::from_fn(|at| at.try_into().unwrap());
        assert_eq!(sip_hash(&key, &input), 0xa129_ca61_49be_45e5);
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..50)) { fuzz_cookie(&data); }
    }
}
