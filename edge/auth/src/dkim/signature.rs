//! The DKIM-Signature header field (RFC 6376 section 3.5, amended by RFC 8301 and RFC 8463).

use super::canonical::Canonicalization;
use super::tags::{TagList, base64, is_space, items};
use super::{Algorithm, Problem};
use postring_dns::Name;

/// Seconds another machine's clock may be wrong.
const CLOCK_ALLOWANCE: u64 = 300;

/// More names in `h=` are not looked at; a header with more fields is not, either.
const NAMES_MAX: usize = 10_000;

/// Octets of an identity (`i=`).
const IDENTITY_BYTES_MAX: usize = 320;

/// Octets of a SHA-256 hash.
pub(crate) const HASH_BYTES: usize = 32;

/// A signature whose tags are right.
#[derive(Debug)]
pub struct Signature<'a> {
    /// `a=`: the algorithms of key and hash.
    pub algorithm: Algorithm,
    /// `b=`: the signature.
    pub data: Vec<u8>,
    /// `bh=`: the hash of the body.
    pub body_hash: [u8; HASH_BYTES],
    /// `c=`, of the header.
    pub header: Canonicalization,
    /// `c=`, of the body.
    pub body: Canonicalization,
    /// `d=`: the domain that claims responsibility.
    pub domain: &'a str,
    /// `s=`: which of its keys.
    pub selector: &'a str,
    /// `i=`, decoded: on whose behalf; without the tag `@` and the domain.
    pub identity: String,
    /// `h=`: the signed fields.
    pub fields: Vec<&'a [u8]>,
    /// `l=`: how many octets of the canonical body are signed.
    pub length: Option<u64>,
    /// `t=`: seconds since 1970.
    pub time: Option<u64>,
    /// `x=`: seconds since 1970.
    pub expiry: Option<u64>,
    /// Where the key is: `SELECTOR._domainkey.DOMAIN`.
    pub key_name: Name,
}

impl<'a> Signature<'a> {
    /// Reads the tags of a signature and checks all that can be without its key and the message.
    ///
    /// # Errors
    /// The first problem with it.
    pub fn parse(list: &TagList<'a>) -> Result<Self, Problem> {
        //= RFC 6376 section 6.1.1
        //# Implementers MUST meticulously validate the format and values in the DKIM-Signature header field
        if list.get("v").ok_or(Problem::Missing("v"))? != b"1" {
            return Err(Problem::Unknown("version v="));
        }
        Self::parse_unversioned(list, list.get("i"))
    }

    /// The same without a version; `identity` is the `i=` of DKIM, which other signatures of this form do not have (RFC 8617 section 4.1.2).
    ///
    /// # Errors
    /// The first problem with it.
    pub(crate) fn parse_unversioned(list: &TagList<'a>, identity: Option<&[u8]>) -> Result<Self, Problem> {
        let must = |tag: &'static str| list.get(tag).ok_or(Problem::Missing(tag));
        let algorithm = algorithm(must("a")?)?;
        let data = base64(must("b")?).filter(|data| !data.is_empty()).ok_or(Problem::Value("b", "is not base64"))?;
        let body_hash = base64(must("bh")?).ok_or(Problem::Value("bh", "is not base64"))?;
        let body_hash = body_hash.try_into().map_err(|_| Problem::Value("bh", "is not as long as a SHA-256 hash"))?;
        let (header, body) =
            Canonicalization::pair(list.get("c").unwrap_or(b"simple/simple")).ok_or(Problem::Unknown("canonicalization c="))?;
        let domain = domain_text(must("d")?).ok_or(Problem::Value("d", "is not a domain name"))?;
        let selector = domain_text(must("s")?).ok_or(Problem::Value("s", "is not a selector"))?;
        let key_name = key_name(selector, domain)?;
        //= RFC 6376 section 3.5, q=
        //# If there are multiple query mechanisms listed, the choice of query mechanism MUST NOT change the interpretation
        if !list.get("q").is_none_or(|q| items(q).any(|method| method.eq_ignore_ascii_case(b"dns/txt"))) {
            return Err(Problem::Unknown("query method q="));
        }
        let fields = fields(must("h")?)?;
        let identity = match identity {
            Some(value) => decoded_identity(value).ok_or(Problem::Value("i", "is not an identity"))?,
            None => format!("@{domain}"),
        };
        //= RFC 6376 section 3.5, i=
        //# The domain part of the address MUST be the same as, or a subdomain of, the value of the "d=" tag.
        if !is_within(identity_domain(&identity), domain) {
            return Err(Problem::Identity);
        }
        let (time, expiry) = (number(list, "t", 12)?, number(list, "x", 12)?);
        //= RFC 6376 section 3.5, x=
        //# The value of the "x=" tag MUST be greater than the value of the "t=" tag if both are present.
        if let (Some(time), Some(expiry)) = (time, expiry)
            && expiry <= time
        {
            return Err(Problem::Value("x", "is not behind its t="));
        }
        let length = number(list, "l", 76)?;
        Ok(Self { algorithm, data, body_hash, header, body, domain, selector, identity, fields, length, time, expiry, key_name })
    }

