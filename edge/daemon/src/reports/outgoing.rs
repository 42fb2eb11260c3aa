//! One report on its way to the queue, on a shard: may it be sent to those who are named?

use super::letter;
use crate::budget::Lookups;
use crate::own_mail::{self, OwnMail};
use crate::shard::Shard;
use postring_auth::dmarc::report::{Permission, mailbox, permission};
use postring_auth::dmarc::{Domain, ReportAddress};
use postring_control::Counter;
use postring_mail::dsn::Notify;
use postring_mail::path::{Characters, parse_mailbox};
use std::rc::Rc;

/// Addresses of a record that are sent to; RFC 7489 section 6.2 lets a receiver set a limit, and wants at least two.
const ADDRESSES_MAX: usize = 4;

/// A report that is to be sent.
pub(crate) struct Outgoing {
    pub(crate) domain: Domain,
    /// Where the domain wants it.
    pub(crate) addresses: Vec<ReportAddress>,
    /// Its sender.
    pub(crate) from: String,
    pub(crate) report_id: String,
    pub(crate) begin: u64,
    pub(crate) end: u64,
    /// The XML, by gzip.
    pub(crate) compressed: Vec<u8>,
}

/// Those it was sent to, and why not to others; or why it cannot be sent now.
pub(crate) type OutgoingAnswer = Result<(Vec<String>, Vec<String>), String>;

/// Gives the report to the queue, for all who may have it.
pub(crate) async fn send(shard: &Rc<Shard>, report: &Outgoing) -> OutgoingAnswer {
    let lookups = Lookups::new(shard);
    let (mut to, mut skipped) = (Vec::new(), Vec::new());
    for address in &report.addresses {
        if to.len() >= ADDRESSES_MAX {
            skipped.push(format!("{}: {ADDRESSES_MAX} addresses are enough", address.uri));
            continue;
        }
        match may_have(shard, &lookups, report, address).await? {
            Ok(mailbox) if to.contains(&mailbox) => {}
            Ok(mailbox) => to.push(mailbox),
            Err(reason) => skipped.push(format!("{}: {reason}", address.uri)),
        }
    }
    let mut targets = Vec::new();
    for mailbox in &to {
        match own_mail::targets(shard, mailbox) {
            Ok(more) => targets.extend(more),
            Err(error) => skipped.push(error),
        }
    }
    if targets.is_empty() {
        shard.stats().add(Counter::DmarcReportsSkipped, 1);
        return Ok((Vec::new(), skipped));
    }
    let now = shard.now();
    let id = shard.next_message_id(now);
    let text = letter::write(report, shard.hostname(), &to, now.unix_seconds());
    // Whether it arrives is the domain's business: a mailbox full of reports about reports helps nobody.
    let notify = Notify::parse("NEVER").unwrap_or_default();
    own_mail::give(shard, id, &OwnMail { reverse_path: &report.from, to: &targets, notify, text: &text }).await?;
    tracing::info!(target: "mail", %id, domain = %report.domain, to = to.join(" "), "a DMARC report is queued");
    shard.stats().add(Counter::DmarcReports, 1);
    Ok((to, skipped))
}

/// The mailbox of an address, if it may have the report; else why not.
///
/// # Errors
/// That cannot be said now.
async fn may_have(
    shard: &Rc<Shard>,
    lookups: &Lookups,
    report: &Outgoing,
    address: &ReportAddress,
) -> Result<Result<String, &'static str>, String> {
    let Some((mailbox, domain)) = mailbox(address) else { return Ok(Err("not an address of mail")) };
    if parse_mailbox(&mailbox, Characters::Ascii).is_err() {
        return Ok(Err("not an address of mail"));
    }
    if address.size_max.is_some_and(|size_max| report.compressed.len() as u64 > size_max) {
        return Ok(Err("the report is larger than it wants"));
    }
    let config = shard.config();
    let suffixes = shard.suffixes();
    let settings = crate::dmarc::settings(&config.policy.dmarc, &suffixes, 0);
    match permission(lookups, &report.domain, &domain, &settings).await {
        Permission::Given => Ok(Ok(mailbox)),
        Permission::Denied => Ok(Err("its domain has not agreed to reports about others (RFC 7489 section 7.1)")),
        Permission::Unknown => Err(format!("the DNS could not say whether {domain} agrees to reports of {}", report.domain)),
    }
}
