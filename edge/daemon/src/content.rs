//! The signatures of a message while it comes: their keys are asked for when its header is there, its body is hashed as it passes.

use crate::budget::Lookups;
use crate::dmarc;
use crate::last_dot::LastDot;
use crate::shard::Shard;
use memchr::memmem;
use postring_auth::dkim::{Problem, Status, Verification};
use postring_auth::dmarc::{AuthorProblem, Domain, author};
use postring_auth::signatures::Verifier;
use postring_auth::{Lookup, arc, together};
use postring_control::Counter;
use postring_dns::Rtype;
use postring_dns::resolver::Resolved;
use postring_handoff::Receipt;
use postring_mail::limits::{HEADER_BYTES_MAX, SLOT_HEAD_BYTES};
use postring_ring::Slot;
use postring_smtp::{Protocol, Session};
use std::rc::Rc;
use std::time::Duration;

/// What the signatures of a message are worth.
#[derive(Default)]
pub(crate) struct Signatures {
    /// Those of DKIM; empty if nothing was checked.
    pub(crate) dkim: Vec<Verification>,
    /// The `resinfo` of the chain (RFC 8617), if there is one.
    pub(crate) arc: Option<String>,
    /// Whose domain the From field shows, or why none; `None` if nothing was checked.
    pub(crate) author: Option<Result<Domain, AuthorProblem>>,
    /// Somebody who is believed found the message authentic before.
    pub(crate) vouched: bool,
}

/// The check of one message's content.
#[derive(Default)]
pub(crate) enum ContentCheck {
    /// Nothing is checked.
    #[default]
    Off,
    /// The end of the header was not among the first so many octets.
    Header(usize),
    /// The header is there.
    Body(Box<Begun>),
}

/// A message whose header is known.
pub(crate) struct Begun {
    verifier: Verifier,
    author: Result<Domain, AuthorProblem>,
    /// Octets of the header, its empty line included.
    header_bytes: usize,
    /// Octets of the message that were looked at.
    taken: usize,
}

impl ContentCheck {
    /// The check of a message that is about to come. Mail of our users and of the server that delivers to us is not checked.
    pub(crate) fn new(shard: &Shard, session: &Session<Receipt>) -> Self {
        let checks =
            session.config().protocol == Protocol::Smtp && session.account().is_none() && shard.config().policy.dkim.check;
        if checks { Self::Header(0) } else { Self::Off }
    }

    /// True if something is checked.
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self, Self::Off)
    }

    /// Looks at what has come; `content` is the message from its first octet on.
    ///
    /// Cost: the header is searched for its end and split once; of a message without signatures nothing more. With them the body is hashed,
    /// while it is in the core's cache. One allocation a message, and those of the signatures.
    pub(crate) fn take(&mut self, shard: &Shard, lookups: &Lookups, content: &[u8]) {
        if let Self::Header(searched) = self {
            match header_end(content, *searched) {
                Some(header_bytes) => self.begin(shard, lookups, content, header_bytes),
                // It will be refused.
                None if content.len() > HEADER_BYTES_MAX => self.begin(shard, lookups, content, content.len()),
                None => *searched = content.len(),
            }
        }
        if let Self::Body(begun) = self {
            begun.verifier.put_body(content.get(begun.taken..).unwrap_or_default());
            begun.taken = content.len();
        }
    }

    fn begin(&mut self, shard: &Shard, lookups: &Lookups, content: &[u8], header_bytes: usize) {
        let header = content.get(..header_bytes).unwrap_or_default();
        let verifier = Verifier::begin(header, shard.now().unix_seconds());
        for name in verifier.questions() {
            lookups.prefetch(name, Rtype::TXT);
        }
        let author = author(header);
        if let Ok(author) = &author {
            dmarc::prefetch(shard, author);
        }
        *self = Self::Body(Box::new(Begun { verifier, author, header_bytes, taken: header_bytes }));
    }

    /// What the signatures of the message in the slot are worth. Waits for keys that are not there yet, at most
    /// `policy.dkim.wait_ms`.
    pub(crate) async fn judge(
        &mut self,
        shard: &Rc<Shard>,
        dot: &LastDot<'_>,
        lookups: &Lookups,
        slot: &Slot,
        content_bytes: usize,
    ) -> Signatures {
        if let Self::Header(_) = self {
            // A message that is all header.
            let arena = shard.arena();
            self.begin(shard, lookups, content(arena.bytes(slot), content_bytes), content_bytes);
        }
        let Self::Body(begun) = std::mem::take(self) else { return Signatures::default() };
        let answers = dot.wait(answers(shard, dot, lookups, &begun.verifier)).await;
        let arena = shard.arena();
        let header = content(arena.bytes(slot), begun.header_bytes);
        let (dkim, chain) = begun.verifier.finish(header, &answers);
        shard.stats().add(counter(&dkim), 1);
        let arc = (chain.status() != arc::Status::None).then(|| chain.to_string());
        let vouched = begun.author.as_ref().is_ok_and(|author| dmarc::is_vouched(&shard.config().policy.dmarc, &chain, author));
        Signatures { dkim, arc, author: Some(begun.author), vouched }
    }
}

/// The answers to a verifier's questions. What is late is no answer; it does not hold up what the others say.
async fn answers(shard: &Shard, dot: &LastDot<'_>, lookups: &Lookups, verifier: &Verifier) -> Vec<Resolved> {
    let wait = dot.left(Duration::from_millis(shard.config().policy.dkim.wait_ms));
    let in_time = async |name| {
        let late = async {
            glommio::timer::sleep(wait).await;
            Resolved::failure(name, Rtype::TXT)
        };
        dot.answer(futures_lite::future::or(lookups.lookup(name, Rtype::TXT), late)).await
    };
    together(verifier.questions().iter().map(in_time)).await
}

/// The message in a slot, or its beginning.
fn content(slot: &[u8], bytes: usize) -> &[u8] {
    slot.get(SLOT_HEAD_BYTES..SLOT_HEAD_BYTES + bytes).unwrap_or_default()
}

/// Where the empty line that ends the header ends; the first `searched` octets were looked at.
fn header_end(content: &[u8], searched: usize) -> Option<usize> {
    if content.starts_with(b"\r\n") {
        return Some(2);
    }
    let from = searched.saturating_sub(3);
    memmem::find(content.get(from..)?, b"\r\n\r\n").map(|at| from + at + 4)
}

fn counter(results: &[Verification]) -> Counter {
    let any = |status: Status| results.iter().any(|result| result.status() == status);
    if any(Status::Pass) {
        Counter::DkimPass
    } else if any(Status::TempError) {
        Counter::DkimTempError
    } else if results.iter().all(|result| result.problem == Some(Problem::Unsigned)) {
        Counter::DkimNone
    } else {
        Counter::DkimFail
    }
}

#[cfg(test)]
mod tests {
    use super::header_end;

    #[test]
    fn the_end_of_the_header_may_come_in_pieces() {
        let content = b"A: b\r\n\r\nbody\r\n\r\n";
        for searched in 0..8 {
            assert_eq!(header_end(&content[..7], searched.min(7)), None);
            assert_eq!(header_end(content, searched), Some(8));
        }
        assert_eq!(header_end(b"\r\nbody", 0), Some(2));
        assert_eq!(header_end(b"", 0), None);
    }
}
