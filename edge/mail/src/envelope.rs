//! The envelope as it stands in a slot's head: who sends, who receives, what the session knew.
//!
//! The edge writes it, scanner and store read it from the read-only mapping, so every reading is checked.
//!
//! ```text
//!   u32 magic "ENV2"   u32 length of all   u64 message id   u64 received_us   u32 flags   u16 recipients   u16 zero
//!   u16+bytes reverse-path (empty: null)   u16+bytes client address   u16+bytes helo   u16+bytes account
//!   u16+bytes ENVID in xtext (empty: none)
//!   recipients times:
//!     u64 account id (0: remote)   u32 shard   u8 NOTIFY   u8 fate   u16+bytes forward-path   u16+bytes ORCPT (empty: none)
//! ```
//! All little-endian; texts are UTF-8.

use crate::dsn::Notify;
use crate::wire::{Reader, Writer};

const MAGIC: [u8; 4] = *b"ENV2";
const LENGTH_OFFSET: usize = 4;
const FLAGS_OFFSET: usize = 24;
const COUNT_OFFSET: usize = 28;
const FIXED_BYTES: usize = 32;
/// Within a recipient.
const FATE_OFFSET: usize = 13;
/// Of a recipient: the numbers, and the lengths of two texts.
pub const RECIPIENT_FIXED_BYTES: usize = 18;
/// Bytes of an envelope without its recipients, at most: what SMTP lets the texts of [`Origin`] be.
pub const ORIGIN_BYTES_MAX: usize = FIXED_BYTES + 10 + 3 * 320 + 64 + crate::dsn::ENVELOPE_ID_BYTES_MAX;

/// Names a message from the edge that received it to the files it ends in: 51 bits of microseconds since
/// 1970, 12 bits that keep shards and equal microseconds apart. Grows within a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MessageId(pub u64);

impl MessageId {
    /// The id after `last` for a message of `shard` (its lower six bits count) received at `unix_us`.
    #[must_use]
    pub fn next(last: Self, shard: u32, unix_us: u64) -> Self {
        let earliest = (unix_us << 12) | (u64::from(shard & 63) << 6);
        if last.0 < earliest {
            return Self(earliest);
        }
        // The same microsecond again, or a clock that went back: count on within the shard's 64, then the next microsecond.
        if last.0 & 63 < 63 { Self(last.0 + 1) } else { Self(((last.0 >> 12) + 1) << 12 | (u64::from(shard & 63) << 6)) }
    }
}

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

impl std::str::FromStr for MessageId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// What is true of the whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EnvelopeFlags(pub u32);

impl EnvelopeFlags {
    /// BODY=8BITMIME was declared (RFC 6152).
    pub const EIGHT_BIT: u32 = 1;
    /// SMTPUTF8 was declared (RFC 6531).
    pub const SMTPUTF8: u32 = 2;
    /// Came over TLS.
    pub const TLS: u32 = 4;
    /// The sender is one of our accounts (AUTH): submission policy.
    pub const AUTHENTICATED: u32 = 8;
    /// Policy says: into the Junk folder.
    pub const JUNK: u32 = 16;
    /// RET=FULL (RFC 3461 section 4.3).
    pub const RETURN_FULL: u32 = 32;
    /// RET=HDRS.
    pub const RETURN_HEADERS: u32 = 64;
    /// REQUIRETLS (RFC 8689): the sending side may give it to servers only that are verified.
    pub const REQUIRE_TLS: u32 = 128;

    /// True if all of `bits` are set.
    #[must_use]
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }
}

/// Where one recipient's copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient<'a> {
    /// The account that gets it; 0 for a remote address (the sending machine's).
    pub account: u64,
    /// The store shard that owns the account; meaningless for a remote address.
    pub shard: u32,
    /// Of what the sender wants to hear (RFC 3461).
    pub notify: Notify,
    /// The address as the client gave it, `local-part@domain`.
    pub forward_path: &'a str,
    /// ORCPT: address type and address in xtext, or empty (RFC 3461).
    pub original_recipient: &'a str,
    /// What the verdict has made of it.
    pub fate: Fate,
}

/// What becomes of a message for one of its recipients. The numbers are part of the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It is delivered, into the Junk folder if the whole message is ([`EnvelopeFlags::JUNK`]).
    #[default]
    Delivered = 0,
    /// Into the Junk folder.
    Junk = 1,
    /// The sender was told that this one does not get it.
    Refused = 2,
}

