//! The verification of a message's signatures (RFC 6376 section 6).

use super::body::Body;
use super::canonical::{Canonicalization, write_field};
use super::fields::{Field, Index, Message};
use super::signature::{HASH_BYTES, domain_text};
use super::tags::{TagList, is_space, trim};
use super::{Algorithm, Key, Problem, Signature, Verification};
use crate::Lookup;
use crate::together::together;
use postring_dns::resolver::Resolved;
use postring_dns::{Name, Rtype};
use ring::digest::{Context, SHA256};

/// Signatures that are looked at, from the top down: one beyond is beyond what honest mail has.
const SIGNATURES_MAX: usize = 8;

/// Key records that are tried, of those at one selector.
const KEYS_MAX: usize = 4;

/// Verifies the signatures of a message with CRLF at its line ends; `now` in seconds since 1970. Gives something for each signature that is looked
/// at, in their order, and at least one thing: that there is none.
///
/// Cost: one question a signature, all at the same time; the body is read once for each form and length signed, signed fields are copied once a
/// signature.
pub async fn verify(lookup: &impl Lookup, message: &[u8], now: u64) -> Vec<Verification> {
    let Some(message) = Message::parse(message) else { return vec![Verification::of_message(Problem::Header)] };
    let mut places = message.fields.iter().enumerate().filter(|(_, field)| field.is("DKIM-Signature"));
    let drafts: Vec<Draft<'_>> =
        places.by_ref().take(SIGNATURES_MAX).map(|(place, field)| Draft::new(place, field.value, now)).collect();
    if drafts.is_empty() {
        return vec![Verification::of_message(Problem::Unsigned)];
    }
    let more = places.count();

    let mut names: Vec<&Name> = Vec::new();
    for signature in drafts.iter().filter_map(|draft| draft.signature.as_ref()) {
        if !names.contains(&&signature.key_name) {
            names.push(&signature.key_name);
        }
    }
    let answers = together(names.iter().map(|name| lookup.lookup(name, Rtype::TXT))).await;

    let mut signed = Signed { message: &message, index: Index::new(&message.fields), bodies: Vec::new() };
    let mut results = Vec::with_capacity(drafts.len() + 1);
    for draft in &drafts {
        let mut result = draft.verification.clone();
        if let Some(signature) = &draft.signature {
            let answer = names.iter().zip(&answers).find(|(name, _)| **name == &signature.key_name);
            let judged = match answer {
                Some((_, answer)) => judge(&mut signed, draft, signature, answer, &mut result.testing),
                None => Err(Problem::KeyNotAnswered),
            };
            result.problem = judged.err();
        }
        results.push(result);
    }
    if more > 0 {
        results.push(Verification::of_message(Problem::MoreSignatures(more)));
    }
    results
}

/// A signature field that was read.
struct Draft<'a> {
    place: usize,
    value: &'a [u8],
    /// What is known so far: a problem, or that there was none yet.
    verification: Verification,
    /// There if it can go on.
    signature: Option<Signature<'a>>,
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

/// The message, and the hashes of its body that were made.
struct Signed<'a> {
    message: &'a Message<'a>,
    index: Index,
    bodies: Vec<HashedBody>,
}

#[derive(Clone, Copy)]
struct HashedBody {
    form: Canonicalization,
    /// Of how many octets, if not of all.
    length: Option<u64>,
    hash: [u8; HASH_BYTES],
    /// All octets of the canonical form.
    octets: u64,
}

/// Judges a signature by the key records its domain has.
fn judge(
    signed: &mut Signed<'_>,
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
    fn check_body(&mut self, signature: &Signature<'_>) -> Result<u64, Problem> {
        let body = self.hashed(signature.body, signature.length);
        let length = signature.length.unwrap_or(body.octets);
        //= RFC 6376 section 3.5, l=
        //# This value MUST NOT be larger than the actual number of octets in the canonicalized message body.
        let unsigned = body.octets.checked_sub(length).ok_or(Problem::BodyShorter)?;
        if body.hash == signature.body_hash { Ok(unsigned) } else { Err(Problem::Body) }
    }

    fn hashed(&mut self, form: Canonicalization, length: Option<u64>) -> HashedBody {
        if let Some(body) = self.bodies.iter().find(|body| body.form == form && body.length == length) {
            return *body;
        }
        let mut context = Context::new(&SHA256);
        let mut octets: u64 = 0;
        let mut left = length.unwrap_or(u64::MAX);
        let mut hash_run = |run: &[u8]| {
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(run.len());
            context.update(run.get(..taken).unwrap_or_default());
            left -= taken as u64;
            octets += run.len() as u64;
        };
        let mut body = Body::new(form);
        body.put(self.message.body, &mut hash_run);
        body.finish(&mut hash_run);
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(context.finish().as_ref());
        let body = HashedBody { form, length, hash, octets };
        self.bodies.push(body);
        body
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
