#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_dns::dnssec::sign::fuzz_key_file(data));
