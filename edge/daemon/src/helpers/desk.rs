//! What all policy servers and milters of a shard have in common: counts, and when one is not asked any more.

use super::link::within;
use super::pool::{Pool, Turn};
use crate::shard::Shard;
use postring_control::HelperCount;
use postring_mail::Reply;
use postring_milter::Breaker;
use postring_policy::helpers::{HelperAddress, OnFailure, Service};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::time::{Duration, Instant};

/// Things that are warned about once.
const WARNED_MAX: usize = 64;

/// One policy server or milter, seen from one shard. Borrows never last over an await.
pub(super) struct Desk<K> {
    /// For the log.
    pub(super) name: String,
    pub(super) pool: Pool<K>,
    /// Its place among all, for metrics.
    number: usize,
    services: Vec<Service>,
    on_failure: OnFailure,
    dry_run: bool,
    breaker: RefCell<Breaker>,
    counts: [Cell<u64>; HelperCount::ALL.len()],
    warned: RefCell<BTreeSet<String>>,
}

/// What an administrator has set of one.
pub(super) struct Settings<'a> {
    pub kind: &'a str,
    pub address: &'a str,
    pub services: &'a [Service],
    pub on_failure: OnFailure,
    pub dry_run: bool,
    pub connections_max: usize,
    pub failures_max: u32,
    pub pause_seconds: u32,
}

impl<K> Desk<K> {
    /// `None` for an address that is none; the configuration has been checked.
    pub(super) fn new(number: usize, settings: &Settings<'_>) -> Option<Self> {
        let address = HelperAddress::parse(settings.address)?;
        Some(Self {
            name: format!("{} {}", settings.kind, settings.address),
            pool: Pool::new(address, settings.connections_max),
            number,
            services: settings.services.to_vec(),
            on_failure: settings.on_failure,
            dry_run: settings.dry_run,
            breaker: RefCell::new(Breaker::new(settings.failures_max, u64::from(settings.pause_seconds) * 1000)),
            counts: Default::default(),
            warned: RefCell::default(),
        })
    }

    /// True if it is asked about what comes to this service.
    pub(super) fn serves(&self, service: Service) -> bool {
        self.services.contains(&service)
    }

    /// Nothing is done about what it says.
    pub(super) fn is_dry(&self) -> bool {
        self.dry_run
    }

    /// Asks when a connection may be used, unless it has failed too often; the answer, or what is done without one: nothing, or a reply. All within `wait`.
    pub(super) async fn ask<T>(
        &self,
        shard: &Shard,
        wait: Duration,
        asking: impl AsyncFnOnce(&Turn<'_, K>) -> io::Result<T>,
    ) -> Result<T, Option<Reply>> {
        if !self.breaker.borrow_mut().admit(shard.now().monotonic_ms) {
            return self.skip(shard);
        }
        let until = Instant::now() + wait;
        let turn = match self.pool.turn_now() {
            Some(turn) => turn,
            None => {
                let Ok(turn) = within(wait, async { Ok(self.pool.turn().await) }).await else {
                    // That says nothing of its answers.
                    self.warn_once("all its connections are in use for longer than a question may take");
                    return self.skip(shard);
                };
                // Whoever had the connections has found out: those who waited do not find out again, one after the other.
                if self.breaker.borrow().is_open() {
                    return self.skip(shard);
                }
                turn
            }
        };
        self.count(shard, HelperCount::Asked);
        match within(until.saturating_duration_since(Instant::now()), asking(&turn)).await {
            Ok(answer) => {
                self.breaker.borrow_mut().succeed();
                Ok(answer)
            }
            Err(error) => {
                self.count(shard, HelperCount::Failed);
                // The breaker bounds the lines.
                tracing::warn!("{}: {error}", self.name);
                if self.breaker.borrow_mut().fail(shard.now().monotonic_ms) {
                    tracing::warn!("{} has failed too often and is not asked for a while", self.name);
                }
                Err(self.without())
            }
        }
    }

    fn skip<T>(&self, shard: &Shard) -> Result<T, Option<Reply>> {
        self.count(shard, HelperCount::Skipped);
        Err(self.without())
    }

    /// What is done without an answer.
    fn without(&self) -> Option<Reply> {
        self.on_failure.reply().filter(|_| !self.dry_run)
    }

    /// Takes a refusal: counted and logged, and given back unless it is only tried.
    pub(super) fn refusal(&self, shard: &Shard, reply: Reply, about: impl Display) -> Option<Reply> {
        self.count(shard, HelperCount::Refused);
        if self.dry_run {
            tracing::info!(target: "mail", "{} would have refused {about}: {reply}", self.name);
            return None;
        }
        tracing::info!(target: "mail", "{} refuses {about}: {reply}", self.name);
        Some(reply)
    }

    /// What it wants cannot be done: a failure, as if it had not been asked; what is done without it: nothing, or a reply.
    pub(super) fn cannot(&self, shard: &Shard, why: &'static str) -> Option<Reply> {
        self.count(shard, HelperCount::Failed);
        self.warn_once(why);
        self.without()
    }

    /// Says something to the administrator, once.
    pub(super) fn warn_once(&self, text: &str) {
        let mut warned = self.warned.borrow_mut();
        if warned.len() < WARNED_MAX && warned.insert(text.to_owned()) {
            tracing::warn!("{}: {text}", self.name);
        }
    }

    fn count(&self, shard: &Shard, count: HelperCount) {
        if let Some(cell) = self.counts.get(count as usize) {
            cell.set(cell.get() + 1);
            shard.stats().set_helper(self.number, count, cell.get());
        }
    }
}
