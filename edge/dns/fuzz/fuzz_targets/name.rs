#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_dns::name::fuzz_name(data));
