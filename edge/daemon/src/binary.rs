//! Content that came as BINARYMIME, or with line ends that are none, becomes lines, before anybody but its signatures has looked at it. On a thread
//! that may take its time: a copy of the content and a few passes over it, for the few who send so.

use crate::shard::Shard;
use postring_mail::Reply;
use postring_mail::limits::{MESSAGE_BYTES_CEILING, SLOT_HEAD_BYTES};
use postring_mail::lines::normalised;
use postring_ring::Slot;
use postring_smtp::{Transaction, replies};

/// The slot with the content in lines, which may be another, and its octets. The slot is given back if it fails.
///
/// # Errors
/// The reply.
pub(crate) async fn to_lines(
    shard: &Shard,
    slot: Slot,
    content_bytes: usize,
    transaction: &Transaction,
) -> Result<(Slot, usize), Reply> {
    let content = shard.arena().bytes(&slot).get(SLOT_HEAD_BYTES..SLOT_HEAD_BYTES + content_bytes).map(<[u8]>::to_vec);
    let Some(content) = content else { return fail(shard, slot, &replies::LOCAL_ERROR) };
    let is_binary = transaction.binary;
    if !is_binary && memchr::memchr(0, &content).is_some() {
        return fail(shard, slot, &replies::NUL_OCTET);
    }
    let convert = move || if is_binary { postring_mime::to_lines(&content) } else { Ok(Some(normalised(&content))) };
    let converted = match glommio::executor().spawn_blocking(convert).await {
        Ok(None) => return Ok((slot, content_bytes)),
        Ok(Some(converted)) if converted.len() as u64 <= MESSAGE_BYTES_CEILING => converted,
        Ok(Some(_)) => return fail(shard, slot, &replies::TOO_LARGE),
        Err(_) => return fail(shard, slot, &replies::NOT_CONVERTIBLE),
    };
    let end = SLOT_HEAD_BYTES + converted.len();
    let slot = if shard.arena().capacity(&slot) >= end {
        slot
    } else {
        shard.release(slot);
        let larger = shard.arena().acquire(end);
        larger.ok_or_else(|| replies::NO_SLOT.clone())?
    };
    match shard.arena().bytes_mut(&slot).get_mut(SLOT_HEAD_BYTES..end) {
        Some(place) => place.copy_from_slice(&converted),
        None => return fail(shard, slot, &replies::LOCAL_ERROR),
    }
    Ok((slot, converted.len()))
}

fn fail(shard: &Shard, slot: Slot, reply: &Reply) -> Result<(Slot, usize), Reply> {
    shard.release(slot);
    Err(reply.clone())
}
