//! Mail this server writes itself: reports. A message like any other from here on, stored or queued before anybody says that it is.

use crate::shard::Shard;
use postring_control::{Endpoint, Role};
use postring_directory::{Resolution, Target as Found, account_shard};
use postring_mail::dsn::Notify;
use postring_mail::envelope::{EnvelopeFlags, EnvelopeWriter, Fate, MessageId, Origin, Recipient};
use postring_mail::limits::SLOT_HEAD_BYTES;
use postring_mail::slot;
use postring_mail::work::Kind;
use postring_ring::Slot;
use postring_smtp::{Target, trace};
use std::future::poll_fn;

/// A message of ours.
pub(crate) struct OwnMail<'a> {
    /// Empty for what must not be answered.
    pub(crate) reverse_path: &'a str,
    pub(crate) to: &'a [Target],
    /// What is to be told of its fate.
    pub(crate) notify: Notify,
    /// Header and body with CR LF.
    pub(crate) text: &'a [u8],
}

/// Gives the message to whoever has the mailboxes it is for, and comes back when it is on disk.
///
/// # Errors
/// One line; it is kept nowhere.
pub(crate) async fn give(shard: &Shard, id: MessageId, mail: &OwnMail<'_>) -> Result<(), String> {
    let length = mail.text.len();
    let taken = shard.arena().acquire(SLOT_HEAD_BYTES + length).ok_or("no slot is free for it")?;
    let Some((offset, head_length)) = write(shard, &taken, id, mail) else {
        shard.release(taken);
        return Err("it does not fit a slot".to_owned());
    };
    let length_from = |offset: usize| SLOT_HEAD_BYTES - offset + length;
    let job = shard.jobs().begin(taken, id, offset, length_from(offset), head_length);
    let mut endpoints: Vec<(Endpoint, Kind, usize, usize)> = Vec::with_capacity(1);
    for target in mail.to {
        let one = match target {
            Target::Account { shard, .. } => {
                (Endpoint { role: Role::Store, shard: *shard }, Kind::Deliver, offset, length_from(offset))
            }
            Target::Remote(_) => (shard.send_endpoint(id), Kind::Queue, SLOT_HEAD_BYTES, length),
        };
        if !endpoints.iter().any(|(endpoint, ..)| *endpoint == one.0) {
            endpoints.push(one);
        }
    }
    shard.jobs().store(job, &endpoints, shard.now().monotonic_ms);
    let stored = poll_fn(|cx| shard.jobs().poll_stored(job, cx.waker())).await;
    shard.end(job);
    stored.map(|_| ()).map_err(|refusal| refusal.reply().to_string())
}

/// Where mail for an address goes.
///
/// # Errors
/// Nobody has it.
pub(crate) fn targets(shard: &Shard, address: &str) -> Result<Vec<Target>, String> {
    let directory = shard.directory().ok_or("the directory has not come yet")?;
    let (local_part, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let to: Vec<Target> = match directory.resolve(local_part, domain) {
        Resolution::Targets(targets) => targets
            .map(|target| match target {
                Found::Account(id) => Target::Account { id, shard: account_shard(id, shard.store_shards()) },
                Found::Remote(address) => Target::Remote(address.to_owned()),
            })
            .collect(),
        Resolution::NotHosted => vec![Target::Remote(address.to_owned())],
        Resolution::UnknownUser | Resolution::Disabled => return Err(format!("{address} has no mailbox here")),
    };
    let nobody_sends = shard.config().send_shards == 0 && to.iter().any(|target| matches!(target, Target::Remote(_)));
    if nobody_sends || to.is_empty() { Err(format!("there is no way to {address}")) } else { Ok(to) }
}

/// Writes envelope and message; where the message for a mailbox here begins, and the envelope's length.
fn write(shard: &Shard, taken: &Slot, id: MessageId, mail: &OwnMail<'_>) -> Option<(usize, usize)> {
    let mut arena = shard.arena();
    let memory = arena.bytes_mut(taken);
    memory.get_mut(SLOT_HEAD_BYTES..SLOT_HEAD_BYTES + mail.text.len())?.copy_from_slice(mail.text);
    let mut return_path = Vec::with_capacity(64);
    trace::return_path(mail.reverse_path, &mut return_path);
    let offset = slot::prepend(memory, SLOT_HEAD_BYTES, &return_path)?;
    let origin = Origin {
        id,
        received_us: shard.now().unix_us,
        flags: EnvelopeFlags(if mail.text.is_ascii() { 0 } else { EnvelopeFlags::EIGHT_BIT }),
        reverse_path: mail.reverse_path,
        client: "",
        helo: shard.hostname(),
        account: "",
        envelope_id: "",
    };
    let mut writer = EnvelopeWriter::begin(memory, &origin).ok()?;
    for target in mail.to {
        let (account, shard, forward_path) = match target {
            Target::Account { id, shard } => (*id, *shard, ""),
            Target::Remote(address) => (0, 0, address.as_str()),
        };
        writer
            .push(&Recipient { account, shard, notify: mail.notify, forward_path, original_recipient: "", fate: Fate::default() })
            .ok()?;
    }
    Some((offset, writer.finish()))
}
