#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_dns::cookie::fuzz_cookie(data));
