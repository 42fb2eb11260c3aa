//! Which messages an operator means.

use crate::record::{MessageHead, Progress};
use crate::schedule::destination;
use postring_mail::envelope::MessageId;
use postring_mail::path::{is_address_literal, is_domain};
use std::str::FromStr;

/// A choice of messages. As text: `all`, an id of 16 hexadecimal digits, `user@domain`, or `domain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Every message.
    All,
    /// The message of this id.
    Id(MessageId),
    /// Messages that still have something to do for this address; letters compare without case, in the local part too.
    Recipient(String),
    /// Messages that still have something to do for an address of this domain or address literal; without case.
    Domain(String),
}

/// The text selects nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectorError;

impl std::fmt::Display for SelectorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("expected `all`, a message id of 16 hexadecimal digits, `user@domain` or `domain`")
    }
}

impl std::error::Error for SelectorError {}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text == "all" {
            return Ok(Self::All);
        }
        // A domain of one label of 16 hexadecimal digits is no domain that mail goes to.
        if text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return text.parse().map(Self::Id).map_err(|_| SelectorError);
        }
        match text.rsplit_once('@') {
            Some((local_part, domain)) if !local_part.is_empty() && !domain.is_empty() => Ok(Self::Recipient(text.to_owned())),
            None if is_domain(text) || is_address_literal(text) => Ok(Self::Domain(text.to_owned())),
            _ => Err(SelectorError),
        }
    }
}

impl Selector {
    /// True if it selects the message.
    pub(crate) fn matches(&self, head: &MessageHead, progress: &Progress) -> bool {
        let any = |matches: &dyn Fn(&str) -> bool| {
            head.recipients
                .iter()
                .zip(&progress.recipients)
                .any(|(address, state)| !state.status.is_settled() && matches(address))
        };
        match self {
            Self::All => true,
            Self::Id(id) => head.id == *id,
            Self::Recipient(selected) => any(&|address| address.eq_ignore_ascii_case(selected)),
            Self::Domain(selected) => any(&|address| destination(address).eq_ignore_ascii_case(selected)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Status;
    use postring_mail::envelope::EnvelopeFlags;

    #[test]
    fn texts() {
        assert_eq!("all".parse(), Ok(Selector::All));
        assert_eq!("00000000000000fF".parse(), Ok(Selector::Id(MessageId(255))));
        assert_eq!("U@d.example".parse(), Ok(Selector::Recipient("U@d.example".to_owned())));
        assert_eq!("d.example".parse(), Ok(Selector::Domain("d.example".to_owned())));
        assert_eq!("[192.0.2.1]".parse(), Ok(Selector::Domain("[192.0.2.1]".to_owned())));
        for text in ["", "@d.example", "u@", "a b", "+0000000000000ff", "all of them"] {
            assert_eq!(text.parse::<Selector>(), Err(SelectorError), "{text}");
        }
    }

    #[test]
    fn what_is_settled_is_not_selected_by_its_recipient() {
        let head = MessageHead {
            id: MessageId(1),
            received_us: 0,
            flags: EnvelopeFlags(0),
            reverse_path: String::new(),
            account: String::new(),
            recipients: vec!["u@d.example".to_owned(), "v@E.example".to_owned()],
            envelope_id: String::new(),
            requests: Vec::new(),
        };
        let mut progress = Progress::new(head.id, 2, 0);
        progress.recipients[0].status = Status::Delivered;
        let matches = |text: &str| text.parse::<Selector>().unwrap().matches(&head, &progress);
        assert!(matches("all") && matches("0000000000000001") && matches("V@e.example") && matches("e.EXAMPLE"));
        assert!(!matches("0000000000000002") && !matches("u@d.example") && !matches("d.example") && !matches("example"));
    }
}
