//! The line of a message. See the module above for its fields.

use crate::dkim::{Problem, Verification};
use crate::dmarc::{Alignment, Dmarc, FailureOptions, Override, Policy, Record};
use crate::spf::Spf;
use std::fmt::Write as _;
use std::net::IpAddr;

/// Signatures told of a message; RFC 7489 asks for all, a spammer can make many.
const SIGNATURES_MAX: usize = 8;
/// Octets of a name: those of the DNS are shorter, what an envelope has may not be one.
const NAME_BYTES_MAX: usize = 255;

/// Why less was done than the record asks (RFC 7489 appendix C, `PolicyOverrideType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `pct=` spared it.
    SampledOut,
    /// A sealer we trust found it authentic (ARC).
    TrustedForwarder,
    /// The administrator wants something else done.
    LocalPolicy,
    /// `t=y`.
    Other,
}

impl Reason {
    /// As the report has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SampledOut => "sampled_out",
            Self::TrustedForwarder => "trusted_forwarder",
            Self::LocalPolicy => "local_policy",
            Self::Other => "other",
        }
    }
}

impl From<Override> for Reason {
    fn from(overridden: Override) -> Self {
        match overridden {
            Override::SampledOut => Self::SampledOut,
            Override::Testing => Self::Other,
        }
    }
}

/// What is told of a message.
#[derive(Clone, Copy, Debug)]
pub struct Noted<'a> {
    /// What DMARC found.
    pub dmarc: &'a Dmarc,
    /// What SPF found.
    pub spf: &'a Spf,
    /// What signatures are worth.
    pub dkim: &'a [Verification],
    /// The client.
    pub source: IpAddr,
    /// The address of MAIL FROM, empty for the null sender.
    pub mail_from: &'a str,
    /// What was done because of it.
    pub applied: Policy,
    /// Why that is not what the record asks.
    pub reason: Option<Reason>,
}

impl Noted<'_> {
    /// Puts the line, without an end, behind `out`. False: no report is wanted of it, or the DNS could not say what would be in it.
    pub fn write(&self, out: &mut String) -> bool {
        let (Some(published), Some(author)) = (&self.dmarc.published, &self.dmarc.author) else { return false };
        if published.record.aggregate_addresses.is_empty() || !self.dmarc.result.is_decided() {
            return false;
        }
        let _ = write!(out, "{}\t", published.domain);
        write_record(&published.record, out);
        let evaluated = |passed: bool| if passed { "pass" } else { "fail" };
        let (dkim, spf) = (evaluated(self.dmarc.dkim_passed()), evaluated(self.dmarc.spf_passed()));
        let reason = self.reason.map_or("", Reason::name);
        let _ = write!(out, "\t{}\t{}\t{dkim}\t{spf}\t{reason}\t", self.source.to_canonical(), self.applied);
        write_name(self.mail_from.rsplit_once('@').map_or("", |(_, domain)| domain), out);
        let _ = write!(out, "\t{author}\t");
        write_name(&self.spf.domain, out);
        let scope = if self.mail_from.is_empty() { "helo" } else { "mfrom" };
        let _ = write!(out, " {scope} {}", self.spf.result.name());
        let signatures = self.dkim.iter().filter(|signature| signature.problem != Some(Problem::Unsigned));
        for signature in signatures.take(SIGNATURES_MAX) {
            let Some(domain) = &signature.domain else { continue };
            out.push('\t');
            write_name(domain, out);
            out.push(' ');
            write_name(signature.selector.as_deref().unwrap_or("-"), out);
            let _ = write!(out, " {}", signature.status().name());
        }
        true
    }
}

/// A name without what would be the end of a field.
fn write_name(name: &str, out: &mut String) {
    let name = name.get(..name.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or_default();
    out.extend(name.chars().map(|letter| if letter.is_whitespace() || letter.is_control() { '?' } else { letter }));
}

/// The tags of a record that a report tells, and where it goes; [`Record::parse`] reads them with the version before them.
fn write_record(record: &Record, out: &mut String) {
    let alignment = |alignment: Alignment| if alignment == Alignment::Strict { 's' } else { 'r' };
    let _ = write!(out, "p={}", record.policy.unwrap_or_default());
    for (tag, policy) in [("sp", record.subdomain_policy), ("np", record.nonexistent_policy)] {
        if let Some(policy) = policy {
            let _ = write!(out, ";{tag}={policy}");
        }
    }
    let _ = write!(out, ";adkim={};aspf={}", alignment(record.dkim_alignment), alignment(record.spf_alignment));
    let _ = write!(out, ";pct={};fo={}", record.percent, failure_options(record.failure_options));
    if record.testing {
        out.push_str(";t=y");
    }
    for (at, address) in record.aggregate_addresses.iter().enumerate() {
        let _ = write!(out, "{}{}", if at == 0 { ";rua=" } else { "," }, address.uri);
        if let Some(octets) = address.size_max {
            let _ = write!(out, "!{octets}");
        }
    }
}

/// `fo=` as it is written.
pub(super) fn failure_options(options: FailureOptions) -> String {
    let given = [(options.all, "0"), (options.any, "1"), (options.dkim, "d"), (options.spf, "s")];
    let given: Vec<&str> = given.into_iter().filter_map(|(is_given, name)| is_given.then_some(name)).collect();
    given.join(":")
}
