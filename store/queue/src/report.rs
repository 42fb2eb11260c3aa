//! The report to the sender that recipients failed, or, if it was asked for, that the message is late or arrived: a delivery status
//! notification.
//!
//! ```text
//!   header fields                                    RFC 5322, Auto-Submitted: RFC 3834
//!   multipart/report; report-type=delivery-status    RFC 6522
//!     text/plain                what happened, for people
//!     message/delivery-status   the same for programs: fields of the report, then of each recipient    RFC 3464
//!     text/rfc822-headers       the header of the message it is about, as much as fits
//!     or message/rfc822         the whole, with RET=FULL
//! ```
//! Everything but the original's header is printable ASCII, whatever the remote hosts and the envelope say: an octet that is not
//! becomes `?`, so that no text from elsewhere makes a line of its own. Only the header goes back, not the body: the sender has it,
//! and a forged sender must not be sent what others wrote. The whole goes back if the sender has said so with RET=FULL (RFC 3461 section
//! 4.3), the caller knows the sender, and every line is fit to be sent.

mod original;
mod recipient;
mod status;

pub use original::ORIGINAL_HEADER_BYTES_MAX;
pub use recipient::{Action, RecipientReport};
pub use status::status_of;

use crate::record::{HOST_BYTES_MAX, REPLY_BYTES_MAX};
use postring_mail::date::write_date;
use postring_mail::dsn::decode_xtext;
use postring_mail::envelope::MessageId;
use postring_mail::limits::PATH_BYTES_MAX;
use postring_mail::path::{Characters, parse_mailbox};
use std::io::Write;

/// Where a line is folded, if there is a space (RFC 5322 section 2.1.1: no more than 78 characters).
const FOLD_COLUMN: usize = 76;

/// What a report tells.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Us.
    pub hostname: &'a str,
    /// Names the report itself; the same in every replay.
    pub id: MessageId,
    /// Now, microseconds since 1970: the date of the report, and to the minute that of the last attempt.
    pub now_us: u64,
    /// When the message was received, microseconds since 1970.
    pub arrived_us: u64,
    /// Who is told: the reverse-path of the message. Not the null one.
    pub reverse_path: &'a str,
    /// ENVID in xtext, or empty (RFC 3461).
    pub envelope_id: &'a str,
    /// Of whom; at least one.
    pub recipients: &'a [RecipientReport<'a>],
    /// The message as queued, in wire form, or as much of its beginning as the caller has.
    pub original: &'a [u8],
    /// `original` is the whole message, and goes back as a whole if a recipient failed.
    pub full: bool,
}

/// Appends the report in wire form: CRLF, without dot-stuffing, lines of at most 998 octets. It has octets above 127 only if the
/// original's header has (`8BITMIME` then). Its own reverse-path is to be the null one.
///
/// Writes nothing if the reverse-path is null: a report about a report would go round for ever.
//= RFC 5321 section 6.1
//# This notification MUST be sent using a null ("<>") reverse-path in the envelope. The recipient of this notification MUST be
//# the address from the envelope return path (or the Return-Path: line). However, if this address is null ("<>"), the
//# receiver-SMTP MUST NOT send a notification.
pub fn write_report(report: &Report<'_>, out: &mut Vec<u8>) {
    if report.reverse_path.is_empty() {
        return;
    }
    let mut text = Vec::new();
    write_text(report, &mut text);
    let mut delivery_status = Vec::new();
    write_delivery_status(report, &mut delivery_status);
    let mut header = Vec::new();
    let full = report.full && report.has(Action::Failed) && original::is_fit(report.original);
    let (returned, returned_type): (&[u8], &[u8]) = if full {
        (report.original, b"Content-Type: message/rfc822\r\n")
    } else {
        original::write_header(report.original, &mut header);
        (&header, b"Content-Type: text/rfc822-headers\r\n")
    };

    let boundary = boundary(report.id, [&text, &delivery_status, returned]);
    let eight_bit: &[u8] = if returned.is_ascii() { b"" } else { b"Content-Transfer-Encoding: 8bit\r\n" };
    write_header(report, &boundary, eight_bit, out);
    let parts: [(&[u8], &[u8], &[u8]); 3] = [
        (b"Content-Type: text/plain; charset=us-ascii\r\n", b"", &text),
        (b"Content-Type: message/delivery-status\r\n", b"", &delivery_status),
        (returned_type, eight_bit, returned),
    ];
    for (content_type, encoding, content) in parts {
        // The line break before the boundary belongs to the boundary (RFC 2046 section 5.1.1): the content keeps its own.
        let pieces: [&[u8]; 7] = [b"\r\n--", boundary.as_bytes(), b"\r\n", content_type, encoding, b"\r\n", content];
        pieces.into_iter().for_each(|piece| out.extend_from_slice(piece));
    }
    let pieces: [&[u8]; 3] = [b"\r\n--", boundary.as_bytes(), b"--\r\n"];
    pieces.into_iter().for_each(|piece| out.extend_from_slice(piece));
}

