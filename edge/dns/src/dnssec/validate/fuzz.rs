//! The entry for the fuzzer.

use super::{KeyCache, LOOK_UPS_MAX, Step, Trust, Validator, Verdict, Work};
use crate::dnssec::Security;
use crate::dnssec::algorithm::Algorithm;
use crate::dnssec::canonical::label_count;
use crate::dnssec::key::{dnskey_rdata, key_tag};
use crate::dnssec::rrsig::Rrsig;
use crate::message::ResponseView;
use crate::name::Name;
use crate::record::{Rdata, Record};
use crate::resolver::Answer;
use crate::types::{Rcode, Rtype};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::collections::BTreeMap;
use std::sync::Arc;

const NOW: u64 = 1_800_000_000;
const TTL: u32 = 60;
/// Sets of a packet that get a signature.
const SIGNED_MAX: usize = 16;

/// For the fuzzer and the replay of its inputs: what a stranger may say about a signed question, the look-ups for it included; must not panic,
/// must end, and without our signatures must not be believed.
///
/// ```text
///   one octet: 3 type of the question, 4 validation off, 8 every set is signed by the root's key, 16 only the first packet is
///   packets: length 2 | response ...: the answer first, then those to what is needed, in turn
/// ```
#[doc(hidden)]
pub fn fuzz_validate(data: &[u8]) {
    let Some((&which, mut rest)) = data.split_first() else { return };
    // A key that is no secret: whoever has it is believed, which is how the fuzzer comes to the proofs.
    let Ok(pair) = Ed25519KeyPair::from_seed_unchecked(&[7; 32]) else { return };
    let key = dnskey_rdata(257, Algorithm::ED25519, pair.public_key().as_ref());
    let mut first = true;
    let mut next = || {
        let packet = rest.split_first_chunk().and_then(|(length, behind)| {
            let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
            let (packet, behind) = behind.split_at_checked(length)?;
            rest = behind;
            Some(packet)
        });
        let Some(view) = packet.and_then(ResponseView::parse) else { return Answer::failure(0) };
        let mut answer = answer(view.rcode, view.answer, view.authority);
        if which & 8 != 0 && (first || which & 16 == 0) {
            sign(&mut answer.records, &pair, &key);
            sign(&mut answer.authority, &pair, &key);
        }
        first = false;
        answer
    };
    let (Ok(name), Ok(off)) = (Name::absolute("www.example.test"), Name::absolute("test")) else { return };
    let rtype = *[Rtype::A, Rtype::DS, Rtype::DNSKEY, Rtype::ANY].get(usize::from(which % 4)).unwrap_or(&Rtype::A);
    let mut trust = Trust::default();
    trust.add_dnskey(&Name::root(), &key);
    if which & 4 != 0 {
        trust.add_insecure(&off);
    }
    let mut cache = KeyCache::new();
    let asked = next();
    let mut validator = Validator::new(&name, rtype, &asked, Arc::new(trust), NOW, Work::default());
    for _ in 0..=LOOK_UPS_MAX {
        match validator.poll(&mut cache) {
            Step::Need { name, rtype } if name == Name::root() => {
                let mut records = vec![Record { name: name.clone(), rtype, ttl: TTL, rdata: key.as_slice().into() }];
                sign(&mut records, &pair, &key);
                validator.handle_answer(&name, rtype, &answer(Rcode::NOERROR, records, Vec::new()));
            }
            Step::Need { name, rtype } => validator.handle_answer(&name, rtype, &next()),
            Step::Done(verdict) => {
                assert!(verdict != Verdict::Secure || which & 8 != 0);
                let kept = validator.answer();
                assert!(kept.records.len() <= asked.records.len() && kept.authority.len() <= asked.authority.len());
                assert!(kept.is_failure() == matches!(verdict, Verdict::Bogus(_)));
                assert!(kept.records.iter().all(|record| record.ttl >= kept.ttl) || kept.records.is_empty());
                return;
            }
        }
    }
    assert!(matches!(validator.poll(&mut cache), Step::Done(_)), "more look-ups than allowed");
}

fn answer(rcode: Rcode, records: Vec<Record>, authority: Vec<Record>) -> Answer {
    Answer { rcode, records, authority, ttl: TTL, security: Security::Unchecked, extended_error: None }
}

fn sign(records: &mut Vec<Record>, pair: &Ed25519KeyPair, key: &[u8]) {
    let mut sets: BTreeMap<(Name, Rtype), Vec<Rdata>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.rtype != Rtype::RRSIG) {
        sets.entry((record.name.to_key(), record.rtype)).or_default().push(record.rdata.clone());
    }
    for ((name, rtype), rdata) in sets.into_iter().take(SIGNED_MAX) {
        let now = u32::try_from(NOW).unwrap_or(0);
        let rrsig = Rrsig {
            type_covered: rtype,
            algorithm: Algorithm::ED25519,
            labels: label_count(name.wire()),
            original_ttl: TTL,
            expiration: now + TTL,
            inception: now - TTL,
            key_tag: key_tag(key),
            signer: &[0],
            signature: &[],
        };
        let mut message = Vec::new();
        if rrsig.signed_bytes(name.wire(), rdata.iter().map(|rdata| &**rdata), &mut message) {
            let mut out = Vec::new();
            Rrsig { signature: pair.sign(&message).as_ref(), ..rrsig }.write(&mut out);
            records.push(Record { name, rtype: Rtype::RRSIG, ttl: TTL, rdata: out.into() });
        }
    }
}
