//! Lines come together again: what each domain is told.

use crate::dmarc::{Domain, Record};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Domains of a period; what comes for more is left out, and counted.
const DOMAINS_MAX: usize = 100_000;
/// Rows of a report; more are left out, and the report says so.
const ROWS_MAX: usize = 20_000;

/// The lines of a period.
#[derive(Debug, Default)]
pub struct Collected {
    domains: BTreeMap<Domain, DomainReport>,
    left_out: u64,
}

/// What one domain is told.
#[derive(Debug)]
pub struct DomainReport {
    /// Its record, as it was last.
    pub record: Record,
    /// What is behind the record in a line, and how often it came.
    rows: HashMap<Box<str>, u64>,
    /// Messages for whose row there was no room.
    pub left_out: u64,
}

/// A row, its texts as they stand in the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub source: IpAddr,
    pub count: u64,
    pub disposition: &'a str,
    pub dkim: &'a str,
    pub spf: &'a str,
    pub reason: &'a str,
    pub envelope_from: &'a str,
    pub header_from: &'a str,
    /// Domain, scope, result.
    pub spf_result: [&'a str; 3],
    /// Domain, selector, result of each signature.
    pub dkim_results: Vec<[&'a str; 3]>,
}

impl Collected {
    /// Takes a line with its count and a tab before it. False: it is none, which a machine that lost its power may leave behind.
    pub fn add(&mut self, line: &str) -> bool {
        let mut fields = line.splitn(4, '\t');
        let (Some(count), Some(domain), Some(record), Some(row)) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return false;
        };
        let parsed = (count.parse::<u64>().ok(), Domain::new(domain), Record::parse(format!("v=DMARC1;{record}").as_bytes()));
        let (Some(count), Some(domain), Some(record), true) = (parsed.0, parsed.1, parsed.2, Row::parse(row, 0).is_some()) else {
            return false;
        };
        if self.domains.len() >= DOMAINS_MAX && !self.domains.contains_key(&domain) {
            self.left_out = self.left_out.saturating_add(count);
            return true;
        }
        let new = || DomainReport { record: record.clone(), rows: HashMap::new(), left_out: 0 };
        let report = self.domains.entry(domain).or_insert_with(new);
        report.record = record;
        report.add(row, count);
        true
    }

    /// The domains in the order of their names, with what each is told.
    pub fn domains(&self) -> impl Iterator<Item = (&Domain, &DomainReport)> {
        self.domains.iter()
    }

    /// Messages of domains for which there was no room.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

impl DomainReport {
    fn add(&mut self, row: &str, count: u64) {
        if let Some(sum) = self.rows.get_mut(row) {
            *sum = sum.saturating_add(count);
        } else if self.rows.len() < ROWS_MAX {
            self.rows.insert(row.into(), count);
        } else {
            self.left_out = self.left_out.saturating_add(count);
        }
    }

    /// Messages it tells of.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.rows.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Its rows, those with the most messages first.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows: Vec<(&str, u64)> = self.rows.iter().map(|(row, count)| (&**row, *count)).collect();
        rows.sort_by(|(one, one_count), (other, other_count)| other_count.cmp(one_count).then(one.cmp(other)));
        rows.into_iter().filter_map(|(row, count)| Row::parse(row, count)).collect()
    }
}

impl<'a> Row<'a> {
    fn parse(text: &'a str, count: u64) -> Option<Self> {
        let mut fields = text.split('\t');
        let mut next = || fields.next();
        let source = next()?.parse().ok()?;
        let [disposition, dkim, spf, reason, envelope_from, header_from] = [next()?, next()?, next()?, next()?, next()?, next()?];
        let spf_result = three(next()?)?;
        let dkim_results = fields.map(three).collect::<Option<_>>()?;
        Some(Self { source, count, disposition, dkim, spf, reason, envelope_from, header_from, spf_result, dkim_results })
    }
}

fn three(text: &str) -> Option<[&str; 3]> {
    let mut words = text.split(' ');
    let three = [words.next()?, words.next()?, words.next()?];
    words.next().is_none().then_some(three)
}
