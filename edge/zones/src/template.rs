//! The zone of a hosted domain: a template with the domain's own words put in.
//!
//! ```text
//!   {domain}        the domain, without a dot at its end       {hostname}   this host's name
//!   {serial}        grows with each change of the domain       {dkim}       a TXT record for each DKIM key, a line each
//!   {name_servers}  an NS record for each name server, a line each
//!   {tlsa}          a TLSA record for each key of this host's SMTP, a line each, if its name is the domain's or below it
//! ```
//! Everything else is a master file (RFC 1035 section 5) whose origin is the domain.

use std::fmt::Write;

/// The template in use unless `dns.domain_template` names another.
pub const DEFAULT: &str = include_str!("domain.zone");

/// Octets of one string of a TXT record (RFC 1035 section 3.3).
const STRING_BYTES_MAX: usize = 255;

/// The words of one domain.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    /// The domain.
    pub domain: &'a str,
    /// This host, as other servers see it.
    pub hostname: &'a str,
    /// The zone's serial.
    pub serial: u32,
    /// Names of the zone's servers.
    pub name_servers: &'a [String],
    /// Selectors and TXT records of its DKIM keys.
    pub dkim: &'a [(String, String)],
    /// RDATA of this host's TLSA records, `3 1 1 HASH`.
    pub tlsa: &'a [String],
    /// Names and values of challenges an authority for certificates wants answered (RFC 8555 section 8.4); they need no word in the template.
    pub challenges: &'a [(String, String)],
}

/// Fills a template in; gives the text of a master file.
///
/// # Errors
/// A brace that is no word of the list above, with its line.
pub fn fill(template: &str, words: &Words<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(template.len() + 1024);
    for (number, line) in (1..).zip(template.lines()) {
        let code = line.split_once(';').map_or(line, |(code, _)| code);
        match code.trim() {
            "" => out.push_str(line),
            "{dkim}" => dkim(words.dkim, &mut out),
            "{tlsa}" => tlsa(words, &mut out),
            "{name_servers}" => {
                for server in words.name_servers {
                    let _ = writeln!(out, "@ IN NS {}.", server.trim_end_matches('.'));
                }
            }
            _ => out.push_str(&replace(line, words).map_err(|word| {
                format!("line {number}: {word} is no word of a template; {{domain}}, {{hostname}}, {{serial}}, {{dkim}}, {{name_servers}}, {{tlsa}} are")
            })?),
        }
        out.push('\n');
    }
    for (name, value) in words.challenges {
        let _ = writeln!(out, "{}. 1 IN TXT \"{value}\"", name.trim_end_matches('.'));
    }
    Ok(out)
}

fn replace(line: &str, words: &Words<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(line.len() + 64);
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once('{') {
        let (word, behind) = behind.split_once('}').ok_or_else(|| format!("{{{behind}"))?;
        out.push_str(before);
        match word {
            "domain" => out.push_str(words.domain),
            "hostname" => out.push_str(words.hostname.trim_end_matches('.')),
            "serial" => {
                let _ = write!(out, "{}", words.serial);
            }
            _ => return Err(format!("{{{word}}}")),
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

fn dkim(keys: &[(String, String)], out: &mut String) {
    for (selector, record) in keys {
        let _ = write!(out, "{selector}._domainkey IN TXT");
        for part in record.as_bytes().chunks(STRING_BYTES_MAX) {
            let _ = write!(out, " \"{}\"", String::from_utf8_lossy(part));
        }
        out.push('\n');
    }
}

fn tlsa(words: &Words<'_>, out: &mut String) {
    let hostname = words.hostname.trim_end_matches('.');
    if is_within(hostname, words.domain) {
        for record in words.tlsa {
            let _ = writeln!(out, "_25._tcp.{hostname}. IN TLSA {record}");
        }
    }
}

/// True if a name is the domain or below it.
#[must_use]
pub fn is_within(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.trim_end_matches('.').to_ascii_lowercase(), domain.trim_end_matches('.').to_ascii_lowercase());
    name.strip_suffix(&domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use postring_dns::zone::parse_zone;
    use postring_dns::{Name, Rtype};
    use std::path::Path;

    fn words<'a>(servers: &'a [String], dkim: &'a [(String, String)]) -> Words<'a> {
        Words {
            domain: "example.org",
            hostname: "mx.example.net",
            serial: 7,
            name_servers: servers,
            dkim,
            tlsa: &[],
            challenges: &[],
        }
    }

    #[test]
    fn the_default_is_a_zone() {
        let servers = ["ns1.example.net".to_owned(), "ns2.example.net.".to_owned()];
        let dkim = [("a1".to_owned(), format!("v=DKIM1; k=rsa; p={}", "A".repeat(400)))];
        let text = fill(DEFAULT, &words(&servers, &dkim)).unwrap();
        let origin = Name::absolute("example.org").unwrap();
        let zone = parse_zone(&origin, Path::new("domain"), &mut |_| Ok(text.clone())).unwrap();
        for (name, rtype) in [
            ("example.org", Rtype::MX),
            ("example.org", Rtype::TXT),
            ("_dmarc.example.org", Rtype::TXT),
            ("_mta-sts.example.org", Rtype::TXT),
            ("_smtp._tls.example.org", Rtype::TXT),
            ("a1._domainkey.example.org", Rtype::TXT),
            ("autoconfig.example.org", Rtype::CNAME),
            ("_autodiscover._tcp.example.org", Rtype::SRV),
            ("_submissions._tcp.example.org", Rtype::SRV),
            ("_imaps._tcp.example.org", Rtype::SRV),
        ] {
            assert!(!zone.answer(&Name::absolute(name).unwrap(), rtype).answer.is_empty(), "{name} {rtype}");
        }
    }

    #[test]
    fn keys_of_smtp_are_those_of_a_host_in_the_domain() {
        let tlsa = [format!("3 1 1 {}", "a0".repeat(32)), format!("3 1 1 {}", "b1".repeat(32))];
        for (hostname, records) in
            [("mx.example.org", 2), ("MX.example.org.", 2), ("example.org", 2), ("mx.example.net", 0), ("mxexample.org", 0)]
        {
            let words = Words { hostname, tlsa: &tlsa, ..words(&[], &[]) };
            let origin = Name::absolute("example.org").unwrap();
            let text = fill(&DEFAULT.replace("{name_servers}", "@ IN NS ns.example.net."), &words).unwrap();
            let zone = parse_zone(&origin, Path::new("domain"), &mut |_| Ok(text.clone())).unwrap();
            assert_eq!(zone.records().filter(|record| record.rtype == Rtype::TLSA).count(), records, "{hostname}");
        }
    }

    #[test]
    fn unknown_words_are_said() {
        let error = fill("$TTL 60\n@ A {address}\n", &words(&[], &[])).unwrap_err();
        assert!(error.starts_with("line 2: {address} is no word of a template"), "{error}");
        assert_eq!(fill("; {what}\n{dkim} ; keys\n", &words(&[], &[])).unwrap(), "; {what}\n\n");
    }
}
