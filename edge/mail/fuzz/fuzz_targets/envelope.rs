#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_mail::envelope::fuzz_envelope(data));
