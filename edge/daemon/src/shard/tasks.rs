//! The tasks of a shard that are not a client's: accepting, hearing what happens, the clock.

use super::{Event, Settings, Shard};
use crate::cache;
use crate::connection;
use crate::dnsbl::{self, Lists};
use crate::explain;
use crate::helpers::Helpers;
use crate::limits::{self, STRESS_COMMAND_WAIT_MS, STRESS_ERRORS_MAX};
use crate::questions;
use crate::reports::send;
use futures_lite::future::or;
use postring_control::{Counter, FromChild, Gauge};
use postring_handoff::Trouble;
use postring_smtp::{Client, ServerConfig};
use postring_transport::{Doorbell, Listener, NEWCOMERS_MAX, Newcomer};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// Time for messages under way when the shard drains.
const DRAIN_WAIT: Duration = Duration::from_secs(20);
/// Time for the last words to those who are idle.
const GOODBYE_WAIT: Duration = Duration::from_secs(2);
/// Behind a client that was refused at once, those who come are taken together after this time. Waking up for each would cost more than refusing it
/// (`postring-bench refuse`); one who is welcome waits this long, too.
const REFUSED_GATHER: Duration = Duration::from_micros(250);
/// Rows of DMARC's reports a crash may lose.
const ROWS_INTERVAL_SECONDS: u64 = 10;