/// Writes formatted text; writing to a Vec cannot fail.
fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn put_date(name: &str, time_us: u64, out: &mut Vec<u8>) {
    put(out, format_args!("{name}: "));
    write_date(time_us / 1_000_000, out);
    out.extend_from_slice(b"\r\n");
}

fn write_header(report: &Report<'_>, boundary: &str, eight_bit: &[u8], out: &mut Vec<u8>) {
    let host = clean(report.hostname, HOST_BYTES_MAX);
    put(out, format_args!("From: Mail Delivery System <MAILER-DAEMON@{host}>\r\n"));
    match parse_mailbox(report.reverse_path, Characters::Ascii) {
        Ok(mailbox) if !mailbox.domain.is_empty() => {
            put(out, format_args!("To: <{}>\r\n", clean(report.reverse_path, 2 * PATH_BYTES_MAX)));
        }
        // What is no address must not stand in a field of addresses; an empty group may (RFC 5322 section 3.4).
        _ => out.extend_from_slice(b"To: undisclosed-recipients:;\r\n"),
    }
    put(out, format_args!("Subject: {}\r\n", report.subject()));
    put_date("Date", report.now_us, out);
    put(out, format_args!("Message-ID: <{}@{host}>\r\n", report.id));
    // "auto-replied": RFC 3834 sections 3.1.7 and 5. It keeps vacation programs from answering.
    out.extend_from_slice(b"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
    put(out, format_args!("Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n"));
    out.extend_from_slice(eight_bit);
    // No preamble: the empty line that ends the header is the one before the first boundary.
}

impl Report<'_> {
    fn has(&self, action: Action) -> bool {
        self.recipients.iter().any(|recipient| recipient.action == action)
    }

    fn subject(&self) -> &'static str {
        if self.has(Action::Failed) {
            "Undelivered mail returned to its sender"
        } else if self.has(Action::Delayed) {
            "Mail that is late, and still tried"
        } else {
            "Mail that arrived"
        }
    }
}

/// The part for people.
fn write_text(report: &Report<'_>, out: &mut Vec<u8>) {
    put(out, format_args!("This is the mail system at {}.\r\n", clean(report.hostname, HOST_BYTES_MAX)));
    for action in [Action::Failed, Action::Delayed, Action::Relayed, Action::Delivered] {
        let mut recipients = report.recipients.iter().filter(|recipient| recipient.action == action).peekable();
        if recipients.peek().is_some() {
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(action.text());
        }
        for recipient in recipients {
            write_recipient_text(recipient, out);
        }
    }
}

fn write_recipient_text(recipient: &RecipientReport<'_>, out: &mut Vec<u8>) {
    put(out, format_args!("\r\n<{}>\r\n", clean(recipient.recipient, 2 * PATH_BYTES_MAX)));
    let reply = clean(recipient.reply, REPLY_BYTES_MAX);
    if reply.is_empty() && recipient.action == Action::Failed {
        put(out, format_args!("    gave no reason (status {})\r\n", recipient.status));
    }
    if reply.is_empty() {
        return;
    }
    if !recipient.host.is_empty() {
        put(out, format_args!("    The host {} said:\r\n", clean(recipient.host, HOST_BYTES_MAX)));
    }
    write_folded("    ", &reply, "    ", out);
}