    /// Checks that the signature holds now, `now` in seconds since 1970.
    ///
    /// # Errors
    /// [`Problem::Expired`], [`Problem::Future`].
    pub fn check_time(&self, now: u64) -> Result<(), Problem> {
        if self.expiry.is_some_and(|expiry| expiry.saturating_add(CLOCK_ALLOWANCE) < now) {
            return Err(Problem::Expired);
        }
        check_not_future(self.time, now)
    }

    /// True if the identity's domain is that of the signature, not one below.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        identity_domain(&self.identity).eq_ignore_ascii_case(self.domain)
    }
}

/// [`Problem::Future`] if the time of a signature is to come.
pub(crate) fn check_not_future(time: Option<u64>, now: u64) -> Result<(), Problem> {
    if time.is_some_and(|time| time > now.saturating_add(CLOCK_ALLOWANCE)) { Err(Problem::Future) } else { Ok(()) }
}

/// Where a key is.
pub(crate) fn key_name(selector: &str, domain: &str) -> Result<Name, Problem> {
    Name::absolute(&format!("{selector}._domainkey.{domain}"))
        .map_err(|_| Problem::Value("s", "and d= are too long for a domain name"))
}

pub(crate) fn algorithm(value: &[u8]) -> Result<Algorithm, Problem> {
    //= RFC 8301 section 3.1
    //# rsa-sha1 MUST NOT be used for signing or verifying.
    match value {
        b"rsa-sha256" => Ok(Algorithm::RsaSha256),
        b"ed25519-sha256" => Ok(Algorithm::Ed25519Sha256),
        b"rsa-sha1" => Err(Problem::Sha1),
        _ => Err(Problem::Unknown("algorithm a=")),
    }
}

/// A domain or selector: labels of letters, digits, hyphens and, as many have them, underscores.
pub(crate) fn domain_text(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    (text.len() <= 253 && text.split('.').all(label)).then_some(text)
}

fn fields(value: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let fields: Vec<&[u8]> = items(value).take(NAMES_MAX + 1).collect();
    if fields.len() > NAMES_MAX {
        return Err(Problem::Value("h", "has more names than are looked at"));
    }
    let named = |field: &&[u8]| !field.is_empty() && field.iter().all(u8::is_ascii_graphic);
    if !fields.iter().all(named) {
        return Err(Problem::Value("h", "is not a list of field names"));
    }
    //= RFC 6376 section 6.1.1
    //# If the "h=" tag does not include the From header field, the Verifier MUST ignore the DKIM-Signature header field
    if !fields.iter().any(|field| field.eq_ignore_ascii_case(b"from")) {
        return Err(Problem::FromNotSigned);
    }
    Ok(fields)
}

