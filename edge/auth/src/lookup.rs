//! What the checks ask of the DNS.

use postring_dns::resolver::Resolved;
use postring_dns::{Name, Rtype};
use std::future::Future;

/// Answers questions. What nobody could say is an answer for which `is_failure` is true: a check calls it a temporary error, never a refusal.
pub trait Lookup {
    /// Asks for the records of a type at a name; aliases have been followed.
    fn lookup(&self, name: &Name, rtype: Rtype) -> impl Future<Output = Resolved>;
}
