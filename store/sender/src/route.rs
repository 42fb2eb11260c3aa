//! The hosts of a domain (RFC 5321 section 5.1), asked for one at a time: who is reached at the first needs no address of the second.
//!
//! ```text
//!   new ─> Ask(MX) ─> hosts by preference ─┬─> Ask(A), Ask(AAAA) ─> Try(address) ── reached and settled ──────> Ended
//!            │ none: the domain itself ────┘                          │ not reached, or put off: the next ──┐
//!            └ null MX, no such domain ─> Failed (for good)           └─────────────<──────────────────────┘
//!                                                                      no address left ─> Failed (for now)
//! ```

use postring_dns::record::{address, mail_exchange};
use postring_dns::resolver::Resolved;
use postring_dns::{Name, Rcode, Rtype};
use postring_mail::Reply;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Addresses tried for one attempt; Postfix's smtp_mx_address_limit.
const TRIES_MAX: usize = 5;
/// Hosts that greeted us and then put the mail off, before the rest waits for the next attempt; Postfix's smtp_mx_session_limit.
const SESSIONS_MAX: usize = 2;
/// Hosts taken from an MX answer; honest ones have fewer than ten.
const HOSTS_MAX: usize = 20;

/// What is true of all routes.
#[derive(Clone, Debug)]
pub struct RouteConfig {
    /// Our name: an MX record with it leads back to us.
    pub own_hostname: String,
    /// Addresses of this machine may be tried: only tests want that.
    pub loopback: bool,
}