impl Fate {
    fn from_bits(bits: u8) -> Option<Self> {
        [Self::Delivered, Self::Junk, Self::Refused].into_iter().find(|fate| *fate as u8 == bits)
    }
}

/// Everything of an envelope but its recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Names the message.
    pub id: MessageId,
    /// When the last byte came, microseconds since 1970.
    pub received_us: u64,
    /// See [`EnvelopeFlags`].
    pub flags: EnvelopeFlags,
    /// `local-part@domain`, or empty for the null reverse-path.
    pub reverse_path: &'a str,
    /// The client's address as text.
    pub client: &'a str,
    /// What it said in HELO or EHLO.
    pub helo: &'a str,
    /// The account that authenticated; empty without AUTH.
    pub account: &'a str,
    /// ENVID in xtext, or empty (RFC 3461).
    pub envelope_id: &'a str,
}

impl Recipient<'_> {
    /// Bytes it takes in an envelope.
    #[must_use]
    pub fn bytes(&self) -> usize {
        RECIPIENT_FIXED_BYTES + self.forward_path.len() + self.original_recipient.len()
    }
}

/// Writes an envelope into the head of a slot. Allocates nothing; a recipient that does not fit is refused.
pub struct EnvelopeWriter<'a> {
    writer: Writer<'a>,
    recipients: u16,
}

/// The envelope does not fit in the head of the slot: `452 4.5.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeFull;

impl<'a> EnvelopeWriter<'a> {
    /// Begins an envelope in `head` (at most [`crate::limits::ENVELOPE_BYTES_MAX`] of it is used).
    ///
    /// # Errors
    /// [`EnvelopeFull`] if the origin alone does not fit.
    pub fn begin(head: &'a mut [u8], origin: &Origin<'_>) -> Result<Self, EnvelopeFull> {
        let room = head.len().min(crate::limits::ENVELOPE_BYTES_MAX);
        let mut writer = Writer::new(head.get_mut(..room).unwrap_or_default());
        let written = writer.bytes(&MAGIC)
            && writer.bytes(&[0; 4])
            && writer.bytes(&origin.id.0.to_le_bytes())
            && writer.bytes(&origin.received_us.to_le_bytes())
            && writer.bytes(&origin.flags.0.to_le_bytes())
            && writer.bytes(&[0; 4])
            && writer.short_bytes(origin.reverse_path.as_bytes())
            && writer.short_bytes(origin.client.as_bytes())
            && writer.short_bytes(origin.helo.as_bytes())
            && writer.short_bytes(origin.account.as_bytes())
            && writer.short_bytes(origin.envelope_id.as_bytes());
        if written { Ok(Self { writer, recipients: 0 }) } else { Err(EnvelopeFull) }
    }

    /// Adds a recipient.
    ///
    /// # Errors
    /// [`EnvelopeFull`], and the envelope is as it was.
    pub fn push(&mut self, recipient: &Recipient<'_>) -> Result<(), EnvelopeFull> {
        let before = self.writer.len();
        let written = self.recipients < u16::MAX
            && self.writer.bytes(&recipient.account.to_le_bytes())
            && self.writer.bytes(&recipient.shard.to_le_bytes())
            && self.writer.bytes(&[recipient.notify.bits().to_le_bytes()[0], recipient.fate as u8])
            && self.writer.short_bytes(recipient.forward_path.as_bytes())
            && self.writer.short_bytes(recipient.original_recipient.as_bytes());
        if !written {
            self.writer.truncate(before);
            return Err(EnvelopeFull);
        }
        self.recipients += 1;
        Ok(())
    }

    /// Closes the envelope; gives its length in bytes.
    pub fn finish(mut self) -> usize {
        let length = self.writer.len();
        let length_field = u32::try_from(length).unwrap_or(u32::MAX);
        self.writer.patch(LENGTH_OFFSET, &length_field.to_le_bytes());
        self.writer.patch(COUNT_OFFSET, &self.recipients.to_le_bytes());
        length
    }
}

/// Sets further flags (the verdict comes after the envelope is written). False if `head` holds no envelope.
pub fn add_flags(head: &mut [u8], bits: u32) -> bool {
    let Some(flags) = head.get_mut(FLAGS_OFFSET..FLAGS_OFFSET + 4) else { return false };
    for (byte, bit) in flags.iter_mut().zip(bits.to_le_bytes()) {
        *byte |= bit;
    }
    head.starts_with(&MAGIC)
}

