//! What comes of the lines of messages: the XML a domain is sent.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use postring_auth::dkim::{Problem, Verification};
use postring_auth::dmarc::report::{Collected, Metadata, Noted, Reason, write_xml};
use postring_auth::dmarc::{
    Dmarc, DmarcResult, Domain, Identifier, Mechanism, OrganizationalDomain, Policy, Published, Record, Tag,
};
use postring_auth::spf::{Spf, SpfResult};

fn dmarc(result: DmarcResult, author: &str, record: &str) -> Dmarc {
    let record = Record::parse(record.as_bytes()).unwrap();
    let domain = Domain::new("example.com").unwrap();
    let policy = record.policy.unwrap();
    let published = Published { domain, record, discovery: OrganizationalDomain::PublicSuffixList, tag: Tag::Policy, policy };
    Dmarc {
        result,
        author: Domain::new(author),
        published: Some(published),
        identifiers: Vec::new(),
        disposition: Policy::None,
        overridden: None,
        reason: String::new(),
        questions: 0,
    }
}

fn spf(result: SpfResult, domain: &str) -> Spf {
    Spf { result, domain: domain.to_owned(), reason: String::new(), explanation: None, questions: 0 }
}

fn signature(problem: Option<Problem>, domain: &str, selector: &str) -> Verification {
    let name = |text: &str| Some(text.to_owned());
    Verification {
        problem,
        testing: false,
        domain: name(domain),
        selector: name(selector),
        identity: None,
        algorithm: None,
        signature: None,
    }
}

const RECORD: &str =
    "v=DMARC1; p=reject; sp=quarantine; adkim=s; fo=1:d; rua=mailto:a@example.com!10m, mailto:b@other.example; ruf=mailto:x@y";

/// The line of a message, or none.
fn line(noted: &Noted<'_>) -> Option<String> {
    let mut out = String::new();
    noted.write(&mut out).then_some(out)
}

#[test]
fn equal_messages_are_a_row() {
    let mut passed = dmarc(DmarcResult::Pass, "example.com", RECORD);
    let identifier = |mechanism, domain: &str| Identifier {
        mechanism,
        domain: Domain::new(domain).unwrap(),
        passed: true,
        aligned: Some(true),
    };
    passed.identifiers = vec![identifier(Mechanism::Dkim("s1".into()), "example.com")];
    let (fails, passes) = (spf(SpfResult::Fail, "lists.example"), spf(SpfResult::Pass, "mx.spam.example"));
    let good = [signature(None, "example.com", "s1"), signature(Some(Problem::Body), "lists.example", "x")];
    let noted = Noted {
        dmarc: &passed,
        spf: &fails,
        dkim: &good,
        source: [192, 0, 2, 1].into(),
        mail_from: "bounce@lists.example",
        applied: Policy::None,
        reason: None,
    };
    let one = line(&noted).unwrap();
    assert_eq!(
        one,
        "example.com\tp=reject;sp=quarantine;adkim=s;aspf=r;pct=100;fo=1:d;rua=mailto:a@example.com!10485760,mailto:b@other.example\t\
         192.0.2.1\tnone\tpass\tfail\t\tlists.example\texample.com\tlists.example mfrom fail\texample.com s1 pass\tlists.example x fail"
    );
    let mut failed = dmarc(DmarcResult::Fail, "news.example.com", RECORD);
    failed.disposition = Policy::Quarantine;
    let forged = Noted {
        dmarc: &failed,
        spf: &passes,
        dkim: &[],
        source: "::ffff:203.0.113.9".parse().unwrap(),
        mail_from: "",
        applied: Policy::None,
        reason: Some(Reason::LocalPolicy),
    };
    let two = line(&forged).unwrap();

    let mut collected = Collected::default();
    for (count, line) in [(2, &one), (40, &one), (7, &two)] {
        assert!(collected.add(&format!("{count}\t{line}")));
    }
    for broken in
        ["", "x", "1\texample.com", &one, &format!("1\t{}", two.replace("203.0.113.9", "203.0.113")), &format!("1\t{one}\tx")]
    {
        assert!(!collected.add(broken), "{broken}");
    }
    let (domain, report) = collected.domains().next().unwrap();
    assert_eq!((collected.domains().count(), report.messages(), collected.left_out()), (1, 49, 0));
    assert_eq!(report.record.aggregate_addresses[0].size_max, Some(10 << 20));
    let metadata = Metadata {
        organization: "Hosting & Söhne <Ltd>",
        email: "postmaster@here.example",
        report_id: "2026-11-28.example.com@mx.here.example",
        begin: 1_795_824_000,
        end: 1_795_910_399,
    };
    let xml = write_xml(&metadata, domain, report);
    let kept = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dmarc/report.xml");
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&kept, &xml).unwrap();
    }
    assert_eq!(xml, std::fs::read_to_string(kept).unwrap());
}

#[test]
fn nothing_is_told_that_nobody_asks_for_or_knows() {
    let wants_none = dmarc(DmarcResult::Fail, "example.com", "v=DMARC1; p=reject; ruf=mailto:x@y");
    let open = dmarc(DmarcResult::TempError, "example.com", RECORD);
    let unpublished = Dmarc { published: None, ..dmarc(DmarcResult::None, "example.com", RECORD) };
    let spf = spf(SpfResult::None, "a b\tc\n");
    let noted = |dmarc| Noted {
        dmarc,
        spf: &spf,
        dkim: &[],
        source: [192, 0, 2, 1].into(),
        mail_from: "x@\u{1}",
        applied: Policy::None,
        reason: None,
    };
    assert_eq!([&wants_none, &open, &unpublished].map(|dmarc| line(&noted(dmarc))), [None, None, None]);
    // What a stranger wrote ends no field.
    let told = dmarc(DmarcResult::Fail, "example.com", RECORD);
    let line = line(&noted(&told)).unwrap();
    assert!(line.ends_with("\t?\texample.com\ta?b?c? mfrom none"), "{line}");
}
