//! The verification of a message's signatures (RFC 6376 section 6).

use super::canonical::write_field;
use super::fields::{Field, Index, Message};
use super::hashes::BodyHashes;
use super::signature::domain_text;
use super::tags::{TagList, is_space, trim};
use super::{Algorithm, Key, Problem, Signature, Verification};
use postring_dns::resolver::Resolved;
use postring_dns::{Name, Rtype};

/// Signatures that are looked at, from the top down: one beyond is beyond what honest mail has.
const SIGNATURES_MAX: usize = 8;

/// Key records that are tried, of those at one selector.
const KEYS_MAX: usize = 4;

/// The signature fields that are looked at, read.
pub(super) fn drafts<'a>(message: &Message<'a>, now: u64) -> impl Iterator<Item = Draft<'a>> {
    signatures(message).take(SIGNATURES_MAX).map(move |(place, field)| Draft::new(place, field.value, now))
}

/// The signature fields from the top down, with their places.
fn signatures<'m, 'a>(message: &'m Message<'a>) -> impl Iterator<Item = (usize, Field<'a>)> + use<'m, 'a> {
    message.fields.iter().copied().enumerate().filter(|(_, field)| field.is("DKIM-Signature"))
}

/// Judges the signatures of a message; `answer` gives what was found at the name of a key.
pub(super) fn judge_all<'r>(
    message: &Message<'_>,
    hashes: &BodyHashes,
    answer: impl Fn(&Name) -> Option<&'r Resolved>,
    now: u64,
) -> Vec<Verification> {
    let signatures = signatures(message).count();
    if signatures == 0 {
        return vec![Verification::of_message(Problem::Unsigned)];
    }
    let signed = Signed { message, index: Index::new(&message.fields), hashes };
    let mut results = Vec::with_capacity(signatures.min(SIGNATURES_MAX) + 1);
    for draft in drafts(message, now) {
        let mut result = draft.verification.clone();
        if let Some(signature) = &draft.signature {
            let judged = match answer(&signature.key_name) {
                Some(answer) => judge(&signed, &draft, signature, answer, &mut result.testing),
                None => Err(Problem::KeyNotAnswered),
            };
            result.problem = judged.err();
        }
        results.push(result);
    }
    if signatures > SIGNATURES_MAX {
        results.push(Verification::of_message(Problem::MoreSignatures(signatures - SIGNATURES_MAX)));
    }
    results
}

/// A signature field that was read.
pub(super) struct Draft<'a> {
    place: usize,
    value: &'a [u8],
    /// What is known so far: a problem, or that there was none yet.
    verification: Verification,
    /// There if it can go on.
    pub(super) signature: Option<Signature<'a>>,
}

impl<'a> Draft<'a> {
    fn new(place: usize, value: &'a [u8], now: u64) -> Self {
        let mut verification = Verification::of_message(Problem::Unsigned);
        let list = match TagList::parse(value) {
            Ok(list) => list,
            Err(problem) => {
                verification.problem = Some(problem);
                return Self { place, value, verification, signature: None };
            }
        };
        let name = |tag| list.get(tag).and_then(domain_text).map(str::to_owned);
        (verification.domain, verification.selector) = (name("d"), name("s"));
        verification.signature = list.get("b").map(beginning);
        let signature = match Signature::parse(&list) {
            Ok(signature) => {
                verification.algorithm = Some(signature.algorithm);
                verification.identity = Some(signature.identity.clone());
                verification.problem = signature.check_time(now).err();
                Some(signature).filter(|_| verification.problem.is_none())
            }
            Err(problem) => {
                verification.problem = Some(problem);
                None
            }
        };
        Self { place, value, verification, signature }
    }
}

/// The first characters of a signature.
fn beginning(value: &[u8]) -> String {
    value.iter().filter(|byte| !is_space(**byte) && byte.is_ascii()).take(8).map(|byte| char::from(*byte)).collect()
}

/// The message, and the hashes of its body.
struct Signed<'a> {
    message: &'a Message<'a>,
    index: Index,
    hashes: &'a BodyHashes,
}

