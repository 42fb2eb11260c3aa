#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_engine::fuzz_content(data));
