#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_mime::fuzz_to_lines(data));
