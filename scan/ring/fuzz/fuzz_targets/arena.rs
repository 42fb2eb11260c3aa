#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_ring::fuzz_arena(data));
