//! One recipient of a report: what became of the message for it (RFC 3464 section 2.3).

use super::status_of;
use crate::record::{MessageHead, Progress, RecipientProgress, Status};
use postring_mail::EnhancedStatus;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is not tried any more.
    Failed,
    /// It is still tried.
    Delayed,
    /// A host has it that makes no reports.
    Relayed,
    /// It is in a mailbox.
    Delivered,
}

impl Action {
    /// For people, above the addresses.
    pub(super) fn text(self) -> &'static [u8] {
        match self {
            Self::Failed => {
                b"Your message could not be delivered to the addresses below, and it will not be\r\n\
                  tried again for them. Addresses that are not below are not affected. The header\r\n\
                  of your message is attached.\r\n"
            }
            Self::Delayed => {
                b"Your message is late for the addresses below. It is still tried; you need not\r\n\
                  send it again.\r\n"
            }
            Self::Relayed => {
                b"Your message was given to the mail system of the addresses below. That system may\r\n\
                  not tell you what becomes of it there.\r\n"
            }
            Self::Delivered => b"Your message is in the mailboxes of the addresses below.\r\n",
        }
    }
}

impl std::fmt::Display for Action {
    //= RFC 3464 section 2.3.3
    //# action-value = "failed" / "delayed" / "delivered" / "relayed" / "expanded"
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Relayed => "relayed",
            Self::Delivered => "delivered",
        })
    }
}

/// A recipient the sender is to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientReport<'a> {
    /// `local-part@domain`.
    pub recipient: &'a str,
    /// ORCPT: address type and address in xtext, or empty (RFC 3461).
    pub original_recipient: &'a str,
    /// What was done.
    pub action: Action,
    /// Class 5, or class 4 if it was given up or is late; class 2 if it arrived.
    pub status: EnhancedStatus,
    /// The remote host that said `reply`; empty if the reply is ours.
    pub host: &'a str,
    /// The last reply, `550 5.1.1 text`; may be empty.
    pub reply: &'a str,
}

impl<'a> RecipientReport<'a> {
    /// One that failed, with the status the reply tells ([`status_of`]).
    #[must_use]
    pub fn failed(recipient: &'a str, host: &'a str, reply: &'a str) -> Self {
        Self { recipient, original_recipient: "", action: Action::Failed, status: status_of(reply), host, reply }
    }

    /// One whose mailbox here has it.
    #[must_use]
    pub fn delivered(recipient: &'a str, original_recipient: &'a str) -> Self {
        let status = EnhancedStatus::new(2, 0, 0);
        Self { recipient, original_recipient, action: Action::Delivered, status, host: "", reply: "" }
    }

    /// The recipients of a message of whom the sender is to be told.
    #[must_use]
    pub fn all_of(head: &'a MessageHead, progress: &'a Progress) -> Vec<Self> {
        let recipients = head.recipients.iter().zip(&progress.recipients).enumerate();
        let told = recipients.filter_map(|(index, (address, state))| {
            let report = Self::of(address, state)?;
            Some(Self { original_recipient: head.original_recipient(index), ..report })
        });
        told.collect()
    }

    fn of(address: &'a str, state: &'a RecipientProgress) -> Option<Self> {
        let failed = Self::failed(address, &state.host, &state.reply);
        match state.status {
            Status::Failed => Some(failed),
            Status::Late => {
                let status = if failed.status.class == 4 { failed.status } else { EnhancedStatus::new(4, 0, 0) };
                Some(Self { action: Action::Delayed, status, ..failed })
            }
            Status::Relayed => Some(Self { action: Action::Relayed, status: EnhancedStatus::new(2, 0, 0), ..failed }),
            Status::Pending | Status::PendingLate | Status::Delivered | Status::Reported => None,
        }
    }
}
