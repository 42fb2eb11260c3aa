#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_smtp::proxy::fuzz_proxy(data));
