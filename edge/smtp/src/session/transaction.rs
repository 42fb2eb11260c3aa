//! MAIL and RCPT: what is agreed before the content (RFC 5321 section 3.3).

use super::table::Phase;
use super::{Awaited, Protocol, Question, RecipientAnswer, Session, Step, Target, TransactionRecipient};
use crate::command;
use crate::parameters::{ParameterError, mail_parameters, rcpt_parameters};
use crate::replies;
use postring_mail::envelope::ORIGIN_BYTES_MAX;
use postring_mail::path::{Characters, Mailbox, PathError, parse_mailbox};
use postring_mail::{Reply, limits};
use smallvec::SmallVec;

impl<R> Session<R> {
    pub(super) fn mail(&mut self, argument: &str, out: &mut Vec<u8>) {
        if self.config.protocol.is_submission() && self.account.is_none() {
            let reply = if self.tls.is_none() { &replies::NEED_TLS } else { &replies::NEED_AUTH };
            return self.error(reply, out);
        }
        if self.draining {
            replies::SHUTDOWN.write_to(out);
            return self.close();
        }
        if self.transactions >= limits::TRANSACTIONS_MAX {
            replies::TOO_MANY_TRANSACTIONS.write_to(out);
            return self.close();
        }
        let (mailbox, rest) = match command::path_argument(argument, "FROM:", Characters::Utf8) {
            None => return self.error(&replies::BAD_MAIL, out),
            Some(Err(error)) => return self.error(&Reply::fixed(553, 1, 7, error.text()), out),
            Some(Ok(path)) => path,
        };
        let parameters = match mail_parameters(rest) {
            Ok(parameters) => parameters,
            Err(ParameterError::Syntax) => return self.error(&replies::BAD_PARAMETER, out),
            Err(ParameterError::Unknown) => return self.error(&replies::UNKNOWN_PARAMETER, out),
        };
        //= RFC 1870 section 6.1
        //# If the server determines [...] the message size exceeds [...] 552
        if parameters.size.is_some_and(|size| size > self.config.message_bytes_max) {
            return self.error(&replies::TOO_LARGE, out);
        }
        // It is offered within TLS only (RFC 8689 section 2).
        if parameters.require_tls && self.tls.is_none() {
            return self.error(&replies::UNKNOWN_PARAMETER, out);
        }
        let address = match mailbox {
            None => String::new(),
            Some(mailbox) if mailbox.domain.is_empty() => {
                return self.error(&Reply::fixed(553, 1, 7, "A sender has a domain"), out);
            }
            // It stands before the parameters: only now is it known what it may be.
            Some(mailbox) if !parameters.smtputf8 && !mailbox.is_ascii() => {
                //= RFC 6531 section 3.5
                //# When messages are rejected because the MAIL command requires an ASCII address, the reply-code 550 is returned
                return self.error(&Reply::fixed(550, 6, 7, PathError::NotAscii.text()), out);
            }
            Some(mailbox) => joined(&mailbox),
        };
        self.transaction.reverse_path = address;
        self.transaction.size_declared = parameters.size;
        self.transaction.eight_bit = parameters.eight_bit;
        self.transaction.binary = parameters.binary;
        self.transaction.smtputf8 = parameters.smtputf8;
        self.transaction.require_tls = parameters.require_tls;
        // In LMTP there is one for each recipient anyhow.
        self.transaction.prdr = parameters.prdr && self.config.protocol != Protocol::Lmtp;
        self.transaction.returned = parameters.returned;
        parameters.envelope_id.unwrap_or_default().clone_into(&mut self.transaction.envelope_id);
        if self.account.is_some() && !self.transaction.reverse_path.is_empty() {
            self.steps.push(Step::Ask(Question::Sender { address: self.transaction.reverse_path.clone() }));
            self.awaited = Awaited::Sender;
            return;
        }
        self.begin_transaction(out);
    }

    /// MAIL is accepted; what it said is in the transaction already.
    pub(super) fn begin_transaction(&mut self, out: &mut Vec<u8>) {
        self.transactions += 1;
        self.phase = Phase::Sender;
        replies::SENDER_OK.write_to(out);
    }

