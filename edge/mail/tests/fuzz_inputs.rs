//! Replays the kept inputs of every fuzz target, so that what was once found stays found without a fuzzer.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::path::Path;

type Entry = fn(&[u8]);

#[test]
fn kept_inputs_are_harmless() {
    let entries: [(&str, Entry); 4] = [
        ("dsn", postring_mail::dsn::fuzz_dsn),
        ("envelope", postring_mail::envelope::fuzz_envelope),
        ("verdict", postring_mail::verdict::fuzz_verdict),
        ("path", postring_mail::path::fuzz_path),
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
