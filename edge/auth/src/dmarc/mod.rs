//! DMARC: what a domain wants done with mail that shows its name and is not from it (RFC 7489; RFC 9989, which came after it).
//!
//! ```text
//!   message ─> From field ─> author ─> record, its own or that of its organization ─> policy ─────┐
//!   SPF, DKIM ─> domains that passed ─> aligned with the author, strictly or by organization? ────┴─> Dmarc
//! ```
//! Where an organization ends is known by the public suffix list, as RFC 7489 has it, or by a walk through the DNS, as RFC 9989 has it: the
//! administrator's choice, [`OrganizationalDomain`]. What both say of records, alignment and results is the same here.

mod address;
mod author;
mod check;
mod discovery;
mod domain;
mod organization;
mod record;
pub mod report;
mod result;
mod suffixes;
mod zone;

pub use author::{AuthorProblem, author, fuzz_from};
pub use check::{Settings, check};
pub use discovery::likely_questions;
pub use domain::Domain;
pub use organization::{OrganizationalDomain, organization};
pub use record::{Alignment, FailureOptions, Policy, PublicSuffix, Record, ReportAddress, fuzz_record};
pub use result::{Dmarc, DmarcResult, Identifier, Mechanism, Override, Published, Tag};
pub use suffixes::{PublicSuffixes, SuffixListError};
