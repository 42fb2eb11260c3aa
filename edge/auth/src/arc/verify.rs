//! The validation of a chain (RFC 8617 section 5.2).

use super::seal::{Seal, message_signature};
use super::sets::{Found, Sets};
use super::{Chain, Kind, Problem};
use crate::Lookup;
use crate::dkim::fields::Message;
use crate::dkim::hashes::BodyHashes;
use crate::dkim::keys::{Keys, ask, distinct};
use crate::dkim::signed::Signed;
use crate::dkim::{self, Canonicalization, Key, Signature};
use postring_dns::Name;

/// Operations with public keys for a chain: two for each of 50 sets, and some for selectors with more than one key.
const OPERATIONS_MAX: usize = 128;

/// Validates the chain of a message with CRLF at its line ends; `now` in seconds since 1970.
///
/// Cost: one question a key name, all at the same time, and none if the chain is broken without them; the body is read once for each of two forms,
/// signed fields are copied once a message signature, those of the sets once, and hashed once for each seal.
pub async fn verify<'a>(lookup: &impl Lookup, message: &'a [u8], now: u64) -> Chain<'a> {
    let Some(message) = Message::parse(message) else { return Chain::failed(Problem::Header) };
    let mut draft = Draft::read(&message, now);
    let mut hashes = BodyHashes::default();
    draft.ask_hashes(&mut hashes);
    hashes.put_whole(message.body);
    let signed = Signed::new(&message, &hashes);
    draft.check_body(&signed);
    let names = distinct(draft.key_names());
    let answers = ask(lookup, &names).await;
    draft.judge(&signed, Keys::new(&names, &answers))
}

/// A chain whose keys are not known yet.
pub(crate) struct Draft<'a> {
    chain: Chain<'a>,
    /// The oldest first; none if there is nothing to ask.
    links: Vec<Link<'a>>,
}

/// A set of a chain whose structure is right.
struct Link<'a> {
    instance: u8,
    /// Places of the fields, in the order they are sealed in.
    places: [usize; 3],
    message_signature: Result<Signature<'a>, dkim::Problem>,
    seal: Seal,
}

impl<'a> Draft<'a> {
    /// Steps 1 to 3, and what can be said of the fields without a key.
    pub fn read(message: &Message<'a>, now: u64) -> Self {
        let sets = Sets::collect(message);
        let mut chain = Chain { problem: sets.problem, sets: sets.entries(), oldest_pass: None };
        let mut links = Vec::with_capacity(sets.by_instance.len());
        for (instance, set) in &sets.by_instance {
            if chain.problem.is_some() {
                break;
            }
            match Link::new(*instance, set, now) {
                Ok(link) => links.push(link),
                Err(problem) => chain.problem = Some(problem),
            }
        }
        let mut draft = Self { chain, links };
        if let Some(Link { instance, message_signature: Err(problem), .. }) = draft.links.last() {
            let problem = Problem::Signature(Kind::MessageSignature, *instance, *problem);
            draft.chain.problem.get_or_insert(problem);
        }
        draft.stop_if_broken();
        draft
    }

    /// Asks for the hashes of the body that the message signatures sign.
    pub fn ask_hashes(&self, hashes: &mut BodyHashes) {
        for signature in self.links.iter().filter_map(|link| link.message_signature.as_ref().ok()) {
            hashes.ask(signature.body, None);
        }
    }

    /// Compares the body's hash of the newest message signature, so that nobody is asked for the keys of a message that was changed.
    pub fn check_body(&mut self, signed: &Signed<'_>) {
        if let Some(Link { instance, message_signature: Ok(signature), .. }) = self.links.last()
            && let Err(problem) = check_body(signed, signature)
        {
            let instance = *instance;
            note(&mut self.chain, instance, Kind::MessageSignature, Err(problem));
            self.chain.problem = Some(Problem::Signature(Kind::MessageSignature, instance, problem));
        }
        self.stop_if_broken();
    }

    /// Where the keys are.
    pub fn key_names(&self) -> impl Iterator<Item = &Name> {
        self.links.iter().flat_map(|link| {
            link.message_signature.as_ref().ok().map(|signature| &signature.key_name).into_iter().chain([&link.seal.key_name])
        })
    }

    /// Steps 4 to 7.
    pub fn judge(&self, signed: &Signed<'_>, keys: Keys<'_>) -> Chain<'a> {
        let mut chain = self.chain.clone();
        let Some(newest) = self.links.last() else { return chain };
        let mut judge = Judge { keys, operations: OPERATIONS_MAX, exhausted: false };
        let mut oldest_pass = 0;
        for link in self.links.iter().rev() {
            let judged = judge.message_signature(signed, link);
            note(&mut chain, link.instance, Kind::MessageSignature, judged);
            let Err(problem) = judged else { continue };
            //= RFC 8617 section 5.2 step 4
            //# Validate the AMS with the greatest instance value (most recent). If validation fails, then the Chain Validation Status is
            //# "fail", and the algorithm stops here.
            if link.instance == newest.instance {
                chain.problem = Some(Problem::Signature(Kind::MessageSignature, link.instance, problem));
                return chain;
            }
            //= RFC 8617 section 5.2 step 5A
            //# If an AMS fails to validate (for instance value "M"), then set the oldest-pass value to the lowest AMS instance value that
            //# passed (M+1), and go to the next step
            oldest_pass = link.instance + 1;
            break;
        }
        //= RFC 8617 section 5.2 step 6
        //# Validate each AS beginning with the greatest instance value and proceeding in decreasing order to the AS with the instance
        //# value of 1. If any AS fails to validate, the Chain Validation Status is "fail", and the algorithm stops here.
        let (mut sealed, ends) = seal_input(signed, &self.links);
        for (link, end) in self.links.iter().zip(ends).rev() {
            sealed.truncate(end);
            signed.write_unsigned(Canonicalization::Relaxed, link.places[2], &mut sealed);
            let judged = judge.seal(signed, link, &sealed);
            note(&mut chain, link.instance, Kind::Seal, judged);
            if let Err(problem) = judged {
                let of_seal = Problem::Signature(Kind::Seal, link.instance, problem);
                chain.problem = Some(if judge.exhausted { Problem::TooManyKeys } else { of_seal });
                return chain;
            }
        }
        chain.oldest_pass = Some(oldest_pass);
        chain
    }

    fn stop_if_broken(&mut self) {
        if self.chain.problem.is_some() {
            self.links.clear();
        }
    }
}

