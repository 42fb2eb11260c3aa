use super::*;
use crate::dnssec::Security;
use crate::name::Name;
use crate::record::Record;
use crate::resolver::Answer;
use crate::types::Rcode;
use proptest::prelude::*;

const NOW: u64 = 1_800_000_000;

fn name(number: usize) -> Name {
    Name::absolute(&format!("n{number}.example")).unwrap()
}

fn made(count: usize) -> Vec<u8> {
    let packed: Vec<Packed> = (0..count)
        .map(|number| {
            let rdata = [10, 0, 0, u8::try_from(number & 255).unwrap()];
            let record = Record { name: name(number), rtype: Rtype::A, ttl: 60, rdata: rdata.into() };
            let answer = Answer {
                rcode: Rcode::NOERROR,
                records: vec![record],
                authority: Vec::new(),
                ttl: 60,
                security: Security::Insecure,
                extended_error: None,
            };
            Packed::new(&name(number), Rtype::A, &answer, |ttl| ttl)
        })
        .collect();
    let times = KeptTimes { stored: NOW - 10, seconds_mail: 900, seconds_client: 60, seconds_gone: 1000 };
    Snapshot::write(packed.iter().map(|packed| (packed, times)), HashKey::new([3, 4]), NOW)
}

fn open(bytes: &[u8], now: u64) -> Result<Snapshot, SnapshotError> {
    Snapshot::open(Arc::new(bytes.to_vec()), now)
}

#[test]
fn what_was_written_is_found() {
    let snapshot = open(&made(1000), NOW + 5).unwrap();
    assert_eq!((snapshot.len(), snapshot.is_over(NOW + 989), snapshot.is_over(NOW + 990)), (1000, false, true));
    for number in 0..1000 {
        let kept = snapshot.find(name(number).wire(), Rtype::A, NOW + 5).unwrap();
        let rdata: Vec<&[u8]> = kept.packed.rdata(Rtype::A).collect();
        assert_eq!((kept.times.stored, rdata[0][3]), (NOW - 10, u8::try_from(number & 255).unwrap()));
    }
    assert_eq!((snapshot.entries(NOW + 5).count(), snapshot.entries(NOW + 990).count()), (1000, 0));
    assert!(snapshot.find(name(1).wire(), Rtype::MX, NOW).is_none());
    assert!(snapshot.find(name(1000).wire(), Rtype::A, NOW).is_none());
    assert!(snapshot.find(name(1).wire(), Rtype::A, NOW - 11).is_none());
    assert!(snapshot.find(name(1).wire(), Rtype::A, NOW + 990).is_none());
}

#[test]
fn what_is_not_used() {
    let good = made(3);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(open(b"", NOW).unwrap_err(), SnapshotError::Foreign);
    assert_eq!(open(&with(0, 0), NOW).unwrap_err(), SnapshotError::Foreign);
    assert_eq!(open(&with(8, 9), NOW).unwrap_err(), SnapshotError::Version(9));
    assert_eq!(open(&with(30, 1), NOW).unwrap_err(), SnapshotError::Broken);
    assert_eq!(open(&good[..good.len() - 1], NOW).unwrap_err(), SnapshotError::Torn);
    assert_eq!(open(&good[..20], NOW).unwrap_err(), SnapshotError::Torn);
    assert_eq!(open(&good, NOW - 601).unwrap_err(), SnapshotError::Future);
    assert_eq!(open(&good, NOW + 990).unwrap_err(), SnapshotError::Old);
    assert_eq!(open(&made(0), NOW).unwrap_err(), SnapshotError::Old);
    // A torn page in the middle: that entry is not found, the others are.
    let mut torn = good.clone();
    let last = torn.len() - 20;
    torn[last..].fill(0);
    let snapshot = open(&torn, NOW).unwrap();
    let found = [0, 1, 2].map(|number| snapshot.find(name(number).wire(), Rtype::A, NOW).is_some());
    assert_eq!(found, [true, true, false]);
}

proptest! {
    #[test]
    fn a_disk_that_lies_is_harmless(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = made(3);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        fuzz_snapshot(&bytes);
        if let Ok(snapshot) = open(&bytes, NOW) {
            for number in 0..4 {
                if let Some(kept) = snapshot.find(name(number).wire(), Rtype::A, NOW) {
                    prop_assert!(number < 3 && kept.packed.rdata(Rtype::A).count() == 1);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..300)) { fuzz_snapshot(&data); }
}

/// Writes inputs for the fuzzer: `cargo test -p postring-dns fuzz_snapshot_inputs -- --ignored`.
#[test]
#[ignore = "writes files"]
fn fuzz_snapshot_inputs() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/inputs/snapshot");
    std::fs::create_dir_all(&folder).unwrap();
    let good = made(1);
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    write("one", &good);
    write("three", &made(3));
    write("none", &made(0));
    write("cut", &good[..good.len() - 9]);
    write("head_cut", &good[..40]);
    let mut far = good.clone();
    far[HEAD_BYTES + 4..HEAD_BYTES + 8].fill(255);
    write("place_beyond", &far);
    let mut buckets = good.clone();
    buckets[52..56].fill(255);
    write("buckets_beyond", &buckets);
    let mut long = good;
    let entry = HEAD_BYTES + 2 * BUCKET_BYTES;
    long[entry + 4..entry + 8].fill(255);
    write("answer_beyond", &long);
}