/// Says what becomes of the message for each recipient, in the order they were written (the verdict comes after the envelope is). False if
/// `head` holds no envelope.
pub fn set_fates(head: &mut [u8], mut fate: impl FnMut(usize) -> Fate) -> bool {
    let Ok(view) = EnvelopeView::parse(head) else { return false };
    let mut offset = view.length - view.recipients.len();
    let lengths: Vec<usize> = view.entries().map(|recipient| recipient.bytes()).collect();
    for (at, length) in lengths.into_iter().enumerate() {
        if let Some(place) = head.get_mut(offset + FATE_OFFSET) {
            *place = fate(at) as u8;
        }
        offset += length;
    }
    true
}

/// A checked reading of an envelope: every part is within bounds and UTF-8.
#[derive(Clone, Copy, Debug)]
pub struct EnvelopeView<'a> {
    /// Everything but the recipients.
    pub origin: Origin<'a>,
    /// Bytes the envelope takes.
    pub length: usize,
    count: u16,
    recipients: &'a [u8],
}

/// The bytes are no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeBroken;

impl std::fmt::Display for EnvelopeBroken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the slot holds no valid envelope")
    }
}

impl std::error::Error for EnvelopeBroken {}

impl<'a> EnvelopeView<'a> {
    /// Reads and checks the envelope at the start of `head`, every recipient included.
    ///
    /// # Errors
    /// [`EnvelopeBroken`] if any length, text or count is not what the format says.
    pub fn parse(head: &'a [u8]) -> Result<Self, EnvelopeBroken> {
        Self::read(head).ok_or(EnvelopeBroken)
    }

    fn read(head: &'a [u8]) -> Option<Self> {
        let mut fixed = Reader::new(head.get(..FIXED_BYTES)?);
        if fixed.array::<4>()? != MAGIC {
            return None;
        }
        let length = usize::try_from(fixed.u32()?).ok()?;
        let id = MessageId(fixed.u64()?);
        let received_us = fixed.u64()?;
        let flags = EnvelopeFlags(fixed.u32()?);
        let count = fixed.u16()?;
        let mut rest = Reader::new(head.get(FIXED_BYTES..length)?);
        let origin = Origin {
            id,
            received_us,
            flags,
            reverse_path: rest.short_str()?,
            client: rest.short_str()?,
            helo: rest.short_str()?,
            account: rest.short_str()?,
            envelope_id: rest.short_str()?,
        };
        let recipients = rest.clone().bytes(length.checked_sub(FIXED_BYTES)?.checked_sub(origin_bytes(&origin))?)?;
        for _ in 0..count {
            read_recipient(&mut rest)?;
        }
        rest.is_empty().then_some(Self { origin, length, count, recipients })
    }

    /// Number of recipients, those who do not get the message included.
    #[must_use]
    pub fn recipient_count(&self) -> usize {
        self.count.into()
    }

    /// Those who get the message, in the order of RCPT.
    pub fn recipients(&self) -> impl Iterator<Item = Recipient<'a>> + use<'a> {
        self.entries().filter(|recipient| recipient.fate != Fate::Refused)
    }

    fn entries(&self) -> impl Iterator<Item = Recipient<'a>> + use<'a> {
        let mut reader = Reader::new(self.recipients);
        std::iter::from_fn(move || read_recipient(&mut reader))
    }
}

fn origin_bytes(origin: &Origin<'_>) -> usize {
    let texts = [origin.reverse_path, origin.client, origin.helo, origin.account, origin.envelope_id];
    texts.into_iter().map(|text| 2 + text.len()).sum()
}

