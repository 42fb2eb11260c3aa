//! Replays the kept inputs of every fuzz target, so that what was once found stays found without a fuzzer.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::path::Path;

type Entry = fn(&[u8]);

#[test]
fn kept_inputs_are_harmless() {
    let entries: [(&str, Entry); 10] = [
        ("arc_sets", postring_auth::arc::fuzz_sets),
        ("authres", postring_auth::authres::fuzz_results),
        ("dkim_body", postring_auth::dkim::fuzz_body),
        ("dkim_key", postring_auth::dkim::fuzz_key),
        ("dkim_signature", postring_auth::dkim::fuzz_signature),
        ("dkim_tags", postring_auth::dkim::fuzz_tags),
        ("dmarc_from", postring_auth::dmarc::fuzz_from),
        ("dmarc_record", postring_auth::dmarc::fuzz_record),
        ("dmarc_report_lines", postring_auth::dmarc::report::fuzz_lines),
        ("spf_record", postring_auth::spf::fuzz_record),
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
