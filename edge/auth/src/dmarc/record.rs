//! The policy record a domain publishes at `_dmarc` (RFC 7489 section 6.3, RFC 9989 section 4.7): tags, each of which has a default.
//!
//! DKIM refuses a tag-list that is broken anywhere; DMARC forgives all but the version, and so needs a reader of its own.

use std::fmt;

/// More tags are not looked at: the RFCs define fourteen.
const TAGS_MAX: usize = 64;
/// More addresses for reports are not looked at.
const ADDRESSES_MAX: usize = 16;

/// What the receiver is asked to do with mail that fails, from the gentlest to the strictest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Nothing.
    #[default]
    None,
    /// To treat it as suspicious.
    Quarantine,
    /// To refuse it.
    Reject,
}

impl Policy {
    /// The next gentler one.
    #[must_use]
    pub fn gentler(self) -> Self {
        match self {
            Self::Reject => Self::Quarantine,
            Self::Quarantine | Self::None => Self::None,
        }
    }

    fn parse(value: &[u8]) -> Option<Self> {
        [Self::None, Self::Quarantine, Self::Reject]
            .into_iter()
            .find(|policy| value.eq_ignore_ascii_case(policy.name().as_bytes()))
    }

    /// As records and fields have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How like the author's an authenticated domain must be (RFC 7489 section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alignment {
    /// Both have the same Organizational Domain.
    #[default]
    Relaxed,
    /// It is the same.
    Strict,
}

/// `psd=` (RFC 9989 section 4.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PublicSuffix {
    /// `u`: to be found out.
    #[default]
    Unknown,
    /// `y`: the domain is a public suffix.
    Yes,
    /// `n`: the domain is the Organizational Domain of itself and of what is below.
    No,
}

/// `fo=`: which failures are to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureOptions {
    /// `0`: nothing aligned passed.
    pub all: bool,
    /// `1`: something did not pass aligned.
    pub any: bool,
    /// `d`: a signature did not verify.
    pub dkim: bool,
    /// `s`: SPF did not pass.
    pub spf: bool,
}

/// Where reports are to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportAddress {
    /// `mailto:` and an address, or something else nobody sends to; characters of a URI alone.
    pub uri: String,
    /// Octets of the largest report wanted (`!10m`, RFC 7489 section 6.2).
    pub size_max: Option<u64>,
}

/// A record, tags that are absent or broken with their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `p=`; `None` if it is absent or broken.
    pub policy: Option<Policy>,
    /// `sp=`: the policy for domains below.
    pub subdomain_policy: Option<Policy>,
    /// `np=`: the policy for domains below that do not exist.
    pub nonexistent_policy: Option<Policy>,
    /// `adkim=`.
    pub dkim_alignment: Alignment,
    /// `aspf=`.
    pub spf_alignment: Alignment,
    /// `pct=`: to how many of a hundred failing messages the policy is to be applied.
    pub percent: u8,
    /// `t=y`: the domain tests its policy.
    pub testing: bool,
    /// `psd=`.
    pub public_suffix: PublicSuffix,
    /// `fo=`.
    pub failure_options: FailureOptions,
    /// `ri=`: seconds between aggregate reports.
    pub report_interval_seconds: u32,
    /// `rua=`: where aggregate reports are to be sent.
    pub aggregate_addresses: Vec<ReportAddress>,
    /// `ruf=`: where failure reports are to be sent.
    pub failure_addresses: Vec<ReportAddress>,
    /// True if `sp=` or `np=` is there and broken.
    is_broken: bool,
}

