#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_directory::fuzz_snapshot(data));
