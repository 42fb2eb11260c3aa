#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_mail::dsn::fuzz_dsn(data));