impl Record {
    /// Reads a record; `None` for what is no DMARC record, which the RFCs have discarded.
    ///
    /// `rf=` is read over: there is one format.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut tags: Vec<(String, &[u8])> = Vec::new();
        for spec in text.split(|byte| *byte == b';').take(TAGS_MAX) {
            let Some((name, value)) = memchr::memchr(b'=', spec).and_then(|equals| spec.split_at_checked(equals)) else {
                if tags.is_empty() {
                    return None;
                }
                continue;
            };
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            // Names are words of an ABNF, which have no case (RFC 5234 section 2.3).
            let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
            //= RFC 7489 section 6.3
            //# v: Version (plain-text; REQUIRED).  Identifies the record retrieved as a DMARC record.  It MUST have the value of "DMARC1".
            //# The value of this tag MUST match precisely; if it does not or it is absent, the entire retrieved record MUST be ignored.
            //# It MUST be the first tag in the list.
            if tags.is_empty() && (name != "v" || value != b"DMARC1") {
                return None;
            }
            tags.push((name, value));
        }
        // A tag that is there twice says nothing: nobody knows which of both is meant.
        let get = |wanted: &str| {
            let mut found = tags.iter().filter(|(name, _)| name == wanted).map(|(_, value)| *value);
            match (found.next(), found.next()) {
                (Some(value), None) => Tag::Value(value),
                (Some(_), Some(_)) => Tag::Twice,
                (None, _) => Tag::Absent,
            }
        };
        let policy = |name| get(name).value().and_then(Policy::parse);
        let (subdomain_policy, nonexistent_policy) = (policy("sp"), policy("np"));
        //= RFC 7489 section 6.3
        //# Syntax errors in the remainder of the record SHOULD be discarded in favor of default values (if any) or ignored outright.
        let is_letter = |name, letter: u8| get(name).value().is_some_and(|value| value.eq_ignore_ascii_case(&[letter]));
        let alignment = |name| if is_letter(name, b's') { Alignment::Strict } else { Alignment::Relaxed };
        let public_suffix = if is_letter("psd", b'y') {
            PublicSuffix::Yes
        } else if is_letter("psd", b'n') {
            PublicSuffix::No
        } else {
            PublicSuffix::Unknown
        };
        Some(Self {
            policy: policy("p"),
            subdomain_policy,
            nonexistent_policy,
            dkim_alignment: alignment("adkim"),
            spf_alignment: alignment("aspf"),
            percent: get("pct")
                .value()
                .and_then(number)
                .and_then(|pct| u8::try_from(pct).ok())
                .filter(|pct| *pct <= 100)
                .unwrap_or(100),
            testing: is_letter("t", b'y'),
            public_suffix,
            failure_options: failure_options(get("fo").value()),
            report_interval_seconds: get("ri").value().and_then(number).and_then(|ri| u32::try_from(ri).ok()).unwrap_or(86_400),
            aggregate_addresses: addresses(get("rua").value()),
            failure_addresses: addresses(get("ruf").value()),
            is_broken: (subdomain_policy.is_none() && get("sp").is_there())
                || (nonexistent_policy.is_none() && get("np").is_there()),
        })
    }

    /// The record as it is to be applied: `None` if it says too little to be.
    //= RFC 7489 section 6.6.3
    //# If a retrieved policy record does not contain a valid "p" tag, or contains an "sp" tag that is not valid, then: [...] if a "rua"
    //# tag is present and contains at least one syntactically valid reporting URI, the Mail Receiver SHOULD act as if a record
    //# containing a valid "v" tag and "p=none" was retrieved, and continue processing; [...] otherwise, the Mail Receiver applies no
    //# DMARC processing to this message.
    #[must_use]
    pub fn applicable(&self) -> Option<Self> {
        if self.policy.is_some() && !self.is_broken {
            return Some(self.clone());
        }
        let monitoring = Self {
            policy: Some(Policy::None),
            subdomain_policy: None,
            nonexistent_policy: None,
            is_broken: false,
            ..self.clone()
        };
        (!self.aggregate_addresses.is_empty()).then_some(monitoring)
    }
}

/// A tag of a record.
enum Tag<'a> {
    Absent,
    Value(&'a [u8]),
    Twice,
}