    pub(super) fn rcpt(&mut self, argument: &str, out: &mut Vec<u8>) {
        let characters = if self.transaction.smtputf8 { Characters::Utf8 } else { Characters::Ascii };
        let (mailbox, rest) = match command::path_argument(argument, "TO:", characters) {
            None => return self.error(&replies::BAD_RCPT, out),
            //= RFC 6531 section 3.5
            //# When messages are rejected because the RCPT command requires an ASCII address, the reply-code 553 is returned
            Some(Err(error @ PathError::NotAscii)) => return self.error(&Reply::fixed(553, 6, 7, error.text()), out),
            Some(Err(error)) => return self.error(&Reply::fixed(553, 1, 3, error.text()), out),
            Some(Ok((None, _))) => return self.error(&replies::BAD_RCPT, out),
            Some(Ok((Some(mailbox), rest))) => (mailbox, rest),
        };
        let parameters = match rcpt_parameters(rest, self.transaction.smtputf8) {
            Ok(parameters) => parameters,
            Err(ParameterError::Syntax) => return self.error(&replies::BAD_PARAMETER, out),
            Err(ParameterError::Unknown) => return self.error(&replies::UNKNOWN_PARAMETER, out),
        };
        //= RFC 5321 section 4.5.3.1.10
        //# If an SMTP server has an implementation limit on the number of RCPT commands and this limit is exhausted, it MUST use a
        //# response code of 452
        if self.transaction.recipients.len() >= self.config.recipients_max {
            return replies::TOO_MANY_RECIPIENTS.write_to(out);
        }
        let address = joined(&mailbox);
        self.steps.push(Step::Ask(Question::Recipient { address: address.clone() }));
        self.awaited = Awaited::Recipient(TransactionRecipient {
            address,
            targets: SmallVec::new(),
            notify: parameters.notify.unwrap_or_default(),
            original_recipient: parameters.original_recipient.unwrap_or_default().into_owned(),
        });
    }

    /// VRFY, where strangers may ask.
    pub(super) fn vrfy(&mut self, argument: &str, out: &mut Vec<u8>) {
        let address = argument.trim().trim_start_matches('<').trim_end_matches('>');
        match parse_mailbox(address, Characters::Ascii) {
            Ok(mailbox) => {
                let address = joined(&mailbox);
                self.steps.push(Step::Ask(Question::Verify { address: address.clone() }));
                self.awaited = Awaited::Verify(address);
            }
            Err(_) => self.error(&replies::BAD_VRFY, out),
        }
    }

    /// What is told of an address: nothing of those elsewhere.
    //= RFC 5321 section 3.5.1
    //# When a name that is the argument to VRFY could be uniquely verified, the server MUST return a 250 reply
    pub(super) fn verified(&mut self, address: &str, answer: &RecipientAnswer, out: &mut Vec<u8>) {
        match answer {
            RecipientAnswer::Accept(_) => Reply::with_text(250, 1, 5, format!("<{address}>")).write_to(out),
            RecipientAnswer::Unknown => self.error(&replies::NO_MAILBOX, out),
            RecipientAnswer::Disabled => self.error(&replies::DISABLED, out),
            RecipientAnswer::NotHosted | RecipientAnswer::Refused(_) => replies::VERIFY.write_to(out),
        }
    }

    pub(super) fn recipient_answered(&mut self, recipient: TransactionRecipient, answer: RecipientAnswer, out: &mut Vec<u8>) {
        match answer {
            // RFC 8689 section 4.2.1 lets it go to a verified server only. The sending side does not verify whom it speaks to, so it could only
            // bounce: better said at once.
            RecipientAnswer::Accept(targets)
                if self.transaction.require_tls && targets.iter().any(|target| matches!(target, Target::Remote(_))) =>
            {
                self.error(&replies::NO_TLS_BEYOND, out);
            }
            RecipientAnswer::Accept(targets) => {
                let recipient = TransactionRecipient { targets, ..recipient };
                // Better said now than behind the content: the rest can come in another transaction.
                let bytes = self.transaction.envelope_bytes.saturating_add(recipient.envelope_bytes());
                if bytes > limits::ENVELOPE_BYTES_MAX - ORIGIN_BYTES_MAX && !self.transaction.recipients.is_empty() {
                    return replies::TOO_MANY_RECIPIENTS.write_to(out);
                }
                self.transaction.envelope_bytes = bytes;
                self.transaction.recipients.push(recipient);
                self.phase = Phase::Recipients;
                replies::RECIPIENT_OK.write_to(out);
            }
            RecipientAnswer::Unknown => self.error(&replies::NO_MAILBOX, out),
            RecipientAnswer::NotHosted => self.error(&replies::NO_RELAY, out),
            RecipientAnswer::Disabled => self.error(&replies::DISABLED, out),
            RecipientAnswer::Refused(reply) => self.error(&reply, out),
        }
    }
}

/// The address as everything behind the session knows it: with A-labels in its domain.
fn joined(mailbox: &Mailbox<'_>) -> String {
    if mailbox.domain.is_empty() {
        return mailbox.local_part.to_owned();
    }
    let domain = mailbox.ascii_domain();
    let mut address = String::with_capacity(mailbox.local_part.len() + 1 + domain.len());
    address.push_str(mailbox.local_part);
    address.push('@');
    address.push_str(&domain);
    address
}
