//! What the queue keeps of a message: the message itself, how far it came, that it is done.
//!
//! ```text
//!   MESSAGE    4 bytes "QUE1"   u64 message id   u64 received_us   u32 flags   u16 recipients
//!              u16+bytes reverse-path (empty: null)   u16+bytes account   recipients times: u16+bytes forward-path
//!              then to the end: the message in wire form
//!              or "QUE2" if the sender asked for reports (RFC 3461): u16+bytes ENVID behind the account, and behind each
//!              forward-path u16 NOTIFY   u16+bytes ORCPT
//!   PROGRESS   u64 message id   u32 attempts   u64 next_attempt_us   u64 id of the report (0: none)   u16 recipients
//!              recipients times: u8 status   u16+bytes host   u16+bytes reply
//!   DONE       u64 message id
//! ```
//! All little-endian; texts are UTF-8. The three are bodies of journal records; a file of the queue is the body of a MESSAGE. A
//! PROGRESS is the whole state, so that the last one wins and nothing has to be added up.
//!
//! There is one way to write each value, and reading checks the same bounds as writing: what is read can be written again.

use postring_mail::dsn::{ENVELOPE_ID_BYTES_MAX, Notify, ORIGINAL_RECIPIENT_BYTES_MAX, RecipientRequest};
use postring_mail::envelope::{EnvelopeFlags, MessageId};
use postring_mail::limits::ENVELOPE_BYTES_MAX;

/// The kind of a journal record that holds a message (1 is the store's DELIVERY).
pub const MESSAGE: u16 = 2;
/// The kind of a journal record that holds how far a message came.
pub const PROGRESS: u16 = 3;
/// The kind of a journal record that says that nothing is left to do for a message.
pub const DONE: u16 = 4;

/// Bytes a message's head may take: whoever reads this many from a file's beginning has the head whole. What came in an envelope
/// always fits, because every field takes fewer bytes here than there.
pub const HEAD_BYTES_MAX: usize = ENVELOPE_BYTES_MAX;
/// Recipients of one message: more do not fit in an envelope, where each takes 16 bytes and its address.
pub const MESSAGE_RECIPIENTS_MAX: usize = ENVELOPE_BYTES_MAX / 16;
/// Longest name of a remote host, octets (RFC 5321 section 4.5.3.1.2).
pub const HOST_BYTES_MAX: usize = 255;
/// Longest reply that is kept, octets; a reply line has at most 512 with its CRLF (RFC 5321 section 4.5.3.1.5).
pub const REPLY_BYTES_MAX: usize = 500;
/// Bytes the longest PROGRESS takes.
pub const PROGRESS_BYTES_MAX: usize = 30 + MESSAGE_RECIPIENTS_MAX * (5 + HOST_BYTES_MAX + REPLY_BYTES_MAX);

const MAGIC: [u8; 4] = *b"QUE1";
const MAGIC_WITH_REQUESTS: [u8; 4] = *b"QUE2";

// The head's own 30 bytes and 2 for each recipient are within what the envelope has for the same (40, and 16 for each).
const _: () = assert!(HEAD_BYTES_MAX > 30 && MESSAGE_RECIPIENTS_MAX <= 0xFFFF && PROGRESS_BYTES_MAX < 1 << 20);

/// Everything of a message but its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageHead {
    /// Names the message.
    pub id: MessageId,
    /// When the last byte came, microseconds since 1970. The lifetime counts from here.
    pub received_us: u64,
    /// As the edge said.
    pub flags: EnvelopeFlags,
    /// `local-part@domain`, or empty for the null reverse-path: nobody is told of a failure then.
    pub reverse_path: String,
    /// The account that sent it; empty if none did.
    pub account: String,
    /// `local-part@domain` each, at most [`MESSAGE_RECIPIENTS_MAX`]. Their order gives them the index by which all else names them.
    pub recipients: Vec<String>,
    /// ENVID in xtext, or empty (RFC 3461).
    pub envelope_id: String,
    /// What was asked for each recipient; nothing for those beyond its end, so it is empty for most messages.
    pub requests: Vec<RecipientRequest>,
}

impl MessageHead {
    /// NOTIFY of a recipient.
    #[must_use]
    pub fn notify(&self, recipient: usize) -> Notify {
        self.requests.get(recipient).map_or(Notify::default(), |request| request.notify)
    }

