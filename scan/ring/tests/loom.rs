//! The ring's memory ordering under every interleaving loom can think of.
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p postring-ring --release --test loom`.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use postring_ring::Descriptor;
use postring_ring::protocol::{Endpoint, Words, page_words};

#[derive(Clone)]
struct LoomWords(Arc<Vec<AtomicU64>>);

impl LoomWords {
    fn page(entries: u32) -> Self {
        Self(Arc::new((0..page_words(entries, 0)).map(|_| AtomicU64::new(0)).collect()))
    }
}

impl Words for LoomWords {
    fn load(&self, index: usize, order: Ordering) -> u64 {
        self.0[index].load(order)
    }
    fn store(&self, index: usize, value: u64, order: Ordering) {
        self.0[index].store(value, order);
    }
    fn fence() {
        fence(Ordering::SeqCst);
    }
}

#[test]
fn what_is_published_is_whole() {
    loom::model(|| {
        let (a, b) = (LoomWords::page(2), LoomWords::page(2));
        let mut producer = Endpoint::new(a.clone(), b.clone(), 2, 0, 0);
        let mut consumer = Endpoint::new(b, a, 2, 0, 0);
        let thread = loom::thread::spawn(move || {
            for cookie in 1..=2 {
                producer.push(&Descriptor { cookie, aux: cookie * 10, ..Descriptor::default() }, &[]).unwrap();
            }
        });
        let mut payload = Vec::new();
        let mut last = 0;
        for _ in 0..2 {
            if let Some(descriptor) = consumer.pop(&mut payload).unwrap() {
                assert_eq!((descriptor.cookie, descriptor.aux), (last + 1, (last + 1) * 10));
                last = descriptor.cookie;
            }
        }
        thread.join().unwrap();
    });
}

#[test]
fn either_the_sleeper_sees_the_work_or_the_publisher_rings() {
    loom::model(|| {
        let (a, b) = (LoomWords::page(2), LoomWords::page(2));
        let mut producer = Endpoint::new(a.clone(), b.clone(), 2, 0, 0);
        let mut consumer = Endpoint::new(b, a, 2, 0, 0);
        let thread = loom::thread::spawn(move || {
            producer.push(&Descriptor::default(), &[]).unwrap();
            producer.must_ring()
        });
        consumer.prepare_sleep();
        let sees = consumer.available() != Ok(0);
        let rings = thread.join().unwrap();
        assert!(sees || rings, "a wake-up was lost");
    });
}
