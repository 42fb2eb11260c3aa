//! What signing costs: `cargo bench -p postring-dns --bench sign`. Prints microseconds of one core for each signature.
#![allow(clippy::unwrap_used)] // a measurement that cannot go on ends

use postring_dns::dnssec::SetSigner;
use postring_dns::dnssec::algorithm::Algorithm;
use postring_dns::dnssec::sign::{Role, SigningKey, Validity, ZoneKeys, ZoneSigner};
use postring_dns::{Name, Rtype};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// So few that a try fits between two turns of other work.
const ROUNDS: u32 = 20;
const TRIES: usize = 501;

/// The best and the middle of some tries: other work on the machine only makes it slower.
fn measure(what: &str, mut once: impl FnMut()) {
    let mut tries: Vec<f64> = (0..TRIES)
        .map(|_| {
            let start = Instant::now();
            (0..ROUNDS).for_each(|_| once());
            start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
        })
        .collect();
    tries.sort_by(f64::total_cmp);
    println!("{what:<40} {:8.2} us best, {:8.2} us median of {TRIES}", tries[0], tries[TRIES / 2]);
}

fn main() {
    let origin = Name::absolute("example.org").unwrap();
    let owner = Name::absolute("mail.example.org").unwrap();
    for algorithm in [Algorithm::ECDSAP256SHA256, Algorithm::ED25519] {
        let (key, _) = SigningKey::generate(algorithm, true).unwrap();
        let key = Arc::new(key);
        measure(&format!("{algorithm}: 100 octets"), || {
            let _ = black_box(key.sign(&[7; 100]));
        });
        let mut keys = ZoneKeys::new(&origin);
        keys.start(0, vec![(Role::Csk, key)]).unwrap();
        let signer = ZoneSigner::new(&keys, 1_790_000_000, Validity::default());
        let addresses: Vec<[u8; 4]> = (0..4).map(|host| [192, 0, 2, host]).collect();
        let set: Vec<&[u8]> = addresses.iter().map(|address| &address[..]).collect();
        measure(&format!("{algorithm}: a set of 4 A"), || drop(black_box(signer.sign(owner.wire(), Rtype::A, 3600, &set))));
        let signature = signer.sign(owner.wire(), Rtype::A, 3600, &set).remove(0);
        let rrsig = postring_dns::dnssec::rrsig::Rrsig::parse(&signature).unwrap();
        let mut message = Vec::new();
        rrsig.signed_bytes(owner.wire(), set.iter().copied(), &mut message);
        let public = keys.keys()[0].key.dnskey()[4..].to_vec();
        measure(&format!("{algorithm}: verify it"), || assert!(algorithm.verify(&public, &message, rrsig.signature)));
    }
}
