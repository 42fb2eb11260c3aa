#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_smtp::forged::fuzz_forged(data));