/// Judges a signature by the key records its domain has.
fn judge(
    signed: &Signed<'_>,
    draft: &Draft<'_>,
    signature: &Signature<'_>,
    answer: &Resolved,
    testing: &mut bool,
) -> Result<(), Problem> {
    //= RFC 6376 section 6.1.2
    //# If the query for the public key fails to respond, the Verifier MAY seek a later verification attempt by returning TEMPFAIL
    if answer.is_failure() {
        return Err(Problem::KeyNotAnswered);
    }
    //= RFC 6376 section 6.1.2
    //# If the query for the public key returns multiple key records, the Verifier can choose one of the key records or may cycle
    //# through the key records, performing the remainder of these steps on each record at the discretion of the implementer.
    let mut worst = Problem::NoKey;
    let mut fields = None;
    for rdata in answer.rdata(Rtype::TXT).take(KEYS_MAX) {
        let key = match usable_key(rdata, signature) {
            Ok(key) => key,
            Err(problem) => {
                if worst == Problem::NoKey {
                    worst = problem;
                }
                continue;
            }
        };
        *testing = key.testing;
        let unsigned = signed.check_body(signature)?;
        let fields = fields.get_or_insert_with(|| signed.fields(draft, signature));
        if key.verifies(fields, &signature.data) {
            return if unsigned > 0 { Err(Problem::BodyUnsigned(unsigned)) } else { Ok(()) };
        }
        worst = Problem::Signature;
    }
    Err(worst)
}

/// A key that may verify the signature.
fn usable_key(rdata: &[u8], signature: &Signature<'_>) -> Result<Key, Problem> {
    let key = Key::parse(&postring_dns::record::text(rdata))?;
    if !key.fits(signature.algorithm) {
        return Err(Problem::KeyNotFor(match signature.algorithm {
            Algorithm::RsaSha256 => "RSA (k= of its record)",
            Algorithm::Ed25519Sha256 => "Ed25519 (k= of its record)",
        }));
    }
    //= RFC 6376 section 3.6.1, t=s
    //# Any DKIM-Signature header fields using the "i=" tag MUST have the same domain value on the right-hand side of the "@" in
    //# the "i=" tag and the value of the "d=" tag.
    if key.strict && !signature.is_strict() {
        return Err(Problem::KeyNotFor("a domain below its own (t=s of its record)"));
    }
    Ok(key)
}

impl Signed<'_> {
    /// Compares the body's hash; the octets of the body that are not signed.
    fn check_body(&self, signature: &Signature<'_>) -> Result<u64, Problem> {
        let body = self.hashes.get(signature.body, signature.length).ok_or(Problem::Body)?;
        let length = signature.length.unwrap_or(body.octets);
        //= RFC 6376 section 3.5, l=
        //# This value MUST NOT be larger than the actual number of octets in the canonicalized message body.
        let unsigned = body.octets.checked_sub(length).ok_or(Problem::BodyShorter)?;
        if body.hash == Some(signature.body_hash) { Ok(unsigned) } else { Err(Problem::Body) }
    }

    /// The canonical fields that are signed, and the signature without its `b=` behind them (RFC 6376 section 3.7).
    fn fields(&self, draft: &Draft<'_>, signature: &Signature<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        for place in self.index.select(&signature.fields, draft.place) {
            if let Some(Field { name, value }) = self.message.fields.get(place) {
                write_field(signature.header, name, value, &mut out);
                out.extend_from_slice(b"\r\n");
            }
        }
        //= RFC 6376 section 3.7
        //# The DKIM-Signature header field [...] with the value of the "b=" tag (including all surrounding whitespace) deleted
        let name = self.message.fields.get(draft.place).map_or(&b""[..], |field| field.name);
        write_field(signature.header, name, &without_signature(draft.value), &mut out);
        out
    }
}

/// The field's value with nothing between the `=` of its `b` and the semicolon behind.
fn without_signature(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for (place, spec) in value.split(|byte| *byte == b';').enumerate() {
        if place > 0 {
            out.push(b';');
        }
        let name = memchr::memchr(b'=', spec).and_then(|equals| spec.split_at_checked(equals + 1));
        match name {
            Some((name, _)) if name.split_last().is_some_and(|(_, name)| trim(name) == b"b") => out.extend_from_slice(name),
            _ => out.extend_from_slice(spec),
        }
    }
    out
}
