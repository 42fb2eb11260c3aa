#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_mail::path::fuzz_path(data));
