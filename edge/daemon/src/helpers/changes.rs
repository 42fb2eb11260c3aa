//! What milters change of a message beside its header: who gets it, from whom it is, what it says.
//!
//! Nothing is changed of the session's transaction, which is what the client was told. Costs nothing where nothing is changed.

use crate::questions::resolve;
use crate::shard::Shard;
use postring_handoff::Receipt;
use postring_mail::Reply;
use postring_mail::dsn::Notify;
use postring_mail::limits::{MESSAGE_BYTES_CEILING, SLOT_HEAD_BYTES};
use postring_milter::edits::header_end;
use postring_milter::{Changes, RecipientChange};
use postring_ring::Slot;
use postring_smtp::{Answer, RecipientAnswer, Session, Target, Transaction, TransactionRecipient, replies};
use smallvec::SmallVec;
use std::ops::Range;

/// The envelope as it differs from the transaction. A recipient's place is its number in the order of RCPT; those that were added come behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct EnvelopeChanges {
    reverse_path: Option<String>,
    /// Places of those who do not get it.
    gone: Vec<usize>,
    added: Vec<TransactionRecipient>,
    /// Those a milter refuses, where the client hears of each; they are gone too.
    refused: Vec<(usize, Reply)>,
    has_new_body: bool,
}

impl EnvelopeChanges {
    /// From whom it is.
    pub(crate) fn reverse_path<'a>(&'a self, transaction: &'a Transaction) -> &'a str {
        self.reverse_path.as_deref().unwrap_or(&transaction.reverse_path)
    }

    /// Who gets it, with their places.
    pub(crate) fn recipients<'a>(
        &'a self,
        transaction: &'a Transaction,
    ) -> impl Iterator<Item = (usize, &'a TransactionRecipient)> + Clone {
        transaction.recipients.iter().chain(&self.added).enumerate().filter(|(place, _)| !self.gone.contains(place))
    }

    /// True for a recipient that does not get it.
    pub(crate) fn is_gone(&self, place: usize) -> bool {
        self.gone.contains(&place)
    }

    /// Those who are refused, with what the client is told.
    pub(crate) fn refused(&self) -> &[(usize, Reply)] {
        &self.refused
    }

    /// True if what it says is not what the client has sent: what MAIL has said of the content need not hold for it.
    pub(crate) fn has_new_body(&self) -> bool {
        self.has_new_body
    }

    /// Takes away a recipient that is refused.
    pub(super) fn refuse(&mut self, place: usize, reply: Reply) {
        self.gone.push(place);
        self.refused.push((place, reply));
    }

    /// What a milter wants changed of the envelope, checked as the session would have checked it; `Err` says why it cannot be, all or nothing.
    pub(super) fn with(&self, shard: &Shard, session: &Session<Receipt>, changes: &Changes) -> Result<Self, &'static str> {
        let transaction = session.transaction();
        let mut changed = self.clone();
        changed.has_new_body |= changes.body.is_some();
        if let Some(address) = &changes.reverse_path {
            if !may_be_told(transaction, address) {
                return Err("the sender it wants needs SMTPUTF8, which the message has not");
            }
            changed.reverse_path = Some(address.clone());
        }
        for change in &changes.recipients {
            match change {
                RecipientChange::Delete(address) => changed.delete(transaction, address),
                RecipientChange::Add(address) => changed.add(shard, session, address)?,
            }
        }
        Ok(changed)
    }

    /// One that is not there stays away.
    fn delete(&mut self, transaction: &Transaction, address: &str) {
        let places: SmallVec<[usize; 4]> =
            self.recipients(transaction).filter(|(_, one)| is_same(&one.address, address)).map(|(place, _)| place).collect();
        self.gone.extend(places);
    }

    fn add(&mut self, shard: &Shard, session: &Session<Receipt>, address: &str) -> Result<(), &'static str> {
        let transaction = session.transaction();
        if self.recipients(transaction).any(|(_, one)| is_same(&one.address, address)) {
            return Ok(());
        }
        if self.recipients(transaction).count() >= session.config().recipients_max {
            return Err("it adds more recipients than a message may have");
        }
        if !may_be_told(transaction, address) {
            return Err("a recipient it adds needs SMTPUTF8, which the message has not");
        }
        let targets = targets(shard, session, address)?;
        // The sender hears of a failure, as of any recipient: a message sent elsewhere by a milter must not vanish there.
        let notify = Notify::default();
        let (address, original_recipient) = (address.to_owned(), String::new());
        self.added.push(TransactionRecipient { address, targets, notify, original_recipient });
        Ok(())
    }
}

