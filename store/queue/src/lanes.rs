//! Whose turn it is: a lane for each destination, and a turn that goes round among the lanes that may begin something.
//!
//! ```text
//!   turn:   b.example, c.example            (something is ready, and fewer than the limit are under way)
//!   lanes:  a.example  ready 7 9 12   under way 4     at its limit: not in the turn, holds nobody
//!           b.example  ready 8        under way 1
//!           c.example  ready 10 11    under way 0
//!           d.example                 under way 2     nothing ready
//! ```
//! Cost of each operation: a few look-ups in balanced trees, whatever the number of messages.

use postring_mail::envelope::MessageId;
use std::collections::BTreeMap;

/// One destination.
#[derive(Debug, Default)]
struct Lane {
    /// Groups that may be tried, by ticket: first come, first served.
    ready: BTreeMap<u64, (MessageId, usize)>,
    /// Attempts that were given and have not ended.
    under_way: usize,
    /// Its place in the turn, if it may begin something.
    turn: Option<u64>,
}

/// All destinations for which something is ready or under way.
#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: BTreeMap<String, Lane>,
    turn: BTreeMap<u64, String>,
    /// Tickets and places in the turn come from here.
    next: u64,
    under_way: usize,
    attempts_max: usize,
    attempts_per_domain_max: usize,
}

impl Lanes {
    pub(crate) fn new(attempts_max: usize, attempts_per_domain_max: usize) -> Self {
        Self { lanes: BTreeMap::new(), turn: BTreeMap::new(), next: 0, under_way: 0, attempts_max, attempts_per_domain_max }
    }

    /// Other limits; what is under way beyond them goes on.
    pub(crate) fn set_limits(&mut self, attempts_max: usize, attempts_per_domain_max: usize) {
        self.attempts_max = attempts_max;
        self.attempts_per_domain_max = attempts_per_domain_max;
        let domains: Vec<String> = self.lanes.keys().cloned().collect();
        for domain in domains {
            self.settle(&domain);
        }
    }

    /// A group may be tried. The ticket takes it back.
    pub(crate) fn push(&mut self, domain: &str, id: MessageId, group: usize) -> u64 {
        let ticket = self.number();
        match self.lanes.get_mut(domain) {
            Some(lane) => {
                lane.ready.insert(ticket, (id, group));
            }
            None => {
                let lane = Lane { ready: BTreeMap::from([(ticket, (id, group))]), ..Lane::default() };
                self.lanes.insert(domain.to_owned(), lane);
            }
        }
        self.settle(domain);
        ticket
    }

    /// A group that was ready is not to be tried any more.
    pub(crate) fn withdraw(&mut self, domain: &str, ticket: u64) {
        if let Some(lane) = self.lanes.get_mut(domain) {
            lane.ready.remove(&ticket);
        }
        self.settle(domain);
    }

    /// The next group to be tried, within the limits; it is under way from now on.
    pub(crate) fn begin(&mut self) -> Option<(MessageId, usize)> {
        if self.under_way >= self.attempts_max {
            return None;
        }
        let (_, domain) = self.turn.pop_first()?;
        let lane = self.lanes.get_mut(&domain)?;
        lane.turn = None;
        let (_, begun) = lane.ready.pop_first()?;
        lane.under_way += 1;
        self.under_way += 1;
        self.settle(&domain);
        Some(begun)
    }

    /// An attempt to the domain has ended.
    pub(crate) fn end(&mut self, domain: &str) {
        if let Some(lane) = self.lanes.get_mut(domain) {
            assert!(lane.under_way > 0 && self.under_way > 0, "an attempt ends that was not begun");
            lane.under_way -= 1;
            self.under_way -= 1;
        }
        self.settle(domain);
    }

