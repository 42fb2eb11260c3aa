#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_milter::fuzz_edits(data));
