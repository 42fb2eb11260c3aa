#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postring_dns::list::fuzz_list_file(data));
