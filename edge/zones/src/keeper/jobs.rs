//! Jobs for other servers: so many at once, each on a thread of its own; the rest waits.
//!
//! ```text
//!   asking   SOA, transfers                  16 at once
//!   telling  NOTIFY, one try a job           16 at once; a server that does not answer is told again later, and holds no thread until then
//! ```
//! Two kinds, so that secondaries that are down do not keep us from copying, nor from telling the others.

use super::Order;
use super::network::Job;
use postring_dns::Name;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::mpsc::Sender;

/// Jobs of each kind at once.
const RUNNING_MAX: usize = 16;

/// Whom to tell of what.
type Told = (Name, SocketAddr);

/// All jobs of the keeper. At most one asking and one telling for each zone and server: what waits is bounded by the configuration.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    asking: VecDeque<Job>,
    asking_running: usize,
    telling: BTreeMap<Told, Job>,
    telling_now: VecDeque<Told>,
    /// Second 1970 from which they are told again.
    telling_later: Vec<(u64, Told)>,
    telling_running: usize,
}

impl Jobs {
    /// Does it when its turn comes. A NOTIFY takes the place of an older one that still waits.
    pub(super) fn push(&mut self, job: Job) {
        match job.told() {
            None => self.asking.push_back(job),
            Some(told) => {
                self.telling_now.push_back(told.clone());
                self.telling.insert(told, job);
            }
        }
    }

    /// Tells once more from `due` on, if nothing newer is to be told.
    pub(super) fn push_later(&mut self, due: u64, job: Job) {
        let Some(told) = job.told().filter(|told| !self.telling.contains_key(told)) else { return };
        self.telling_later.push((due, told.clone()));
        self.telling.insert(told, job);
    }

    /// Something that was started has ended.
    pub(super) fn handle_end(&mut self, told: bool) {
        let running = if told { &mut self.telling_running } else { &mut self.asking_running };
        *running = running.saturating_sub(1);
    }

    /// Whom to tell again now.
    pub(super) fn tick(&mut self, now: u64) {
        let Self { telling_later, telling_now, .. } = self;
        telling_later.retain(|(due, told)| {
            let is_due = now >= *due;
            if is_due {
                telling_now.push_back(told.clone());
            }
            !is_due
        });
    }

    /// The next that may be started; it counts as running.
    fn next(&mut self) -> Option<Job> {
        if self.asking_running < RUNNING_MAX
            && let Some(job) = self.asking.pop_front()
        {
            self.asking_running += 1;
            return Some(job);
        }
        while self.telling_running < RUNNING_MAX {
            // A newer one may have been told since.
            if let Some(job) = self.telling_now.pop_front().map(|told| self.telling.remove(&told))? {
                self.telling_running += 1;
                return Some(job);
            }
        }
        None
    }

    /// Starts what may be; what comes of it is an order to the keeper. Without a thread for it, it waits for a next time.
    pub(super) fn start(&mut self, orders: &Sender<Order>) {
        while let Some(job) = self.next() {
            let (orders, again) = (orders.clone(), job.clone());
            let run = move || {
                // A keeper that has ended needs no result.
                let _ = orders.send(Order::Done(job.run()));
            };
            if let Err(error) = std::thread::Builder::new().name("zones-net".to_owned()).spawn(run) {
                tracing::error!("no thread for another server, it is tried again: {error}");
                self.handle_end(again.told().is_some());
                return self.push(again);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postring_dns::Rtype;
    use postring_dns::notify::Notifier;
    use postring_dns::record::Record;

    fn server(host: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], 53))
    }

    fn tell(zone: &str, serial: u8, host: u8) -> Job {
        let name = Name::absolute(zone).unwrap();
        let soa = Record { name: name.clone(), rtype: Rtype::SOA, ttl: 0, rdata: [0, 0, serial].into() };
        let notifier = Notifier::new(soa, &[server(host)], 0, || 1);
        Job::Notify { origin: name, notifier: Box::new(notifier), server: server(host), key: None }
    }

    fn ask(zone: &str) -> Job {
        Job::Soa { origin: Name::absolute(zone).unwrap(), primary: server(9), key: None }
    }

    #[test]
    fn who_does_not_answer_holds_up_nobody() {
        let mut jobs = Jobs::default();
        (0..40).for_each(|host| jobs.push(tell("a", 1, host)));
        jobs.push(ask("b"));
        let started: Vec<Job> = std::iter::from_fn(|| jobs.next()).collect();
        assert_eq!(started.iter().filter(|job| job.told().is_some()).count(), RUNNING_MAX);
        assert_eq!(started.len(), RUNNING_MAX + 1);
        // The first is silent, and told again when it is time: the others come first.
        jobs.handle_end(true);
        jobs.push_later(5, tell("a", 1, 0));
        assert_eq!(jobs.next().and_then(|job| job.told()).map(|(_, server)| server), Some(server(16)));
        jobs.tick(4);
        assert!(!jobs.telling_now.contains(&(Name::absolute("a").unwrap(), server(0))));
        jobs.tick(5);
        assert_eq!(jobs.telling_now.back(), Some(&(Name::absolute("a").unwrap(), server(0))));
    }

    #[test]
    fn only_the_newest_version_is_told() {
        let mut jobs = Jobs::default();
        let told = |jobs: &mut Jobs| std::iter::from_fn(|| jobs.next()).map(|job| format!("{job:?}")).collect::<Vec<_>>();
        jobs.push(tell("a", 1, 1));
        jobs.push(tell("a", 2, 1));
        let first = told(&mut jobs);
        assert!(first.len() == 1 && first[0].contains("[0, 0, 2]"), "{first:?}");
        // One that comes back late gives way to a newer one, and that is not told twice.
        jobs.push(tell("a", 3, 1));
        jobs.push_later(5, tell("a", 2, 1));
        jobs.tick(5);
        let second = told(&mut jobs);
        assert!(second.len() == 1 && second[0].contains("[0, 0, 3]"), "{second:?}");
        // The newer one takes the place of one that waits for its time, at once.
        jobs.push_later(9, tell("a", 3, 1));
        jobs.push(tell("a", 4, 1));
        assert!(told(&mut jobs)[0].contains("[0, 0, 4]"));
        jobs.tick(9);
        assert!(told(&mut jobs).is_empty());
    }
}
