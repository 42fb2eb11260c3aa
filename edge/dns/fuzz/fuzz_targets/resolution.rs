#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_dns::resolver::fuzz_resolution(data));