impl Shard {
    /// Accepts clients of one listener until the shard drains.
    pub(crate) async fn accept(self: Rc<Self>, mut listener: Listener, config: Arc<ServerConfig>) {
        let hurried = Arc::new(ServerConfig {
            command_wait_ms: config.command_wait_ms.min(STRESS_COMMAND_WAIT_MS),
            errors_max: config.errors_max.min(STRESS_ERRORS_MAX),
            ..(*config).clone()
        });
        // Nobody can be told who lives here before the directory has come; the kernel keeps the clients that long.
        while self.directory.borrow().is_none() && !self.draining.get() {
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        let mut newcomers = Vec::with_capacity(NEWCOMERS_MAX);
        while !self.draining.get() {
            match listener.accept(&mut newcomers).await {
                Ok(()) => {
                    let mut refused = false;
                    for newcomer in newcomers.drain(..) {
                        refused |= !self.admit(newcomer, &config, &hurried);
                    }
                    if refused {
                        // Who refuses one will likely refuse the next, who is in no hurry: together they cost less.
                        listener.gather(REFUSED_GATHER).await;
                    } else {
                        // Accepting does not wait while there is a backlog: those who are here must have their turn.
                        glommio::yield_if_needed().await;
                    }
                }
                Err(error) => {
                    // Out of descriptors most likely: those who are here finish first.
                    tracing::warn!("a connection could not be accepted: {error}");
                    glommio::timer::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// False if the client was refused at once.
    fn admit(self: &Rc<Self>, newcomer: Newcomer, config: &Arc<ServerConfig>, hurried: &Arc<ServerConfig>) -> bool {
        let peer = newcomer.peer();
        self.stats.add(Counter::Connections, 1);
        if let Some(line) = questions::refused_at_once(self, peer.ip(), config.protocol) {
            // A new socket takes a line at once, so that neither a task nor a session is made for it.
            newcomer.refuse(&line);
            return false;
        }
        self.clients.enter(peer.ip());
        self.stats.set(Gauge::ConnectionsOpen, self.clients.open() as u64);
        let config = if limits::is_stressed(self) { hurried } else { config };
        let (shard, config, stream) = (Rc::clone(self), Arc::clone(config), newcomer.into_stream());
        glommio::spawn_local(async move {
            let peer = Client { address: peer.ip(), port: peer.port() };
            let counted = connection::serve(Rc::clone(&shard), stream, peer, config).await;
            shard.leave(counted);
        })
        .detach();
        true
    }

    fn leave(&self, address: IpAddr) {
        self.clients.leave(address);
        self.stats.set(Gauge::ConnectionsOpen, self.clients.open() as u64);
    }

    /// Hears the doorbell until the shard has drained.
    pub(crate) async fn listen(self: Rc<Self>, mut doorbell: Doorbell, events: Receiver<Event>) {
        let mut drain_until = None;
        loop {
            self.take_events(&events);
            self.take_completions();
            if self.draining.get() {
                let until = *drain_until.get_or_insert_with(|| Instant::now() + DRAIN_WAIT);
                if self.jobs.borrow().count() == 0 || Instant::now() >= until {
                    return self.say_goodbye().await;
                }
            }
            if self.jobs.borrow_mut().prepare_sleep() {
                self.jobs.borrow_mut().awake();
                continue;
            }
            let heard = if self.draining.get() {
                // The end of a job that was refused rings nobody.
                or(doorbell.wait(), async {
                    glommio::timer::sleep(Duration::from_millis(10)).await;
                    Ok(())
                })
                .await
            } else {
                doorbell.wait().await
            };
            self.jobs.borrow_mut().awake();
            if let Err(error) = heard {
                tracing::error!("the shard's doorbell is gone: {error}");
                return;
            }
        }
    }

    /// What was begun is done: those who are still connected are told, and the shard ends.
    async fn say_goodbye(&self) {
        self.hangups.all();
        let until = Instant::now() + GOODBYE_WAIT;
        while self.clients.open() > 0 && Instant::now() < until {
            glommio::timer::sleep(Duration::from_millis(5)).await;
        }
    }

    fn take_events(self: &Rc<Self>, events: &Receiver<Event>) {
        loop {
            match events.try_recv() {
                Ok(Event::Attach(link)) => {
                    self.jobs.borrow_mut().attach(*link, &mut self.arena.borrow_mut(), self.now().monotonic_ms)
                }
                Ok(Event::Directory(snapshot)) => *self.directory.borrow_mut() = Some(snapshot),
                Ok(Event::Reload(settings)) => self.reload(*settings),
                Ok(Event::Tls(servers)) => *self.tls.borrow_mut() = Some(servers),
                Ok(Event::Cookies(secrets)) => self.dns.set_cookies(*secrets),
                Ok(Event::Served(served, taken)) => {
                    self.zones.take(served);
                    // A keeper that does not wait any more needs not know.
                    if let Some(taken) = taken {
                        let _ = taken.send(());
                    }
                }
                Ok(Event::Snapshots(found)) => self.resolver.attach(found),
                // Whoever asked may have given up.
                Ok(Event::Cache { words, answer }) => drop(answer.send(cache::command(&self.resolver, &words))),
                Ok(Event::Explain { client, answer }) => {
                    let shard = Rc::clone(self);
                    glommio::spawn_local(async move { drop(answer.send(explain::explain(shard, *client).await)) }).detach();
                }
                Ok(Event::Rows(given)) => {
                    self.rows.flush(&self.stats);
                    let _ = given.send(());
                }
                Ok(Event::Report { report, answer }) => {
                    let shard = Rc::clone(self);
                    glommio::spawn_local(async move { drop(answer.try_send(send(&shard, &report).await)) }).detach();
                }
                Ok(Event::Drain) | Err(TryRecvError::Disconnected) => {
                    self.draining.set(true);
                    return;
                }
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    fn reload(&self, settings: Settings) {
        let Settings { launch, health, suffixes } = settings;
        *self.suffixes.borrow_mut() = suffixes;
        self.resolver.reload(&launch.dns, self.resolver.hosted());
        self.resolver.keep_by(dnsbl::ttl_rules(&launch));
        if !self.lists().are_those_of(&launch) {
            *self.lists.borrow_mut() = Rc::new(Lists::new(&launch, self.shards, health));
        }
        if !self.helpers().are_those_of(&launch.policy) {
            *self.helpers.borrow_mut() = Rc::new(Helpers::new(&launch.policy));
        }
        self.dns.reload(launch.dns.recursion.clone());
        self.dns.set_identity(launch.dns.identity(&self.hostname));
        self.dns.set_rates(launch.dns.rates(self.shards));
        *self.refusing.borrow_mut() = launch.dns.refusing_lists();
        *self.launch.borrow_mut() = launch;
    }

    fn take_completions(&self) {
        let mut arena = self.arena.borrow_mut();
        self.jobs.borrow_mut().take_completions(&mut arena, self.now().monotonic_ms);
        self.stats.set(Gauge::SlotsInUse, arena.in_use() as u64);
        drop(arena);
        self.report_trouble();
    }

    fn report_trouble(&self) {
        for trouble in self.jobs.borrow_mut().take_trouble() {
            let message = match trouble {
                Trouble::Lied(peer, text) => {
                    self.stats.add(Counter::PeersLied, 1);
                    FromChild::PeerLied { peer, text }
                }
                Trouble::Hangs(peer, text) => FromChild::PeerHangs { peer, text },
            };
            // A supervisor that is gone drains us anyway.
            let _ = self.control.send(&message, &[]);
        }
    }

    /// Looks at the deadlines and counts DNS once a second.
    pub(crate) async fn tick(self: Rc<Self>) {
        let mut before = [0; 3];
        let mut seconds = 0_u64;
        loop {
            glommio::timer::sleep(Duration::from_secs(1)).await;
            seconds += 1;
            if seconds.is_multiple_of(ROWS_INTERVAL_SECONDS) {
                self.rows.flush(&self.stats);
            }
            self.jobs.borrow_mut().check_deadlines(self.now().monotonic_ms);
            self.stats.set(Gauge::Stressed, limits::is_stressed(&self).into());
            let (queries, answers) = self.dns.counts();
            let counts = [queries, answers, self.resolver.forwards()];
            let counters = [Counter::DnsQueries, Counter::DnsAnswers, Counter::DnsForwards];
            for ((counter, count), before) in counters.into_iter().zip(counts).zip(before) {
                self.stats.add(counter, count - before);
            }
            before = counts;
            self.report_trouble();
        }
    }
}
