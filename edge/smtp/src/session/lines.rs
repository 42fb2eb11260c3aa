//! Command lines as they come: whole, in pieces, or too long; and which function does which command.

use super::auth;
use super::table::{Allowed, allowed};
use super::{Reading, Receiving, Session};
use crate::command::{self, Verb};
use crate::replies;
use memchr::memmem;
use postring_mail::{Now, limits};

impl<R> Session<R> {
    /// Takes bytes while [`receiving`](Self::receiving) is `Commands`; says how many it took. It stops where it has to wait for an
    /// answer, or where content begins: the rest is given again later.
    pub fn handle_bytes(&mut self, input: &[u8], now: Now, out: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        while self.receiving() == Receiving::Commands {
            let rest = input.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            taken += self.take_line(rest, now, out);
        }
        taken
    }

    /// Takes one line, or the beginning of one.
    fn take_line(&mut self, input: &[u8], now: Now, out: &mut Vec<u8>) -> usize {
        // CR and LF may come in two packets.
        let split_end = self.partial.last() == Some(&b'\r') && input.first() == Some(&b'\n');
        let end = if split_end { Some(1) } else { memmem::find(input, b"\r\n").map(|at| at + 2) };
        let maximum = match self.reading {
            Reading::Sasl(_) => limits::AUTH_LINE_BYTES_MAX,
            // A first AUTH line may carry the whole response.
            _ if self.may_authenticate() && begins_with_auth(&self.partial, input) => limits::AUTH_LINE_BYTES_MAX,
            _ => limits::COMMAND_LINE_BYTES_MAX,
        };
        let Some(end) = end else {
            if self.skipping || self.partial.len() + input.len() > maximum {
                self.skips_chunk |= !self.skipping && begins_with_bdat(&self.partial, input);
                self.skipping = true;
                // Only the last byte matters: it may be the CR of the end.
                self.partial.clear();
                self.partial.extend(input.last().filter(|byte| **byte == b'\r'));
            } else {
                self.partial.extend_from_slice(input);
            }
            return input.len();
        };
        self.deadline_ms = now.monotonic_ms.saturating_add(self.config.command_wait_ms);
        let rest_behind = input.len() > end;
        if self.skipping || self.partial.len() + end > maximum {
            if std::mem::take(&mut self.skips_chunk) || !self.skipping && begins_with_bdat(&self.partial, input) {
                replies::BAD_BDAT.write_to(out);
                self.close();
                return end;
            }
            self.skipping = false;
            self.partial = Vec::new();
            self.reading = Reading::Commands;
            self.error(&replies::LINE_TOO_LONG, out);
            return end;
        }
        if self.partial.is_empty() {
            let line = input.get(..end.saturating_sub(2)).unwrap_or_default();
            self.handle_line(line, rest_behind, now, out);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(input.get(..end).unwrap_or_default());
            whole.truncate(whole.len().saturating_sub(2));
            self.handle_line(&whole, rest_behind, now, out);
        }
        end
    }

    fn handle_line(&mut self, line: &[u8], rest_behind: bool, now: Now, out: &mut Vec<u8>) {
        // A TLS handshake on a plain port, told by its first bytes, would otherwise be a syntax error.
        let text =
            std::str::from_utf8(line).ok().filter(|text| !text.bytes().any(|byte| byte == b'\r' || byte == b'\n' || byte == 0));
        // Whatever is wrong with a BDAT, its octets follow and must not be read as commands.
        let is_broken_bdat =
            |text: &str| begins_with_bdat(&[], text.as_bytes()) && !text.get(4..).unwrap_or_default().starts_with(' ');
        if matches!(self.reading, Reading::Commands) && text.map_or(begins_with_bdat(&[], line), is_broken_bdat) {
            replies::BAD_BDAT.write_to(out);
            return self.close();
        }
        let Some(text) = text else {
            self.reading = Reading::Commands;
            return self.error(&replies::BAD_LINE, out);
        };
        if let Reading::Sasl(exchange) = std::mem::replace(&mut self.reading, Reading::Commands) {
            if text == "*" {
                return self.error(&replies::AUTH_CANCELLED, out);
            }
            let progress = auth::proceed(exchange, text);
            return self.proceed_auth(progress, out);
        }
        let (verb, argument) = command::split(text);
        // Allowed or not, its octets follow: it must not be refused like the others.
        if verb == Verb::Bdat {
            return self.bdat(argument, now, out);
        }
        match allowed(self.phase, verb) {
            Allowed::No(reply) => {
                self.error(reply, out);
                if verb == Verb::Foreign {
                    self.close();
                }
                return;
            }
            Allowed::Resets if verb != Verb::Rset && argument.is_empty() => return self.error(&replies::BAD_HELO, out),
            Allowed::Resets => {
                self.idle_commands += 1;
                self.reset();
            }
            Allowed::Idle => self.idle_commands += 1,
            Allowed::Yes => {}
        }
        if self.idle_commands > self.config.idle_commands_max {
            replies::TOO_MANY_ERRORS.write_to(out);
            return self.close();
        }
        match verb {
            Verb::Helo | Verb::Ehlo | Verb::Lhlo => self.greet(verb, argument, out),
            Verb::Mail => self.mail(argument, out),
            Verb::Rcpt => self.rcpt(argument, out),
            Verb::Data if !argument.is_empty() => self.error(&replies::NO_ARGUMENT, out),
            //= RFC 3030 section 3
            //# a BODY=BINARYMIME [...] message MUST use BDAT [...] sending of DATA [...] a 503 "Bad sequence of commands" reply
            Verb::Data if self.transaction.binary => self.error(&replies::BDAT_ONLY, out),
            Verb::Data => self.data(now),
            Verb::Rset if !argument.is_empty() => self.error(&replies::NO_ARGUMENT, out),
            Verb::Rset => replies::RESET.write_to(out),
            Verb::Noop => replies::OK.write_to(out),
            //= RFC 5321 section 4.1.1.6
            //# vrfy = "VRFY" SP String CRLF
            Verb::Vrfy if argument.is_empty() => self.error(&replies::BAD_VRFY, out),
            Verb::Vrfy if self.config.verify => self.vrfy(argument, out),
            Verb::Vrfy => replies::VERIFY.write_to(out),
            Verb::Help => replies::HELP.write_to(out),
            Verb::Quit => {
                self.quit = true;
                replies::BYE.write_to(out);
                self.close();
            }
            Verb::StartTls => self.start_tls(argument, rest_behind, out),
            Verb::Auth => self.auth(argument, out),
            Verb::Xclient => self.xclient(argument, out),
            // The table has refused these, and BDAT does not come here.
            Verb::Bdat | Verb::Expn | Verb::Obsolete | Verb::Foreign | Verb::Unknown => {
                self.error(&replies::UNKNOWN_COMMAND, out)
            }
        }
    }
}

/// True if the line that lies in these two pieces is an AUTH command.
fn begins_with_auth(partial: &[u8], input: &[u8]) -> bool {
    let mut line = partial.iter().chain(input).map(u8::to_ascii_uppercase);
    b"AUTH ".iter().all(|byte| line.next() == Some(*byte))
}

/// True if the line that lies in these two pieces begins with BDAT, and not with a longer word.
fn begins_with_bdat(partial: &[u8], input: &[u8]) -> bool {
    let mut line = partial.iter().chain(input).map(u8::to_ascii_uppercase);
    b"BDAT".iter().all(|byte| line.next() == Some(*byte)) && line.next().is_none_or(|byte| !byte.is_ascii_alphanumeric())
}
