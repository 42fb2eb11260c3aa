//! Replays the kept inputs of every fuzz target, so that what was once found stays found without a fuzzer.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::path::Path;

type Entry = fn(&[u8]);

#[test]
fn kept_inputs_are_harmless() {
    let entries: [(&str, Entry); 4] = [
        ("answer", postring_milter::fuzz_answer),
        ("conversation", postring_milter::fuzz_conversation),
        ("edits", postring_milter::fuzz_edits),
        ("response", postring_milter::fuzz_response),
    ];
    for (name, entry) in entries {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/inputs").join(name);
        let mut inputs = 0;
        for input in std::fs::read_dir(&folder).unwrap() {
            entry(&std::fs::read(input.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs >= 5, "{name} has {inputs} inputs");
    }
}

proptest::proptest! {
    /// Anything, and the kept inputs changed in one place.
    #[test]
    fn anything_is_harmless(data in proptest::collection::vec(proptest::num::u8::ANY, 0..200), at in 0..200_usize, byte in proptest::num::u8::ANY) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/inputs");
        let entries: [(&str, Entry); 4] = [
            ("answer/reject", postring_milter::fuzz_answer),
            ("conversation/whole", postring_milter::fuzz_conversation),
            ("edits/change", postring_milter::fuzz_edits),
            ("response/add_crlf", postring_milter::fuzz_response),
        ];
        for (kept, entry) in entries {
            entry(&data);
            let mut changed = std::fs::read(folder.join(kept)).unwrap();
            let at = at % changed.len();
            changed[at] = byte;
            entry(&changed);
        }
    }
}
