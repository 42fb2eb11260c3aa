//! The resolver of a shard: asks what is hosted, what is local, the cache, and then the servers of the world or the forwarders.
//!
//! ```text
//!   lookup ─> hosted ─> local ─> cache ─> flight under way? join it
//!                                          └ no: a task that asks outside and fills the cache
//! ```

use super::DnsConfig;
use super::config::unix_now;
use super::outside::{Outside, Trace};
use super::pace::Pace;
use super::waiting::{Flights, Place, Waiting};
use postring_dns::key::NameKey;
use postring_dns::record::address;
use postring_dns::resolver::{
    Answer, Budget, Cache, CacheConfig, CacheStats, Counters, LocalZones, NegativeStore, Own, OwnAnswers, Purpose, Resolved,
    STALE_ANSWER_WAIT_MS, Snapshot, TtlRules,
};
use postring_dns::{Hosted, Name, Rcode, Rtype};
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Questions under way; more are answered with a failure, which is a temporary error of whatever asked.
const FLIGHTS_MAX: usize = 2000;
/// Aliases from one of our zones to elsewhere and back.
const ALIASES_MAX: usize = 8;
/// Names of one address that are confirmed; honest hosts have one.
const REVERSE_NAMES_MAX: usize = 3;

/// The resolver of one shard; cheap to clone, all clones are one.
#[derive(Clone)]
pub struct Resolver {
    inner: Rc<Inner>,
}

struct Inner {
    own: RefCell<OwnAnswers>,
    local: RefCell<LocalZones>,
    cache: RefCell<Cache>,
    outside: Outside,
    flights: Flights<(Name, Rtype), Resolved>,
}

/// How a name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// What the answer is for.
    pub purpose: Purpose,
    /// The client validates itself and wants what is bogus as well (the CD bit).
    pub checking_disabled: bool,
}

impl Lookup {
    /// For a check or the delivery of a mail.
    pub const MAIL: Self = Self { purpose: Purpose::Mail, checking_disabled: false };

    /// For the client that sent this query.
    #[must_use]
    pub fn of_query(packet: &[u8]) -> Self {
        Self { purpose: Purpose::Client, checking_disabled: packet.get(3).is_some_and(|flags| flags & 0x10 != 0) }
    }
}

/// What can be said at once.
enum AtOnce {
    Done(Resolved),
    /// An alias of one of our zones leads elsewhere.
    Alias(Answer, Name),
    /// The name in lower case.
    Ask(Name),
}

impl Resolver {
    /// A resolver with an empty cache.
    #[must_use]
    pub fn new(config: &DnsConfig, hosted: Arc<Hosted>) -> Self {
        Self::sharing(config, hosted, None)
    }

    /// The same with a store of negative answers that others have as well, see [`DnsConfig::negatives`].
    #[must_use]
    pub fn sharing(config: &DnsConfig, hosted: Arc<Hosted>, negatives: Option<Arc<NegativeStore>>) -> Self {
        let unix_at_zero = unix_now();
        let cache = CacheConfig { bytes_max: config.cache_mib << 20, unix_at_zero, negatives, ..CacheConfig::default() };
        let resolver = Self {
            inner: Rc::new(Inner {
                own: RefCell::default(),
                local: RefCell::default(),
                cache: RefCell::new(Cache::new(cache)),
                outside: Outside::new(),
                flights: Flights::new(FLIGHTS_MAX),
            }),
        };
        resolver.reload(config, hosted);
        resolver
    }

    /// Takes another configuration; what is cached stays, but for the cache's size.
    pub fn reload(&self, config: &DnsConfig, hosted: Arc<Hosted>) {
        self.inner.own.borrow_mut().host(hosted);
        *self.inner.local.borrow_mut() = LocalZones::new(&config.hosts(), config.local_zones);
        self.keep_by(config.ttl_rules());
        self.inner.outside.configure(config.infrastructure(), config.trust());
        self.inner.outside.upstream().pace().set_interval(Duration::from_micros(config.gather_us));
    }

    /// Keeps answers by these rules from now on, until the next reload.
    pub fn keep_by(&self, rules: TtlRules) {
        self.inner.cache.borrow_mut().set_rules(rules);
    }

    /// Takes other zones and lists.
    pub fn host(&self, hosted: Arc<Hosted>) {
        self.inner.own.borrow_mut().host(hosted);
    }

    /// What is hosted.
    #[must_use]
    pub fn hosted(&self) -> Arc<Hosted> {
        Arc::clone(self.inner.own.borrow().hosted())
    }

    /// Questions sent to other servers so far.
    #[must_use]
    pub fn forwards(&self) -> u64 {
        self.counters().asked
    }

    /// Questions that wait for another server's answer, sockets open for them, and packets that came to those and nobody waited for.
    #[must_use]
    pub fn upstream(&self) -> (usize, usize, u64) {
        let upstream = self.inner.outside.upstream();
        let (waiting, sockets) = upstream.in_use();
        (waiting, sockets, upstream.strangers())
    }