fn read_recipient<'a>(reader: &mut Reader<'a>) -> Option<Recipient<'a>> {
    Some(Recipient {
        account: reader.u64()?,
        shard: reader.u32()?,
        notify: Notify::from_bits(reader.array::<1>()?[0].into())?,
        fate: Fate::from_bits(reader.array::<1>()?[0])?,
        forward_path: reader.short_str()?,
        original_recipient: reader.short_str()?,
    })
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic; what was read can be written and read again.
#[doc(hidden)]
pub fn fuzz_envelope(data: &[u8]) {
    let Ok(view) = EnvelopeView::parse(data) else { return };
    assert!(view.length <= data.len());
    assert_eq!(view.entries().count(), view.recipient_count());
    let mut head = vec![0; view.length];
    let Ok(mut writer) = EnvelopeWriter::begin(&mut head, &view.origin) else {
        return assert!(view.length > crate::limits::ENVELOPE_BYTES_MAX);
    };
    if view.entries().any(|recipient| writer.push(&recipient).is_err()) {
        return assert!(view.length > crate::limits::ENVELOPE_BYTES_MAX);
    }
    assert_eq!(writer.finish(), view.length);
    let again = EnvelopeView::parse(&head).map(|again| (again.origin, again.count, again.recipients));
    assert_eq!(again, Ok((view.origin, view.count, view.recipients)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin() -> Origin<'static> {
        Origin {
            id: MessageId(7),
            received_us: 1_700_000_000_000_000,
            flags: EnvelopeFlags(EnvelopeFlags::TLS),
            reverse_path: "a@b.example",
            client: "192.0.2.1",
            helo: "mx.b.example",
            account: "",
            envelope_id: "QQ314159",
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut head = [0; 4096];
        let mut writer = EnvelopeWriter::begin(&mut head, &origin()).unwrap();
        let recipients = [
            Recipient {
                account: 3,
                shard: 1,
                notify: Notify::parse("NEVER").unwrap(),
                forward_path: "u@here.example",
                original_recipient: "rfc822;u+2B@here.example",
                fate: Fate::Delivered,
            },
            Recipient {
                account: 0,
                shard: 0,
                notify: Notify::default(),
                forward_path: "x@there.example",
                original_recipient: "",
                fate: Fate::Junk,
            },
        ];
        for recipient in &recipients {
            writer.push(recipient).unwrap();
        }
        let length = writer.finish();
        assert!(add_flags(&mut head, EnvelopeFlags::JUNK));
        let view = EnvelopeView::parse(&head).unwrap();
        assert_eq!(view.length, length);
        assert!(view.origin.flags.has(EnvelopeFlags::TLS | EnvelopeFlags::JUNK));
        assert_eq!(Origin { flags: origin().flags, ..view.origin }, origin());
        assert_eq!(view.recipients().collect::<Vec<_>>(), recipients);
        // The verdict's.
        assert!(set_fates(&mut head, |at| [Fate::Refused, Fate::Delivered][at]));
        let view = EnvelopeView::parse(&head).unwrap();
        assert_eq!(view.recipients().collect::<Vec<_>>(), [Recipient { fate: Fate::Delivered, ..recipients[1] }]);
        assert_eq!((view.recipient_count(), view.length), (2, length));
        assert!(!set_fates(&mut head[1..], |_| Fate::Junk));
    }

    #[test]
    fn a_full_head_refuses_and_stays_whole() {
        let mut head = [0; 150];
        let mut writer = EnvelopeWriter::begin(&mut head, &origin()).unwrap();
        let long = "x".repeat(100);
        let recipient = Recipient {
            account: 1,
            shard: 0,
            notify: Notify::default(),
            forward_path: &long,
            original_recipient: "",
            fate: Fate::default(),
        };
        assert_eq!(writer.push(&recipient), Err(EnvelopeFull));
        writer.push(&Recipient { forward_path: "s@t", ..recipient }).unwrap();
        writer.finish();
        assert_eq!(EnvelopeView::parse(&head).unwrap().recipient_count(), 1);
    }

    #[test]
    fn ids_grow_and_keep_shards_apart() {
        let mut last = MessageId::default();
        for step in 0..1000_u64 {
            let next = MessageId::next(last, 5, 1_700_000_000_000_000 + step / 200);
            assert!(next > last && (next.0 >> 6) & 63 == 5);
            last = next;
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..200), keep in 0..64_usize) {
            let mut head = [0; 200];
            let mut writer = EnvelopeWriter::begin(&mut head, &origin()).unwrap();
            let _ = writer.push(&Recipient { account: 1, shard: 0, notify: Notify::default(), forward_path: "a@b", original_recipient: "", fate: Fate::default() });
            writer.finish();
            let length = data.len();
            if keep < length { head[keep..length].copy_from_slice(&data[keep..]); }
            fuzz_envelope(&head);
            fuzz_envelope(&data);
        }
    }
}