/// The part for programs (RFC 3464 section 2).
fn write_delivery_status(report: &Report<'_>, out: &mut Vec<u8>) {
    // RFC 3464 section 2.2.1: decoded, and before the other fields.
    if let Some(envelope_id) = decode_xtext(report.envelope_id).filter(|envelope_id| !envelope_id.is_empty()) {
        put(out, format_args!("Original-Envelope-Id: {envelope_id}\r\n"));
    }
    put(out, format_args!("Reporting-MTA: dns; {}\r\n", clean(report.hostname, HOST_BYTES_MAX)));
    put_date("Arrival-Date", report.arrived_us, out);
    for recipient in report.recipients {
        out.extend_from_slice(b"\r\n");
        // RFC 3464 section 2.3.1: only what the sender has said.
        if let Some((address_type, address)) = recipient.original_recipient.split_once(';')
            && let Some(address) = decode_xtext(address)
        {
            put(out, format_args!("Original-Recipient: {}; {address}\r\n", clean(address_type, 2 * PATH_BYTES_MAX)));
        }
        write_final_recipient(recipient.recipient, out);
        put(out, format_args!("Action: {}\r\nStatus: {}\r\n", recipient.action, recipient.status));
        if !recipient.host.is_empty() {
            put(out, format_args!("Remote-MTA: dns; {}\r\n", clean(recipient.host, HOST_BYTES_MAX)));
        }
        if !recipient.reply.is_empty() {
            write_folded("Diagnostic-Code: smtp; ", &clean(recipient.reply, REPLY_BYTES_MAX), " ", out);
        }
        put_date("Last-Attempt-Date", report.now_us, out);
    }
}

/// An address outside ASCII is written with that of the `utf-8` type whose characters are ASCII.
//= RFC 6533 section 3
//# utf-8-addr-xtext = 1*(QCHAR / EmbeddedUnicodeChar)
//# EmbeddedUnicodeChar = %x5C.78 "{" HEXPOINT "}"    ; starts with "\x"
fn write_final_recipient(address: &str, out: &mut Vec<u8>) {
    if address.is_ascii() {
        return put(out, format_args!("Final-Recipient: rfc822; {}\r\n", clean(address, 2 * PATH_BYTES_MAX)));
    }
    let begin = out.len();
    out.extend_from_slice(b"Final-Recipient: utf-8; ");
    for c in address.chars() {
        // An address that SMTP can carry is far shorter; a line may not be longer.
        if out.len() - begin > 900 {
            break;
        }
        match c {
            '!'..='~' if !matches!(c, '\\' | '+' | '=') => put(out, format_args!("{c}")),
            _ => put(out, format_args!("\\x{{{:02X}}}", u32::from(c))),
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Text from outside: printable ASCII in one line, everything else `?`.
fn clean(text: &str, bytes_max: usize) -> String {
    text.chars().take(bytes_max).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

/// Writes words in lines that begin with `begin`, then with `indent`.
fn write_folded(begin: &str, words: &str, indent: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(begin.as_bytes());
    let mut column = begin.len();
    for (index, word) in words.split_ascii_whitespace().enumerate() {
        if index > 0 && column + 1 + word.len() > FOLD_COLUMN {
            put(out, format_args!("\r\n{indent}"));
            column = indent.len();
        } else if index > 0 {
            out.push(b' ');
            column += 1;
        }
        out.extend_from_slice(word.as_bytes());
        column += word.len();
    }
    out.extend_from_slice(b"\r\n");
}

/// A boundary that occurs in none of the parts. It depends on all of their bytes: whoever wants to make us search long must find
/// texts that contain the hashes of themselves.
fn boundary(id: MessageId, parts: [&[u8]; 3]) -> String {
    // FNV-1a.
    let hash = parts
        .into_iter()
        .flatten()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3));
    let mut number = 0_u64;
    loop {
        let boundary = format!("=_{id}_{:016X}", hash.wrapping_add(number));
        let occurs = |part: &[u8]| part.windows(boundary.len()).any(|window| window == boundary.as_bytes());
        if !parts.into_iter().any(occurs) {
            return boundary;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests;