/// Whom to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host's name, without a trailing dot; for TLS and for what the sender is told.
    pub host: String,
    /// Its address.
    pub address: IpAddr,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteStep {
    /// Look this up, then [`Route::handle_answer`].
    Ask(Name, Rtype),
    /// Connect and deliver, then [`Route::handle_unreachable`] or [`Route::handle_session`].
    Try(Target),
    /// There is no way, or no other way: every recipient that has no outcome gets this.
    Failed(Reply),
    /// The session settled everything.
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Mx,
    /// Asking for the addresses of the first host.
    Addresses(Rtype),
    Trying,
    Failed(Reply),
    Ended,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Route {
    config: RouteConfig,
    state: State,
    domain: Name,
    seed: u64,
    hosts: VecDeque<Name>,
    addresses: VecDeque<IpAddr>,
    tries: usize,
    sessions: usize,
    /// Why it is not over yet: the first temporary trouble.
    temporary: Option<Reply>,
}

static NO_DOMAIN: Reply = Reply::fixed(550, 1, 2, "The domain does not exist in DNS");
static NULL_MX: Reply = Reply::fixed(556, 1, 10, "The domain says in DNS that it takes no mail");
static NO_ADDRESS: Reply = Reply::fixed(550, 4, 4, "The domain names no host in DNS that has an address mail can be sent to");
static LEADS_BACK: Reply = Reply::fixed(554, 4, 6, "The domain's mail comes to this host, which does not know the domain");
static NOT_A_DOMAIN: Reply = Reply::fixed(550, 1, 2, "Not a domain name");
static DNS_FAILED: Reply = Reply::fixed(451, 4, 3, "DNS did not answer for the domain or its mail hosts");
static ALL_TRIED: Reply = Reply::fixed(451, 4, 1, "No mail host of the domain took the mail now");

impl Route {
    /// A route to a domain or an address literal (`[192.0.2.1]`, `[IPv6:2001:db8::1]`). `seed` chooses among hosts of equal preference; it
    /// should differ from attempt to attempt.
    #[must_use]
    pub fn new(config: RouteConfig, domain: &str, seed: u64) -> Self {
        let mut route = Self {
            config,
            state: State::Mx,
            domain: Name::root(),
            seed,
            hosts: VecDeque::new(),
            addresses: VecDeque::new(),
            tries: 0,
            sessions: 0,
            temporary: None,
        };
        if let Some(literal) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let tagged = literal.split_at_checked(5).filter(|(tag, _)| tag.eq_ignore_ascii_case("IPv6:"));
            let text = tagged.map_or(literal, |(_, text)| text);
            match text.parse::<IpAddr>() {
                Ok(address) => route.add_address(address),
                Err(_) => route.state = State::Failed(NOT_A_DOMAIN.clone()),
            }
            if route.state == State::Mx {
                route.state = if route.addresses.is_empty() { State::Failed(NO_ADDRESS.clone()) } else { State::Trying };
            }
            return route;
        }
        match Name::absolute(domain) {
            Ok(name) => route.domain = name,
            Err(_) => route.state = State::Failed(NOT_A_DOMAIN.clone()),
        }
        route
    }

    /// A route to one host: a relay that takes all mail.
    #[must_use]
    pub fn to_host(config: RouteConfig, host: &str) -> Self {
        let mut route = Self::new(config, host, 0);
        if route.state == State::Mx {
            route.hosts.push_back(route.domain.clone());
            route.state = State::Addresses(Rtype::A);
        }
        route
    }

    /// What to do now; the same until something was handled.
    #[must_use]
    pub fn poll_step(&self) -> RouteStep {
        match &self.state {
            State::Mx => RouteStep::Ask(self.domain.clone(), Rtype::MX),
            State::Addresses(rtype) => match self.hosts.front() {
                Some(host) => RouteStep::Ask(host.clone(), *rtype),
                None => RouteStep::Failed(NO_ADDRESS.clone()),
            },
            State::Trying => match self.addresses.front() {
                Some(address) => RouteStep::Try(Target { host: self.host_text(), address: *address }),
                None => RouteStep::Failed(ALL_TRIED.clone()),
            },
            State::Failed(reply) => RouteStep::Failed(reply.clone()),
            State::Ended => RouteStep::Ended,
        }
    }

    fn host_text(&self) -> String {
        match (self.hosts.front(), self.addresses.front()) {
            (Some(host), _) => host.to_string().trim_end_matches('.').to_owned(),
            (None, Some(address)) => address.to_string(),
            (None, None) => String::new(),
        }
    }

    /// The answer to what was asked.
    pub fn handle_answer(&mut self, answer: &Resolved) {
        match self.state {
            State::Mx => self.handle_mx(answer),
            State::Addresses(rtype) => {
                if answer.is_failure() {
                    self.temporary.get_or_insert_with(|| DNS_FAILED.clone());
                }
                let found: Vec<IpAddr> = answer.rdata(rtype).filter_map(address).collect();
                found.into_iter().for_each(|address| self.add_address(address));
                if rtype == Rtype::A {
                    self.state = State::Addresses(Rtype::AAAA);
                } else if self.addresses.is_empty() {
                    self.next_host();
                } else {
                    self.state = State::Trying;
                }
            }
            State::Trying | State::Failed(_) | State::Ended => {}
        }
    }

    fn handle_mx(&mut self, answer: &Resolved) {
        if answer.is_failure() {
            self.state = State::Failed(DNS_FAILED.clone());
            return;
        }
        let mut hosts: Vec<(u16, Name)> = answer.rdata(Rtype::MX).filter_map(mail_exchange).take(HOSTS_MAX).collect();
        if hosts.is_empty() {
            if answer.rcode() == Rcode::NXDOMAIN {
                self.state = State::Failed(NO_DOMAIN.clone());
                return;
            }
            //= RFC 5321 section 5.1
            //# If an empty list of MXs is returned, the address is treated as if it was associated with an implicit MX RR
            self.hosts.push_back(self.domain.clone());
            self.state = State::Addresses(Rtype::A);
            return;
        }
        //= RFC 7505 section 3
        //# a single MX RR with [...] a zero-length label as the exchange domain
        if hosts.iter().all(|(_, host)| is_root(host)) {
            self.state = State::Failed(NULL_MX.clone());
            return;
        }
        hosts.retain(|(_, host)| !is_root(host));
        //= RFC 5321 section 5.1
        //# If [...] multiple destinations with the same preference [...] the sender-SMTP MUST randomize them to spread the load
        hosts.sort_by_cached_key(|(preference, host)| (*preference, mix(self.seed, host)));
        let own = Name::absolute(&self.config.own_hostname).map(|name| name.to_key());
        let is_own = |host: &Name| own.as_ref().is_ok_and(|own| host.to_key() == *own);
        //= RFC 5321 section 5.1
        //# the SMTP client MUST [...] discard [...] all those with the same or larger preference values
        if let Some(preference) = hosts.iter().find(|(_, host)| is_own(host)).map(|(preference, _)| *preference) {
            hosts.retain(|(other, _)| *other < preference);
            if hosts.is_empty() {
                self.state = State::Failed(LEADS_BACK.clone());
                return;
            }
        }
        self.hosts = hosts.into_iter().map(|(_, host)| host).collect();
        self.state = State::Addresses(Rtype::A);
    }

    /// What no mail can go to from here is left out: a record that names it would have us speak to ourselves.
    fn add_address(&mut self, address: IpAddr) {
        let address = address.to_canonical();
        let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
        let is_local = address.is_loopback() && !self.config.loopback;
        if !(is_local || is_broadcast || address.is_unspecified() || address.is_multicast()) {
            self.addresses.push_back(address);
        }
    }

    fn next_host(&mut self) {
        self.hosts.pop_front();
        self.addresses.clear();
        self.state = if self.hosts.is_empty() || self.tries >= TRIES_MAX || self.sessions >= SESSIONS_MAX {
            let reply = self.temporary.take().unwrap_or_else(|| NO_ADDRESS.clone());
            State::Failed(reply)
        } else {
            State::Addresses(Rtype::A)
        };
    }

    /// The target could not be reached, or did not greet us.
    pub fn handle_unreachable(&mut self, reply: &Reply) {
        self.tried(reply);
    }

    /// A session has ended. `put_off`: what the recipients were told that another host may still take; `None` if all are settled.
    pub fn handle_session(&mut self, put_off: Option<&Reply>) {
        match put_off {
            None => self.state = State::Ended,
            Some(reply) => {
                self.sessions += 1;
                self.tried(reply);
            }
        }
    }

    fn tried(&mut self, reply: &Reply) {
        if self.state != State::Trying {
            return;
        }
        self.temporary.get_or_insert_with(|| reply.clone());
        self.tries += 1;
        self.addresses.pop_front();
        if self.addresses.is_empty() || self.tries >= TRIES_MAX || self.sessions >= SESSIONS_MAX {
            self.next_host();
        }
    }
}

