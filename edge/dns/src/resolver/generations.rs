//! A bounded table that keeps what is used: two hash maps, one young, one old.
//!
//! New and used entries are in the young map. When that is full it becomes the old one, and what was still in the old one is forgotten.
//! An entry that is used at least once in a generation stays for ever; at most twice the capacity is held. No list, no clock, no hand:
//! the price is that forgetting comes in one go, some tens of nanoseconds an entry.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// See the module.
#[derive(Debug)]
pub(crate) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    capacity: usize,
}

impl<K: Hash + Eq, V> Generations<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), capacity }
    }

    /// Looks without counting it as use.
    pub(crate) fn peek<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Looks, and keeps what is found for another generation.
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// What is there, or the default put there.
    pub(crate) fn get_or_insert_default(&mut self, key: K) -> &mut V
    where
        K: Clone,
        V: Default,
    {
        if !self.young.contains_key(&key) {
            let value = self.old.remove(&key).unwrap_or_default();
            self.insert(key.clone(), value);
        }
        self.young.entry(key).or_default()
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.capacity && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        } else {
            self.old.remove(&key);
        }
        self.young.insert(key, value);
    }

    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let mut table = Generations::new(10);
        table.insert(0, "kept");
        for number in 1..1000 {
            table.insert(number, "scanned");
            assert_eq!(table.get(&0).copied(), Some("kept"));
            assert!(table.len() <= 20);
        }
        assert!(table.peek(&1).is_none() && table.peek(&999).is_some());
        table.remove(&0);
        assert!(table.get(&0).is_none());
    }
}
