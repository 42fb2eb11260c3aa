//! Replays the kept inputs of every fuzz target, so that what was once found stays found without a fuzzer.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::path::Path;

type Entry = fn(&[u8]);

#[test]
fn kept_inputs_are_harmless() {
    let entries: [(&str, Entry); 18] = [
        ("cookie", postring_dns::cookie::fuzz_cookie),
        ("journal", postring_dns::transfer::fuzz_journal),
        ("key_file", postring_dns::dnssec::sign::fuzz_key_file),
        ("list_file", postring_dns::list::fuzz_list_file),
        ("list_journal", postring_dns::list::fuzz_journal),
        ("name", postring_dns::name::fuzz_name),
        ("notify", postring_dns::notify::fuzz_notify),
        ("query", postring_dns::query::fuzz_query),
        ("resolution", postring_dns::resolver::fuzz_resolution),
        ("respond", postring_dns::responder::fuzz_respond),
        ("response", postring_dns::message::fuzz_response),
        ("snapshot", postring_dns::resolver::fuzz_snapshot),
        ("state_file", postring_dns::dnssec::sign::fuzz_state_file),
        ("transfer", postring_dns::transfer::fuzz_transfer),
        ("tsig", postring_dns::tsig::fuzz_tsig),
        ("update", postring_dns::update::fuzz_update),
        ("validate", postring_dns::dnssec::validate::fuzz_validate),
        ("zone_file", postring_dns::zone::fuzz_zone_file),
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
