//! The resolver of a shard: asks what is hosted, what is local, the cache, and then the forwarders.

use super::DnsConfig;
use super::exchange::{UdpExchange, over_tcp};
use postring_dns::record::address;
use postring_dns::resolver::{Answer, Cache, CacheConfig, Flight, FlightStep, LocalZones, Purpose, Resolved, answer_of_hosted};
use postring_dns::responder::Transport;
use postring_dns::{Hosted, Name, Rcode, Rtype};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

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
    hosted: RefCell<Arc<Hosted>>,
    local: RefCell<LocalZones>,
    forwarders: RefCell<Vec<SocketAddr>>,
    cache: RefCell<Cache>,
    flights: RefCell<HashMap<(Name, Rtype), Rc<Waiting>>>,
    random: RefCell<Random>,
    begun: Instant,
    forwards: Cell<u64>,
}

/// Those who wait for one flight.
#[derive(Default)]
struct Waiting {
    resolved: RefCell<Option<Resolved>>,
    wakers: RefCell<Vec<Waker>>,
}

/// What can be said at once.
enum AtOnce {
    Done(Resolved),
    /// An alias of one of our zones leads elsewhere.
    Alias(Answer, Name),
    Ask,
}

impl Resolver {
    /// A resolver with an empty cache.
    #[must_use]
    pub fn new(config: &DnsConfig, hosted: Arc<Hosted>) -> Self {
        let cache = CacheConfig { bytes_max: config.cache_mib << 20, ..CacheConfig::default() };
        let resolver = Self {
            inner: Rc::new(Inner {
                hosted: RefCell::default(),
                local: RefCell::default(),
                forwarders: RefCell::default(),
                cache: RefCell::new(Cache::new(cache)),
                flights: RefCell::default(),
                random: RefCell::default(),
                begun: Instant::now(),
                forwards: Cell::new(0),
            }),
        };
        resolver.reload(config, hosted);
        resolver
    }

    /// Takes another configuration; what is cached stays, but for the cache's size.
    pub fn reload(&self, config: &DnsConfig, hosted: Arc<Hosted>) {
        *self.inner.hosted.borrow_mut() = hosted;
        *self.inner.local.borrow_mut() = LocalZones::new(&config.hosts(), config.local_zones);
        *self.inner.forwarders.borrow_mut() = config.forwarders();
    }

    /// What is hosted.
    #[must_use]
    pub fn hosted(&self) -> Arc<Hosted> {
        Arc::clone(&self.inner.hosted.borrow())
    }

