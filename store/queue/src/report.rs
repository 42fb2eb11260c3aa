//! The report to the sender that recipients failed: a delivery status notification.
//!
//! ```text
//!   header fields                                    RFC 5322, Auto-Submitted: RFC 3834
//!   multipart/report; report-type=delivery-status    RFC 6522
//!     text/plain                what happened, for people
//!     message/delivery-status   the same for programs: fields of the report, then of each recipient    RFC 3464
//!     text/rfc822-headers       the header of the message it is about, as much as fits
//! ```
//! Everything but the original's header is printable ASCII, whatever the remote hosts and the envelope say: an octet that is not
//! becomes `?`, so that no text from elsewhere makes a line of its own. Only the header goes back, not the body: the sender has it,
//! and a forged sender must not be sent what others wrote.

mod original;
mod status;

pub use original::ORIGINAL_HEADER_BYTES_MAX;
pub use status::status_of;

use crate::record::{HOST_BYTES_MAX, MessageHead, Progress, REPLY_BYTES_MAX, Status};
use postring_mail::EnhancedStatus;
use postring_mail::date::write_date;
use postring_mail::envelope::MessageId;
use postring_mail::limits::PATH_BYTES_MAX;
use postring_mail::path::{Characters, parse_mailbox};
use std::io::Write;

/// Where a line is folded, if there is a space (RFC 5322 section 2.1.1: no more than 78 characters).
const FOLD_COLUMN: usize = 76;

/// A recipient the sender is to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed<'a> {
    /// `local-part@domain`.
    pub recipient: &'a str,
    /// Class 5, or class 4 if it was given up.
    pub status: EnhancedStatus,
    /// The remote host that said `reply`; empty if the reply is ours.
    pub host: &'a str,
    /// The last reply, `550 5.1.1 text`; may be empty.
    pub reply: &'a str,
}

impl<'a> Failed<'a> {
    /// With the status the reply tells ([`status_of`]).
    #[must_use]
    pub fn new(recipient: &'a str, host: &'a str, reply: &'a str) -> Self {
        Self { recipient, status: status_of(reply), host, reply }
    }

    /// The recipients of a message whose failure the sender is to be told.
    #[must_use]
    pub fn all_of(head: &'a MessageHead, progress: &'a Progress) -> Vec<Self> {
        let recipients = head.recipients.iter().zip(&progress.recipients);
        let failed = recipients.filter(|(_, state)| state.status == Status::Failed);
        failed.map(|(address, state)| Self::new(address, &state.host, &state.reply)).collect()
    }
}

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
    /// Of whom; at least one.
    pub failed: &'a [Failed<'a>],
    /// The message as queued, in wire form, or as much of its beginning as the caller has.
    pub original: &'a [u8],
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
    original::write_header(report.original, &mut header);

    let boundary = boundary(report.id, [&text, &delivery_status, &header]);
    let eight_bit: &[u8] = if header.is_ascii() { b"" } else { b"Content-Transfer-Encoding: 8bit\r\n" };
    write_header(report, &boundary, eight_bit, out);
    let parts: [(&[u8], &[u8], &[u8]); 3] = [
        (b"Content-Type: text/plain; charset=us-ascii\r\n", b"", &text),
        (b"Content-Type: message/delivery-status\r\n", b"", &delivery_status),
        (b"Content-Type: text/rfc822-headers\r\n", eight_bit, &header),
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
    out.extend_from_slice(b"Subject: Undelivered mail returned to its sender\r\n");
    put_date("Date", report.now_us, out);
    put(out, format_args!("Message-ID: <{}@{host}>\r\n", report.id));
    // "auto-replied": RFC 3834 sections 3.1.7 and 5. It keeps vacation programs from answering.
    out.extend_from_slice(b"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
    put(out, format_args!("Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n"));
    out.extend_from_slice(eight_bit);
    // No preamble: the empty line that ends the header is the one before the first boundary.
}

/// The part for people.
fn write_text(report: &Report<'_>, out: &mut Vec<u8>) {
    put(out, format_args!("This is the mail system at {}.\r\n\r\n", clean(report.hostname, HOST_BYTES_MAX)));
    out.extend_from_slice(
        b"Your message could not be delivered to the addresses below, and it will not be\r\n\
          tried again for them. Addresses that are not below are not affected. The header\r\n\
          of your message is attached.\r\n",
    );
    for failed in report.failed {
        put(out, format_args!("\r\n<{}>\r\n", clean(failed.recipient, 2 * PATH_BYTES_MAX)));
        let reply = clean(failed.reply, REPLY_BYTES_MAX);
        if reply.is_empty() {
            put(out, format_args!("    gave no reason (status {})\r\n", failed.status));
        } else if failed.host.is_empty() {
            write_folded("    ", &reply, "    ", out);
        } else {
            put(out, format_args!("    The host {} said:\r\n", clean(failed.host, HOST_BYTES_MAX)));
            write_folded("    ", &reply, "    ", out);
        }
    }
}

/// The part for programs (RFC 3464 section 2).
fn write_delivery_status(report: &Report<'_>, out: &mut Vec<u8>) {
    put(out, format_args!("Reporting-MTA: dns; {}\r\n", clean(report.hostname, HOST_BYTES_MAX)));
    put_date("Arrival-Date", report.arrived_us, out);
    for failed in report.failed {
        put(out, format_args!("\r\nFinal-Recipient: rfc822; {}\r\n", clean(failed.recipient, 2 * PATH_BYTES_MAX)));
        put(out, format_args!("Action: failed\r\nStatus: {}\r\n", failed.status));
        if !failed.host.is_empty() {
            put(out, format_args!("Remote-MTA: dns; {}\r\n", clean(failed.host, HOST_BYTES_MAX)));
        }
        if !failed.reply.is_empty() {
            write_folded("Diagnostic-Code: smtp; ", &clean(failed.reply, REPLY_BYTES_MAX), " ", out);
        }
        put_date("Last-Attempt-Date", report.now_us, out);
    }
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