    /// What is kept, and what it was good for.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.inner.cache.borrow().stats()
    }

    /// Looks into what the caches of the last run have left as well.
    pub fn attach(&self, snapshots: Vec<Arc<Snapshot>>) {
        self.inner.cache.borrow_mut().attach(snapshots, self.now_ms());
    }

    /// What the cache leaves to the next run, for a file; `None`: nothing. `part` is the number of this resolver among those that were given the same
    /// snapshots, and how many these are. Costs a copy of all that is kept: to be called when nobody is served any more.
    #[must_use]
    pub fn snapshot(&self, part: (usize, usize)) -> Option<Vec<u8>> {
        self.inner.cache.borrow().snapshot(part, self.now_ms())
    }

    /// Forgets what is kept at a name, below it too with `below`; of the root and below it: all, what is known of servers included. Gives the
    /// number of answers.
    pub fn flush(&self, name: &Name, below: bool) -> usize {
        let mut cache = self.inner.cache.borrow_mut();
        if *name == Name::root() && below {
            let count = cache.len();
            cache.flush_all();
            self.inner.outside.clear();
            return count;
        }
        if below { cache.flush_zone(name) } else { cache.flush_name(name) }
    }

    /// What was counted of the conversations with other servers.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.inner.outside.counters()
    }

    /// Answers found to be bogus so far.
    #[must_use]
    pub fn bogus(&self) -> u64 {
        self.inner.outside.bogus()
    }

    /// The times at which busy sockets are looked at.
    pub(super) fn pace(&self) -> Pace {
        self.inner.outside.upstream().pace().clone()
    }

    fn now_ms(&self) -> u64 {
        self.inner.outside.now_ms()
    }

    fn at_once(&self, name: &Name, rtype: Rtype, purpose: Purpose) -> AtOnce {
        let Some(key) = NameKey::of(name.wire()) else { return AtOnce::Done(Resolved::failure(name, rtype)) };
        match self.inner.own.borrow_mut().answer(&key, name, rtype) {
            Some(Own::Done(resolved)) => return AtOnce::Done(resolved),
            Some(Own::Alias(answer, target)) => return AtOnce::Alias(answer, target),
            None => {}
        }
        if let Some(answer) = self.inner.local.borrow().answer(key.wire(), rtype) {
            return AtOnce::Done(Resolved::new(name, rtype, &answer));
        }
        let now_ms = self.now_ms();
        let found = self.inner.cache.borrow_mut().get(key.wire(), rtype, purpose, now_ms);
        let Some(found) = found else { return AtOnce::Ask(name.to_key()) };
        if found.refresh {
            // For whoever asks next; should there be no place, it is found when its time is over.
            let _ = self.begin(name.to_key(), rtype, purpose);
        }
        AtOnce::Done(found.resolved)
    }

    /// What can be said without asking anybody: the same as [`Self::lookup_with`] gives then.
    ///
    /// Cost: one or two table look-ups, no task and no future.
    #[must_use]
    pub fn known(&self, name: &Name, rtype: Rtype, how: Lookup) -> Option<Resolved> {
        match self.at_once(name, rtype, how.purpose) {
            AtOnce::Done(resolved) if how.checking_disabled && resolved.is_failure() => None,
            AtOnce::Done(resolved) => Some(resolved),
            AtOnce::Alias(..) | AtOnce::Ask(_) => None,
        }
    }

    /// Begins to find out what will be asked with [`Self::lookup`] soon: that then waits for the rest of the time, or not at all. Nobody need wait
    /// for it; if too much is under way it does nothing.
    ///
    /// Cost: that of [`Self::known`], and a task if it must be asked for.
    pub fn prefetch(&self, name: &Name, rtype: Rtype) {
        if let AtOnce::Ask(key) = self.at_once(name, rtype, Lookup::MAIL.purpose) {
            let _ = self.begin(key, rtype, Lookup::MAIL.purpose);
        }
    }

    /// Looks a name up for a check or the delivery of a mail: what we host, what is local, what is cached, or what other servers say. Takes at
    /// most some ten seconds; what nobody could say is an answer for which `is_failure` is true.
    ///
    /// Cost of a hit: one or two table look-ups, no packet, no allocation.
    pub async fn lookup(&self, name: &Name, rtype: Rtype) -> Resolved {
        self.lookup_with(name, rtype, Lookup::MAIL).await
    }

    /// The same as `how` says.
    pub async fn lookup_with(&self, name: &Name, rtype: Rtype, how: Lookup) -> Resolved {
        let mut before: Option<Answer> = None;
        let mut target: Option<Name> = None;
        for _ in 0..ALIASES_MAX {
            let resolved = match self.at_once(target.as_ref().unwrap_or(name), rtype, how.purpose) {
                AtOnce::Done(resolved) if how.checking_disabled && resolved.is_failure() => {
                    self.unchecked(target.as_ref().unwrap_or(name), rtype).await
                }
                AtOnce::Done(resolved) => resolved,
                AtOnce::Alias(answer, leads_to) => {
                    target = Some(leads_to);
                    before = Some(join(before, answer));
                    continue;
                }
                AtOnce::Ask(key) if how.checking_disabled => self.unchecked(&key, rtype).await,
                AtOnce::Ask(key) => self.fly(key, rtype, how.purpose).await,
            };
            return match before {
                None => resolved,
                Some(_) => Resolved::new(name, rtype, &join(before, resolved.to_answer())),
            };
        }
        Resolved::failure(name, rtype)
    }

    /// Waits for the answer to a question, and not too long if there is one beyond its time.
    async fn fly(&self, key: Name, rtype: Rtype, purpose: Purpose) -> Resolved {
        let stale = self.inner.cache.borrow_mut().get_stale(key.wire(), rtype, self.now_ms());
        let Some(waiting) = self.begin(key.clone(), rtype, purpose) else {
            return stale.unwrap_or_else(|| Resolved::failure(&key, rtype));
        };
        let Some(stale) = stale else { return waiting.result().await };
        let too_long = async {
            glommio::timer::sleep(Duration::from_millis(STALE_ANSWER_WAIT_MS)).await;
            self.inner.cache.borrow_mut().count_stale();
            stale
        };
        futures_lite::future::or(waiting.result(), too_long).await
    }

    /// Joins the flight that is under way for the question, or begins one; `None`: there are too many.
    fn begin(&self, key: Name, rtype: Rtype, purpose: Purpose) -> Option<Rc<Waiting<Resolved>>> {
        let question = (key, rtype);
        match self.inner.flights.join(&question) {
            Place::Joined(waiting) => Some(waiting),
            Place::Full => None,
            Place::New(waiting) => {
                // On a task of its own: whoever asked first may lose interest.
                glommio::spawn_local(self.clone().run(question, purpose)).detach();
                Some(waiting)
            }
        }
    }

    async fn run(self, question: (Name, Rtype), purpose: Purpose) {
        let answer = self.inner.outside.answer(&question.0, question.1).await;
        let now_ms = self.now_ms();
        let resolved = self.inner.cache.borrow_mut().put(&question.0, question.1, &answer, purpose, now_ms);
        self.inner.flights.land(&question, resolved);
    }

    /// For who validates itself: not validated, and not kept.
    async fn unchecked(&self, name: &Name, rtype: Rtype) -> Resolved {
        let answer = self.inner.outside.raw(name, rtype, &Budget::new(self.now_ms())).await;
        Resolved::new(name, rtype, &answer)
    }

    /// Asks the servers now, whatever is hosted or kept, and tells each step.
    pub async fn trace(&self, name: &Name, rtype: Rtype) -> Trace {
        self.inner.outside.trace(&name.to_key(), rtype).await
    }
}

