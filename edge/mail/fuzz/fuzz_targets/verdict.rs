#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_mail::verdict::fuzz_verdict(data));
