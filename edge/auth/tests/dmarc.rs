//! DMARC by scenario: `dmarc/*.txt` say what the DNS has, what a message shows, what SPF and DKIM have said of it, and what comes of it.
//!
//! ```text
//!   txt NAME = TEXT         a record; \xHH is an octet
//!   name NAME               exists, and has no TXT record
//!   fail NAME               nobody answers
//!   case TITLE              what stands below is for this case, what stands above the first for all
//!   from VALUE              the From field
//!   header TEXT             in place of it; \r \n \t \0 are a CR, an LF, a tab and a NUL, \e nothing
//!   spf RESULT DOMAIN
//!   dkim RESULT DOMAIN      pass, fail or temperror
//!   sample NUMBER
//!   no-doubt                errors spare nothing, because the sender has brought them about
//!   list|walk|both = RESULT DISPOSITION [TEXT]      by the public suffix list, by the tree walk; the text is in the field or the reason
//!   list|walk|both asks NAMES                       the questions, in their order, without "_dmarc." of TXT; a name asked for with "A " before
//! ```

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use postring_auth::Lookup;
use postring_auth::dkim::{Problem, Verification};
use postring_auth::dmarc::{Dmarc, Domain, OrganizationalDomain, PublicSuffixes, Settings, author, check};
use postring_auth::spf::{Spf, SpfResult};
use postring_dns::record::Record;
use postring_dns::resolver::{Answer, Resolved};
use postring_dns::{Name, Rcode, Rtype};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Clone, Default)]
struct World {
    /// By name without the dot at the end; none: nobody answers.
    texts: BTreeMap<String, Option<Vec<Vec<u8>>>>,
    asked: RefCell<Vec<String>>,
}

impl Lookup for World {
    async fn lookup(&self, name: &Name, rtype: Rtype) -> Resolved {
        let asked = name.to_string().trim_end_matches('.').to_owned();
        let shown = match rtype {
            Rtype::TXT => asked.strip_prefix("_dmarc.").unwrap().to_owned(),
            rtype => {
                assert_eq!(rtype, Rtype::A);
                format!("A {asked}")
            }
        };
        self.asked.borrow_mut().push(shown);
        let texts = match self.texts.get(&asked) {
            Some(None) => return Resolved::failure(name, rtype),
            Some(Some(texts)) => texts.clone(),
            None => Vec::new(),
        };
        let exists = self.texts.keys().any(|known| *known == asked || known.ends_with(&format!(".{asked}")));
        let rcode = if exists { Rcode::NOERROR } else { Rcode::NXDOMAIN };
        let record = |text: &Vec<u8>| Record { name: name.clone(), rtype, ttl: 60, rdata: rdata(text) };
        let records = texts.iter().filter(|_| rtype == Rtype::TXT).map(record).collect();
        Resolved::new(name, rtype, &Answer { rcode, records, ..Answer::failure(60) })
    }
}

/// Strings of at most 100 octets, so that most records have several.
fn rdata(text: &[u8]) -> Box<[u8]> {
    let string = |string: &[u8]| [&[u8::try_from(string.len()).unwrap()], string].concat();
    text.chunks(100).flat_map(string).collect()
}