    pub(crate) fn under_way(&self) -> usize {
        self.under_way
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Puts the lane in the turn or takes it out, and forgets it if it has nothing.
    fn settle(&mut self, domain: &str) {
        let place = self.number();
        let Some(lane) = self.lanes.get_mut(domain) else { return };
        let may_begin = !lane.ready.is_empty() && lane.under_way < self.attempts_per_domain_max;
        match (may_begin, lane.turn) {
            (true, None) => {
                lane.turn = Some(place);
                self.turn.insert(place, domain.to_owned());
            }
            (false, Some(place)) => {
                lane.turn = None;
                self.turn.remove(&place);
            }
            (true, Some(_)) | (false, None) => {}
        }
        if lane.ready.is_empty() && lane.under_way == 0 {
            self.lanes.remove(domain);
        }
    }

    /// Asserts what must always be true. `ready` and `under_way`: how many groups the queue counts in these states.
    pub(crate) fn invariants(&self, ready: usize, under_way: usize) {
        assert_eq!(self.lanes.values().map(|lane| lane.ready.len()).sum::<usize>(), ready);
        assert_eq!(self.lanes.values().map(|lane| lane.under_way).sum::<usize>(), under_way);
        assert_eq!(self.under_way, under_way);
        for (domain, lane) in &self.lanes {
            assert!(!lane.ready.is_empty() || lane.under_way > 0);
            assert_eq!(lane.turn.is_some(), !lane.ready.is_empty() && lane.under_way < self.attempts_per_domain_max);
            if let Some(place) = lane.turn {
                assert_eq!(self.turn.get(&place), Some(domain));
            }
        }
        assert_eq!(self.turn.len(), self.lanes.values().filter(|lane| lane.turn.is_some()).count());
    }

    /// True if the group waits under this ticket.
    pub(crate) fn holds(&self, domain: &str, ticket: u64, id: MessageId, group: usize) -> bool {
        self.lanes.get(domain).and_then(|lane| lane.ready.get(&ticket)) == Some(&(id, group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_at_its_limit_holds_nobody() {
        let mut lanes = Lanes::new(10, 2);
        for group in 0..1000 {
            lanes.push("stuck", MessageId(1), group);
        }
        lanes.push("other", MessageId(2), 0);
        let begun: Vec<_> = std::iter::from_fn(|| lanes.begin()).collect();
        assert_eq!(begun, [(MessageId(1), 0), (MessageId(2), 0), (MessageId(1), 1)]);
        lanes.invariants(998, 3);
        lanes.end("stuck");
        assert_eq!(lanes.begin(), Some((MessageId(1), 2)));
        assert_eq!(lanes.begin(), None);
    }

    #[test]
    fn the_turn_goes_round() {
        let mut lanes = Lanes::new(1, 1);
        for group in 0..3 {
            for (id, domain) in ["a", "b", "c"].into_iter().enumerate() {
                lanes.push(domain, MessageId(id.try_into().unwrap()), group);
            }
        }
        let mut order = Vec::new();
        while let Some((id, _)) = lanes.begin() {
            assert_eq!(lanes.begin(), None);
            order.push(id.0);
            lanes.end(["a", "b", "c"][usize::try_from(id.0).unwrap()]);
        }
        assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
        lanes.invariants(0, 0);
        assert!(lanes.lanes.is_empty());
    }

    #[test]
    fn limits_change_and_tickets_are_withdrawn() {
        let mut lanes = Lanes::new(10, 3);
        let tickets: Vec<u64> = (0..5).map(|group| lanes.push("a", MessageId(1), group)).collect();
        assert_eq!(std::iter::from_fn(|| lanes.begin()).count(), 3);
        lanes.set_limits(10, 1);
        lanes.end("a");
        assert_eq!(lanes.begin(), None);
        lanes.set_limits(2, 3);
        assert_eq!(lanes.begin(), None);
        lanes.set_limits(10, 10);
        lanes.withdraw("a", tickets[3]);
        assert_eq!(lanes.begin(), Some((MessageId(1), 4)));
        assert_eq!(lanes.begin(), None);
        lanes.invariants(0, 3);
    }
}