impl<'a> Tag<'a> {
    fn value(&self) -> Option<&'a [u8]> {
        if let Self::Value(value) = self { Some(value) } else { None }
    }

    fn is_there(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

/// Digits, at most ten.
fn number(value: &[u8]) -> Option<u64> {
    let digits = (1..=10).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    digits.then(|| value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

fn failure_options(value: Option<&[u8]>) -> FailureOptions {
    let mut options = FailureOptions { all: false, any: false, dkim: false, spf: false };
    for option in value.unwrap_or_default().split(|byte| *byte == b':') {
        match option.trim_ascii() {
            b"0" => options.all = true,
            b"1" => options.any = true,
            b"d" | b"D" => options.dkim = true,
            b"s" | b"S" => options.spf = true,
            _ => {}
        }
    }
    if options == (FailureOptions { all: false, any: false, dkim: false, spf: false }) {
        options.all = true;
    }
    options
}

/// The addresses that can be read; others are left out.
fn addresses(value: Option<&[u8]>) -> Vec<ReportAddress> {
    value
        .unwrap_or_default()
        .split(|byte| *byte == b',')
        .take(ADDRESSES_MAX)
        .filter_map(|text| address(text.trim_ascii()))
        .collect()
}

/// A URI (RFC 3986 section 3), and behind a `!` the size (RFC 7489 section 6.2); within the URI an exclamation point is encoded.
fn address(text: &[u8]) -> Option<ReportAddress> {
    let text = std::str::from_utf8(text).ok()?;
    let (uri, size_max) = match text.split_once('!') {
        Some((uri, size)) => (uri, Some(octets(size)?)),
        None => (text, None),
    };
    let (scheme, rest) = uri.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let is_uri = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@$&'()*+;=%".contains(&byte);
    let is_right = is_scheme && !rest.is_empty() && rest.bytes().all(is_uri);
    let is_mail = scheme.eq_ignore_ascii_case("mailto");
    (is_right && (!is_mail || rest.contains('@'))).then(|| ReportAddress { uri: uri.to_owned(), size_max })
}

fn octets(size: &str) -> Option<u64> {
    let digits = size.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let shift = match size.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    number(digits.as_bytes())?.checked_mul(1 << shift)
}

/// Fuzz entry: any octets are a record or none; one that is applied has a policy, and space and unknown tags change nothing.
///
/// # Panics
/// If that does not hold.
pub fn fuzz_record(data: &[u8]) {
    let Some(record) = Record::parse(data) else { return };
    assert!(record.percent <= 100 && record.aggregate_addresses.len() <= ADDRESSES_MAX);
    if let Some(applied) = record.applicable() {
        assert!(applied.policy.is_some());
        assert_eq!(applied.applicable().as_ref(), Some(&applied));
    }
    if data.iter().filter(|byte| **byte == b';').count() + 2 < TAGS_MAX {
        let framed = [b" ", data, b" ; x_unknown = 1 ;"].concat();
        assert_eq!(Record::parse(&framed).as_ref(), Some(&record));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Record {
        Record::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn all_tags() {
        let record = parse(
            "v=DMARC1; p=Reject; sp=quarantine; np=none; adkim=s; aspf=S; pct=20; fo=1:d:s; rf=afrf; ri=3600; t=y; psd=n; \
             rua=mailto:a@b.example!10m , https://c.example/x; ruf=mailto:d@e.example",
        );
        assert_eq!(
            (record.policy, record.subdomain_policy, record.nonexistent_policy),
            (Some(Policy::Reject), Some(Policy::Quarantine), Some(Policy::None))
        );
        assert_eq!((record.dkim_alignment, record.spf_alignment), (Alignment::Strict, Alignment::Strict));
        assert_eq!((record.percent, record.testing, record.public_suffix), (20, true, PublicSuffix::No));
        assert_eq!(record.failure_options, FailureOptions { all: false, any: true, dkim: true, spf: true });
        assert_eq!(record.report_interval_seconds, 3600);
        let address = |uri: &str, size_max| ReportAddress { uri: uri.to_owned(), size_max };
        let expected = [address("mailto:a@b.example", Some(10 << 20)), address("https://c.example/x", None)];
        assert_eq!(record.aggregate_addresses, expected);
        assert_eq!(record.failure_addresses, [address("mailto:d@e.example", None)]);
    }

    #[test]
    fn defaults_of_what_is_absent_or_broken() {
        let least = parse("v=DMARC1;p=none");
        assert_eq!((least.percent, least.report_interval_seconds, least.testing), (100, 86_400, false));
        assert_eq!(least.failure_options, FailureOptions { all: true, any: false, dkim: false, spf: false });
        for text in [
            "v=DMARC1; p=none;",
            "V = DMARC1;;P= none ; ;",
            "v=DMARC1; p=none; adkim=x; aspf=; pct=101; pct_=1; fo=x; ri=-1; t=yes; psd=x; rua=x; ruf=mailto:x; x=y; z",
            "v=DMARC1; p=none; adkim=s; adkim=r; aspf=s; aspf=s; v=DMARC2; rua=mailto:a@b.example!10x",
        ] {
            assert_eq!(parse(text), least, "{text}");
        }
    }

    #[test]
    fn what_is_no_record() {
        for text in [
            "",
            "v=DMARC1 p=none",
            "v=dmarc1; p=none",
            "v=DMARC2; p=none",
            "p=none; v=DMARC1",
            "; v=DMARC1; p=none",
            "v=spf1 -all",
            "v",
        ] {
            assert_eq!(Record::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_is_applied() {
        let policy = |text: &str| parse(text).applicable().map(|record| (record.policy.unwrap(), record.subdomain_policy));
        assert_eq!(policy("v=DMARC1; p=reject; sp=none"), Some((Policy::Reject, Some(Policy::None))));
        for broken in
            ["v=DMARC1", "v=DMARC1; p=x", "v=DMARC1; p=reject; p=none", "v=DMARC1; p=reject; sp=x", "v=DMARC1; p=reject; np="]
        {
            assert_eq!(policy(broken), None, "{broken}");
            assert_eq!(policy(&format!("{broken}; rua=nothing")), None, "{broken}");
            assert_eq!(policy(&format!("{broken}; rua=nothing, mailto:a@b.example")), Some((Policy::None, None)), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..100)) { fuzz_record(&data); }

        #[test]
        fn likely_text_is_harmless(text in "v=DMARC1;( ?(p|sp|np|rua|pct|fo|t) ?= ?[a-z0-9:@!, ]{0,20};?){0,6}") { fuzz_record(text.as_bytes()); }
    }
}
