#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_auth::dmarc::report::fuzz_lines(data));
