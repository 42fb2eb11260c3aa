//! STARTTLS (RFC 3207) and AUTH (RFC 4954): who the client is, and that nobody else listens.

use super::auth::{self, Progress};
use super::table::Phase;
use super::{Awaited, Question, Reading, Session, Step, TlsInfo};
use crate::replies;
use postring_mail::Now;

impl<R> Session<R> {
    pub(super) fn start_tls(&mut self, argument: &str, rest_behind: bool, out: &mut Vec<u8>) {
        if !argument.is_empty() {
            return self.error(&replies::NO_ARGUMENT, out);
        }
        if self.tls.is_some() {
            return self.error(&replies::ALREADY_DONE, out);
        }
        if !self.may_start_tls() {
            return self.error(&replies::TLS_UNAVAILABLE, out);
        }
        // What an attacker put behind STARTTLS in plain text must not be read as said within TLS (CVE-2011-0411).
        if rest_behind {
            self.error(&replies::PIPELINED_TLS, out);
            return self.close();
        }
        replies::TLS_READY.write_to(out);
        self.awaited = Awaited::Tls;
        self.steps.push(Step::StartTls);
    }

    /// TLS is established.
    //= RFC 3207 section 4.2
    //# Upon completion of the TLS handshake, the SMTP protocol is reset to the initial state
    pub fn handle_tls_established(&mut self, tls: TlsInfo, now: Now) {
        self.deadline_ms = now.monotonic_ms.saturating_add(self.config.command_wait_ms);
        self.tls = Some(tls);
        if self.awaited == Awaited::Tls {
            self.awaited = Awaited::Nothing;
            self.phase = Phase::Connected;
            self.helo.clear();
            self.reset();
        }
    }

    pub(super) fn auth(&mut self, argument: &str, out: &mut Vec<u8>) {
        if !self.config.protocol.is_submission() {
            return self.error(&replies::NOT_IMPLEMENTED, out);
        }
        if self.account.is_some() {
            return self.error(&replies::ALREADY_DONE, out);
        }
        if self.tls.is_none() {
            return self.error(&replies::NEED_TLS, out);
        }
        let (mechanism, initial) =
            argument.split_once(' ').map_or((argument, None), |(mechanism, initial)| (mechanism, Some(initial)));
        match auth::begin(mechanism, initial) {
            None => self.error(&replies::BAD_MECHANISM, out),
            Some(progress) => self.proceed_auth(progress, out),
        }
    }

    pub(super) fn proceed_auth(&mut self, progress: Progress, out: &mut Vec<u8>) {
        match progress {
            Progress::Challenge(exchange, challenge) => {
                out.extend_from_slice(b"334 ");
                out.extend_from_slice(challenge.as_bytes());
                out.extend_from_slice(b"\r\n");
                self.reading = Reading::Sasl(exchange);
            }
            Progress::Credentials { name, password } => {
                self.awaited = Awaited::Credentials;
                self.steps.push(Step::Ask(Question::Authenticate { name, password }));
            }
            Progress::Broken => self.error(&replies::BAD_AUTH, out),
        }
    }
}
