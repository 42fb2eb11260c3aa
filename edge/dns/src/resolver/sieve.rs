//! Who goes when there is no room: SIEVE (Zhang and others, "SIEVE is Simpler than LRU", NSDI 2024).
//!
//! ```text
//!   newest <─> ... <─> hand ─> ... <─> oldest      new entries come in at the left; the hand goes from the oldest to the newest
//! ```
//! A use sets a mark and moves nothing. The hand takes marks away, and takes out the first entry that has none; unlike CLOCK's, it does not put
//! those it spares where the new ones are, and so it soon comes back to the new ones nobody asked for twice. Measured against CLOCK in
//! `benches/cache.rs`.

/// No entry.
const NONE: u32 = u32::MAX;
/// Entries at most; far beyond what the bytes allow.
const ENTRIES_MAX: usize = 1 << 30;

/// One line of memory: what a hit reads and the mark it sets are fetched together.
#[derive(Debug)]
#[repr(align(64))]
struct Node<T> {
    value: Option<T>,
    /// The next of the free ones, if it is free.
    newer: u32,
    older: u32,
    used: bool,
}

/// Entries in the order they came, each at a place that stays.
#[derive(Debug)]
pub(super) struct Sieve<T> {
    nodes: Vec<Node<T>>,
    free: u32,
    newest: u32,
    oldest: u32,
    hand: u32,
}

impl<T> Default for Sieve<T> {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: NONE, newest: NONE, oldest: NONE, hand: NONE }
    }
}

impl<T> Sieve<T> {
    /// Octets taken from the allocator.
    pub(super) fn bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node<T>>()
    }

    pub(super) fn get(&self, place: u32) -> Option<&T> {
        self.node(place)?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        self.node_mut(place)?.value.as_mut()
    }

    /// Marks an entry as used.
    pub(super) fn touch(&mut self, place: u32) {
        if let Some(node) = self.node_mut(place) {
            node.used = true;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.nodes).filter_map(|(place, node)| Some((place, node.value.as_ref()?)))
    }

    fn node(&self, place: u32) -> Option<&Node<T>> {
        self.nodes.get(usize::try_from(place).ok()?)
    }

    fn node_mut(&mut self, place: u32) -> Option<&mut Node<T>> {
        self.nodes.get_mut(usize::try_from(place).ok()?)
    }

    /// Puts an entry in; `None` if there is no place for one more.
    pub(super) fn insert(&mut self, value: T) -> Option<u32> {
        let node = Node { value: Some(value), newer: NONE, older: self.newest, used: false };
        let place = if self.free == NONE {
            if self.nodes.len() >= ENTRIES_MAX {
                return None;
            }
            if self.nodes.len() == self.nodes.capacity() {
                // By a quarter: what is taken is counted, and doubling would take half of it in vain.
                self.nodes.reserve_exact((self.nodes.len() / 4).max(16));
            }
            self.nodes.push(node);
            u32::try_from(self.nodes.len() - 1).ok()?
        } else {
            let place = self.free;
            let free = self.node_mut(place)?;
            let next = std::mem::replace(free, node).newer;
            self.free = next;
            place
        };
        let before = std::mem::replace(&mut self.newest, place);
        match self.node_mut(before) {
            Some(before) => before.newer = place,
            None => self.oldest = place,
        }
        Some(place)
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let free = self.free;
        let node = self.node_mut(place)?;
        let value = node.value.take()?;
        let (newer, older) = (node.newer, node.older);
        node.newer = free;
        self.free = place;
        if self.hand == place {
            self.hand = newer;
        }
        match self.node_mut(newer) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        match self.node_mut(older) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        Some(value)
    }

    /// Whose turn it is to go. Two rounds are enough, the first takes the marks away; `is_dead` ones are not spared. Cost: one step a mark taken
    /// away, of which each was set by a use.
    pub(super) fn victim(&mut self, is_dead: impl Fn(&T) -> bool) -> Option<u32> {
        for _ in 0..=2 * self.nodes.len() {
            let place = if self.hand == NONE { self.oldest } else { self.hand };
            let node = self.node_mut(place)?;
            let dead = node.value.as_ref().is_none_or(&is_dead);
            if dead || !node.used {
                return Some(place);
            }
            node.used = false;
            self.hand = node.newer;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl<T> Sieve<T> {
        /// From the oldest to the newest, checked from both sides.
        fn order(&self) -> Vec<u32> {
            let mut order = Vec::new();
            let (mut place, mut before) = (self.oldest, NONE);
            while let Some(node) = self.node(place) {
                assert_eq!(node.older, before);
                assert!(node.value.is_some());
                order.push(place);
                (before, place) = (place, node.newer);
            }
            assert_eq!(self.newest, before);
            assert!(self.hand == NONE || order.contains(&self.hand));
            order
        }
    }

    #[test]
    fn the_unused_go_first() {
        let mut sieve = Sieve::default();
        let places: Vec<u32> = (0..4).map(|value| sieve.insert(value).unwrap()).collect();
        sieve.touch(places[0]);
        sieve.touch(places[2]);
        let mut gone = || {
            let place = sieve.victim(|_| false).unwrap();
            sieve.remove(place).unwrap()
        };
        assert_eq!([gone(), gone(), gone(), gone()], [1, 3, 0, 2]);
        assert_eq!(sieve.victim(|_| false), None);
    }

    proptest! {
        #[test]
        fn it_is_a_list(steps in proptest::collection::vec((0..4_u8, any::<prop::sample::Index>()), 0..200)) {
            let mut sieve = Sieve::default();
            let mut oracle: Vec<u32> = Vec::new();
            for (step, index) in steps {
                match step {
                    0 => oracle.push(sieve.insert(()).unwrap()),
                    1 if !oracle.is_empty() => sieve.touch(oracle[index.index(oracle.len())]),
                    2 if !oracle.is_empty() => {
                        let place = oracle.remove(index.index(oracle.len()));
                        prop_assert!(sieve.remove(place).is_some() && sieve.remove(place).is_none());
                    }
                    _ => {
                        let place = sieve.victim(|()| false);
                        prop_assert_eq!(place.is_none(), oracle.is_empty());
                        if let Some(place) = place {
                            sieve.remove(place).unwrap();
                            oracle.retain(|kept| *kept != place);
                        }
                    }
                }
                prop_assert_eq!(&sieve.order(), &oracle);
            }
        }
    }
}
