//! Changes of a zone by message (RFC 2136): what must be so, what shall be, and who may.
//!
//! ```text
//!   packet ─> tsig::KeyRing::check ─> Update::parse ─> Update::apply(zone, key, policy) ─> Outcome
//!                                                         zone? ─> prerequisites ─> permission ─> prescan ─> changes in their order
//!   Outcome { rcode, difference } ─> build the new zone, append the difference to the journal, then write_update_response
//! ```
//! An update is atomic: the zone is only looked at, and the difference holds all of it or there is none. The response must wait for
//! the journal (RFC 2136 section 3.5).

mod apply;
mod message;
mod policy;
mod prerequisite;
#[cfg(test)]
mod tests;

pub use message::{Update, write_update_response};
pub use policy::{Names, UpdatePolicy, UpdateRule};

use crate::transfer::Difference;
use crate::types::Rcode;

/// What became of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The code of the response.
    pub rcode: Rcode,
    /// What changed; `None`: nothing, whether that was an error or not.
    pub difference: Option<Difference>,
}

impl Outcome {
    fn refused(rcode: Rcode) -> Self {
        Self { rcode, difference: None }
    }
}

/// For the fuzzer and the replay of its inputs: applies anything to a small zone; nothing may panic, and what comes out must fit the zone.
#[doc(hidden)]
pub fn fuzz_update(data: &[u8]) {
    let Ok(update) = Update::parse(data) else { return };
    let origin = crate::Name::absolute("example").unwrap_or_else(|_| crate::Name::root());
    let mut read = |_: &std::path::Path| {
        Ok("$TTL 60\n@ SOA ns h 7 1 1 1 1\n@ NS ns\nns A 192.0.2.1\nw A 192.0.2.2\nw TXT x\nc CNAME w\n".to_owned())
    };
    let Ok(zone) = crate::zone::parse_zone(&origin, std::path::Path::new("zone"), &mut read) else { return };
    let key = origin.clone();
    let outcome = update.apply(&zone, Some(&key), &UpdatePolicy::all_of_zone(&key));
    if let Some(difference) = outcome.difference {
        assert_eq!(outcome.rcode, Rcode::NOERROR);
        assert!(crate::transfer::serial::is_newer(difference.to_serial(), difference.from_serial()));
        assert!(crate::transfer::apply(&zone, &[difference]).is_ok());
    }
}
