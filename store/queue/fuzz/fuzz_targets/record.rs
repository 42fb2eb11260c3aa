#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_queue::record::fuzz_record(data));
