//! What a milter wants changed of a message, taken down within bounds: fields, body, sender and recipients.

use crate::edits::{EDIT_BYTES_MAX, EDITS_MAX, Edit};
use postring_mail::limits::MESSAGE_BYTES_CEILING;
use postring_mail::lines::normalised;

/// Recipients one milter may add to a message or take away.
pub const RECIPIENT_CHANGES_MAX: usize = 100;
/// Octets by which a body may become longer than twice the message it stands in: a page of a disclaimer, a report in the place of a line.
const BODY_GROWTH_BYTES_MAX: usize = 1024 * 1024;

/// A change of who gets a message. Addresses are `local-part@domain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientChange {
    /// One more (SMFIR_ADDRCPT, SMFIR_ADDRCPT_PAR).
    Add(String),
    /// Not this one (SMFIR_DELRCPT).
    Delete(String),
}

/// All changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Of the header.
    pub edits: Vec<Edit>,
    /// Of the recipients, one after the other.
    pub recipients: Vec<RecipientChange>,
    /// The sender in the place of the one there is (SMFIR_CHGFROM); empty: the null reverse-path.
    pub reverse_path: Option<String>,
    /// The body in the place of the one there is (SMFIR_REPLBODY): lines that end with CRLF, whatever the milter has sent, and no NUL.
    pub body: Option<Vec<u8>>,
}

/// Takes down what a milter wants.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    changes: Changes,
    edit_bytes: usize,
    body_bytes_max: usize,
    lost_edits: bool,
    lost: bool,
}

impl Collector {
    /// How long the message is that it has seen.
    pub(crate) fn begin(&mut self, message_bytes: usize) {
        let ceiling = usize::try_from(MESSAGE_BYTES_CEILING).unwrap_or(usize::MAX);
        self.body_bytes_max = message_bytes.saturating_mul(2).saturating_add(BODY_GROWTH_BYTES_MAX).min(ceiling);
    }

    /// False if it was not taken down, nor will any other change of the header.
    pub(crate) fn edit(&mut self, edit: Edit) -> bool {
        self.edit_bytes = self.edit_bytes.saturating_add(edit.bytes());
        // A sender can make it want more, with a field for each; what it says in the end counts all the same.
        self.lost_edits |= self.changes.edits.len() >= EDITS_MAX || self.edit_bytes > EDIT_BYTES_MAX;
        if !self.lost_edits {
            self.changes.edits.push(edit);
        }
        !self.lost_edits
    }

    /// False as above.
    pub(crate) fn recipient(&mut self, change: RecipientChange) -> bool {
        self.lost |= self.changes.recipients.len() >= RECIPIENT_CHANGES_MAX;
        if !self.lost {
            self.changes.recipients.push(change);
        }
        !self.lost
    }

    pub(crate) fn reverse_path(&mut self, address: String) {
        self.changes.reverse_path = Some(address);
    }

    /// The next piece of the new body. False if it is empty, or more than there may be.
    pub(crate) fn body(&mut self, piece: &[u8]) -> bool {
        let body = self.changes.body.get_or_insert_default();
        if self.lost || body.len().saturating_add(piece.len()) > self.body_bytes_max {
            self.lost = true;
            *body = Vec::new();
            return false;
        }
        body.extend_from_slice(piece);
        !piece.is_empty()
    }

    /// Forgets it: the message is refused.
    pub(crate) fn clear(&mut self) {
        *self = Self { lost_edits: self.lost_edits, ..Self::default() };
    }

    /// All, then whether changes of the header are lost, and whether others are: then all are.
    pub(crate) fn end(self) -> (Changes, bool, bool) {
        if self.lost {
            return (Changes::default(), self.lost_edits, true);
        }
        let edits = if self.lost_edits { Vec::new() } else { self.changes.edits };
        let body = self.changes.body.map(|body| lines(&body));
        (Changes { edits, body, ..self.changes }, self.lost_edits, false)
    }
}

/// A body as it may go over the wire: a CR or LF alone would end a line for some and not for others.
//= RFC 5321 section 2.3.8
//# SMTP client implementations MUST NOT transmit these characters except when they are intended as line terminators
fn lines(body: &[u8]) -> Vec<u8> {
    let mut out = normalised(body);
    out.iter_mut().filter(|octet| **octet == 0).for_each(|octet| *octet = b'?');
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_end_with_crlf() {
        for (body, expected) in [
            (&b""[..], &b""[..]),
            (b"a", b"a\r\n"),
            (b"a\nb\r\nc\rd\r\r\n", b"a\r\nb\r\nc\r\nd\r\n\r\n"),
            (b"a\0\xe9\r\n.\n", b"a?\xe9\r\n.\r\n"),
        ] {
            assert_eq!(lines(body), expected);
        }
    }

    #[test]
    fn changes_are_bounded() {
        let mut collector = Collector::default();
        collector.begin(10);
        assert!((0..RECIPIENT_CHANGES_MAX).all(|_| collector.recipient(RecipientChange::Add(String::new()))));
        assert!(!collector.recipient(RecipientChange::Delete(String::new())));
        assert_eq!(collector.end(), (Changes::default(), false, true));

        let mut collector = Collector::default();
        collector.begin(10);
        assert!(collector.body(&[b'x'; BODY_GROWTH_BYTES_MAX]) && collector.body(&[b'x'; 20]));
        assert!(!collector.body(b"x") && !collector.body(b""));
        assert!(collector.edit(Edit::add(b"X", b"y", false).unwrap()));
        assert_eq!(collector.end(), (Changes::default(), false, true), "not the half of it");
    }

    proptest! {
        #[test]
        fn pieces_make_the_whole(body in "[a\r\n\0]{0,12}", size in 1..6_usize) {
            let mut collector = Collector::default();
            collector.begin(0);
            body.as_bytes().chunks(size).for_each(|piece| assert!(collector.body(piece)));
            let whole = collector.end().0.body.unwrap_or_default();
            prop_assert_eq!(&whole, &lines(body.as_bytes()));
            let text = String::from_utf8(whole).unwrap().replace("\r\n", "");
            prop_assert!(!text.contains(['\r', '\n', '\0']));
        }
    }
}