fn is_root(name: &Name) -> bool {
    name.wire().len() == 1
}

/// Another order for another seed (FNV-1a; nobody gains from guessing it).
fn mix(seed: u64, host: &Name) -> u64 {
    host.to_key()
        .wire()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use postring_dns::record::Record;
    use postring_dns::resolver::Answer;

    const CONFIG: fn() -> RouteConfig = || RouteConfig { own_hostname: "mx.us.example".to_owned(), loopback: false };

    fn name(text: &str) -> Name {
        Name::absolute(text).unwrap()
    }

    fn answer(owner: &Name, rtype: Rtype, rdata: Vec<Vec<u8>>) -> Answer {
        let record = |rdata: Vec<u8>| Record { name: owner.clone(), rtype, ttl: 60, rdata: rdata.into() };
        Answer {
            rcode: Rcode::NOERROR,
            records: rdata.into_iter().map(record).collect(),
            authority: Vec::new(),
            ttl: 60,
            security: postring_dns::dnssec::Security::Unchecked,
            extended_error: None,
        }
    }

    fn nxdomain() -> Answer {
        Answer { rcode: Rcode::NXDOMAIN, ..Answer::failure(60) }
    }

    fn mx(owner: &Name, hosts: &[(u16, &str)]) -> Answer {
        let rdata = |(preference, host): &(u16, &str)| [&preference.to_be_bytes(), name(host).wire()].concat();
        answer(owner, Rtype::MX, hosts.iter().map(rdata).collect())
    }

    /// Answers every question with `world`, fails every try with `reply`; gives the tries and the end.
    fn walk(
        mut route: Route,
        world: impl Fn(&Name, Rtype) -> Answer,
        mut end: impl FnMut(&Target, &mut Route),
    ) -> (Vec<String>, RouteStep) {
        let mut tries = Vec::new();
        for _ in 0..200 {
            match route.poll_step() {
                RouteStep::Ask(name, rtype) => route.handle_answer(&Resolved::new(&name, rtype, &world(&name, rtype))),
                RouteStep::Try(target) => {
                    tries.push(format!("{} {}", target.host, target.address));
                    end(&target, &mut route);
                }
                step @ (RouteStep::Failed(_) | RouteStep::Ended) => return (tries, step),
            }
        }
        panic!("the route does not end")
    }

    static REFUSED: Reply = Reply::fixed(451, 4, 1, "refused");

    fn unreachable(_: &Target, route: &mut Route) {
        route.handle_unreachable(&REFUSED);
    }

    fn v4(last: u8) -> Vec<u8> {
        vec![192, 0, 2, last]
    }

    fn world(asked: &Name, rtype: Rtype) -> Answer {
        match (asked.to_string().as_str(), rtype) {
            ("two.example.", Rtype::MX) => mx(asked, &[(20, "b.two.example"), (10, "a.two.example")]),
            ("a.two.example.", Rtype::A) => answer(asked, rtype, vec![v4(1)]),
            ("a.two.example.", Rtype::AAAA) => {
                answer(asked, rtype, vec![[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].to_vec()])
            }
            ("b.two.example.", Rtype::A) => answer(asked, rtype, vec![v4(2)]),
            ("plain.example.", Rtype::A) => answer(asked, rtype, vec![v4(3)]),
            ("null.example.", Rtype::MX) => mx(asked, &[(0, ".")]),
            ("loop.example.", Rtype::MX) => mx(asked, &[(10, "MX.us.example"), (20, "b.two.example")]),
            ("backup.example.", Rtype::MX) => mx(asked, &[(10, "b.two.example"), (20, "mx.us.example"), (20, "a.two.example")]),
            ("inside.example.", Rtype::MX) => mx(asked, &[(10, "inside.example")]),
            ("inside.example.", Rtype::A) => answer(asked, rtype, vec![vec![127, 0, 0, 1], vec![0, 0, 0, 0], vec![224, 0, 0, 1]]),
            ("half.example.", Rtype::MX) => mx(asked, &[(10, "broken.example"), (20, "gone.example")]),
            ("many.example.", Rtype::MX) => mx(asked, &[(10, "many.example")]),
            ("many.example.", Rtype::A) => answer(asked, rtype, (1..=9).map(v4).collect()),
            ("broken.example." | "servfail.example.", _) => Answer::failure(1),
            ("gone.example." | "no.example.", _) => nxdomain(),
            _ => answer(asked, rtype, Vec::new()),
        }
    }

    fn failed(domain: &str) -> (Vec<String>, Reply) {
        match walk(Route::new(CONFIG(), domain, 1), world, unreachable) {
            (tries, RouteStep::Failed(reply)) => (tries, reply),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hosts_by_preference_then_the_end() {
        let (tries, reply) = failed("two.example");
        assert_eq!(tries, ["a.two.example 192.0.2.1", "a.two.example 2001:db8::1", "b.two.example 192.0.2.2"]);
        assert_eq!(reply, REFUSED);
        assert_eq!(failed("plain.example"), (vec!["plain.example 192.0.2.3".to_owned()], REFUSED.clone()));
        assert_eq!(failed("[192.0.2.9]").0, ["192.0.2.9 192.0.2.9"]);
        assert_eq!(failed("[IPv6:2001:db8::9]").0, ["2001:db8::9 2001:db8::9"]);
    }

    #[test]
    fn what_has_no_way() {
        for (domain, reply) in [
            ("null.example", &NULL_MX),
            ("no.example", &NO_DOMAIN),
            ("nothing.example", &NO_ADDRESS),
            ("inside.example", &NO_ADDRESS),
            ("loop.example", &LEADS_BACK),
            ("servfail.example", &DNS_FAILED),
            // One host could not be looked up: another time it may be there.
            ("half.example", &DNS_FAILED),
            ("a..b", &NOT_A_DOMAIN),
            ("[300.1.1.1]", &NOT_A_DOMAIN),
            ("[IPv6:zz]", &NOT_A_DOMAIN),
            ("[127.0.0.1]", &NO_ADDRESS),
            ("", &NOT_A_DOMAIN),
        ] {
            assert_eq!(failed(domain), (Vec::new(), reply.clone()), "{domain}");
        }
    }

    #[test]
    fn a_backup_host_sends_to_better_ones_only() {
        assert_eq!(failed("backup.example").0, ["b.two.example 192.0.2.2"]);
    }

    #[test]
    fn tries_and_sessions_are_bounded() {
        assert_eq!(failed("many.example").0.len(), TRIES_MAX);
        let (tries, end) = walk(Route::new(CONFIG(), "many.example", 1), world, |_, route| route.handle_session(Some(&REFUSED)));
        assert_eq!((tries.len(), end), (SESSIONS_MAX, RouteStep::Failed(REFUSED.clone())));
        let (tries, end) = walk(Route::new(CONFIG(), "many.example", 1), world, |_, route| route.handle_session(None));
        assert_eq!((tries.len(), end), (1, RouteStep::Ended));
    }

    #[test]
    fn equal_hosts_take_turns() {
        let world = |asked: &Name, rtype: Rtype| match rtype {
            Rtype::MX => mx(asked, &[(10, "x.example"), (10, "y.example")]),
            Rtype::A => answer(asked, rtype, vec![v4(if asked.to_string().starts_with('x') { 1 } else { 2 })]),
            _ => answer(asked, rtype, Vec::new()),
        };
        let first = |seed: u64| walk(Route::new(CONFIG(), "z.example", seed), world, unreachable).0.swap_remove(0);
        let firsts: std::collections::HashSet<String> = (0..32).map(first).collect();
        assert_eq!(firsts.len(), 2);
    }

    #[test]
    fn a_relay_is_one_host() {
        let relay = RouteConfig { loopback: true, ..CONFIG() };
        let world = |asked: &Name, rtype: Rtype| match rtype {
            Rtype::MX => panic!("MX of a relay"),
            Rtype::A => answer(asked, rtype, vec![vec![127, 0, 0, 1]]),
            _ => answer(asked, rtype, Vec::new()),
        };
        let (tries, _) = walk(Route::to_host(relay, "relay.example"), world, unreachable);
        assert_eq!(tries, ["relay.example 127.0.0.1"]);
    }
}