fn join(before: Option<Answer>, mut answer: Answer) -> Answer {
    let Some(before) = before else { return answer };
    answer.ttl = answer.ttl.min(before.ttl);
    answer.records.splice(0..0, before.records);
    answer
}

/// What the DNS says an address is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReverseName {
    /// One of the names its PTR record gives leads back to it: the client's verified name (RFC 8601 section 2.7.3 `iprev`).
    Confirmed(Box<str>),
    /// It has names, and none of them leads back.
    Unconfirmed,
    /// It has no name.
    Missing,
    /// Nobody could say.
    Unknown,
}

/// Looks up what an address is called, and whether that leads back to it.
pub async fn reverse_name(resolver: Resolver, client: IpAddr) -> ReverseName {
    let client = client.to_canonical();
    let reverse = resolver.lookup(&postring_dns::name::reverse(client), Rtype::PTR).await;
    let mut found = if reverse.is_failure() { ReverseName::Unknown } else { ReverseName::Missing };
    for rdata in reverse.rdata(Rtype::PTR).take(REVERSE_NAMES_MAX) {
        let Ok(name) = Name::from_wire(rdata) else { continue };
        let rtype = if client.is_ipv4() { Rtype::A } else { Rtype::AAAA };
        let forward = resolver.lookup(&name, rtype).await;
        if forward.is_failure() {
            found = ReverseName::Unknown;
            continue;
        }
        if forward.rcode() == Rcode::NOERROR && forward.rdata(rtype).any(|rdata| address(rdata) == Some(client)) {
            let text = name.to_string();
            return ReverseName::Confirmed(text.trim_end_matches('.').into());
        }
        if found == ReverseName::Missing {
            found = ReverseName::Unconfirmed;
        }
    }
    found
}

#[cfg(test)]
mod tests;
