//! The report itself, in the form of RFC 7489 appendix C: what those who read such reports today know.

use super::collected::{DomainReport, Row};
use super::line::failure_options;
use crate::dmarc::{Alignment, Domain, Policy};
use std::fmt::Write as _;

/// Who reports, and of which time.
#[derive(Clone, Copy, Debug)]
pub struct Metadata<'a> {
    /// Name of the organization that received the mail.
    pub organization: &'a str,
    /// Where it can be asked.
    pub email: &'a str,
    /// The same whenever this report is sent.
    pub report_id: &'a str,
    /// First second, since 1970.
    pub begin: u64,
    /// Last second.
    pub end: u64,
}

/// The XML of a domain's report.
#[must_use]
pub fn write_xml(metadata: &Metadata<'_>, domain: &Domain, report: &DomainReport) -> String {
    let rows = report.rows();
    let mut xml = Xml { out: String::with_capacity(1024 + rows.len() * 1024), depth: 0 };
    xml.out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    xml.within("feedback", |xml| {
        xml.text("version", "1.0");
        xml.within("report_metadata", |xml| {
            xml.text("org_name", metadata.organization);
            xml.text("email", metadata.email);
            xml.text("report_id", metadata.report_id);
            xml.within("date_range", |xml| {
                xml.number("begin", metadata.begin);
                xml.number("end", metadata.end);
            });
            if report.left_out > 0 {
                xml.text("error", &format!("{} messages are not in this report, which would be too long", report.left_out));
            }
        });
        let record = &report.record;
        let alignment = |alignment: Alignment| if alignment == Alignment::Strict { "s" } else { "r" };
        xml.within("policy_published", |xml| {
            xml.text("domain", domain.as_str());
            xml.text("adkim", alignment(record.dkim_alignment));
            xml.text("aspf", alignment(record.spf_alignment));
            let policy = record.policy.unwrap_or_default();
            xml.text("p", policy.name());
            // The schema wants it; without the tag the policy is that of the domain (RFC 7489 section 6.3).
            xml.text("sp", record.subdomain_policy.map_or(policy.name(), Policy::name));
            xml.number("pct", record.percent.into());
            xml.text("fo", &failure_options(record.failure_options));
        });
        for row in &rows {
            write_row(row, xml);
        }
    });
    xml.out
}

fn write_row(row: &Row<'_>, xml: &mut Xml) {
    xml.within("record", |xml| {
        xml.within("row", |xml| {
            xml.text("source_ip", &row.source.to_string());
            xml.number("count", row.count);
            xml.within("policy_evaluated", |xml| {
                xml.text("disposition", row.disposition);
                xml.text("dkim", row.dkim);
                xml.text("spf", row.spf);
                if !row.reason.is_empty() {
                    xml.within("reason", |xml| xml.text("type", row.reason));
                }
            });
        });
        xml.within("identifiers", |xml| {
            xml.text("envelope_from", row.envelope_from);
            xml.text("header_from", row.header_from);
        });
        xml.within("auth_results", |xml| {
            for [domain, selector, result] in &row.dkim_results {
                xml.within("dkim", |xml| {
                    xml.text("domain", domain);
                    if *selector != "-" {
                        xml.text("selector", selector);
                    }
                    xml.text("result", result);
                });
            }
            let [domain, scope, result] = row.spf_result;
            xml.within("spf", |xml| {
                xml.text("domain", domain);
                xml.text("scope", scope);
                xml.text("result", result);
            });
        });
    });
}

struct Xml {
    out: String,
    depth: usize,
}

impl Xml {
    fn within(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.indent();
        let _ = writeln!(self.out, "<{name}>");
        self.depth += 1;
        write(self);
        self.depth -= 1;
        self.indent();
        let _ = writeln!(self.out, "</{name}>");
    }

    fn text(&mut self, name: &str, text: &str) {
        self.indent();
        let _ = write!(self.out, "<{name}>");
        for letter in text.chars() {
            match letter {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                // XML 1.0 section 2.2: there is no way to write most of them.
                _ if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => self.out.push('?'),
                _ => self.out.push(letter),
            }
        }
        let _ = writeln!(self.out, "</{name}>");
    }

    fn number(&mut self, name: &str, number: u64) {
        self.indent();
        let _ = writeln!(self.out, "<{name}>{number}</{name}>");
    }

    fn indent(&mut self) {
        self.out.extend(std::iter::repeat_n("  ", self.depth));
    }
}