    /// Questions sent to forwarders so far.
    #[must_use]
    pub fn forwards(&self) -> u64 {
        self.inner.forwards.get()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.inner.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn at_once(&self, name: &Name, rtype: Rtype) -> AtOnce {
        if let Some((answer, leads_to)) = answer_of_hosted(&self.inner.hosted.borrow(), name, rtype) {
            return match leads_to {
                None => AtOnce::Done(Resolved::new(name, rtype, &answer)),
                Some(target) => AtOnce::Alias(answer, target),
            };
        }
        let key = name.to_key();
        if let Some(answer) = self.inner.local.borrow().answer(&key, rtype) {
            return AtOnce::Done(Resolved::new(name, rtype, &answer));
        }
        let now_ms = self.now_ms();
        let found = self.inner.cache.borrow_mut().get(key.wire(), rtype, Purpose::Client, now_ms);
        found.map_or(AtOnce::Ask, |found| AtOnce::Done(found.resolved))
    }

    /// Looks a name up: what we host, what is local, what is cached, or what the forwarders say. Takes at most some ten seconds; what nobody
    /// could say is an answer for which `is_failure` is true.
    ///
    /// Cost of a hit: one or two table look-ups, no packet; answers of our own zones are copied.
    pub async fn lookup(&self, name: &Name, rtype: Rtype) -> Resolved {
        let (asked, mut name) = (name, name.clone());
        let mut before: Option<Answer> = None;
        for _ in 0..ALIASES_MAX {
            let resolved = match self.at_once(&name, rtype) {
                AtOnce::Done(resolved) => resolved,
                AtOnce::Alias(answer, target) => {
                    name = target;
                    before = Some(join(before, answer));
                    continue;
                }
                AtOnce::Ask => self.fly(name.to_key(), rtype).await,
            };
            return match before {
                None => resolved,
                Some(_) => Resolved::new(asked, rtype, &join(before, resolved.to_answer())),
            };
        }
        Resolved::failure(asked, rtype)
    }

    /// Joins the flight that is under way for the question, or begins one.
    async fn fly(&self, key: Name, rtype: Rtype) -> Resolved {
        let question = (key, rtype);
        let known = self.inner.flights.borrow().get(&question).cloned();
        let waiting = match known {
            Some(waiting) => waiting,
            None => {
                if self.inner.flights.borrow().len() >= FLIGHTS_MAX {
                    return Resolved::failure(&question.0, rtype);
                }
                let waiting = Rc::new(Waiting::default());
                self.inner.flights.borrow_mut().insert(question.clone(), Rc::clone(&waiting));
                // On a task of its own: whoever asked first may lose interest.
                glommio::spawn_local(self.clone().run(question, Rc::clone(&waiting))).detach();
                waiting
            }
        };
        poll_fn(|cx| match &*waiting.resolved.borrow() {
            Some(resolved) => Poll::Ready(resolved.clone()),
            None => {
                waiting.wakers.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    async fn run(self, question: (Name, Rtype), waiting: Rc<Waiting>) {
        let servers = self.inner.forwarders.borrow().clone();
        let id = self.inner.random.borrow_mut().next();
        let mut flight = Flight::new(question.0.clone(), question.1, servers, id);
        let answer = loop {
            match flight.poll_step() {
                FlightStep::Done(answer) => break answer,
                FlightStep::Ask { server, transport, packet, wait_ms } => {
                    self.inner.forwards.set(self.inner.forwards.get() + 1);
                    ask(&mut flight, server, transport, &packet, Duration::from_millis(wait_ms)).await;
                }
            }
        };
        let now_ms = self.now_ms();
        let resolved = self.inner.cache.borrow_mut().put(&question.0, question.1, &answer, Purpose::Client, now_ms);
        self.inner.flights.borrow_mut().remove(&question);
        *waiting.resolved.borrow_mut() = Some(resolved);
        waiting.wakers.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

/// Asks one server once; whatever comes of it, the flight knows it.
async fn ask(flight: &mut Flight, server: SocketAddr, transport: Transport, packet: &[u8], wait: Duration) {
    if transport == Transport::Tcp {
        match over_tcp(server, packet, wait).await {
            Ok(response) => {
                flight.handle_response(&response);
            }
            Err(_) => flight.handle_failure(),
        }
        return;
    }
    let Ok(exchange) = UdpExchange::send(server, packet, wait).await else { return flight.handle_failure() };
    loop {
        match exchange.receive().await {
            Ok(response) if flight.handle_response(&response) => return,
            Ok(_) => {}
            Err(_) => return flight.handle_failure(),
        }
    }
}

fn join(before: Option<Answer>, mut answer: Answer) -> Answer {
    let Some(before) = before else { return answer };
    answer.ttl = answer.ttl.min(before.ttl);
    answer.records.splice(0..0, before.records);
    answer
}

/// The name of an address, if one of the names its PTR record gives leads back to it (Postfix and the Received field call that the client's
/// verified name; RFC 8601 section 2.7.3 `iprev`).
pub async fn confirmed_name(resolver: Resolver, client: IpAddr) -> Option<String> {
    let client = client.to_canonical();
    let reverse = resolver.lookup(&postring_dns::name::reverse(client), Rtype::PTR).await;
    for rdata in reverse.rdata(Rtype::PTR).take(REVERSE_NAMES_MAX) {
        let Ok(name) = Name::from_wire(rdata) else { continue };
        let rtype = if client.is_ipv4() { Rtype::A } else { Rtype::AAAA };
        let forward = resolver.lookup(&name, rtype).await;
        if forward.rcode() == Rcode::NOERROR && forward.rdata(rtype).any(|rdata| address(rdata) == Some(client)) {
            let text = name.to_string();
            return Some(text.trim_end_matches('.').to_owned());
        }
    }
    None
}

/// Random ids, fetched from the kernel many at a time.
#[derive(Default)]
struct Random {
    pool: Vec<u8>,
}

impl Random {
    fn next(&mut self) -> u16 {
        if self.pool.len() < 2 {
            self.pool.resize(512, 0);
            if let Err(error) = getrandom::fill(&mut self.pool) {
                // Ports are still random.
                tracing::error!("no randomness from the system: {error}");
            }
        }
        let high = self.pool.pop().unwrap_or_default();
        u16::from_be_bytes([high, self.pool.pop().unwrap_or_default()])
    }
}
