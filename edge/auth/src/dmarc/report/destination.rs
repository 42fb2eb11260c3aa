//! Where a report may go: the domain says where it wants it, and whoever is to get it must have agreed, or reports would be a way to fill the
//! mailboxes of others.

use crate::Lookup;
use crate::dmarc::{Domain, Record, ReportAddress, Settings, organization};
use postring_dns::{Name, Rtype, record};

/// Whether a report may be sent to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Given,
    /// The domain of the address knows nothing of it.
    Denied,
    /// The DNS could not say.
    Unknown,
}

/// The address of a `mailto:` URI with its domain; `None` for what nobody sends to.
#[must_use]
pub fn mailbox(address: &ReportAddress) -> Option<(String, Domain)> {
    let (scheme, rest) = address.uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("mailto") {
        return None;
    }
    let mailbox = decoded(rest.split('?').next()?)?;
    let domain = Domain::new(mailbox.rsplit_once('@')?.1)?;
    Some((mailbox, domain))
}

/// Percent-encoding undone (RFC 6068 section 2); printable ASCII alone.
fn decoded(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let (letter, length) = match letter {
            '%' => (u8::from_str_radix(rest.get(1..3)?, 16).ok()?.into(), 3),
            letter => (letter, letter.len_utf8()),
        };
        if !letter.is_ascii_graphic() {
            return None;
        }
        out.push(letter);
        rest = rest.get(length..)?;
    }
    Some(out)
}

/// Whether reports of `domain` may be sent to an address of `destination`. At most a question, and those of the walk where that is how organizations are found.
//= RFC 7489 section 7.1
//# If the host at which the report is to be sent and the Organizational Domain of the policy are not the same [...] construct a query for a TXT
//# record at [...] "_report._dmarc" [...] If at least one TXT resource record remains in the set after parsing, then the external reporting
//# arrangement was authorized by the Report Consumer.
pub async fn permission(lookup: &impl Lookup, domain: &Domain, destination: &Domain, settings: &Settings<'_>) -> Permission {
    if domain == destination {
        return Permission::Given;
    }
    let method = settings.organizational_domain;
    let organizations = (
        organization(lookup, domain, method, settings.suffixes).await,
        organization(lookup, destination, method, settings.suffixes).await,
    );
    let (Some(own), Some(other)) = organizations else { return Permission::Unknown };
    if own == other {
        return Permission::Given;
    }
    // Two names so long that they are none together.
    let Ok(name) = Name::absolute(&format!("{domain}._report._dmarc.{destination}")) else { return Permission::Denied };
    let answer = lookup.lookup(&name, Rtype::TXT).await;
    if answer.is_failure() {
        return Permission::Unknown;
    }
    let agrees = answer.rdata(Rtype::TXT).any(|rdata| Record::parse(&record::text(rdata)).is_some());
    if agrees { Permission::Given } else { Permission::Denied }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postring_dns::Rcode;
    use postring_dns::resolver::{Answer, Resolved};

    #[test]
    fn addresses() {
        let of = |uri: &str| mailbox(&ReportAddress { uri: uri.to_owned(), size_max: None });
        assert_eq!(
            of("MAILTO:a%2bb@x.example").map(|(address, domain)| (address, domain.to_string())),
            Some(("a+b@x.example".into(), "x.example".into()))
        );
        assert_eq!(of("mailto:a@x.example?subject=y").unwrap().0, "a@x.example");
        for nobody in [
            "https://x.example/",
            "mailto:a",
            "mailto:a@",
            "mailto:%0d%0aX@x.example",
            "mailto:a%2@x.example",
            "mailto:a%2",
            "mailto:\u{fc}@x.example",
        ] {
            assert_eq!(of(nobody), None, "{nobody}");
        }
    }

    /// What the DNS says at the name that was asked for.
    struct World(&'static str, Option<&'static [u8]>);

    impl Lookup for World {
        async fn lookup(&self, name: &Name, rtype: Rtype) -> Resolved {
            assert_eq!((name.to_string().as_str(), rtype), (self.0, Rtype::TXT));
            let Some(text) = self.1 else { return Resolved::failure(name, rtype) };
            let mut answer = Answer { rcode: Rcode::NOERROR, ..Answer::failure(60) };
            if !text.is_empty() {
                let rdata = [&[u8::try_from(text.len()).unwrap()], text].concat().into();
                answer.records.push(record::Record { name: name.clone(), rtype, ttl: 60, rdata });
            }
            Resolved::new(name, rtype, &answer)
        }
    }

    #[test]
    fn others_must_have_agreed() {
        let ask = |world: World, destination: &str| {
            let (domain, destination) = (Domain::new("mail.a.example").unwrap(), Domain::new(destination).unwrap());
            futures_lite::future::block_on(permission(&world, &domain, &destination, &Settings::default()))
        };
        let name = "mail.a.example._report._dmarc.b.example.";
        assert_eq!(ask(World("", None), "mail.a.example"), Permission::Given);
        assert_eq!(ask(World("", None), "reports.a.example"), Permission::Given);
        for (text, permission) in [
            (Some(&b"v=DMARC1"[..]), Permission::Given),
            (Some(b"v=DMARC1; rua=mailto:x@b.example"), Permission::Given),
            (Some(b"v=spf1 -all"), Permission::Denied),
            (Some(b""), Permission::Denied),
            (None, Permission::Unknown),
        ] {
            assert_eq!(ask(World(name, text), "b.example"), permission, "{text:?}");
        }
    }
}