    /// ORCPT of a recipient, or empty.
    #[must_use]
    pub fn original_recipient(&self, recipient: usize) -> &str {
        self.requests.get(recipient).map_or("", |request| request.original_recipient.as_str())
    }

    /// Writes the head; the message's bytes are to follow. False, and `out` is as it was, if it is larger than
    /// [`HEAD_BYTES_MAX`] or has more than [`MESSAGE_RECIPIENTS_MAX`] recipients.
    #[must_use]
    pub fn write_to(&self, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        let with_requests = !(self.envelope_id.is_empty() && self.requests.is_empty());
        out.extend_from_slice(if with_requests { &MAGIC_WITH_REQUESTS } else { &MAGIC });
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.received_us.to_le_bytes());
        out.extend_from_slice(&self.flags.0.to_le_bytes());
        let whole = write_count(self.recipients.len(), out)
            && write_text(&self.reverse_path, usize::from(u16::MAX), out)
            && write_text(&self.account, usize::from(u16::MAX), out)
            && (!with_requests || write_text(&self.envelope_id, ENVELOPE_ID_BYTES_MAX, out))
            && self.recipients.iter().enumerate().all(|(index, recipient)| {
                write_text(recipient, usize::from(u16::MAX), out) && (!with_requests || self.write_request(index, out))
            })
            && out.len() - before <= HEAD_BYTES_MAX;
        if !whole {
            out.truncate(before);
        }
        whole
    }

    fn write_request(&self, recipient: usize, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(&self.notify(recipient).bits().to_le_bytes());
        write_text(self.original_recipient(recipient), ORIGINAL_RECIPIENT_BYTES_MAX, out)
    }
}

/// Reads a MESSAGE record or a whole file: the head, then the message in wire form. `None` if it is of another version or broken.
#[must_use]
pub fn read_message(body: &[u8]) -> Option<(MessageHead, &[u8])> {
    let mut rest = body;
    let with_requests = match take::<4>(&mut rest)? {
        MAGIC => false,
        MAGIC_WITH_REQUESTS => true,
        _ => return None,
    };
    let id = MessageId(take_u64(&mut rest)?);
    let received_us = take_u64(&mut rest)?;
    let flags = EnvelopeFlags(u32::from_le_bytes(take(&mut rest)?));
    let count = take_count(&mut rest)?;
    let reverse_path = take_text(usize::from(u16::MAX), &mut rest)?.to_owned();
    let account = take_text(usize::from(u16::MAX), &mut rest)?.to_owned();
    let envelope_id = if with_requests { take_text(ENVELOPE_ID_BYTES_MAX, &mut rest)?.to_owned() } else { String::new() };
    let (mut recipients, mut requests) = (Vec::with_capacity(count), Vec::new());
    for _ in 0..count {
        recipients.push(take_text(usize::from(u16::MAX), &mut rest)?.to_owned());
        if with_requests {
            let notify = Notify::from_bits(u16::from_le_bytes(take(&mut rest)?))?;
            let original_recipient = take_text(ORIGINAL_RECIPIENT_BYTES_MAX, &mut rest)?.to_owned();
            requests.push(RecipientRequest { notify, original_recipient });
        }
    }
    // Nothing was asked: that is written the other way.
    if with_requests && envelope_id.is_empty() && requests.is_empty() {
        return None;
    }
    let head = MessageHead { id, received_us, flags, reverse_path, account, recipients, envelope_id, requests };
    (body.len() - rest.len() <= HEAD_BYTES_MAX).then_some((head, rest))
}

/// Reads the head alone, from a file of which only the beginning was read: the first [`HEAD_BYTES_MAX`] bytes, or all if there are
/// fewer. Gives the head and its length in bytes; the message begins there. `None` as for [`read_message`].
#[must_use]
pub fn read_head(prefix: &[u8]) -> Option<(MessageHead, usize)> {
    read_message(prefix).map(|(head, message)| (head, prefix.len() - message.len()))
}

/// What became of a recipient. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// To be tried.
    Pending = 0,
    /// A host has taken the message for it.
    Delivered = 1,
    /// Refused or given up; the sender is to be told.
    Failed = 2,
    /// Failed, and the sender has been told or nobody is to be told.
    Reported = 3,
    /// A host has taken the message for it that makes no reports; the sender, who wants to hear of success, is to be told so.
    Relayed = 4,
    /// To be tried, and the sender is to be told that it is late.
    Late = 5,
    /// To be tried, and the sender knows that it is late.
    PendingLate = 6,
}

