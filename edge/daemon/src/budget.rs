//! What one transaction may ask of the DNS, all its checks together.
//!
//! Each check has limits of its own (RFC 7208 section 4.6.4, eight signatures, …), each question a budget of work in the resolver. This is the sum: a
//! sender whose records lead from one to the next, and whose message carries as many signatures as are looked at, spends it, and what is asked beyond
//! is a temporary error, which counts for nobody. The policy of the author's domain is asked for all the same, and then no error spares a message
//! from it: else whoever publishes a greedy record of his own could write in the name of others.

use crate::shard::Shard;
use postring_auth::Lookup;
use postring_control::Counter;
use postring_dns::resolver::Resolved;
use postring_dns::{Name, Rtype};
use std::cell::Cell;
use std::rc::Rc;

/// The shard's resolver, in process, for one transaction.
pub(crate) struct Lookups {
    shard: Rc<Shard>,
    /// That may still be asked, be the answer in memory or not.
    questions: Cell<u32>,
    /// Of answers that may still come.
    octets: Cell<usize>,
    spent: Cell<bool>,
}

impl Lookups {
    pub(crate) fn new(shard: &Rc<Shard>) -> Self {
        let config = shard.config();
        Self {
            shard: Rc::clone(shard),
            questions: Cell::new(config.policy.questions_max),
            octets: Cell::new(config.policy.answer_bytes_max),
            spent: Cell::new(false),
        }
    }

    /// Begins to ask what will be looked up soon.
    pub(crate) fn prefetch(&self, name: &Name, rtype: Rtype) {
        if self.may_ask() {
            self.shard.resolver().prefetch(name, rtype);
        }
    }

    /// True if something was not asked because of the budget.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent.get()
    }

    /// The resolver whatever was spent, for what has a small limit of its own.
    pub(crate) fn beyond(&self) -> Beyond<'_> {
        Beyond(self)
    }

    fn may_ask(&self) -> bool {
        let questions = self.questions.get();
        if questions == 0 || self.octets.get() == 0 {
            if !self.spent.replace(true) {
                self.shard.stats().add(Counter::BudgetsSpent, 1);
            }
            return false;
        }
        self.questions.set(questions - 1);
        true
    }
}

impl Lookup for Lookups {
    async fn lookup(&self, name: &Name, rtype: Rtype) -> Resolved {
        if !self.may_ask() {
            return Resolved::failure(name, rtype);
        }
        let resolved = self.shard.resolver().lookup(name, rtype).await;
        self.octets.set(self.octets.get().saturating_sub(resolved.octets()));
        resolved
    }
}

/// [`Lookups::beyond`].
pub(crate) struct Beyond<'a>(&'a Lookups);

impl Lookup for Beyond<'_> {
    async fn lookup(&self, name: &Name, rtype: Rtype) -> Resolved {
        self.0.shard.resolver().lookup(name, rtype).await
    }
}
