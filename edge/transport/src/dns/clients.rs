//! Who has a TCP connection to port 53 of a shard, and whose connection goes when there are too many.
//!
//! A connection costs its holder next to nothing, so the places are given to those who use them: one that waits for its client gives way to
//! a new one, the longest waiting first; one whose client waits for us does not.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::RawFd;
use std::time::Instant;

/// The open connections, by descriptor.
pub(super) struct Clients {
    open: HashMap<RawFd, Open>,
    /// Connections that have lost their place and are not closed yet.
    leaving: usize,
    /// Connections at once.
    all_max: usize,
    /// Of them, of one client.
    each_max: usize,
}

struct Open {
    client: IpAddr,
    /// Since when its client owes a whole query, or the taking of the answer; none while we owe the answer.
    waiting_since: Option<Instant>,
}

/// What becomes of a new connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Admitted,
    /// Admitted; the one with this descriptor is out and must be hung up.
    InsteadOf(RawFd),
    Refused,
}

impl Clients {
    pub(super) fn new(all_max: usize, each_max: usize) -> Self {
        Self { open: HashMap::new(), leaving: 0, all_max, each_max }
    }

    /// A connection of `client` has been accepted. Costs a walk over all.
    pub(super) fn admit(&mut self, descriptor: RawFd, client: IpAddr, now: Instant) -> Admission {
        let client = holder(client);
        let own = self.open.values().filter(|open| open.client == client).count();
        let mut admission = Admission::Admitted;
        if own >= self.each_max || self.open.len() >= self.all_max {
            let may_go = self.open.iter().filter(|(_, open)| own < self.each_max || open.client == client);
            let waiting = may_go.filter_map(|(descriptor, open)| Some((open.waiting_since?, *descriptor)));
            let Some((_, longest)) = waiting.min() else { return Admission::Refused };
            self.open.remove(&longest);
            self.leaving += 1;
            admission = Admission::InsteadOf(longest);
        }
        self.open.insert(descriptor, Open { client, waiting_since: Some(now) });
        admission
    }

    /// A connection waits for its client since `since`, or does not. False: another has its place.
    pub(super) fn wait(&mut self, descriptor: RawFd, since: Option<Instant>) -> bool {
        self.open.get_mut(&descriptor).map(|open| open.waiting_since = since).is_some()
    }

    /// An admitted connection ends. Must be said before its descriptor is closed.
    pub(super) fn leave(&mut self, descriptor: RawFd) {
        if self.open.remove(&descriptor).is_none() {
            self.leaving -= 1;
        }
    }

    /// Connections that have lost their place and are not closed yet.
    pub(super) fn leaving(&self) -> usize {
        self.leaving
    }
}

/// Who holds an address: of IPv6 the least that is given to one customer is a /64 (RFC 6177, RFC 7421).
fn holder(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_waiting_gives_way_when_all_places_are_taken() {
        let (mut clients, begun) = (Clients::new(3, 2), Instant::now());
        let at = |second| begun + Duration::from_secs(second);
        assert_eq!(clients.admit(10, address("192.0.2.1"), at(0)), Admission::Admitted);
        assert_eq!(clients.admit(11, address("192.0.2.2"), at(1)), Admission::Admitted);
        assert_eq!(clients.admit(12, address("192.0.2.3"), at(2)), Admission::Admitted);
        // The oldest connection has asked since; the second waits for its answer.
        assert!(clients.wait(10, Some(at(3))));
        assert!(clients.wait(11, None));
        assert_eq!(clients.admit(13, address("192.0.2.4"), at(4)), Admission::InsteadOf(12));
        assert!(!clients.wait(12, Some(at(5))));
        assert_eq!(clients.leaving(), 1);
        clients.leave(12);
        assert_eq!(clients.leaving(), 0);
        clients.leave(13);
        assert_eq!(clients.admit(14, address("192.0.2.5"), at(5)), Admission::Admitted);
    }

    #[test]
    fn a_client_with_many_connections_loses_its_own() {
        let (mut clients, now) = (Clients::new(10, 2), Instant::now());
        clients.admit(9, address("192.0.2.1"), now);
        for (descriptor, text) in [(10, "2001:db8::1"), (11, "2001:db8::ffff:0:0:1")] {
            assert_eq!(clients.admit(descriptor, address(text), now + Duration::from_secs(1)), Admission::Admitted);
        }
        assert_eq!(clients.admit(12, address("2001:db8::2"), now), Admission::InsteadOf(10));
        // 192.0.2.1 waits longer, but it is not the one who has too many.
        clients.wait(11, None);
        clients.wait(12, None);
        assert_eq!(clients.admit(13, address("2001:db8::3"), now), Admission::Refused);
        assert_eq!(clients.admit(13, address("2001:db8:0:1::3"), now), Admission::Admitted);
        assert_eq!(clients.admit(14, address("::ffff:192.0.2.1"), now), Admission::Admitted);
        assert_eq!(clients.admit(15, address("192.0.2.1"), now), Admission::InsteadOf(9));
    }
}
