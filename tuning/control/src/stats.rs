//! Counters in shared memory: one page a shard, written by that shard alone, read by the supervisor.
//!
//! A count is a relaxed load and store in the shard's own cache line: no lock, no system call. The reader may see a
//! value a moment old, never a torn one (aligned 64-bit atomics).
//!
//! Layout: 512 little-endian u64: counters from 0, counts of rules from [`RULE_OFFSET`], gauges from [`GAUGE_OFFSET`], counts of policy servers and
//! milters from [`HELPER_OFFSET`], counts of block lists from [`LIST_OFFSET`]; a rule, server or list behind the other.

#![allow(unsafe_code)] // maps a page that another process reads

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a page.
pub const STATS_BYTES: usize = 4096;
const WORDS: usize = STATS_BYTES / 8;
/// Index of the first count of the first rule.
pub const RULE_OFFSET: usize = 128;
/// Rules there is room for.
pub const RULES_MAX: usize = 32;
/// Index of the first gauge.
pub const GAUGE_OFFSET: usize = 256;
/// Index of the first count of the first policy server or milter.
pub const HELPER_OFFSET: usize = 288;
/// Policy servers and milters there is room for.
pub const HELPERS_MAX: usize = 8;
/// Index of the first count of the first block list.
pub const LIST_OFFSET: usize = 320;
/// Block lists there is room for.
pub const LISTS_MAX: usize = 32;

macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $help:literal])+ $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum $name { $($(#[doc = $help])+ $variant,)+ }
        impl $name {
            /// All of them, in the order of the page.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// The name in metrics and `postring status`.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $text,)+ } }
            /// What it says, for people.
            #[must_use]
            pub fn help(self) -> &'static str { match self { $(Self::$variant => concat!($($help),+).trim_ascii(),)+ } }
        }
    };
}

table! {
    /// What only grows.
    Counter {
        /// Connections accepted.
        Connections = "connections_total",
        /// Connections refused at once: limits or the block list.
        ConnectionsRefused = "connections_refused_total",
        /// Connections and recipients refused because their rate is too high.
        RateRefusals = "rate_refusals_total",
        /// Replies held back because the client makes one error after the other.
        RepliesHeldBack = "replies_held_back_total",
        /// Connections refused because the local block list names their address.
        BlockListHits = "block_list_hits_total",
        /// Senders whose domain allows the client (SPF).
        SpfPass = "spf_pass_total",
        /// Senders whose domain says that the client may not.
        SpfFail = "spf_fail_total",
        /// Senders whose domain says that the client most likely may not.
        SpfSoftFail = "spf_softfail_total",
        /// Senders whose domain says nothing of the client, or nothing at all.
        SpfNeutral = "spf_neutral_total",
        /// Checks of SPF the DNS could not answer, or not in time.
        SpfTempError = "spf_temperror_total",
        /// Senders whose domain has a record that is wrong.
        SpfPermError = "spf_permerror_total",
        /// Messages with a good signature (DKIM).
        DkimPass = "dkim_pass_total",
        /// Messages with signatures of which none is good.
        DkimFail = "dkim_fail_total",
        /// Messages without a signature.
        DkimNone = "dkim_none_total",
        /// Messages whose keys the DNS could not give, or not in time.
        DkimTempError = "dkim_temperror_total",
        /// Messages from the domain they show (DMARC).
        DmarcPass = "dmarc_pass_total",
        /// Messages that are not from the domain they show, which has a policy.
        DmarcFail = "dmarc_fail_total",
        /// Messages that show a domain without a policy, or none.
        DmarcNone = "dmarc_none_total",
        /// Messages whose policy the DNS could not give, or not in time.
        DmarcTempError = "dmarc_temperror_total",
        /// Messages whose From field or policy cannot be read.
        DmarcPermError = "dmarc_permerror_total",
        /// Transactions that have asked all the questions, or had all the answers, that one may.
        BudgetsSpent = "budgets_spent_total",
        /// Messages whose verdict needed answers of the DNS.
        DotMessages = "dot_messages_total",
        /// Answers a verdict needed that were there at the last dot.
        DotAnswersReady = "dot_answers_ready_total",
        /// Answers a verdict needed that were waited for at the last dot.
        DotAnswersLate = "dot_answers_late_total",
        /// Microseconds messages have waited for answers of the DNS at their last dot.
        DotWaitMicroseconds = "dot_wait_microseconds_total",
        /// Messages that waited longer than 5 ms for answers of the DNS at their last dot.
        DotWaitsOver5Ms = "dot_waits_over_5ms_total",
        /// Messages that waited longer than 100 ms for answers of the DNS at their last dot.
        DotWaitsOver100Ms = "dot_waits_over_100ms_total",
        /// Messages noted for the reports of DMARC.
        DmarcRows = "dmarc_rows_total",
        /// Messages of which the reports of DMARC will not tell, because they came too fast.
        DmarcRowsLost = "dmarc_rows_lost_total",
        /// Reports of DMARC given to the queue.
        DmarcReports = "dmarc_reports_total",
        /// Reports of DMARC nobody may be sent.
        DmarcReportsSkipped = "dmarc_reports_skipped_total",
        /// Messages put off by greylisting.
        GreylistDeferred = "greylist_deferred_total",
        /// Messages let through by greylisting when they were tried again.
        GreylistPassed = "greylist_passed_total",
        /// Messages answered 250 at the last dot.
        MessagesAccepted = "messages_accepted_total",
        /// Messages answered 5xx at the last dot.
        MessagesRejected = "messages_rejected_total",
        /// Messages answered 4xx at the last dot.
        MessagesDeferred = "messages_deferred_total",
        /// Bytes of messages received.
        BytesReceived = "message_bytes_received_total",
        /// Recipients accepted at RCPT.
        RecipientsAccepted = "recipients_accepted_total",
        /// Recipients refused at RCPT.
        RecipientsRefused = "recipients_refused_total",
        /// TLS handshakes done.
        TlsHandshakes = "tls_handshakes_total",
        /// TLS handshakes that went on with a session from before.
        TlsResumed = "tls_resumed_total",
        /// TLS handshakes in which the client showed a certificate.
        TlsClientCertificates = "tls_client_certificates_total",
        /// TLS handshakes failed.
        TlsFailures = "tls_failures_total",
        /// Logins that succeeded.
        AuthSuccesses = "auth_successes_total",
        /// Logins that failed.
        AuthFailures = "auth_failures_total",
        /// Scans done.
        Scans = "scans_total",
        /// Scans that failed or were given up.
        ScansFailed = "scans_failed_total",
        /// Messages a malware engine was certain of.
        ScanMalware = "scan_malware_total",
        /// Microseconds spent in engines.
        ScanMicroseconds = "scan_microseconds_total",
        /// Group commits of the journal.
        JournalCommits = "journal_commits_total",
        /// Records in the journal.
        JournalRecords = "journal_records_total",
        /// Bytes in the journal.
        JournalBytes = "journal_bytes_total",
        /// Files made in mailboxes.
        MailboxFiles = "mailbox_files_total",
        /// Messages the store refused (full, failed).
        StoreRefusals = "store_refusals_total",
        /// DNS queries received.
        DnsQueries = "dns_queries_total",
        /// DNS answers sent.
        DnsAnswers = "dns_answers_total",
        /// DNS questions sent to forwarders.
        DnsForwards = "dns_forwards_total",
        /// Outbound deliveries that succeeded, a recipient each.
        OutboundDelivered = "outbound_delivered_total",
        /// Outbound attempts put off, a recipient each.
        OutboundDeferred = "outbound_deferred_total",
        /// Outbound recipients bounced.
        OutboundBounced = "outbound_bounced_total",
        /// Peers that broke the ring's rules.
        PeersLied = "peers_lied_total",
    }
}

table! {
    /// What goes up and down.
    Gauge {
        /// Connections open now.
        ConnectionsOpen = "connections_open",
        /// 1 if the shard hurries its clients, because it has so many.
        Stressed = "stressed",
        /// Slots of the arena in use.
        SlotsInUse = "slots_in_use",
        /// Messages in the journal whose mailbox files are still to be made.
        StoreBacklog = "store_backlog",
        /// Messages in the outbound queue.
        QueueMessages = "queue_messages",
        /// 1 if the volume refused an fsync: nothing is acknowledged any more.
        VolumeFailed = "volume_failed",
    }
}

table! {
    /// What is counted of each block list asked by DNS.
    ListCount {
        /// Questions asked of a block list; answers from memory are none.
        Asked = "dnsbl_asked_total",
        /// Clients a block list had.
        Listed = "dnsbl_listed_total",
        /// Answers of a block list that did not come in time.
        Late = "dnsbl_late_total",
        /// Questions of a block list nobody could answer.
        Failed = "dnsbl_failed_total",
        /// Answers of a block list that say that something is wrong with us, or that make no sense.
        Refused = "dnsbl_refused_total",
        /// Clients a block list was not asked for: put aside, or over its budget.
        Skipped = "dnsbl_skipped_total",
    }
}

table! {
    /// What is counted of each rule about client and sender.
    RuleCount {
        /// Messages a rule has looked at.
        Checked = "rule_checked_total",
        /// Messages a rule has hit.
        Hit = "rule_hit_total",
        /// Messages a rule could not judge, or not in time.
        Late = "rule_late_total",
        /// Recipients a rule has refused.
        Refused = "rule_refused_total",
    }
}

table! {
    /// What is counted of each policy server and milter.
    HelperCount {
        /// Questions asked of a policy server or milter.
        Asked = "helper_asked_total",
        /// Refusals of a policy server or milter, for good or for now.
        Refused = "helper_refused_total",
        /// Questions a policy server or milter has not answered, or not in time, or not in its protocol.
        Failed = "helper_failed_total",
        /// Questions a policy server or milter was not asked, because it had failed before or all connections to it were in use.
        Skipped = "helper_skipped_total",
    }
}

/// One shard's page; the writing or the reading end.
#[derive(Debug)]
pub struct StatsPage {
    words: NonNull<AtomicU64>,
}

// SAFETY: the page is only touched through atomics, and the mapping lives as long as the value.
unsafe impl Send for StatsPage {}
// SAFETY: as above.
unsafe impl Sync for StatsPage {}

impl StatsPage {
    /// A new page, zeroed, its size sealed.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create() -> io::Result<OwnedFd> {
        let fd = rustix::fs::memfd_create("postring-stats", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, STATS_BYTES as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)?;
        Ok(fd)
    }

    /// Maps the page for its writer.
    ///
    /// # Errors
    /// Not a page made by [`StatsPage::create`].
    pub fn map(fd: impl AsFd) -> io::Result<Self> {
        Self::map_with(fd, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Maps the page for a reader; `add` and `set` must not be called on it (they would fault).
    ///
    /// # Errors
    /// Not a page made by [`StatsPage::create`].
    pub fn map_for_reading(fd: impl AsFd) -> io::Result<StatsReader> {
        Self::map_with(fd, ProtFlags::READ).map(StatsReader)
    }

    fn map_with(fd: impl AsFd, protection: ProtFlags) -> io::Result<Self> {
        let size = rustix::fs::fstat(&fd)?.st_size;
        let seals = rustix::fs::fcntl_get_seals(&fd)?;
        if usize::try_from(size).ok() != Some(STATS_BYTES) || !seals.contains(SealFlags::SHRINK) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a statistics page"));
        }
        // SAFETY: a new mapping at an address of the kernel's choice; the size is checked and sealed against shrinking.
        let address = unsafe { rustix::mm::mmap(std::ptr::null_mut(), STATS_BYTES, protection, MapFlags::SHARED, &fd, 0)? };
        let words = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mmap gave null"))?;
        Ok(Self { words })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < WORDS);
        // SAFETY: index is below WORDS (enum tables are far shorter), the mapping is page aligned and lives as long as self.
        unsafe { self.words.add(index % WORDS).as_ref() }
    }

    /// Adds to a counter. One writer a page: load and store instead of a locked add.
    pub fn add(&self, counter: Counter, amount: u64) {
        let word = self.word(counter as usize);
        word.store(word.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, gauge: Gauge, value: u64) {
        self.word(GAUGE_OFFSET + gauge as usize).store(value, Ordering::Relaxed);
    }

    /// Adds one to a count of the rule with this number; one beyond [`RULES_MAX`] has no place.
    pub fn add_rule(&self, rule: usize, count: RuleCount) {
        if let Some(index) = rule_index(rule, count) {
            let word = self.word(index);
            word.store(word.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Reads a count of a rule.
    #[must_use]
    pub fn rule(&self, rule: usize, count: RuleCount) -> u64 {
        rule_index(rule, count).map_or(0, |index| self.word(index).load(Ordering::Relaxed))
    }

    /// Sets a count of the block list with this number; one beyond [`LISTS_MAX`] has no place.
    pub fn set_list(&self, list: usize, count: ListCount, value: u64) {
        if let Some(index) = list_index(list, count) {
            self.word(index).store(value, Ordering::Relaxed);
        }
    }

    /// Sets a count of the policy server or milter with this number; one beyond [`HELPERS_MAX`] has no place.
    pub fn set_helper(&self, helper: usize, count: HelperCount, value: u64) {
        if let Some(index) = helper_index(helper, count) {
            self.word(index).store(value, Ordering::Relaxed);
        }
    }

    /// Reads a count of a policy server or milter.
    #[must_use]
    pub fn helper(&self, helper: usize, count: HelperCount) -> u64 {
        helper_index(helper, count).map_or(0, |index| self.word(index).load(Ordering::Relaxed))
    }

    /// Reads a count of a block list.
    #[must_use]
    pub fn list(&self, list: usize, count: ListCount) -> u64 {
        list_index(list, count).map_or(0, |index| self.word(index).load(Ordering::Relaxed))
    }

    /// Reads a counter.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        self.word(counter as usize).load(Ordering::Relaxed)
    }

    /// Reads a gauge.
    #[must_use]
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.word(GAUGE_OFFSET + gauge as usize).load(Ordering::Relaxed)
    }
}

impl Drop for StatsPage {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map_with`, whose only owner ends here.
        let unmapped = unsafe { rustix::mm::munmap(self.words.as_ptr().cast(), STATS_BYTES) };
        debug_assert!(unmapped.is_ok());
    }
}

/// The reading end of a page.
#[derive(Debug)]
pub struct StatsReader(StatsPage);

impl StatsReader {
    /// Reads a counter.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        self.0.counter(counter)
    }

    /// Reads a gauge.
    #[must_use]
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.0.gauge(gauge)
    }

    /// Reads a count of a rule.
    #[must_use]
    pub fn rule(&self, rule: usize, count: RuleCount) -> u64 {
        self.0.rule(rule, count)
    }

    /// Reads a count of a policy server or milter.
    #[must_use]
    pub fn helper(&self, helper: usize, count: HelperCount) -> u64 {
        self.0.helper(helper, count)
    }

    /// Reads a count of a block list.
    #[must_use]
    pub fn list(&self, list: usize, count: ListCount) -> u64 {
        self.0.list(list, count)
    }
}

fn rule_index(rule: usize, count: RuleCount) -> Option<usize> {
    (rule < RULES_MAX).then_some(RULE_OFFSET + rule * RuleCount::ALL.len() + count as usize)
}

fn helper_index(helper: usize, count: HelperCount) -> Option<usize> {
    (helper < HELPERS_MAX).then_some(HELPER_OFFSET + helper * HelperCount::ALL.len() + count as usize)
}

fn list_index(list: usize, count: ListCount) -> Option<usize> {
    (list < LISTS_MAX).then_some(LIST_OFFSET + list * ListCount::ALL.len() + count as usize)
}

const _: () = assert!(Counter::ALL.len() <= RULE_OFFSET && RULE_OFFSET + RULES_MAX * RuleCount::ALL.len() <= GAUGE_OFFSET);
const _: () = assert!(GAUGE_OFFSET + Gauge::ALL.len() <= HELPER_OFFSET);
const _: () = assert!(HELPER_OFFSET + HELPERS_MAX * HelperCount::ALL.len() <= LIST_OFFSET);
const _: () = assert!(LIST_OFFSET + LISTS_MAX * ListCount::ALL.len() <= WORDS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_sees_what_the_writer_counted() {
        let fd = StatsPage::create().unwrap();
        let page = StatsPage::map(&fd).unwrap();
        let reader = StatsPage::map_for_reading(&fd).unwrap();
        page.add(Counter::Scans, 2);
        page.add(Counter::Scans, 3);
        page.set(Gauge::QueueMessages, 7);
        assert_eq!((reader.counter(Counter::Scans), reader.gauge(Gauge::QueueMessages)), (5, 7));
        page.set_list(31, ListCount::Skipped, 9);
        page.set_list(32, ListCount::Asked, 1);
        assert_eq!((reader.list(31, ListCount::Skipped), reader.list(32, ListCount::Asked)), (9, 0));
        page.set_helper(7, HelperCount::Skipped, 4);
        page.set_helper(8, HelperCount::Asked, 1);
        assert_eq!((reader.helper(7, HelperCount::Skipped), reader.helper(8, HelperCount::Asked)), (4, 0));
        page.add_rule(31, RuleCount::Refused);
        page.add_rule(32, RuleCount::Checked);
        assert_eq!((reader.rule(31, RuleCount::Refused), reader.rule(32, RuleCount::Checked)), (1, 0));
        assert_eq!(Counter::Scans.name(), "scans_total");
        assert_eq!(Counter::Scans.help(), "Scans done.");
    }

    #[test]
    fn a_file_of_another_size_is_refused() {
        let fd = rustix::fs::memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        assert!(StatsPage::map(&fd).is_err());
    }
}
