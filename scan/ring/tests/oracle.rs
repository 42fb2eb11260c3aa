//! The ring against a plain queue, two processes' worth of threads, and a peer that lies.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

use postring_ring::{Descriptor, Doorbell, Lie, Link, LinkGeometry, PushError};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::Duration;

const ENTRIES: u32 = 8;

fn pair(entries: u32, payload: u32) -> (Link, Link) {
    let a = Link::create_page(entries, 0).unwrap();
    let b = Link::create_page(entries, payload).unwrap();
    let producer = Link::attach(&a, &b, LinkGeometry { entries, own_payload_bytes: 0, peer_payload_bytes: payload }).unwrap();
    let consumer = Link::attach(&b, &a, LinkGeometry { entries, own_payload_bytes: payload, peer_payload_bytes: 0 }).unwrap();
    (producer, consumer)
}

proptest! {
    #[test]
    fn behaves_as_a_bounded_queue(steps in proptest::collection::vec((any::<bool>(), any::<u64>(), 0..40_usize), 1..200)) {
        let (mut producer, mut consumer) = pair(ENTRIES, 32);
        let mut oracle = VecDeque::new();
        for (push, cookie, length) in steps {
            if push {
                let descriptor = Descriptor { cookie, ..Descriptor::default() };
                let payload = vec![cookie as u8; length];
                let expected = if oracle.len() == ENTRIES as usize { Err(PushError::Full) }
                    else if length > 32 { Err(PushError::PayloadTooLong) } else { Ok(()) };
                prop_assert_eq!(consumer.push(&descriptor, &payload), expected);
                if expected.is_ok() { oracle.push_back((descriptor, payload)); }
            } else {
                let popped = producer.pop().unwrap().map(|(descriptor, payload)| (descriptor, payload.to_vec()));
                prop_assert_eq!(popped, oracle.pop_front());
            }
        }
    }
}

#[test]
fn two_threads_that_sleep_lose_nothing() {
    const COUNT: u64 = 20_000;
    let (mut producer, mut consumer) = pair(64, 0);
    let (bell, button) = Doorbell::pair().unwrap();
    let thread = std::thread::spawn(move || {
        let mut expected = 0;
        while expected < COUNT {
            while let Some((descriptor, _)) = consumer.pop().unwrap() {
                assert_eq!(descriptor.cookie, expected);
                expected += 1;
            }
            consumer.prepare_sleep();
            if !consumer.has_work() && expected < COUNT {
                assert!(bell.wait(Some(Duration::from_secs(20))).unwrap(), "a wake-up was lost at {expected}");
            }
            consumer.awake();
        }
    });
    for cookie in 0..COUNT {
        while producer.push(&Descriptor { cookie, ..Descriptor::default() }, &[]) == Err(PushError::Full) {
            if producer.must_ring() {
                button.ring();
            }
            std::thread::yield_now();
        }
        if producer.must_ring() {
            button.ring();
        }
    }
    thread.join().unwrap();
}

#[test]
fn a_sleeper_is_rung_for_once() {
    let (mut producer, mut consumer) = pair(8, 0);
    producer.push(&Descriptor::default(), &[]).unwrap();
    assert!(!producer.must_ring(), "an awake peer is not rung for");
    consumer.prepare_sleep();
    assert!(producer.must_ring());
    assert!(!producer.must_ring());
    consumer.awake();
    consumer.prepare_sleep();
    assert!(producer.must_ring());
}

/// A peer whose page holds anything: the test keeps a writable mapping by attaching nothing to it.
#[test]
fn a_lying_peer_is_an_error_never_a_panic() {
    let mut seed = 1_u64;
    for _ in 0..2000 {
        let own = Link::create_page(ENTRIES, 32).unwrap();
        let lies = Link::create_page(ENTRIES, 32).unwrap();
        let mut bytes = vec![0_u8; 4096];
        for (index, byte) in bytes.iter_mut().enumerate() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Small heads and tails now and then, so that the lies behind them are reached.
            *byte = if (64..192).contains(&index) && index % 8 != 0 && seed >> 63 == 0 { 0 } else { (seed >> 33) as u8 };
        }
        rustix::io::pwrite(&lies, &bytes, 0).unwrap();
        let geometry = LinkGeometry { entries: ENTRIES, own_payload_bytes: 32, peer_payload_bytes: 32 };
        let mut link = Link::attach(&own, &lies, geometry).unwrap();
        for _ in 0..20 {
            match link.pop() {
                Ok(Some((_, payload))) => assert!(payload.len() <= 32),
                Ok(None) => break,
                Err(lie) => {
                    assert!(matches!(lie, Lie::Head | Lie::Range));
                    break;
                }
            }
        }
        let _ = link.push(&Descriptor::default(), b"x");
        let _ = link.must_ring();
    }
}

#[test]
fn the_own_page_is_sealed_against_other_writers() {
    let (own, peer) = (Link::create_page(8, 0).unwrap(), Link::create_page(8, 0).unwrap());
    let geometry = LinkGeometry { entries: 8, own_payload_bytes: 0, peer_payload_bytes: 0 };
    let _link = Link::attach(&own, &peer, geometry).unwrap();
    assert!(rustix::io::pwrite(&own, b"x", 0).is_err());
    assert!(Link::attach(&own, &peer, geometry).is_err(), "nobody can attach as the owner again");
}

#[test]
fn pages_of_another_size_are_refused() {
    let (own, peer) = (Link::create_page(8, 0).unwrap(), Link::create_page(8, 1024).unwrap());
    assert!(Link::attach(&own, &peer, LinkGeometry { entries: 8, own_payload_bytes: 0, peer_payload_bytes: 0 }).is_err());
    assert!(Link::create_page(9, 0).is_err());
}
