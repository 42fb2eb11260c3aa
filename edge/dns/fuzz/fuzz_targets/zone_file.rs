#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_dns::zone::fuzz_zone_file(data));
