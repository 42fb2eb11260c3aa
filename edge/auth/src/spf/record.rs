//! The text of a record becomes terms (RFC 7208 sections 4.6, 5, 6 and 12). One that is not as the grammar says has no meaning at all.

use super::macros::{MacroString, Place};
use super::network::Prefixes;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Octets of a record: more than any that fits a DNS message over UDP; what is longer is of no use to anybody.
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Terms of a record: more than ten of them that ask the DNS are an error anyway.
const TERMS_MAX: usize = 1024;

/// A record.
#[derive(Debug, Default)]
pub(super) struct SpfRecord {
    pub(super) directives: Vec<Directive>,
    pub(super) redirect: Option<MacroString>,
    pub(super) explanation: Option<MacroString>,
}

/// `+`, `-`, `~` or `?`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// A mechanism, and what it means if it matches.
#[derive(Debug)]
pub(super) struct Directive {
    pub(super) qualifier: Qualifier,
    pub(super) mechanism: Mechanism,
    /// As it stands in the record.
    pub(super) text: String,
}

/// A mechanism; `None` for the domain that is asked about.
#[derive(Debug)]
pub(super) enum Mechanism {
    All,
    Include(MacroString),
    A(Option<MacroString>, Prefixes),
    Mx(Option<MacroString>, Prefixes),
    Ptr(Option<MacroString>),
    Ip(IpAddr, Prefixes),
    Exists(MacroString),
}

/// True for a TXT record that means to be one of SPF.
//= RFC 7208 section 4.5
//# Starting with the set of records that were returned by the lookup, discard records that do not begin with a version section of exactly
//# "v=spf1".
pub(super) fn is_spf(text: &[u8]) -> bool {
    let Some((version, rest)) = text.split_at_checked(6) else { return false };
    version.eq_ignore_ascii_case(b"v=spf1") && matches!(rest.first(), None | Some(b' '))
}

/// Reads a record for which [`is_spf`] is true.
///
/// # Errors
/// A line that says which term is wrong.
pub(super) fn parse(text: &[u8]) -> Result<SpfRecord, String> {
    if text.len() > RECORD_BYTES_MAX {
        return Err("the record is too long".to_owned());
    }
    let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii()).ok_or("the record is not ASCII")?;
    let mut record = SpfRecord::default();
    for (count, term) in text.split(' ').skip(1).filter(|term| !term.is_empty()).enumerate() {
        if count >= TERMS_MAX {
            return Err("the record has too many terms".to_owned());
        }
        if term.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err("there is a control character between the terms".to_owned());
        }
        self::term(&mut record, term).map_err(|why| format!("\"{term}\": {why}"))?;
    }
    Ok(record)
}

fn term(record: &mut SpfRecord, term: &str) -> Result<(), &'static str> {
    if let Some((name, value)) = modifier(term) {
        let once = |place: &mut Option<MacroString>| {
            if place.is_some() {
                return Err("stands twice");
            }
            *place = Some(domain_spec(value)?);
            Ok(())
        };
        return match name {
            name if name.eq_ignore_ascii_case("redirect") => once(&mut record.redirect),
            name if name.eq_ignore_ascii_case("exp") => once(&mut record.explanation),
            // Unknown ones mean nothing, but must be well formed.
            _ => MacroString::parse(value, Place::Domain).map(|_| ()),
        };
    }
    let (qualifier, rest) = match term.as_bytes().first() {
        Some(b'+') => (Qualifier::Pass, term.get(1..)),
        Some(b'-') => (Qualifier::Fail, term.get(1..)),
        Some(b'~') => (Qualifier::SoftFail, term.get(1..)),
        Some(b'?') => (Qualifier::Neutral, term.get(1..)),
        _ => (Qualifier::Pass, Some(term)),
    };
    let mechanism = mechanism(rest.unwrap_or_default())?;
    record.directives.push(Directive { qualifier, mechanism, text: term.to_owned() });
    Ok(())
}

/// `name=value`: a name that may stand there, and the rest.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    (is_name && name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)).then_some((name, value))
}

fn mechanism(text: &str) -> Result<Mechanism, &'static str> {
    let end = text.find([':', '/']).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    let value = rest.strip_prefix(':');
    let needed = || value.ok_or("a value is missing behind it");
    match name.to_ascii_lowercase().as_str() {
        "all" if rest.is_empty() => Ok(Mechanism::All),
        "all" => Err("takes no value"),
        "include" => Ok(Mechanism::Include(domain_spec(needed()?)?)),
        "exists" => Ok(Mechanism::Exists(domain_spec(needed()?)?)),
        "ptr" if rest.is_empty() => Ok(Mechanism::Ptr(None)),
        "ptr" => Ok(Mechanism::Ptr(Some(domain_spec(needed()?)?))),
        "a" => target(rest).map(|(domain, prefixes)| Mechanism::A(domain, prefixes)),
        "mx" => target(rest).map(|(domain, prefixes)| Mechanism::Mx(domain, prefixes)),
        "ip4" => {
            let (address, length) = network(needed()?, 32)?;
            let address: Ipv4Addr = address.parse().map_err(|_| "is no IPv4 address")?;
            Ok(Mechanism::Ip(address.into(), Prefixes { ip4: length, ..Prefixes::WHOLE }))
        }
        "ip6" => {
            let (address, length) = network(needed()?, 128)?;
            let address: Ipv6Addr = address.parse().map_err(|_| "is no IPv6 address")?;
            Ok(Mechanism::Ip(address.into(), Prefixes { ip6: length, ..Prefixes::WHOLE }))
        }
        _ => Err("is no mechanism of SPF"),
    }
}

/// Digits behind a slash: no sign, no zero in front.
fn length(text: &str, max: u8) -> Result<u8, &'static str> {
    let bad = "is no length of a prefix";
    let is_plain = text == "0" || (!text.starts_with('0') && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.parse().ok().filter(|length| is_plain && *length <= max).ok_or(bad)
}

fn network(text: &str, max: u8) -> Result<(&str, u8), &'static str> {
    match text.split_once('/') {
        Some((address, digits)) => Ok((address, length(digits, max)?)),
        None => Ok((text, max)),
    }
}

/// `[":" domain-spec] [ "/" length ] [ "//" length ]`. A domain may have slashes of its own, so it is read from the end.
fn target(rest: &str) -> Result<(Option<MacroString>, Prefixes), &'static str> {
    let mut prefixes = Prefixes::WHOLE;
    let mut rest = rest;
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((before, digits)) = rest.rsplit_once("//").filter(|(_, digits)| is_digits(digits)) {
        (rest, prefixes.ip6) = (before, length(digits, 128)?);
    }
    if let Some((before, digits)) = rest.rsplit_once('/').filter(|(_, digits)| is_digits(digits)) {
        (rest, prefixes.ip4) = (before, length(digits, 32)?);
    }
    match rest.strip_prefix(':') {
        Some(domain) => Ok((Some(domain_spec(domain)?), prefixes)),
        None if rest.is_empty() => Ok((None, prefixes)),
        None => Err("is no mechanism of SPF"),
    }
}

fn domain_spec(text: &str) -> Result<MacroString, &'static str> {
    let spec = MacroString::parse(text, Place::Domain)?;
    if spec.ends_as_a_domain() { Ok(spec) } else { Err("does not end as a domain does") }
}

/// Entry of the fuzzer: nothing a record says may do more than be refused.
#[doc(hidden)]
pub fn fuzz_record(data: &[u8]) {
    let _ = is_spf(data);
    let _ = parse(data);
}