fn note(chain: &mut Chain<'_>, instance: u8, kind: Kind, judged: Result<(), dkim::Problem>) {
    if let Some(set) = chain.sets.iter_mut().find(|set| set.instance == instance) {
        let place = if kind == Kind::Seal { &mut set.seal } else { &mut set.message_signature };
        *place = Some(judged);
    }
}

impl<'a> Link<'a> {
    /// The set is one of a chain whose structure is right.
    fn new(instance: u8, set: &Found<'a>, now: u64) -> Result<Self, Problem> {
        let missing = |kind| Problem::Missing(kind, instance);
        let (results, _) = set.results.ok_or(missing(Kind::Results))?;
        let (signature, signature_list) = set.message_signature.as_ref().ok_or(missing(Kind::MessageSignature))?;
        let (seal, seal_list) = set.seal.as_ref().ok_or(missing(Kind::Seal))?;
        Ok(Self {
            instance,
            places: [results, *signature, *seal],
            message_signature: message_signature(signature_list, now),
            seal: Seal::parse(seal_list, now).map_err(|problem| Problem::Signature(Kind::Seal, instance, problem))?,
        })
    }
}

/// Tries keys, as long as a chain may.
struct Judge<'k> {
    keys: Keys<'k>,
    /// That may be done yet.
    operations: usize,
    /// One more would have been needed; then no seal can be good.
    exhausted: bool,
}

impl Judge<'_> {
    fn message_signature(&mut self, signed: &Signed<'_>, link: &Link<'_>) -> Result<(), dkim::Problem> {
        let signature = link.message_signature.as_ref().map_err(|problem| *problem)?;
        check_body(signed, signature)?;
        let fields = signed.fields(signature, link.places[1]);
        self.judge(signed, (&signature.key_name, signature.algorithm), &fields, &signature.data)
    }

    fn seal(&mut self, signed: &Signed<'_>, link: &Link<'_>, sealed: &[u8]) -> Result<(), dkim::Problem> {
        self.judge(signed, (&link.seal.key_name, link.seal.algorithm), sealed, &link.seal.data)
    }

    fn judge(
        &mut self,
        signed: &Signed<'_>,
        (name, algorithm): (&Name, dkim::Algorithm),
        fields: &[u8],
        data: &[u8],
    ) -> Result<(), dkim::Problem> {
        let verifies = |key: &Key| {
            self.exhausted = self.operations == 0;
            self.operations = self.operations.saturating_sub(1);
            if self.exhausted { Ok(false) } else { signed.is_verified_by(key, fields, data) }
        };
        // `t=s` of a key is about DKIM's i=, which ARC has not; `t=y` asks for no other treatment than that of a chain that fails.
        self.keys.judge(name, algorithm, |_| Ok(()), verifies)
    }
}

/// Compares the body's hash. What leaves a part of the body unsigned (`l=`) does not count, so that one hash of the body is enough for each form.
fn check_body(signed: &Signed<'_>, signature: &Signature<'_>) -> Result<(), dkim::Problem> {
    let body = signed.hashed(signature.body, None)?;
    match signature.length.unwrap_or(body.octets) {
        length if length > body.octets => Err(dkim::Problem::BodyShorter),
        length if length < body.octets => Err(dkim::Problem::BodyUnsigned(body.octets - length)),
        _ if body.hash == Some(signature.body_hash) => Ok(()),
        _ => Err(dkim::Problem::Body),
    }
}

/// The canonical fields of all sets, and where each seal stands in them: a seal seals what is before it, and itself without its `b=`.
fn seal_input(signed: &Signed<'_>, links: &[Link<'_>]) -> (Vec<u8>, Vec<usize>) {
    let (mut sealed, mut ends) = (Vec::with_capacity(4096), Vec::with_capacity(links.len()));
    //= RFC 8617 section 5.1.1
    //# The ARC Set header field values are supplied to the hash function in increasing instance order, starting at 1
    //= RFC 8617 section 5.1.1
    //# Within an ARC Set, header fields are supplied to the hash function in the following order: [...] ARC-Authentication-Results [...]
    //# ARC-Message-Signature [...] ARC-Seal
    for Link { places: [results, message_signature, seal], .. } in links {
        signed.write_field(Canonicalization::Relaxed, *results, &mut sealed);
        signed.write_field(Canonicalization::Relaxed, *message_signature, &mut sealed);
        ends.push(sealed.len());
        signed.write_field(Canonicalization::Relaxed, *seal, &mut sealed);
    }
    (sealed, ends)
}
