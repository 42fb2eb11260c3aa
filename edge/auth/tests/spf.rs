//! The test suite of RFC 7208 (tests/spf/LICENSE), as data: each scenario a zone, and sessions with the results that are right.
#![allow(clippy::unwrap_used, missing_docs)] // a test that cannot go on fails

use postring_auth::Lookup;
use postring_auth::spf::{Session, check};
use postring_dns::dnssec::Security;
use postring_dns::record::Record;
use postring_dns::resolver::{Answer, Resolved};
use postring_dns::{Name, Rcode, Rtype};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::net::IpAddr;

#[derive(Deserialize)]
struct Scenario {
    scenario: String,
    zone: HashMap<String, Vec<(String, Value)>>,
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    section: Vec<String>,
    helo: String,
    client: IpAddr,
    mail_from: String,
    results: Vec<String>,
    explanation: Option<String>,
}

/// The zone of a scenario.
struct Zone(HashMap<String, Vec<(String, Value)>>);

fn name(text: &str) -> Name {
    let labels = text.trim_end_matches('.').split('.').rev().filter(|label| !label.is_empty());
    labels.fold(Name::root(), |name, label| Name::child(label.as_bytes(), &name).unwrap())
}

fn rdata(rtype: Rtype, value: &Value) -> Vec<u8> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    match rtype {
        Rtype::A => text(value).parse::<std::net::Ipv4Addr>().unwrap().octets().to_vec(),
        Rtype::AAAA => text(value).parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec(),
        Rtype::MX => {
            let preference = u16::try_from(value[0].as_u64().unwrap()).unwrap();
            [&preference.to_be_bytes()[..], name(&text(&value[1])).wire()].concat()
        }
        Rtype::TXT => {
            let strings = value.as_array().unwrap().iter().map(text);
            strings.flat_map(|string| [vec![u8::try_from(string.len()).unwrap()], string.into_bytes()].concat()).collect()
        }
        _ => name(&text(value)).wire().to_vec(),
    }
}

impl Lookup for Zone {
    async fn lookup(&self, asked: &Name, rtype: Rtype) -> Resolved {
        // Without the escapes of a name's text.
        let labels = postring_dns::name::labels(asked.wire()).map(|label| String::from_utf8_lossy(label).to_lowercase());
        let mut at = labels.filter(|label| !label.is_empty()).collect::<Vec<_>>().join(".");
        for _ in 0..4 {
            let Some(records) = self.0.get(&at) else { break };
            let of =
                |wanted: &str| records.iter().filter(|(rtype, _)| rtype == wanted).map(|(_, value)| value).collect::<Vec<_>>();
            let wanted = match rtype {
                Rtype::A => "A",
                Rtype::AAAA => "AAAA",
                Rtype::MX => "MX",
                Rtype::TXT => "TXT",
                _ => "PTR",
            };
            let found = of(wanted);
            if found.iter().any(|value| value.as_str() == Some("TIMEOUT")) || (found.is_empty() && !of("TIMEOUT").is_empty()) {
                return Resolved::failure(asked, rtype);
            }
            if let (true, Some(alias)) = (found.is_empty(), of("CNAME").first()) {
                at = alias.as_str().unwrap().trim_end_matches('.').to_lowercase();
                continue;
            }
            let record = |value: &&Value| Record { name: asked.clone(), rtype, ttl: 60, rdata: rdata(rtype, value).into() };
            let records = found.iter().map(record).collect();
            let answer = Answer {
                rcode: Rcode::NOERROR,
                records,
                authority: Vec::new(),
                ttl: 60,
                security: Security::Unchecked,
                extended_error: None,
            };
            return Resolved::new(asked, rtype, &answer);
        }
        let answer = Answer {
            rcode: Rcode::NXDOMAIN,
            records: Vec::new(),
            authority: Vec::new(),
            ttl: 60,
            security: Security::Unchecked,
            extended_error: None,
        };
        Resolved::new(asked, rtype, &answer)
    }
}

#[test]
fn the_suite_of_rfc_7208() {
    let scenarios: Vec<Scenario> = serde_json::from_str(include_str!("spf/rfc7208.json")).unwrap();
    let (mut count, mut wrong) = (0, Vec::new());
    for Scenario { scenario, zone, tests } in scenarios {
        let zone = Zone(zone);
        for case in tests {
            count += 1;
            let session = Session {
                client: case.client,
                helo: &case.helo,
                mail_from: &case.mail_from,
                receiver: "receiver.example",
                unix_seconds: 1_700_000_000,
            };
            let found = futures_lite::future::block_on(check(&zone, session));
            let explanation = found.explanation.clone().unwrap_or_else(|| "DEFAULT".to_owned());
            let is_right = case.results.iter().any(|result| result == found.result.name());
            if !is_right || case.explanation.as_ref().is_some_and(|expected| *expected != explanation) {
                wrong.push(format!(
                    "{scenario}, {} ({:?}): {} ({}; {explanation}), not {:?} {:?}",
                    case.name, case.section, found.result, found.reason, case.results, case.explanation
                ));
            }
        }
    }
    assert_eq!(count, 203);
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