/// Where mail for an address goes that a milter adds: what RCPT would have said. Only mail of our users, and of networks of our own, may leave this host.
fn targets(shard: &Shard, session: &Session<Receipt>, address: &str) -> Result<SmallVec<[Target; 1]>, &'static str> {
    let may_leave = session.account().is_some() || shard.config().policy.is_trusted(session.client().address);
    match resolve(shard, may_leave, address) {
        Answer::Recipient(RecipientAnswer::Accept(targets)) => {
            let leaves = targets.iter().any(|target| matches!(target, Target::Remote(_)));
            if leaves && session.transaction().require_tls {
                return Err("a recipient it adds is elsewhere, and the message requires TLS");
            }
            Ok(targets)
        }
        Answer::Recipient(RecipientAnswer::NotHosted) => {
            Err("a recipient it adds is elsewhere, which only mail of users and of trusted networks may be sent to")
        }
        Answer::Recipient(RecipientAnswer::Unknown | RecipientAnswer::Disabled) => Err("a recipient it adds has no mailbox here"),
        _ => Err("a recipient it adds cannot be looked up now"),
    }
}

/// What leaves this host must not need SMTPUTF8 unless the sender has said so (RFC 6531 section 3.7.3).
fn may_be_told(transaction: &Transaction, address: &str) -> bool {
    address.is_ascii() || transaction.smtputf8
}

fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Octets of the largest slots: more of a message is nowhere to be put.
const SLOT_BYTES_MAX: u64 = SLOT_HEAD_BYTES as u64 + MESSAGE_BYTES_CEILING;

/// Puts a body in the place of the one there is, in a larger slot if this one has no room; where the message ends then.
///
/// Cost: a copy of the body; of the header too where the slot changes.
///
/// # Errors
/// The reply, if no slot has room, for now or ever.
pub(super) fn replace_body(shard: &Shard, slot: &mut Slot, range: Range<usize>, body: &[u8]) -> Result<usize, &'static Reply> {
    let mut arena = shard.arena();
    let (fields, content) = header_end(arena.bytes(slot).get(range.clone()).ok_or(&replies::LOCAL_ERROR)?);
    let (mut start, has_end) = (range.start.saturating_add(content), content > fields);
    // What is behind an empty line only is content.
    let between: &[u8] = if has_end || body.is_empty() { b"" } else { b"\r\n" };
    let end = start.saturating_add(between.len()).saturating_add(body.len());
    if end as u64 > SLOT_BYTES_MAX {
        return Err(&replies::TOO_LARGE);
    }
    if end > arena.capacity(slot) {
        let kept = arena.bytes(slot).get(..start).ok_or(&replies::LOCAL_ERROR)?.to_vec();
        let larger = arena.acquire(end).ok_or(&replies::NO_SLOT)?;
        arena.release(std::mem::replace(slot, larger));
        arena.bytes_mut(slot).get_mut(..start).ok_or(&replies::LOCAL_ERROR)?.copy_from_slice(&kept);
    }
    let memory = arena.bytes_mut(slot);
    for piece in [between, body] {
        memory.get_mut(start..start + piece.len()).ok_or(&replies::LOCAL_ERROR)?.copy_from_slice(piece);
        start += piece.len();
    }
    debug_assert!(start == end && start >= SLOT_HEAD_BYTES);
    Ok(end)
}
