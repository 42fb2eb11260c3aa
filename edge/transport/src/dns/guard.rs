//! What protects others from this server, and it from them: cookies and response rates, with the clock they need.

use postring_dns::cookie::{Checked, CookieSecrets, SECRET_BYTES};
use postring_dns::rate_limit::{RateLimit, RateSettings};
use postring_dns::responder::{Admission, Client, CookieVerdict, Hooks, Said};
use std::cell::{Cell, RefCell};
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The hooks of one shard.
pub(super) struct Guard {
    cookies: RefCell<Option<CookieSecrets>>,
    rates: RefCell<RateLimit>,
    begun: Instant,
    now_us: Cell<u64>,
    now_seconds: Cell<u32>,
}

impl Guard {
    /// With a secret of this process: all shards must know each other's cookies, as the kernel gives them a client's packets by turns.
    pub(super) fn new(settings: RateSettings) -> Self {
        static SECRET: OnceLock<Option<[u8; SECRET_BYTES]>> = OnceLock::new();
        let secret = *SECRET.get_or_init(random);
        // Without randomness of the system there are no cookies, and places in the table can be foreseen.
        let places = random::<8>().map_or(0, u64::from_ne_bytes);
        let guard = Self {
            cookies: RefCell::new(secret.map(CookieSecrets::new)),
            rates: RefCell::new(RateLimit::new(settings, places)),
            begun: Instant::now(),
            now_us: Cell::new(0),
            now_seconds: Cell::new(0),
        };
        guard.tick();
        guard
    }

    /// Takes the time: once for each batch, as queries are quicker than it is needed.
    pub(super) fn tick(&self) {
        self.now_us.set(u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // Its 32 bits overflow in 2106, which cookies can do (RFC 9018 section 4.3).
        self.now_seconds.set(u32::try_from(since_1970 & u64::from(u32::MAX)).unwrap_or(0));
    }

    pub(super) fn set_rates(&self, settings: RateSettings) {
        self.rates.borrow_mut().set(settings);
    }

    pub(super) fn set_cookies(&self, secrets: CookieSecrets) {
        *self.cookies.borrow_mut() = Some(secrets);
    }

    /// Responses not sent, or truncated, for their rate.
    pub(super) fn limited(&self) -> u64 {
        self.rates.borrow().limited()
    }
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut octets = [0; N];
    match getrandom::fill(&mut octets) {
        Ok(()) => Some(octets),
        Err(error) => {
            tracing::error!("no randomness from the system: {error}");
            None
        }
    }
}

impl Hooks for Guard {
    fn cookie(&self, client: Client, option: &[u8]) -> CookieVerdict {
        match self.cookies.borrow().as_ref().map(|secrets| secrets.check(option, client.address, self.now_seconds.get())) {
            // As if the option were not known.
            None => CookieVerdict::Unproven(Default::default()),
            Some(Checked::Malformed) => CookieVerdict::Malformed,
            Some(Checked::Valid(cookies)) => CookieVerdict::Valid(cookies.as_slice().into()),
            Some(Checked::Unproven(cookies)) => CookieVerdict::Unproven(cookies.as_slice().into()),
        }
    }

    fn admit(&self, client: Client, said: &Said<'_>) -> Admission {
        self.rates.borrow_mut().admit(client.address, said, self.now_us.get())
    }
}
