//! Which command is allowed when: the one table of the server (RFC 5321 section 4.1.4).
//!
//! ```text
//!            EHLO            MAIL           RCPT              DATA             last dot
//!   Connected ----> Greeted -----> Sender ------> Recipients -----> (content) ---------> Greeted
//!                      ^                              `--BDAT--> Chunks --BDAT LAST--------'^
//!                      |                                            `--refused--> Failed    |
//!                      `-------------- RSET, EHLO, end of a message -------------------------'
//! ```
//! Every pair of phase and verb stands here; there is no arm for the rest, so a new verb must be placed in every phase.

use crate::command::Verb;
use crate::replies;
use postring_mail::Reply;

/// Where a connection is. What a phase must have proved (a greeting, a sender, a recipient) is set when it is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Greeted by us, has not said EHLO.
    Connected,
    /// Has said EHLO, no transaction.
    Greeted,
    /// MAIL was accepted.
    Sender,
    /// At least one RCPT was accepted.
    Recipients,
    /// A BDAT that is not the last was accepted.
    Chunks,
    /// A BDAT that is not the last was refused, and with it the message: chunks of it may be under way.
    Failed,
}

/// The table's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// Do it.
    Yes,
    /// Do it, and forget the transaction.
    Resets,
    /// Do it; it brings no mail forward, and only so many of these are listened to.
    Idle,
    /// Refuse, and count an error.
    No(&'static Reply),
}

pub(crate) fn allowed(phase: Phase, verb: Verb) -> Allowed {
    use Allowed::{Idle, No, Resets, Yes};
    use Phase::{Chunks, Connected, Failed, Greeted, Recipients, Sender};
    match (phase, verb) {
        //= RFC 5321 section 4.1.4
        //# An EHLO command MAY be issued by a client later in the session. [...] the SMTP server MUST clear all buffers
        (Connected | Greeted | Sender | Recipients | Chunks | Failed, Verb::Helo | Verb::Ehlo | Verb::Lhlo | Verb::Rset) => {
            Resets
        }
        (Connected | Greeted | Sender | Recipients | Chunks | Failed, Verb::Noop | Verb::Vrfy | Verb::Help) => Idle,
        (Connected | Greeted | Sender | Recipients | Chunks | Failed, Verb::Quit) => Yes,

        // "XCLIENT may be sent at any time, except in the middle of a mail delivery transaction": XCLIENT_README.
        (Connected | Greeted | Failed, Verb::Xclient) => Yes,
        (Sender | Recipients | Chunks, Verb::Xclient) => No(&replies::BAD_SEQUENCE),
        (Connected, Verb::Mail | Verb::Rcpt | Verb::Data | Verb::Bdat | Verb::StartTls | Verb::Auth) => No(&replies::NEED_HELO),
        (Greeted | Failed, Verb::Mail | Verb::StartTls | Verb::Auth) => Yes,
        (Greeted, Verb::Rcpt | Verb::Data | Verb::Bdat) | (Failed, Verb::Rcpt | Verb::Data) => No(&replies::BAD_SEQUENCE),
        //= RFC 5321 section 3.3
        //# MAIL command [...] sent only when no mail transaction is in progress
        //= RFC 4954 section 4
        //# The AUTH command is not permitted during a mail transaction.
        (Sender | Recipients | Chunks, Verb::Mail | Verb::StartTls | Verb::Auth) => No(&replies::BAD_SEQUENCE),
        (Sender | Recipients, Verb::Rcpt) => Yes,
        (Sender, Verb::Data | Verb::Bdat) => No(&replies::NO_RECIPIENTS),
        (Recipients, Verb::Data | Verb::Bdat) | (Chunks, Verb::Bdat) => Yes,
        //= RFC 3030 section 2
        //# If a DATA statement is issued after a BDAT for the current transaction, a 503 "Bad sequence of commands" MUST be issued.
        (Chunks, Verb::Rcpt | Verb::Data) => No(&replies::IN_CHUNKS),
        (Failed, Verb::Bdat) => No(&replies::CHUNK_OF_FAILED),

        (Connected | Greeted | Sender | Recipients | Chunks | Failed, Verb::Expn | Verb::Obsolete) => {
            No(&replies::NOT_IMPLEMENTED)
        }
        (Connected | Greeted | Sender | Recipients | Chunks | Failed, Verb::Foreign) => No(&replies::FOREIGN),
        (Connected | Greeted | Sender | Recipients | Chunks | Failed, Verb::Unknown) => No(&replies::UNKNOWN_COMMAND),
    }
}