#[derive(Clone, Default)]
struct Case {
    title: String,
    world: World,
    header: String,
    spf: Option<Spf>,
    dkim: Vec<Verification>,
    sample: u8,
    no_doubt: bool,
    /// Method, word, and what is expected.
    expected: Vec<(OrganizationalDomain, String, String)>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dmarc")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn unescaped(text: &str) -> String {
    [("\\r", "\r"), ("\\n", "\n"), ("\\t", "\t"), ("\\0", "\0"), ("\\e", "")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// `\xHH` is an octet.
fn octets(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let first = parts.next().unwrap_or_default().as_bytes().to_vec();
    parts.fold(first, |octets, part| {
        let (digits, rest) = part.split_at(2);
        [&octets[..], &[u8::from_str_radix(digits, 16).unwrap()], rest.as_bytes()].concat()
    })
}

fn spf(result: &str, domain: &str) -> Spf {
    let results = [
        SpfResult::None,
        SpfResult::Neutral,
        SpfResult::Pass,
        SpfResult::Fail,
        SpfResult::SoftFail,
        SpfResult::TempError,
        SpfResult::PermError,
    ];
    let result = results.into_iter().find(|known| known.name() == result).unwrap();
    Spf { result, domain: domain.to_owned(), reason: String::new(), explanation: None, questions: 0 }
}

fn signature(result: &str, domain: &str) -> Verification {
    let problem = match result {
        "pass" => None,
        "fail" => Some(Problem::Body),
        "temperror" => Some(Problem::KeyNotAnswered),
        _ => panic!("{result} is no result of a scenario"),
    };
    let text = |text: &str| Some(text.to_owned());
    Verification {
        problem,
        testing: false,
        domain: text(domain),
        selector: text("s"),
        identity: None,
        algorithm: None,
        signature: None,
    }
}

impl Case {
    fn obey(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let methods = match word {
            "list" => &[OrganizationalDomain::PublicSuffixList][..],
            "walk" => &[OrganizationalDomain::TreeWalk],
            "both" => &[OrganizationalDomain::PublicSuffixList, OrganizationalDomain::TreeWalk],
            _ => &[],
        };
        for method in methods {
            let (word, rest) = rest.split_once(' ').unwrap();
            self.expected.push((*method, word.to_owned(), rest.to_owned()));
        }
        match word {
            "list" | "walk" | "both" => {}
            "txt" => {
                let (name, text) = rest.split_once(" =").unwrap();
                self.world.texts.entry(name.to_owned()).or_default().get_or_insert_default().push(octets(text.trim_start()));
            }
            "name" => drop(self.world.texts.insert(rest.to_owned(), Some(Vec::new()))),
            "fail" => drop(self.world.texts.insert(rest.to_owned(), None)),
            "from" => self.header = format!("From: {}\r\n", unescaped(rest)),
            "header" => self.header = unescaped(rest),
            "spf" | "dkim" => {
                let (result, domain) = rest.split_once(' ').unwrap();
                match word {
                    "spf" => self.spf = Some(spf(result, domain)),
                    _ => self.dkim.push(signature(result, domain)),
                }
            }
            "no-doubt" => self.no_doubt = true,
            "sample" => self.sample = rest.parse().unwrap(),
            _ => panic!("{word:?} is no word of a scenario"),
        }
    }

    fn run(&self, organizational_domain: OrganizationalDomain) -> (Dmarc, Vec<String>) {
        let settings =
            Settings { organizational_domain, sample: self.sample, doubt_spares: !self.no_doubt, ..Settings::default() };
        let message = format!("To: x@y.example\r\n{}\r\nFrom: body@body.example\r\n", self.header);
        let world = World { texts: self.world.texts.clone(), asked: RefCell::default() };
        let checked = check(&world, author(message.as_bytes()), self.spf.as_ref(), &self.dkim, &settings);
        (futures_lite::future::block_on(checked), world.asked.into_inner())
    }

    /// What is not as expected.
    fn wrong(&self) -> Vec<String> {
        let wrong = |(method, word, expected): &(OrganizationalDomain, String, String)| {
            let (dmarc, asked) = self.run(*method);
            assert_eq!(dmarc.questions, asked.len());
            let asked = asked.join(", ");
            let right = if word == "asks" {
                asked == unescaped(expected)
            } else {
                assert_eq!(word, "=");
                let mut words = expected.splitn(3, ' ');
                let mut next = || words.next().unwrap_or_default();
                dmarc.result.name() == next()
                    && dmarc.disposition.name() == next()
                    && Some(next()).is_some_and(|text| dmarc.to_string().contains(text) || dmarc.reason.contains(text))
            };
            (!right).then(|| {
                format!("{} ({method}): expected {word} {expected}, got {dmarc} ({}), asked {asked}", self.title, dmarc.reason)
            })
        };
        self.expected.iter().filter_map(wrong).collect()
    }
}

fn cases(file: &str) -> Vec<Case> {
    let mut common = Case::default();
    let mut cases: Vec<Case> = Vec::new();
    for line in read(file).lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match line.strip_prefix("case ") {
            Some(title) => cases.push(Case { title: title.to_owned(), ..common.clone() }),
            None => cases.last_mut().unwrap_or(&mut common).obey(line),
        }
    }
    assert!(!cases.is_empty(), "{file}");
    for case in &cases {
        assert!(case.expected.iter().any(|(_, word, _)| word == "="), "{file}: {} expects nothing", case.title);
    }
    cases
}

#[test]
fn scenarios() {
    let mut files: Vec<String> =
        std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    files.retain(|file| file.ends_with(".txt") && file != "suffixes.txt");
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    let wrong = |file: &String| -> Vec<String> {
        cases(file).iter().flat_map(Case::wrong).map(|wrong| format!("{file}: {wrong}")).collect()
    };
    let wrong: Vec<String> = files.iter().flat_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The public suffix list's own tests, by the list in the program.
#[test]
fn registered_domains() {
    let text = read("suffixes.txt");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(lines.len() > 70);
    for line in lines {
        let (name, registered) = line.split_once(' ').unwrap();
        let found = Domain::new(name).and_then(|name| PublicSuffixes::built_in().registered(&name));
        let expected = if registered == "-" { None } else { Some(Domain::new(registered).unwrap()) };
        assert_eq!(found, expected, "{line}");
    }
}

/// What a report will want of a check.
#[test]
fn what_reports_need() {
    let mut case = Case::default();
    for line in [
        "txt _dmarc.example.com = v=DMARC1; p=reject; sp=quarantine; adkim=s; pct=50; rua=mailto:r@example.com",
        "from a@mail.example.com",
        "spf pass bounce.example.net",
        "dkim pass example.com",
        "dkim temperror example.net",
        "sample 50",
    ] {
        case.obey(line);
    }
    let (dmarc, _) = case.run(OrganizationalDomain::PublicSuffixList);
    let published = dmarc.published.as_ref().unwrap();
    assert_eq!(published.domain.as_str(), "example.com");
    assert_eq!((published.policy.name(), published.tag.name(), published.discovery.name()), ("quarantine", "sp", "psl"));
    assert_eq!(published.record.aggregate_addresses[0].uri, "mailto:r@example.com");
    assert_eq!(dmarc.overridden, Some(postring_auth::dmarc::Override::SampledOut));
    assert!(!dmarc.spf_passed() && !dmarc.dkim_passed());
    let identifiers: Vec<(&str, bool, Option<bool>)> =
        dmarc.identifiers.iter().map(|found| (found.domain.as_str(), found.passed, found.aligned)).collect();
    assert_eq!(
        identifiers,
        [("bounce.example.net", true, Some(false)), ("example.com", true, Some(false)), ("example.net", false, Some(false))]
    );
    assert_eq!(
        dmarc.to_string(),
        "dmarc=fail (p=reject sp=quarantine dis=none) reason=\"SPF of bounce.example.net, the signature of example.com passed, which is \
         not aligned with mail.example.com\" header.from=mail.example.com"
    );
    case.obey("dkim pass mail.example.com");
    let (dmarc, _) = case.run(OrganizationalDomain::PublicSuffixList);
    assert!(!dmarc.spf_passed() && dmarc.dkim_passed());
    assert_eq!(dmarc.to_string(), "dmarc=pass (p=reject sp=quarantine dis=none) header.from=mail.example.com");
}

/// However many domains have passed, and however long they are, the questions are few.
#[test]
fn questions_are_bounded() {
    let mut case = Case::default();
    case.obey("txt _dmarc.example = v=DMARC1; p=reject; psd=n");
    let deep = |letter: char| format!("{letter}.").repeat(100) + "example";
    case.obey(&format!("from x@{}", deep('a')));
    for letter in 'b'..='z' {
        case.obey(&format!("dkim pass {}", deep(letter)));
    }
    let (dmarc, asked) = case.run(OrganizationalDomain::TreeWalk);
    assert_eq!(dmarc.result.name(), "pass");
    assert_eq!(asked.len(), 8 + 16 * 7);
    let (dmarc, asked) = case.run(OrganizationalDomain::PublicSuffixList);
    assert_eq!((dmarc.result.name(), asked.len()), ("none", 2));
}