/// `dkim-quoted-printable` (RFC 6376 section 2.11), which must have an `@`.
fn decoded_identity(value: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.iter().copied().filter(|byte| !is_space(*byte));
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'=' {
            let mut digit = || char::from(bytes.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            digit()? << 4 | digit()?
        } else {
            byte
        });
    }
    // As long as an address may be (RFC 5321 section 4.5.3.1).
    let text = String::from_utf8(out).ok().filter(|text| text.len() <= IDENTITY_BYTES_MAX)?;
    let (local, behind) = text.rsplit_once('@')?;
    (domain_text(behind.as_bytes()).is_some() && !local.chars().any(char::is_control)).then_some(text)
}

fn identity_domain(identity: &str) -> &str {
    identity.rsplit_once('@').map_or("", |(_, domain)| domain)
}

fn is_within(name: &str, zone: &str) -> bool {
    let Some(before) = name.len().checked_sub(zone.len()) else { return false };
    name.get(before..).is_some_and(|end| end.eq_ignore_ascii_case(zone))
        && (before == 0 || name.as_bytes().get(before - 1) == Some(&b'.'))
}

/// A tag of digits. A number beyond 64 bits is the largest one: no body and no time reaches either.
pub(crate) fn number(list: &TagList<'_>, tag: &'static str, digits_max: usize) -> Result<Option<u64>, Problem> {
    let Some(value) = list.get(tag) else { return Ok(None) };
    if !(1..=digits_max).contains(&value.len()) || !value.iter().all(u8::is_ascii_digit) {
        return Err(Problem::Value(tag, "is not a number"));
    }
    let digit = |number: u64, byte: &u8| number.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
    Ok(Some(value.iter().fold(0, digit)))
}

/// Fuzz entry: any octets are a signature or none.
///
/// # Panics
/// If a signature was read that may not be one.
pub fn fuzz_signature(data: &[u8]) {
    let Ok(list) = TagList::parse(data) else { return };
    let Ok(signature) = Signature::parse(&list) else { return };
    assert!(signature.fields.iter().any(|field| field.eq_ignore_ascii_case(b"from")));
    assert!(is_within(identity_domain(&signature.identity), signature.domain));
    assert!(postring_dns::name::labels(signature.key_name.wire()).any(|label| label == b"_domainkey"));
    let _ = (signature.check_time(0), signature.check_time(u64::MAX), signature.is_strict());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "v=1; a=rsa-sha256; b=AAAA; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; d=a.example; s=s.t; h=from:to; \
                        i=a=20b@c.a.example; c=relaxed; l=7; t=1; x=2; q=dns/txt";

    fn parse(text: &str) -> Result<String, Problem> {
        let list = TagList::parse(text.as_bytes()).unwrap();
        Signature::parse(&list).map(|signature| format!("{} {} {:?}", signature.key_name, signature.identity, signature.length))
    }

    #[test]
    fn whole_and_least() {
        assert_eq!(parse(TEXT).unwrap(), "s.t._domainkey.a.example. a b@c.a.example Some(7)");
        let least = TEXT.split_once("; i=").unwrap().0;
        assert_eq!(parse(least).unwrap(), "s.t._domainkey.a.example. @a.example None");
        for tag in ["v", "a", "b", "bh", "d", "s", "h"] {
            let without = least.split("; ").filter(|spec| !spec.starts_with(&format!("{tag}="))).collect::<Vec<_>>().join("; ");
            assert_eq!(parse(&without), Err(Problem::Missing(tag)));
        }
        let many = least.replace("from:to", &"a:".repeat(NAMES_MAX)) + "from";
        assert!(matches!(parse(&many), Err(Problem::Value("h", _))));
    }

    #[test]
    fn domains_within() {
        assert!(is_within("a.Example", "a.example") && is_within("b.a.example", "a.example"));
        assert!(!is_within("ba.example", "a.example") && !is_within("example", "a.example") && !is_within("", "a"));
    }

    proptest! {
        #[test]
        fn changed_text_is_harmless(place in 0..TEXT.len(), octet in any::<u8>(), end in 0..TEXT.len()) {
            let mut text = TEXT.as_bytes().to_vec();
            text[place] = octet;
            fuzz_signature(&text);
            text.truncate(end);
            fuzz_signature(&text);
        }
    }
}
