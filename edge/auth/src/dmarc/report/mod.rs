//! Aggregate reports: what a domain is told of the mail that shows its name (RFC 7489 section 7.2 and appendix C; RFC 9990 came after it).
//!
//! ```text
//!   a message ─> Noted ─> a line ─> counted by whoever keeps it, each with how often ─> Collected ─> the XML of each domain
//! ```
//! A line is text, tabs between its fields, none of which can have one; equal messages have equal lines:
//!
//! ```text
//!   policy domain | record | source | disposition | dkim | spf | reason | envelope from | header from | spf result | dkim result ...
//!
//!   record       the policy as it was published, like "p=none;adkim=r;...;rua=mailto:a@b.example"
//!   dkim, spf    pass or fail, aligned (policy_evaluated)
//!   reason       why the disposition is not what the record asks, or nothing
//!   spf result   domain, scope and result; dkim result: domain, selector and result; spaces between
//! ```

mod collected;
mod destination;
mod line;
mod xml;

pub use collected::{Collected, DomainReport};
pub use destination::{Permission, mailbox, permission};
pub use line::{Noted, Reason};
pub use xml::{Metadata, write_xml};

/// Reads lines of anybody's and writes what they come to; for the fuzzer.
pub fn fuzz_lines(data: &[u8]) {
    let mut collected = Collected::default();
    for line in String::from_utf8_lossy(data).lines() {
        collected.add(line);
    }
    let metadata = Metadata { organization: "o", email: "e", report_id: "i", begin: 0, end: 1 };
    for (domain, report) in collected.domains() {
        let xml = write_xml(&metadata, domain, report);
        assert!(xml.ends_with("</feedback>\n") && xml.bytes().all(|byte| byte >= b' ' || byte == b'\n'));
    }
}
