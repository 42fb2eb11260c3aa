//! The report to a sender who wants to hear that its message is in a mailbox here (NOTIFY=SUCCESS, RFC 3461 section 5.2.3).
//!
//! Made when the message is durable, by a task of its own: the client does not wait for it. It is a message like any other, from nobody,
//! and asks for no report itself. One that cannot be stored now is lost, and the log says so: the message it is about is safe.
//!
//! Cost: nothing for a message nobody wants to hear of but a look at its recipients; else a copy of its header.

use crate::helpers::EnvelopeChanges;
use crate::own_mail::{self, OwnMail};
use crate::shard::Shard;
use postring_auth::spf::{Spf, SpfResult};
use postring_handoff::Receipt;
use postring_mail::Reply;
use postring_mail::dsn::Notify;
use postring_mail::envelope::MessageId;
use postring_mail::limits::SLOT_HEAD_BYTES;
use postring_queue::report::ORIGINAL_HEADER_BYTES_MAX;
use postring_queue::{RecipientReport, Report, write_report};
use postring_ring::Slot;
use postring_smtp::{Protocol, Session, Target};
use std::rc::Rc;

/// What a report will tell, taken down before the message is given away.
pub(crate) struct Wanted {
    reverse_path: String,
    envelope_id: String,
    /// Place, address and ORCPT of those whose mailbox here has it.
    recipients: Vec<(usize, String, String)>,
    /// The beginning of the message, with its header.
    original: Vec<u8>,
    received_us: u64,
}

/// What is to be told of the transaction's message, whose content lies in the slot, if it is stored; `None` for nearly all.
pub(crate) fn wanted(
    shard: &Shard,
    session: &Session<Receipt>,
    spf: Option<&Spf>,
    taken: &Slot,
    body_bytes: usize,
) -> Option<Wanted> {
    // A stranger is only told if the sender is who he says he is: else others would get reports of what they never sent.
    let is_stranger = session.config().protocol == Protocol::Smtp && !shard.config().policy.is_trusted(session.client().address);
    if is_stranger && !spf.is_some_and(|spf| spf.result == SpfResult::Pass) {
        return None;
    }
    let transaction = session.transaction();
    let is_here = |target: &Target| matches!(target, Target::Account { .. });
    let mut recipients = Vec::new();
    let all = transaction.recipients.iter().enumerate();
    for (at, recipient) in all.filter(|(_, recipient)| recipient.notify.wants_success()) {
        // Of an address that leads elsewhere too the queue tells what it did.
        if recipient.targets.iter().all(is_here) {
            recipients.push((at, recipient.address.clone(), recipient.original_recipient.clone()));
        }
    }
    // A report on a message that requires TLS requires it too (RFC 8689 section 5), and may have to leave this host.
    if recipients.is_empty() || transaction.reverse_path.is_empty() || transaction.require_tls {
        return None;
    }
    let arena = shard.arena();
    let length = body_bytes.min(ORIGINAL_HEADER_BYTES_MAX);
    Some(Wanted {
        reverse_path: transaction.reverse_path.clone(),
        envelope_id: transaction.envelope_id.clone(),
        recipients,
        original: arena.bytes(taken).get(SLOT_HEAD_BYTES..SLOT_HEAD_BYTES + length).unwrap_or_default().to_vec(),
        received_us: shard.now().unix_us,
    })
}

impl Wanted {
    /// Without those who have refused the message, and those whom a milter has taken away.
    pub(crate) fn without(mut self, refused: &[(usize, Reply)], envelope: &EnvelopeChanges) -> Self {
        self.recipients.retain(|(at, ..)| !envelope.is_gone(*at) && !refused.iter().any(|(place, _)| place == at));
        self
    }
}

/// Makes the report and gives it to whoever has the sender's mailbox.
pub(crate) fn report(shard: &Rc<Shard>, wanted: Wanted) {
    if wanted.recipients.is_empty() {
        return;
    }
    let shard = Rc::clone(shard);
    glommio::spawn_local(async move {
        let id = shard.next_message_id(shard.now());
        if let Err(text) = give(&shard, id, &wanted).await {
            tracing::warn!(target: "mail", %id, to = wanted.reverse_path, "a report of success is lost: {text}");
        }
    })
    .detach();
}

async fn give(shard: &Shard, id: MessageId, wanted: &Wanted) -> Result<(), String> {
    let to = own_mail::targets(shard, &wanted.reverse_path)?;
    let recipients: Vec<RecipientReport<'_>> = wanted
        .recipients
        .iter()
        .map(|(_, address, original_recipient)| RecipientReport::delivered(address, original_recipient))
        .collect();
    let mut text = Vec::with_capacity(wanted.original.len() + 2048);
    let report = Report {
        hostname: shard.hostname(),
        id,
        now_us: shard.now().unix_us,
        arrived_us: wanted.received_us,
        reverse_path: &wanted.reverse_path,
        envelope_id: &wanted.envelope_id,
        recipients: &recipients,
        original: &wanted.original,
        full: false,
    };
    write_report(&report, &mut text);
    own_mail::give(shard, id, &OwnMail { reverse_path: "", to: &to, notify: Notify::default(), text: &text }).await
}
