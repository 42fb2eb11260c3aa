//! Replays the kept inputs of every fuzz target, so that what was once found stays found without a fuzzer.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::path::Path;

type Entry = fn(&[u8]);

#[test]
fn kept_inputs_are_harmless() {
    let entries: [(&str, Entry); 8] = [
        ("name", postring_dns::name::fuzz_name),
        ("query", postring_dns::query::fuzz_query),
        ("respond", postring_dns::responder::fuzz_respond),
        ("response", postring_dns::message::fuzz_response),
        ("resolution", postring_dns::resolver::fuzz_resolution),
        ("snapshot", postring_dns::resolver::fuzz_snapshot),
        ("zone_file", postring_dns::zone::fuzz_zone_file),
        ("list_file", postring_dns::list::fuzz_list_file),
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
