//! The verification of a message's signatures (RFC 6376 section 6).

use super::fields::Message;
use super::hashes::BodyHashes;
use super::keys::{Keys, ask, distinct};
use super::signature::domain_text;
use super::signed::Signed;
use super::tags::{TagList, is_space};
use super::{Key, Problem, Signature, Verification};
use crate::Lookup;
use postring_dns::Name;

/// Signatures that are looked at, from the top down: one beyond is beyond what honest mail has.
const SIGNATURES_MAX: usize = 8;

/// Verifies the signatures of a message with CRLF at its line ends; `now` in seconds since 1970. Gives something for each signature that is looked
/// at, in their order, and at least one thing: that there is none.
///
/// Cost: one question a key, all at the same time; the body is read once for each form signed, signed fields are copied once a signature.
pub async fn verify(lookup: &impl Lookup, message: &[u8], now: u64) -> Vec<Verification> {
    let Some(message) = Message::parse(message) else { return vec![Verification::of_message(Problem::Header)] };
    let signatures = Signatures::read(&message, now);
    let mut hashes = BodyHashes::default();
    signatures.ask_hashes(&mut hashes);
    hashes.put_whole(message.body);
    let names = distinct(signatures.key_names());
    let answers = ask(lookup, &names).await;
    signatures.judge(&Signed::new(&message, &hashes), Keys::new(&names, &answers))
}

/// The signatures of a message, before their keys are known.
pub(crate) struct Signatures<'a> {
    drafts: Vec<Draft<'a>>,
    /// So many are there beyond.
    more: usize,
}

impl<'a> Signatures<'a> {
    /// Reads the signatures of a message.
    pub fn read(message: &Message<'a>, now: u64) -> Self {
        let mut places = message.fields.iter().enumerate().filter(|(_, field)| field.is("DKIM-Signature"));
        let drafts = places.by_ref().take(SIGNATURES_MAX).map(|(place, field)| Draft::new(place, field.value, now)).collect();
        Self { drafts, more: places.count() }
    }

    /// Where their keys are.
    pub fn key_names(&self) -> impl Iterator<Item = &Name> {
        self.drafts.iter().filter_map(|draft| draft.signature.as_ref()).map(|signature| &signature.key_name)
    }

    /// Asks for the hashes of the body they sign.
    pub fn ask_hashes(&self, hashes: &mut BodyHashes) {
        for signature in self.drafts.iter().filter_map(|draft| draft.signature.as_ref()) {
            hashes.ask(signature.body, signature.length);
        }
    }

    /// What they are worth.
    pub fn judge(&self, signed: &Signed<'_>, keys: Keys<'_>) -> Vec<Verification> {
        if self.drafts.is_empty() {
            return vec![Verification::of_message(Problem::Unsigned)];
        }
        let mut results: Vec<Verification> = self.drafts.iter().map(|draft| draft.judge(signed, keys)).collect();
        if self.more > 0 {
            results.push(Verification::of_message(Problem::MoreSignatures(self.more)));
        }
        results
    }
}

/// A signature field that was read.
struct Draft<'a> {
    place: usize,
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
                return Self { place, verification, signature: None };
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
        Self { place, verification, signature }
    }

    /// Judges the signature by the key records its domain has.
    fn judge(&self, signed: &Signed<'_>, keys: Keys<'_>) -> Verification {
        let mut result = self.verification.clone();
        let Some(signature) = &self.signature else { return result };
        let (mut fields, mut unsigned) = (None, 0);
        let verifies = |key: &Key| {
            result.testing = key.testing;
            unsigned = signed.check_body(signature)?;
            let fields = fields.get_or_insert_with(|| signed.fields(signature, self.place));
            signed.is_verified_by(key, fields, &signature.data)
        };
        let judged = keys.judge(&signature.key_name, signature.algorithm, |key| check_identity(key, signature), verifies);
        result.problem = judged.err().or_else(|| (unsigned > 0).then_some(Problem::BodyUnsigned(unsigned)));
        result
    }
}

fn check_identity(key: &Key, signature: &Signature<'_>) -> Result<(), Problem> {
    //= RFC 6376 section 3.6.1, t=s
    //# Any DKIM-Signature header fields using the "i=" tag MUST have the same domain value on the right-hand side of the "@" in
    //# the "i=" tag and the value of the "d=" tag.
    if key.strict && !signature.is_strict() {
        return Err(Problem::KeyNotFor("a domain below its own (t=s of its record)"));
    }
    Ok(())
}

/// The first characters of a signature.
fn beginning(value: &[u8]) -> String {
    value.iter().filter(|byte| !is_space(**byte) && byte.is_ascii()).take(8).map(|byte| char::from(*byte)).collect()
}
