//! What the edge itself found of a message's sender, beside what the scanner finds in its content.

use crate::Reputation;
use postring_mail::verdict::Symbol;

/// Findings about the sender.
#[derive(Clone, Copy, Debug)]
pub struct Findings<'a> {
    /// What block lists of others say of the client.
    pub lists: &'a Reputation,
    /// What the sender's domain says of the client, and what signatures are worth.
    pub sender: &'a [Symbol<'a>],
    /// The message belongs into the Junk folder whatever its score, because the domain it shows wants that.
    pub junk: bool,
}

impl<'a> Findings<'a> {
    /// True if there is nothing to be said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty() && self.sender.is_empty() && !self.junk
    }

    /// The sum of the points.
    #[must_use]
    pub fn score(&self) -> f64 {
        self.lists.score() + self.sender.iter().map(|symbol| f64::from(symbol.weight_milli) / 1000.0).sum::<f64>()
    }

    /// All of them.
    pub fn symbols(&self) -> impl Iterator<Item = Symbol<'a>> {
        self.lists.symbols().chain(self.sender.iter().copied())
    }
}