impl Status {
    fn from_number(number: u8) -> Option<Self> {
        use Status::{Delivered, Failed, Late, Pending, PendingLate, Relayed, Reported};
        [Pending, Delivered, Failed, Reported, Relayed, Late, PendingLate].into_iter().find(|status| *status as u8 == number)
    }

    /// True if it is to be tried, once nobody has to be told of it.
    #[must_use]
    pub fn is_pending(self) -> bool {
        matches!(self, Self::Pending | Self::PendingLate)
    }

    /// True if the sender is to be told.
    #[must_use]
    pub fn is_to_tell(self) -> bool {
        matches!(self, Self::Failed | Self::Relayed | Self::Late)
    }

    /// What it is once the sender has been told, or nobody is to be told.
    #[must_use]
    pub fn told(self) -> Self {
        match self {
            Self::Failed => Self::Reported,
            Self::Relayed => Self::Delivered,
            Self::Late => Self::PendingLate,
            Self::Pending | Self::PendingLate | Self::Delivered | Self::Reported => self,
        }
    }

    /// True if nothing is left to do for the recipient.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Delivered | Self::Reported)
    }
}

/// How far a message came with one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientProgress {
    /// See [`Status`].
    pub status: Status,
    /// The remote host that said `reply`; empty if the reply is ours. At most [`HOST_BYTES_MAX`] octets.
    pub host: String,
    /// The last reply in one line, `550 5.1.1 text`, or empty before the first attempt. At most [`REPLY_BYTES_MAX`] octets.
    pub reply: String,
}

/// How far a message came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The message.
    pub id: MessageId,
    /// Rounds that have ended.
    pub attempts: u32,
    /// When the next round may begin, microseconds since 1970; 0: at once.
    pub next_attempt_us: u64,
    /// The id reserved for the report to the sender, so that a replay makes the same one and its receiver can drop it; 0: none.
    pub report: MessageId,
    /// In the order of [`MessageHead::recipients`].
    pub recipients: Vec<RecipientProgress>,
}

impl Progress {
    /// A message of which nothing was tried yet: all recipients are pending, the first round is due at `now_us`.
    #[must_use]
    pub fn new(id: MessageId, recipients: usize, now_us: u64) -> Self {
        let pending = RecipientProgress { status: Status::Pending, host: String::new(), reply: String::new() };
        Self { id, attempts: 0, next_attempt_us: now_us, report: MessageId(0), recipients: vec![pending; recipients] }
    }

    /// Writes the body of a PROGRESS record. False, and `out` is as it was, if a bound of a field is broken; the queue breaks none.
    #[must_use]
    pub fn write_to(&self, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.attempts.to_le_bytes());
        out.extend_from_slice(&self.next_attempt_us.to_le_bytes());
        out.extend_from_slice(&self.report.0.to_le_bytes());
        let whole = write_count(self.recipients.len(), out)
            && self.recipients.iter().all(|recipient| {
                out.push(recipient.status as u8);
                write_text(&recipient.host, HOST_BYTES_MAX, out) && write_text(&recipient.reply, REPLY_BYTES_MAX, out)
            });
        if !whole {
            out.truncate(before);
        }
        whole
    }

    /// Reads the body of a PROGRESS record; `None` if it is of another version or broken.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut rest = body;
        let id = MessageId(take_u64(&mut rest)?);
        let attempts = u32::from_le_bytes(take(&mut rest)?);
        let next_attempt_us = take_u64(&mut rest)?;
        let report = MessageId(take_u64(&mut rest)?);
        let count = take_count(&mut rest)?;
        let mut recipients = Vec::with_capacity(count);
        for _ in 0..count {
            let [number] = take(&mut rest)?;
            let status = Status::from_number(number)?;
            let host = take_text(HOST_BYTES_MAX, &mut rest)?.to_owned();
            let reply = take_text(REPLY_BYTES_MAX, &mut rest)?.to_owned();
            recipients.push(RecipientProgress { status, host, reply });
        }
        rest.is_empty().then_some(Self { id, attempts, next_attempt_us, report, recipients })
    }
}

/// Writes the body of a DONE record.
pub fn write_done(id: MessageId, out: &mut Vec<u8>) {
    out.extend_from_slice(&id.0.to_le_bytes());
}

