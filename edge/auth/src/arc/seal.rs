//! The ARC-Seal field (RFC 8617 section 4.1.3), and what its message signature may not sign.

use crate::dkim::signature::{algorithm, check_not_future, domain_text, key_name, number};
use crate::dkim::tags::{TagList, base64};
use crate::dkim::{Algorithm, Problem, Signature};
use postring_dns::Name;

/// A seal whose tags are right.
#[derive(Debug)]
pub(super) struct Seal {
    /// `a=`: the algorithms of key and hash.
    pub algorithm: Algorithm,
    /// `b=`: the signature.
    pub data: Vec<u8>,
    /// Where the key is.
    pub key_name: Name,
}

impl Seal {
    /// Reads the tags of a seal; `now` in seconds since 1970.
    pub fn parse(list: &TagList<'_>, now: u64) -> Result<Self, Problem> {
        let must = |tag: &'static str| list.get(tag).ok_or(Problem::Missing(tag));
        //= RFC 8617 section 4.1.3
        //# Note especially that the DKIM "h" tag is NOT allowed and, if found, MUST result in a cv status of "fail"
        if list.get("h").is_some() {
            return Err(Problem::Value("h", "may not be in a seal"));
        }
        let algorithm = algorithm(must("a")?)?;
        let data = base64(must("b")?).filter(|data| !data.is_empty()).ok_or(Problem::Value("b", "is not base64"))?;
        let domain = domain_text(must("d")?).ok_or(Problem::Value("d", "is not a domain name"))?;
        let selector = domain_text(must("s")?).ok_or(Problem::Value("s", "is not a selector"))?;
        check_not_future(number(list, "t", 12)?, now)?;
        Ok(Self { algorithm, data, key_name: key_name(selector, domain)? })
    }
}

/// Reads the tags of a message signature: DKIM's without a version and an identity (RFC 8617 section 4.1.2).
pub(super) fn message_signature<'a>(list: &TagList<'a>, now: u64) -> Result<Signature<'a>, Problem> {
    let signature = Signature::parse_unversioned(list, None)?;
    signature.check_time(now)?;
    // All three fields of a set should not be signed; many sign older results, and only the seal, which comes behind, is taken for a mistake.
    if signature.fields.iter().any(|name| name.eq_ignore_ascii_case(b"arc-seal")) {
        return Err(Problem::Value("h", "names ARC-Seal"));
    }
    Ok(signature)
}
