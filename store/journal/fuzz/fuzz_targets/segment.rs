#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_journal::fuzz_segment(data));
