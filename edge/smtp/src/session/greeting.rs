//! HELO, EHLO, LHLO: what is offered to whom (RFC 5321 section 4.1.1.1).

use super::table::Phase;
use super::{Protocol, Session, xclient};
use crate::command::Verb;
use crate::replies;
use postring_mail::limits;

impl<R> Session<R> {
    pub(super) fn greet(&mut self, verb: Verb, argument: &str, out: &mut Vec<u8>) {
        let lmtp = self.config.protocol == Protocol::Lmtp;
        if lmtp != (verb == Verb::Lhlo) {
            return self.error(if lmtp { &replies::NEED_LHLO } else { &replies::UNKNOWN_COMMAND }, out);
        }
        // The name is only written down, so nearly anything is taken, as everybody takes it; but it is one word of ASCII.
        let name = argument.split(' ').next().unwrap_or_default();
        if name.len() > limits::DOMAIN_BYTES_MAX || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return self.error(&replies::BAD_HELO, out);
        }
        name.clone_into(&mut self.helo);
        self.phase = Phase::Greeted;
        self.extended = verb != Verb::Helo;
        if verb == Verb::Helo {
            out.extend_from_slice(b"250 ");
            out.extend_from_slice(self.config.hostname.as_bytes());
            return out.extend_from_slice(b"\r\n");
        }
        for line in [
            self.config.hostname.as_str(),
            "PIPELINING",
            "8BITMIME",
            "SMTPUTF8",
            "CHUNKING",
            "BINARYMIME",
            "DSN",
            "ENHANCEDSTATUSCODES",
        ] {
            out.extend_from_slice(b"250-");
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if self.config.protocol != Protocol::Lmtp {
            out.extend_from_slice(b"250-PRDR\r\n");
        }
        // RFC 9422: transactions of a session, recipients of a transaction.
        let limits = format!("250-LIMITS MAILMAX={} RCPTMAX={}\r\n", limits::TRANSACTIONS_MAX, self.config.recipients_max);
        out.extend_from_slice(limits.as_bytes());
        if self.xclient {
            out.extend_from_slice(b"250-");
            out.extend_from_slice(xclient::KEYWORDS.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if self.tls.is_some() {
            out.extend_from_slice(b"250-REQUIRETLS\r\n");
        }
        if self.may_start_tls() {
            out.extend_from_slice(b"250-STARTTLS\r\n");
        }
        if self.may_authenticate() {
            out.extend_from_slice(b"250-AUTH PLAIN LOGIN\r\n");
        }
        //= RFC 1870 section 3
        //# a decimal number indicating the fixed maximum message size in bytes that the server will accept
        out.extend_from_slice(b"250 SIZE ");
        out.extend_from_slice(self.config.message_bytes_max.to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    pub(super) fn may_start_tls(&self) -> bool {
        self.config.tls_available && self.tls.is_none() && self.config.protocol != Protocol::Submissions
    }

    //= RFC 4954 section 4
    //# a server [...] MUST NOT advertise or support [PLAIN] unless a strong encryption layer is active
    pub(super) fn may_authenticate(&self) -> bool {
        self.config.protocol.is_submission() && self.tls.is_some() && self.account.is_none()
    }
}
