#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_auth::dmarc::fuzz_record(data));
