//! Replays the kept inputs of every fuzz target, so that what was once found stays found without a fuzzer.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::path::Path;

type Entry = fn(&[u8]);

#[test]
fn kept_inputs_are_harmless() {
    let entries: [(&str, Entry); 8] = [
        ("command", postring_smtp::command::fuzz_command),
        ("path", postring_mail::path::fuzz_path),
        ("body", postring_smtp::body::fuzz_body),
        ("reply", postring_smtp::client::fuzz_reply),
        ("header", postring_smtp::header::fuzz_header),
        ("forged", postring_smtp::forged::fuzz_forged),
        ("proxy", postring_smtp::proxy::fuzz_proxy),
        ("session", postring_smtp::fuzz_session),
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
