//! Exchanges of both sides, hickory-proto as the other one, and messages that were tampered with.

use super::*;
use crate::query::{QueryView, write_query};
use crate::{Name, Rtype};
use hickory_proto::op::Message;
use hickory_proto::rr::TSigner;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use proptest::prelude::*;
use std::sync::Arc;

const NOW: u64 = 1_790_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

fn key(algorithm: Algorithm) -> Arc<Key> {
    Arc::new(Key::new(&name("Key.Example"), algorithm, SECRET).unwrap())
}

fn query() -> Vec<u8> {
    let mut packet = Vec::new();
    write_query(7, name("Example.org").wire(), Rtype::SOA, false, &mut packet);
    packet
}

fn response() -> Vec<u8> {
    let mut packet = query();
    packet[2] |= 0x84;
    packet
}

fn signer_of(check: Check) -> Signer {
    match check {
        Check::Signed(signer) => signer,
        other => panic!("{other:?}"),
    }
}

fn refusal_of(check: Check) -> Refusal {
    match check {
        Check::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn theirs(algorithm: Algorithm) -> TSigner {
    let theirs = match algorithm {
        Algorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
        Algorithm::HmacSha384 => TsigAlgorithm::HmacSha384,
        Algorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
    };
    TSigner::new(SECRET.to_vec(), theirs, "key.example.".parse().unwrap(), 300).unwrap()
}

#[test]
fn a_request_and_its_answers() {
    for algorithm in [Algorithm::HmacSha256, Algorithm::HmacSha384, Algorithm::HmacSha512] {
        let key = key(algorithm);
        let mut request = query();
        let before = request.len();
        let mut verifier = sign_request(&key, &mut request, NOW);
        assert_eq!(request.len() - before, key.record_bytes());
        assert!(is_signed(&request) && QueryView::parse(&request).is_ok());
        let mut signer = signer_of(KeyRing::new([key.clone()]).check(&request, NOW + 300));
        assert_eq!(signer.key().name(), key.name());
        for index in 0..5 {
            let mut message = response();
            signer.sign(&mut message, NOW + index);
            assert_eq!(verifier.verify(&message, NOW), Ok(Verified::Signed));
            assert!(verifier.is_settled());
        }
    }
}

#[test]
fn hickory_verifies_ours() {
    for algorithm in [Algorithm::HmacSha256, Algorithm::HmacSha384, Algorithm::HmacSha512] {
        let key = key(algorithm);
        let mut request = query();
        sign_request(&key, &mut request, NOW);
        let (request_mac, time, _) = theirs(algorithm).verify_message_byte(&request, None, true).unwrap();
        assert_eq!(time, NOW);
        let mut signer = signer_of(KeyRing::new([key]).check(&request, NOW));
        let mut mac = request_mac;
        for index in 0..3 {
            let mut message = response();
            signer.sign(&mut message, NOW + index);
            (mac, _, _) = theirs(algorithm).verify_message_byte(&message, Some(&mac), index == 0).unwrap();
        }
    }
}

#[test]
fn ours_verifies_hickory() {
    let algorithm = Algorithm::HmacSha256;
    let mut message = Message::from_vec(&query()).unwrap();
    let mut verifier = message.finalize(&theirs(algorithm), NOW).unwrap();
    let request = message.to_vec().unwrap();
    let mut signer = signer_of(KeyRing::new([key(algorithm)]).check(&request, NOW));
    let mut answer = response();
    signer.sign(&mut answer, NOW);
    if let Some(verifier) = &mut verifier {
        assert!(verifier.verify(&answer).is_ok());
    }
}

/// RFC 8945 section 5.2: each error, with the answer that belongs to it.
#[test]
fn what_is_refused() {
    let key = key(Algorithm::HmacSha256);
    let ring = KeyRing::new([key.clone()]);
    let mut request = query();
    let mut verifier = sign_request(&key, &mut request, NOW);
    let mut out = Vec::new();

    // BADKEY: an unsigned record; the client cannot trust it.
    let refusal = refusal_of(KeyRing::default().check(&request, NOW));
    assert_eq!(
        (refusal.error, refusal.rcode(), refusal.key_name.to_string()),
        (TsigError::BadKey, crate::Rcode::NOTAUTH, "key.example.".into())
    );
    refusal.write(&request, NOW, &mut out);
    assert_eq!(verifier.clone().verify(&out, NOW), Err(VerifyError::Refused(17)));
    assert!(Message::from_vec(&out).is_ok());
    // The same name with another algorithm is another key.
    let other = Arc::new(Key::new(&name("key.example"), Algorithm::HmacSha512, SECRET).unwrap());
    assert_eq!(refusal_of(KeyRing::new([other]).check(&request, NOW)).error, TsigError::BadKey);

    // BADSIG.
    let other = Arc::new(Key::new(&name("key.example"), Algorithm::HmacSha256, b"another secret of length").unwrap());
    let refusal = refusal_of(KeyRing::new([other]).check(&request, NOW));
    assert_eq!(refusal.error, TsigError::BadSig);
    refusal.write(&request, NOW, &mut out);
    assert_eq!(verifier.clone().verify(&out, NOW), Err(VerifyError::Refused(16)));

    // BADTIME: signed, with the client's time and ours behind it.
    let refusal = refusal_of(ring.check(&request, NOW + 301));
    assert_eq!(refusal.error, TsigError::BadTime);
    refusal.write(&request, NOW + 301, &mut out);
    assert_eq!(out[out.len() - 6..], (NOW + 301).to_be_bytes()[2..]);
    assert_eq!(out[3] & 15, 9);
    assert_eq!(verifier.verify(&out, NOW), Err(VerifyError::Refused(18)));
    assert_eq!(refusal_of(ring.check(&request, NOW - 301)).error, TsigError::BadTime);
    assert!(matches!(ring.check(&request, NOW - 300), Check::Signed(_)));
}

/// Cuts the MAC of a signed query to `length` octets.
fn cut(request: &[u8], length: usize) -> Vec<u8> {
    let start = query().len();
    // Name, fixed part, algorithm, time, fudge: then the size of the MAC.
    let size_at = start + 13 + 10 + 13 + 8;
    let mut cut = request[..size_at].to_vec();
    cut.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    cut.extend_from_slice(&request[size_at + 2..size_at + 2 + length.min(32)]);
    cut.extend(std::iter::repeat_n(0, length.saturating_sub(32)));
    cut.extend_from_slice(&request[size_at + 34..]);
    let rdlength = u16::try_from(13 + 16 + length).unwrap();
    cut[start + 13 + 8..start + 13 + 10].copy_from_slice(&rdlength.to_be_bytes());
    cut
}

#[test]
fn short_macs() {
    let key = key(Algorithm::HmacSha256);
    let ring = KeyRing::new([key.clone()]);
    let mut request = query();
    let mut verifier = sign_request(&key, &mut request, NOW);
    assert_eq!(cut(&request, 32), request);
    assert_eq!(refusal_of(ring.check(&cut(&request, 33), NOW)).error, TsigError::Malformed);
    assert_eq!(refusal_of(ring.check(&cut(&request, 15), NOW)).error, TsigError::Malformed);
    assert_eq!(refusal_of(ring.check(&cut(&request, 0), NOW)).error, TsigError::Malformed);
    let short = cut(&request, 16);
    let refusal = refusal_of(ring.check(&short, NOW));
    assert_eq!(refusal.error, TsigError::BadTrunc);
    let mut out = Vec::new();
    refusal.write(&short, NOW, &mut out);
    // Signed over the short MAC, which is not the one our client sent.
    assert_eq!(verifier.verify(&out, NOW), Err(VerifyError::WrongMac));
    let mut wrong = short;
    let at = wrong.len() - 8;
    wrong[at] ^= 1;
    assert_eq!(refusal_of(ring.check(&wrong, NOW)).error, TsigError::BadSig);
}

#[test]
fn records_that_do_not_stand_at_the_end_alone() {
    let key = key(Algorithm::HmacSha256);
    let ring = KeyRing::new([key.clone()]);
    let mut request = query();
    sign_request(&key, &mut request, NOW);
    let tsig = request[query().len()..].to_vec();
    let malformed = |packet: &[u8]| {
        let refusal = refusal_of(ring.check(packet, NOW));
        assert_eq!((refusal.error, refusal.rcode()), (TsigError::Malformed, crate::Rcode::FORMERR));
        let mut out = Vec::new();
        refusal.write(packet, NOW, &mut out);
        assert_eq!(out.len(), 12);
    };
    let mut twice = request.clone();
    twice.extend_from_slice(&tsig);
    twice[11] += 1;
    malformed(&twice);
    // Behind it stands an OPT.
    let mut before_opt = request.clone();
    before_opt.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    before_opt[11] += 1;
    malformed(&before_opt);
    // In the answer section.
    let mut elsewhere = request.clone();
    (elsewhere[7], elsewhere[11]) = (elsewhere[11], 0);
    malformed(&elsewhere);
    // With a class or a TTL.
    for at in [query().len() + 13 + 3, query().len() + 13 + 7] {
        let mut wrong = request.clone();
        wrong[at] ^= 1;
        malformed(&wrong);
    }
    malformed(&request[..request.len() - 1]);
    malformed(&request[..5]);
}

/// A forwarder may give a request another id (RFC 8945 section 5.5): the original one is signed.
#[test]
fn the_original_id_is_signed() {
    let key = key(Algorithm::HmacSha256);
    let mut request = query();
    sign_request(&key, &mut request, NOW);
    request[0] ^= 0xff;
    assert!(matches!(KeyRing::new([key]).check(&request, NOW), Check::Signed(_)));
}

#[test]
fn streams() {
    let key = key(Algorithm::HmacSha256);
    let mut request = query();
    let verifier = sign_request(&key, &mut request, NOW);
    let ring = KeyRing::new([key.clone()]);
    // The first must be signed.
    assert_eq!(verifier.clone().verify(&response(), NOW), Err(VerifyError::Unsigned));
    let mut first = response();
    let mut signer = signer_of(ring.check(&request, NOW));
    signer.sign(&mut first, NOW);
    let mut one = verifier.clone();
    assert_eq!(one.verify(&first, NOW), Ok(Verified::Signed));
    // The same again is no second message: its MAC is over another beginning.
    assert_eq!(one.clone().verify(&first, NOW), Err(VerifyError::WrongMac));
    for _ in 0..UNSIGNED_MAX {
        assert_eq!(one.verify(&response(), NOW), Ok(Verified::NotYet));
        assert!(!one.is_settled());
    }
    assert_eq!(one.verify(&response(), NOW), Err(VerifyError::Unsigned));
    // A later one that does not know of the unsigned ones proves nothing.
    let mut late = response();
    signer.sign(&mut late, NOW);
    assert_eq!(one.verify(&late, NOW), Err(VerifyError::WrongMac));
    // Too late, and with another key.
    let mut signer = signer_of(ring.check(&request, NOW));
    let mut old = response();
    signer.sign(&mut old, NOW - 301);
    assert_eq!(verifier.clone().verify(&old, NOW), Err(VerifyError::WrongTime));
    let other = Arc::new(Key::new(&name("other"), Algorithm::HmacSha256, SECRET).unwrap());
    let mut foreign = response();
    sign_request(&other, &mut foreign, NOW);
    assert_eq!(verifier.clone().verify(&foreign, NOW), Err(VerifyError::WrongKey));
}

/// A primary that signs every fourth message: the others are in the MAC of the next that is signed.
#[test]
fn unsigned_messages_are_proven_by_the_next() {
    let key = key(Algorithm::HmacSha256);
    let mut request = query();
    let mut verifier = sign_request(&key, &mut request, NOW);
    let mac = record::find(&request).unwrap().unwrap().mac;
    let mut primary = chain::Chain::after_request(key, mac);
    for index in 0_u8..9 {
        let mut message = response();
        message[12 + 1] = b'a' + index;
        if index % 4 == 0 {
            primary.sign(&mut message, chain::Stamp::now(NOW), true);
            assert_eq!(verifier.verify(&message, NOW), Ok(Verified::Signed));
        } else {
            primary.add_unsigned(&message);
            assert_eq!(verifier.verify(&message, NOW), Ok(Verified::NotYet));
        }
        assert_eq!(verifier.is_settled(), index % 4 == 0);
    }
}

#[test]
fn an_answer_that_would_be_too_long_is_cut_to_its_question() {
    let key = key(Algorithm::HmacSha256);
    let mut request = query();
    let mut verifier = sign_request(&key, &mut request, NOW);
    let mut signer = signer_of(KeyRing::new([key]).check(&request, NOW));
    let mut message = response();
    let question_end = 12 + 13 + 4;
    signer.sign_within(&mut message, 100, question_end, NOW);
    assert_eq!((message[2] & 2, message.len()), (2, question_end + signer.record_bytes()));
    assert_eq!(verifier.verify(&message, NOW), Ok(Verified::Signed));
    assert!(Message::from_vec(&message).unwrap().metadata.truncation);
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..200)) { fuzz_tsig(&data); }

    /// Whatever octet is changed, the message is not taken, or it is only its id.
    #[test]
    fn no_changed_message_is_taken(at in 2..130_usize, change in 1..=255_u8) {
        let key = key(Algorithm::HmacSha256);
        let mut request = query();
        sign_request(&key, &mut request, NOW);
        fuzz_tsig(&request);
        if let Some(place) = request.get_mut(at) {
            let letter = place.is_ascii_alphabetic() && change == 0x20;
            *place ^= change;
            fuzz_tsig(&request);
            // The letters of the key's and the algorithm's name do not matter.
            if !(letter && at >= query().len()) {
                prop_assert!(!matches!(KeyRing::new([key]).check(&request, NOW), Check::Signed(_)));
            }
        }
    }
}