/// Reads the body of a DONE record; `None` if it is of another version or broken.
#[must_use]
pub fn read_done(body: &[u8]) -> Option<MessageId> {
    let mut rest = body;
    let id = MessageId(take_u64(&mut rest)?);
    rest.is_empty().then_some(id)
}

fn write_count(count: usize, out: &mut Vec<u8>) -> bool {
    match u16::try_from(count) {
        Ok(number) if count <= MESSAGE_RECIPIENTS_MAX => out.extend_from_slice(&number.to_le_bytes()),
        _ => return false,
    }
    true
}

fn write_text(text: &str, bytes_max: usize, out: &mut Vec<u8>) -> bool {
    match u16::try_from(text.len()) {
        Ok(length) if text.len() <= bytes_max => out.extend_from_slice(&length.to_le_bytes()),
        _ => return false,
    }
    out.extend_from_slice(text.as_bytes());
    true
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*bytes)
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_le_bytes)
}

fn take_count(rest: &mut &[u8]) -> Option<usize> {
    let count = usize::from(u16::from_le_bytes(take(rest)?));
    (count <= MESSAGE_RECIPIENTS_MAX).then_some(count)
}

fn take_text<'a>(bytes_max: usize, rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::from(u16::from_le_bytes(take(rest)?));
    let (text, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    std::str::from_utf8(text).ok().filter(|text| text.len() <= bytes_max)
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic; what is read is written again the same.
#[doc(hidden)]
pub fn fuzz_record(data: &[u8]) {
    if let Some((head, message)) = read_message(data) {
        let mut again = Vec::new();
        assert!(head.write_to(&mut again) && again.len() <= HEAD_BYTES_MAX);
        assert_eq!(read_head(data), Some((head, again.len())));
        again.extend_from_slice(message);
        assert_eq!(again, data);
    }
    if let Some(progress) = Progress::read(data) {
        let mut again = Vec::new();
        assert!(progress.write_to(&mut again) && again.len() <= PROGRESS_BYTES_MAX);
        assert_eq!(again, data);
    }
    if let Some(id) = read_done(data) {
        let mut again = Vec::new();
        write_done(id, &mut again);
        assert_eq!(again, data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> MessageHead {
        MessageHead {
            id: MessageId(7),
            received_us: 1_700_000_000_000_000,
            flags: EnvelopeFlags(EnvelopeFlags::AUTHENTICATED),
            reverse_path: "a@b.example".to_owned(),
            account: "a".to_owned(),
            recipients: vec!["u@c.example".to_owned(), "v@d.example".to_owned()],
            envelope_id: String::new(),
            requests: Vec::new(),
        }
    }

    fn head_with_requests() -> MessageHead {
        let request = RecipientRequest {
            notify: Notify::parse("SUCCESS,DELAY").unwrap(),
            original_recipient: "rfc822;u+2B@c.example".to_owned(),
        };
        MessageHead { envelope_id: "QQ314159".to_owned(), requests: vec![request, RecipientRequest::default()], ..head() }
    }

    fn progress() -> Progress {
        let mut progress = Progress::new(MessageId(7), 2, 5);
        progress.report = MessageId(9);
        progress.recipients[1] = RecipientProgress {
            status: Status::Failed,
            host: "mx.d.example".to_owned(),
            reply: "550 5.1.1 no such user".to_owned(),
        };
        progress
    }

    #[test]
    fn what_is_written_is_read() {
        for head in [head(), head_with_requests()] {
            let mut body = Vec::new();
            assert!(head.write_to(&mut body));
            let length = body.len();
            body.extend_from_slice(b"message");
            assert_eq!(read_message(&body), Some((head.clone(), b"message".as_slice())));
            assert_eq!(read_head(&body[..length]), Some((head, length)));
            for cut in 0..length {
                assert_eq!(read_head(&body[..cut]), None);
            }
        }

        let mut body = Vec::new();
        assert!(progress().write_to(&mut body));
        assert_eq!(Progress::read(&body), Some(progress()));
        for cut in 0..body.len() {
            assert_eq!(Progress::read(&body[..cut]), None);
        }
        body.push(0);
        assert_eq!(Progress::read(&body), None);

        let mut body = Vec::new();
        write_done(MessageId(7), &mut body);
        assert_eq!(read_done(&body), Some(MessageId(7)));
        assert_eq!(read_done(&body[1..]), None);
    }

    /// The kept bytes of a version are read by the next one: this is the format as it was first written.
    #[test]
    fn the_bytes_are_as_drawn() {
        let mut body = Vec::new();
        let head = MessageHead { reverse_path: "s".to_owned(), recipients: vec!["ab".to_owned()], ..head() };
        assert!(head.write_to(&mut body));
        let times = 1_700_000_000_000_000_u64.to_le_bytes();
        let parts: [&[u8]; 8] =
            [b"QUE1", &[7, 0, 0, 0, 0, 0, 0, 0], &times, &[8, 0, 0, 0], &[1, 0], b"\x01\0s", b"\x01\0a", b"\x02\0ab"];
        assert_eq!(body, parts.concat());
        assert_eq!((MESSAGE, PROGRESS, DONE), (2, 3, 4));

        let request = RecipientRequest { notify: Notify::parse("NEVER").unwrap(), original_recipient: "a;b".to_owned() };
        let head = MessageHead { envelope_id: "e".to_owned(), requests: vec![request], ..head };
        let mut body = Vec::new();
        assert!(head.write_to(&mut body));
        let parts: [&[u8]; 11] = [
            b"QUE2",
            &[7, 0, 0, 0, 0, 0, 0, 0],
            &times,
            &[8, 0, 0, 0],
            &[1, 0],
            b"\x01\0s",
            b"\x01\0a",
            b"\x01\0e",
            b"\x02\0ab",
            &[1, 0],
            b"\x03\0a;b",
        ];
        assert_eq!(body, parts.concat());
    }

    #[test]
    fn what_does_not_fit_is_refused_and_leaves_nothing() {
        let mut out = b"before".to_vec();
        let many = MessageHead { recipients: vec![String::new(); MESSAGE_RECIPIENTS_MAX + 1], ..head() };
        assert!(!many.write_to(&mut out));
        let large = MessageHead { recipients: vec!["x".repeat(250); 100], ..head() };
        assert!(!large.write_to(&mut out));
        let long = MessageHead { account: "x".repeat(70_000), ..head() };
        assert!(!long.write_to(&mut out));
        let mut wordy = progress();
        wordy.recipients[0].reply = "x".repeat(REPLY_BYTES_MAX + 1);
        assert!(!wordy.write_to(&mut out));
        assert_eq!(out, b"before");
    }

    #[test]
    fn an_envelope_full_of_recipients_fits() {
        use postring_mail::envelope::{EnvelopeView, EnvelopeWriter, Fate, Origin, Recipient};
        for address in ["", "a@b", &format!("{}@{}", "l".repeat(64), "d".repeat(190))] {
            let mut slot = vec![0; ENVELOPE_BYTES_MAX];
            let origin = Origin {
                id: MessageId(1),
                received_us: 0,
                flags: EnvelopeFlags(0),
                reverse_path: "a@b.example",
                client: "",
                helo: "",
                account: "",
                envelope_id: "",
            };
            let mut writer = EnvelopeWriter::begin(&mut slot, &origin).unwrap();
            let notify = Notify::default();
            let full = Recipient {
                account: 0,
                shard: 0,
                notify,
                forward_path: address,
                original_recipient: address,
                fate: Fate::default(),
            };
            while writer.push(&full).is_ok() {}
            writer.finish();
            let view = EnvelopeView::parse(&slot).unwrap();
            let recipients = view.recipients().map(|recipient| recipient.forward_path.to_owned()).collect();
            let request = |recipient: Recipient<'_>| RecipientRequest {
                notify,
                original_recipient: recipient.original_recipient.to_owned(),
            };
            let requests = view.recipients().map(request).collect();
            assert!(MessageHead { recipients, requests, ..head() }.write_to(&mut Vec::new()), "{address}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(
            data in proptest::collection::vec(any::<u8>(), 0..200), at in 0..100_usize, byte in any::<u8>(), cut in 0..120_usize,
        ) {
            fuzz_record(&data);
            let mut whole = Vec::new();
            prop_assert!(head().write_to(&mut whole));
            let mut state = Vec::new();
            prop_assert!(progress().write_to(&mut state));
            let mut with_requests = Vec::new();
            prop_assert!(head_with_requests().write_to(&mut with_requests));
            for mut body in [whole, with_requests, state] {
                if let Some(place) = body.get_mut(at) { *place = byte; }
                fuzz_record(&body);
                body.truncate(cut);
                fuzz_record(&body);
            }
        }
    }
}
