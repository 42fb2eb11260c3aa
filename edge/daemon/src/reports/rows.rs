//! What a shard notes of its messages: a line each, equal ones counted.

use super::files::Message;
use crate::content::Signatures;
use postring_auth::dmarc::report::{Noted, Reason};
use postring_auth::dmarc::{Dmarc, Policy};
use postring_auth::spf::Spf;
use postring_control::{Counter, StatsPage};
use postring_policy::PolicyConfig;
use postring_policy::dmarc::Action;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::mpsc::{SyncSender, TrySendError};

/// Different lines of a shard at a time; with so many it does not wait for the clock.
const LINES_MAX: usize = 4096;

/// The lines of one shard since they were last given to the writer.
pub(crate) struct Rows {
    counts: RefCell<HashMap<Box<str>, u64>>,
    line: RefCell<String>,
    writer: SyncSender<Message>,
}

impl Rows {
    pub(crate) fn new(writer: SyncSender<Message>) -> Self {
        Self { counts: RefCell::default(), line: RefCell::default(), writer }
    }

    /// Notes a message. Cost: its line in a buffer that stays, and a look-up; an allocation for a line that is new in these ten seconds.
    pub(crate) fn note(&self, stats: &StatsPage, noted: &Noted<'_>) {
        let mut line = self.line.borrow_mut();
        line.clear();
        if !noted.write(&mut line) {
            return;
        }
        stats.add(Counter::DmarcRows, 1);
        let mut counts = self.counts.borrow_mut();
        if let Some(count) = counts.get_mut(line.as_str()) {
            *count += 1;
            return;
        }
        counts.insert(line.as_str().into(), 1);
        let is_full = counts.len() >= LINES_MAX;
        drop(counts);
        if is_full {
            self.flush(stats);
        }
    }

    /// Gives the writer what there is. A writer that cannot follow loses it, counted.
    pub(crate) fn flush(&self, stats: &StatsPage) {
        let lines: Vec<(Box<str>, u64)> = self.counts.borrow_mut().drain().collect();
        if lines.is_empty() {
            return;
        }
        if let Err(TrySendError::Full(Message::Rows(lines)) | TrySendError::Disconnected(Message::Rows(lines))) =
            self.writer.try_send(Message::Rows(lines))
        {
            stats.add(Counter::DmarcRowsLost, lines.iter().map(|(_, count)| count).sum());
        }
    }
}

/// What is told of a message of which this was found, and for which policy decides so.
pub(crate) fn noted<'a>(
    policy: &PolicyConfig,
    dmarc: &'a Dmarc,
    spf: &'a Spf,
    signatures: &'a Signatures,
    (source, mail_from): (IpAddr, &'a str),
) -> Noted<'a> {
    let wanted = dmarc.disposition;
    let applied = match policy.dmarc.action(crate::dmarc::found(dmarc, signatures)) {
        Action::Refuse => Policy::Reject,
        Action::Junk => Policy::Quarantine,
        Action::None => Policy::None,
    };
    // What we do beyond the record's wish is not because of it.
    let applied = applied.min(wanted);
    let reason = if signatures.vouched && wanted != Policy::None {
        Some(Reason::TrustedForwarder)
    } else if applied != wanted {
        Some(Reason::LocalPolicy)
    } else {
        dmarc.overridden.map(Reason::from)
    };
    Noted { dmarc, spf, dkim: &signatures.dkim, source, mail_from, applied, reason }
}
